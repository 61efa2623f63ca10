"""MediaPipe's two BlazeFace models: opened once, quietly, and shared by threads.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019 (arXiv:1907.05047).
"""

from __future__ import annotations

import os
import queue
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefake.native import import_mediapipe, naming_missing_libraries, quiet
from facefake.paths import model_file
from facefake.tiles import Face


@dataclass(frozen=True, slots=True)
class Model:
    """One of the two networks.

    Attributes:
        file: its name in the folder of models.
        side: of the square pictures to give it, in pixels.
    """

    file: str
    side: int


# MediaPipe rounds boxes to whole pixels of what it is given: twice the network's own input halves the error.
SHORT_RANGE = Model("face_detection_short_range.tflite", 256)
FULL_RANGE = Model("face_detection_full_range_sparse.tflite", 192)

_LOWEST_SCORE = 0.3  # findings with a lower score are not reported


class BlazeFace:
    """Runs the models, on at most `threads` threads at once; opens each when it is first needed.

    MediaPipe releases the interpreter's lock while it computes, but one of its objects does one thing at a
    time, so each thread takes its own. They are closed by `close()`, with this object, or at the exit.
    """

    def __init__(self, threads: int) -> None:
        self._free: dict[Model, queue.LifoQueue[Any]] = {}
        for model in (SHORT_RANGE, FULL_RANGE):
            self._free[model] = queue.LifoQueue()
            for _ in range(threads):
                self._free[model].put(None)  # a place for one that is still to be opened
        self._opened: list[Any] = []
        self.close = weakref.finalize(self, _close, self._opened)

    def find(self, model: Model, pixels: NDArray[np.uint8]) -> list[Face]:
        """Runs a model on uint8 (model.side, model.side, 3) RGB; faces are in units of the side.

        Raises:
            MissingLibraryError: a system library is missing.
            ModelError: the model's file is missing.
        """
        opened = self._free[model].get()
        try:
            if opened is None:
                opened = self._open(model)
            return [_face(found, model.side) for found in opened.detect(_image(pixels)).detections]
        finally:
            self._free[model].put(opened)

    def _open(self, model: Model) -> Any:
        path = os.fspath(model_file(model.file))
        tasks = import_mediapipe().tasks
        # MediaPipe loads its shared library here, not when it is imported.
        with quiet(), naming_missing_libraries():
            opened = tasks.vision.FaceDetector.create_from_options(
                tasks.vision.FaceDetectorOptions(
                    base_options=tasks.BaseOptions(model_asset_path=path),
                    min_detection_confidence=_LOWEST_SCORE,
                )
            )
            self._opened.append(opened)
            # The first one chats as well, or in one process of sixty the second: it depends on where in
            # memory the network's input happens to lie.
            for _ in range(4):
                opened.detect(_image(np.zeros((model.side, model.side, 3), np.uint8)))
        return opened


def _close(opened: list[Any]) -> None:
    with quiet():
        for detector in opened:
            try:
                detector.close()
            except RuntimeError:
                # The interpreter is exiting and MediaPipe's threads are gone: nothing is left to close, but
                # MediaPipe's own finaliser would try again and print a traceback.
                detector._handle = None


def _image(pixels: NDArray[np.uint8]) -> Any:
    mediapipe = import_mediapipe()
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)


def _face(found: Any, side: int) -> Face:
    box = found.bounding_box
    left, top = box.origin_x / side, box.origin_y / side
    return Face(
        box=(left, top, left + box.width / side, top + box.height / side),
        keypoints=tuple((float(point.x), float(point.y)) for point in found.keypoints),
        score=float(found.categories[0].score),
    )
