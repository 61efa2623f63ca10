from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from facefake.errors import OutputError
from facefake.images import Picture
from facefake.report import COLUMNS, CsvTable, JsonLines
from facefake.results import ErrorResult, FaceResult, ImageResult, schema
from facefake.saving import AnnotatedFolder

POINTS = ((20.0, 20.0),) * 6
FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), POINTS, 0.9, "fake", 0.97, 0.0002, None)
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


def with_picture(path: str, file_format: str = "JPEG", icc_profile: bytes | None = None) -> ImageResult:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    return replace(RESULT, path=path, picture=Picture(pixels, path, file_format, icc_profile))


def test_json_lines_hold_one_valid_record_each(tmp_path: Path) -> None:
    odd = replace(EMPTY, path="line\u2028break\udce9\n.jpg")
    with JsonLines(tmp_path / "r.jsonl") as file:
        for record in (RESULT, ERROR, odd):
            file.write(record)
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [RESULT.to_dict(), ERROR.to_dict(), odd.to_dict()]
    for line in lines:
        Draft202012Validator(schema()).validate(json.loads(line))


@pytest.mark.parametrize("writer", WRITERS)
def test_records_are_on_disk_before_the_file_is_closed(writer: Any, tmp_path: Path) -> None:
    with writer(tmp_path / "r") as file:
        before = (tmp_path / "r").stat().st_size
        file.write(RESULT)
        assert (tmp_path / "r").stat().st_size > before


@pytest.mark.parametrize("writer", WRITERS)
def test_an_existing_file_is_kept_unless_forced(writer: Any, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        writer(tmp_path / "r")
    assert (tmp_path / "r").read_text() == "precious"
    with writer(tmp_path / "r", force=True) as file:
        file.write(ERROR)
    assert "precious" not in (tmp_path / "r").read_text()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["no/such/folder", "nul\0byte"])
def test_a_file_that_cannot_be_created_is_an_output_error(writer: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can be created"):
        writer(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error() -> None:
    file = JsonLines(Path("/dev/full"), force=True)
    with pytest.raises(OutputError, match="No space left"):
        file.write(RESULT)


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
    assert (second["face"], second["fake_probability"], second["reason"]) == ("2", "", "too small: 10")
    assert (empty["face"], empty["picture_reason"]) == ("", "no face found")
    assert (error["picture_verdict"], error["error_kind"]) == ("error", "truncated")
    assert error["error"] == ERROR.message


def test_csv_of_every_record_fits_its_columns() -> None:
    under_other_names = {"index", "box", "keypoints", "faces", "summary", "verdict", "error"}
    keys = set(RESULT.to_dict()) | set(RESULT.to_dict()["faces"][0]) | set(ERROR.to_dict())
    assert keys - under_other_names <= set(COLUMNS)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_csv_defuses_formulas(name: str, tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(replace(EMPTY, path=f"{name}.jpg"))
        table.write(ErrorResult(f"{name}.jpg", "empty", f"{name}.jpg: expected a picture, got none"))
    for row in rows(tmp_path / "r.csv"):
        assert row["path"] == f"'{name}.jpg"
    assert rows(tmp_path / "r.csv")[1]["error"].startswith(f"'{name}")


def test_csv_quotes_names_that_a_semicolon_would_cut(tmp_path: Path) -> None:
    with CsvTable(tmp_path / "r.csv") as table:
        table.write(replace(EMPTY, path="a;=1+1.jpg"))
    assert (tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()[1].startswith('"a;=1+1.jpg",')


@pytest.mark.parametrize(
    ("file_format", "name", "written"),
    [
        ("JPEG", "x-annotated.jpg", "JPEG"),
        ("PNG", "x-annotated.png", "PNG"),
        ("WEBP", "x-annotated.jpg", "JPEG"),
    ],
)
def test_annotated_copies_are_saved_as_their_source_was(
    file_format: str, name: str, written: str, tmp_path: Path
) -> None:
    saved = AnnotatedFolder(tmp_path / "new" / "out").save(with_picture("in/x.tool", file_format))
    assert saved == tmp_path / "new" / "out" / name
    assert [path.name for path in saved.parent.iterdir()] == [name]
    with Image.open(saved) as image:
        assert (image.format, image.width) == (written, 64)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_annotated_copies_hold_the_colour_profile_and_no_other_metadata(
    file_format: str, tmp_path: Path
) -> None:
    profile = b"not a profile, but kept as one"
    for icc_profile in (profile, None):
        saved = AnnotatedFolder(tmp_path, force=True).save(with_picture("x", file_format, icc_profile))
        with Image.open(saved) as image:
            assert image.info.get("icc_profile") == icc_profile
            assert not image.getexif()
            assert set(image.info) <= {"icc_profile", "jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_pictures_of_one_name_get_numbers(tmp_path: Path) -> None:
    album = AnnotatedFolder(tmp_path)
    names = [album.save(with_picture(path)).name for path in ("a/x.jpg", "b/x.jpg", "b/X.jpg")]
    assert names == ["x-annotated.jpg", "x-annotated-2.jpg", "X-annotated-3.jpg"]


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/x.jpg", "a/..", "..", "", "a/b/../../../x.jpg"])
def test_annotated_copies_stay_in_their_folder(path: str, tmp_path: Path) -> None:
    saved = AnnotatedFolder(tmp_path / "out").save(with_picture(path))
    assert saved.resolve().parent == (tmp_path / "out").resolve()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_existing_copy_is_kept_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "x-annotated.jpg"
    target.write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        AnnotatedFolder(tmp_path).save(with_picture("x.jpg"))
    assert target.read_text() == "precious"
    AnnotatedFolder(tmp_path, force=True).save(with_picture("x.jpg"))
    with Image.open(target) as image:
        assert image.format == "JPEG"


def test_a_link_is_replaced_and_what_it_points_to_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "x-annotated.jpg").symlink_to("precious")
    AnnotatedFolder(tmp_path, force=True).save(with_picture("x.jpg"))
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "x-annotated.jpg").is_symlink()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        AnnotatedFolder(tmp_path).save(with_picture("x" * 300 + ".jpg"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can be written"):
        AnnotatedFolder(tmp_path / "file").save(with_picture("x.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
