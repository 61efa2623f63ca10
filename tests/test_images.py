from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin, features

from facefake.detection import FaceDetector
from facefake.errors import ImageError
from facefake.images import Picture, load_picture
from facefake.provenance import read_provenance
from facefake.reading import LONGEST_SIDE, EncodedFile, ImageLimits
from facefake.refusal import ERROR_KINDS, pillow_muted

EXIF_ORIENTATION = 0x0112
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"] + (["AVIF"] if features.check("avif") else [])
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def photo(width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth picture, different at every corner, that survives JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([red, green, np.where(x + y < width / 2, 200, 40)], axis=-1).astype(np.uint8)


def encode(image: Any, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def refused(source: Any, limits: ImageLimits | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_picture(source, limits or ImageLimits())
    error = caught.value
    assert error.kind in ERROR_KINDS
    assert error.expected and error.got
    return error


def difference(pixels: np.ndarray, expected: Any) -> float:
    assert pixels.shape == np.shape(expected)
    return float(np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).mean())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    return png[:33] + chunk(kind, data) + png[33:]


def icc(colour_space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC v2 profile."""
    offset = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"mntr", colour_space, connection
    )
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def matrix_profile(red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...]) -> bytes:
    """An RGB profile of gamma 2.2; the primaries are XYZ under D50."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    tags = {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"rXYZ": xyz(*red), b"gXYZ": xyz(*green), b"bXYZ": xyz(*blue)}
    return icc(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


ADOBE_PRIMARIES = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
ADOBE_RGB = matrix_profile(*ADOBE_PRIMARIES)


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    # https://www.color.org/srgb.pdf; the matrix is the inverse of sRGB's primaries adapted to D50.
    from_d50 = np.linalg.inv(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    linear = np.clip((pixels / 255) ** 2.2 @ np.array(ADOBE_PRIMARIES) @ from_d50.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("format", LOSSLESS)
def test_every_kind_of_source_gives_the_same_pixels(format: str, tmp_path: Path) -> None:
    data = encode(photo(), format, **LOSSLESS[format])
    path = tmp_path / "photo"
    path.write_bytes(data)
    sources = [str(path), path, data, bytearray(data), memoryview(data)]
    sources += [io.BytesIO(data), Image.open(io.BytesIO(data)), photo()]
    for source in sources:
        picture = load_picture(source)
        assert np.array_equal(picture.pixels, photo())
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.flags.c_contiguous and not picture.pixels.flags.writeable
        assert (picture.width, picture.height) == (64, 48)
        assert picture.warnings == () and picture.icc_profile is None
        assert picture.format == (None if isinstance(source, np.ndarray) else format)
        assert picture.path == (str(path) if isinstance(source, (str, Path)) else None)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_recognised_by_its_content(format: str) -> None:
    picture = load_picture(encode(photo(), format))
    assert picture.format == format
    assert difference(picture.pixels, photo()) < 12


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"new\nline.png", "\N{CAT FACE}.png".encode(), b"-rf .gif"])
def test_odd_names(name: bytes, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as stream:
        stream.write(encode(photo(), "PNG"))
    picture = load_picture(os.fsdecode(path))
    assert picture.path is not None and os.fsencode(picture.path) == path
    with open(path, "wb") as stream:
        stream.write(b"no picture")
    error = refused(os.fsdecode(path))
    assert error.path == os.fsdecode(path)
    str(error).encode()


@pytest.mark.parametrize("path", ["nul\0byte.png", "lone\ud800surrogate.png", "x" * 5000])
def test_impossible_names(path: str) -> None:
    assert refused(path).kind == "unreadable"


def test_paths_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    expected = {
        "missing.jpg": "not_found",
        "text.jpg/below": "not_found",
        "dangling": "not_found",
        "loop": "unreadable",
        "": "not_a_file",
        "fifo": "not_a_file",
        "socket": "not_a_file",
        "empty.jpg": "empty",
        "text.jpg": "unsupported",
    }
    started = time.monotonic()
    assert {name: refused(tmp_path / name).kind for name in expected} == expected
    assert time.monotonic() - started < 2
    assert refused(tmp_path / "loop").got == os.strerror(errno.ELOOP)
    listener.close()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"got {size[0]} × {size[1]} pixels") as caught:
        load_picture(Image.new("RGB", size))
    assert caught.value.kind == "empty"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_devices_are_not_read(device: str) -> None:
    if not os.path.exists(device):
        pytest.skip(f"this system has no {device}")
    assert refused(device).kind == "not_a_file"


def test_a_file_swapped_for_a_fifo_after_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo").write_bytes(encode(photo(), "PNG"))
    os.mkfifo(tmp_path / "fifo")
    seen = os.stat(tmp_path / "photo")
    monkeypatch.setattr("facefake.reading.os.stat", lambda path: seen)
    assert refused(tmp_path / "fifo").kind == "not_a_file"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encode(photo(), "PNG"))
    if os.geteuid() == 0:  # nothing is forbidden to root

        def forbid(*_: Any) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("facefake.reading.os.open", forbid)
    else:
        path.chmod(0)
    assert refused(path).kind == "no_permission"


class Stream:
    """A file object that gives what it is told to."""

    def __init__(self, *gifts: Any) -> None:
        self.gifts = list(gifts)

    def read(self, size: int) -> Any:
        gift = self.gifts.pop(0)
        if isinstance(gift, Exception):
            raise gift
        return gift


class StoreError(Exception):
    """As a library for remote files has its own."""


def test_file_objects() -> None:
    data = encode(photo(), "PNG")
    stream = io.BytesIO(b"before" + data)
    stream.seek(6)
    assert np.array_equal(load_picture(stream).pixels, photo())
    assert not stream.closed
    assert np.array_equal(load_picture(Stream(data[:10], data[10:], b"")).pixels, photo())  # type: ignore[arg-type]
    closed = io.BytesIO(data)
    closed.close()
    assert refused(closed).kind == "unreadable"
    # Whatever it fails with: that it is a decoder's word for a picture, too, says nothing of this one.
    for fault, got in (
        (OSError(5, "Input/output error", "r.png"), "Input/output error"),
        (OSError(95, "Operation not supported"), "Operation not supported"),
        (EOFError(), "EOFError"),
        (StoreError("the bucket is gone"), "the bucket is gone"),
    ):
        error = refused(Stream(data[:10], fault))
        assert (error.kind, error.got) == ("unreadable", got)
    assert refused(io.StringIO("text")).kind == "wrong_type"
    assert refused(Stream(None)).kind == "wrong_type"


def test_an_endless_file_object_is_not_read_to_its_end() -> None:
    class Endless:
        taken = 0

        def read(self, size: int) -> bytes:
            self.taken += size
            return bytes(size)

    endless = Endless()
    assert refused(endless, ImageLimits(max_bytes=5_000_000)).kind == "too_large"
    assert endless.taken < 7_000_000


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), object),
    ],
)
def test_arrays_of_another_kind(array: np.ndarray) -> None:
    error = refused(array)
    assert error.kind == "wrong_type"
    assert "(height, width, 3)" in error.expected and "uint8" in error.expected
    assert str(array.shape) in error.got and str(array.dtype) in error.got


