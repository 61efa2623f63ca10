from __future__ import annotations

import errno
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.errors import FaceFakeError
from facefake.results import ErrorResult
from facefake.sources import Pause, find_pictures, listed_paths


def touched(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


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
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list anything, so permissions alone prove nothing
    closed, found = find_pictures([tmp_path])
    assert error(closed).kind == "no_permission"
    assert error(closed).path == str(tmp_path / "a")
    assert found == picture


@pytest.mark.parametrize(
    ("pattern", "closed", "open_"),
    [
        ("**/*.jpg", ["a/closed", "ab"], ["a/x.jpg", "c.jpg"]),
        ("a*/**/x.jpg", ["a/closed", "ab"], ["a/x.jpg"]),
        ("*/*.jpg", ["ab"], ["a/x.jpg"]),
        ("*/x.jpg", ["ab"], ["a/x.jpg"]),
        ("ab/*.jpg", ["ab"], []),
    ],
)
def test_a_folder_that_a_pattern_cannot_look_into_costs_only_itself(
    pattern: str, closed: list[str], open_: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may look into anything, so permissions alone prove nothing.
    def refusing(function: Any) -> Any:
        def refuse(path: Any) -> Any:
            if str(path).startswith(("a/closed", "ab/")) or (path == "ab" and function is scandir):
                raise PermissionError(13, "Permission denied", path)
            return function(path)

        return refuse

    scandir = os.scandir
    touched(tmp_path, "a/x.jpg", "a/closed/x.jpg", "ab/x.jpg", "c.jpg")
    (tmp_path / "self").symlink_to("self")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "lstat", refusing(os.lstat))
    found = list(find_pictures([pattern]))
    faults = [error(fault) for fault in found[: len(closed)]]
    assert [(fault.path, fault.kind) for fault in faults] == [(path, "no_permission") for path in closed]
    assert found[len(closed) :] == open_


def test_undecodable_names_survive(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
        pass
    (found,) = find_pictures([tmp_path])
    assert isinstance(found, str)
    assert os.fsencode(found).endswith(name)


def test_a_file_comes_once_whether_by_its_folder_or_by_name(tmp_path: Path) -> None:
    inside, odd, other = touched(tmp_path, "in/a.jpg", "in/odd.dat", "b.jpg")
    folder = tmp_path / "in"
    assert list(find_pictures([folder, inside, odd, other, odd])) == [inside, odd, other]
    assert list(find_pictures([inside, other, folder, other])) == [inside, other]
    assert list(find_pictures([folder, folder / ".." / "in" / "a.jpg"])) == [inside]


def test_a_file_comes_once_whether_through_a_link_to_its_folder_or_not(tmp_path: Path) -> None:
    first, second = touched(tmp_path, "in/a.jpg", "in/b.jpg")
    (tmp_path / "link").symlink_to("in", target_is_directory=True)
    (tmp_path / "in" / "c.jpg").symlink_to("a.jpg")  # a picture of its own, as in a folder
    linked, third = f"{tmp_path}/link/a.jpg", f"{tmp_path}/in/c.jpg"
    assert list(find_pictures([linked, tmp_path / "in"])) == [linked, second, third]
    assert list(find_pictures([tmp_path / "in", linked])) == [first, second, third]
    assert list(find_pictures([linked, first, third])) == [linked, third]
    assert list(find_pictures([f"{tmp_path}/link/*", tmp_path / "in"])) == [
        f"{tmp_path}/link/{name}" for name in ("a.jpg", "b.jpg", "c.jpg")
    ]


def test_a_picture_in_a_folder_that_is_gone_is_left_to_who_reads_it(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "in/a.jpg")
    gone = [f"{tmp_path}/gone/a.jpg", "nul\0byte/a.jpg"]
    assert list(find_pictures([tmp_path / "in", *gone])) == [picture, *gone]


def test_a_missing_picture_in_a_folder_that_was_read_is_left_to_who_reads_it_once(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "in/a.jpg")
    (tmp_path / "in" / "b.jpg").symlink_to("nowhere")  # the folder lists it
    link = f"{tmp_path}/in/b.jpg"
    missing = [f"{tmp_path}/in/{name}.jpg" for name in ("c", "d" * 300, "e\0")]
    assert list(find_pictures([tmp_path, *missing, link, *missing])) == [picture, link, *missing]


def test_a_path_with_a_nul_is_left_to_who_reads_it() -> None:
    assert list(find_pictures(["a\0b/c.jpg", "a\0b/c.jpg"])) == ["a\0b/c.jpg"]


@pytest.mark.parametrize("path", ["\ud800.jpg", "\ud800/*.jpg"])
def test_a_path_that_no_file_can_have_costs_only_itself(path: str, tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "a.jpg")
    fault, found = find_pictures([path, picture])
    assert (error(fault).path, error(fault).kind, found) == (path, "unreadable", picture)


def test_relative_paths_lead_nowhere_where_the_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = touched(tmp_path, "a.jpg")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert list(find_pictures(["b.jpg", picture])) == ["b.jpg", picture]
    pattern, found = find_pictures(["*.jpg", picture], copies=tmp_path / "out")
    assert (error(pattern).kind, found) == ("not_found", picture)


def test_patterns_are_what_the_shell_would_make_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "b.jpg", "a.jpg", "c.txt", "sub/d.jpg", "sub/sub/e.jpg", ".hidden.jpg")
    assert list(find_pictures(["*.jpg"])) == ["a.jpg", "b.jpg"]
    assert list(find_pictures(["**/*.jpg"])) == ["a.jpg", "b.jpg", "sub/d.jpg", "sub/sub/e.jpg"]
    assert list(find_pictures(["su?", "[ab].jpg"])) == ["sub/d.jpg", "sub/sub/e.jpg", "a.jpg", "b.jpg"]
    (nothing,) = find_pictures(["*.gif"])
    assert (error(nothing).kind, error(nothing).path) == ("not_found", "*.gif")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "[a].jpg", "a.jpg", "*.jpg")
    assert list(find_pictures(["[a].jpg", "*.jpg"])) == ["[a].jpg", "*.jpg"]
    assert list(find_pictures([b"?.jpg", Path("[b].jpg")])) == ["?.jpg", "[b].jpg"]


