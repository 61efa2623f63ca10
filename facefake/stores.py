"""Pictures by URI, in any store that pyarrow or fsspec can reach: finding them, knowing their state, reading them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, unquote

from facefake.errors import ImageError, MissingLibraryError
from facefake.reading import image_error, opened_file
from facefake.record_values import path_text
from facefake.refusal import Refusal, faults
from facefake.results import ErrorResult, FileState
from facefake.sources import file_state, find_pictures, is_picture, nameless, no_pictures

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")
_MAGIC = re.compile(r"[*\[]")  # not "?", which begins a URI's query
_LOCAL_MAGIC = re.compile(r"[*?\[]")  # URIs of local files have no query
_ESCAPED_MAGIC = re.compile("%(2A|3F|5B)", re.IGNORECASE)
_LOCAL = "file:///"
_ALSO_LOCAL = re.compile(r"((simple|file|block)cache::)*(file|local):///")  # fsspec's names for the same
_PLAIN = "/!$&'()*+,;=:@"  # what stands for itself in a URI apart from letters, digits and -._~


class Stored(NamedTuple):
    """A picture in a store.

    Attributes:
        uri: where it is.
        file: its state; `modified_ns` is 0 if the store does not give it. None if there is no such file.
    """

    uri: str
    file: FileState | None


def is_uri(path: str) -> bool:
    """Whether a path is a URI, such as ``s3://bucket/key`` or fsspec's ``zip://photo.jpg::s3://bucket/key``."""
    return _URI.match(path) is not None and "://" in path


def find_stored(uri: str) -> Iterator[Stored | ErrorResult]:
    """What a URI stands for, sorted by name, as `sources.find_pictures` does for paths.

    A folder stands for the pictures and videos in it and below. A URI that contains ``*`` or ``[`` is a pattern, in which
    ``**`` stands for any number of folders, and which may match folders, too; so is a ``file:///`` URI that contains
    ``?``. Folders and patterns leave out hidden files. Anything else is taken for a picture.

    Yields:
        The pictures, or an error record saying why there are none.

    Raises:
        MissingLibraryError: the library for such stores is not installed.
    """
    if (no_uri := nameless(uri)) is not None:
        yield no_uri
        return
    if (local := _local_path(uri)) is not None:
        yield from _find_local(uri, local)
        return
    begin, path, end = _parts(uri)
    parts = path.split("/")
    fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    folder, pattern = "/".join(parts[:fixed]), "/".join(parts[fixed:])
    try:
        with _named(uri), faults("unreadable", "a folder or file to look into"):
            system, root, quoted = resolved(begin + folder + end)
            info = system.get_file_info(root)
            if not pattern and info.type.name != "Directory":
                yield Stored(uri, _state(info))
                return
            found = _listed(system, root)
    except ImageError as error:
        yield ErrorResult(uri, error.kind, str(error))
        return
    wanted = _wanted(_unquoted_pattern(pattern) if quoted else pattern) if pattern else is_picture
    empty = True
    for name, info in found:
        if not _is_hidden(name) and wanted(name):
            empty = False
            below = _quoted(name) if quoted else name
            place = begin + "/".join(filter(None, (folder.rstrip("/"), below))) + end
            if "::" in below:
                fault = f"{place}: expected a name that a URI can hold, got {name}, in which :: would begin another store"
                yield ErrorResult(place, "unreadable", fault)
            else:
                yield Stored(place, _state(info))
    if empty:
        yield no_pictures(uri, by_pattern=bool(pattern))


def _find_local(uri: str, path: str) -> Iterator[Stored | ErrorResult]:
    """As `find_stored`. Arrow refuses a whole folder for a single name that is not UTF-8, or a subfolder it cannot list."""
    is_pattern = _LOCAL_MAGIC.search(uri) is not None
    given = _unquoted_pattern(uri.removeprefix("file://")) if is_pattern else path
    # Spelled exactly as given: a file's record is recognised by its URI.
    spelled = uri.removeprefix("file://")
    fixed = (
        _LOCAL_MAGIC.split(spelled, maxsplit=1)[0].rpartition("/")[0] if is_pattern else spelled.rstrip("/")
    )
    begin = unquote(fixed, errors="surrogateescape")
    for found in find_pictures([given if is_pattern else os.fsencode(given)]):
        name = found.path or "" if isinstance(found, ErrorResult) else found
        place = uri if name == given else f"file://{fixed}{_quoted(name.removeprefix(begin))}"
        if isinstance(found, ErrorResult):
            yield ErrorResult(place, found.kind, place + found.message.removeprefix(path_text(name)))
        else:
            yield Stored(place, file_state(name))


