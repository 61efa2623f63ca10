"""MediaPipe's full-range face-detection network, run directly by LiteRT on the tiles of a picture.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019 (arXiv:1907.05047). The
processing around it is that of MediaPipe's own graph: anchors, scores, the weighted mean of overlapping detections,
boxes in whole pixels. So it finds what MediaPipe finds, but does not shift a face that the picture's edge cuts, and
does not pass each tile from thread to thread.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facefake.native import quiet
from facefake.paths import model_file
from facefake.pool import Pool
from facefake.tiles import Face, overlaps

FULL_RANGE = "face_detection_full_range_sparse.tflite"
FULL_RANGE_SIDE = 192
"""Side, in pixels, of the square pictures that the network sees."""

LOWEST_SCORE = 0.3
"""Detections with a lower score are not reported."""

_PLACES = 48  # anchors along each side of their grid
_SAME = 0.3  # intersection over union above which two detections are of one face
_POINTS = 8  # centre, size and six keypoints


class Detections(NamedTuple):
    """The network's output for n of its anchors: those whose score is at least `LOWEST_SCORE`.

    Attributes:
        logits: float32 (n,), of the scores.
        points: float32 (n, 8, 2), x and y of a box's centre, its width and height, and six keypoints, all but the size
            relative to the anchor; in pixels.
        anchors: float64 (n, 2), x and y, in units of the side.
    """

    logits: NDArray[np.float32]
    points: NDArray[np.float32]
    anchors: NDArray[np.float64]


_NOTHING = Detections(np.empty(0, np.float32), np.empty((0, _POINTS, 2), np.float32), np.empty((0, 2)))


class BlazeFace:
    """Runs the network, on at most `threads` threads at once; opens it when it is first needed."""

    def __init__(self, threads: int) -> None:
        self._networks = Pool(_Network, threads)

    def run(self, pixels: NDArray[np.uint8]) -> Detections:
        """What the network says of uint8 (192, 192, 3) RGB; `faces_of` makes faces of it.

        Raises:
            ModelError: the model's file is missing.
        """
        with self._networks.one() as network:
            return network(pixels)

    def close(self) -> None:
        """Frees the network. Not to be called while a picture is being looked at."""
        self._networks.clear()


class _Network:
    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter: Any = Interpreter(str(model_file(FULL_RANGE)), num_threads=1)
            self._interpreter.allocate_tensors()
        centres = (np.arange(_PLACES) + 0.5) / _PLACES
        y, x = np.meshgrid(centres, centres, indexing="ij")
        self._anchors = np.stack([x.ravel(), y.ravel()], axis=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {d["shape"][-1]: d["index"] for d in self._interpreter.get_output_details()}
        self._points, self._scores = outputs[2 * _POINTS], outputs[1]

    def __call__(self, pixels: NDArray[np.uint8]) -> Detections:
        self._interpreter.set_tensor(self._input, pixels[None] * np.float32(1 / 127.5) - np.float32(1))
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._scores)[0, :, 0]
        chosen = np.flatnonzero(logits >= math.log(LOWEST_SCORE / (1 - LOWEST_SCORE)))
        if not len(chosen):
            return _NOTHING
        points = self._interpreter.get_tensor(self._points)[0, chosen]
        return Detections(logits[chosen], points.reshape(-1, _POINTS, 2), self._anchors[chosen])


def faces_of(detections: Detections) -> list[Face]:
    """The faces in a picture, best first, in units of its side."""
    if not len(detections.logits):
        return []
    scores = 1 / (1 + np.exp(-detections.logits.astype(np.float64)))
    points = detections.points.astype(np.float64) / FULL_RANGE_SIDE
    size = points[:, 1] / 2
    points += detections.anchors[:, None]
    points[:, 1] = points[:, 0] + size
    points[:, 0] -= size
    return [_in_whole_pixels(face) for face in _suppressed(points, scores)]


def _suppressed(points: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Face]:
    """One detection per face: the mean, weighted by score, of all that overlap its best one.

    Args:
        points: (n, 8, 2): two corners of a box, then keypoints.
        scores: (n,), above 0.
    """
    found = []
    order = np.argsort(-scores, kind="stable")
    boxes = points[:, :2].reshape(-1, 4)
    while len(order):
        same = overlaps(boxes[order[0]], boxes[order])[0] > _SAME
        same[0] = True  # even if it has no area
        box_and_keypoints = np.average(points[order[same]], axis=0, weights=scores[order[same]])
        (left, top), (right, bottom), *keypoints = box_and_keypoints.tolist()
        score = float(scores[order[0]])
        found.append(Face((left, top, right, bottom), tuple((x, y) for x, y in keypoints), score))
        order = order[~same]
    return found


def _in_whole_pixels(face: Face) -> Face:
    """The face with its box in whole pixels, as MediaPipe gives it: the calibration was made with crops from those.

    One exception: a box that begins outside the picture stays where it is. MediaPipe would move it into the picture,
    off its face.
    """
    left, top, right, bottom = (edge * FULL_RANGE_SIDE for edge in face.box)
    x, y = int(left), int(top)
    edges = [x, y, x + int(right - left), y + int(bottom - top)]
    left, top, right, bottom = (edge / FULL_RANGE_SIDE for edge in edges)
    return replace(face, box=(left, top, right, bottom))
