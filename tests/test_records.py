from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facefake.errors import RecordError
from facefake.records import line_of, read_lines, read_records
from facefake.results import ErrorResult, FaceResult, ImageResult
from facefake.settings import Settings
from facefake.video import VideoResult

FACE = FaceResult(0, (1.0, 2.0, 30.0, 40.0), ((9.0, 9.0),) * 6, 0.9, "fake", 0.9, 0.001, None)
PICTURE = ImageResult("a.jpg", 64, 48, "fake", 0.9, 0.001, None, (FACE,), ("odd",), "test 1").to_dict()
ERROR = ErrorResult("b.jpg", "truncated", "b.jpg: expected a whole file, got half of one").to_dict()


@pytest.fixture
def video(video_record: Callable[[Settings], VideoResult]) -> dict[str, Any]:
    return video_record(Settings("0" * 16, "litert", 0.01, 48.0, 1000)).to_dict()


def test_records_are_read_back(tmp_path: Path, video: dict[str, Any]) -> None:
    records = [json.loads(line_of(record)) for record in (PICTURE, ERROR, video)]
    (tmp_path / "r.jsonl").write_bytes(b"".join(map(line_of, records)))
    assert list(read_records(tmp_path / "r.jsonl")) == records


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", 7),
        ("verdict", None),
        ("schema_version", None),
        ("schema_version", "99.0"),
        ("file", {"size": 3}),
        ("model", None),
        ("warnings", "odd"),
        ("warnings", [7]),
        ("faces", {}),
        ("faces", [7]),
        ("faces", [{"index": "0", "box": [1, 2, 3, 4]}]),
        ("faces", [{"index": 0, "box": [1, 2, 3]}]),
        ("faces", [{"index": 0, "box": "1234"}]),
    ],
)
def test_what_is_no_record_is_refused_by_its_line(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / "r.jsonl").write_bytes(line_of(PICTURE) + line_of(PICTURE | {name: value}))
    with pytest.raises(RecordError, match="line 2: expected a record, got: "):
        list(read_records(tmp_path / "r.jsonl"))


@pytest.mark.parametrize("error", [None, 7, "truncated", {"kind": "truncated"}, ["kind", "message"]])
def test_a_failure_says_what_it_is(tmp_path: Path, error: object) -> None:
    (tmp_path / "r.jsonl").write_bytes(line_of(ERROR | {"error": error}))
    with pytest.raises(RecordError, match=r"line 1: .* for error"):
        list(read_records(tmp_path / "r.jsonl"))


@pytest.mark.parametrize("persons", [None, [7], [{}], [{"index": "0"}]])
def test_a_video_has_its_persons(tmp_path: Path, video: dict[str, Any], persons: object) -> None:
    (tmp_path / "r.jsonl").write_bytes(line_of(video | {"persons": persons, "faces": []}))
    with pytest.raises(RecordError, match=r"line 1: .* for persons"):
        list(read_records(tmp_path / "r.jsonl"))


@pytest.mark.parametrize("line", [b"7\n", b"[]\n", b'"text"\n', b"[" * 99_999 + b"\n", b"{\n"])
def test_a_whole_line_of_anything_else_is_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(line_of(PICTURE) + line)
    with pytest.raises(RecordError, match="line 2: expected a record, got: "):
        list(read_records(tmp_path / "r.jsonl"))


@pytest.mark.parametrize("kept", [1, 25, 300])
def test_a_record_that_is_being_written_is_told_from_a_broken_one(tmp_path: Path, kept: int) -> None:
    begun = line_of(PICTURE)[:kept]
    (tmp_path / "r.jsonl").write_bytes(line_of(PICTURE) + begun)
    assert [record is None for _, record in read_lines(tmp_path / "r.jsonl")] == [False, True]
    (tmp_path / "r.jsonl").write_bytes(line_of(PICTURE) + begun + b"\n")
    with pytest.raises(RecordError, match="line 2: expected a record"):
        list(read_lines(tmp_path / "r.jsonl"))
