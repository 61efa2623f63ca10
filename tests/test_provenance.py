from __future__ import annotations

import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image, PngImagePlugin
from rich.console import Console

from facefake import provenance, terminal
from facefake.credentials import ContentCredentials
from facefake.detector import FakeImageDetector
from facefake.errors import ImageError
from facefake.provenance import CLAIMS, Provenance, read_provenance
from facefake.reading import EncodedFile
from facefake.results import ImageResult, schema
from facefake.traces import Trace

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
SCHEMA = schema()
CREDENTIAL_STATES = SCHEMA["$defs"]["content_credentials"]["properties"]["state"]["enum"]
VALIDATOR = Draft202012Validator({"$ref": "#/$defs/provenance", "$defs": SCHEMA["$defs"]})
KINDS = ("generated", "partly_generated", "captured", "edited", "software", "other")


def png(picture: Image.Image | None = None, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    (picture or Image.new("RGB", (64, 64), "grey")).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def trace(kind: str, name: str = "thing") -> Trace:
    return Trace(kind, name, "EXIF Software", name)  # type: ignore[arg-type]


TEXT = st.text(max_size=10)
TRACES = st.lists(st.builds(Trace, st.sampled_from(KINDS), TEXT, TEXT.map("in ".__add__), TEXT), max_size=4)
PROVENANCES = st.builds(
    Provenance,
    st.none()
    | st.builds(
        ContentCredentials,
        st.sampled_from(CREDENTIAL_STATES),
        signer=st.none() | TEXT,
        issuer=st.none() | TEXT,
        problems=st.lists(TEXT, max_size=2).map(tuple),
        traces=TRACES.map(tuple),
    ),
    TRACES.map(tuple),
    st.lists(st.text(min_size=1), max_size=2).map(tuple),
)


@given(PROVENANCES)
def test_every_record_satisfies_the_schema_and_survives_json(made: Provenance) -> None:
    record = made.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    VALIDATOR.validate(record)
    told, credentials = record["content_credentials"], made.content_credentials
    assert (told and told["state"]) == (credentials and credentials.state)
    assert pickle.loads(pickle.dumps(made)) == made


@given(PROVENANCES)
def test_the_claim_is_the_gravest_that_can_be_believed(made: Provenance) -> None:
    believed = list(made.traces)
    if made.content_credentials is not None and made.content_credentials.state != "invalid":
        believed += made.content_credentials.traces
    kinds = {each.kind for each in believed}
    assert made.claim == min((claim for claim in CLAIMS if claim in {*kinds, "nothing"}), key=CLAIMS.index)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (Provenance(), "The file does not say where it comes from."),
        (
            Provenance(notes=("EXIF metadata not read",)),
            "What could be read of the file's metadata does not say where it comes from.",
        ),
        (
            Provenance(traces=(trace("software", "GIMP"), trace("other", "digitalArt"))),
            "The file says about its picture's origin: “digitalArt” (EXIF Software); anybody can write or remove that.",
        ),
        (
            Provenance(
                traces=(trace("other", "composite"), trace("captured", "Canon"), trace("edited", "x"))
            ),
            "The file names a camera or a scan: “Canon” (EXIF Software); anybody can write or remove that. "
            "The file says that its picture was edited: x (EXIF Software); anybody can write or remove that. "
            "The file says about its picture's origin: “composite” (EXIF Software); anybody can write or remove that.",
        ),
        (
            Provenance(traces=(trace("software", "GIMP"),)),
            "The file names the software that wrote it, “GIMP” (EXIF Software), and no camera.",
        ),
        *(
            (
                replace(made, traces=(trace("software", "GIMP"),)),
                f"{begins}The file names the software that wrote it, “GIMP” (EXIF Software).",
            )
            for made, begins in (
                (Provenance(notes=("EXIF metadata not read",)), ""),
                (
                    Provenance(ContentCredentials("remote")),
                    "The file refers to content credentials stored elsewhere; they were not fetched. ",
                ),
            )
        ),
        (
            Provenance(traces=(trace("captured", "Canon EOS R5"), trace("software", "GIMP"))),
            "The file names a camera or a scan: “Canon EOS R5” (EXIF Software); anybody can write or remove that.",
        ),
        (
            Provenance(traces=(trace("captured"), trace("generated", "Flux"), trace("generated", "Flux"))),
            "The file says that its picture was generated: Flux (EXIF Software); anybody can write or remove that.",
        ),
        (
            Provenance(traces=tuple(trace("generated", name) for name in "abc")),
            "The file says that its picture was generated: a (EXIF Software), b (EXIF Software), c (EXIF Software); "
            "anybody can write or remove that.",
        ),
        (
            Provenance(traces=tuple(trace("generated", name) for name in "abcde")),
            "The file says that its picture was generated: a (EXIF Software), b (EXIF Software), c (EXIF Software) "
            "and 2 more; anybody can write or remove that.",
        ),
        (
            Provenance(ContentCredentials("trusted", issuer="Adobe", traces=(trace("partly_generated"),))),
            "The file has intact content credentials, signed as “Adobe”. "
            "The file says that a part of its picture was generated: thing (EXIF Software).",
        ),
        (
            Provenance(
                ContentCredentials("valid", "me", traces=(trace("generated", "a"),)),
                (trace("generated", "b"),),
            ),
            "The file has intact content credentials, signed as “me”, though nobody vouches for that name. "
            "The file says that its picture was generated: a (EXIF Software), b (EXIF Software); "
            "anybody can write or remove that.",
        ),
        (
            Provenance(ContentCredentials("valid", signer="me")),
            "The file has intact content credentials, signed as “me”, though nobody vouches for that name.",
        ),
        (
            Provenance(
                ContentCredentials("invalid", issuer="Leica", problems=("signingCredential.expired",))
            ),
            "The file has content credentials, signed as “Leica”, that are not valid (signingCredential.expired).",
        ),
        (
            Provenance(
                ContentCredentials("invalid", problems=("y", "x.mismatch"), traces=(trace("captured"),))
            ),
            "The file has content credentials, signed as somebody unnamed, that do not match it (x.mismatch): it has "
            "been changed since, or they were forged.",
        ),
        (
            Provenance(ContentCredentials("remote")),
            "The file refers to content credentials stored elsewhere; they were not fetched.",
        ),
        (
            Provenance(ContentCredentials("unchecked", problems=("because",)), (trace("edited"),)),
            "The file has content credentials that were not checked: because. The file says that its picture was "
            "edited: thing (EXIF Software); anybody can write or remove that.",
        ),
    ],
)
def test_the_summary_says_it_plainly(made: Provenance, sentence: str) -> None:
    assert made.summary == sentence


