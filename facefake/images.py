"""Strict decoding: whatever arrives becomes one upright 8-bit sRGB picture, or one `ImageError`.

Pillow decodes, because a lenient decoder returns half a photo as if it were whole. A file is read completely before
it is decoded, so that it cannot change meanwhile, and its size is checked before its pixels are touched.
What strictness cannot detect: a JPEG that was cut short and then given an end marker decodes with the rest grey.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from facefake.colour import colour_and_alpha, restore_transparency, srgb_profile, to_srgb
from facefake.formats import FORMATS, exif_of, file_format_of, open_reader, without_chunks
from facefake.reading import EncodedFile, ImageLimits, Source, check_size, image_error, read_source
from facefake.refusal import Refusal, faults, pillow_muted
from facefake.sources import ANNOTATED

# A JPEG's markers of segments and the end. In a scan 0xFF is followed by 0 or a restart's number, else the scan is over.
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_MOST_SCANS = 100
_TOO_LARGE = re.compile("Decompressed data too large|Too much memory used in text chunks")


class _Bounded(NamedTuple):
    """Chunks of a PNG that Pillow reads only up to some size, and the warning given when they are left out."""

    kinds: tuple[bytes, ...]
    note: str


_TEXTS = _Bounded((b"tEXt", b"zTXt", b"iTXt"), "texts ignored: they are larger than Pillow reads")
_PROFILE = _Bounded((b"iCCP",), "colour profile ignored: it is larger than Pillow reads")
_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE}
_UPRIGHT |= {6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright.

    Attributes:
        pixels: (height, width, 3) uint8 sRGB, C-contiguous, read-only.
        path: the path that was given, undecodable bytes as surrogates; None when the source was not a path.
        format: "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF" or "HEIF"; for a PIL image, what it says.
        icc_profile: the sRGB profile to embed in a copy, if a profile of the source was used; else None.
        warnings: what was ignored or assumed, in words for people.
    """

    pixels: NDArray[np.uint8]
    path: str | None = None
    format: str | None = None
    icc_profile: bytes | None = None
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])


def load_picture(source: Source, limits: ImageLimits = ImageLimits()) -> Picture:
    """Decode a picture, strictly.

    EXIF orientation is applied once (HEIF and AVIF have boxes of their own for that, which override EXIF: ISO/IEC
    23008-12; XMP's orientation in a file never counts), an embedded colour profile is converted to sRGB, transparency
    is laid on white, 16 bits become 8, and only the first of several frames or pages is read, with a warning.

    Args:
        source: a path; the bytes of a file, as bytes, bytearray or memoryview; a binary file object, read from where it
            stands to its end and left open; what `read_source` gave; a PIL image, at its current frame; or a (height,
            width, 3) uint8 RGB array, which is copied.
        limits: how large a file and a picture may be.

    Raises:
        ImageError: the only error, except for what the caller's own code raises meanwhile, such as a signal handler or the
            file of a PIL image; its `kind` is one of `refusal.ERROR_KINDS`.
    """
    read = read_source(source, limits)
    path = read.path if isinstance(read, EncodedFile) else None
    try:
        if isinstance(read, EncodedFile):
            return _decode(read.data, path, limits)
        if isinstance(read, np.ndarray):
            return Picture(_checked_array(read, limits))
        check_size(*read.size, limits)
        with faults("corrupt", "a picture that Pillow can load"), pillow_muted():
            read.load()
            return _upright_srgb(read, None, read.format, [])
    except Refusal as refusal:
        raise image_error(refusal, path) from refusal.__cause__


def _checked_array(array: NDArray[Any], limits: ImageLimits) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        got = f"shape {array.shape} and dtype {array.dtype}"
        raise Refusal("wrong_type", "an RGB array of shape (height, width, 3) and dtype uint8", got)
    check_size(array.shape[1], array.shape[0], limits)
    # A copy, as the caller may reuse the buffer while a result still refers to the picture.
    pixels = np.array(array, order="C")
    pixels.flags.writeable = False
    return pixels


