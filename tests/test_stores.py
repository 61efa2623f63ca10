from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from facefake import stores
from facefake.errors import ImageError, MissingLibraryError
from facefake.results import ErrorResult, FileState
from facefake.sources import file_state
from facefake.stores import Stored, find_stored, is_uri, opened, stored_state

pytest.importorskip("pyarrow", reason="needs facefake[ray]")
fsspec = pytest.importorskip("fsspec", reason="needs facefake[ray]")

NAMES = ("a.jpg", "b c%20é.PNG", "deep/er/d.webp", "deep/notes.txt", ".hidden.jpg", ".git/e.jpg", "clip.mp4")
SHOWN = ["a.jpg", "b c%20é.PNG", "clip.mp4", "deep/er/d.webp"]
LARGEST = 1000  # bytes of a file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def archive(folder: Path) -> str:
    with zipfile.ZipFile(folder / "all.zip", "w") as file:
        for name in NAMES:
            file.write(folder / name, name)
    return f"file://{folder}/all.zip"


def texts(uri: str) -> list[str]:
    found = list(find_stored(uri))
    assert all(isinstance(entry, Stored) for entry in found)
    contents = []
    for entry in found:
        with opened(entry.uri, LARGEST) as file:  # type: ignore[union-attr]
            contents.append(file.read().decode())
    return contents


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("s3://bucket/key.jpg", True),
        ("zip://a.jpg::s3://bucket/key.zip", True),
        ("simplecache::gs://bucket/key", True),
        ("photos/a.jpg", False),
        ("a::b.jpg", False),
        ("/srv/s3://a.jpg", False),
    ],
)
def test_uris_are_told_from_paths(path: str, answer: bool) -> None:
    assert is_uri(path) is answer


def test_a_folder_stands_for_the_pictures_below_it_by_name(folder: Path) -> None:
    assert texts(f"file://{folder}") == texts(f"file://{folder}/") == SHOWN


