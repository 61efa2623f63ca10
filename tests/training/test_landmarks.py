from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facefake.training import landmarks as mesh
from facefake.training.landmarks import FaceMesh


@pytest.fixture(scope="module")
def face_mesh():
    return FaceMesh()


@pytest.fixture(scope="module")
def crops(shared):
    import cv2

    files = [sorted(folder.glob("*.jpg"))[1] for folder in sorted((shared / "faces" / "real").iterdir())]
    pictures = [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]
    return [np.ascontiguousarray(p[: min(p.shape[:2]), : min(p.shape[:2])]) for p in pictures]


def test_its_network_is_opened_in_silence():
    program = "from facefake.training.landmarks import FaceMesh; FaceMesh()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_picture_without_a_face_gives_none(face_mesh):
    assert face_mesh.landmarks(np.full((128, 128, 3), 128, np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert face_mesh.landmarks(noise) is None


@pytest.mark.parametrize(
    "crop", [np.zeros((64, 60, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32)]
)
def test_what_is_no_crop_is_refused(face_mesh, crop):
    with pytest.raises(ValueError, match=r"expected a uint8 \(n, n, 3\) crop, got"):
        face_mesh.landmarks(crop)


def test_every_index_is_a_landmark():
    groups = (
        mesh.FACE_OVAL,
        mesh.RIGHT_EYE,
        mesh.LEFT_EYE,
        mesh.RIGHT_BROW,
        mesh.LEFT_BROW,
        mesh.NOSE,
        mesh.MOUTH,
    )
    everything = [number for group in groups for number in group]
    assert len(set(everything)) == len(everything)
    assert min(everything) >= 0
    assert max(everything) < mesh.LANDMARK_COUNT
    assert set(mesh.JAW) < set(mesh.FACE_OVAL)


def test_real_faces_are_found_and_their_parts_lie_in_order(face_mesh, crops):
    found = [points for points in map(face_mesh.landmarks, crops) if points is not None]
    assert len(found) >= 0.9 * len(crops)
    for points in found:
        assert points.shape == (mesh.LANDMARK_COUNT, 2)
        assert points.dtype == np.float32
        right, left, nose, mouth = (
            points[list(part)].mean(0) for part in (mesh.RIGHT_EYE, mesh.LEFT_EYE, mesh.NOSE, mesh.MOUTH)
        )
        assert right[0] < left[0]
        assert (right[1] + left[1]) / 2 < nose[1] < mouth[1]


def test_landmarks_follow_the_crop(face_mesh, crops):
    """Twice the size gives twice the landmarks, and a mirrored face the mirrored oval."""
    import cv2

    crop = next(c for c in crops if face_mesh.landmarks(c) is not None)
    points = face_mesh.landmarks(crop)
    side = len(crop)
    large = face_mesh.landmarks(cv2.resize(crop, (2 * side, 2 * side), interpolation=cv2.INTER_CUBIC))
    assert np.abs(large / 2 - points).mean() < 0.01 * side
    mirrored = face_mesh.landmarks(np.ascontiguousarray(crop[:, ::-1]))
    eyes = points[list(mesh.RIGHT_EYE)].mean(0), mirrored[list(mesh.LEFT_EYE)].mean(0)
    assert eyes[1] == pytest.approx((side - 1 - eyes[0][0], eyes[0][1]), abs=0.03 * side)


def test_threads_share_one_mesh(face_mesh, crops):
    alone = [face_mesh.landmarks(crop) for crop in crops]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(face_mesh.landmarks, crops))
    for first, second in zip(alone, together, strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            np.testing.assert_array_equal(first, second)
