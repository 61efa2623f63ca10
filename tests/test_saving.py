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
from facefake.images import Picture, load_picture
from facefake.provenance import read_provenance
from facefake.results import FaceResult, ImageResult
from facefake.saving import AnnotatedFolder, CopyName, CopyNames, check_free, whole_file

FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), ((20.0, 20.0),) * 6, 0.9, "fake", 0.97, 0.0002, None)
RESULT = ImageResult("x.jpg", 64, 48, "fake", 0.97, 0.0002, None, (FACE,), (), "test 1")


def with_picture(path: str, file_format: str = "JPEG", icc_profile: bytes | None = None) -> ImageResult:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    return replace(RESULT, path=path, picture=Picture(pixels, path, file_format, icc_profile))


def save(folder: Path, result: ImageResult, force: bool = False) -> Path:
    return saved(AnnotatedFolder(folder, force), result, CopyNames(folder).name(result.path or ""))


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
        assert image.format == written


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_annotated_copies_hold_the_colour_profile_a_mark_and_no_other_metadata(
    file_format: str, tmp_path: Path
) -> None:
    profile = b"not a profile, but kept as one" * 100
    mark = CopyNames(tmp_path).name("x").mark
    for icc_profile in (profile, None):
        saved = save(tmp_path, with_picture("x", file_format, icc_profile), force=True)
        with Image.open(saved) as image:
            assert image.info.get("icc_profile") == icc_profile
            assert not image.getexif()
            comment = image.info.get("comment") or image.info["Comment"].encode()
            assert comment == f"annotated copy of picture {mark}".encode()
            known = {"icc_profile", "comment", "Comment", "jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert set(image.info) <= known
            image.load()
        assert read_provenance(saved).is_silent
        assert load_picture(saved).warnings[0].startswith("an annotated copy")


def named(*paths: str, names: CopyNames | None = None) -> dict[str, str]:
    names = names or CopyNames(Path("out"))
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
    folder, names = AnnotatedFolder(tmp_path), CopyNames(tmp_path)
    first = {
        path: saved(folder, with_picture(path), names.name(path)).stem for path in ("b/x.jpg", "c/x.jpg")
    }

    def again(*paths: str) -> dict[str, CopyName]:
        names = CopyNames(tmp_path, resume=True)
        return {path: names.name(path) for path in paths}

    given = again("a/x.jpg", "b/x.jpg", "c/x.jpg")
    assert {path: given[path].name for path in first} == first
    assert again("c/x.jpg", "b/x.jpg").items() == given.items() - {("a/x.jpg", given["a/x.jpg"])}
    before = (tmp_path / "x-annotated.jpg").read_bytes()
    added = saved(folder, with_picture("a/x.jpg"), given["a/x.jpg"])
    assert added.stem not in first.values()
    assert (tmp_path / "x-annotated.jpg").read_bytes() == before
    assert again("a/x.jpg") == {"a/x.jpg": given["a/x.jpg"]}
    changed = with_picture("b/x.jpg", icc_profile=b"another")
    assert saved(folder, changed, given["b/x.jpg"]).name == "x-annotated.jpg"
    assert (tmp_path / "x-annotated.jpg").read_bytes() != before
    assert again("d/y.jpg")["d/y.jpg"].name == "y-annotated"


def test_where_a_scan_is_gone_on_with_new_pictures_of_one_name_have_a_copy_each(tmp_path: Path) -> None:
    """Their names are given before any of the copies is drawn."""
    names = CopyNames(tmp_path, resume=True)
    first, second = names.name("a/x.jpg"), names.name("b/X.png")
    assert first.name == "x-annotated"
    assert re.fullmatch(r"X-annotated-[0-9a-f]{10}", second.name)


@pytest.mark.parametrize("file", ["x-annotated.jpg", "x-annotated.png", "x-annotated-person-1.jpg"])
def test_what_is_no_copy_is_neither_replaced_nor_removed_nor_taken_for_one(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("mine")
    folder, path = AnnotatedFolder(tmp_path), "x.jpg"
    names = CopyNames(tmp_path, resume=True)
    assert not names.has_copy(path)
    copy = names.name(path)
    added = saved(folder, with_picture(path), copy)
    assert re.fullmatch(r"x-annotated-[0-9a-f]{10}.jpg", added.name)
    assert names.has_copy(path)
    assert not names.has_copy("a/x.jpg")
    assert CopyNames(tmp_path, resume=True).name(path) == copy
    folder.drop(copy._replace(name="x-annotated"), but=[])
    assert (tmp_path / file).read_text() == "mine"
    folder.drop(copy, but=[])
    assert [found.name for found in tmp_path.iterdir()] == [file]


def test_a_file_in_the_place_of_a_copy_is_kept(tmp_path: Path) -> None:
    copy = CopyNames(tmp_path, resume=True).name("x.jpg")
    (tmp_path / "x-annotated.jpg").write_text("mine, and come meanwhile")
    with pytest.raises(OutputError, match="expected a new file"):
        saved(AnnotatedFolder(tmp_path), with_picture("x.jpg"), copy)
    assert (tmp_path / "x-annotated.jpg").read_text() == "mine, and come meanwhile"


def test_copies_are_known_again_where_they_are_moved_with_their_pictures(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for name in ("a/x.jpg", "b/x.jpg"):
        path = str(one / "in" / name)
        copy = CopyNames(one / "out", resume=True).name(path)
        saved(AnnotatedFolder(one / "out"), with_picture(path), copy)
    one.rename(other)
    names = CopyNames(other / "out", resume=True)
    assert all(names.has_copy(str(other / "in" / name)) for name in ("a/x.jpg", "b/x.jpg"))
    assert not names.has_copy(str(other / "in" / "c" / "x.jpg"))
    (tmp_path / "link").symlink_to(other)
    linked = CopyNames(tmp_path / "link" / "out", resume=True)
    assert all(linked.has_copy(str(place / "in" / "a" / "x.jpg")) for place in (other, tmp_path / "link"))


def test_the_sheets_of_an_interrupted_scan_are_taken_as_they_are(tmp_path: Path) -> None:
    sheets = [(number, Image.new("RGB", (20, 20), (number, 0, 0))) for number in (1, 2, 3)]
    folder = AnnotatedFolder(tmp_path)
    first = folder.save_sheets(sheets[:1], CopyNames(tmp_path).name("x.mp4"))
    again = CopyNames(tmp_path, resume=True).name("x.mp4")
    both = folder.save_sheets(sheets[:2], again)
    assert [*first, tmp_path / "x-annotated-person-2.jpg"] == list(both)
    other = folder.save_sheets(sheets[1:], CopyNames(tmp_path, resume=True).name("a/x.mp4"))
    assert re.fullmatch(r"x-annotated-[0-9a-f]{10}-person-2.jpg", Path(str(other[0])).name)
    assert all(isinstance(path, Path) and path.exists() for path in both)
    assert folder.save_sheets(sheets[:1], again) == first
    assert not (tmp_path / "x-annotated-person-2.jpg").exists()


def test_the_sheets_of_a_crowd_are_known_whatever_their_numbers(tmp_path: Path) -> None:
    sheets = [(number, Image.new("RGB", (20, 20), (number, 0, 0))) for number in (3, 4, 7)]
    folder = AnnotatedFolder(tmp_path)
    folder.save_sheets(sheets, CopyNames(tmp_path).name("x.mp4"))
    names = CopyNames(tmp_path, resume=True)
    assert names.has_copy("x.mp4") and not names.has_copy("x.webm")
    again = names.name("x.mp4")
    assert again.name == "x-annotated"
    assert folder.save_sheets(sheets[1:2], again) == (tmp_path / "x-annotated-person-4.jpg",)
    assert [path.name for path in tmp_path.iterdir()] == ["x-annotated-person-4.jpg"]


def test_what_a_replaced_copy_left_behind_goes(tmp_path: Path) -> None:
    others = ["x-annotated-5.jpg", "x-annotated-person-4.jpg", "xx-annotated.jpg"]
    for name in others:
        (tmp_path / name).touch()
    folder, copy = AnnotatedFolder(tmp_path), CopyNames(tmp_path).name("x.jpg")
    saved(folder, with_picture("x.jpg", "PNG"), copy)
    folder.save_sheets([(number, Image.new("RGB", (20, 20))) for number in (1, 2, 3)], copy)
    resumed = CopyNames(tmp_path, resume=True).name("x.jpg")
    saved(folder, with_picture("x.jpg"), resumed)
    left = sorted([*others, "x-annotated.jpg"])
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    folder.drop(copy, but=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    folder.drop(resumed, but=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_what_could_not_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, force: bool) -> None:
        raise OutputError("no space")

    save(tmp_path, with_picture("x.jpg", "PNG"))
    monkeypatch.setattr("facefake.saving.whole_file", full)
    with pytest.raises(OutputError, match="no space"):
        saved(
            AnnotatedFolder(tmp_path), with_picture("x.jpg"), CopyNames(tmp_path, resume=True).name("x.jpg")
        )
    assert [path.name for path in tmp_path.iterdir()] == ["x-annotated.png"]


def test_what_cannot_be_removed_is_told_beside_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".png":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    old = save(tmp_path, with_picture("x.jpg", "PNG"))
    monkeypatch.setattr(Path, "unlink", refuse)
    copy = CopyNames(tmp_path, resume=True).name("x.jpg")
    written, fault = AnnotatedFolder(tmp_path).save(with_picture("x.jpg"), copy)
    assert written == tmp_path / "x-annotated.jpg"
    assert str(fault) == f"{old}: expected to remove it, got: Permission denied"


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


@pytest.mark.parametrize("letter", ["x", "é", "\udcff"])
def test_the_longest_names_have_copies_too(letter: str, tmp_path: Path) -> None:
    names = CopyNames(tmp_path)
    stem = letter * (246 // len(os.fsencode(letter)))
    copies = [names.name(f"{stem}{number}.jpg") for number in range(2)]
    assert copies[0].name != copies[1].name
    for copy in copies:
        assert saved(AnnotatedFolder(tmp_path), with_picture("x.jpg"), copy).name == f"{copy.name}.jpg"
        assert len(os.fsencode(f"{copy.name}-person-10000.jpg")) <= 255


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
    with (
        pytest.raises(OutputError, match="File name too long"),
        whole_file(tmp_path / f"{'x' * 300}.jpg") as file,
    ):
        file.write(b"new")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can be written"):
        save(tmp_path / "file", with_picture("x.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_of_who_writes_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of another kind"), whole_file(tmp_path / "out.txt"):
        raise ValueError("of another kind")
    assert not list(tmp_path.iterdir())


def test_whether_a_file_can_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name, force in (("new", False), ("there", True), ("link", True)):
        check_free(tmp_path / name, force)
    for name, force, found in (
        ("there", False, "expected a new file, found one of that name: force overwrites it"),
        ("link", False, "expected a new file, found one of that name: force overwrites it"),
        ("folder", False, "expected a file, found a folder"),
        ("folder", True, "expected a file, found a folder"),
        ("no/new", True, f"found none at {tmp_path / 'no'}"),
    ):
        with pytest.raises(OutputError, match=found):
            check_free(tmp_path / name, force)


@pytest.mark.parametrize("name", ["nul\0byte", "nul\0byte/out.txt", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_written(
    name: str, tmp_path: Path
) -> None:
    reached = False
    with pytest.raises(OutputError, match="expected a file that can be written"), whole_file(tmp_path / name):
        reached = True
    assert not reached


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
        with pytest.raises(OutputError, match=r"x-annotated.jpg: expected a file that can be .*, got: Perm"):
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
