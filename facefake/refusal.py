"""Why a picture is refused: its decoder's exceptions, each turned into one kind of error, and its warnings silenced."""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from PIL import Image, ImageFile

ErrorKind = Literal[
    "not_found",
    "no_permission",
    "not_a_file",  # a directory, FIFO, device or socket
    "unreadable",  # the operating system or the file object failed
    "empty",  # no bytes at all
    "too_large",  # more bytes, more pixels or a longer side than ImageLimits, Pillow or the memory allows
    "unsupported",  # a format, or a kind of pixels, that is not on the list
    "truncated",  # ends before the picture does; also a JPEG or PNG that lacks only its end marker
    "corrupt",  # contradicts itself or its format
    "wrong_type",  # not a source that load_picture takes
]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

# Pillow logs some faults as well as raising them, and an unconfigured logger would write to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_CUT = re.compile(r"truncated|incomplete|not enough image data|requires a buffer of", re.IGNORECASE)
_FOREIGN = re.compile(r"unsupported|not (yet )?supported|cannot handle|unknown (pixel )?mode", re.IGNORECASE)

# On malformed files Pillow raises nearly every built-in exception, and those of zlib, struct and lcms.
_DECODERS = sys.stdlib_module_names | {"PIL", "c2pa", "cv2", "defusedxml", "numpy", "pillow_heif"}


class Refusal(Exception):
    """An `ImageError` that does not know its path yet."""

    def __init__(self, kind: ErrorKind, expected: str, got: str) -> None:
        super().__init__(kind, expected, got)


@contextmanager
def faults(kind: ErrorKind, expected: str) -> Iterator[None]:
    """The one place where foreign exceptions are converted: each becomes a `Refusal`.

    Where the fault would be "corrupt", an exception that no decoder raises passes as it is: what the caller's signal
    handler raises there, as when time is up, is no fault of the picture.
    """
    try:
        yield
    except Refusal:
        raise
    except (MemoryError, Image.DecompressionBombError) as fault:
        raise Refusal(
            "too_large", "a picture of manageable size", str(fault) or "too little memory"
        ) from fault
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise Refusal("not_found", "a file", "no file of that name") from fault
    except PermissionError as fault:
        raise Refusal("no_permission", expected, "no permission to read it") from fault
    except Exception as fault:
        if kind == "corrupt" and not _is_decoders(fault):
            raise
        got = (isinstance(fault, OSError) and fault.strerror) or str(fault) or type(fault).__name__
        if kind == "corrupt" and _FOREIGN.search(got):
            kind = "unsupported"
        elif kind == "corrupt" and (isinstance(fault, EOFError) or _CUT.search(got)):
            kind = "truncated"
        raise Refusal(kind, expected, got) from fault


def _is_decoders(fault: Exception) -> bool:
    if isinstance(fault, TimeoutError):
        return fault.errno is not None  # as the system's has
    return type(fault).__module__.partition(".")[0] in _DECODERS


# Pillow reports oddities through Python's warnings, whose filters belong to the whole process:
# warnings.catch_warnings would change them under other threads. Instead there is one filter, for a category to which
# every warning belongs, but only as seen from a thread that is decoding.
_decoding = threading.local()


class _WhileDecoding(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_decoding, "active", False)


class _PillowWarning(Warning, metaclass=_WhileDecoding):
    pass


# Pillow's switch for accepting truncated files is global as well: if it is on, it is replaced by one that is off as seen
# from a thread that is decoding, and on as seen from all others.
class _OffWhileDecoding(int):
    def __bool__(self) -> bool:
        return not getattr(_decoding, "active", False)


@contextmanager
def pillow_muted() -> Iterator[None]:
    """Around decoding: in this thread Pillow issues no warnings, and accepts no truncated file as if it were whole."""
    # Anybody who resets or prepends filters displaces ours, so it is put back in front.
    if not warnings.filters or warnings.filters[0][2] is not _PillowWarning:
        warnings.simplefilter("ignore", _PillowWarning)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        ImageFile.LOAD_TRUNCATED_IMAGES = _OffWhileDecoding(True)  # type: ignore[assignment]
    _decoding.active = True
    try:
        yield
    finally:
        _decoding.active = False
