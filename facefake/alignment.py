"""Crop geometry: one aligned square per face, made by the same function for training and for inference.

A crop is the square of ``margin`` times the face box's longer side, centred on the box and turned so that the
line between the eyes is level.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facefake.warping import warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.tiles import Face

_MOST_MIRRORED = 16  # how far a mirrored crop may reach, in sides of the region that it is cut from


def _square(face: Face, margin: float) -> tuple[float, float, float, float]:
    """Centre x, centre y, side (pixels of the picture) and roll (radians, clockwise) of a face's crop."""
    left, top, right, bottom = face.box
    (right_x, right_y), (left_x, left_y) = face.keypoints[:2]
    roll = math.atan2(left_y - right_y, left_x - right_x)
    return (left + right) / 2, (top + bottom) / 2, margin * max(right - left, bottom - top), roll


def crop_matrix(face: Face, side: int, margin: float) -> NDArray[np.float64]:
    """The similarity transform from continuous picture coordinates (pixel centres at .5) to crop coordinates.

    Args:
        face: a detected face; its box and its two eyes are used.
        side: side of the crop, pixels.
        margin: side of the square that is cropped, as a multiple of the box's longer side.

    Returns:
        float64 (2, 3).
    """
    x, y, square, roll = _square(face, margin)
    scale = side / square
    a, b = scale * math.cos(roll), scale * math.sin(roll)
    half = side / 2
    return np.array([[a, b, half - a * x - b * y], [-b, a, half + b * x - a * y]])


def crop_corners(face: Face, margin: float) -> NDArray[np.float64]:
    """The four corners of a face's crop in picture coordinates, float64 (4, 2), clockwise from the top left."""
    x, y, square, roll = _square(face, margin)
    u = np.array([math.cos(roll), math.sin(roll)]) * square / 2
    v = np.array([-math.sin(roll), math.cos(roll)]) * square / 2
    return np.array([x, y]) + np.stack([-u - v, u - v, u + v, -u + v])


def native_side(face: Face, margin: float) -> int:
    """Side, in pixels, of a crop that neither enlarges nor shrinks the face."""
    return max(1, round(_square(face, margin)[2]))


def resample(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """A square cut out of a picture by a similarity transform, with an area filter where it shrinks.

    The area filter comes first, to prevent aliasing; beyond the picture's edge the pixels are mirrored or, if the
    square reaches very far beyond it, the last one is repeated.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        matrix: float64 (2, 3), from continuous picture coordinates to crop coordinates.
        side: side of the square, pixels.

    Returns:
        uint8 (side, side, 3), RGB.
    """
    import cv2

    height, width = pixels.shape[:2]
    linear = matrix[:, :2]
    scale = math.sqrt(abs(np.linalg.det(linear)))
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64)
    corners = (square - matrix[:, 2]) @ np.linalg.inv(linear).T
    # The filters reach a few pixels, at the crop's scale, beyond the square.
    reach = math.ceil(3 / min(scale, 1.0))
    left, top = np.clip(np.floor(corners.min(0)) - reach, 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + reach, 0, [width, height]).astype(int)
    if right == left or bottom == top:  # wholly beyond the picture's edge
        left, top, right, bottom = 0, 0, width, height
    source = pixels[top:bottom, left:right]
    mirrored = np.abs((corners - [left, top]) / [right - left, bottom - top]).max()
    matrix = np.column_stack([linear, matrix[:, 2] + linear @ [left, top]])
    if scale < 1:
        reduced = np.maximum(1, np.round(np.array([right - left, bottom - top]) * scale)).astype(int)
        matrix[:, :2] *= [right - left, bottom - top] / reduced
        source = np.asarray(cv2.resize(source, reduced.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    # OpenCV 4 mirrors step by step, slowly if a square is far away or huge; OpenCV 5 never ends on a single pixel.
    mirror = mirrored < _MOST_MIRRORED and min(source.shape[:2]) > 1
    border = cv2.BORDER_REFLECT_101 if mirror else cv2.BORDER_REPLICATE
    back = np.linalg.inv(matrix[:, :2])
    # In OpenCV, pixel centres are at whole numbers.
    origin = back @ (0.5 - matrix[:, 2]) - 0.5
    return warp(source, np.column_stack([back, origin]), side, cv2.INTER_CUBIC, border)


def align(pixels: NDArray[np.uint8], face: Face, side: int, margin: float) -> NDArray[np.uint8]:
    """The aligned crop of one face, uint8 (side, side, 3), RGB; see `crop_matrix` and `resample`."""
    return resample(pixels, crop_matrix(face, side, margin), side)


def outside_share(face: Face, width: int, height: int, margin: float) -> float:
    """The share, 0 to 1, of a face's crop that lies beyond the edges of a picture of width × height pixels."""
    corners = crop_corners(face, margin)
    if (corners >= 0).all() and (corners <= [width, height]).all():
        return 0.0
    seen = corners
    for axis, sign, edge in ((0, 1, 0), (0, -1, width), (1, 1, 0), (1, -1, height)):
        seen = _cut_off(seen, sign * (seen[:, axis] - edge))
    return float(np.clip(1 - _area(seen) / _area(corners), 0.0, 1.0))


def _cut_off(polygon: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a convex polygon (n, 2) where `inside`, a linear function given at its corners (n,), is not negative.

    Sutherland & Hodgman, "Reentrant Polygon Clipping", CACM 1974; OpenCV's own is wrong where corners meet edges.
    """
    points = []
    for at in range(len(polygon)):
        here, before = inside[at], inside[at - 1]
        if (here < 0) != (before < 0):
            points.append(polygon[at] + (polygon[at - 1] - polygon[at]) * here / (here - before))
        if here >= 0:
            points.append(polygon[at])
    return np.array(points).reshape(-1, 2)


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