def test_a_store_of_fsspec_is_looked_through_like_one_of_arrow(archive: str) -> None:
    assert texts(f"zip://::{archive}") == SHOWN
    assert texts(f"zip://deep::{archive}") == ["deep/er/d.webp"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/[de].*", ["deep/er/d.webp"]),
        ("deep/*/*", ["deep/er/d.webp"]),
        ("deep/n*", ["deep/notes.txt"]),
        ("d*", ["deep/er/d.webp"]),
        ("*/", ["deep/er/d.webp"]),
        ("de[e]p/er/", ["deep/er/d.webp"]),
    ],
)
def test_patterns_match_as_in_the_shell(pattern: str, names: list[str], folder: Path, archive: str) -> None:
    assert texts(f"file://{folder}/{pattern}") == texts(f"zip://{pattern}::{archive}") == names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*/my%20pic.jpg", ["u 1/my pic.jpg"]),
        ("*%201/**/*.j%70g", ["u 1/my pic.jpg", "u 1/st*r[1].jpg"]),
        ("*/st%2A*%5B1].jpg", ["u 1/st*r[1].jpg"]),
        ("*/%2a.jpg", []),
    ],
)
@pytest.mark.parametrize("of_arrow", [False, True])
def test_patterns_may_hold_percent_escapes(
    of_arrow: bool, pattern: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if of_arrow:  # as buckets are, for which there is no server here
        monkeypatch.setattr("facefake.stores._LOCAL", "none")
    (tmp_path / "u 1").mkdir()
    for name in ("u 1/my pic.jpg", "u 1/st*r[1].jpg"):
        (tmp_path / name).write_text(name)
    if names:
        assert texts(f"file://{tmp_path}/{pattern}") == names
        # Of a folder as it is spelled, since a record is known by its URI.
        (entry, _) = find_stored(f"file://{tmp_path}/%75 1")
        assert isinstance(entry, Stored) and entry.uri == f"file://{tmp_path}/%75 1/my%20pic.jpg"
    else:
        (record,) = find_stored(f"file://{tmp_path}/{pattern}")
        assert isinstance(record, ErrorResult) and record.kind == "not_found"


def test_a_question_mark_is_one_character_on_this_machine(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "10.jpg", "sub/3.jpg", "w?.png", "wx.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = list(find_stored(f"file://{tmp_path}/?.jpg"))
    assert [entry.uri for entry in found if isinstance(entry, Stored)] == [
        f"file://{tmp_path}/1.jpg",
        f"file://{tmp_path}/2.jpg",
    ]
    assert texts(f"file://{tmp_path}/s?b") == ["sub/3.jpg"]
    assert texts(f"file://{tmp_path}/w?.png") == texts(f"file://{tmp_path}/w%3F.png") == ["w?.png"]
    assert texts(f"file://{tmp_path}/w%3F*") == ["w?.png"]
    (nothing,) = find_stored(f"file://{tmp_path}/?.tiff")
    assert isinstance(nothing, ErrorResult) and nothing.kind == "not_found"


HERE = ["file://", "local://", "simplecache::file://", "blockcache::local://"]


@pytest.mark.parametrize("store", HERE)
@pytest.mark.parametrize("name", ["fifo.jpg", "zero.mp4", "folder.jpg"])
def test_what_is_no_file_is_refused_and_nothing_waits(name: str, store: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    uri = f"{store}{tmp_path}/{name}"
    with pytest.raises(ImageError) as caught, opened(uri, LARGEST):
        pass
    assert (caught.value.kind, caught.value.path) == ("not_a_file", uri)


@pytest.mark.parametrize("store", HERE)
def test_a_file_that_is_too_large_is_not_opened(store: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(LARGEST + 1))
    with pytest.raises(ImageError) as caught, opened(f"{store}{tmp_path}/a.jpg", LARGEST):
        pass
    assert (caught.value.kind, caught.value.got) == ("too_large", "1,001 bytes")


@pytest.mark.parametrize("store", HERE)
def test_a_file_of_this_machine_is_the_same_by_whatever_name(store: str, folder: Path) -> None:
    (folder / "link.jpg").symlink_to("a.jpg")
    for name in ("a.jpg", "link.jpg"):
        uri = f"{store}{folder}/{name}"
        assert stored_state(uri) == file_state(str(folder / "a.jpg"))
        with opened(uri, LARGEST) as file:
            assert file.read() == b"a.jpg"


def test_a_name_that_is_no_text_costs_nothing(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:
        file.write(b"odd name")
    for uri in (f"file://{folder}", f"file://{folder}/*"):
        found = [entry.uri for entry in find_stored(uri) if isinstance(entry, Stored)]
        assert f"file://{folder}/caf%E9.jpg" in found
        assert {"odd name", *SHOWN} <= set(texts(uri))
    (nothing,) = find_stored(f"file://{folder}/caf%E9*.png")
    assert isinstance(nothing, ErrorResult)
    assert nothing.message.startswith(f"file://{folder}/caf%E9*.png: expected a file of that name")
    state = stored_state(f"file://{folder}/caf%E9.jpg")
    assert state is not None and state.size == 8


@pytest.mark.parametrize("uri", ["file:///\ud800.jpg", "s3://bucket/\ud800.jpg"])
def test_a_uri_that_is_no_unicode_becomes_one_record(uri: str) -> None:
    (fault,) = find_stored(uri)
    assert isinstance(fault, ErrorResult)
    assert (fault.path, fault.kind) == (uri, "unreadable")


def test_a_folder_that_cannot_be_listed_costs_only_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("er"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list anything, so permissions alone prove nothing
    closed, *found = sorted(find_stored(f"file://{folder}"), key=lambda entry: isinstance(entry, Stored))
    assert isinstance(closed, ErrorResult)
    assert (closed.path, closed.kind) == (f"file://{folder}/deep/er", "no_permission")
    assert closed.message.startswith(f"file://{folder}/deep/er: expected a folder to look into, got ")
    assert len(found) == 3


def test_states_tell_when_a_file_has_changed(folder: Path) -> None:
    status = (folder / "a.jpg").stat()
    uri = f"file://{folder}/a.jpg"
    expected = FileState(status.st_size, status.st_mtime_ns)
    assert stored_state(uri) == expected
    assert list(find_stored(uri)) == [Stored(uri, expected)]


def test_a_store_that_tells_no_time_gives_the_size(archive: str) -> None:
    assert stored_state(f"zip://a.jpg::{archive}") == FileState(5, 0)


def test_a_file_that_is_not_there_says_so_when_it_is_read(folder: Path) -> None:
    uri = f"file://{folder}/missing.jpg"
    assert list(find_stored(uri)) == [Stored(uri, None)]
    assert stored_state(uri) is None
    with pytest.raises(ImageError) as caught, opened(uri, LARGEST):
        pass
    assert (caught.value.kind, caught.value.path) == ("not_found", uri)


@pytest.mark.parametrize(
    "uri", ["file://{}/*.tiff", "file://{}/empty", "nonsense://somewhere/x/", "zip://::{}"]
)
def test_what_holds_no_picture_becomes_one_record(uri: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    uri = uri.format(tmp_path)
    (record,) = find_stored(uri)
    assert isinstance(record, ErrorResult)
    assert record.path == uri and record.message.startswith(f"{uri}: expected ")


def test_a_store_without_its_library_is_a_fault_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install adlfs to access Azure")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingLibraryError, match="Install adlfs"):
        list(find_stored("adl://store/photos"))


def test_stores_in_memory_can_be_read(folder: Path) -> None:
    memory, store = fsspec.filesystem("memory"), "memory://facefake-test"
    for name in ("x.jpg", "100%25.jpg"):  # no escape: fsspec takes names as they are
        with memory.open(f"/facefake-test/{name}", "wb") as file:
            file.write(name.encode())
    try:
        assert texts(store) == ["100%25.jpg", "x.jpg"]
        assert texts(f"{store}/x.jpg") == ["x.jpg"]
        assert texts(f"{store}/*%25.jpg") == ["100%25.jpg"]
        (nothing,) = find_stored(f"{store}/nowhere/*.jpg")
        assert isinstance(nothing, ErrorResult) and nothing.kind == "not_found"
    finally:
        shutil.rmtree(folder)
        memory.rm("/facefake-test", recursive=True)


@pytest.mark.parametrize("uri", ["file:///", "file:////", "file:///*.jpg"])
def test_the_root_of_this_machine_is_a_folder_like_any_other(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "find_pictures", lambda paths: iter(["/a b.jpg"]))
    (found,) = find_stored(uri)
    assert found == Stored("file:///a%20b.jpg", None)


def test_names_with_two_colons_are_read_where_a_uri_can_tell_them(tmp_path: Path) -> None:
    (tmp_path / "b::c.jpg").write_text("whole")
    (found,) = find_stored(f"file://{tmp_path}")
    assert isinstance(found, Stored)
    assert found.file is not None and found.file.size == 5
    with opened(found.uri, LARGEST) as file:
        assert file.read() == b"whole"
    system = fsspec.filesystem("memory")
    system.pipe("/odd/b::c.jpg", b"whole")
    system.pipe("/odd/d.jpg", b"whole")
    unreadable, other = find_stored("memory://odd")
    assert isinstance(unreadable, ErrorResult)
    assert "b::c.jpg, in which :: would begin another store" in unreadable.message
    assert isinstance(other, Stored)