LINES = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line and b"\0" not in line)
)


@given(LINES, st.booleans(), st.booleans())
def test_lists_of_paths_are_read_back(lines: list[bytes], null: bool, ended: bool) -> None:
    end = b"\0" if null else b"\n"
    stream = io.BytesIO(end.join(lines) + (end if ended else b""))
    assert list(listed_paths(stream, null)) == lines


def test_names_with_line_breaks_need_the_list_with_nul() -> None:
    assert list(listed_paths(io.BytesIO(b"a\nb.jpg\0c\xff.jpg\0"), null=True)) == [b"a\nb.jpg", b"c\xff.jpg"]
    assert list(listed_paths(io.BytesIO(b"a\n\nb"))) == [b"a", b"b"]


def test_lists_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pen:
        pen.write(b"first\nsec")
        paths = listed_paths(stream)
        assert next(paths) == b"first"
        pen.write(b"ond\n")
        assert next(paths) == b"second"
        assert isinstance(next(paths), Pause)
        pen.write(b"third")
        pen.close()
        assert list(paths) == [b"third"]


def test_a_list_that_breaks_off_is_told_after_what_there_was_of_it() -> None:
    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if content := super().read1(size):
                return content
            raise OSError(errno.ECONNRESET, "Connection reset by peer")

    paths = listed_paths(Broken(b"a\nb\nhalf of a pa"))
    assert [next(paths), next(paths)] == [b"a", b"b"]
    with pytest.raises(FaceFakeError, match="to go on reading a list of paths, got: Connection reset"):
        next(paths)


def test_pauses_come_in_their_place(tmp_path: Path) -> None:
    first, second = touched(tmp_path, "a.jpg", "b.jpg")
    pause = Pause()
    assert list(find_pictures([pause, first, pause, tmp_path, pause])) == [pause, first, pause, second, pause]


def test_a_list_that_is_none_takes_no_memory() -> None:
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return b"x" * (size or 0)

    paths = listed_paths(Endless())
    tracemalloc.start()
    try:
        for _ in range(20):
            next(paths)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"a.jpg\0b.jpg\0"])
