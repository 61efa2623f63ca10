"""Annotated copies of pictures in one folder: nothing else is touched, nothing is left half-written."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from facefake.errors import OutputError

if TYPE_CHECKING:
    import PIL.Image

    from facefake.results import ImageResult

_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")


class AnnotatedFolder:
    """Writes annotated pictures as ``NAME-annotated.jpg``, or ``.png`` where the source was lossless.

    Pictures of the same name get ``-2``, ``-3`` and so on, in the order of their coming. The copies hold no
    metadata but the colour profile.

    Args:
        folder: is made when the first picture comes.
        force: write over files that were there before.
    """

    def __init__(self, folder: Path, force: bool = False) -> None:
        self.folder = folder
        self._force = force
        self._taken: set[str] = set()

    def save(self, result: ImageResult) -> Path:
        """Draw a result's verdicts on its picture and write it; its path.

        Raises:
            OutputError: a file of that name was there before, the folder cannot be written, or the result was
                kept without its picture.
        """
        image = result.annotated()
        lossless = result.picture is not None and result.picture.format in _LOSSLESS
        target = self.folder / self._name(Path(result.path or "picture").stem, "png" if lossless else "jpg")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._force and os.path.lexists(target):
                raise OutputError(f"{target}: expected a new file, found one of that name")
            _write(image, target)
        except OSError as error:
            got = error.strerror or str(error)
            raise OutputError(f"{target}: expected a file that can be written, got: {got}") from error
        return target

    def _name(self, stem: str, suffix: str) -> str:
        number, name = 1, f"{stem}-annotated.{suffix}"
        while name.casefold() in self._taken:  # some file systems take capital letters for small ones
            number += 1
            name = f"{stem}-annotated-{number}.{suffix}"
        self._taken.add(name.casefold())
        return name


def _write(image: PIL.Image.Image, target: Path) -> None:
    partial = target.with_name(f".facefake-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            profile = image.info.get("icc_profile")
            if target.suffix == ".png":
                image.save(file, "PNG", icc_profile=profile)
            else:
                image.save(file, "JPEG", quality=92, icc_profile=profile)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