def test_an_array_is_copied() -> None:
    array = np.asfortranarray(photo())
    picture = load_picture(array)
    array[:] = 0
    assert np.array_equal(picture.pixels, photo())
    assert picture.pixels.flags.c_contiguous


@pytest.mark.parametrize("source", [None, 3, ["photo.jpg"], object()])
def test_sources_of_another_type(source: Any) -> None:
    error = refused(source)
    assert error.kind == "wrong_type"
    assert type(source).__name__ in error.got


def test_a_memoryview_that_was_released_is_refused() -> None:
    view = memoryview(encode(photo(), "PNG"))
    view.release()
    assert refused(view).kind == "unreadable"


def test_a_pil_image_is_left_as_it_was() -> None:
    palette = Image.fromarray(photo()).quantize(16)
    palette.info["transparency"] = bytes([0] * 16)
    before = (palette.tobytes(), palette.getpalette("RGBA"), dict(palette.info))
    assert (load_picture(palette).pixels == 255).all()
    assert (palette.tobytes(), palette.getpalette("RGBA"), dict(palette.info)) == before
    frames = Image.open(
        io.BytesIO(encode(photo(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")]))
    )
    frames.seek(1)
    assert difference(load_picture(frames).pixels, np.full((48, 64, 3), (0, 0, 255))) < 1
    assert frames.tell() == 1


def test_a_pil_image_that_cannot_be_loaded() -> None:
    data = encode(photo(), "JPEG")
    assert refused(Image.open(io.BytesIO(data[:-200]))).kind == "truncated"
    closed = Image.open(io.BytesIO(data))
    closed.close()
    assert refused(closed).kind == "corrupt"


@pytest.mark.parametrize(
    ("fault", "kind", "got"),
    [
        (EOFError(), "truncated", "EOFError"),
        (TimeoutError(110, "Connection timed out"), "corrupt", "Connection timed out"),
    ],
)
def test_a_pil_image_whose_file_fails(fault: Exception, kind: str, got: str) -> None:
    image = Image.open(io.BytesIO(encode(photo(), "BMP")))

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise fault

    image.fp = Failing()
    error = refused(image)
    assert (error.kind, error.got) == (kind, got)


# ---------------------------------------------------------------- limits


def test_limits() -> None:
    data = encode(photo(), "PNG")
    for source in (data, Image.open(io.BytesIO(data)), photo()):
        assert load_picture(source, ImageLimits(max_pixels=64 * 48, max_side=64)).width == 64
        assert refused(source, ImageLimits(max_pixels=64 * 48 - 1)).kind == "too_large"
        assert refused(source, ImageLimits(max_side=63)).kind == "too_large"


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "max_side"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(None, TypeError), ("9", TypeError), (True, TypeError), (0, ValueError), (math.nan, ValueError)],
)
def test_limits_are_numbers_from_one(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"expected {name} to be .*, got {value!r}"):
        ImageLimits(**{name: value})


def test_limits_may_be_wide_as_far_as_a_picture_can_be_judged() -> None:
    wide = np.zeros((1, LONGEST_SIDE, 3), np.uint8)
    limits = ImageLimits(math.inf, math.inf, np.int64(LONGEST_SIDE))  # type: ignore[arg-type]
    assert load_picture(encode(wide, "PNG"), limits).width == LONGEST_SIDE
    with FaceDetector() as detector:
        assert detector.detect(wide) == []
    with pytest.raises(ValueError, match=r"max_side to be at most 32,766, .*, got 32767"):
        ImageLimits(max_side=LONGEST_SIDE + 1)


def test_limit_of_bytes(tmp_path: Path) -> None:
    data = encode(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for source in (data, path):
        assert load_picture(source, ImageLimits(max_bytes=len(data))).width == 64
        assert refused(source, ImageLimits(max_bytes=len(data) - 1)).kind == "too_large"
    assert refused(io.BytesIO(data), ImageLimits(max_bytes=len(data) - 1)).kind == "too_large"
    with open(path, "wb") as stream:
        stream.truncate(1 << 40)  # sparse: a terabyte that takes no room
    error = refused(path)
    assert (error.kind, error.got) == ("too_large", "1,099,511,627,776 bytes")  # told before it is read
    # Nor is a stream taken for one that ends where the limit is.
    assert refused(io.BytesIO(data + bytes(1 << 20)), ImageLimits(max_bytes=1 << 20)).kind == "too_large"


def lying_png(width: int, height: int) -> bytes:
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encode(photo(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_headers_that_lie_about_the_size() -> None:
    assert refused(lying_png(2**31 - 1, 2**31 - 1)).kind == "too_large"
    assert refused(lying_png(100_000, 1)).kind == "too_large"
    assert refused(resized_jpeg(65_000, 65_000)).kind == "too_large"
    assert refused(lying_png(500, 500)).kind in ("truncated", "corrupt")


def test_above_pillows_own_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = encode(photo(), "TIFF")
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1
    )  # Pillow warns from here on, and raises from twice that
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_picture(frame).warnings == ()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert refused(frame).kind == "too_large"


def test_png_metadata_bombs() -> None:
    png = encode(photo(), "PNG")
    bomb = zlib.compress(bytes(50_000_000), 9)
    for kind, data in (
        (b"zTXt", b"k\0\0" + bomb),
        (b"iTXt", b"k\0\1\0\0\0" + bomb),
        (b"iCCP", b"k\0\0" + bomb),
    ):
        started = time.monotonic()
        assert load_picture(with_chunk(png, kind, data)).warnings != ()
        assert time.monotonic() - started < 1


def test_files_of_millions_of_parts() -> None:
    png, gif = encode(photo(), "PNG"), encode(photo(), "GIF")
    comment = b"!\xfe" + 1_000_000 * b"\2ab" + b"\0"
    for data in (png[:33] + 1_000_000 * chunk(b"teSt", b"") + png[33:], gif[:-1] + comment + gif[-1:]):
        started = time.process_time()
        error = refused(data)
        assert time.process_time() - started < 2
        assert (error.kind, error.got) == ("too_large", "more")
    # As many as a picture can have that is worth its bytes.
    one_a_chunk = b"".join(chunk(b"IDAT", bytes([byte])) for byte in png[41:-16])
    assert np.array_equal(load_picture(png[:33] + one_a_chunk + png[-12:]).pixels, photo())


def test_jpeg_scan_bomb() -> None:
    data = encode(photo(), "JPEG", progressive=True)
    assert load_picture(data).format == "JPEG"
    last = data[data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda")) : -2]
    assert load_picture(data[:-2] + 20 * last + data[-2:]).format == "JPEG"
    assert refused(data[:-2] + 200 * last + data[-2:]).kind == "too_large"
    # What looks like the end within a segment is none.
    comment = b"\xff\xfe\0\4\xff\xd9"
    assert load_picture(data[:-2] + comment + 20 * last + data[-2:]).format == "JPEG"
    assert refused(data[:-2] + comment + 200 * last + data[-2:]).kind == "too_large"
    # Whatever follows the picture, such as the video of a motion photo, is not its own.
    assert load_picture(data + bytes(2) + 200 * last).format == "JPEG"


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files_are_refused(format: str) -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), format)
    assert load_picture(data).format == format
    for share in (0.41, 0.6, 0.8, 0.95):
        assert refused(data[: int(share * len(data))]).kind in ("truncated", "corrupt")
    if format in ("JPEG", "PNG", "WEBP", "BMP"):
        assert refused(data[: int(0.41 * len(data))]).kind == "truncated"


@pytest.mark.parametrize(
    "format, missing", [("JPEG", 1), ("JPEG", 2), ("JPEG", 5), ("PNG", 12), ("PNG", 14), ("WEBP", 1)]
)
def test_a_missing_end_marker_is_a_missing_end(format: str, missing: int) -> None:
    assert refused(encode(photo(), format)[:-missing]).kind == "truncated"


def test_what_ends_before_its_pixels_do_is_truncated() -> None:
    data = encode(photo(), "JPEG")
    for end in (4, data.index(b"\xff\xc0") + 8, data.index(b"\xff\xda") + 6):
        assert refused(data[:end]).kind == "truncated"
    assert refused(encode(photo(), "PNG")[:8]).kind == "truncated"
    whole = encode(np.zeros((8, 8, 4), np.uint8), "DDS")  # a format that only a PIL image may have
    assert refused(Image.open(io.BytesIO(whole[:-20]))).kind == "truncated"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF"])
def test_what_follows_the_end_is_ignored(format: str) -> None:
    data = encode(photo(), format)
    assert np.array_equal(
        load_picture(data + b"a motion photo's video" * 99).pixels, load_picture(data).pixels
    )


def test_png_checksums() -> None:
    data = bytearray(encode(photo(), "PNG"))
    data[
        data.index(b"IDAT")
        - 4
        + int.from_bytes(data[data.index(b"IDAT") - 4 : data.index(b"IDAT")], "big")
        + 8
    ] ^= 1
    assert refused(bytes(data)).kind == "corrupt"


@pytest.mark.parametrize("format", FORMATS)
def test_a_caller_who_lets_pillow_take_damaged_files_does_not_let_them_in(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), format)
    cut = data[: int(0.8 * len(data))]
    kind = refused(cut).kind
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert refused(cut).kind == kind
    assert np.array_equal(load_picture(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_a_caller_who_lets_pillow_take_damaged_files_goes_on_doing_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(photo(), "JPEG")[:-200]
    seen: list[bool] = []
    with pillow_muted():
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        other = threading.Thread(target=lambda: seen.append(bool(ImageFile.LOAD_TRUNCATED_IMAGES)))
        other.start()
        other.join()
    assert seen == [True]
    assert refused(Image.open(io.BytesIO(data))).kind == "truncated"
    Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
        b"\0\0\0\x14ftypavif",
    ],
)
def test_nothing_but_a_signature(data: bytes) -> None:
    assert refused(data).kind in ("truncated", "corrupt", "unsupported")
    assert refused(data + bytes(100)).kind in ("truncated", "corrupt", "unsupported")


@pytest.mark.parametrize("format", ["PPM", "ICO", "TGA", "PCX", "PDF", "EPS", "JPEG2000"])
def test_other_formats_are_refused(format: str) -> None:
    assert refused(encode(photo(), format)).kind == "unsupported"


@pytest.mark.parametrize(
    ("format", "before", "offset", "value"),
    [
        ("BMP", b"BM", 28, 3),  # bits a pixel
        ("JPEG", b"\xff\xc0", 4, 12),  # bits a sample
        ("JPEG", b"\xff\xc0", 9, 2),  # components
        ("TIFF", struct.pack("<HHI", 262, 3, 1), 8, 7),  # photometric interpretation
    ],
)
def test_pixels_of_an_unknown_kind_are_refused(format: str, before: bytes, offset: int, value: int) -> None:
    data = bytearray(encode(photo(), format))
    data[data.index(before) + offset] = value
    assert refused(bytes(data)).kind == "unsupported"


def test_windows_media_photo_is_refused() -> None:
    assert refused(encode(photo(), "TIFF", tiffinfo={0xBC01: "x"})).kind == "unsupported"


def test_missing_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert error.kind == "unsupported" and "facefake[heif]" in error.expected
    monkeypatch.setattr(features, "check", lambda name: False)
    assert refused(encode(photo(), "WEBP")).kind == "unsupported"


def test_heif() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the heif extra")
    pillow_heif.register_heif_opener()
    picture = load_picture(encode(photo(), "HEIF"))
    assert picture.format == "HEIF"
    assert difference(picture.pixels, photo()) < 12


def test_pillow_running_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert refused(encode(photo(), "BMP")).kind == "too_large"


MUTABLE = [encode(photo(), format) for format in FORMATS] + [
    encode(photo(), "JPEG", progressive=True, icc_profile=ADOBE_RGB),
    encode(Image.fromarray(photo()).convert("CMYK"), "TIFF", compression="tiff_lzw"),
    encode(Image.fromarray(photo()).quantize(9), "PNG", transparency=bytes(9), icc_profile=ADOBE_RGB),
    encode(photo(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
]


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MUTABLE), st.data())
def test_mutated_files_give_a_picture_or_an_image_error(data: bytes, draw: st.DataObject) -> None:
    mutated = bytearray(data)
    head = st.integers(0, min(300, len(data) - 1))
    for place in draw.draw(st.lists(head | st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        mutated[place] = draw.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    start, length = draw.draw(st.tuples(st.integers(0, len(data)), st.sampled_from([0, 0, 0, 1, 4, 50])))
    del mutated[start : start + length]
    try:
        picture = load_picture(bytes(mutated))
    except ImageError as error:
        assert error.kind in ERROR_KINDS
    else:
        assert isinstance(picture, Picture)


# ---------------------------------------------------------------- orientation


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores the upright picture under an EXIF orientation (EXIF 2.3, tag 0x0112)."""
    turned = np.rot90(upright, {3: 2, 4: 2, 5: 1, 6: 1, 7: -1, 8: -1}.get(orientation, 0))
    mirror = {2: np.fliplr, 4: np.fliplr, 5: np.flipud, 7: np.flipud}.get(orientation)
    return np.ascontiguousarray(mirror(turned) if mirror else turned)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    data = encode(stored(photo(), orientation), format, exif=exif, **LOSSLESS.get(format, {}))
    for source in (data, Image.open(io.BytesIO(data))):
        picture = load_picture(source)
        assert difference(picture.pixels, photo()) < 3
        assert picture.warnings == ()


def heif_formats() -> list[str]:
    return (["AVIF"] if features.check("avif") else []) + (["HEIF"] if find_spec("pillow_heif") else [])


@pytest.mark.parametrize("format", heif_formats())
@pytest.mark.parametrize("orientation", range(1, 9))
def test_heif_is_turned_as_its_own_boxes_say(format: str, orientation: int) -> None:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    image = Image.fromarray(stored(photo(), orientation))
    image.info["exif"] = exif.tobytes()  # from here both writers make boxes of it
    data = encode(image, format, quality=95, **({"exif": exif} if format == "AVIF" else {}))
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    assert difference(load_picture(data).pixels, photo()) < 12


@pytest.mark.parametrize("format", heif_formats())
def test_heif_is_not_turned_as_exif_says(format: str) -> None:
    """ISO/IEC 23008-12: only the boxes count, and whoever writes them leaves EXIF as the camera wrote it."""
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0128] = 6  # a unit of resolution, which no writer makes boxes of, and then an orientation
    data = encode(photo(), format, quality=95, exif=exif)
    assert data.count(b"\x01\x28\0\3") == 1
    picture = load_picture(data.replace(b"\x01\x28\0\3", b"\x01\x12\0\3"))
    assert difference(picture.pixels, photo()) < 12
    assert picture.warnings == ()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture = load_picture(encode(photo(), "PNG", exif=exif))
    assert np.array_equal(picture.pixels, photo())
    assert str(orientation) in picture.warnings[0]


def test_an_orientation_of_many_bytes_makes_no_long_warning() -> None:
    many = bytes(range(256)) * 400
    tag = struct.pack(">HHHII", 1, EXIF_ORIENTATION, 7, len(many), 26)  # of the type "undefined"
    block = b"Exif\0\0MM\0*\0\0\0\x08" + tag + bytes(4) + many
    (warning,) = load_picture(encode(photo(), "PNG", exif=block)).warnings
    assert warning.startswith("EXIF orientation b'")
    assert len(warning) < 200


XMP_TURNED = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", *heif_formats()])
@pytest.mark.parametrize("tags", [{}, {ExifTags.Base.Make: "a camera"}])
def test_orientation_in_xmp_does_not_count(format: str, tags: dict[int, str]) -> None:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif.update(tags)
    options: dict[str, Any] = {"xmp": XMP_TURNED, "exif": exif}
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP_TURNED.decode())
        options = {"pnginfo": info, "exif": exif}
    elif format == "TIFF":
        exif[700] = XMP_TURNED
        options = {"exif": exif}
    elif format == "HEIF":  # its writer would make a box of it
        options["xmp"] = XMP_TURNED.replace(b'"6"', b'"1"')
    data = encode(photo(), format, **options).replace(b'Orientation="1"', b'Orientation="6"')
    assert data.count(b'Orientation="6"') == 1
    picture = load_picture(data)
    assert difference(picture.pixels, photo()) < 12
    assert picture.warnings == ()
    if format not in ("TIFF", "HEIF", "AVIF"):
        assert difference(load_picture(Image.open(io.BytesIO(data))).pixels, photo()) < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_without_tags_is_well_formed(format: str) -> None:
    for order in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        assert load_picture(encode(photo(), format, exif=b"Exif\0\0" + order + bytes(6))).warnings == ()
        broken = load_picture(encode(photo(), format, exif=b"Exif\0\0" + order + b"\1\1"))
        assert broken.warnings == ("EXIF data ignored: no tag can be read",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_costs_a_warning_and_not_the_picture(format: str) -> None:
    picture = load_picture(encode(photo(), format, exif=b"Exif\0\0no TIFF header"))
    assert difference(picture.pixels, photo()) < 12
    assert len(picture.warnings) == 1 and "EXIF" in picture.warnings[0]


@pytest.mark.parametrize("comment", [b"hello", b"\xff\xfe annotated copy of picture"])
def test_a_comment_that_is_not_a_copys_means_nothing(comment: bytes) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", comment.decode("latin-1"))
    for data in (encode(photo(), "JPEG", comment=comment), encode(photo(), "PNG", pnginfo=texts)):
        assert load_picture(data).warnings == ()


# ---------------------------------------------------------------- colours


def test_a_wide_gamut_profile_is_converted() -> None:
    for format in ("PNG", "TIFF"):
        picture = load_picture(encode(photo(), format, icc_profile=ADOBE_RGB))
        assert difference(picture.pixels, adobe_to_srgb(photo())) < 1.5
        assert difference(picture.pixels, photo()) > 5
        assert picture.warnings == ()
    assert picture.icc_profile is not None
    embedded = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc_profile))
    assert "sRGB" in ImageCms.getProfileDescription(embedded)
    # What is saved with the embedded profile reads back the same, byte for byte.
    again = load_picture(encode(picture.pixels, "PNG", icc_profile=picture.icc_profile))
    assert np.array_equal(again.pixels, picture.pixels) and again.icc_profile == picture.icc_profile


def test_profiles_of_palette_alpha_and_grey_pictures() -> None:
    palette = Image.fromarray(photo()).quantize(64)
    picture = load_picture(encode(palette, "PNG", icc_profile=ADOBE_RGB))
    assert difference(picture.pixels, adobe_to_srgb(np.asarray(palette.convert("RGB")))) < 1.5
    clear = np.dstack([photo(), np.zeros((48, 64), np.uint8)])
    assert (load_picture(encode(clear, "PNG", icc_profile=ADOBE_RGB)).pixels == 255).all()
    grey = encode(photo()[..., 0], "JPEG", icc_profile=ADOBE_RGB)
    assert load_picture(grey).warnings == ()
    linear = icc(
        b"GRAY", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)}
    )
    for levels in (photo()[..., 0], Image.fromarray(photo()[..., 0]).convert("LA")):
        pixels = load_picture(encode(levels, "PNG", icc_profile=linear)).pixels
        assert pixels[0, 32, 0] > 170  # half of the light is far above half of sRGB's range


def cmyk_profile() -> bytes:
    """Of a press on which only black ink shows."""
    ramp, black = bytes(range(256)), [255, 0]
    grid = b"".join(bytes([black[place & 1], 128, 128]) for place in range(16))
    matrix = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + grid + 3 * ramp
    return icc(b"CMYK", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"A2B0": table}, b"Lab ")


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    plain = load_picture(encode(cyan, format))
    assert difference(plain.pixels, np.full((16, 16, 3), (0, 255, 255))) < 2 and plain.icc_profile is None
    managed = load_picture(encode(cyan, format, icc_profile=cmyk_profile()))
    assert difference(managed.pixels, np.full((16, 16, 3), 255)) < 2 and managed.icc_profile is not None


@pytest.mark.parametrize("profile", [b"no profile", ADOBE_RGB[:200], cmyk_profile()])
def test_a_broken_or_unfit_profile_costs_a_warning(profile: bytes) -> None:
    for format in ("PNG", "WEBP", "JPEG"):
        picture = load_picture(encode(photo(), format, icc_profile=profile))
        assert difference(picture.pixels, photo()) < 12
        assert picture.icc_profile is None
        assert len(picture.warnings) == 1 and "colour profile" in picture.warnings[0]


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_pil_image_without_a_profile_may_say_so(nothing: bytes | None) -> None:
    image = Image.fromarray(photo())
    image.info["icc_profile"] = nothing
    picture = load_picture(image)
    assert np.array_equal(picture.pixels, photo())
    assert (picture.warnings, picture.icc_profile) == ((), None)


def test_profiles_that_pillow_finds_broken() -> None:
    undecodable = with_chunk(encode(photo(), "PNG"), b"iCCP", b"k\0\0no zlib")
    posing = with_chunk(encode(photo(), "PNG"), b"tEXt", b"icc_profile\0text")
    for data in (undecodable, posing):
        picture = load_picture(data)
        assert np.array_equal(picture.pixels, photo())
        assert "colour profile" in picture.warnings[0]


def test_alpha_is_laid_on_white() -> None:
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    expected = 255 + (photo().astype(float) - 255) * alpha[..., None] / 255
    for format in ("PNG", "WEBP", "TIFF"):
        data = encode(
            np.dstack([photo(), alpha]),
            format,
            **LOSSLESS[format],
            **({"exact": True} if format == "WEBP" else {}),
        )
        assert difference(load_picture(data).pixels, expected) < 1
    grey = encode(np.dstack([photo()[..., 0], alpha]), "PNG")
    assert difference(load_picture(grey).pixels[..., 0], expected[..., 0]) < 1
    for mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        clear = Image.new("LA" if mode[0] == "L" else "RGBA", (4, 4)).convert(mode)
        assert (load_picture(clear).pixels == 255).all()


@pytest.mark.parametrize("mode, key", [("L", 90), ("RGB", (90, 90, 90)), ("1", 0), ("I;16", 90)])
def test_a_transparent_colour_is_laid_on_white(mode: str, key: Any) -> None:
    image = Image.new(mode, (8, 8), key)
    assert (load_picture(encode(image, "PNG")).pixels < 100).all()
    assert (load_picture(encode(image, "PNG", transparency=key)).pixels == 255).all()


def png_of(depth: int, colour_type: int, row: bytes, width: int, key: bytes) -> bytes:
    """A PNG of one row, with a transparent colour."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    pixels = chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels


def test_a_transparent_colour_of_few_bits_or_many_is_on_the_scale_of_the_pixels() -> None:
    assert load_picture(png_of(2, 0, b"\x1b", 4, b"\0\1")).pixels[0, :, 0].tolist() == [0, 255, 170, 255]
    assert load_picture(png_of(4, 0, b"\x18", 2, b"\0\1")).pixels[0, :, 0].tolist() == [255, 136]
    # All 16 bits count: the second pixel differs from the key in the lower half of a channel.
    key = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    picture = load_picture(png_of(16, 2, key + struct.pack(">3H", 0x1234, 0x5678, 0x9ABD), 2, key))
    assert picture.pixels[0].tolist() == [[255, 255, 255], [0x12, 0x56, 0x9A]]


def test_transparent_gif() -> None:
    palette = Image.fromarray(photo()).quantize(16)
    index = palette.getpixel((0, 0))
    pixels = load_picture(encode(palette, "GIF", transparency=index)).pixels
    hidden = np.asarray(palette) == index
    assert (pixels[hidden] == 255).all() and not (pixels[~hidden] == 255).all()


def test_sixteen_bits_are_scaled() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(deep / 257)
    little = Image.fromarray(deep)
    big = Image.frombytes("I;16B", (256, 256), deep.astype(">u2").tobytes())
    for source in (
        little,
        big,
        encode(little, "PNG"),
        encode(little, "TIFF"),
        little.convert("I"),
        little.convert("F"),
    ):
        assert np.abs(load_picture(source).pixels - expected[..., None]).max() <= 1
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in deep)
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, 16, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(rows)
    )
    pixels = load_picture(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")).pixels
    assert np.abs(pixels - expected[..., None]).max() <= 1


@pytest.mark.parametrize("scale", [1, 255, 65535])
def test_floating_point_grey(scale: int) -> None:
    ramp = np.tile(np.linspace(0, scale, 256, dtype=np.float32), (4, 1))
    picture = load_picture(encode(Image.fromarray(ramp), "TIFF"))
    assert np.abs(picture.pixels[..., 0] - np.arange(256.0)).max() <= 1
    assert str(scale) in picture.warnings[0]


@pytest.mark.parametrize("value", [-1.0, 1e6, np.nan, np.inf])
def test_grey_values_without_a_known_range(value: float) -> None:
    samples = np.zeros((4, 4), np.float32)
    samples[1, 1] = value
    assert refused(Image.fromarray(samples)).kind == "unsupported"


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "LAB", "HSV", "RGBX", "CMYK"])
def test_other_modes_come_out_as_rgb(mode: str) -> None:
    grey = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8))
    expected = np.dstack([grey] * 3)
    assert difference(load_picture(Image.fromarray(expected).convert(mode)).pixels, expected) < 2
    if mode in ("1", "L", "P", "LAB", "RGBX", "CMYK"):
        assert (
            difference(load_picture(encode(Image.fromarray(expected).convert(mode), "TIFF")).pixels, expected)
            < 2
        )


