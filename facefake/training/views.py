"""How a stored crop is shown to the network in evaluation, not in training: clean, or degraded in a known way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from facefake.alignment import resample
from facefake.training.crops import STORE_MARGIN, CropStore
from facefake.training.degrade import Compression, Degradation, apply
from facefake.training.styling import denoise

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tier = Literal["clean", "web", "hard"]
TIERS: tuple[Tier, ...] = ("clean", "web", "hard")

# The picture around a face is not in the store: a portrait whose face fills a third of its width is assumed, so that
# a picture of at most 768 px leaves 256 px of face, one of at most 512 px leaves 171 px. A store's faces have 190 px at
# most, so that only the hard tier makes them smaller.
_TIER_FACE = {"web": 256, "hard": 171}
_TIER_QUALITY = {"web": 60, "hard": 40}
_BATCH = 64  # crops at once: what is held in memory


def view(pixels: NDArray[np.uint8], side: int, margin: float) -> NDArray[np.uint8]:
    """A stored crop as `alignment.align` would have cut it for the network.

    Args:
        pixels: uint8 (n, n, 3), RGB, a crop with the store's margin.
        side: side of the network's input, pixels.
        margin: the network's crop margin.

    Returns:
        uint8 (side, side, 3), RGB.
    """
    scale = side / len(pixels) * STORE_MARGIN / margin
    shift = side / 2 - scale * len(pixels) / 2
    return resample(pixels, np.array([[scale, 0, shift], [0, scale, shift]]), side)


def wear(pixels: NDArray[np.uint8], tier: Tier) -> NDArray[np.uint8]:
    """A stored crop as it looks after its picture has gone through the web, uint8 (m, m, 3).

    ``clean``: as it is. ``web``: at most 768 px, JPEG quality 60. ``hard``: at most 512 px, quality 40. The picture is
    assumed to be a portrait whose face box is a third of its width.
    """
    if tier == "clean":
        return pixels
    face = len(pixels) / STORE_MARGIN
    return resaved(pixels, min(1.0, _TIER_FACE[tier] / face), _TIER_QUALITY[tier])


def resaved(pixels: NDArray[np.uint8], scale: float, quality: int) -> NDArray[np.uint8]:
    """A stored crop, resized and saved again, as if it were cut from a picture that had been.

    Args:
        pixels: uint8 (n, n, 3), RGB.
        scale: the new side as a multiple of the old one, above 0.
        quality: of the JPEG, 1 to 100, with 4:2:0 subsampling.

    Returns:
        uint8 (m, m, 3), RGB; m is n × scale, rounded, but at least 8.
    """
    import cv2

    side = max(8, round(len(pixels) * scale))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(pixels, (side, side), interpolation=kernel), np.uint8)
    return apply(resized, Degradation(save=Compression("pillow-jpeg", quality, "4:2:0")))


def small(pixels: NDArray[np.uint8], face_side: int, tier: Tier = "clean") -> NDArray[np.uint8]:
    """A stored crop shrunk, never enlarged, to a face box of `face_side` pixels, then as by `wear`; uint8 (m, m, 3)."""
    import cv2

    side = min(len(pixels), round(face_side * STORE_MARGIN))
    shrunk = np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return wear(shrunk, tier)


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """A stored crop, out of focus: a Gaussian blur of σ pixels of the crop, 0 or more; uint8 (n, n, 3)."""
    return apply(pixels, Degradation(blur=sigma))


def small_and_blurred(pixels: NDArray[np.uint8], face_side: int, sigma: float) -> NDArray[np.uint8]:
    """A stored crop shrunk as by `small`, then out of focus by σ pixels of what is left; uint8 (m, m, 3)."""
    return blurred(small(pixels, face_side), sigma)


def smoothed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A stored crop after a beauty filter: skin without pores, edges kept; uint8 (n, n, 3)."""
    import cv2

    smooth = cv2.bilateralFilter(pixels, d=9, sigmaColor=30, sigmaSpace=5)
    return np.asarray(cv2.addWeighted(smooth, 0.8, pixels, 0.2, 0), np.uint8)


def denoised(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A stored crop after a phone's denoising, without grain; uint8 (n, n, 3)."""
    return denoise(pixels, strength=4, reach=7)


def batches(
    store: CropStore, numbers: Sequence[int], side: int, margin: float, tier: Tier = "clean"
) -> Iterator[NDArray[np.uint8]]:
    """The views of some crops in order, uint8 (at most 64, side, side, 3), RGB, at a time."""
    for start in range(0, len(numbers), _BATCH):
        own = numbers[start : start + _BATCH]
        yield np.stack([view(wear(store.pixels(n), tier), side, margin) for n in own])
