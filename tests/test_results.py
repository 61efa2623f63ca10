from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from PIL import Image

from facefake.errors import ImageError, OutputError
from facefake.images import Picture
from facefake.provenance import Provenance
from facefake.record_values import without_escapes
from facefake.results import (
    OUTLIER,
    SCHEMA_VERSION,
    ContentState,
    ErrorResult,
    FaceResult,
    FileState,
    ImageResult,
    Verdict,
    schema,
)

VALIDATOR = Draft202012Validator(schema())
POINTS = tuple((float(x), 40.0) for x in range(6))


def face(verdict: Verdict, index: int = 0) -> FaceResult:
    judged = verdict != "not_applicable"
    return FaceResult(
        index=index,
        box=(10.0, 20.0, 60.0, 70.0),
        keypoints=POINTS,
        detection_score=0.9,
        verdict=verdict,
        fake_probability=0.4 if judged else None,
        false_alarm_rate=0.002 if judged else None,
        reason={"uncertain": "because", "not_applicable": "too small: 9 pixels"}.get(verdict),
        logit=-0.3 if judged else None,
        evidence=np.array([[-1.5, 0.2], [0.4, -0.3]], np.float32) if judged else None,
        sharpness=0.7,
        grain=0.1,
    )


def result(*verdicts: Verdict) -> ImageResult:
    """A picture with faces of these verdicts, and the verdict that follows from them."""
    whole = next((v for v in ("fake", "uncertain", "real") if v in verdicts), "not_applicable")
    judged = whole != "not_applicable"
    return ImageResult(
        path="group.jpg",
        width=640,
        height=480,
        verdict=whole,  # type: ignore[arg-type]
        fake_probability=0.4 if judged else None,
        false_alarm_rate=0.002 if judged else None,
        reason=None if whole in ("fake", "real") else "because",
        faces=tuple(face(verdict, index) for index, verdict in enumerate(verdicts)),
        warnings=(),
        model="test 1",
    )


VERDICTS = st.lists(st.sampled_from(get_args(Verdict)), max_size=6)
FILES = (
    st.none()
    | st.builds(FileState, st.integers(0), st.integers())
    | st.builds(ContentState, st.integers(0), st.just(0), st.binary(min_size=32, max_size=32).map(bytes.hex))
)
TEXT = st.text(st.characters(), max_size=20)  # surrogates included, as undecodable file names have them


@st.composite
def results(draw: st.DrawFn) -> ImageResult:
    made = result(*draw(VERDICTS))
    number = st.floats(-1e5, 1e5)
    share = st.floats(0, 1)
    rate = st.floats(1e-6, 1)
    faces = tuple(
        replace(
            each,
            box=draw(st.tuples(number, number, number, number)),
            detection_score=draw(share),
            fake_probability=None if each.fake_probability is None else draw(share),
            false_alarm_rate=None if each.false_alarm_rate is None else draw(rate),
            logit=None if each.logit is None else draw(number),
            relative_score=None if each.logit is None else draw(st.none() | number),
            sharpness=draw(rate),
            grain=draw(share),
            lack=None if each.logit is None else draw(st.sampled_from([None, "soft", "grainless"])),
        )
        for each in made.faces
    )
    return replace(
        made,
        path=draw(st.none() | TEXT),
        width=draw(st.integers(1, 30_000)),
        fake_probability=None if made.fake_probability is None else draw(share),
        false_alarm_rate=None if made.false_alarm_rate is None else draw(rate),
        faces=faces,
        warnings=tuple(draw(st.lists(TEXT, max_size=2))),
        file=draw(FILES),
    )


def test_the_schema_is_a_valid_draft_2020_12_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(results())
def test_every_result_satisfies_the_schema_and_survives_json(made: ImageResult) -> None:
    record = made.to_dict()
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode("utf-8")) == record
    VALIDATOR.validate(record)
    assert record["schema_version"] == SCHEMA_VERSION


@given(st.none() | TEXT, st.text(st.characters(), min_size=1), FILES)
def test_every_error_satisfies_the_schema(path: str | None, message: str, file: FileState | None) -> None:
    record = ErrorResult(path, "truncated", message, file).to_dict()
    json.dumps(record, ensure_ascii=False).encode("utf-8")
    VALIDATOR.validate(record)
    assert record["verdict"] == "error"


def damaged(record: dict[str, Any], at: Sequence[str | int], value: object) -> dict[str, Any]:
    copy: Any = json.loads(json.dumps(record))
    place = copy
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return dict(copy)


