"""MediaPipe's face detector: opened once, quietly, and shared by threads."""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefake.blazeface import LOWEST_SCORE
from facefake.native import import_mediapipe, naming_missing_libraries, quiet
from facefake.paths import model_file
from facefake.pool import Pool
from facefake.tiles import Face

SHORT_RANGE = "face_detection_short_range.tflite"
SHORT_RANGE_SIDE = 256
"""Side, in pixels, of the square pictures to give it: twice the network's input size, since boxes come back rounded to
whole pixels and doubling the side halves that error."""

# MediaPipe prints this once per process, for the first input that happens to lie unaligned in memory: most often the very
# first, but in one process of fifty none of the first four. A picture of another size lies elsewhere.
_TOLD_ONCE = b"Input tensor memory is not aligned"
_FIRST_SIDES = range(SHORT_RANGE_SIDE, SHORT_RANGE_SIDE // 2, -2)
_settled = False  # changed only inside `quiet`, which admits one thread at a time


class MediaPipeFaces:
    """MediaPipe's `FaceDetector` with one of its models (given by file name), used by at most `threads` threads at once.

    MediaPipe releases the GIL while it computes, but each of its objects handles one call at a time, so every thread
    takes its own. They are opened on first use, and closed by `close()`, when this object goes, or at exit; a process
    forked from the one that opened them drops them without closing them.
    """

    def __init__(self, model: str, threads: int) -> None:
        self._opened: list[Any] = []
        # Not a bound method: that would be a reference cycle, and the models would live until the next garbage collection.
        self._pool = Pool(partial(_open, model, self._opened), threads)
        self.close = weakref.finalize(self, _close, self._opened, os.getpid())

    def find(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces in uint8 (side, side, 3) RGB, in units of the side; boxes come rounded to whole pixels.

        Raises:
            MissingLibraryError: a system library is missing.
            ModelError: the model's file is missing.
        """
        with self._pool.one() as detector:
            return [_face(found, len(pixels)) for found in detector.detect(_image(pixels)).detections]


def _open(model: str, all_opened: list[Any]) -> Any:
    global _settled
    path = os.fspath(model_file(model))
    tasks = import_mediapipe().tasks
    # MediaPipe loads its shared library here, not when it is imported.
    with quiet() as held_back, naming_missing_libraries():
        opened = tasks.vision.FaceDetector.create_from_options(
            tasks.vision.FaceDetectorOptions(
                base_options=tasks.BaseOptions(model_asset_path=path),
                min_detection_confidence=LOWEST_SCORE,
            )
        )
        all_opened.append(opened)
        for side in _FIRST_SIDES:
            opened.detect(_image(np.zeros((side, side, 3), np.uint8)))
            if _settled or _TOLD_ONCE in held_back():
                break
        _settled = True
    return opened


def _close(opened: list[Any], process: int) -> None:
    with quiet():
        for detector in opened:
            if os.getpid() != process:
                # A forked process has none of MediaPipe's threads: closing would wait for them for ever, and so would
                # MediaPipe's own finaliser.
                detector._handle = None
                continue
            try:
                detector.close()
            except RuntimeError:
                # The interpreter is exiting and MediaPipe's threads are gone: there is nothing left to close, but
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