def test_what_begins_like_no_list_of_lines_is_refused_as_a_whole(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected paths, one per line, got bytes with a NUL"):
        next(listed_paths(io.BytesIO(content)))
    assert list(listed_paths(io.BytesIO(content), null=True))


def test_memory_holds_one_folder_and_not_all(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}").mkdir()
        touched(tmp_path / f"{number:02}", *(f"{name:03}{'x' * 100}.jpg" for name in range(100)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in find_pictures([tmp_path])) == 4000
        assert tracemalloc.get_traced_memory()[1] < 4000 * 100
    finally:
        tracemalloc.stop()


def test_it_is_told_which_folders_and_patterns_have_pictures(tmp_path: Path) -> None:
    picture, other = touched(tmp_path, "in/a.jpg", "b.jpg")
    (tmp_path / "empty").mkdir()
    folder, pattern, nothing = f"{tmp_path}/in", f"{tmp_path}/**/*.jpg", f"{tmp_path}/*.png"
    told: list[str] = []
    found = find_pictures([picture, folder, f"{tmp_path}/empty", pattern, nothing], looked_into=told.append)
    assert [path for path in found if isinstance(path, str)] == [picture, other]
    assert told == [folder, pattern]


def test_it_is_told_which_folders_that_a_pattern_matches_have_pictures(tmp_path: Path) -> None:
    touched(tmp_path, "full/a.jpg", "full/b.jpg", "c.jpg")
    (tmp_path / "empty").mkdir()
    told: list[str] = []
    list(find_pictures([f"{tmp_path}/*"], looked_into=told.append))
    assert set(told) == {f"{tmp_path}/*", f"{tmp_path}/full"}


def test_two_stars_alone_give_names_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "s/t/a.jpg", "b.jpg", ".hidden/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(find_pictures(["**"])) == ["b.jpg", "s/t/a.jpg"]
    assert list(find_pictures(["s/**/**/*.jpg"])) == ["s/t/a.jpg"]
    touched(tmp_path, "u/d.jpg")
    assert list(find_pictures(["*/**"])) == ["s/t/a.jpg", "u/d.jpg"]


def test_a_listed_path_takes_some_hundred_bytes() -> None:
    tracemalloc.start()
    try:
        assert (
            sum(1 for _ in find_pictures(b"/nowhere/%300d.jpg" % number for number in range(50_000)))
            == 50_000
        )
        assert tracemalloc.get_traced_memory()[1] < 50_000 * 130
    finally:
        tracemalloc.stop()


def test_two_stars_do_not_go_through_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "d/a.jpg", "d/e/b.jpg", "d/.hidden/c.jpg", "d/.x.jpg", "d/.shown/d.jpg")
    for link in ("l", "m"):
        (tmp_path / "d" / link).symlink_to(tmp_path / "d", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for root in ("d", "./d", f"{tmp_path}/d", "e/../d"):
        (tmp_path / "e").mkdir(exist_ok=True)
        assert list(find_pictures([f"{root}/**/*.jpg"])) == [f"{root}/a.jpg", f"{root}/e/b.jpg"]
    assert list(find_pictures(["**/e/*.jpg"])) == ["d/e/b.jpg"]
    assert list(find_pictures(["d/**/.shown/*"])) == ["d/.shown/d.jpg"]
    assert list(find_pictures(["d/**/a**.jpg"])) == ["d/a.jpg"]
    assert error(*find_pictures(["d/**/*.png"])).kind == "not_found"


def test_the_folder_of_copies_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    picture, copy = touched(tmp_path, "a.jpg", "out/a-annotated.jpg")
    assert list(find_pictures([tmp_path], tmp_path / "out")) == [picture]
    assert list(find_pictures([tmp_path, copy], tmp_path / "out")) == [picture, copy]
    assert list(find_pictures([tmp_path, tmp_path / "out"], tmp_path / "out")) == [picture, copy]
    assert list(find_pictures([tmp_path], tmp_path / "missing")) == [picture, copy]


def test_patterns_do_not_match_copies_unless_they_begin_with_their_folder(tmp_path: Path) -> None:
    picture, copy, _ = touched(tmp_path, "a.jpg", "out/a-annotated.jpg", "outer/b.txt")
    for pattern in ("*", "*.jpg", "**/*.jpg", "[ao]*"):
        found = list(find_pictures([f"{tmp_path}/{pattern}"], tmp_path / "out"))
        assert [path for path in found if not isinstance(path, ErrorResult)] == [picture]
    assert list(find_pictures([f"{tmp_path}/out/*.jpg"], tmp_path / "out")) == [copy]
    (nothing,) = find_pictures([f"{tmp_path}/*/*.jpg"], tmp_path / "out")
    assert error(nothing).kind == "not_found"


def test_a_folder_of_copies_that_cannot_be_looked_into_costs_no_pattern_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, _ = touched(tmp_path, "a.jpg", "out/a-annotated.jpg")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("out"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(find_pictures([f"{tmp_path}/**/*.jpg"], tmp_path / "out")) == [picture]
    closed, found = find_pictures([f"{tmp_path}/**/*.jpg"])
    assert (error(closed).kind, found) == ("no_permission", picture)