@pytest.mark.parametrize(
    ("verdicts", "at", "value"),
    [
        (("real",), ["surprise"], 1),
        (("real",), ["faces", 0, "surprise"], 1),
        (("real",), ["verdict"], "maybe"),
        (("real",), ["fake_probability"], None),
        (("real",), ["fake_probability"], 1.2),
        (("real",), ["false_alarm_rate"], 0),
        (("real",), ["reason"], "for no reason"),
        (("real",), ["faces", 0, "fake_probability"], None),
        (("real",), ["faces", 0, "verdict"], "fake"),
        (("real",), ["faces"], []),
        (("fake", "real"), ["verdict"], "real"),
        (("uncertain", "real"), ["reason"], None),
        (("uncertain", "real"), ["faces", 0, "reason"], None),
        (("uncertain", "real"), ["verdict"], "real"),
        (("not_applicable",), ["false_alarm_rate"], 0.5),
        (("not_applicable",), ["faces", 0, "false_alarm_rate"], 0.5),
        (("not_applicable",), ["faces", 0, "reason"], None),
        (("not_applicable",), ["verdict"], "real"),
        ((), ["verdict"], "real"),
        ((), ["reason"], None),
        ((), ["width"], 0),
        ((), ["schema_version"], "0.9"),
        ((), ["file"], {"size": 10}),
        ((), ["provenance"], "a camera"),
        (("real",), ["faces", 0, "evidence"], [[]]),
        (("real",), ["faces", 0, "evidence"], [0.1, 0.2]),
        (("real",), ["faces", 0, "relative_score"], "high"),
        (("not_applicable",), ["faces", 0, "logit"], 0.5),
        (("not_applicable",), ["faces", 0, "relative_score"], 0.5),
        (("not_applicable",), ["faces", 0, "evidence"], [[0.5]]),
        (("not_applicable",), ["faces", 0, "lack"], "soft"),
        (("real",), ["faces", 0, "lack"], "small"),
        (("real",), ["faces", 0, "sharpness"], -0.1),
        (("real",), ["faces", 0, "grain"], 1.1),
        (("real",), ["faces", 0, "keypoints"], [[1, 2]] * 5),
        (("real",), ["faces", 0, "box"], [1, 2, 3]),
        ((), ["verdict"], "error"),
    ],
)
def test_the_schema_refuses_what_contradicts_itself(
    verdicts: tuple[Verdict, ...], at: list[str | int], value: object
) -> None:
    record = result(*verdicts).to_dict()
    VALIDATOR.validate(record)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(damaged(record, at, value))


@pytest.mark.parametrize("missing", sorted(result("real").to_dict()))
def test_no_field_may_be_missing(missing: str) -> None:
    record = result("real").to_dict()
    del record[missing]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(record)


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ((), "No face found, so there is nothing to judge."),
        (("fake",), "The one face found looks fake (false-alarm rate 0.2 %)."),
        (("real",), "The one face found does not look fake; that does not prove the picture authentic."),
        (("uncertain",), "The one face found is uncertain: neither clearly fake nor clearly real."),
        (("not_applicable",), "The one face found cannot be judged; it is too small: 9 pixels."),
        (("real",) * 3, "None of 3 faces looks fake; that does not prove the picture authentic."),
        (("fake", *["real"] * 13), "1 of 14 faces looks fake (false-alarm rate 0.2 %)."),
        (
            ("fake", "fake", "uncertain", "not_applicable", "real"),
            "2 of 5 faces look fake (false-alarm rate 0.2 %); 1 is uncertain; 1 cannot be judged.",
        ),
        (
            ("uncertain", "uncertain", "not_applicable", "not_applicable"),
            "None of 2 judged faces looks fake; 2 are uncertain; 2 cannot be judged.",
        ),
        (
            ("real", *["not_applicable"] * 6),
            "The only face judged does not look fake; 6 cannot be judged; "
            "that does not prove the picture authentic.",
        ),
        (("uncertain", "not_applicable"), "The only face judged is uncertain; 1 cannot be judged."),
        (("not_applicable",) * 2, "2 faces found, none of them can be judged."),
    ],
)
def test_the_summary_is_one_plain_sentence(verdicts: tuple[Verdict, ...], sentence: str) -> None:
    assert result(*verdicts).summary == sentence


@pytest.mark.parametrize(
    ("scores", "clause"),
    [
        ((None, OUTLIER, -9.0, 0.0), "1 of 4 faces looks fake (false-alarm rate 0.2 %)."),
        ((None, OUTLIER + 0.1, -9.0, 0.0), "face 2 stands out from the others."),
        ((4.0, 0.0, 0.0, 5.0), "faces 1, 4 stand out from the others."),
    ],
)
def test_the_summary_names_the_faces_that_stand_out(scores: tuple[float | None, ...], clause: str) -> None:
    made = result("fake", "real", "real", "real")
    faces = tuple(replace(each, relative_score=score) for each, score in zip(made.faces, scores, strict=True))
    assert replace(made, faces=faces).summary.endswith(clause)


