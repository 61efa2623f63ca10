"""Annotated copies of pictures in one folder: no other file is touched, and none is left half-written."""

from __future__ import annotations

import io
import os
import secrets
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from hashlib import blake2b
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from facefake.errors import OutputError
from facefake.sources import ANNOTATED, is_video

if TYPE_CHECKING:
    import PIL.Image

    from facefake.results import ImageResult

TAKEN = "expected a new file, found one of that name: force overwrites it"
TAKEN_RECORDS = f"{TAKEN}, resume continues it"

_LONGEST_STEM = 255 - len("-annotated-0123456789-person-10000.jpg")  # bytes: most systems allow 255 in a name
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")
_JPEG_HEAD, _PNG_HEAD = 20, 33  # bytes, after which a comment can be inserted into Pillow's files
_PARENTS = 256  # pictures' folders whose real paths are cached
_MARKED_WITHIN = 128  # bytes; the mark comes before any colour profile, however large


class CopyName(NamedTuple):
    """What a picture's copy is to be called.

    Attributes:
        name: of the file, without its suffix.
        mark: a digest of the path from the folder of copies to the picture, by which its copies are recognised.
        replace: whether an earlier copy of the same picture is replaced; other files of that name never are.
        video: whether it is of a video.
    """

    name: str
    mark: str
    replace: bool = False
    video: bool = False


class CopyNames:
    """Gives the copies of pictures their names: ``NAME-annotated``, without a suffix.

    Of several pictures with the same name only the first gets this one; the others' copies are also named after a digest
    of the path to the picture. All names are given in one place, however many processes draw the copies, and a picture
    that is added between two scans changes no other's name.

    Args:
        folder: of the copies, which need not exist yet.
        resume: whether an earlier scan, whose copies are there, is being resumed.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._resume = resume
        self._taken: set[str] = set()
        self._parent = lru_cache(_PARENTS)(os.path.realpath)
        self._holds = lru_cache(2)(self._look)  # `has_copy` and then `name` ask the same about a picture

    def name(self, path: str) -> CopyName:
        """The name for the copy of the picture at that path; must also be called for pictures that are left out."""
        name, own, mark = self._names(path)
        video = is_video(path)
        first = _key(path) not in self._taken
        if not self._resume:
            self._taken.add(_key(path))
            return CopyName(name if first else own, mark, video=video)
        short = self._holds(name, mark, video)
        if first and not short and not any(copies_of(self._folder, name, video)):
            short = not self._holds(own, mark, video)
        self._holds.cache_clear()
        if short:
            self._taken.add(_key(path))
            return CopyName(name, mark, True, video)
        return CopyName(own, mark, True, video)

    def has_copy(self, path: str) -> bool:
        """Whether a scan has left a copy of the picture at that path in this folder."""
        name, own, mark = self._names(path)
        video = is_video(path)
        return self._holds(name, mark, video) or self._holds(own, mark, video)

    def _look(self, name: str, mark: str, video: bool) -> bool:
        return any(_has_mark(path, mark) for path in copies_of(self._folder, name, video))

    def _names(self, path: str) -> tuple[str, str, str]:
        """The short name, the one that is certainly unique, and the mark."""
        name = f"{_stem(path)}-annotated"
        # Not of the absolute path: the folders of pictures and copies may be moved together, or mounted elsewhere; and not
        # of the path as given: it may go through a link.
        folder, own = os.path.split(path)
        try:
            way = os.path.relpath(os.path.join(self._parent(folder), own), self._folder)
        except (OSError, ValueError):  # a NUL, say, or the current folder is gone: there is no such file
            way = path
        mark = blake2b(os.fsencode(way), digest_size=5).hexdigest()
        return name, f"{name}-{mark}", mark


def _key(path: str) -> str:
    """What pictures of the same name have in common; some file systems ignore case."""
    return _stem(path).casefold()


def _stem(path: str) -> str:
    """A picture's name without its suffix, cut to leave room for what is added to it in the names of copies."""
    stem = Path(path).stem or "picture"
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def copies_of(folder: Path, name: str, video: bool) -> Iterator[Path]:
    """The files in a folder that are copies of that name: of a picture, or of a video's people, numbered from 1.

    In a crowd not everybody has a sheet, and the first few may have none. So for a video the whole folder is searched
    after the names that can be guessed; some files may be yielded twice.
    """
    yield from (path for suffix in (".jpg", ".png") if os.path.lexists(path := folder / f"{name}{suffix}"))
    yield from takewhile(os.path.lexists, (folder / f"{name}-person-{number}.jpg" for number in count(1)))
    if video:
        yield from folder.glob(f"{escape(name)}-person-*.jpg")


