"""C2PA content credentials: a signed statement in the file about how its picture came about.

They are read and checked by c2pa-python (the Content Authenticity Initiative's own library), which is optional.
Without it, only their presence is noticed. Nothing is ever fetched from the network, neither manifests nor the
revocation of certificates, and there is no list of trusted signers: a signature shows that nothing was changed since
somebody signed under that name.
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from facefake.metadata import printable
from facefake.refusal import Refusal, faults
from facefake.traces import GRAVITY, Trace, TraceKind, generator_named, source_type

_Item = TypeVar("_Item")
CredentialState = Literal["trusted", "valid", "invalid", "unchecked", "remote"]

# How every C2PA manifest store begins, whatever file it is in: the description of a JUMBF superbox with C2PA's
# type (C2PA specification 2.1, section 11.1).
_MANIFEST_STORE = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
_SETTINGS = {
    "version": 1,
    "core": {"allowed_network_hosts": [], "max_decompressed_manifest_size_in_mb": 32},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_MOST_MANIFESTS = 50
_MOST_ACTIONS = 100
_MOST_LISTED = 20
_UNTRUSTED = "signingCredential.untrusted"
# How the codes of passed checks end, which older ingredients list beside the failed ones.
_PASSED = (".validated", ".match", ".trusted", ".accessible", ".insideValidity", ".notRevoked")
# The actions whose source type is that of the picture; that of others, such as an edit, is that of what they added.
_WHOLE = ("c2pa.created", "c2pa.opened")
# What the origin of a part says about the whole picture. A part that a camera took does not make it a photograph.
_OF_A_PART: dict[TraceKind, TraceKind] = {
    "generated": "partly_generated",
    "partly_generated": "partly_generated",
    "edited": "edited",
}


@dataclass(frozen=True, slots=True)
class ContentCredentials:
    """The content credentials of a file.

    Attributes:
        state: "valid" when the signature is intact and the file is as it was signed; "trusted" when, in addition, the
            signer's issuer is on a list of trusted signers; "invalid" when the file or the credentials were changed,
            or were never valid, as under an expired certificate; "unchecked" when they could not be checked; "remote"
            when the file only says where they are.
        signer: who signed, according to the certificate; None when that is unknown.
        issuer: the organisation in the signer's certificate.
        time: when a timestamp authority saw the signature, ISO 8601; None without a timestamp.
        generator: the program that made the claim.
        actions: what was done to the picture, such as "c2pa.created", at most 20.
        problems: the codes of what is wrong, such as "assertion.dataHash.mismatch", or why it could not be
            checked; at most 20.
        traces: what the credentials say about the origin, whatever their state; at most 20, the gravest.
    """

    state: CredentialState
    signer: str | None = None
    issuer: str | None = None
    time: str | None = None
    generator: str | None = None
    actions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    traces: tuple[Trace, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The credentials as JSON-ready values."""
        return {
            "state": self.state,
            "signer": self.signer,
            "issuer": self.issuer,
            "time": self.time,
            "generator": self.generator,
            "actions": list(self.actions),
            "problems": list(self.problems),
            "traces": [trace.to_dict() for trace in self.traces],
        }


def read_credentials(data: bytes) -> ContentCredentials | None:
    """Read and check a file's content credentials; None when it holds none.

    Args:
        data: the bytes of a file of any format.
    """
    if _MANIFEST_STORE not in data:
        return None
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        missing = "install facefake[c2pa] to check them"
        return ContentCredentials(
            "unchecked",
            problems=(missing if isinstance(error, ModuleNotFoundError) else printable(str(error), 200),),
        )
    try:
        with faults("corrupt", "content credentials"):
            context = c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))
            reader = c2pa.Reader.try_create(None, io.BytesIO(data), context=context)
            if reader is None:
                return None
            with reader:
                return _understood(json.loads(reader.json()))
    except Refusal as refusal:
        return ContentCredentials("unchecked", problems=(printable(refusal.args[2], 200),))