# ---------------------------------------------------------------- frames, warnings, threads


@pytest.mark.parametrize(
    "format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"] + (["AVIF"] if features.check("avif") else [])
)
def test_the_first_of_several_frames(format: str) -> None:
    second = Image.new("RGB", (64, 48), "blue")
    picture = load_picture(encode(photo(), format, save_all=True, append_images=[second]))
    assert difference(picture.pixels, photo()) < 12
    assert len(picture.warnings) == 1 and "only the first" in picture.warnings[0]
    assert picture.format == ("JPEG" if format == "MPO" else format)


def chatty_tiff() -> bytes:
    """A TIFF about which Pillow warns: a tag that claims more bytes than there are."""
    data = bytearray(encode(photo(), "TIFF", software="name"))
    at = data.index(struct.pack("<HH", 305, 2))
    data[at + 4 : at + 8] = struct.pack("<I", 2**30)
    return bytes(data)


def test_libtiff_writes_nothing_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode(photo(), "TIFF", compression="tiff_adobe_deflate"))
    data[8:48] = bytes(40)
    refused(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_pillows_warnings_stay_inside_and_others_do_not_change() -> None:
    data = chatty_tiff()
    with pytest.warns(UserWarning):
        Image.open(io.BytesIO(data)).load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert np.array_equal(load_picture(data).pixels, photo())
        with pytest.raises(UserWarning):  # the caller's own use of Pillow is as before
            Image.open(io.BytesIO(data)).load()


def test_a_caller_without_filters_of_warnings_has_its_pictures() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        assert np.array_equal(load_picture(chatty_tiff()).pixels, photo())


def test_what_pillow_logs_is_not_written_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encode(photo(), "TIFF"))
    samples = data.index(struct.pack("<HHI", 277, 3, 1)) + 8
    data[samples : samples + 2] = struct.pack("<H", 9)
    monkeypatch.setattr(logging.root, "handlers", [])  # as where nobody has configured any
    refused(bytes(data))
    assert capsys.readouterr() == ("", "")


