"""The formats of pictures that are read, and Pillow's reader of each."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from importlib import import_module
from typing import BinaryIO

from PIL import ImageFile, features

from facefake.native import hush_libtiff
from facefake.refusal import Refusal

# Reader classes, not Image.open: no plugin that somebody else registered sees a stranger's file, and the
# reader's own complaint reaches the user. An MPO file is read as the JPEG that it begins with.
_READERS = {
    "JPEG": (rb"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": (rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": (rb"RIFF....WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": (rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", "PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": (rb"BM", "PIL.BmpImagePlugin", "BmpImageFile"),
    "AVIF": (rb"....ftyp(?:....){0,30}?avi[fs]", "PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": (rb"....ftyp(?:....){0,30}?(?:hei[cxms]|hev[cx]|mif1|msf1)", "pillow_heif", "HeifImageFile"),
}
FORMATS = tuple(_READERS)


def file_format_of(data: bytes) -> str | None:
    """The name of the format, as in `Picture.format`, that a file begins like; None for one that is not read."""
    return next((f for f, reader in _READERS.items() if re.match(reader[0], data, re.DOTALL)), None)


def open_reader(data: bytes, file_format: str) -> ImageFile.ImageFile:
    """Pillow's reader of a file of that format, which has looked at its headers only.

    Raises:
        Refusal: no library for the format is installed.
        Exception: nearly any, where the file is malformed; see `refusal.faults`.
    """
    _, module, name = _READERS[file_format]
    try:
        if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
            raise ImportError(f"this Pillow was built without {file_format}")
        if file_format == "TIFF":
            hush_libtiff()
        reader: Callable[[BinaryIO], ImageFile.ImageFile] = getattr(import_module(module), name)
    except ImportError as fault:
        extra = " (install facefake[heif])" if file_format == "HEIF" else ""
        raise Refusal("unsupported", f"a library that reads {file_format}{extra}", str(fault)) from fault
    return reader(io.BytesIO(data))


def without_chunks(data: bytes, kinds: Collection[bytes], most: int | None = None) -> bytes:
    """A PNG file without its chunks of some kinds.

    Args:
        data: the file, which may be malformed.
        kinds: of the chunks that go.
        most: after how many chunks the rest goes, too; None for none.
    """
    kept, at, count = [data[:8]], 8, 0
    while at < len(data) and count != most:
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind not in kinds:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
        count += 1
        if kind == b"IEND":
            break
    return b"".join(kept)
