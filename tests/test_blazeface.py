from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facefake.blazeface import FULL_RANGE, FULL_RANGE_SIDE, BlazeFace, _suppressed, faces_of
from facefake.mediapipe_faces import MediaPipeFaces
from facefake.tiles import Pyramid, tile

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


@pytest.fixture(scope="module")
def mediapipe() -> Iterator[MediaPipeFaces]:
    mediapipe = MediaPipeFaces(FULL_RANGE, threads=1)
    yield mediapipe
    mediapipe.close()


@pytest.mark.parametrize("side", [200, 400, 800])
def test_finds_what_mediapipe_s_own_detector_finds(mediapipe: MediaPipeFaces, side: int) -> None:
    network = BlazeFace(threads=1)
    pyramid = Pyramid(np.asarray(Image.open(SAMPLES / "group.jpg")))
    compared, beyond = 0, 0
    for view in tile(pyramid.width, pyramid.height, side):
        pixels = pyramid.render(view, FULL_RANGE_SIDE)
        expected, found = mediapipe.find(pixels), faces_of(network.run(pixels))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert np.array(one.keypoints) == pytest.approx(np.array(other.keypoints), abs=1e-4)
            moved = [max(0.0, -edge) for edge in one.box[:2]] * 2
            assert np.add(one.box, moved) == pytest.approx(other.box, abs=1e-6)
            compared += 1
            beyond += any(moved)
    assert compared >= 10
    assert beyond or side > 200, "MediaPipe moves a box that begins beyond the picture into it"


def points(left: float, keypoint: float) -> NDArray[np.float64]:
    return np.array([[left, 0.0], [left + 0.2, 0.2], *[[keypoint, 0.1]] * 6])


def test_findings_of_one_face_become_their_mean_by_score() -> None:
    together = np.stack([points(0.10, 0.3), points(0.14, 0.7), points(0.6, 0.5)])
    first, second = _suppressed(together, np.array([0.9, 0.3, 0.5]))
    assert first.score == pytest.approx(0.9)
    assert first.box == pytest.approx((0.11, 0.0, 0.31, 0.2))
    assert first.keypoints == ((pytest.approx(0.4), pytest.approx(0.1)),) * 6
    assert second.box == pytest.approx((0.6, 0.0, 0.8, 0.2))


def test_findings_of_no_size_are_kept_apart() -> None:
    nothing = np.full((2, 8, 2), 0.5)
    assert [face.score for face in _suppressed(nothing, np.array([0.4, 0.5]))] == [0.5, 0.4]
