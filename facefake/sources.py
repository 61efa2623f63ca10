"""Where pictures come from: files, folders, patterns and lists of paths, one path after the other."""

from __future__ import annotations

import errno
import fnmatch
import glob
import io
import os
import select
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import overload

from facefake.errors import FaceFakeError, ImageError
from facefake.results import ErrorResult, FileState

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .tif .tiff .bmp .avif .heic .heif".split()  # noqa: SIM905
)
"""What the name of a file in a folder must end with, in any case, to be taken for a picture."""

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"))
"""What the name of any file must end with, in any case, to be taken for a video."""

ANNOTATED = "annotated copy of picture "
"""The beginning of the comment in every annotated copy, which tells it from an original picture; a mark follows."""

_KINDS = {errno.ENOENT: "not_found", errno.EACCES: "no_permission", errno.EPERM: "no_permission"}
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)  # there is nothing, or a file
_LONGEST_PATH = 1 << 16  # bytes: no system has longer paths
_MOMENT = 0.1  # seconds to wait for more of a list at a time


class Pause:
    """Comes in place of a path that is not there yet, so that others can be finished in the meantime."""


@overload
def find_pictures(
    paths: Iterable[str | bytes | os.PathLike[str]],
    copies: str | os.PathLike[str] | None = None,
    looked_into: Callable[[str], object] = lambda path: None,
) -> Iterator[str | ErrorResult]: ...


@overload
def find_pictures(
    paths: Iterable[str | bytes | os.PathLike[str] | Pause],
    copies: str | os.PathLike[str] | None = None,
    looked_into: Callable[[str], object] = lambda path: None,
) -> Iterator[str | ErrorResult | Pause]: ...


def find_pictures(
    paths: Iterable[str | bytes | os.PathLike[str] | Pause],
    copies: str | os.PathLike[str] | None = None,
    looked_into: Callable[[str], object] = lambda path: None,
) -> Iterator[str | ErrorResult | Pause]:
    """The pictures among files and folders, each once, in the order of the paths and by name within a folder.

    A folder stands for the files in it and in its subfolders that end with one of `SUFFIXES` or `VIDEO_SUFFIXES`, except
    hidden ones (whose names begin with a dot). A path that is not a folder is taken for a picture whatever its name, even
    if it does not exist, so that analysing it reports what is wrong. Links to folders are followed; a folder that is
    reached twice, for example through a link to its own parent, is read once.

    A str that is not the path of anything and contains one of ``*?[`` is a shell-style pattern, in which ``**`` stands for
    any number of folders, none of them reached through a link; matches come in the order of their names. Bytes and path
    objects are always taken literally.

    Held in memory are the names in one folder at a time, or all matches of one pattern, and some 100 bytes for each path
    that did not come from a folder.

    Args:
        paths: of files and folders.
        copies: a folder of annotated copies, which is skipped unless it is one of the paths; a pattern matches what is in
            it only if the pattern begins with that folder.
        looked_into: called with each of the paths that is a folder or pattern and yields a picture, and with each such
            folder that a pattern matches.

    Yields:
        A path; or the error record of a folder that cannot be listed (given, or met while expanding a pattern) or that
        holds no picture, of a pattern without a match, or of a path that no file can have; and each `Pause`.
    """
    # os.path throughout: pathlib raises where a parent folder may not be searched, and takes "" for ".".
    folders: set[tuple[int, int]] = set()
    named: set[bytes] = set()
    for given in paths:
        if isinstance(given, Pause):
            yield given
            continue
        path = os.fsdecode(given)
        if (fault := nameless(path)) is not None:
            yield fault
            continue
        is_pattern = isinstance(given, str) and not os.path.lexists(path)
        told, told_of = False, ""
        for match in _matches(path, copies) if is_pattern else [path]:
            if isinstance(match, ErrorResult):
                yield match
                continue
            is_folder = os.path.isdir(match)
            for found in _inside(match, folders, copies) if is_folder else [match]:
                if isinstance(found, ErrorResult):
                    yield found
                    continue
                if not told and (is_folder or match != path):
                    looked_into(path)
                    told = True
                if is_folder and match != path and match != told_of:
                    looked_into(match)
                    told_of = match
                if is_folder:
                    if not named or _digest(found) not in named:
                        yield found
                elif _digest(found) not in named and not _was_inside(found, folders):
                    named.add(_digest(found))
                    yield found


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a path ends like a video's."""
    return os.path.splitext(os.fsdecode(path))[1].lower() in VIDEO_SUFFIXES


def listed_paths(stream: io.BufferedIOBase, null: bool = False) -> Iterator[bytes | Pause]:
    """The paths in a list, one per line, or with a NUL after each; empty ones are left out.

    They are yielded as they are read, so that the list may be larger than the memory, or still be growing: while waiting
    for more of it, this yields a `Pause` every moment.

    Raises:
        FaceFakeError: it cannot be read.
        ValueError: it does not look like a list of lines: there is a NUL in the first part that is read.
    """
    rest, begun = b"", False
    while True:
        while not _is_ready(stream):
            yield Pause()
        try:
            block = stream.read1(_LONGEST_PATH)
        except OSError as error:
            got = error.strerror or error
            raise FaceFakeError(f"expected to go on reading a list of paths, got: {got}") from error
        if not block:
            break
        if b"\0" in block and not null and not begun:
            raise ValueError(
                f"expected paths, one per line, got bytes with a NUL that begin with {block[:8]!r}"
            )
        begun = True
        *whole, rest = (rest + block).split(b"\0" if null else b"\n")
        if len(rest) > _LONGEST_PATH:  # no path
            whole, rest = [*whole, rest], b""
        yield from filter(None, whole)
    if rest:
        yield rest


