"""Pictures are really signed here, by a certificate authority that is made for the test."""

from __future__ import annotations

import datetime
import io
import json
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facefake import credentials
from facefake.credentials import ContentCredentials, read_credentials
from facefake.provenance import read_provenance

c2pa = pytest.importorskip("c2pa", reason="needs the extra facefake[c2pa]")

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MIME = {name: f"image/{name.lower()}" for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")}
Sign = Callable[..., bytes]


def picture(file_format: str = "JPEG", colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, file_format)
    return file.getvalue()


def created(source_type: str, agent: str = "Test Model") -> dict[str, Any]:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPES + source_type,
        "softwareAgent": {"name": agent},
    }
    return {"label": "c2pa.actions", "data": {"actions": [action]}}


@pytest.fixture(scope="module")
def signer_info() -> Any:
    x509 = pytest.importorskip("cryptography.x509", reason="needs cryptography to make certificates")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(common: str, organisation: str) -> Any:
        parts = ((x509.NameOID.ORGANIZATION_NAME, organisation), (x509.NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(which, text) for which, text in parts])

    def certificate(subject: Any, key: Any, issuer: Any, issuer_key: Any, *, authority: bool) -> Any:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + 30 * day)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not authority:
            signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
            email = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(email, critical=True).add_extension(signer, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = name("Root", "Test Authority")
    root = certificate(root_name, root_key, root_name, root_key, authority=True)
    leaf = certificate(name("Camera 7", "Test Studio"), key, root_name, root_key, authority=False)
    encoding = serialization.Encoding.PEM
    chain = leaf.public_bytes(encoding) + root.public_bytes(encoding)
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return lambda: c2pa.C2paSignerInfo(b"es256", chain, private, None)


@pytest.fixture(scope="module")
def sign(signer_info: Any) -> Sign:
    """Signs a picture with a manifest of these assertions and returns the file."""

    def signed(
        *assertions: dict[str, Any],
        file_format: str = "JPEG",
        generator: str = "Test Generator",
        parent: bytes | None = None,
        component: bytes | None = None,
        remote_url: str | None = None,
        claim_version: int = 2,
    ) -> bytes:
        manifest = {
            "claim_version": claim_version,
            "claim_generator_info": [{"name": generator, "version": "1.0"}],
            "assertions": assertions,
        }
        quiet = {"version": 1, "builder": {"thumbnail": {"enabled": False}}}
        quiet["verify"] = {"verify_after_sign": False, "remote_manifest_fetch": False}
        builder = c2pa.Builder(
            json.dumps(manifest), context=c2pa.Context(settings=c2pa.Settings.from_dict(quiet))
        )
        if parent is not None:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)  # what is signed becomes the parent
        if component is not None:
            builder.add_ingredient(
                {"title": "part", "relationship": "componentOf"}, "image/jpeg", io.BytesIO(component)
            )
        if remote_url is not None:
            builder.set_no_embed()
            builder.set_remote_url(remote_url)
        file = io.BytesIO()
        builder.sign(
            c2pa.Signer.from_info(signer_info()),
            MIME[file_format],
            io.BytesIO(parent or picture(file_format)),
            file,
        )
        return file.getvalue()

    return signed


@pytest.mark.parametrize("file_format", MIME)
def test_intact_credentials_of_a_generated_picture(sign: Sign, file_format: str) -> None:
    data = sign(created("trainedAlgorithmicMedia"), file_format=file_format)
    found = read_credentials(data)
    assert found is not None
    assert (found.state, found.signer, found.issuer) == ("valid", "Camera 7", "Test Studio")
    assert (found.generator, found.actions, found.problems) == (
        "Test Generator 1.0",
        ("c2pa.created",),
        (),
    )
    assert [(t.kind, t.name) for t in found.traces] == [
        ("generated", "trainedAlgorithmicMedia"),
        ("software", "Test Model"),
    ]
    provenance = read_provenance(data)
    assert provenance.claim == "generated"
    assert "signed as “Test Studio”, though nobody vouches for that name" in provenance.summary


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_picture_changed_after_signing(sign: Sign, file_format: str) -> None:
    data = bytearray(sign(created("digitalCapture"), file_format=file_format))
    at = data.rfind(b"\xff\xda") + 20 if file_format == "JPEG" else data.rfind(b"IDAT") + 10
    data[at] ^= 1
    provenance = read_provenance(bytes(data))
    found = provenance.content_credentials
    assert found is not None
    assert found.state == "invalid"
    assert "assertion.dataHash.mismatch" in found.problems
    assert found.traces[0].kind == "captured"
    # It is told what they say, but nobody is to believe it.
    assert provenance.claim == "nothing"
    assert "do not match it" in provenance.summary


def credentials_in(jpeg: bytes) -> slice:
    """Where in the file they stand."""
    start = jpeg.find(b"\xff\xeb")
    return slice(start, start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]))


def transplanted(signed: bytes) -> bytes:
    other = picture(colour="red")
    return other[:2] + signed[credentials_in(signed)] + other[2:]


def test_credentials_moved_to_another_picture(sign: Sign) -> None:
    found = read_credentials(transplanted(sign(created("digitalCapture"))))
    assert found is not None
    assert found.state == "invalid"


