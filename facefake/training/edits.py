"""Everyday edits: what people and apps do to a photograph without making anybody in it a fake.

An evaluation scores faces after each, so that the false-alarm rate on edited pictures is known, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from facefake.training.degrade import Compression, Degradation, apply
from facefake.training.views import denoised, resaved, small, smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.training.scoring import Wear

_SMALL_FACE = 64  # pixels


def _black_and_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _vivid(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image, ImageEnhance

    return np.asarray(ImageEnhance.Color(Image.fromarray(pixels)).enhance(1.6))


def _dark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    table = (255 * (np.arange(256) / 255) ** 2).round().astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), np.uint8)


def _local_contrast(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures “in HDR”: adaptive histogram equalisation of the lightness alone."""
    import cv2

    lightness, *colour = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    lightness = cv2.createCLAHE(clipLimit=2.5, tileGridSize=(4, 4)).apply(lightness)
    return np.asarray(cv2.cvtColor(cv2.merge([lightness, *colour]), cv2.COLOR_LAB2RGB), np.uint8)


def _sharpened(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius=2, percent=150)))


def _grainy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grain = np.random.default_rng(0).normal(0, 10, pixels.shape)
    return np.clip(pixels + grain, 0, 255).round().astype(np.uint8)


def _palette(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).quantize(256).convert("RGB"))


def _stretched(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretched horizontally, as a picture that was forced into a frame."""
    import cv2

    side = len(pixels)
    wide = cv2.resize(pixels, (round(1.15 * side), side), interpolation=cv2.INTER_CUBIC)
    left = (wide.shape[1] - side) // 2
    return np.asarray(wide[:, left : left + side], np.uint8)


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    size = (len(pixels), len(pixels))
    return np.asarray(cv2.resize(small(pixels, _SMALL_FACE), size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _saved_twice(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resaved(resaved(pixels, 0.9, 75), 1.0, 75)


def _screenshot(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shown larger than it is, saved, and shrunk again."""
    import cv2

    side = round(1.37 * len(pixels))
    shown = np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    return resaved(shown, len(pixels) / side, 80)


EDITS: Mapping[str, Wear] = {
    "black and white": _black_and_white,
    "vivid colours": _vivid,
    "dark": _dark,
    "local contrast": _local_contrast,
    "sharpened": _sharpened,
    "smoothed": smoothed,
    "denoised": denoised,
    "grainy": _grainy,
    "256 colours": _palette,
    "stretched": _stretched,
    "enlarged": _enlarged,
    "saved twice": _saved_twice,
    "screenshot": _screenshot,
    "WebP, quality 40": partial(apply, degradation=Degradation(save=Compression("webp", 40, "4:2:0"))),
}
"""Name → edit: a deterministic function from a stored crop, uint8 (n, n, 3), RGB, n at least 8, to another, (m, m, 3); m is
n except in "saved twice". All are strong, but no stronger than people use them."""
