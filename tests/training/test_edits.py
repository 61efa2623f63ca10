from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefake.training.edits import EDITS

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "grace-hopper.jpg"


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return np.asarray(Image.open(SAMPLE).convert("RGB").crop((120, 50, 370, 300)))


@pytest.fixture(params=list(EDITS))
def edit(request):
    return EDITS[request.param]


@pytest.mark.parametrize("side", [8, 65, 257])
def test_an_edit_gives_the_same_square_each_time(edit, side):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    before = pixels.copy()
    pixels.flags.writeable = False
    edited = edit(pixels)
    assert edited.dtype == np.uint8
    assert edited.shape in (pixels.shape, (max(8, round(0.9 * side)),) * 2 + (3,))
    np.testing.assert_array_equal(edited, edit(pixels))
    np.testing.assert_array_equal(pixels, before)


def test_a_face_stays_where_it_is(edit, face):
    """At a twelfth of its size: an edit changes a picture's tones and its detail, hardly its content."""
    import cv2

    def coarse(pixels):
        return cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA).mean(-1).ravel()

    edited = edit(face)
    assert not np.array_equal(edited, face)
    assert np.corrcoef(coarse(face), coarse(edited))[0, 1] > 0.8


def test_edits_do_what_they_are_called(face):
    assert np.ptp(EDITS["black and white"](face), axis=-1).max() == 0
    assert (
        np.ptp(EDITS["vivid colours"](face).astype(int), axis=-1).mean() > 1.2 * np.ptp(face, axis=-1).mean()
    )
    assert EDITS["dark"](face).mean() < 0.8 * face.mean()
    assert len(np.unique(EDITS["256 colours"](face).reshape(-1, 3), axis=0)) <= 256
    for name in ("sharpened", "local contrast", "grainy"):
        assert detail(EDITS[name](face)) > 1.1 * detail(face), name
    for name in ("smoothed", "denoised", "enlarged", "screenshot"):
        assert detail(EDITS[name](face)) < 0.95 * detail(face), name


def detail(pixels: np.ndarray) -> float:
    grey = pixels.astype(float).mean(-1)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
