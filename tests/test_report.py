from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from facefake.errors import OutputError, RecordError
from facefake.journal import JsonLines
from facefake.records import read_records
from facefake.report import COLUMNS, CsvTable, write_csv
from facefake.results import ErrorResult, FaceResult, ImageResult
from facefake.settings import Settings
from facefake.video import VideoResult

POINTS = ((20.0, 20.0),) * 6
FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), POINTS, 0.9, "fake", 0.97, 0.0002, None, lack="soft")
SMALL = FaceResult(1, (30.0, 4.0, 40.0, 14.0), POINTS, 0.8, "not_applicable", None, None, "too small: 10")
RESULT = ImageResult(
    "group.jpg", 64, 48, "fake", 0.97, 0.0002, None, (FACE, SMALL), ("odd", "very odd"), "test 1"
)
EMPTY = ImageResult("empty.jpg", 64, 48, "not_applicable", None, None, "no face found", (), (), "test 1")
ERROR = ErrorResult("broken.jpg", "truncated", "broken.jpg: expected a whole file, got half of one")
WRITERS = [JsonLines, CsvTable]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_a_face_and_one_for_what_has_none(tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        for record in (RESULT, EMPTY, ERROR):
            table.write(record)
    first, second, empty, error = rows(tmp_path / "r.csv")
    assert tuple(first) == COLUMNS
    assert (first["path"], first["face"], first["verdict"]) == ("group.jpg", "1", "fake")
    assert (float(first["left"]), float(first["bottom"])) == (-3.5, 30.0)
    assert (float(first["fake_probability"]), float(first["picture_false_alarm_rate"])) == (0.97, 0.0002)
    assert first["warnings"] == "odd; very odd"
    assert (first["lack"], second["lack"]) == ("soft", "")
    assert (second["face"], second["fake_probability"], second["reason"]) == ("2", "", "too small: 10")
    assert (empty["face"], empty["picture_reason"]) == ("", "no face found")
    assert (error["picture_verdict"], error["error_kind"]) == ("error", "truncated")
    assert error["error"] == ERROR.message


def test_csv_of_every_record_fits_its_columns() -> None:
    under_other_names = {"index", "box", "keypoints", "faces", "summary", "verdict", "error"}
    under_other_names |= {
        "logit",
        "evidence",
        "sharpness",
        "grain",
        "crop_margin",
        "provenance",
        "file",
        "settings",
    }
    keys = set(RESULT.to_dict()) | set(RESULT.to_dict()["faces"][0]) | set(ERROR.to_dict())
    assert keys - under_other_names <= set(COLUMNS)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_csv_defuses_formulas(name: str, tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(replace(EMPTY, path=f"{name}.jpg"))
        table.write(ErrorResult(f"{name}.jpg", "empty", f"{name}.jpg: expected a picture, got none"))
    for row in rows(tmp_path / "r.csv"):
        assert row["path"] == f"'{name}.jpg"
    # In a message, a tab or line break is an escape, which begins no formula.
    assert rows(tmp_path / "r.csv")[1]["error"].startswith(f"'{name[0]}" if name[0].isprintable() else "\\")


@pytest.mark.parametrize("cut", [";", "\t", "\n", "\r\n"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_csv_defuses_formulas_where_a_semicolon_cuts_what_is_quoted(
    quote: str, cut: str, tmp_path: Path
) -> None:
    name = f"a{cut}{quote}=cmd|'/C calc'!A0;-1;.jpg"
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(ErrorResult(name, "empty", f"{name}: expected a picture, got none"))
        table.write(replace(RESULT, warnings=(name,)))
    assert rows(tmp_path / "r.csv")[0]["path"] == name
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter="\t" if cut == "\t" else ";") for cell in row]
    assert any("'-1" in cell or "'=cmd" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_csv_quotes_names_that_a_semicolon_would_cut(tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(replace(EMPTY, path="a;=1+1.jpg"))
    assert (tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()[1].startswith('"a;=1+1.jpg",')


def test_csv_spells_what_is_no_text(tmp_path: Path) -> None:
    record = {**RESULT.to_dict(), "path": "\ud800.jpg"}
    write_csv([record], tmp_path / "r.csv")
    assert '\n"\\ud800.jpg",' in (tmp_path / "r.csv").read_text("utf-8-sig")


def test_csv_has_a_row_for_a_clip_of_nobody(
    tmp_path: Path, video_record: Callable[[Settings], VideoResult]
) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(video_record(Settings("0" * 16, "litert", 0.01, 48.0, 1000)))
    (row,) = rows(tmp_path / "r.csv")
    assert (row["path"], row["face"], row["picture_reason"]) == ("clip.mp4", "", "no face found")


def test_a_table_made_from_records_is_the_one_that_grew_with_them(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "r.jsonl") as lines, CsvTable(tmp_path / "grown.csv") as table:
        for record in (RESULT, EMPTY, ERROR, replace(EMPTY, path="=1 \udce9\n.jpg")):
            lines.write(record)
            table.write(record)
    write_csv(read_records(tmp_path / "r.jsonl"), tmp_path / "made.csv")
    assert (tmp_path / "made.csv").read_bytes() == (tmp_path / "grown.csv").read_bytes()


def test_a_table_that_a_scan_writes_is_not_replaced(tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        with pytest.raises(OutputError, match="expected to be the only process that writes to it"):
            write_csv([EMPTY.to_dict()], tmp_path / "r.csv", force=True)
        table.write(RESULT)
    assert len(rows(tmp_path / "r.csv")) == 2
    write_csv([EMPTY.to_dict()], tmp_path / "r.csv", force=True)
    assert len(rows(tmp_path / "r.csv")) == 1


def test_a_table_that_is_written_over_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("old\n" * 1000)
    with CsvTable(tmp_path / "r.csv", force=True) as table:
        table.write(EMPTY)
    assert [row["path"] for row in rows(tmp_path / "r.csv")] == ["empty.jpg"]


def test_a_table_goes_where_a_link_leads_and_down_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "kept.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("kept.csv")
    write_csv([EMPTY.to_dict()], tmp_path / "link.csv", force=True)
    assert (tmp_path / "link.csv").is_symlink()
    assert [row["path"] for row in rows(tmp_path / "kept.csv")] == ["empty.jpg"]
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    write_csv([EMPTY.to_dict()], tmp_path / "pipe", force=True)
    reader.join(10)
    assert read == [(tmp_path / "kept.csv").read_bytes()]


def test_a_table_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps(RESULT.to_dict()) + "\nno record\n")
    with pytest.raises(RecordError, match="line 2"):
        write_csv(read_records(tmp_path / "r.jsonl"), tmp_path / "r.csv")
    (tmp_path / "old.csv").write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        write_csv([RESULT.to_dict()], tmp_path / "old.csv")
    with pytest.raises(OutputError, match="can be written"):
        write_csv([RESULT.to_dict()], tmp_path / "no" / "folder.csv")
    assert (tmp_path / "old.csv").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.csv", "r.jsonl"]
    write_csv([RESULT.to_dict()], tmp_path / "old.csv", force=True)
    assert len(rows(tmp_path / "old.csv")) == 2