def _decode(data: bytes, path: str | None, limits: ImageLimits) -> Picture:
    if not data:
        raise Refusal("empty", "a picture", "an empty file")
    if len(data) > limits.max_bytes:
        raise Refusal("too_large", f"at most {limits.max_bytes:,} bytes", "more")
    file_format = file_format_of(data)
    if file_format is None:
        got = f"a file that begins with {data[:12]!r}"
        raise Refusal("unsupported", f"one of {', '.join(FORMATS)}", got)
    # Pillow's own limits on these chunks are no fault of the picture. It does not say which of the two was too large.
    for left_out in ((), (_TEXTS,), (_PROFILE,)):
        try:
            return _decode_without(left_out, file_format, data, path, limits)
        except Refusal as refusal:
            if file_format != "PNG" or not _TOO_LARGE.search(refusal.args[2]):
                raise
    return _decode_without((_TEXTS, _PROFILE), file_format, data, path, limits)


def _decode_without(
    left_out: tuple[_Bounded, ...], file_format: str, data: bytes, path: str | None, limits: ImageLimits
) -> Picture:
    kinds = [kind for each in left_out for kind in each.kinds]
    kept = without_chunks(data, kinds) if kinds else data
    return _decode_as(file_format, kept, path, limits, [each.note for each in left_out])


def _decode_as(
    file_format: str, data: bytes, path: str | None, limits: ImageLimits, notes: list[str]
) -> Picture:
    with faults("corrupt", f"a whole, well-formed {file_format} file"), pillow_muted():
        if file_format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise EOFError(f"truncated: {len(data):,} bytes where the header promises more")
        image = open_reader(data, file_format)
        check_size(*image.size, limits)
        if file_format == "JPEG":
            _check_scans(data)
        if getattr(image, "is_animated", False) or (file_format == "JPEG" and "mp" in image.info):
            notes.append("holds more than one picture (frames, pages or views): only the first was read")
        if file_format == "TIFF":
            image.info.pop("xmp", None)  # or Pillow would turn it as XMP says where EXIF says nothing
        image.load()
        if not image.info.get("icc_profile", True):  # how Pillow reports one that it cannot read
            notes.append("colour profile ignored: it cannot be read")
        if any(_text(image.info.get(key)).startswith(ANNOTATED) for key in ("comment", "Comment")):
            notes.append(
                "an annotated copy, with frames and labels over its faces: judge the original instead"
            )
        if file_format == "PNG":
            restore_transparency(image, data)
            # Checksums and the end chunk, which loading does not check.
            open_reader(data, file_format).verify()
        return _upright_srgb(image, path, file_format, notes)


def _text(comment: object) -> str:
    return comment.decode("latin-1") if isinstance(comment, bytes) else str(comment)


def _check_scans(data: bytes) -> None:
    # Each progressive scan goes over the whole picture and can be 50 bytes long. Real files have about ten.
    if data.count(b"\xff\xda") <= _MOST_SCANS:
        return
    scans = at = 0
    # Segments state their length, and what looks like a marker within one is not.
    while (marker := _JPEG_MARKER.search(data, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    if scans > _MOST_SCANS:
        raise Refusal("too_large", f"a JPEG of at most {_MOST_SCANS} scans", f"{scans:,} scans")


def _upright_srgb(image: Image.Image, path: str | None, file_format: str | None, notes: list[str]) -> Picture:
    orientation = 1
    try:
        with faults("corrupt", "well-formed EXIF data"):
            # After loading, since Pillow itself turns a TIFF upright and then forgets its orientation.
            orientation = exif_of(image).get(ExifTags.Base.Orientation, 1)
        if orientation not in range(1, 9):
            notes.append(f"EXIF orientation {orientation!r:.80} ignored: it is not one of 1 to 8")
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