class TimeIsUp(Exception):
    """As the soft limit of a queue of tasks raises it."""


@pytest.mark.parametrize("raised", [TimeIsUp(), TimeoutError("time is up")])
@pytest.mark.parametrize("step", ["images.open_reader", "images.exif_of", "metadata.exif_of"])
def test_what_a_signal_handler_raises_is_no_fault_of_the_picture(
    step: str, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise raised

    file = EncodedFile(encode(photo(), "JPEG"))
    monkeypatch.setattr(f"facefake.{step}", interrupted)
    with pytest.raises(type(raised)) as ended:
        load_picture(file)
        read_provenance(file)
    assert ended.value is raised


def test_threads_do_not_disturb_each_other() -> None:
    sources = [chatty_tiff(), *(encode(photo(40 + side, 40), "PNG") for side in range(15))]
    expected = [load_picture(source).pixels for source in sources]
    wrong: list[object] = []
    heard = 0

    def work(place: int) -> None:
        for _ in range(20):
            pixels = load_picture(sources[place]).pixels
            if not np.array_equal(pixels, expected[place]):
                wrong.append(place)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work, args=(place,)) for place in range(len(sources))]
        for thread in threads:
            thread.start()
        never = threading.Thread(
            target=lambda: warnings.warn("from a thread that decodes nothing", stacklevel=1)
        )
        never.start()
        never.join()
        heard += 1
        for _ in range(50):
            warnings.warn("from a thread that decodes nothing", stacklevel=1)
            heard += 1
        for thread in threads:
            thread.join()
    assert wrong == []
    assert [str(warning.message) for warning in caught] == heard * ["from a thread that decodes nothing"]


