"""Strict decoding: whatever arrives becomes one upright 8-bit sRGB picture, or one `ImageError`.

Pillow decodes, because a lenient decoder returns half a photo as if it were whole. A file is read whole before
it is decoded, so that it cannot change meanwhile, and its size is checked before its pixels are touched.
What strictness cannot see: a JPEG that was cut and then given an end marker decodes with a grey rest.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, features

from facefake.colour import colour_and_alpha, srgb_profile, to_srgb
from facefake.errors import ImageError
from facefake.native import hush_libtiff
from facefake.refusal import ERROR_KINDS, ErrorKind, Refusal, faults, pillow_muted

__all__ = [
    "ERROR_KINDS",
    "EncodedFile",
    "ErrorKind",
    "ImageLimits",
    "Picture",
    "Source",
    "check_regular",
    "file_format_of",
    "load_picture",
    "open_reader",
    "read_source",
]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFile:
    """The bytes of a picture's file, not decoded, and the path that they were read from, if any."""

    data: bytes
    path: str | None = None


Source: TypeAlias = Union[str, "os.PathLike[str]", bytes, BinaryIO, EncodedFile, Image.Image, NDArray[Any]]
_TOO_MUCH_TEXT = re.compile("Decompressed data too large|Too much memory used in text chunks")
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
_READ_ONLY = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # not every system has all of them
    _READ_ONLY |= getattr(os, _flag, 0)
