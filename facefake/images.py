"""Strict decoding: whatever arrives becomes one upright 8-bit sRGB picture, or one `ImageError`.

Pillow decodes, because a lenient decoder returns half a photo as if it were whole. A file is read whole before
it is decoded, so that it cannot change meanwhile, and its size is checked before its pixels are touched.
What strictness cannot see: a JPEG that was cut and then given an end marker decodes with a grey rest.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, BinaryIO, Literal, TypeAlias, Union, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, features

from facefake.errors import ImageError

Source: TypeAlias = Union[str, "os.PathLike[str]", bytes, BinaryIO, Image.Image, NDArray[Any]]
ErrorKind = Literal[
    "not_found",
    "no_permission",
    "not_a_file",  # a directory, FIFO, device or socket
    "unreadable",  # the operating system or the file object failed
    "empty",  # no bytes at all
    "too_large",  # more bytes, pixels or a longer side than ImageLimits, Pillow or the memory allows
    "unsupported",  # a format, or a kind of pixels, that is not on the list
    "truncated",  # ends before the picture does; also a JPEG or PNG that lacks nothing but its end marker
    "corrupt",  # contradicts itself or its format
    "wrong_type",  # not a source that load_picture takes
]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

# Pillow logs some faults as well as raising them, and an unconfigured logger would write to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

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
_CUT = re.compile(r"truncated|incomplete|buffer is not large enough", re.IGNORECASE)
_FOREIGN = re.compile(r"unsupported|not (yet )?supported|cannot handle|unknown (pixel )?mode", re.IGNORECASE)


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

    EXIF orientation is applied once, an embedded colour profile is converted to sRGB, transparency is laid on
    white, 16 bits become 8, and only the first of several frames or pages is read, with a warning.

    Args:
        source: a path; the bytes of a file; a binary file object, read from where it stands to its end and left
            open; a PIL image, at its current frame; or a (height, width, 3) uint8 RGB array, which is copied.
        limits: what is too large.

    Raises:
        ImageError: nothing else; its `kind` is one of `ERROR_KINDS`.
    """
    path = None
    try:
        if isinstance(source, (str, os.PathLike)):
            with _faults("unreadable", "a readable file"):
                path = os.fsdecode(source)
                data = _read_file(path, limits.max_bytes)
            return _decode(data, path, limits)
        if isinstance(source, bytes):
            return _decode(source, None, limits)
        if isinstance(source, np.ndarray):
            return Picture(_checked_array(source, limits))
        if isinstance(source, Image.Image):
            _check_size(*source.size, limits)
            with _faults("corrupt", "a picture that Pillow can load"), _pillow_muted():
                source.load()
                return _upright_srgb(source, None, source.format, [])
        if not hasattr(source, "read"):
            expected = "a path, bytes, a binary file object, a PIL image or a (height, width, 3) uint8 array"
            raise _Refusal("wrong_type", expected, f"a {type(source).__name__}")
        with _faults("unreadable", "a readable binary file object"):
            data = _read_all(source.read, limits.max_bytes)
        return _decode(data, None, limits)
    except _Refusal as refusal:
        kind, expected, got = refusal.args
        raise ImageError(path=path, kind=kind, expected=expected, got=got) from refusal.__cause__


class _Refusal(Exception):
    """An `ImageError` that does not know its path yet."""

    def __init__(self, kind: ErrorKind, expected: str, got: str) -> None:
        super().__init__(kind, expected, got)


@contextmanager
def _faults(kind: ErrorKind, expected: str) -> Iterator[None]:
    """The one place where foreign exceptions are converted: each becomes a `_Refusal`."""
    try:
        yield
    except _Refusal:
        raise
    except (MemoryError, Image.DecompressionBombError) as fault:
        raise _Refusal(
            "too_large", "a picture of bearable size", str(fault) or "too little memory"
        ) from fault
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise _Refusal("not_found", "a file", "no file of that name") from fault
    except PermissionError as fault:
        raise _Refusal("no_permission", expected, "no permission to read it") from fault
    except Exception as fault:
        # On malformed files Pillow raises nearly every built-in exception, and those of zlib, struct and lcms.
        got = (isinstance(fault, OSError) and fault.strerror) or str(fault) or type(fault).__name__
        if kind == "corrupt" and _FOREIGN.search(got):
            kind = "unsupported"
        elif kind == "corrupt" and (isinstance(fault, (EOFError, struct.error)) or _CUT.search(got)):
            kind = "truncated"
        raise _Refusal(kind, expected, got) from fault


