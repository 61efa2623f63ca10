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
"""Side, in pixels, of the square pictures to give it: boxes are in whole ones, so twice its input halves the error."""

# MediaPipe tells so once in a process, of the first look whose input happens to lie so in memory: most often the very
# first, but one process in fifty saw none in four looks. Pictures of other sizes move it.
_TOLD_ONCE = b"Input tensor memory is not aligned"
_FIRST_SIDES = range(SHORT_RANGE_SIDE, SHORT_RANGE_SIDE // 2, -2)
_settled = False  # changed while `quiet` lets no other thread in


class MediaPipeFaces:
    """MediaPipe's `FaceDetector` with one of its models, a file's name, on at most `threads` threads at once.

    MediaPipe releases the interpreter's lock while it computes, but one of its objects does one thing at a time, so each
    thread takes its own. They are opened when first needed, and closed by `close()`, with this object, or at the exit; in
    a process forked from the one that opened them they are let go of as they are.
    """

    def __init__(self, model: str, threads: int) -> None:
        self._opened: list[Any] = []
        # Not a method: the pool would keep this object alive, and so its models, until the next garbage collection.
        self._pool = Pool(partial(_open, model, self._opened), threads)
        self.close = weakref.finalize(self, _close, self._opened, os.getpid())

    def find(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces in uint8 (side, side, 3) RGB, in units of the side; boxes are rounded to whole pixels.

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
                # A fork has none of MediaPipe's threads: to close would be to wait for them for ever, and MediaPipe's
                # own finaliser would do so.
                detector._handle = None
                continue
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
