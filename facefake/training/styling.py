"""What photographers and phones do to a portrait: tones, colours, clarity, sharpness, softness, a dark border.

Generated faces look like edited portraits, so edited portraits of real people look generated. A style that is given to
both the fake and the real picture of a pair says nothing about either, and cannot be learned as a sign of a fake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def style(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture after some of the edits, drawn at random; the same ones for every picture under one seed.

    Args:
        pixels: uint8 (n, n, 3), RGB.
        rng: the only source of randomness.

    Returns:
        uint8 (n, n, 3).
    """
    import cv2

    # Everything is drawn, applied or not, so that a seed means the same whatever the picture.
    toned, saturated, clear, sharpened, softened, bordered = rng.random(6)
    table = _tones(rng)
    saturation = np.exp(rng.normal(0, 0.35))
    clarity, reach = rng.uniform(-0.4, 0.8), rng.uniform(0.02, 0.08)
    amount, radius = rng.uniform(0.2, 1.5), rng.uniform(0.5, 1.5)
    softness, range_ = rng.uniform(0.2, 0.8), rng.uniform(10, 35)
    border = rng.uniform(0.1, 0.6)
    side = len(pixels)

    result = pixels
    if softened < 0.2:
        smooth = cv2.bilateralFilter(result, 7, range_, 3)
        result = np.asarray(cv2.addWeighted(smooth, softness, result, 1 - softness, 0), np.uint8)
    if toned < 0.6:
        result = np.asarray(cv2.LUT(result, table), np.uint8)
    if saturated < 0.5:
        matrix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * _LUMA
        result = np.asarray(cv2.transform(result, matrix), np.uint8)
    if clear < 0.35:
        result = _contrasted(result, side * reach, clarity)
    if sharpened < 0.35:
        result = _contrasted(result, radius, amount)
    if bordered < 0.15:
        away = np.linspace(-1, 1, side, dtype=np.float32) ** 2
        light = 1 - np.float32(border) * (away[:, None] + away) / 2
        result = np.asarray((result * light[..., None]).round(), np.uint8)
    return result


def smooth(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture without its grain, as phones' denoising and beauty filters leave it.

    Generated faces have none either, so a denoised photograph looks generated.

    Args:
        pixels: uint8 (n, n, 3), RGB.
        rng: the only source of randomness; a seed means the same filter whatever the picture.

    Returns:
        uint8 (n, n, 3).
    """
    import cv2

    grainless, mixed = rng.random() < 0.6, rng.uniform(0.5, 1.0)
    strength, reach = rng.uniform(1.5, 6), int(rng.integers(4, 9))
    range_, sigma, radius = rng.uniform(12, 45), rng.uniform(2, 6), int(rng.integers(3, 6))
    filtered = (
        denoise(pixels, strength, reach)
        if grainless
        else np.asarray(cv2.bilateralFilter(pixels, 2 * radius + 1, range_, sigma), np.uint8)
    )
    return np.asarray(cv2.addWeighted(filtered, mixed, pixels, 1 - mixed, 0), np.uint8)


def denoise(pixels: NDArray[np.uint8], strength: float, reach: int) -> NDArray[np.uint8]:
    """Non-local means (Buades, Coll & Morel, "A non-local algorithm for image denoising", CVPR 2005), by OpenCV.

    Args:
        pixels: uint8 (n, n, 3), RGB.
        strength: grey levels, of lightness and of colour alike; above 0.
        reach: pixels to each side that are searched for similar patches of 5 × 5.
    """
    import cv2

    # OpenCV expects BGR: given RGB, it would weight red as blue in the lightness.
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    filtered = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 5, 2 * reach + 1)
    return np.ascontiguousarray(filtered[..., ::-1], np.uint8)


def _tones(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A table (1, 256, 3): gamma, an S-shaped curve, warmth, and a tint of the shadows and of the highlights."""
    gamma, curve, warmth = np.exp(rng.normal(0, 0.25)), rng.normal(0, 0.35), rng.normal(0, 0.06)
    shadows, lights = rng.normal(0, 6, (2, 3))
    x = np.linspace(0, 1, 256)[:, None] ** gamma
    x = x - np.clip(curve, -0.9, 0.9) * np.sin(2 * np.pi * x) / (2 * np.pi)
    x = 255 * x * np.exp(warmth * np.array([1, 0, -1])) + shadows * (1 - x) + lights * x
    return np.asarray(np.clip(x, 0, 255).round(), np.uint8)[None]


def _contrasted(pixels: NDArray[np.uint8], sigma: float, amount: float) -> NDArray[np.uint8]:
    """More (or with a negative amount less) of what a Gaussian blur of that σ, in pixels, removes."""
    import cv2

    blurred = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(pixels, 1 + amount, blurred, -amount, 0), np.uint8)
