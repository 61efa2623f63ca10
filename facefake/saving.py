"""Annotated copies of pictures in one folder: nothing else is touched, nothing is left half-written."""

from __future__ import annotations

import io
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from facefake.errors import OutputError

if TYPE_CHECKING:
    import PIL.Image

    from facefake.results import ImageResult

_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")


class CopyName(NamedTuple):
    """What a picture's copy is to be called.

    Attributes:
        name: of the file, without its suffix.
        replace: whether what has that name is the copy of the same picture as it was before.
        otherwise: the name that is certainly no other picture's, for when a different file has the first one.
    """

    name: str
    replace: bool = False
    otherwise: str | None = None


class CopyNames:
    """Gives pictures' copies their names: ``NAME-annotated``, without a suffix.

    Of pictures of the same name only the first to come is called that; the others' have a digest of their whole path
    besides. So one hand gives all names, however many draw the copies, and a picture that is added between two scans
    moves no other's name.

    Args:
        folder: where copies of an earlier scan may lie, if that is gone on with.
        known: is told a picture's path, and whether that scan has judged it.
    """

    def __init__(self, folder: Path | None = None, known: Callable[[str], bool] = lambda path: False) -> None:
        self._folder = folder
        self._known = known
        self._taken: set[str] = set()

    def name(self, path: str) -> CopyName:
        """The name for the copy of the picture at that path; also to be asked for pictures that are left out."""
        name, own, first = self._names(path)
        if self._folder is None:
            self._taken.add(_key(path))
            return CopyName(name if first else own)
        if not first or copies_of(self._folder, own):
            return CopyName(own, replace=True)
        known = self._known(path)
        # Without a record of this picture, another copy of that name is of one that came first when it was made.
        if known or not copies_of(self._folder, name):
            self._taken.add(_key(path))
        return CopyName(name, replace=True) if known else CopyName(name, otherwise=own)

    def has_copy(self, path: str) -> bool:
        """Whether there is a file that may be the copy of the picture at that path."""
        if self._folder is None:
            return False
        name, own, _ = self._names(path)
        return bool(copies_of(self._folder, name) or copies_of(self._folder, own))

    def _names(self, path: str) -> tuple[str, str, bool]:
        """The short name, the one that is certainly no other picture's, and whether the short one is free."""
        name = f"{Path(path).stem or 'picture'}-annotated"
        digest = blake2b(os.fsencode(os.path.abspath(path)), digest_size=5).hexdigest()
        return name, f"{name}-{digest}", _key(path) not in self._taken


def _key(path: str) -> str:
    """What pictures of one name have in common; some file systems take capital letters for small ones."""
    return (Path(path).stem or "picture").casefold()


def copies_of(folder: Path, name: str) -> list[Path]:
    """The files in a folder that hold a copy of that name: of a picture, or of a video's people, numbered from 1."""
    found = [path for suffix in (".jpg", ".png") if os.path.lexists(path := folder / f"{name}{suffix}")]
    sheets = (folder / f"{name}-person-{number}.jpg" for number in count(1))
    return [*found, *takewhile(os.path.lexists, sheets)]


@dataclass(frozen=True, slots=True)
class AnnotatedFolder:
    """Writes annotated pictures as ``.jpg``, or ``.png`` where the source was lossless.

    The copies hold no metadata but the colour profile. Worker processes may write to the same folder, as long as
    no two write the same name.

    Attributes:
        folder: is made when the first picture comes.
        force: write over files that were there before.
        evidence: draw the evidence on each face as well.
    """

    folder: Path
    force: bool = False
    evidence: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))  # which may be given as a str

    def save(self, result: ImageResult, copy: CopyName) -> tuple[Path | OutputError, ...]:
        """Draw a result's verdicts on its picture and write it.

        Args:
            result: with its picture.
            copy: the name.

        Returns:
            The path, or why it could not be written: another file of that name was there before, or the folder cannot
            be written. A file that is there already and is what would be written, as after an interrupted scan, is
            left alone.
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
        """Write the files of one copy, by what their names end with, and remove what an earlier one had besides."""
        try:
            if copy.otherwise and self._has_another(copy.name, parts):
                copy = CopyName(copy.otherwise, replace=True)
        except OSError as error:
            return (_unwritten(self.folder / copy.name, error),)
        written: list[Path] = []
        faults: list[OutputError] = []
        for ending, content in parts.items():
            target = self.folder / f"{copy.name}{ending}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if not _holds(target, content):
                    with whole_file(target, self.force or copy.replace) as file:
                        file.write(content)
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

    def _has_another(self, name: str, parts: Mapping[str, bytes]) -> bool:
        """Whether a file of a copy of that name is none of these."""
        ours = {self.folder / f"{name}{ending}": content for ending, content in parts.items()}
        return any(path not in ours or not _holds(path, ours[path]) for path in copies_of(self.folder, name))

    def drop(self, copy: CopyName, but: Sequence[Path]) -> None:
        """Remove what a replaced copy left behind: under other suffixes or other people's numbers, or all of it.

        Raises:
            OutputError: a file cannot be removed.
        """
        for path in copies_of(self.folder, copy.name) if copy.replace else []:
            if path not in but:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise OutputError(f"{path}: expected to remove it, got: {error.strerror}") from error


def _unwritten(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target}: expected a file that can be written, got: {error.strerror or error}")


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == content


def _encoded(image: PIL.Image.Image, lossless: bool) -> bytes:
    content = io.BytesIO()
    profile = image.info.get("icc_profile")
    if lossless:
        image.save(content, "PNG", icc_profile=profile)
    else:
        image.save(content, "JPEG", quality=92, icc_profile=profile)
    return content.getvalue()


def check_free(path: Path, force: bool) -> None:
    """Whether a file may be written there: what would fail after minutes of work should fail before them.

    Raises:
        OutputError: there is something of that name, and it is not to be replaced, or no folder for it.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: expected a folder to write to, found none at {path.parent}")
    if path.is_dir() or (os.path.lexists(path) and not force):
        raise OutputError(f"{path}: expected a new file, found one of that name")


@contextmanager
def whole_file(path: Path, force: bool = False, through: bool = False) -> Iterator[BinaryIO]:
    """A file that is to be written: it appears when all of it is there, and not at all when that fails.

    A device or a pipe cannot be put in its place, so it gets what is written as it comes.

    Args:
        path: the file, in a folder that exists.
        force: put it in the place of an existing file, or of a link.
        through: put it in the place of what a link leads to instead.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    try:
        if not force and os.path.lexists(path):
            raise OutputError(f"{path}: expected a new file, found one of that name")
        if through and os.path.exists(end := os.path.realpath(path)):  # not so for a link to a pipe
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
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{path}: expected a file that can be written, got: {got}") from error
