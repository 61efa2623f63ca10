"""The picture formats that are read, and Pillow's reader for each."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import islice
from typing import BinaryIO

from PIL import Image, ImageFile, features

from facefake.native import hush_libtiff
from facefake.refusal import Refusal

# Reader classes, not Image.open: no plugin that somebody else registered sees a stranger's file, and the
# reader's own error reaches the user. An MPO file is read as the JPEG that it begins with.
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


def _most_parts(data: bytes) -> int:
    """The most parts to read a PNG or GIF in: each takes time, and Pillow keeps many. A GIF's have up to 255 bytes."""
    return 100_000 + len(data) // 64


def _too_many_parts(data: bytes) -> Refusal:
    return Refusal("too_large", f"a file of at most {_most_parts(data):,} parts", "more")


class _Parts(io.BytesIO):
    """A file that refuses to be read in too many parts."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _most_parts(data)

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _too_many_parts(self.getvalue())
        return super().read(size)


def file_format_of(data: bytes) -> str | None:
    """The name, as in `Picture.format`, of the format that a file begins like; None for one that is not read."""
    return next((f for f, reader in _READERS.items() if re.match(reader[0], data, re.DOTALL)), None)


def open_reader(data: bytes, file_format: str) -> ImageFile.ImageFile:
    """Pillow's reader for a file of that format, which has read only its headers.

    Raises:
        Refusal: no library for the format is installed, or the file has too many parts. The latter may also be raised
            when the reader reads on.
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
    return reader(_Parts(data) if file_format in ("PNG", "GIF") else io.BytesIO(data))


def exif_of(image: Image.Image) -> Image.Exif:
    """A picture's EXIF data, from its EXIF block alone, which may be there without tags.

    Raises:
        SyntaxError: the block has tags, but none can be read.
        Exception: nearly any, where the block is malformed; see `refusal.faults`.
    """
    if hasattr(image, "tag_v2"):  # a TIFF's tags are EXIF's
        return image.getexif()
    # Pillow takes an orientation that EXIF lacks from XMP, and its JPEG reader hides what is wrong with the block.
    bare = Image.Image()
    bare.info = {key: image.info[key] for key in ("exif", "Raw profile type exif") if key in image.info}
    exif = bare.getexif()
    if (block := image.info.get("exif")) and not exif:
        head = block.removeprefix(b"Exif\0\0")
        first = int.from_bytes(head[4:8], "little" if head[:1] == b"I" else "big")
        if head[first : first + 2] != b"\0\0":  # the number of tags
            raise SyntaxError("no tag can be read")
    return exif


def without_chunks(data: bytes, kinds: Collection[bytes], most: int | None = None) -> bytes:
    """A PNG file without its chunks of some kinds.

    Args:
        data: the file, which may be malformed.
        kinds: of the chunks to leave out.
        most: the number of chunks after which the rest is left out, too; None for no limit.
    """
    parts = islice(_chunks(data), most)
    return data[:8] + b"".join(data[start:end] for kind, start, end in parts if kind not in kinds)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk of a PNG file, up to the last, and where it begins and ends."""
    at, kind = 8, b""
    while at < len(data) and kind != b"IEND":
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        yield kind, at, end
        at = end


def gif_extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The label of each extension of a GIF file, as far as they can be followed, and its raw sub-blocks, each preceded by
    its length.

    Raises:
        Refusal: the file has too many parts.
    """
    left = _most_parts(data)
    with suppress(IndexError):
        at = 13 + _colours(data[10])
        while left >= 0 and (kind := data[at]) != ord(";"):
            left -= 1
            if kind not in b"!,":
                at += 1  # as Pillow does
                continue
            label = data[at + 1]
            at += 2 if kind == ord("!") else 11 + _colours(data[at + 9])
            start = at
            while left >= 0 and data[at]:
                at += 1 + data[at]
                left -= 1
            at += 1
            if kind == ord("!"):
                yield label, data[start : at - 1]
    if left < 0:
        raise _too_many_parts(data)


def _colours(flags: int) -> int:
    """The size, in bytes, of the colour table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