@pytest.mark.parametrize(
    ("source_type", "claim"),
    [
        ("compositeWithTrainedAlgorithmicMedia", "partly_generated"),
        ("digitalCapture", "captured"),
        ("algorithmicallyEnhanced", "edited"),
        ("dataDrivenMedia", "nothing"),
    ],
)
def test_what_the_source_type_claims(sign: Sign, source_type: str, claim: str) -> None:
    assert read_provenance(sign(created(source_type))).claim == claim


def test_a_generator_is_told_by_its_name(sign: Sign) -> None:
    found = read_credentials(sign(created("trainedAlgorithmicMedia", "GPT-4o by OpenAI")))
    assert found is not None
    assert ("generated", "GPT-4o by OpenAI") in [(t.kind, t.name) for t in found.traces]


@pytest.mark.parametrize(
    ("agent", "claim"), [("Image Creator from Designer", "generated"), ("Test Editor", "nothing")]
)
def test_a_generator_need_not_tell_a_source_type(sign: Sign, agent: str, claim: str) -> None:
    action = {"action": "c2pa.created", "softwareAgent": agent, "description": "AI Generated Image"}
    made = sign({"label": "c2pa.actions", "data": {"actions": [action]}}, claim_version=1)
    found = read_provenance(made)
    assert found.content_credentials is not None
    assert (found.content_credentials.state, found.claim) == ("valid", claim)
    if claim == "generated":
        assert read_provenance(sign(created("digitalCapture"), component=made)).claim == "partly_generated"


def test_what_is_said_of_a_parent_and_of_a_component(sign: Sign) -> None:
    generated = sign(created("trainedAlgorithmicMedia"))
    edited = read_provenance(sign(parent=generated))
    assert edited.content_credentials is not None
    assert (edited.claim, edited.content_credentials.actions) == ("generated", ("c2pa.opened",))
    composite = read_provenance(sign(created("digitalCapture"), component=generated))
    assert composite.claim == "partly_generated"


def test_a_part_that_a_camera_took_makes_no_photograph(sign: Sign) -> None:
    data = sign(created("digitalCreation", "Editor"), component=sign(created("digitalCapture", "Camera")))
    found = read_provenance(data)
    assert found.claim == "nothing"
    assert found.summary.endswith(
        "The file says about its picture's origin: “digitalCreation” (content credentials)."
    )
    assert "Camera" not in json.dumps(found.to_dict()["content_credentials"]["traces"])


def test_a_generated_edit_makes_no_generated_picture(sign: Sign) -> None:
    taken, edited = created("digitalCapture"), created("trainedAlgorithmicMedia", "OpenAI")
    edited["data"]["actions"][0]["action"] = "c2pa.edited"
    taken["data"]["actions"] += edited["data"]["actions"]
    found = read_credentials(sign(taken))
    assert found is not None
    assert [(t.kind, t.name) for t in found.traces] == [
        ("captured", "digitalCapture"),
        ("software", "Test Model"),
        ("partly_generated", "trainedAlgorithmicMedia"),
        ("partly_generated", "OpenAI"),
    ]


def test_no_number_of_edits_hides_that_a_picture_was_generated(sign: Sign) -> None:
    taken = created("digitalCapture")
    for number in range(150):
        taken["data"]["actions"] += created("humanEdits", f"Editor {number}")["data"]["actions"]
    taken["data"]["actions"] += created("trainedAlgorithmicMedia")["data"]["actions"]
    for action in taken["data"]["actions"][1:]:
        action["action"] = "c2pa.edited"
    found = read_provenance(sign(taken))
    assert found.claim == "partly_generated"
    assert found.content_credentials is not None
    kinds = [each.kind for each in found.content_credentials.traces]
    assert (len(kinds), kinds[0], kinds[-1]) == (20, "captured", "partly_generated")


@pytest.mark.parametrize("source_type", ["digitalCapture", "trainedAlgorithmicMedia"])
def test_credentials_of_another_picture_are_not_believed_for_being_signed_over(
    sign: Sign, source_type: str
) -> None:
    other = transplanted(sign(created(source_type)))
    for data in (sign(parent=other), sign(created("digitalCreation"), component=other)):
        found = read_provenance(data)
        assert found.content_credentials is not None
        assert found.content_credentials.state == "valid"
        assert found.claim == "nothing"
        assert source_type not in {each.name for each in found.content_credentials.traces}