# ---------------------------------------------------------------- real bad pictures

EXPECTED_FAULTS = {
    "apng_chunk_no_fctl.png": "corrupt",
    "apng_syntax_num_frames_zero.png": "corrupt",
    "bmp_b_badbitcount.bmp": "unsupported",
    "bmp_b_badheadersize.bmp": "unsupported",
    "bmp_b_badpalettesize.bmp": "unsupported",
    "bmp_b_badwidth.bmp": "too_large",
    "broken.png": "corrupt",
    "broken_data_stream.png": "corrupt",
    "decompression_bomb.gif": "too_large",
    "libtiff_segfault.tif": "corrupt",
    "truncated_end_chunk.png": "truncated",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
    "LICENSE": "unsupported",
}

LIMITED = """
import json, resource, sys, time
from pathlib import Path
from facefake.images import load_picture
from facefake.errors import ImageError
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
outcomes = {}
for path in sorted(Path(sys.argv[1]).glob("*/*")):
    started = time.perf_counter()
    try:
        picture = load_picture(path)
        outcome = "picture"
    except ImageError as error:
        outcome = error.kind
    outcomes[f"{path.parent.name}/{path.name}"] = (outcome, time.perf_counter() - started)
print(json.dumps(outcomes))
"""


def test_bad_pictures_within_their_bounds(shared: Path) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LIMITED, str(shared / "bad-images")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 300
    assert max(seconds for _, seconds in outcomes.values()) < 5
    for name, (outcome, _) in outcomes.items():
        folder, file = name.split("/")
        if folder == "pngsuite" and file.startswith("x"):
            assert outcome in ("corrupt", "unsupported"), name
        else:
            assert outcome == EXPECTED_FAULTS.get(file, "picture"), name