def test_no_words_of_a_stranger_pass_for_the_summarys() -> None:
    words = "GIMP”. The file has intact content credentials"
    own = "“GIMP'. The file has intact content credentials”"
    assert f"it, {own} (EXIF Software)," in Provenance(traces=(trace("software", words),)).summary
    assert f"signed as {own}," in Provenance(ContentCredentials("valid", issuer=words)).summary


@given(PROVENANCES)
def test_what_is_told_is_never_denied(made: Provenance) -> None:
    if {each.kind for each in made.traces} & {"captured", "edited", "other"}:
        assert "does not say" not in made.summary
        assert "no camera" not in made.summary


def test_it_is_silent_only_when_the_file_says_nothing() -> None:
    assert Provenance(notes=("EXIF not read",)).is_silent
    assert not Provenance(traces=(trace("software"),)).is_silent
    assert not Provenance(ContentCredentials("remote")).is_silent


def test_a_path_bytes_and_what_was_read_before_give_one_answer(tmp_path: Path) -> None:
    data = png(parameters="Steps: 9, Sampler: Euler")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    answers = [read_provenance(source) for source in (data, path, str(path), EncodedFile(data, "x"))]
    assert answers == [answers[0]] * 4
    assert answers[0].claim == "generated"


def test_bytes_may_be_of_any_kind() -> None:
    file = png(parameters="Steps: 9, Seed: 1")
    assert read_provenance(file).traces
    assert read_provenance(bytearray(file)) == read_provenance(memoryview(file)) == read_provenance(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no file of that name"):
        read_provenance(tmp_path / "missing.png")
    with pytest.raises(TypeError, match="got a Image"):
        read_provenance(Image.new("RGB", (9, 9)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a path or the bytes of a file, got a int"):
        read_provenance(3)  # type: ignore[arg-type]


def test_generators_come_first_and_there_is_an_end_to_it() -> None:
    texts = {f"Software{n}": "" for n in range(3)} | {"Software": "GIMP", "parameters": "Steps: 9, Seed: 1"}
    assert [t.kind for t in read_provenance(png(**texts)).traces] == ["generated", "software"]
    history = "".join(f"<e:softwareAgent>Editor {n}</e:softwareAgent>" for n in range(40))
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:e="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/">{history}<tiff:Make>Canon</tiff:Make></x:xmpmeta>'
    )
    assert read_provenance(png(**{"XML:com.adobe.xmp": packet})).claim == "captured"
    makers = {f"AIGC {n}": json.dumps({"Label": "1", "ContentProducer": str(n)}) for n in range(60)}
    assert len(read_provenance(png(**makers)).traces) == 30


@pytest.fixture(scope="module")
def results() -> dict[str, ImageResult]:
    with Image.open(SAMPLES / "astronaut.jpg") as astronaut:
        files = {
            "said": png(astronaut, parameters="Steps: 9, Sampler: Euler\x1b[2J"),
            "silent": png(astronaut),
        }
    with FakeImageDetector() as detector:
        found = {name: detector.analyze(data) for name, data in files.items()}
        found["decoded"] = detector.analyze(Image.open(io.BytesIO(files["said"])))
    return found


def test_every_result_of_a_file_has_one_and_it_changes_no_verdict(results: dict[str, ImageResult]) -> None:
    said, silent, decoded = results["said"], results["silent"], results["decoded"]
    assert said.provenance is not None and said.provenance.claim == "generated"
    assert silent.provenance == Provenance()
    assert decoded.provenance is None
    assert [face.verdict for face in said.faces] == ["real"]
    assert replace(said, provenance=None) == replace(silent, provenance=None)
    for result in results.values():
        Draft202012Validator(SCHEMA).validate(result.to_dict())


def test_a_file_is_read_once(tmp_path: Path) -> None:
    class Counting(io.BytesIO):
        opened = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.opened += self.tell() == 0
            return super().read(size)

    file = Counting(png(Software="GIMP"))
    with FakeImageDetector() as detector:
        result = detector.analyze(file)
    assert result.provenance is not None and not result.provenance.is_silent
    assert file.opened == 1


def test_the_terminal_tells_it_where_there_is_something_to_tell(results: dict[str, ImageResult]) -> None:
    def shown(result: ImageResult) -> str:
        console = Console(file=io.StringIO(), width=200, markup=False, emoji=False, highlight=False)
        console.print(terminal.picture(result, "a.png", width=200))
        return console.file.getvalue()  # type: ignore[attr-defined]

    assert "Origin: The file says that its picture was generated: Stable Diffusion" in shown(results["said"])
    assert "\x1b" not in shown(results["said"])
    assert "Origin:" not in shown(results["silent"])
    assert "Origin:" not in shown(results["decoded"])


def with_xmp_provenance(text: str) -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:dcterms="http://purl.org/dc/terms/">'
        f"<dcterms:provenance>{text}</dcterms:provenance></x:xmpmeta>"
    )
    return png(**{"XML:com.adobe.xmp": packet})


@pytest.mark.parametrize(
    "text", ["Collection of Mr Smith; sold 1923", "self#jumbf=/c2pa/urn:c2pa:1/c2pa.claim", ""]
)
def test_what_is_no_address_names_no_credentials_that_lie_elsewhere(text: str) -> None:
    assert read_provenance(with_xmp_provenance(text)) == Provenance()


def test_credentials_that_lie_elsewhere_do_not_hide_those_in_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = with_xmp_provenance("http://example.org/manifest")
    assert read_provenance(data).content_credentials == ContentCredentials("remote")
    invalid = ContentCredentials("invalid")
    monkeypatch.setattr(provenance, "read_credentials", lambda data: invalid)
    assert read_provenance(data).content_credentials is invalid


def test_only_xmp_names_credentials_that_lie_elsewhere() -> None:
    assert read_provenance(png(provenance="Collection of Mr Smith; sold 1923")) == Provenance()
