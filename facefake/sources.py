"""Where pictures come from: files, folders, patterns and lists of paths, one path after the other."""

from __future__ import annotations

import errno
import glob
import io
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from facefake.results import ErrorResult

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .tif .tiff .bmp .avif .heic .heif".split()  # noqa: SIM905
)
"""What a file in a folder must end with, in small or capital letters, to be taken for a picture."""

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"))
"""What any file must end with to be taken for a video."""

_KINDS = {errno.ENOENT: "not_found", errno.EACCES: "no_permission", errno.EPERM: "no_permission"}
_LONGEST_PATH = 1 << 16  # bytes: more is a path on no system


def find_pictures(paths: Iterable[str | bytes | os.PathLike[str]]) -> Iterator[str | ErrorResult]:
    """The pictures among files and folders, each once, in the order of the paths and by name within a folder.

    A folder stands for the files in it and in its sub-folders that end with one of `SUFFIXES` or
    `VIDEO_SUFFIXES`, without hidden
    ones (a name that begins with a dot). A path that is no folder is taken for a picture whatever its name,
    even if it does not exist, so that analysing it says what is wrong. Links to folders are followed; a folder
    that is reached twice, as through a link to its own parent, is read once.

    A str that names nothing, and holds one of ``*?[``, is a pattern as the shell knows them, in which ``**``
    stands for any folders; what matches comes by name. Bytes and path objects only ever mean themselves.

    The names of one folder are held in memory, and 16 bytes for each path that did not come from a folder.

    Yields:
        A path, or the record of a folder that cannot be listed or holds no picture, or of a pattern without match.
    """
    # os.path throughout: pathlib raises where a parent folder may not be searched, and takes "" for ".".
    folders: set[tuple[int, int]] = set()
    named: set[bytes] = set()
    for given in paths:
        path = os.fsdecode(given)
        for match in _matches(path) if isinstance(given, str) and not os.path.lexists(path) else [path]:
            if isinstance(match, ErrorResult):
                yield match
            elif os.path.isdir(match):
                for found in _inside(match, folders):
                    if isinstance(found, ErrorResult) or not named or _digest(found) not in named:
                        yield found
            elif _digest(match) not in named and not _was_inside(match, folders):
                named.add(_digest(match))
                yield match


def listed_paths(stream: io.BufferedIOBase, null: bool = False) -> Iterator[bytes]:
    """The paths in a list, one a line, or with a NUL after each; empty ones are left out.

    They come as they are read, so that the list may be longer than the memory, or still be growing.
    """
    rest = b""
    while block := stream.read1(_LONGEST_PATH):
        *whole, rest = (rest + block).split(b"\0" if null else b"\n")
        if len(rest) > _LONGEST_PATH:  # not text, such as /dev/zero
            whole, rest = [*whole, rest], b""
        yield from filter(None, whole)
    if rest:
        yield rest


def no_pictures(path: str, by_pattern: bool) -> ErrorResult:
    """The record of a folder that holds no picture, or of a pattern that nothing matches."""
    if by_pattern:
        return _error(path, "not_found", "a file of that name, or files that match it as a pattern", "none")
    return _error(
        path, "not_found", f"files that end with {', '.join(sorted(SUFFIXES | VIDEO_SUFFIXES))}", "none"
    )


def _matches(pattern: str) -> Iterator[str | ErrorResult]:
    if not glob.has_magic(pattern):
        yield pattern
        return
    found = sorted(glob.iglob(pattern, recursive=True))
    yield from found
    if not found:
        yield no_pictures(pattern, by_pattern=True)


def _inside(root: str, seen: set[tuple[int, int]]) -> Iterator[str | ErrorResult]:
    empty = True
    waiting = [iter([(root, True)])]
    while waiting:
        path, is_folder = next(waiting[-1], ("", False))
        if not path:
            waiting.pop()
        elif not is_folder:
            empty = False
            yield path
        else:
            try:
                key = _identity(path)
                entries = [] if key in seen else _entries(path)
            except OSError as error:
                kind = _KINDS.get(error.errno or 0, "unreadable")
                yield _error(path, kind, "a folder to look into", error.strerror)
                empty = False
                continue
            empty = empty and key not in seen
            seen.add(key)
            waiting.append(iter(entries))
    if empty:
        yield no_pictures(root, by_pattern=False)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """The paths of the pictures and folders in a folder, by name, each with whether it is a folder."""
    with os.scandir(folder) as entries:
        found = [
            (entry.path, os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir())
            for entry in entries
            if not entry.name.startswith(".")
        ]
    return sorted(entry for entry in found if entry[1] or is_picture(entry[0]))


def is_picture(path: str) -> bool:
    """Whether a file in a folder is taken for a picture or a video."""
    return os.path.splitext(path)[1].lower() in SUFFIXES | VIDEO_SUFFIXES


def _was_inside(path: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a file came with one of the folders that were read."""
    folder, name = os.path.split(path)
    if not seen or name.startswith(".") or not is_picture(name):
        return False
    try:
        return _identity(folder or ".") in seen
    except (OSError, ValueError):
        return False


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _digest(path: str) -> bytes:
    return blake2b(os.fsencode(os.path.abspath(path) if path else path), digest_size=16).digest()


def _error(path: str, kind: str, expected: str, got: str | None) -> ErrorResult:
    name = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return ErrorResult(path, kind, f"{name}: expected {expected}, got {got or 'an unknown fault'}")
