"""The geometry of face detection: square views of a picture, tiles that cover it, merging of detections."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facefake.native import naming_missing_libraries
from facefake.warping import warp

Box = tuple[float, float, float, float]
Point = tuple[float, float]

OVERLAP = 0.25
"""Share of its side by which a tile overlaps the next one, so that no face is cut in all of them."""

_CUT_SLACK = 0.02  # of the view's side: a box that comes this close to an edge may be cut by it
_CONTRAST_SIZE = 4  # pixels: in a face of this size contrasts still show, and there are few pixels to look at
_COARSEST = 256  # pixels along the longer side: a pyramid level this small is not halved again


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the upright picture.

    Attributes:
        box: left, top, right, bottom; may lie partly outside the picture.
        keypoints: six (x, y): right eye, left eye, nose tip, mouth centre, right ear tragion, left ear
            tragion, where right and left are the subject's.
        score: the detector's confidence, 0 to 1.
    """

    box: Box
    keypoints: tuple[Point, ...]
    score: float

    @property
    def side(self) -> float:
        """The longer side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def centre(self) -> Point:
        """The middle of the box, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def roll(self) -> float:
        """How far the head leans clockwise in the picture, in degrees, measured from eyes and mouth together.

        The eyes alone say little in a profile view, where they nearly coincide.
        """
        right_eye, left_eye, _, mouth = np.array(self.keypoints[:4])
        across = left_eye - right_eye
        down = mouth - (left_eye + right_eye) / 2
        return math.degrees(math.atan2(across[1] - down[0], across[0] + down[1]))


@dataclass(frozen=True, slots=True)
class View:
    """A square window on the picture, possibly rotated, possibly reaching beyond its edges.

    Attributes:
        x, y: the window's centre, in pixels of the picture.
        side: its side, in pixels of the picture.
        roll: how far the window is rotated clockwise on the picture, in degrees.
    """

    x: float
    y: float
    side: float
    roll: float = 0.0

    @classmethod
    def around(cls, face: Face, scale: float) -> View:
        """The view `scale` times as wide as the face, with the face upright in the middle."""
        return cls(*face.centre, face.side * scale, face.roll)

    def matrix(self) -> NDArray[np.float64]:
        """The (2, 3) affine map from the view's unit square, (0, 0) to (1, 1), to the picture's pixels."""
        cos, sin = math.cos(math.radians(self.roll)), math.sin(math.radians(self.roll))
        turn = self.side * np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ [0.5, 0.5]])

    def place(self, face: Face) -> Face:
        """A face that was found in the view's unit square, converted to the picture's pixels.

        The box keeps its size relative to the view and stays level: only its centre and the keypoints are rotated.
        """
        roll = math.radians(self.roll)
        cos, sin = self.side * math.cos(roll), self.side * math.sin(roll)

        def there(point: Point) -> Point:
            x, y = point[0] - 0.5, point[1] - 0.5
            return self.x + cos * x - sin * y, self.y + sin * x + cos * y

        left, top, right, bottom = face.box
        x, y = there(face.centre)
        wide, high = (right - left) * self.side / 2, (bottom - top) * self.side / 2
        return Face((x - wide, y - high, x + wide, y + high), tuple(map(there, face.keypoints)), face.score)

    def cuts(self, face: Face, width: int, height: int) -> bool:
        """Whether a face touches an edge of this (level) view beyond which a picture of that size continues."""
        left, top = self.x - self.side / 2, self.y - self.side / 2
        right, bottom = left + self.side, top + self.side
        slack = self.side * _CUT_SLACK
        # Less than half a pixel of picture beyond an edge is rounding, not picture.
        return (
            (left > 0.5 and face.box[0] < left + slack)
            or (top > 0.5 and face.box[1] < top + slack)
            or (right < width - 0.5 and face.box[2] > right - slack)
            or (bottom < height - 0.5 and face.box[3] > bottom - slack)
        )