@given(VERDICTS)
def test_counts_cover_every_verdict_and_every_face(verdicts: list[Verdict]) -> None:
    counts = result(*verdicts).counts
    assert set(counts) == set(get_args(Verdict))
    assert sum(counts.values()) == len(verdicts)
    assert all(counts[verdict] == verdicts.count(verdict) for verdict in counts)


def test_numbers_keep_what_matters_and_no_more() -> None:
    exact = replace(face("fake"), box=(1.23456, 2.0, 3.0, 4.0), false_alarm_rate=1.23456789e-6)
    record = exact.to_dict()
    assert record["box"][0] == 1.23
    assert record["false_alarm_rate"] == 1.23457e-6
    drawn = replace(exact, evidence=np.array([[1 / 3, -12345.678]], np.float32)).to_dict()["evidence"]
    assert drawn == [[0.3333, -12350.0]]


def test_numpy_numbers_become_plain_ones() -> None:
    half: Any = np.float32(0.5)
    odd = replace(face("real"), box=(half, half, half, half), detection_score=half)
    assert json.loads(json.dumps(odd.to_dict()))["box"] == [0.5] * 4


def test_an_undecodable_path_becomes_readable_unicode() -> None:
    path = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert replace(result(), path=path).to_dict()["path"] == "caf\\udce9.jpg"
    fault = ImageError(path=path, kind="truncated", expected="a whole file", got="half of one")
    for message in (f"{path}: expected a whole file, got half of one", str(fault)):
        told = ErrorResult(path, "truncated", message).to_dict()["error"]["message"]
        assert told == "caf\\udce9.jpg: expected a whole file, got half of one"


def test_an_error_s_message_is_one_line_of_printable_characters_whatever_the_path() -> None:
    path, got = "a\nERROR b\x1b[31m\u202e\0.jpg", "two\nlines"
    fault = ImageError(path=path, kind="truncated", expected="a whole file", got=got)
    assert str(fault) == r"a\nERROR b\x1b[31m\u202e\x00.jpg: expected a whole file, got two\nlines"
    assert (fault.path, fault.got) == (path, got)
    record = ErrorResult(path, "truncated", str(fault)).to_dict()
    assert (record["path"], record["error"]["message"]) == (path, str(fault))


def test_what_is_too_long_for_a_path_does_not_fill_a_log() -> None:
    content = "data:image/jpeg;base64," + "A" * 1_000_000
    fault = ImageError(path=content, kind="unreadable", expected="a file", got="none")
    assert str(fault).startswith("data:image/jpeg;base64,AAA") and len(str(fault)) < 200
    assert fault.path == content


@given(st.text(st.sampled_from("\\ud8fc\ud800\udcffé")), st.text(st.sampled_from("\\ud8fc\ud800\udcffé")))
@example("x\udcff.jpg", "x\\udcff.jpg")
@example("\\\udcff", "\\\\udcff")
def test_no_two_paths_have_the_same_record_path(one: str, other: str) -> None:
    told = [replace(result(), path=path).to_dict()["path"] for path in (one, other)]
    assert (told[0] == told[1]) is (one == other)
    assert [without_escapes(path) for path in told] == [one, other]


@pytest.mark.parametrize("path", ["a.jpg", "C:\\x\\up\\udder.jpg", "\\ud7ff", "\\uDCFF"])
def test_the_record_path_of_a_name_that_is_text_is_that_name(path: str) -> None:
    assert replace(result(), path=path).to_dict()["path"] == path


def test_people_count_from_one() -> None:
    assert face("real", 0).number == 1


def test_results_are_frozen_compare_without_pixels_and_pickle() -> None:
    picture = Picture(np.zeros((480, 640, 3), np.uint8))
    with_picture = replace(result("fake"), picture=picture)
    assert with_picture == result("fake")
    assert "picture" not in repr(with_picture)
    assert pickle.loads(pickle.dumps(result("fake", "real"))) == result("fake", "real")
    with pytest.raises(FrozenInstanceError):
        with_picture.verdict = "real"  # type: ignore[misc]


def test_what_a_file_says_of_itself_is_recorded_as_it_is() -> None:
    provenance = Provenance(notes=("EXIF metadata not read",))
    record = replace(result("real"), provenance=provenance, file=FileState(10, 20)).to_dict()
    VALIDATOR.validate(record)
    assert (record["provenance"], record["file"]) == (provenance.to_dict(), {"size": 10, "modified_ns": 20})


def test_annotated_draws_on_the_picture_that_it_keeps() -> None:
    picture = Picture(np.zeros((480, 640, 3), np.uint8))
    drawn = replace(result("fake"), picture=picture).annotated()
    assert isinstance(drawn, Image.Image)
    assert drawn.width == 640


def test_annotated_without_a_picture_says_what_to_do() -> None:
    with pytest.raises(OutputError, match="analyse it again"):
        result("fake").annotated()