_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE}
_UPRIGHT |= {6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before decoding: a file's bytes, a picture's pixels, the pixels along its longer side."""

    max_bytes: int = 200 * 1024 * 1024
    max_pixels: int = 150_000_000
    max_side: int = 30_000


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright.

    Attributes:
        pixels: (height, width, 3) uint8 sRGB, C-contiguous, read-only.
        path: the path that was given, undecodable bytes as surrogates; None when the source was not a path.
        format: "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF" or "HEIF"; of a PIL image, what it says.
        icc_profile: the sRGB profile to embed in a copy, if a profile of the source was used; else None.
        warnings: what was ignored or assumed, in people's words.
    """

    pixels: NDArray[np.uint8]
    path: str | None = None
    format: str | None = None
    icc_profile: bytes | None = None
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def load_picture(source: Source, limits: ImageLimits = ImageLimits()) -> Picture:
    """Decode a picture, strictly.

    EXIF orientation is applied once (HEIF and AVIF have boxes of their own for that, besides which EXIF does not
    count: ISO/IEC 23008-12), an embedded colour profile is converted to sRGB, transparency is laid on
    white, 16 bits become 8, and only the first of several frames or pages is read, with a warning.

    Args:
        source: a path; the bytes of a file; a binary file object, read from where it stands to its end and left
            open; what `read_source` gave; a PIL image, at its current frame; or a (height, width, 3) uint8 RGB
            array, which is copied.
        limits: what is too large.

    Raises:
        ImageError: nothing else; its `kind` is one of `ERROR_KINDS`.
    """
    read = read_source(source, limits)
    path = read.path if isinstance(read, EncodedFile) else None
    try:
        if isinstance(read, EncodedFile):
            return _decode(read.data, path, limits)
        if isinstance(read, np.ndarray):
            return Picture(_checked_array(read, limits))
        _check_size(*read.size, limits)
        with faults("corrupt", "a picture that Pillow can load"), pillow_muted():
            read.load()
            return _upright_srgb(read, None, read.format, [])
    except Refusal as refusal:
        raise _image_error(refusal, path) from refusal.__cause__


def read_source(
    source: Source, limits: ImageLimits = ImageLimits()
) -> EncodedFile | Image.Image | NDArray[Any]:
    """The bytes of a path, of bytes or of a file object; what is decoded already comes back as it is.

    For who wants more of a file than its picture and does not want to read it twice: `load_picture` takes the
    answer as its source.

    Raises:
        ImageError: nothing else.
    """
    path = None
    try:
        if isinstance(source, (EncodedFile, Image.Image, np.ndarray)):
            return source
        if isinstance(source, (str, os.PathLike)):
            with faults("unreadable", "a readable file"):
                path = os.fsdecode(source)
                return EncodedFile(_read_file(path, limits.max_bytes), path)
        if isinstance(source, bytes):
            return EncodedFile(source)
        if not hasattr(source, "read"):
            expected = "a path, bytes, a binary file object, a PIL image or a (height, width, 3) uint8 array"
            raise Refusal("wrong_type", expected, f"a {type(source).__name__}")
        with faults("unreadable", "a readable binary file object"):
            return EncodedFile(_read_all(source.read, limits.max_bytes))
    except Refusal as refusal:
        raise _image_error(refusal, path) from refusal.__cause__


def _image_error(refusal: Refusal, path: str | None) -> ImageError:
    kind, expected, got = refusal.args
    return ImageError(path=path, kind=kind, expected=expected, got=got)


def _read_file(path: str, max_bytes: int) -> bytes:
    # Opening a device can itself do harm, so look first; the name may be swapped meanwhile, so look again at
    # what was opened, which O_NONBLOCK keeps from waiting for the other end of a FIFO.
    check_regular(os.stat(path), max_bytes)
    with open(os.open(path, _READ_ONLY), "rb", buffering=0) as stream:
        check_regular(os.fstat(stream.fileno()), max_bytes)
        return _read_all(stream.read, max_bytes)


def check_regular(status: os.stat_result, max_bytes: int) -> None:
    """Refuse what is no file, or a larger one.

    Raises:
        Refusal: its kind is "not_a_file" or "too_large".
    """
    if not stat.S_ISREG(status.st_mode):
        names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        got = names.get(stat.S_IFMT(status.st_mode), "a device")
        raise Refusal("not_a_file", "a regular file", got)
    if status.st_size > max_bytes:
        raise Refusal("too_large", f"at most {max_bytes:,} bytes", f"{status.st_size:,} bytes")


def _read_all(read: Callable[[int], object], max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while total <= max_bytes:
        chunk = read(1 << 20)
        if not isinstance(chunk, bytes):
            raise Refusal("wrong_type", "a binary file object", f"one that gives {type(chunk).__name__}")
        if not chunk:
            break
        chunks.append(chunk)
        total += len(chunk)
    return b"".join(chunks)


def _checked_array(array: NDArray[Any], limits: ImageLimits) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        got = f"shape {array.shape} and dtype {array.dtype}"
        raise Refusal("wrong_type", "an RGB array of shape (height, width, 3) and dtype uint8", got)
    _check_size(array.shape[1], array.shape[0], limits)
    # A copy, as the caller may reuse the buffer while a result still refers to the picture.
    pixels = np.array(array, order="C")
    pixels.flags.writeable = False
    return pixels


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if min(width, height) < 1:
        raise Refusal("empty", "a picture with pixels in it", f"{width:,} × {height:,} pixels")
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        expected = f"at most {limits.max_pixels:,} pixels and {limits.max_side:,} along a side"
        raise Refusal("too_large", expected, f"{width:,} × {height:,} pixels")


def _decode(data: bytes, path: str | None, limits: ImageLimits) -> Picture:
    if not data:
        raise Refusal("empty", "a picture", "an empty file")
    if len(data) > limits.max_bytes:
        raise Refusal("too_large", f"at most {limits.max_bytes:,} bytes", "more")
    file_format = file_format_of(data)
    if file_format is None:
        got = f"a file that begins with {data[:12]!r}"
        raise Refusal("unsupported", f"one of {', '.join(_READERS)}", got)
    try:
        return _decode_as(file_format, data, path, limits, [])
    except Refusal as refusal:
        if file_format != "PNG" or not _TOO_MUCH_TEXT.search(refusal.args[2]):
            raise
    # What Pillow bounds for its own sake is no fault of the picture.
    whole = without_chunks(data, (b"tEXt", b"zTXt", b"iTXt"))
    return _decode_as(file_format, whole, path, limits, ["texts ignored: they are larger than Pillow reads"])


def _decode_as(
    file_format: str, data: bytes, path: str | None, limits: ImageLimits, notes: list[str]
) -> Picture:
    with faults("corrupt", f"a whole, well-formed {file_format} file"), pillow_muted():
        if file_format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise EOFError(f"truncated: {len(data):,} bytes where the header promises more")
        image = open_reader(data, file_format)
        _check_size(*image.size, limits)
        if file_format == "JPEG":
            _check_scans(image, data)
        if getattr(image, "is_animated", False) or (file_format == "JPEG" and "mp" in image.info):
            notes.append("holds more than one picture (frames, pages or views): only the first was read")
        image.load()
        if file_format == "PNG":
            open_reader(
                data, file_format
            ).verify()  # checksums and the end chunk, which loading does not look at
        return _upright_srgb(image, path, file_format, notes)


def _check_scans(image: ImageFile.ImageFile, data: bytes) -> None:
    # Each progressive scan goes over the whole picture and can be 50 bytes long. Real files have about ten.
    start = image.fp.tell() if image.fp else 0
    scans = 1 + data.count(b"\xff\xda", start, data.find(b"\xff\xd9", start))
    if scans > 100:
        raise Refusal("too_large", "a JPEG of at most 100 scans", f"{scans:,} scans")


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


def _upright_srgb(image: Image.Image, path: str | None, file_format: str | None, notes: list[str]) -> Picture:
    orientation = 1
    try:
        with faults("corrupt", "well-formed EXIF data"):
            # After loading, since Pillow itself turns a TIFF upright and then forgets its orientation.
            exif = image.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            if image.info.get("exif") and not exif:  # the JPEG reader met the fault before us and hid it
                raise SyntaxError("no tag can be read")
        if orientation not in range(1, 9):
            notes.append(f"EXIF orientation {orientation!r} ignored: it is not one of 1 to 8")
    except Refusal as refusal:
        notes.append(f"EXIF data ignored: {refusal.args[2]}")
    base, alpha = colour_and_alpha(image, notes)
    base, managed = to_srgb(base, image.info, notes)
    if alpha is not None:
        canvas = Image.new("RGB", base.size, "white")
        canvas.paste(base, mask=alpha)
        base = canvas
    if orientation in _UPRIGHT:
        base = base.transpose(_UPRIGHT[orientation])
    pixels = np.empty((base.height, base.width, 3), np.uint8)
    for top in range(0, base.height, 64):  # strips stay in the cache: twice as fast as the whole at once
        bottom = min(top + 64, base.height)
        pixels[top:bottom] = np.asarray(base.crop((0, top, base.width, bottom)))
    pixels.flags.writeable = False
    return Picture(pixels, path, file_format, srgb_profile() if managed else None, tuple(notes))