# Pillow tells of oddities through Python's warnings, whose filters belong to the whole process:
# warnings.catch_warnings would swap them under other threads. Instead, one filter for a category to which every
# warning belongs, but only as seen from a thread that is decoding.
_decoding = threading.local()


class _WhileDecoding(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_decoding, "active", False)


class _PillowWarning(Warning, metaclass=_WhileDecoding):
    pass


@contextmanager
def _pillow_muted() -> Iterator[None]:
    # Whoever resets or prepends filters displaces ours, so it is put back in front.
    if not warnings.filters or warnings.filters[0][2] is not _PillowWarning:
        warnings.simplefilter("ignore", _PillowWarning)
    _decoding.active = True
    try:
        yield
    finally:
        _decoding.active = False


def _read_file(path: str, max_bytes: int) -> bytes:
    # Opening a device can itself do harm, so look first; the name may be swapped meanwhile, so look again at
    # what was opened, which O_NONBLOCK keeps from waiting for the other end of a FIFO.
    _check_regular(os.stat(path), max_bytes)
    with open(os.open(path, _READ_ONLY), "rb", buffering=0) as stream:
        _check_regular(os.fstat(stream.fileno()), max_bytes)
        return _read_all(stream.read, max_bytes)


def _check_regular(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        got = names.get(stat.S_IFMT(status.st_mode), "a device")
        raise _Refusal("not_a_file", "a regular file", got)
    if status.st_size > max_bytes:
        raise _Refusal("too_large", f"at most {max_bytes:,} bytes", f"{status.st_size:,} bytes")


def _read_all(read: Callable[[int], object], max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while total <= max_bytes:
        chunk = read(1 << 20)
        if not isinstance(chunk, bytes):
            raise _Refusal("wrong_type", "a binary file object", f"one that gives {type(chunk).__name__}")
        if not chunk:
            break
        chunks.append(chunk)
        total += len(chunk)
    return b"".join(chunks)


def _checked_array(array: NDArray[Any], limits: ImageLimits) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        got = f"shape {array.shape} and dtype {array.dtype}"
        raise _Refusal("wrong_type", "an RGB array of shape (height, width, 3) and dtype uint8", got)
    _check_size(array.shape[1], array.shape[0], limits)
    # A copy, as the caller may reuse the buffer while a result still refers to the picture.
    pixels = np.array(array, order="C")
    pixels.flags.writeable = False
    return pixels


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        expected = f"at most {limits.max_pixels:,} pixels and {limits.max_side:,} along a side"
        raise _Refusal("too_large", expected, f"{width:,} × {height:,} pixels")


def _decode(data: bytes, path: str | None, limits: ImageLimits) -> Picture:
    if not data:
        raise _Refusal("empty", "a picture", "an empty file")
    if len(data) > limits.max_bytes:
        raise _Refusal("too_large", f"at most {limits.max_bytes:,} bytes", "more")
    file_format = next((f for f, reader in _READERS.items() if re.match(reader[0], data, re.DOTALL)), None)
    if file_format is None:
        got = f"a file that begins with {data[:12]!r}"
        raise _Refusal("unsupported", f"one of {', '.join(_READERS)}", got)
    notes: list[str] = []
    with _faults("corrupt", f"a whole, well-formed {file_format} file"), _pillow_muted():
        if file_format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise EOFError(f"truncated: {len(data):,} bytes where the header promises more")
        image = _open(data, file_format)
        _check_size(*image.size, limits)
        if file_format == "JPEG":
            _check_scans(image, data)
        if getattr(image, "is_animated", False) or (file_format == "JPEG" and "mp" in image.info):
            notes.append("holds more than one picture (frames, pages or views): only the first was read")
        image.load()
        if file_format == "PNG":
            _open(data, file_format).verify()  # checksums and the end chunk, which loading does not look at
        return _upright_srgb(image, path, file_format, notes)


def _check_scans(image: ImageFile.ImageFile, data: bytes) -> None:
    # Each progressive scan goes over the whole picture and can be 50 bytes long. Real files have about ten.
    start = image.fp.tell() if image.fp else 0
    scans = 1 + data.count(b"\xff\xda", start, data.find(b"\xff\xd9", start))
    if scans > 100:
        raise _Refusal("too_large", "a JPEG of at most 100 scans", f"{scans:,} scans")


def _open(data: bytes, file_format: str) -> ImageFile.ImageFile:
    _, module, name = _READERS[file_format]
    try:
        if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
            raise ImportError(f"this Pillow was built without {file_format}")
        reader: Callable[[BinaryIO], ImageFile.ImageFile] = getattr(import_module(module), name)
    except ImportError as fault:
        extra = " (install facefake[heif])" if file_format == "HEIF" else ""
        raise _Refusal("unsupported", f"a library that reads {file_format}{extra}", str(fault)) from fault
    return reader(io.BytesIO(data))


def _upright_srgb(image: Image.Image, path: str | None, file_format: str | None, notes: list[str]) -> Picture:
    orientation = 1
    try:
        with _faults("corrupt", "well-formed EXIF data"):
            # After loading, since Pillow itself turns a TIFF upright and then forgets its orientation.
            exif = image.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            if image.info.get("exif") and not exif:  # the JPEG reader met the fault before us and hid it
                raise SyntaxError("no tag can be read")
        if orientation not in range(1, 9):
            notes.append(f"EXIF orientation {orientation!r} ignored: it is not one of 1 to 8")
    except _Refusal as refusal:
        notes.append(f"EXIF data ignored: {refusal.args[2]}")
    base, alpha = _colour_and_alpha(image, notes)
    base, managed = _to_srgb(base, image.info, notes)
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
    return Picture(pixels, path, file_format, _srgb_profile() if managed else None, tuple(notes))


def _colour_and_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Colours as L, RGB, CMYK or LAB of 8 bits, and the alpha channel as L if there is one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep_grey(image, notes)
    mode = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
    alpha = None
    if image.has_transparency_data:
        if image.mode == "P":
            image = image.copy()  # conversion writes the transparency into the palette of a caller's image
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = image.getchannel("A")
    return image if image.mode == mode else image.convert(mode), alpha


def _from_deep_grey(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    samples = np.asarray(image)
    full = 65535
    if not image.mode.startswith("I;16"):
        low, high = samples.min(), samples.max()
        if not (low >= 0 and high <= full):  # phrased so that NaN is refused too
            raise _Refusal("unsupported", "grey values from 0 to 1, 255 or 65535", f"{low:g} to {high:g}")
        full = 1 if image.mode == "F" and high <= 1 else 255 if high <= 255 else full
        notes.append(f"grey values taken as 0 to {full}")
    grey = (np.multiply(samples, 255 / full, dtype=np.float32) + np.float32(0.5)).astype(np.uint8)
    key = image.info.get("transparency")
    alpha = (
        Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
    )
    return Image.fromarray(grey), alpha


def _to_srgb(base: Image.Image, info: dict[Any, Any], notes: list[str]) -> tuple[Image.Image, bool]:
    """The picture as RGB, and whether an embedded profile said how. Without one, RGB and grey count as sRGB."""
    if "icc_profile" in info and base.mode != "LAB":
        try:
            with _faults("corrupt", "a well-formed ICC profile of the picture's kind"):
                profile = ImageCms.ImageCmsProfile(io.BytesIO(info["icc_profile"]))
                if base.mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
                    base = base.convert("RGB")
                transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), base.mode, "RGB")
                return base if _is_identity(transform, base.mode) else transform.apply(base), True
        except _Refusal as refusal:
            notes.append(f"colour profile ignored: {refusal.args[2]}")
    return base if base.mode == "RGB" else base.convert("RGB"), False


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Most embedded profiles are sRGB under one name or another, and a whole photo costs far more than a probe."""
    if mode != "RGB":
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(transform.apply(Image.fromarray(probe))).astype(int) - probe
    return bool(np.abs(moved).max() <= 1)


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]  # no time of creation, so that outputs are reproducible
