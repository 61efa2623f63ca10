from __future__ import annotations

import os
import re
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
from facefake.saving import AnnotatedFolder, CopyName, CopyNames, whole_file

FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), ((20.0, 20.0),) * 6, 0.9, "fake", 0.97, 0.0002, None)
RESULT = ImageResult("x.jpg", 64, 48, "fake", 0.97, 0.0002, None, (FACE,), (), "test 1")


def with_picture(path: str, file_format: str = "JPEG", icc_profile: bytes | None = None) -> ImageResult:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    return replace(RESULT, path=path, picture=Picture(pixels, path, file_format, icc_profile))


def save(folder: Path, result: ImageResult, force: bool = False) -> Path:
    return saved(AnnotatedFolder(folder, force), result, CopyNames().name(result.path or ""))


def saved(folder: AnnotatedFolder, result: ImageResult, copy: CopyName) -> Path:
    (outcome,) = folder.save(result, copy)
    if isinstance(outcome, OutputError):
        raise outcome
    return outcome


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


def named(*paths: str, names: CopyNames | None = None) -> dict[str, str]:
    names = names or CopyNames()
    return {path: names.name(path).name for path in paths}


def test_pictures_of_one_name_get_a_digest_of_their_path() -> None:
    given = named("a/x.jpg", "b/x.png", "b/X.jpg", "y.jpg")
    assert [given["a/x.jpg"], given["y.jpg"]] == ["x-annotated", "y-annotated"]
    assert re.fullmatch(r"x-annotated-[0-9a-f]{10}", given["b/x.png"])
    assert re.fullmatch(r"X-annotated-[0-9a-f]{10}", given["b/X.jpg"])
    assert named("a/x.jpg", "a/y/x.jpg", "b/x.png", "b/X.jpg").items() >= given.items() - {
        ("y.jpg", "y-annotated")
    }


@given(
    st.lists(
        st.text(st.sampled_from("xX-2annoted."), min_size=1, max_size=14).map(lambda name: f"{name}.jpg"),
        unique=True,
    )
)
def test_no_two_copies_have_one_name(paths: list[str]) -> None:
    given = {name.casefold() for name in named(*paths).values()}
    assert len(given) == len(paths)


def test_a_copy_of_an_earlier_scan_is_replaced_by_its_own_picture_alone(tmp_path: Path) -> None:
    first = named("b/x.jpg", "c/x.jpg")
    for name in first.values():
        (tmp_path / f"{name}.jpg").touch()

    def again(*paths: str) -> dict[str, CopyName]:
        names = CopyNames(tmp_path, known=first.__contains__)
        return {path: names.name(path) for path in paths}

    given = again("a/x.jpg", "b/x.jpg", "c/x.jpg")
    assert given["c/x.jpg"] == CopyName(first["c/x.jpg"], replace=True)
    assert again("b/x.jpg")["b/x.jpg"] == given["b/x.jpg"] == CopyName("x-annotated", replace=True)

    folder = AnnotatedFolder(tmp_path)
    added = saved(folder, with_picture("a/x.jpg"), given["a/x.jpg"])
    assert added.stem not in first.values()
    assert (tmp_path / "x-annotated.jpg").read_bytes() == b""
    assert again("a/x.jpg")["a/x.jpg"] == CopyName(added.stem, replace=True)
    other = again("d/y.jpg")["d/y.jpg"]
    assert saved(folder, with_picture("d/y.jpg"), other).stem == "y-annotated"
    assert saved(folder, with_picture("d/y.jpg"), other).stem == "y-annotated"


@pytest.mark.parametrize("copy", ["x-annotated.png", "x-annotated-person-1.jpg"])
def test_a_picture_that_is_added_takes_no_name_that_another_has_with_another_ending(
    copy: str, tmp_path: Path
) -> None:
    (tmp_path / copy).touch()
    folder, path = AnnotatedFolder(tmp_path), "x.jpg"
    added = saved(folder, with_picture(path), CopyNames(tmp_path).name(path))
    assert re.fullmatch(r"x-annotated-[0-9a-f]{10}.jpg", added.name)
    known = CopyNames(tmp_path, known=lambda path: True)
    assert saved(folder, with_picture(path), known.name(path)) == added
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted([copy, added.name])


