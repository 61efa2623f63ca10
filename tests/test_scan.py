from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from facefake.detector import FakeImageDetector
from facefake.errors import ImageError, MissingLibraryError, ModelError
from facefake.images import load_picture
from facefake.results import ErrorResult, ImageResult
from facefake.scan import find_pictures, scan


def touched(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


def stand_in(analyze: Callable[[str], object]) -> FakeImageDetector:
    """A detector that analyses in the given way."""
    return cast(FakeImageDetector, type("StandIn", (), {"analyze": staticmethod(analyze)})())


def result(path: str) -> ImageResult:
    return ImageResult(path, 8, 8, "not_applicable", None, None, "no face found", (), (), "test 1")


def error(found: str | ErrorResult) -> ErrorResult:
    assert isinstance(found, ErrorResult)
    return found


def test_folders_are_read_recursively_by_name_and_suffix(tmp_path: Path) -> None:
    names = "a.JPG", "b/c.png", "b/d/e.webp", "f.heic"
    files = touched(tmp_path, *names)
    touched(tmp_path, "notes.txt", "b/.hidden.jpg", ".cache/x.jpg", "jpg")
    assert list(find_pictures([tmp_path])) == files


def test_named_files_come_whatever_their_suffix_in_the_given_order(tmp_path: Path) -> None:
    odd, hidden, picture = touched(tmp_path, "photo.dat", ".x.jpg", "a.jpg")
    assert list(find_pictures([odd, hidden, picture])) == [odd, hidden, picture]


def test_each_picture_comes_once(tmp_path: Path) -> None:
    first, second = touched(tmp_path, "a.jpg", "b.jpg")
    again = os.path.join(tmp_path, ".", "b.jpg")
    assert list(find_pictures([second, tmp_path, tmp_path, again])) == [second, first]


def test_a_folder_linked_into_itself_ends(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "sub/a.jpg")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub" / "self.jpg").symlink_to("self.jpg")
    assert list(find_pictures([tmp_path])) == [picture, str(tmp_path / "sub" / "self.jpg")]
    assert [record.verdict for record in scan(tmp_path, stand_in(load_picture))] == ["error", "error"]


def test_folders_behind_links_are_read(tmp_path: Path) -> None:
    touched(tmp_path, "elsewhere/a.jpg", "here/b.jpg")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert list(find_pictures([tmp_path / "here"])) == [
        str(tmp_path / "here" / "b.jpg"),
        str(tmp_path / "here" / "link" / "a.jpg"),
    ]


def test_a_folder_without_pictures_is_said_to_be_one(tmp_path: Path) -> None:
    touched(tmp_path, "notes.txt")
    (found,) = find_pictures([tmp_path])
    assert error(found).kind == "not_found"
    assert ".jpg" in error(found).message
    assert "got none" in error(found).message


def test_a_folder_that_cannot_be_listed_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = touched(tmp_path, "b.jpg")
    touched(tmp_path, "a/x.jpg")
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)  # root may list anything, so permissions alone prove nothing
    closed, found = find_pictures([tmp_path])
    assert error(closed).kind == "no_permission"
    assert error(closed).path == str(tmp_path / "a")
    assert found == picture


@pytest.mark.parametrize("path", ["", "missing.jpg", "nul\0byte.jpg"])
def test_paths_that_lead_nowhere_become_error_records(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a.jpg")
    (record,) = scan([path], stand_in(load_picture))
    assert isinstance(record, ErrorResult)
    assert record.path == path
    assert record.kind in ("not_found", "unreadable")


def test_undecodable_names_survive(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
        pass
    (found,) = find_pictures([tmp_path])
    assert isinstance(found, str)
    assert os.fsencode(found).endswith(name)


def test_one_bad_picture_loses_none_of_the_others(tmp_path: Path) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg", "c.jpg")

    def analyze(path: str) -> ImageResult:
        if path.endswith("b.jpg"):
            raise ImageError(path=path, kind="truncated", expected="a whole file", got="half of one")
        return result(path)

    records = list(scan(tmp_path, stand_in(analyze)))
    assert [record.path for record in records] == files
    assert records[1] == ErrorResult(
        files[1], "truncated", f"{files[1]}: expected a whole file, got half of one"
    )


@pytest.mark.parametrize("fault", [ModelError, MissingLibraryError])
def test_faults_of_the_installation_end_the_scan(fault: type[Exception], tmp_path: Path) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg")

    def analyze(path: str) -> ImageResult:
        raise fault("broken")

    with pytest.raises(fault, match="broken"):
        next(scan(files, stand_in(analyze)))


def test_pictures_are_analysed_as_they_are_asked_for_and_progress_is_told(tmp_path: Path) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg")
    seen: list[str] = []
    told: list[tuple[int, int]] = []

    def analyze(path: str) -> ImageResult:
        seen.append(path)
        return result(path)

    records = scan(files, stand_in(analyze), lambda done, total: told.append((done, total)))
    next(records)
    assert (seen, told) == (files[:1], [(0, 2)])
    assert len(list(records)) == 1
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_a_single_path_is_taken_for_one(tmp_path: Path) -> None:
    (file,) = touched(tmp_path, "a.jpg")
    assert [record.path for record in scan(file, stand_in(result))] == [file]