def _understood(report: dict[str, Any]) -> ContentCredentials:
    """The credentials in the library's report on a file, as far as that has the expected shape."""
    manifests = _mapping(report.get("manifests"))
    active = _mapping(manifests.get(str(report.get("active_manifest"))))
    signature = _mapping(active.get("signature_info"))
    states: dict[Any, CredentialState] = {"Trusted": "trusted", "Valid": "valid", "Invalid": "invalid"}
    told = list(dict.fromkeys(_statements(manifests, str(report.get("active_manifest")))))
    return ContentCredentials(
        state=states.get(report.get("validation_state"), "unchecked"),
        signer=_text(signature.get("common_name")),
        issuer=_text(signature.get("issuer")),
        time=_text(signature.get("time")),
        generator=_generator(active),
        actions=tuple(
            dict.fromkeys(
                action
                for action in (_text(each.get("action")) for each in _actions(active))
                if action is not None
            )
        )[:_MOST_LISTED],
        problems=_problems(report)[:_MOST_LISTED],
        traces=tuple(_gravest(told, [trace.kind for trace in told], _MOST_LISTED)),
    )


def _statements(manifests: dict[str, Any], active: str) -> Iterator[Trace]:
    # What is said of a picture's parent also holds for it; what is said of a component, only for a part of it. Other
    # ingredients, such as the picture that a model was prompted with, say nothing about it. Nor do credentials that did
    # not match the ingredient when it went in, or anybody could pass off another picture's as his own by signing.
    # Parents come first: what is both a parent and a component counts as the whole.
    waiting, seen = deque([(active, True)]), set[str]()
    while waiting and len(seen) < _MOST_MANIFESTS:
        label, whole = waiting.pop()
        if label in seen:
            continue
        seen.add(label)
        manifest = _mapping(manifests.get(label))
        place = "content credentials"
        for action in _actions(manifest):
            address = action.get("digitalSourceType")
            agent = action.get("softwareAgent")
            name = _text(_mapping(agent).get("name") if isinstance(agent, dict) else agent)
            kind: TraceKind | None = None
            if address:
                trace = source_type(str(address), place)
                kind = trace.kind if whole and action.get("action") in _WHOLE else _OF_A_PART.get(trace.kind)
                if kind is not None:
                    yield replace(trace, kind=kind)
            elif action.get("action") == "c2pa.created":
                # Claims of version 1 need no source type, and those of Bing's Image Creator have none.
                kind = "generated" if whole else "partly_generated"
            if name is not None and kind is not None and "generated" in kind and generator_named(name):
                yield Trace(kind, name, place, name)
            elif name is not None and whole:
                yield Trace("software", name, place, name)
        for ingredient in map(_mapping, _items(manifest.get("ingredients"))):
            relation = {"parentOf": whole, "componentOf": False}.get(str(ingredient.get("relationship")))
            if relation is not None and not _problems(ingredient):
                later = (str(ingredient.get("active_manifest")), relation)
                if relation:
                    waiting.append(later)
                else:
                    waiting.appendleft(later)


def _problems(report: dict[str, Any]) -> tuple[str, ...]:
    """The codes of what is wrong in the report on a file or an ingredient, except that its signer is not trusted."""
    results = _mapping(_mapping(report.get("validation_results")).get("activeManifest"))
    statuses = _items(results.get("failure", report.get("validation_status")))
    codes = filter(None, (_text(_mapping(status).get("code")) for status in statuses))
    return tuple(dict.fromkeys(code for code in codes if code != _UNTRUSTED and not code.endswith(_PASSED)))


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = [
        _mapping(action)
        for assertion in map(_mapping, _items(manifest.get("assertions")))
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in _items(_mapping(assertion.get("data")).get("actions"))
    ]
    addresses = (action.get("digitalSourceType") for action in found)
    kinds = [source_type(str(address), "").kind if address else "software" for address in addresses]
    return _gravest(found, kinds, _MOST_ACTIONS)


def _gravest(items: list[_Item], kinds: list[TraceKind], most: int) -> list[_Item]:
    """At most so many items, those of the gravest kinds, in their given order."""
    ranked = sorted(range(len(items)), key=lambda number: GRAVITY[kinds[number]])
    return [items[number] for number in sorted(ranked[:most])]


def _generator(manifest: dict[str, Any]) -> str | None:
    infos = [_mapping(info) for info in _items(manifest.get("claim_generator_info"))]
    names = (f"{info.get('name', '')} {info.get('version', '')}".strip() for info in infos)
    return _text(next((name for name in names if name), manifest.get("claim_generator")))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return (printable(value, 100) or None) if isinstance(value, str) else None