def test_eight_orientations_of_one_portrait(shared: Path) -> None:
    folder = shared / "bad-images" / "exif-orientation"
    upright = load_picture(folder / "Portrait_1.jpg")
    assert upright.height > upright.width
    for orientation in range(2, 9):
        picture = load_picture(folder / f"Portrait_{orientation}.jpg")
        assert difference(picture.pixels, upright.pixels) < 3


def test_one_picture_in_several_files(shared: Path) -> None:
    folder = shared / "bad-images" / "pillow"
    upright = load_picture(folder / "hopper.png").pixels
    for path in sorted(folder.glob("hopper_orientation_*")):
        assert difference(load_picture(path).pixels, upright) < 8, path.name
    page = load_picture(folder / "g4_orientation_1.tif").pixels
    for path in sorted(folder.glob("g4_orientation_*")):
        assert difference(load_picture(path).pixels, page) < 2, path.name
    for name in ("tiff_16bit_RGB", "tiff_16bit_RGBa"):
        target = load_picture(folder / f"{name}_target.png").pixels
        variants = [
            f"{name}.tiff",
            *(f"{name.replace('tiff', f'tiff_{kind}_planar')}.tiff" for kind in ("strip", "tiled")),
        ]
        for variant in variants:
            assert difference(load_picture(folder / variant).pixels, target) < 1, variant


