"""Where pictures come from: files, folders, patterns and lists of paths, one path after the other."""

from __future__ import annotations

import errno
import fnmatch
import glob
import io
import os
import pathlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from facefake.errors import ImageError
from facefake.results import ErrorResult

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .tif .tiff .bmp .avif .heic .heif".split()  # noqa: SIM905
)
"""What a file in a folder must end with, in small or capital letters, to be taken for a picture."""

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"))
"""What any file must end with to be taken for a video."""

_KINDS = {errno.ENOENT: "not_found", errno.EACCES: "no_permission", errno.EPERM: "no_permission"}
_LONGEST_PATH = 1 << 16  # bytes: more is a path on no system


def find_pictures(
    paths: Iterable[str | bytes | os.PathLike[str]], copies: str | os.PathLike[str] | None = None
) -> Iterator[str | ErrorResult]:
    """The pictures among files and folders, each once, in the order of the paths and by name within a folder.

    A folder stands for the files in it and in its sub-folders that end with one of `SUFFIXES` or
    `VIDEO_SUFFIXES`, without hidden
    ones (a name that begins with a dot). A path that is no folder is taken for a picture whatever its name,
    even if it does not exist, so that analysing it says what is wrong. Links to folders are followed; a folder
    that is reached twice, as through a link to its own parent, is read once.

    A str that names nothing, and holds one of ``*?[``, is a pattern as the shell knows them, in which ``**``
    stands for any folders, none of them reached through a link; what matches comes by name. Bytes and path objects only
    ever mean themselves.

    The names of one folder, or all that one pattern matches, are held in memory, and 16 bytes for each path that did
    not come from a folder.

    Args:
        paths: of files and folders.
        copies: a folder of annotated copies, which is not looked into unless it is one of the paths; nor does a pattern
            match what is in it, unless it begins with that folder.

    Yields:
        A path, or the record of a folder that cannot be listed or holds no picture, or of a pattern without match.
    """
    # os.path throughout: pathlib raises where a parent folder may not be searched, and takes "" for ".".
    folders: set[tuple[int, int]] = set()
    named: set[bytes] = set()
    for given in paths:
        path = os.fsdecode(given)
        is_pattern = isinstance(given, str) and not os.path.lexists(path)
        for match in _matches(path, copies) if is_pattern else [path]:
            if isinstance(match, ErrorResult):
                yield match
            elif os.path.isdir(match):
                for found in _inside(match, folders, copies):
                    if isinstance(found, ErrorResult) or not named or _digest(found) not in named:
                        yield found
            elif _digest(match) not in named and not _was_inside(match, folders):
                named.add(_digest(match))
                yield match


def listed_paths(stream: io.BufferedIOBase, null: bool = False) -> Iterator[bytes]:
    """The paths in a list, one a line, or with a NUL after each; empty ones are left out.

    They come as they are read, so that the list may be longer than the memory, or still be growing.

    Raises:
        ValueError: it begins like no list of lines: there is a NUL in what is read first.
    """
    rest, begun = b"", False
    while block := stream.read1(_LONGEST_PATH):
        if b"\0" in block and not null and not begun:
            raise ValueError(f"expected paths, one a line, got bytes with a NUL, {block[:8]!r} first")
        begun = True
        *whole, rest = (rest + block).split(b"\0" if null else b"\n")
        if len(rest) > _LONGEST_PATH:  # no path
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


def _matches(pattern: str, copies: str | os.PathLike[str] | None) -> Iterator[str | ErrorResult]:
    if not glob.has_magic(pattern):
        yield pattern
        return
    found = sorted(_below(pattern) if "**" in pattern.split(os.sep) else glob.iglob(pattern))
    if copies is not None and not _within(os.path.dirname(pattern), copies):
        found = [match for match in found if not _within(match, copies)]
    yield from found
    if not found:
        yield no_pictures(pattern, by_pattern=True)


def _below(pattern: str) -> Iterator[str]:
    """What a pattern with ``**`` matches. `glob` would go through links, round and round for ever."""
    parts = pattern.split(os.sep)
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root, below = os.sep.join(parts[:fixed]), [part for part in parts[fixed:] if part]
    start = pathlib.Path(root or (os.sep if fixed else os.curdir))
    wanted = [part for part in below if part.startswith(".")]
    # pathlib refuses two stars within a name, where they mean no more than one.
    matches = start.glob(os.sep.join(part if part == "**" else part.replace("**", "*") for part in below))
    for match in matches:
        inner = match.relative_to(start).parts
        hidden = (part for part in inner if part.startswith("."))
        if all(any(fnmatch.fnmatchcase(part, shown) for shown in wanted) for part in hidden):
            yield os.path.join(root + os.sep if fixed else "", *inner)


def _inside(
    root: str, seen: set[tuple[int, int]], copies: str | os.PathLike[str] | None
) -> Iterator[str | ErrorResult]:
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
                left_out = key in seen or (path != root and copies is not None and _is(key, copies))
                entries = [] if left_out else _entries(path)
            except OSError as error:
                kind = _KINDS.get(error.errno or 0, "unreadable")
                yield _error(path, kind, "a folder to look into", error.strerror)
                empty = False
                continue
            empty = empty and key not in seen
            if not left_out:
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


def _within(path: str, folder: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder or lies in it, links resolved."""
    inner, outer = os.path.realpath(path), os.path.realpath(folder)
    return inner == outer or inner.startswith(os.path.join(outer, ""))


def _is(key: tuple[int, int], folder: str | os.PathLike[str]) -> bool:
    """Whether that is the identity of a folder, which may not exist yet."""
    try:
        return _identity(folder) == key
    except OSError:
        return False


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _digest(path: str) -> bytes:
    return blake2b(os.fsencode(os.path.abspath(path) if path else path), digest_size=16).digest()


def _error(path: str, kind: str, expected: str, got: str | None) -> ErrorResult:
    fault = ImageError(path=path, kind=kind, expected=expected, got=got or "an unknown fault")
    return ErrorResult(path, kind, str(fault))
