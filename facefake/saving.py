"""Annotated copies of pictures in one folder: nothing else is touched, nothing is left half-written."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from facefake.errors import OutputError

if TYPE_CHECKING:
    import PIL.Image

    from facefake.results import ImageResult

_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")


class CopyNames:
    """Gives pictures' copies their names, ``NAME-annotated``, without a suffix.

    Pictures of the same name get ``-2``, ``-3`` and so on, in the order of their coming, which is why one hand
    gives all names, however many draw the copies.
    """

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def name(self, path: str) -> str:
        """The name for the copy of the picture at that path."""
        stem = Path(path).stem or "picture"
        key = stem.casefold()  # some file systems take capital letters for small ones
        self._taken[key] = number = self._taken.get(key, 0) + 1
        return f"{stem}-annotated" if number == 1 else f"{stem}-annotated-{number}"


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

    def save(self, result: ImageResult, name: str) -> Path:
        """Draw a result's verdicts on its picture and write it; its path.

        A file that is there already and is what would be written, as after an interrupted scan, is left alone.

        Args:
            result: with its picture.
            name: of the file, without its suffix.

        Raises:
            OutputError: another file of that name was there before, the folder cannot be written, or the result was
                kept without its picture.
        """
        image = result.annotated(self.evidence)
        return self.put(image, name, result.picture is not None and result.picture.format in _LOSSLESS)

    def put(self, image: PIL.Image.Image, name: str, lossless: bool = False) -> Path:
        """Write a picture that is drawn already; otherwise as `save`.

        Raises:
            OutputError: as there.
        """
        target = self.folder / f"{name}.{'png' if lossless else 'jpg'}"
        content = _encoded(image, lossless)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if target.is_symlink() or not target.is_file() or target.read_bytes() != content:
                with whole_file(target, self.force) as file:
                    file.write(content)
        except OSError as error:
            got = error.strerror or str(error)
            raise OutputError(f"{target}: expected a file that can be written, got: {got}") from error
        return target


def _encoded(image: PIL.Image.Image, lossless: bool) -> bytes:
    content = io.BytesIO()
    profile = image.info.get("icc_profile")
    if lossless:
        image.save(content, "PNG", icc_profile=profile)
    else:
        image.save(content, "JPEG", quality=92, icc_profile=profile)
    return content.getvalue()


@contextmanager
def whole_file(path: Path, force: bool = False) -> Iterator[BinaryIO]:
    """A file that is to be written: it appears when all of it is there, and not at all when that fails.

    Args:
        path: the file, in a folder that exists.
        force: put it in the place of an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    partial = path.with_name(f".facefake-{secrets.token_hex(8)}.partial")
    try:
        if not force and os.path.lexists(path):
            raise OutputError(f"{path}: expected a new file, found one of that name")
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{path}: expected a file that can be written, got: {got}") from error