def test_png_suite_means_what_it_shows(shared: Path) -> None:
    folder = shared / "bad-images" / "pngsuite"
    for path in sorted(folder.glob("basi*.png")):
        plain = load_picture(folder / path.name.replace("basi", "basn")).pixels
        assert np.array_equal(load_picture(path).pixels, plain), path.name
    for path in sorted(folder.glob("tb*.png")):  # a cube whose background is transparent
        assert (load_picture(path).pixels[0, 0] == 255).all(), path.name


def test_a_png_whose_texts_are_larger_than_pillow_reads_is_read_without_them() -> None:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", "x" * 2_000_000, zip=True)
    image, turned = Image.new("RGB", (8, 4), "red"), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    image.save(file, "PNG", pnginfo=info, exif=turned)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(file.getvalue())).load()
    picture = load_picture(file.getvalue())
    assert picture.pixels.shape == (8, 4, 3)
    assert picture.warnings == ("texts ignored: they are larger than Pillow reads",)
    cut = file.getvalue()[:-20]
    with pytest.raises(ImageError) as fault:
        load_picture(cut)
    assert fault.value.kind == "truncated"


@pytest.mark.parametrize("texts", [0, 2_000_000])
def test_a_png_whose_colour_profile_is_larger_than_pillow_reads_is_read_without_it(texts: int) -> None:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", "x" * texts, zip=True)
    Image.new("RGB", (8, 4), "red").save(file, "PNG", pnginfo=info, icc_profile=bytes(2_000_000))
    picture = load_picture(file.getvalue())
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    ignored = ("texts ignored: they are larger than Pillow reads",) if texts else ()
    assert picture.warnings == (*ignored, "colour profile ignored: it is larger than Pillow reads")


