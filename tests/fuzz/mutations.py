"""Tiny pictures of every format that facefake reads, and damaged ones made from them, each by its number."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, features

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_SIDE = 96
_HEAD = 400  # bytes: where formats keep what the rest hangs on
_INTERESTING = (0, 1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)


@lru_cache(maxsize=1)
def seeds() -> dict[str, bytes]:
    """Whole pictures of one face, some kilobytes each, by a name that begins with the format's."""
    face = Image.open(SAMPLES / "grace-hopper.jpg").convert("RGB").crop((120, 0, 420, 300))
    face = face.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    several = {"save_all": True}
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    with_data = {
        "exif": exif,
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    }
    clear = face.copy()
    clear.putalpha(face.convert("L"))
    palette = face.quantize(32)
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "JPEG": (face, {}),
        "JPEG with data": (face, with_data),
        "JPEG progressive": (face, {"progressive": True, "restart_marker_blocks": 4}),
        "JPEG grey": (face.convert("L"), {}),
        "JPEG CMYK": (face.convert("CMYK"), {}),
        "MPO": (face, several),
        "PNG": (face, with_data),
        "PNG alpha": (clear, {}),
        "PNG palette": (palette, {"transparency": bytes(range(0, 256, 8))}),
        "PNG deep": (face.convert("L").convert("I;16"), {}),
        "PNG animated": (face, several),
        "PNG bits": (face.convert("1"), {}),
        "WEBP": (face, with_data),
        "WEBP lossless": (clear, {"lossless": True}),
        "WEBP animated": (face, several),
        "GIF": (palette, {"transparency": 3}),
        "GIF animated": (face, several),
        "TIFF": (face, with_data),
        "TIFF lzw": (face, {"compression": "tiff_lzw"}),
        "TIFF deflate": (clear, {"compression": "tiff_adobe_deflate"}),
        "TIFF jpeg": (face, {"compression": "jpeg"}),
        "TIFF packbits": (palette, {"compression": "packbits"}),
        "TIFF fax": (face.convert("1"), {"compression": "group4"}),
        "TIFF lab": (face.convert("LAB"), {"compression": "tiff_lzw"}),
        "TIFF deep": (face.convert("L").convert("I;16"), {}),
        "TIFF float": (face.convert("F"), {"compression": "tiff_adobe_deflate"}),
        "TIFF big": (face, {"big_tiff": True, "compression": "tiff_lzw"}),
        "TIFF pages": (face, several),
        "BMP": (face, {}),
        "BMP palette": (palette, {}),
        "BMP bits": (face.convert("1"), {}),
    }
    if features.check("avif"):
        made |= {"AVIF": (face, with_data), "AVIF alpha": (clear, {}), "AVIF animated": (face, several)}
    if find_spec("pillow_heif"):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        made |= {"HEIF": (face, with_data), "HEIF alpha": (clear, {}), "HEIF pages": (face, several)}
    return {name: _encoded(image, name.split()[0], options) for name, (image, options) in made.items()}


def mutant(number: int) -> tuple[str, bytes]:
    """The damaged picture of that number, and what it was made from."""
    rng = random.Random(number)
    names = list(seeds())
    name = names[number % len(names)]
    data = bytearray(seeds()[name])
    changes = rng.choice((1, 1, 1, 2, 2, 3, 5))
    kinds = [rng.choice(_KINDS) for _ in range(changes)]
    for change in kinds:
        change(rng, data)
    if name.startswith("PNG") and rng.random() < 0.7:  # or the checksums would stop nearly all of it
        data = bytearray(with_checksums(bytes(data)))
    return f"{name}: {', '.join(change.__name__.strip('_') for change in kinds)}", bytes(data)


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold, as far as they can be followed."""
    out, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        if end + 4 > len(png):
            break
        out += png[place:end] + struct.pack(">I", zlib.crc32(png[place + 4 : end]))
        place = end + 4
    return bytes(out + png[place:])


def _encoded(image: Image.Image, file_format: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    if "save_all" in options:
        options = {**options, "append_images": [Image.new("RGB", image.size, "navy")]}
    # A copy, since Pillow's writers leave in a picture what the next one trips over.
    image.copy().save(stream, file_format, **options)
    return stream.getvalue()


def _place(rng: random.Random, data: bytearray) -> int:
    return rng.randrange(min(len(data), _HEAD) if rng.random() < 0.6 else len(data)) if data else 0


def _flipped_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _other_bytes(rng: random.Random, data: bytearray) -> None:
    start = _place(rng, data)
    for place in range(start, min(start + rng.choice((1, 1, 2, 4, 16)), len(data))):
        data[place] = rng.choice(_INTERESTING) if rng.random() < 0.7 else rng.randrange(256)


def _other_length(rng: random.Random, data: bytearray) -> None:
    """A number of 2, 4 or 8 bytes that could be a length or an offset gets another value."""
    size, order = rng.choice((2, 4, 4, 8)), rng.choice(("big", "little"))
    places = [_place(rng, data) for _ in range(64)]
    fields = [
        place for place in places if 0 < int.from_bytes(data[place : place + size], order) <= len(data) + 1
    ]
    if fields:
        place = fields[0]
        value = int.from_bytes(data[place : place + size], order)
        top = 256**size - 1
        value = rng.choice((0, 1, value - 1, value + 1, 2 * value, top, top // 2, top // 2 + 1, len(data)))
        data[place : place + size] = max(0, min(value, top)).to_bytes(size, order)


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _left_out(rng: random.Random, data: bytearray) -> None:
    start = _place(rng, data)
    del data[start : start + rng.choice((1, 2, 4, 12, 100, 1000))]


def _said_twice(rng: random.Random, data: bytearray) -> None:
    start, length = _place(rng, data), rng.choice((1, 4, 12, 100, 1000))
    piece = data[start : start + length] * rng.choice((1, 1, 2, 30))
    at = start if rng.random() < 0.5 else _place(rng, data)
    data[at:at] = piece


def _spliced(rng: random.Random, data: bytearray) -> None:
    """Goes on as another picture does, half the time one of the same format."""
    own = next((name for name, seed in seeds().items() if seed[:4] == data[:4]), "")
    alike = [name for name in seeds() if name.split()[0] == own.split()[0]] if own else []
    other = seeds()[rng.choice(alike if alike and rng.random() < 0.5 else list(seeds()))]
    start = _place(rng, data)
    data[start:] = other[rng.choice((start, rng.randrange(len(other)))) :]


_KINDS = (
    _flipped_bits,
    _flipped_bits,
    _other_bytes,
    _other_bytes,
    _other_length,
    _other_length,
    _cut,
    _left_out,
    _said_twice,
    _spliced,
)
