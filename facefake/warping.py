"""Affine warps that hardly depend on the processor.

`cv2.warpAffine` computes where a pixel comes from with another rounding for each set of instructions, so its results differ
by a grey level here and there, and a detector may prefer another box of a face for it. Here the places are whole numbers,
computed by NumPy. Bilinear filters then give the same pixels everywhere, bicubic ones differ by a grey level in one of some
10,000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = 5  # `cv2.remap` has filters for 32 places between two pixels
_FINER = 5  # bits below these, in which the maps are summed
_FARTHEST = 2**29  # of these steps; three such numbers are summed


def warp(
    pixels: NDArray[np.uint8], matrix: NDArray[np.float64], side: int, interpolation: int, border: int
) -> NDArray[np.uint8]:
    """A square whose pixels come from where an affine map says.

    Args:
        pixels: uint8 (height, width, 3), neither side above 32,766 pixels.
        matrix: float64 (2, 3), from pixels of the square to those of `pixels`, pixel centres at whole numbers.
        side: of the square, pixels.
        interpolation: `cv2.INTER_LINEAR` or `cv2.INTER_CUBIC`.
        border: how pixels beyond the edge are made up, such as `cv2.BORDER_REFLECT_101`; black with
            `cv2.BORDER_CONSTANT`.

    Returns:
        uint8 (side, side, 3).
    """
    import cv2

    x, y = (_along(row, side) for row in matrix)
    places = np.empty((side, side, 2), np.int16)
    places[..., 0], places[..., 1] = _as_int16(x >> _BITS), _as_int16(y >> _BITS)
    between = np.empty((side, side), np.uint16)
    np.bitwise_or(_between(y) << _BITS, _between(x), out=between)
    return np.asarray(cv2.remap(pixels, places, between, interpolation, borderMode=border), np.uint8)


def _along(row: NDArray[np.float64], side: int) -> NDArray[np.int32]:
    """One coordinate of all places, (side, side), but of length 1 along an axis that it does not depend on."""
    steps = 2 ** (_BITS + _FINER) * np.arange(side)
    across, down = (
        np.rint(part * steps).clip(-_FARTHEST, _FARTHEST).astype(np.int32) if part else np.zeros(1, np.int32)
        for part in row[:2]
    )
    start = round(min(max(2 ** (_BITS + _FINER) * row[2], -_FARTHEST), _FARTHEST)) + 2 ** (_FINER - 1)
    places: NDArray[np.int32] = across + (down + start)[:, None]
    places >>= _FINER
    return places


def _as_int16(places: NDArray[np.int32]) -> NDArray[np.int32]:
    """Places that fit into 16 bits; those of an affine map are farthest at the corners."""
    corners = places[0, 0], places[0, -1], places[-1, 0], places[-1, -1]
    return places if min(corners) >= -(2**15) and max(corners) < 2**15 else places.clip(-(2**15), 2**15 - 1)


def _between(places: NDArray[np.int32]) -> NDArray[np.uint16]:
    return np.asarray(places & 2**_BITS - 1, np.uint16)
