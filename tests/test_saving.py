from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facefake.errors import OutputError
from facefake.images import Picture
from facefake.results import FaceResult, ImageResult
from facefake.saving import AnnotatedFolder, CopyNames

FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), ((20.0, 20.0),) * 6, 0.9, "fake", 0.97, 0.0002, None)
RESULT = ImageResult("x.jpg", 64, 48, "fake", 0.97, 0.0002, None, (FACE,), (), "test 1")


def with_picture(path: str, file_format: str = "JPEG", icc_profile: bytes | None = None) -> ImageResult:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    return replace(RESULT, path=path, picture=Picture(pixels, path, file_format, icc_profile))


def save(folder: Path, result: ImageResult, force: bool = False) -> Path:
    return AnnotatedFolder(folder, force).save(result, CopyNames().name(result.path or ""))


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
    saved = save(tmp_path / "new" / "out", with_picture("in/x.tool", file_format))
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
        saved = save(tmp_path, with_picture("x", file_format, icc_profile), force=True)
        with Image.open(saved) as image:
            assert image.info.get("icc_profile") == icc_profile
            assert not image.getexif()
            assert set(image.info) <= {"icc_profile", "jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_pictures_of_one_name_get_numbers() -> None:
    names = CopyNames()
    given = [names.name(path) for path in ("a/x.jpg", "b/x.png", "b/X.jpg", "y.jpg")]
    assert given == ["x-annotated", "x-annotated-2", "X-annotated-3", "y-annotated"]


@given(
    st.lists(
        st.text(st.sampled_from("xX-2annoted."), min_size=1, max_size=14).map(lambda name: f"{name}.jpg")
    )
)
def test_no_two_copies_have_one_name(paths: list[str]) -> None:
    names = CopyNames()
    given = [names.name(path).casefold() for path in paths]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/x.jpg", "a/..", "..", "", "a/b/../../../x.jpg"])
def test_annotated_copies_stay_in_their_folder(path: str, tmp_path: Path) -> None:
    saved = save(tmp_path / "out", with_picture(path))
    assert saved.resolve().parent == (tmp_path / "out").resolve()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_existing_copy_is_kept_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "x-annotated.jpg"
    target.write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        save(tmp_path, with_picture("x.jpg"))
    assert target.read_text() == "precious"
    save(tmp_path, with_picture("x.jpg"), force=True)
    with Image.open(target) as image:
        assert image.format == "JPEG"


def test_a_link_is_replaced_and_what_it_points_to_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "x-annotated.jpg").symlink_to("precious")
    save(tmp_path, with_picture("x.jpg"), force=True)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "x-annotated.jpg").is_symlink()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        save(tmp_path, with_picture("x" * 300 + ".jpg"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can be written"):
        save(tmp_path / "file", with_picture("x.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_copy_of_an_interrupted_scan_is_taken_as_it_is(tmp_path: Path) -> None:
    saved = save(tmp_path, with_picture("x.jpg"))
    before = saved.stat().st_mtime_ns
    assert save(tmp_path, with_picture("x.jpg")) == saved
    assert saved.stat().st_mtime_ns == before
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(OutputError, match="expected a new file"):
        save(tmp_path, with_picture("x.jpg"))
