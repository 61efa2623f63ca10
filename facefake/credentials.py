"""C2PA content credentials: a signed statement in the file on how its picture came about.

Reading and checking them is the work of c2pa-python (the Content Authenticity Initiative's own library), which is
optional. Whether there are any is seen without it. Nothing is ever fetched from the network, neither manifests nor
the revocation of certificates, and there is no list of trusted signers: a signature shows that nothing was changed
since somebody signed it who calls himself so.
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
# How the codes end of what is right, which older ingredients list beside what is wrong.
_PASSED = (".validated", ".match", ".trusted", ".accessible", ".insideValidity", ".notRevoked")
# The actions whose source type is that of the picture; that of others, such as an edit, is of what they added.
_WHOLE = ("c2pa.created", "c2pa.opened")
# What a part makes of the picture that it is in. A part that a camera took makes no photograph of it.
_OF_A_PART: dict[TraceKind, TraceKind] = {
    "generated": "partly_generated",
    "partly_generated": "partly_generated",
    "edited": "edited",
}


@dataclass(frozen=True, slots=True)
class ContentCredentials:
    """The content credentials of a file.

    Attributes:
        state: "valid" when the signature is intact and the file is as it was signed; "trusted" when also a list of
            trusted signers holds the signer's issuer; "invalid" when the file or the credentials were changed, or
            were not good from the start, as under an expired certificate; "unchecked" when they could not be
            checked; "remote" when the file only names where they lie.
        signer: who signed, by the certificate's word; None when that is unknown.
        issuer: the organisation in the signer's certificate.
        time: when a timestamp authority saw the signature, ISO 8601; None without a timestamp.
        generator: the program that made the claim.
        actions: what was done to the picture, such as "c2pa.created", at most 20.
        problems: the codes of what is wrong, such as "assertion.dataHash.mismatch", or why it could not be
            checked; at most 20.
        traces: what the credentials say of the origin, whatever their state; at most 20, the gravest.
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
    """Check the content credentials that a file holds; None when it holds none.

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
    """The library's report on a file, as far as it has the expected shape."""
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
    # What is said of a picture's parent is said of it as well; what is said of a component, of a part of it only.
    # What else went in, such as the picture that a model was prompted with, says nothing; nor do credentials that did
    # not fit it when it went in, or everybody could have those of another picture told of his own by signing it.
    # Parents come first: what is both a parent and a component is one picture's whole.
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
    """The codes of what is wrong, by the report on a file or on an ingredient, but that nobody vouches for it."""
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
    """So many at most, and those of the gravest kinds, in the order in which they come."""
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