def tiff(data: bytes, width: int, height: int, bits: int, white_is_zero: bool) -> bytes:
    """A grey TIFF without compression."""
    photometric = 0 if white_is_zero else 1
    numbers = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items())
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(numbers))
        + entries
        + bytes(4)
    )


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_deep_grey_tiffs_have_their_own_scale_and_sense(bits: int, white_is_zero: bool) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    deep = grey * (257 if bits == 16 else 16) + (0 if bits == 16 else grey // 16)
    stored = (1 << bits) - 1 - deep if white_is_zero else deep
    if bits == 16:
        data = stored.astype("<u2").tobytes()
    else:
        left, right = stored[:, ::2], stored[:, 1::2]
        data = (
            np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], -1).astype(np.uint8).tobytes()
        )
    picture = load_picture(tiff(data, 16, 16, bits, white_is_zero))
    assert np.abs(picture.pixels[..., 0].astype(int) - grey).max() <= 1
    assert picture.warnings == ()


def test_a_bmp_of_run_lengths_is_read_in_as_many_parts_as_it_has() -> None:
    side = 500
    rows = b"".join(bytes([2, 0, 2, 255]) * (side // 4) + b"\0\0" for _ in range(side)) + b"\0\1"
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows
    assert len(data) > 200_000
    pixels = load_picture(data).pixels
    assert pixels[:, :4, 0].tolist() == [[0, 0, 255, 255]] * side