def test_nothing_is_fetched(sign: Sign, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that would notice stands ready; with the library's own settings it is called."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def listen() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                calls.append(connection.recv(100))
                connection.close()

        done = threading.Event()
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            data = sign(
                created("digitalCapture"),
                remote_url=f"http://127.0.0.1:{server.getsockname()[1]}/manifest",
            )
            # The marker of a manifest store in a caption makes the reader look, and it finds the address.
            data = data[:2] + b"\xff\xfe\x00\x17" + credentials._MANIFEST_STORE[:21].ljust(21) + data[2:]
            found = read_credentials(data)
            assert found is None or found.state == "unchecked"
            assert calls == []
            monkeypatch.setattr(credentials, "_SETTINGS", {"version": 1})
            read_credentials(data)
        finally:
            done.set()
            thread.join()
    assert calls != []


def test_remote_credentials_are_named_and_not_fetched(sign: Sign) -> None:
    provenance = read_provenance(sign(remote_url="http://127.0.0.1:9/manifest"))
    assert provenance.content_credentials == ContentCredentials("remote")
    assert "not fetched" in provenance.summary


def test_without_the_library_they_are_seen_and_not_checked(
    sign: Sign, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sign(created("trainedAlgorithmicMedia"))
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = read_credentials(data)
    assert found == ContentCredentials("unchecked", problems=("install facefake[c2pa] to check them",))
    assert "were not checked: install facefake[c2pa]" in read_provenance(data).summary


def test_a_picture_without_credentials_has_none_and_loads_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    for file_format in MIME:
        assert read_credentials(picture(file_format)) is None


@pytest.fixture(scope="module")
def signed_jpeg(sign: Sign) -> bytes:
    return sign(created("digitalCapture"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 6_000), st.integers(1, 255)), min_size=1, max_size=8))
def test_damage_to_the_picture_is_never_valid_and_none_raises(
    signed_jpeg: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(signed_jpeg)
    for at, change in changes:
        data[at % len(data)] ^= change
    found = read_credentials(bytes(data))
    if found is None:
        return
    json.dumps(found.to_dict(), ensure_ascii=False).encode("utf-8")
    # Not every byte of the credentials themselves is hashed: some only frame them or fill them up.
    span = credentials_in(signed_jpeg)
    if (data[: span.start], data[span.stop :]) != (signed_jpeg[: span.start], signed_jpeg[span.stop :]):
        assert found.state in ("invalid", "unchecked")


def test_a_changed_statement_is_not_valid(signed_jpeg: bytes) -> None:
    assert signed_jpeg.count(b"/digitalCapture") == 1
    found = read_credentials(signed_jpeg.replace(b"/digitalCapture", b"/negativeFilm12"))
    assert found is not None
    assert found.state == "invalid"


OWN_PARENT = {"relationship": "parentOf", "active_manifest": "a"}
ODD_ACTION = {"label": "c2pa.actions", "data": {"actions": [{"action": 1, "softwareAgent": 2}]}}


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (["claimSignature.validated", "assertion.dataHash.match", "signingCredential.untrusted"], True),
        (["claimSignature.validated", "assertion.dataHash.mismatch"], False),
    ],
)
def test_an_ingredient_of_an_older_version_lists_what_is_right_as_well(codes: list[str], told: bool) -> None:
    parent = {
        "relationship": "parentOf",
        "active_manifest": "b",
        "validation_status": [{"code": code} for code in codes],
    }
    manifests = {"a": {"ingredients": [parent]}, "b": {"assertions": [created("digitalCapture")]}}
    found = credentials._understood({"active_manifest": "a", "manifests": manifests})
    assert bool(found.traces) is told


@pytest.mark.parametrize("relations", [("parentOf", "componentOf"), ("componentOf", "parentOf")])
def test_a_picture_that_is_a_parent_and_a_component_is_a_parent(relations: tuple[str, str]) -> None:
    ingredients = [{"relationship": relation, "active_manifest": "b"} for relation in relations]
    generated = {"assertions": [created("trainedAlgorithmicMedia")]}
    manifests = {"a": {"ingredients": ingredients}, "b": generated}
    found = credentials._understood({"active_manifest": "a", "manifests": manifests})
    assert {trace.kind for trace in found.traces} == {"generated", "software"}


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"active_manifest": "a", "manifests": {"a": {"assertions": 3, "signature_info": []}}},
        {"active_manifest": "a", "manifests": {"a": {"ingredients": [OWN_PARENT]}}},
        {"active_manifest": 1, "manifests": {"1": {"assertions": [ODD_ACTION]}}},
        {"validation_state": "Marvellous", "validation_status": [None, {"code": "x\x1b[2J"}]},
    ],
)
def test_reports_of_another_shape_are_understood_as_far_as_they_go(report: dict[str, Any]) -> None:
    found = credentials._understood(report)
    assert found.state == "unchecked"
    assert found.actions == ()
    assert all(text.isprintable() for text in found.problems)


def test_a_report_without_an_end_is_told_in_part() -> None:
    actions = {"label": "c2pa.actions", "data": {"actions": [{"action": f"c2pa.{n}"} for n in range(60)]}}
    statuses = [{"code": f"assertion.{n}"} for n in range(60)]
    manifests = {"a": {"assertions": [actions]}}
    report = {"active_manifest": "a", "manifests": manifests, "validation_status": statuses}
    found = credentials._understood(report)
    assert found.actions == tuple(f"c2pa.{n}" for n in range(20))
    assert found.problems == tuple(f"assertion.{n}" for n in range(20))


def test_what_cannot_be_checked_says_why(signed_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise c2pa.C2paError("the reason")

    monkeypatch.setattr(c2pa.Reader, "try_create", fail)
    assert read_credentials(signed_jpeg) == ContentCredentials("unchecked", problems=("the reason",))
