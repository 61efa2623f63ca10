from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from facefake.training import landmarks as mesh

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]
_SIDE = 128


def _ellipse(
    numbers: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]
) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, len(numbers), endpoint=False) - np.pi / 2
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radii + centre


@pytest.fixture(scope="session")
def face() -> Callable[[int], Face]:
    """Makes a textured crop of 128 pixels a side and landmarks laid out like a face, another one for each seed."""

    def make(seed: int) -> Face:
        import cv2

        rng = np.random.default_rng(seed)
        points = rng.uniform((40, 45), (88, 100), (mesh.LANDMARK_COUNT, 2))
        layout = {
            mesh.FACE_OVAL: ((64, 68), (36, 46)),
            mesh.RIGHT_EYE: ((48, 58), (7, 3)),
            mesh.LEFT_EYE: ((80, 58), (7, 3)),
            mesh.RIGHT_BROW: ((48, 49), (10, 2)),
            mesh.LEFT_BROW: ((80, 49), (10, 2)),
            mesh.NOSE: ((64, 70), (8, 12)),
            mesh.MOUTH: ((64, 92), (13, 5)),
        }
        for numbers, (centre, radii) in layout.items():
            points[list(numbers)] = _ellipse(numbers, centre, radii)
        points = points * (1 + 0.04 * rng.uniform(-1, 1, 2)) + rng.uniform(-3, 3, 2)
        coarse = rng.integers(70, 190, (17, 17, 3)).astype(np.uint8)
        texture = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC).astype(int)
        crop = np.clip(texture + rng.integers(-12, 13, texture.shape), 0, 255).astype(np.uint8)
        return crop, points.astype(np.float32)

    return make
