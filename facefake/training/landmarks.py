"""468 landmarks on a face crop, and which of them outline the parts of a face.

The network is MediaPipe's face mesh (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile
GPUs", 2019), `face_landmark.tflite`, run by LiteRT.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefake.native import quiet
from facefake.paths import model_file

LANDMARK_COUNT = 468
# Point numbers of MediaPipe's canonical face model; left and right are the subject's. Outlines run around their part.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 97, 98, 64, 48, 115, 220, 45, 275, 440, 344, 278, 294, 327, 326)
MOUTH = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
JAW = (361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132)
LOWER_FACE = (*JAW, 2, 97, 98, 326, 327)

_INPUT_SIDE = 192
# A crop of 1.25 to 1.35 × the face box is tighter than what the network was trained on; the second look takes 1.5 × the
# extent of the landmarks that the first one found.
_FIRST_LOOK = 1.3
_SECOND_LOOK = 1.5
_PRESENCE_LOGIT = 0.0


class FaceMesh:
    """Finds the landmarks of the one face in a crop. Safe to use from several threads.

    Raises:
        ModelError: the model file is missing.
    """

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter: Any = Interpreter(str(model_file("face_landmark.tflite")), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {d["shape"][-1]: d["index"] for d in self._interpreter.get_output_details()}
        self._lock = threading.Lock()

    def landmarks(self, crop: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The landmarks of a face crop.

        Args:
            crop: uint8 (n, n, 3) RGB, a square of about 1.25 to 1.35 × the face box, eyes roughly level.

        Returns:
            float32 (468, 2), x and y in pixels of the crop (some may lie outside it); None when there is no face.

        Raises:
            ValueError: the array is not a square RGB crop.
        """
        if crop.ndim != 3 or crop.shape[0] != crop.shape[1] or crop.shape[2] != 3 or crop.dtype != np.uint8:
            raise ValueError(f"expected a uint8 (n, n, 3) crop, got {crop.dtype} {crop.shape}")
        side = crop.shape[0]
        first, presence = self._look(crop, np.full(2, side / 2), side * _FIRST_LOOK, 0.0)
        if presence < _PRESENCE_LOGIT:
            return None
        low, high = first[list(FACE_OVAL)].min(0), first[list(FACE_OVAL)].max(0)
        eyes = first[list(LEFT_EYE)].mean(0) - first[list(RIGHT_EYE)].mean(0)
        tilt = math.atan2(eyes[1], eyes[0])
        points, presence = self._look(crop, (low + high) / 2, float((high - low).max()) * _SECOND_LOOK, tilt)
        return points if presence >= _PRESENCE_LOGIT else None

    def _look(
        self, crop: NDArray[np.uint8], centre: NDArray[np.floating[Any]], extent: float, tilt: float
    ) -> tuple[NDArray[np.float32], float]:
        """Landmarks in crop pixels and the presence logit, from a square window turned by `tilt` radians."""
        import cv2

        scale = _INPUT_SIDE / extent
        cosine, sine = scale * math.cos(tilt), scale * math.sin(tilt)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        matrix = np.column_stack([turn, _INPUT_SIDE / 2 - turn @ centre])
        window = cv2.warpAffine(
            crop, matrix, (_INPUT_SIDE, _INPUT_SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        with self._lock:
            self._interpreter.set_tensor(self._input, window[None].astype(np.float32) / 255)
            self._interpreter.invoke()
            raw = self._interpreter.get_tensor(self._outputs[LANDMARK_COUNT * 3]).reshape(LANDMARK_COUNT, 3)
            presence = self._interpreter.get_tensor(self._outputs[1]).item()
        points = (raw[:, :2] - matrix[:, 2]) @ np.linalg.inv(turn).T
        return points.astype(np.float32), presence
