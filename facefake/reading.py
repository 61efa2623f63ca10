"""Reading the bytes of a picture, whole and within limits, from whatever source they come in."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import FileIO
from typing import Any, Protocol, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facefake.errors import ImageError
from facefake.refusal import Refusal, faults

_READ_ONLY = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # not every system has all of them
    _READ_ONLY |= getattr(os, _flag, 0)

LONGEST_SIDE = 32_766
"""The longest side, in pixels, that OpenCV, with which faces are looked for, can handle."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is accepted for decoding: how many bytes in a file, pixels in a picture, and pixels along its longer side.

    Each is a number of at least 1, `max_side` at most `LONGEST_SIDE`.

    Raises:
        TypeError, ValueError: one of them is not.
    """

    max_bytes: int = 200 * 1024 * 1024
    max_pixels: int = 150_000_000
    max_side: int = 30_000

    def __post_init__(self) -> None:
        for item in fields(self):
            value: object = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
                raise TypeError(f"expected {item.name} to be a number, got {value!r}")
            if not value >= 1:
                raise ValueError(f"expected {item.name} to be at least 1, got {value!r}")
        if self.max_side > LONGEST_SIDE:
            raise ValueError(
                f"expected max_side to be at most {LONGEST_SIDE:,}, beyond which faces cannot be looked for, "
                f"got {self.max_side!r}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFile:
    """The undecoded bytes of a picture's file, and the path that they were read from, if any."""

    data: bytes
    path: str | None = None


class BinaryFile(Protocol):
    """A binary file object, or anything else that is read like one."""

    def read(self, size: int, /) -> bytes:
        """At most `size` of the next bytes; none at the end."""
        ...


Source: TypeAlias = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    BinaryFile,
    EncodedFile,
    Image.Image,
    NDArray[Any],
]


def read_source(
    source: Source, limits: ImageLimits = ImageLimits()
) -> EncodedFile | Image.Image | NDArray[Any]:
    """The bytes behind a path, a file object or a buffer of bytes; a picture that is decoded is returned as it is.

    For callers who want more from a file than its picture but do not want to read it twice: `load_picture` takes the
    result as its source.

    Raises:
        ImageError: the source cannot be read. Nothing else is raised.
    """
    path = None
    try:
        if isinstance(source, (EncodedFile, Image.Image, np.ndarray)):
            return source
        if isinstance(source, (str, os.PathLike)):
            with faults("unreadable", "a readable file"):
                path = os.fsdecode(source)
                with opened_file(path, limits.max_bytes) as file:
                    return EncodedFile(_read_all(file.read, limits.max_bytes), path)
        if isinstance(source, (bytes, bytearray, memoryview)):
            with faults("unreadable", "readable bytes"):
                return EncodedFile(bytes(source))
        if not hasattr(source, "read"):
            expected = "a path, bytes, a binary file object, a PIL image or a (height, width, 3) uint8 array"
            raise Refusal("wrong_type", expected, f"a {type(source).__name__}")
        with faults("unreadable", "a readable binary file object"):
            return EncodedFile(_read_all(source.read, limits.max_bytes))
    except Refusal as refusal:
        raise image_error(refusal, path) from refusal.__cause__


def image_error(refusal: Refusal, path: str | None) -> ImageError:
    """The error for the caller, which names what could not be read."""
    kind, expected, got = refusal.args
    return ImageError(path=path, kind=kind, expected=expected, got=got)


@contextmanager
def opened_file(path: str, max_bytes: int) -> Iterator[FileIO]:
    """A file of at most `max_bytes` bytes, opened without ever blocking.

    Raises:
        Refusal: it is not a regular file, or a larger one, see `check_regular`.
        OSError, ValueError: it cannot be opened.
    """
    # Opening a device can itself do harm, so check first; the name may be swapped in between, so check again what
    # was opened. O_NONBLOCK keeps that from waiting for the other end of a FIFO.
    check_regular(os.stat(path), max_bytes)
    with open(os.open(path, _READ_ONLY), "rb", buffering=0) as stream:
        check_regular(os.fstat(stream.fileno()), max_bytes)
        yield stream


def check_regular(status: os.stat_result, max_bytes: int) -> None:
    """Refuse anything but a regular file of at most `max_bytes` bytes.

    Raises:
        Refusal: its kind is "not_a_file" or "too_large".
    """
    if not stat.S_ISREG(status.st_mode):
        names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        got = names.get(stat.S_IFMT(status.st_mode), "a device")
        raise Refusal("not_a_file", "a regular file", got)
    if status.st_size > max_bytes:
        raise Refusal("too_large", f"at most {max_bytes:,} bytes", f"{status.st_size:,} bytes")


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Refuse a picture or frame, of a size given in pixels, that has no pixels or more than the limits allow.

    Raises:
        Refusal: its kind is "empty" or "too_large".
    """
    if min(width, height) < 1:
        raise Refusal("empty", "a picture with pixels in it", f"{width:,} × {height:,} pixels")
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        expected = f"at most {limits.max_pixels:,} pixels and {limits.max_side:,} along a side"
        raise Refusal("too_large", expected, f"{width:,} × {height:,} pixels")


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