def test_the_sheets_of_an_interrupted_scan_are_taken_as_they_are(tmp_path: Path) -> None:
    sheets = [(number, Image.new("RGB", (20, 20), (number, 0, 0))) for number in (1, 2)]
    folder = AnnotatedFolder(tmp_path)
    first = folder.save_sheets(sheets[:1], CopyNames(tmp_path).name("x.mp4"))
    both = folder.save_sheets(sheets, CopyNames(tmp_path).name("x.mp4"))
    assert [*first, tmp_path / "x-annotated-person-2.jpg"] == list(both)
    other = folder.save_sheets(sheets[1:], CopyNames(tmp_path).name("x.mp4"))
    assert re.fullmatch(r"x-annotated-[0-9a-f]{10}-person-2.jpg", Path(str(other[0])).name)
    assert all(isinstance(path, Path) and path.exists() for path in both)


def test_whether_a_picture_may_have_a_copy(tmp_path: Path) -> None:
    (tmp_path / "x-annotated.png").touch()
    names = CopyNames(tmp_path)
    assert names.has_copy("a/x.jpg")
    assert not names.has_copy("a/y.jpg")
    own = names.name("a/y.jpg").otherwise
    (tmp_path / f"{own}-person-1.jpg").touch()
    assert names.has_copy("a/y.jpg")
    assert not names.has_copy("b/y.jpg")


def test_what_a_replaced_copy_left_behind_goes(tmp_path: Path) -> None:
    people = [f"x-annotated-person-{number}.jpg" for number in (1, 2, 3)]
    for name in ("x-annotated.png", *people, "x-annotated-5.jpg", "xx-annotated.jpg"):
        (tmp_path / name).touch()
    folder, copy = AnnotatedFolder(tmp_path), CopyName("x-annotated", replace=True)
    saved(folder, with_picture("x.jpg"), copy)
    left = ["x-annotated-5.jpg", "x-annotated.jpg", "xx-annotated.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    folder.drop(CopyName("x-annotated"), but=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    folder.drop(copy, but=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == [left[0], left[2]]


def test_what_could_not_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, force: bool) -> None:
        raise OutputError("no space")

    (tmp_path / "x-annotated.png").write_text("of the picture as it was")
    monkeypatch.setattr("facefake.saving.whole_file", full)
    with pytest.raises(OutputError, match="no space"):
        saved(AnnotatedFolder(tmp_path), with_picture("x.jpg"), CopyName("x-annotated", replace=True))
    assert [path.name for path in tmp_path.iterdir()] == ["x-annotated.png"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe, force=True) as file:
        file.write(b"all of it")
    assert os.read(reader, 100) == b"all of it"
    os.close(reader)
    assert pipe.is_fifo()


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


def test_through_a_link_its_end_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "end").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("end")
    with whole_file(link, force=True, through=True) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "end").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["end", "link"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        save(tmp_path, with_picture("x" * 300 + ".jpg"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can be written"):
        save(tmp_path / "file", with_picture("x.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_compared_is_kept_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "x-annotated.jpg").write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "read_bytes", refuse
        )  # root may read anything, so permissions alone prove nothing
        with pytest.raises(OutputError, match=r"x-annotated: expected a file that can be written, got: Perm"):
            saved(AnnotatedFolder(tmp_path), with_picture("x.jpg"), CopyNames(tmp_path).name("x.jpg"))
    assert (tmp_path / "x-annotated.jpg").read_text() == "precious"


def test_the_copy_of_an_interrupted_scan_is_taken_as_it_is(tmp_path: Path) -> None:
    saved = save(tmp_path, with_picture("x.jpg"))
    before = saved.stat().st_mtime_ns
    assert save(tmp_path, with_picture("x.jpg")) == saved
    assert saved.stat().st_mtime_ns == before
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(OutputError, match="expected a new file"):
        save(tmp_path, with_picture("x.jpg"))
