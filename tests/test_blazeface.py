from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facefake.blazeface import FULL_RANGE, SHORT_RANGE, BlazeFace, Model, _suppressed
from facefake.mediapipe_faces import MediaPipeFaces
from facefake.tiles import Pyramid, tile

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


@pytest.fixture(scope="module", params=[SHORT_RANGE, FULL_RANGE], ids=["short", "full"])
def model(request: pytest.FixtureRequest) -> Model:
    return request.param


@pytest.fixture(scope="module")
def mediapipe(model: Model) -> Iterator[MediaPipeFaces]:
    mediapipe = MediaPipeFaces(model, threads=1)
    yield mediapipe
    mediapipe.close()


def test_finds_what_mediapipe_s_own_detector_finds(model: Model, mediapipe: MediaPipeFaces) -> None:
    networks = BlazeFace(threads=1)
    pyramid = Pyramid(np.asarray(Image.open(SAMPLES / "group.jpg")))
    compared = 0
    for view in tile(pyramid.width, pyramid.height, 400):
        pixels = pyramid.render(view, model.side)
        expected, found = mediapipe.find(pixels), networks.find(model, pixels)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert np.array(one.keypoints) == pytest.approx(np.array(other.keypoints), abs=1e-4)
            # MediaPipe cuts edges to whole pixels, and moves boxes that reach beyond its picture into it.
            if min(one.box[:2]) >= 0:
                assert np.array(one.box) == pytest.approx(np.array(other.box), abs=2 / model.side)
                compared += 1
    assert compared > 10


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
