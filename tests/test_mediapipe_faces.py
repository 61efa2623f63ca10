from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facefake import mediapipe_faces
from facefake.mediapipe_faces import SHORT_RANGE, SHORT_RANGE_SIDE, MediaPipeFaces

NOTICE = (
    b"W0000 00:00:1.5 7 inference_runner_litert.cc:1433] Input tensor memory is not aligned according to\n"
)


class Detector:
    """Tells the notice at its look number `told_at`, as MediaPipe does where memory happens to lie so."""

    def __init__(self, told_at: int | None) -> None:
        self.told_at = told_at
        self.looks = 0

    def detect(self, image: object) -> SimpleNamespace:
        self.looks += 1
        if self.looks == self.told_at:
            os.write(2, NOTICE)
        return SimpleNamespace(detections=[])

    def close(self) -> None:
        pass


def mediapipe(detectors: list[Detector]) -> Any:
    given = iter(detectors)
    vision = SimpleNamespace(
        FaceDetector=SimpleNamespace(create_from_options=lambda options: next(given)),
        FaceDetectorOptions=SimpleNamespace,
    )
    return SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace),
        Image=SimpleNamespace,
        ImageFormat=SimpleNamespace(SRGB=1),
    )


@pytest.mark.parametrize("told_at", [1, 7])
def test_a_notice_that_comes_late_is_held_back(
    told_at: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = detectors = [Detector(told_at), Detector(None)]
    library = mediapipe(detectors)
    monkeypatch.setattr(mediapipe_faces, "_settled", False)
    monkeypatch.setattr(mediapipe_faces, "import_mediapipe", lambda: library)
    faces = MediaPipeFaces(SHORT_RANGE, 2)
    pixels = np.zeros((SHORT_RANGE_SIDE, SHORT_RANGE_SIDE, 3), np.uint8)
    with faces._pool.one():
        assert first.looks == told_at
        assert faces.find(pixels) == []  # by the second, since the first is taken
    assert second.looks == 2  # one to settle in: the notice comes once in a process
    assert capfd.readouterr().err == ""
    faces.close()


def test_a_notice_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(None)
    library = mediapipe([detector])
    monkeypatch.setattr(mediapipe_faces, "_settled", False)
    monkeypatch.setattr(mediapipe_faces, "import_mediapipe", lambda: library)
    faces = MediaPipeFaces(SHORT_RANGE, 1)
    with faces._pool.one():
        assert detector.looks == 64
    faces.close()