@dataclass(frozen=True, slots=True, init=False)
class AnnotatedFolder:
    """Writes annotated pictures as ``.jpg``, or ``.png`` where the source was lossless.

    The only metadata in the copies are the colour profile and a comment, the mark by which a later scan recognises them.
    Several processes may write to the same folder, as long as no two write the same name.

    Attributes:
        folder: created with the first copy.
        force: overwrite existing files.
        evidence: draw the evidence on each face as well.
    """

    folder: Path
    force: bool
    evidence: bool

    def __init__(self, folder: str | os.PathLike[str], force: bool = False, evidence: bool = False) -> None:
        for name, value in (("folder", Path(folder)), ("force", force), ("evidence", evidence)):
            object.__setattr__(self, name, value)  # as frozen dataclasses do

    def save(self, result: ImageResult, copy: CopyName) -> tuple[Path | OutputError, ...]:
        """Draw a result's verdicts on its picture and write it.

        Args:
            result: with its picture.
            copy: the name.

        Returns:
            The path, or why it could not be written: there is another file of that name, or the folder cannot be
            written to. A file that already has the same content, as after an interrupted scan, is left alone.
        """
        lossless = result.picture is not None and result.picture.format in _LOSSLESS
        image = result.annotated(self.evidence)
        return self._write({".png" if lossless else ".jpg": _encoded(image, lossless)}, copy)

    def save_sheets(
        self, sheets: Iterable[tuple[int, PIL.Image.Image]], copy: CopyName
    ) -> tuple[Path | OutputError, ...]:
        """Write the sheets of a video's people, each with the person's number; otherwise as `save`."""
        return self._write({f"-person-{n}.jpg": _encoded(sheet, False) for n, sheet in sheets}, copy)

    def _write(self, parts: Mapping[str, bytes], copy: CopyName) -> tuple[Path | OutputError, ...]:
        """Write the files of one copy, keyed by how their names end, and remove any others that an earlier copy had."""
        written: list[Path] = []
        faults: list[OutputError] = []
        for ending, content in parts.items():
            target, marked = self.folder / f"{copy.name}{ending}", _marked(content, copy.mark)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if not _holds(target, marked):
                    ours = copy.replace and _has_mark(target, copy.mark)
                    with whole_file(target, self.force or ours) as file:
                        file.write(marked)
                written.append(target)
            except OutputError as error:
                faults.append(error)
            except OSError as error:
                faults.append(_unwritten(target, error))
        if not faults:
            try:
                self.drop(copy, but=written)
            except OutputError as error:
                faults.append(error)
        return (*written, *faults)

    def drop(self, copy: CopyName, but: Sequence[Path]) -> None:
        """Remove what is left of a replaced copy: files with other suffixes or person numbers, or all files not in `but`.

        Raises:
            OutputError: a file cannot be removed.
        """
        for path in copies_of(self.folder, copy.name, copy.video) if copy.replace else ():
            if path not in but and _has_mark(path, copy.mark):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise OutputError(f"{path}: expected to remove it, got: {error.strerror}") from error


def _unwritten(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target}: expected a file that can be written, got: {error.strerror or error}")


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == content


def _marked(content: bytes, mark: str) -> bytes:
    """What Pillow wrote, with a mark in a comment that comes before anything of variable length."""
    text = _comment(mark)
    if content.startswith(b"\x89PNG"):
        chunk = b"tEXtComment\0" + text
        piece = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return content[:_PNG_HEAD] + piece + content[_PNG_HEAD:]
    piece = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    return content[:_JPEG_HEAD] + piece + content[_JPEG_HEAD:]


def _has_mark(path: Path, mark: str) -> bool:
    """Whether a file is a copy with that mark; one that cannot be read is taken to be somebody else's."""
    try:
        if not path.is_file() or path.is_symlink():
            return False
        with path.open("rb") as file:
            return _comment(mark) in file.read(_MARKED_WITHIN)
    except OSError:
        return False


def _comment(mark: str) -> bytes:
    return f"{ANNOTATED}{mark}".encode("ascii")


def _encoded(image: PIL.Image.Image, lossless: bool) -> bytes:
    content = io.BytesIO()
    profile = image.info.get("icc_profile")
    if lossless:
        image.save(content, "PNG", icc_profile=profile)
    else:
        image.save(content, "JPEG", quality=92, icc_profile=profile)
    return content.getvalue()


def check_free(path: Path, force: bool, records: bool = False) -> None:
    """Raise an error unless a file may be written there: better before minutes of work than after them.

    Args:
        path: the file.
        force: whether an existing one is to be replaced.
        records: whether it is a file that a scan can resume.

    Raises:
        OutputError: it exists and is not to be replaced, or is a folder, or there is no folder for it.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: expected a folder to write to, found none at {path.parent}")
    if path.is_dir():
        raise OutputError(f"{path}: expected a file, found a folder")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{path}: {TAKEN_RECORDS if records else TAKEN}")


def check_whole_file(path: Path, force: bool, through: bool = False) -> None:
    """Raise an error unless `whole_file` may write there; like `check_free`, to be called before minutes of work.

    Raises:
        OutputError: as `check_free` and `check_folder` do.
    """
    check_free(path, force)
    end = Path(os.path.realpath(path)) if through else path
    # A device is written to directly, without a temporary file beside it.
    if os.path.isfile(end) or not os.path.exists(end):
        check_folder(end.parent)


def check_folder(folder: Path) -> None:
    """Raise an error unless files may be written to a folder, which need not exist yet; see `check_free` for when.

    Raises:
        OutputError: they may not, or the folder cannot be created.
    """
    there = next(filter(os.path.lexists, (folder, *folder.parents)), Path(os.curdir))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: expected a folder to write to, found none that is writable at {there}")


@contextmanager
def whole_file(path: Path, force: bool = False, through: bool = False) -> Iterator[BinaryIO]:
    """A file to write to: it appears once it is complete, and not at all if writing fails.

    A device or a pipe cannot be replaced, so it is written to directly.

    Args:
        path: the file, in a folder that exists.
        force: replace an existing file or link.
        through: replace what a link points to instead of the link.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    try:
        with suppress(OSError):
            os.lstat(path)
    except ValueError as error:  # a NUL, say
        raise OutputError(f"{path}: expected a file that can be written, got: {error}") from error
    try:
        if not force and os.path.lexists(path):
            raise OutputError(f"{path}: {TAKEN}")
        if through and os.path.exists(end := os.path.realpath(path)):  # not for /dev/fd/N if that is a pipe
            path = Path(end)
        partial = path.with_name(f".facefake-{secrets.token_hex(8)}.partial")
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with path.open("wb") as file:
                yield file
            return
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(path, error) from error
