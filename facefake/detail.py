"""How much fine detail a face shows: a photograph out of focus has little, and one that was denoised has no grain.

To a network both look generated, so such faces are separated from others before their scores are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Values = TypeVar("_Values", bound=np.generic)

MEASURED_SIDE = 80
"""The largest side, in pixels, at which a crop's sharpness is measured; the face takes up 64 or so of these."""

_LEAST_SIDE = 8
_GRAIN_BLUR = 0.6  # σ, in pixels, of the blur that is subtracted: only finer structure is left
_QUIET, _STRONG = 0.25, 0.9  # quantiles: between edges, and at them
_FAINT = 0.1  # grey levels; avoids dividing by zero on a flat crop


class Detail(NamedTuple):
    """The detail of a face; both are 0 or more, and 0 for a flat crop.

    Attributes:
        sharpness: see `sharpness`.
        grain: see `grain`.
    """

    sharpness: float
    grain: float


FULL = Detail(float("inf"), float("inf"))
"""The detail of a face that lacks none, whatever the limits."""


def measured_detail(crop: NDArray[np.uint8], native_side: int) -> Detail:
    """`sharpness` and `grain` of a crop.

    Args:
        crop: aligned square, uint8 (side, side, 3), RGB.
        native_side: how many pixels of the picture the crop's side spans, as from `alignment.native_side`. A crop that
            was enlarged from fewer pixels is measured at those, or every small face would count as blurred.
    """
    return Detail(sharpness(crop, native_side), grain(crop, native_side))


def sharpness(crop: NDArray[np.uint8], native_side: int) -> float:
    """How sharp a face is for its size: variance of the Laplacian over the variance of the grey values.

    The variance of the Laplacian is the focus measure of Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy" (ICPR 2000). Dividing by the variance makes it blind to contrast: a face in poor
    light is not blurred. Only the middle half of the crop counts, since a sharp background says nothing about
    the face. Large faces are measured at `MEASURED_SIDE`, so that a blur of two pixels means the same on one face as
    half a pixel does on a face a quarter its size, as it does to the network.

    Args:
        crop, native_side: as for `measured_detail`.

    Returns:
        0 for a flat crop; the larger, the sharper.
    """
    grey = _middle(_grey(crop, min(native_side, MEASURED_SIDE)))
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    # One grey level of variance avoids dividing by zero on a flat crop.
    return float(np.var(neighbours - 4 * grey[1:-1, 1:-1]) / (np.var(grey) + 1.0))


def grain(crop: NDArray[np.uint8], native_side: int) -> float:
    """How much fine structure there is between a face's edges, relative to the strength of the edges.

    A quantile of what a slight blur removes, over a higher quantile. Sensors leave grain, and skin has pores, everywhere;
    denoising and beauty filters remove both and keep the edges. Blur weakens all of it alike, which `sharpness`
    measures. Only the middle half of the crop counts.

    Args:
        crop, native_side: as for `measured_detail`.

    Returns:
        0 to 1; 0 for a flat crop.
    """
    import cv2

    grey = _grey(_middle(crop), native_side // 2)
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), _GRAIN_BLUR))
    quiet, strong = np.quantile(fine, [_QUIET, _STRONG])
    return float(quiet / (strong + _FAINT))


def _grey(crop: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Grey values of a crop, shrunk to this side in pixels, at least 8, if it is larger."""
    import cv2

    count = max(_LEAST_SIDE, min(len(crop), side))
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if count < len(crop):
        grey = np.asarray(cv2.resize(grey, (count, count), interpolation=cv2.INTER_AREA), np.float32)
    return grey


def _middle(values: NDArray[_Values]) -> NDArray[_Values]:
    edge = len(values) // 4
    return values[edge : len(values) - edge, edge : len(values) - edge]