def _unquoted_pattern(pattern: str) -> str:
    """A pattern with its percent escapes decoded; escaped ``*``, ``?`` and ``[`` are then literal."""
    literal = _ESCAPED_MAGIC.sub(lambda escape: f"[{unquote(escape[0])}]", pattern)
    return unquote(literal, errors="surrogateescape")


def _wanted(pattern: str) -> Callable[[str], bool]:
    """A function that says whether the pattern matches the file of a name, or a folder above the picture of that name."""
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern.rstrip("/"))).match

    def wanted(name: str) -> bool:
        if not pattern.endswith("/") and matches(name):
            return True
        folders = accumulate(name.split("/")[:-1], "{}/{}".format)
        return is_picture(name) and any(map(matches, folders))

    return wanted


def stored_state(uri: str) -> FileState | None:
    """The state of a file; None if there is none, or its state cannot be read."""
    try:
        with _named(uri), faults("unreadable", "a readable file"):
            if (local := _path_here(uri)) is not None:
                return file_state(local)
            system, path, _ = resolved(uri)
            return _state(system.get_file_info(path))
    except ImageError:
        return None


def resolved(place: str) -> tuple[FileSystem, str, bool]:
    """The file system of a path or URI, the path in it, and whether percent signs in `place` are escapes.

    Raises:
        MissingLibraryError: the library for such stores is not installed.
        OSError, ValueError: there is no such store.
    """
    from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

    if not is_uri(place):
        return LocalFileSystem(), os.path.abspath(place), False
    begin, path, end = _parts(place)
    authority, _, key = path.partition("/")
    if not end.startswith("::") and (own := _arrow_system(f"{begin}{authority}/{end}")):
        system, root = own
        return system, f"{root.rstrip('/')}/{unquote(key)}", True
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(place)
    except ImportError as error:
        raise MissingLibraryError(f"expected a library that can read {place}, got: {error}") from error
    return PyFileSystem(FSSpecHandler(system)), path, False


@contextmanager
def opened(uri: str, max_bytes: int) -> Iterator[BinaryIO]:
    """A file, opened to be read from beginning to end.

    Args:
        uri: where it is.
        max_bytes: the most that a file on this machine may have; other stores may not know before it is read.

    Raises:
        ImageError: it cannot be opened; or it is on this machine and is not a regular file, or is larger.
        MissingLibraryError: the library for such stores is not installed.
    """
    with ExitStack() as stack:
        with _named(uri), faults("unreadable", "a readable file"):
            if (local := _path_here(uri)) is not None:
                stream: Any = stack.enter_context(opened_file(local, max_bytes))
            else:
                system, path, _ = resolved(uri)
                stream = stack.enter_context(system.open_input_stream(path))
        yield cast(BinaryIO, stream)


@cache
def _arrow_system(store: str) -> tuple[FileSystem, str] | None:
    """The file system of a bucket or host, and the bucket's path; None if Arrow itself has none for it.

    Cached, because finding a bucket takes a request or two.
    """
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    try:
        return cast("tuple[FileSystem, str]", FileSystem.from_uri(store))
    except ArrowInvalid:
        return None


@contextmanager
def _named(uri: str) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        if isinstance(refusal.__cause__, MissingLibraryError):
            raise refusal.__cause__ from refusal
        raise image_error(refusal, uri) from refusal.__cause__


def _parts(uri: str) -> tuple[str, str, str]:
    """A URI's scheme, its path, and what follows: its query, and the stores that it is chained to."""
    scheme, rest = uri.split("://", 1)
    end = re.search(r"::|$" if uri.startswith(_LOCAL) else r"\?|::|$", rest)
    assert end is not None
    return f"{scheme}://", rest[: end.start()], rest[end.start() :]


def _local_path(uri: str) -> str | None:
    """The path of a file on this machine, whose name may be undecodable; None if the URI leads elsewhere."""
    _, path, end = _parts(uri)
    return unquote(path, errors="surrogateescape") if uri.startswith(_LOCAL) and not end else None


def _path_here(uri: str) -> str | None:
    """The same, but also for a URI that reaches the file by another name or through a cache."""
    if (local := _local_path(uri)) is None and _ALSO_LOCAL.match(uri):
        return resolved(uri)[1]
    return local


def _quoted(name: str) -> str:
    return quote(os.fsencode(name), safe=_PLAIN).replace("::", "%3A%3A")


def _listed(system: FileSystem, root: str) -> list[tuple[str, FileInfo]]:
    """The files below a folder, sorted by name; names are relative to that folder."""
    from pyarrow.fs import FileSelector

    found = system.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
    skip = len(root.rstrip("/"))
    return sorted(
        ((info.path[skip:].lstrip("/"), info) for info in found if info.type.name == "File"),
        key=lambda entry: entry[0],
    )


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _state(info: FileInfo) -> FileState | None:
    return FileState(info.size or 0, info.mtime_ns or 0) if info.type.name == "File" else None