def _is_ready(stream: io.BufferedIOBase) -> bool:
    """Whether a stream can be read without waiting; waits for a moment at most."""
    try:
        return bool(select.select([stream], [], [], _MOMENT)[0])
    except (OSError, ValueError):  # not a system file, such as bytes in memory
        return True


def nameless(path: str) -> ErrorResult | None:
    """The error record of a path with characters that file names cannot have here; None for any other path."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        return _error(path, "unreadable", "a readable file", str(error))
    return None


def file_state(path: str) -> FileState | None:
    """The state of a file; None if there is none, or its state cannot be read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return state_of(status)


def state_of(status: os.stat_result) -> FileState:
    """The part of a file's status that is kept. Times before 1677 or after 2262 are clipped to 64 bits."""
    return FileState(status.st_size, min(max(status.st_mtime_ns, -(1 << 63)), (1 << 63) - 1))


def no_pictures(path: str, by_pattern: bool) -> ErrorResult:
    """The error record of a folder that holds no picture, or of a pattern that nothing matches."""
    if by_pattern:
        return _error(path, "not_found", "a file of that name, or files that match it as a pattern", "none")
    return _error(
        path, "not_found", f"files that end with {', '.join(sorted(SUFFIXES | VIDEO_SUFFIXES))}", "none"
    )


def _matches(pattern: str, copies: str | os.PathLike[str] | None) -> Iterator[str | ErrorResult]:
    if not glob.has_magic(pattern):
        yield pattern
        return
    found, faults = _expanded(pattern)
    if copies is not None and not _within(os.path.dirname(pattern), copies):
        found = {match for match in found if not _within(match, copies)}
        faults = {folder: fault for folder, fault in faults.items() if not _within(folder, copies)}
    yield from (faults[folder] for folder in sorted(faults))
    yield from sorted(found)
    if not found and not faults:
        yield no_pictures(pattern, by_pattern=True)


def _expanded(pattern: str) -> tuple[set[str], dict[str, ErrorResult]]:
    """What a pattern matches, and errors, by path, for the folders on the way that cannot be listed.

    `glob` and `pathlib` ignore those silently, and `glob` would follow links, round and round for ever.
    """
    found: set[str] = set()
    faults: dict[str, ErrorResult] = {}
    parts = pattern.split(os.sep)
    parts = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    waiting = [("", parts) if parts[0] else (os.sep, parts[1:])]
    while waiting:
        folder, (part, *rest) = waiting.pop()
        place = folder or os.curdir
        if part == "**" and not rest and folder:  # everything in the folder, as if that itself were given
            found |= {place} if os.path.isdir(place) else set()
            continue
        part = part if rest or part != "**" else "*"  # so that no name begins with "./"
        below = [folder] if part == "**" else []
        try:
            if not glob.has_magic(part):
                below.append(os.path.join(folder, part))
                os.lstat(below[0])
            else:
                with os.scandir(place) as entries:
                    shown = [entry for entry in entries if part.startswith(".") or entry.name[0] != "."]
                if part == "**":
                    inner = [entry.name for entry in shown if entry.is_dir(follow_symlinks=False)]
                    waiting += [(os.path.join(folder, name), [part, *rest]) for name in inner]
                else:
                    names = fnmatch.filter((entry.name for entry in shown), part)
                    below += [os.path.join(folder, name) for name in names]
        except ValueError:  # a NUL, say
            continue
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                kind = _KINDS.get(error.errno or 0, "unreadable")
                faults[place] = _error(place, kind, "a folder to look into", error.strerror)
            continue
        if rest:
            waiting += [(path, rest) for path in below]
        else:
            found.update(below)
    return found, faults


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
    """The paths of the pictures and folders in a folder, sorted by name, each with whether it is a folder."""
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
    """Whether a file was found in one of the folders that were read; one that is missing was not."""
    folder, name = os.path.split(path)
    if not seen or name.startswith(".") or not is_picture(name):
        return False
    try:
        return _identity(folder or ".") in seen and os.path.lexists(path)
    except (OSError, ValueError):
        return False


def _within(path: str, folder: str | os.PathLike[str]) -> bool:
    """Whether a path is that folder or lies in it, links resolved."""
    try:
        inner, outer = os.path.realpath(path), os.path.realpath(folder)
    except (OSError, ValueError):  # a NUL, say, or the current folder is gone
        return False
    return inner == outer or inner.startswith(os.path.join(outer, ""))


def _is(key: tuple[int, int], folder: str | os.PathLike[str]) -> bool:
    """Whether `key` is the identity of that folder, which may not exist yet."""
    try:
        return _identity(folder) == key
    except OSError:
        return False


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _digest(path: str) -> bytes:
    """What a file is recognised by, through whatever links to its folder it is reached."""
    folder, name = os.path.split(path)
    with suppress(OSError, ValueError):  # a NUL, say, or the current folder is gone
        path = os.path.join(os.path.realpath(folder), name)
    return blake2b(os.fsencode(path), digest_size=16).digest()


def _error(path: str, kind: str, expected: str, got: str | None) -> ErrorResult:
    fault = ImageError(path=path, kind=kind, expected=expected, got=got or "an unknown fault")
    return ErrorResult(path, kind, str(fault))