class Pyramid:
    """A picture and successively halved copies, to render views of any size quickly and without aliasing.

    Args:
        pixels: uint8 (height, width, 3).

    Raises:
        MissingLibraryError: a system library that OpenCV needs is not installed.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        with naming_missing_libraries():
            import cv2

        self.height, self.width = pixels.shape[:2]
        self._levels = [np.ascontiguousarray(pixels)]
        while max(self._levels[-1].shape[:2]) > _COARSEST and min(self._levels[-1].shape[:2]) > 1:
            height, width = self._levels[-1].shape[:2]
            half = cv2.resize(
                self._levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA
            )
            self._levels.append(np.asarray(half, np.uint8))
        self._contrasts: dict[int, NDArray[np.float32]] = {}

    def contrast(self, view: View, size: float) -> float:
        """The greatest local contrast in a level view: the standard deviation of grey, 0 to 127.5, around a place.

        Args:
            view: without roll.
            size: of what is looked for, in pixels of the picture; the neighbourhood of a place is about as large.
        """
        level = min(max(math.floor(math.log2(size / _CONTRAST_SIZE)), 0), len(self._levels) - 1)
        if level not in self._contrasts:
            self._contrasts[level] = _contrasts(self._levels[level])
        contrasts = self._contrasts[level]
        high, wide = contrasts.shape
        across, down = wide / self.width, high / self.height
        half = view.side / 2
        left, top = int((view.x - half) * across), int((view.y - half) * down)
        right, bottom = math.ceil((view.x + half) * across), math.ceil((view.y + half) * down)
        return float(contrasts[max(top, 0) : bottom, max(left, 0) : right].max())

    def render(self, view: View, side: int) -> NDArray[np.uint8]:
        """The view as uint8 (side, side, 3); what lies outside the picture is black."""
        import cv2

        level = math.floor(math.log2(view.side / side))
        source = self._levels[min(max(level, 0), len(self._levels) - 1)]
        matrix = view.matrix()
        matrix[:, :2] /= side
        matrix[0] *= source.shape[1] / self.width
        matrix[1] *= source.shape[0] / self.height
        # OpenCV's origin is the centre of the first pixel, that of boxes is its corner.
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        # A part of the level, since the whole may be larger than `warp` takes.
        height, width = source.shape[:2]
        across, down = (matrix[:, :2] @ [[0, side, side, 0], [0, 0, side, side]] + matrix[:, 2:]).tolist()
        left, right = _reach(across, width)
        top, bottom = _reach(down, height)
        source = source[top:bottom, left:right]
        matrix[:, 2] -= [left, top]
        return warp(source, matrix, side, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)


def _reach(corners: list[float], length: int) -> tuple[int, int]:
    """From which pixel to which a filter reads along an axis of this length, at least one."""
    first = min(max(math.floor(min(corners)) - 1, 0), length - 1)
    return first, min(max(math.ceil(max(corners)) + 2, 1), length)


def _contrasts(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standard deviation of grey in the 5 × 5 pixels around each, float32 (height, width)."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(grey, (5, 5))
    return np.sqrt(np.maximum(cv2.sqrBoxFilter(grey, -1, (5, 5)) - mean * mean, 0))


def tile(width: int, height: int, side: float) -> list[View]:
    """Level square views that cover a picture, each overlapping the next by at least `OVERLAP` of its side.

    In a direction in which the picture is no longer than a tile there is a single tile, centred.
    """

    def centres(length: int) -> list[float]:
        if length <= side:
            return [length / 2]
        steps = math.ceil((length - side) / (side * (1 - OVERLAP)))
        return [side / 2 + (length - side) * step / steps for step in range(steps + 1)]

    return [View(x, y, side) for y in centres(height) for x in centres(width)]


def overlap(first: Box, second: Box) -> tuple[float, float]:
    """Two boxes' intersection over union, and intersection over the smaller box."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    if wide <= 0 or high <= 0:
        return 0.0, 0.0
    common = wide * high
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common), common / min(areas)


def merge(faces: Iterable[Face]) -> list[Face]:
    """The best detection of each face, best first, whatever the order of the input.

    Two detections are of the same face if their boxes' intersection over union is above 0.3, or if their
    intersection covers more than 0.6 of the smaller box.
    """
    ordered = sorted(faces, key=lambda face: (-face.score, face.box, face.keypoints))
    boxes = np.array([face.box for face in ordered], np.float64).reshape(-1, 4)
    kept, open_cases = [], np.ones(len(ordered), bool)
    for place, face in enumerate(ordered):
        if open_cases[place]:
            kept.append(face)
            ious, parts = overlaps(boxes[place], boxes[place + 1 :])
            open_cases[place + 1 :] &= (ious <= 0.3) & (parts <= 0.6)
    return kept


def overlaps(
    box: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`overlap` of a box (4,) with each of many (n, 4), vectorised for pictures with very many faces."""
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    common = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union, smaller = area + areas - common, np.minimum(area, areas)
    least = np.finfo(np.float64).tiny  # for boxes of zero size
    return common / np.maximum(union, least), common / np.maximum(smaller, least)
