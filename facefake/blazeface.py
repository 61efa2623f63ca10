"""MediaPipe's two face-detection networks, BlazeFace for short range and for full range, run bare by LiteRT.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019 (arXiv:1907.05047). What
surrounds them is as in MediaPipe's own graph: anchors, scores and the weighted mean of overlapping findings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefake.native import quiet
from facefake.paths import model_file
from facefake.pool import Pool
from facefake.tiles import Face, overlaps


@dataclass(frozen=True, slots=True)
class Model:
    """One of the two networks.

    Attributes:
        file: its name in the folder of models.
        side: of the square pictures that it sees, in pixels.
        grids: of its anchors, one grid after the other: how many a side, and how many at each place.
    """

    file: str
    side: int
    grids: tuple[tuple[int, int], ...]

    def anchors(self) -> NDArray[np.float64]:
        """The places (n, 2) that findings are counted from, x and y in units of the side."""
        return np.concatenate([_grid(places, each) for places, each in self.grids])


SHORT_RANGE = Model("face_detection_short_range.tflite", 128, ((16, 2), (8, 6)))
FULL_RANGE = Model("face_detection_full_range_sparse.tflite", 192, ((48, 1),))

LOWEST_SCORE = 0.3
"""Findings with a lower score are not reported."""

_SAME = 0.3  # intersection over union from which two findings are of one face
_POINTS = 8  # centre, size and six keypoints


class BlazeFace:
    """Runs the networks, on at most `threads` threads at once; opens each when it is first needed."""

    def __init__(self, threads: int) -> None:
        self._pools = {model: Pool(partial(_Network, model), threads) for model in (SHORT_RANGE, FULL_RANGE)}

    def find(self, model: Model, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces in uint8 (model.side, model.side, 3) RGB, best first, in units of the side.

        Raises:
            ModelError: the model's file is missing.
        """
        with self._pools[model].one() as network:
            return network(pixels)


class _Network:
    def __init__(self, model: Model) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter: Any = Interpreter(str(model_file(model.file)), num_threads=1)
            self._interpreter.allocate_tensors()
        self._side = model.side
        self._anchors = model.anchors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {d["shape"][-1]: d["index"] for d in self._interpreter.get_output_details()}
        self._points, self._scores = outputs[2 * _POINTS], outputs[1]

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Face]:
        self._interpreter.set_tensor(self._input, pixels[None] * np.float32(1 / 127.5) - np.float32(1))
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._scores)[0, :, 0]
        chosen = np.flatnonzero(logits >= math.log(LOWEST_SCORE / (1 - LOWEST_SCORE)))
        if not len(chosen):
            return []
        scores = 1 / (1 + np.exp(-logits[chosen].astype(np.float64)))
        points = self._interpreter.get_tensor(self._points)[0, chosen].astype(np.float64)
        points = points.reshape(-1, _POINTS, 2) / self._side
        size = points[:, 1] / 2
        points += self._anchors[chosen, None]
        points[:, 1] = points[:, 0] + size
        points[:, 0] -= size
        return _suppressed(points, scores)


def _grid(places: int, each: int) -> NDArray[np.float64]:
    centres = (np.arange(places) + 0.5) / places
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), each, axis=0)


def _suppressed(points: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Face]:
    """One finding of each face: the mean of all that overlap with its best one, by their scores.

    Args:
        points: (n, 8, 2): two corners of a box, then keypoints.
        scores: (n,), above 0.
    """
    found = []
    order = np.argsort(-scores, kind="stable")
    boxes = points[:, :2].reshape(-1, 4)
    while len(order):
        same = overlaps(boxes[order[0]], boxes[order])[0] > _SAME
        same[0] = True  # also where it has no size
        box_and_keypoints = np.average(points[order[same]], axis=0, weights=scores[order[same]])
        (left, top), (right, bottom), *keypoints = box_and_keypoints.tolist()
        found.append(
            Face((left, top, right, bottom), tuple((x, y) for x, y in keypoints), float(scores[order[0]]))
        )
        order = order[~same]
    return found
