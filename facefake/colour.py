"""Any mode and colour space that Pillow decodes, as 8-bit sRGB and, where there is one, an alpha channel."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from facefake.formats import open_reader
from facefake.refusal import Refusal, faults

_STRIP = 64  # rows at a time, to need little memory besides the pictures


def colour_and_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
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


def restore_transparency(image: Image.Image, data: bytes) -> None:
    """Restores the transparency of a PNG's colour key where Pillow has scaled the pixels but not the key.

    Args:
        image: as Pillow's reader has loaded it; it gets an alpha channel, or the key on the scale of its pixels.
        data: the file that it was loaded from.
    """
    key, depth = image.info.get("transparency"), data[24]
    if image.mode == "L" and isinstance(key, int) and depth in (2, 4):
        full = (1 << depth) - 1
        image.info["transparency"] = (key & full) * 255 // full  # only a sample's bits of the key count
    elif image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        # Of 16 bits Pillow keeps the upper 8; told that the byte order is the other one, it keeps the lower.
        lower = open_reader(data, "PNG")
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        lower.load()
        upper_key, lower_key = (tuple(value >> shift & 255 for value in key) for shift in (8, 0))
        alpha = np.full((image.height, image.width), 255, np.uint8)
        for top in range(0, image.height, _STRIP):
            area = (0, top, image.width, min(top + _STRIP, image.height))
            same = (np.asarray(image.crop(area)) == upper_key) & (np.asarray(lower.crop(area)) == lower_key)
            alpha[top : top + _STRIP][same.all(axis=-1)] = 0
        image.putalpha(Image.fromarray(alpha))
        del image.info["transparency"]


def _from_deep_grey(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    samples = np.asarray(image)
    full = 65535
    if image.mode.startswith("I;16"):
        # In a TIFF, Pillow neither scales 12-bit samples nor inverts those whose white is 0.
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
        full = (1 << bits) - 1 if 8 < bits < 16 else full
        if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            samples = full - np.minimum(samples, full)
    else:
        low, high = samples.min(), samples.max()
        if not (low >= 0 and high <= full):  # phrased so that NaN is refused too
            raise Refusal("unsupported", "grey values from 0 to 1, 255 or 65535", f"{low:g} to {high:g}")
        full = 1 if image.mode == "F" and high <= 1 else 255 if high <= 255 else full
        notes.append(f"grey values taken as 0 to {full}")
    grey = (np.multiply(samples, 255 / full, dtype=np.float32) + np.float32(0.5)).astype(np.uint8)
    key = image.info.get("transparency")
    alpha = (
        Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
    )
    return Image.fromarray(grey), alpha


def to_srgb(base: Image.Image, info: dict[Any, Any], notes: list[str]) -> tuple[Image.Image, bool]:
    """The picture as sRGB, and whether an embedded profile was used. Without one, RGB and grey count as sRGB."""
    if info.get("icc_profile") and base.mode != "LAB":
        try:
            with faults("corrupt", "a well-formed ICC profile of the picture's kind"):
                profile = ImageCms.ImageCmsProfile(io.BytesIO(info["icc_profile"]))
                if base.mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
                    base = base.convert("RGB")
                transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), base.mode, "RGB")
                return base if _is_identity(transform, base.mode) else transform.apply(base), True
        except Refusal as refusal:
            notes.append(f"colour profile ignored: {refusal.args[2]}")
    return base if base.mode == "RGB" else base.convert("RGB"), False


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform changes next to nothing: most embedded profiles are sRGB under one name or another.

    Transforming a whole photo costs far more than this probe.
    """
    if mode != "RGB":
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(transform.apply(Image.fromarray(probe))).astype(int) - probe
    return bool(np.abs(moved).max() <= 1)


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, always the same bytes."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]  # without the time of its creation
