"""Many pictures: files and folders in, one record a picture out, whatever some of them are like."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from facefake.errors import ImageError
from facefake.results import ErrorResult, ImageResult

if TYPE_CHECKING:
    from facefake.detector import FakeImageDetector

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .tif .tiff .bmp .avif .heic .heif".split()  # noqa: SIM905
)
"""What a file in a folder must end with, in small or capital letters, to be taken for a picture."""

_KINDS = {errno.ENOENT: "not_found", errno.EACCES: "no_permission", errno.EPERM: "no_permission"}


def scan(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    detector: FakeImageDetector,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[ImageResult | ErrorResult]:
    """Analyse pictures one after the other; what cannot be read becomes an `ErrorResult` and stops nothing.

    Args:
        paths: files and folders, as `find_pictures` takes them, or one of these.
        detector: what analyses them.
        progress: called before each picture, and at the end, with how many are done and how many there are.

    Yields:
        One record a picture, in the order of `find_pictures`. Results hold their pictures' pixels: who keeps
        many of them keeps ``to_dict()`` instead.

    Raises:
        FaceFakeError: the fault is not the picture's but the installation's, so every other picture would
            fail alike: `MissingLibraryError`, `ModelError`.
    """
    found = list(find_pictures([paths] if isinstance(paths, (str, os.PathLike)) else paths))
    for done, picture in enumerate(found):
        progress(done, len(found))
        if isinstance(picture, ErrorResult):
            yield picture
            continue
        try:
            record: ImageResult | ErrorResult = detector.analyze(picture)
        except ImageError as error:
            record = ErrorResult(picture, error.kind, str(error))
        yield record
    progress(len(found), len(found))


def find_pictures(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str | ErrorResult]:
    """The pictures among files and folders, each once, in the order of the paths and by name within a folder.

    A folder stands for the files in it and in its sub-folders that end with one of `SUFFIXES`, without hidden
    ones (a name that begins with a dot). A path that is no folder is taken for a picture whatever its name,
    even if it does not exist, so that analysing it says what is wrong. Links to folders are followed; a folder
    that is reached twice, as through a link to its own parent, is read once.

    Yields:
        A path, or the record of a folder that cannot be listed or holds no picture.
    """
    # os.path throughout: pathlib raises where a parent folder may not be searched, and takes "" for ".".
    folders: set[tuple[int, int]] = set()
    files: set[str] = set()
    for path in map(os.fsdecode, paths):
        for found in _inside(path, folders) if os.path.isdir(path) else [path]:
            if isinstance(found, str):
                key = os.path.abspath(found) if found else found
                if key in files:
                    continue
                files.add(key)
            yield found


def _inside(root: str, seen: set[tuple[int, int]]) -> Iterator[str | ErrorResult]:
    waiting, empty = [root], True
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):
            if os.path.splitext(path)[1].lower() in SUFFIXES:
                empty = False
                yield path
            continue
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                empty = False
                continue
            seen.add((status.st_dev, status.st_ino))
            names = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            empty = False
            yield _folder_error(
                path, _KINDS.get(error.errno or 0, "unreadable"), "a folder to look into", error.strerror
            )
            continue
        waiting += [os.path.join(path, name) for name in names if not name.startswith(".")]
    if empty:
        yield _folder_error(root, "not_found", f"files that end with {', '.join(sorted(SUFFIXES))}", "none")


def _folder_error(path: str, kind: str, expected: str, got: str | None) -> ErrorResult:
    name = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return ErrorResult(path, kind, f"{name}: expected {expected}, got {got or 'an unknown fault'}")
