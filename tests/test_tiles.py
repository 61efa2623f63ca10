from __future__ import annotations

import numpy as np
import pytest

from facefake.tiles import Face, Pyramid, View


@pytest.mark.parametrize("size", [4, 16, 48, 300])
def test_contrast_tells_what_is_there_from_what_is_flat(size: int) -> None:
    pixels = np.full((1000, 1500, 3), 90, np.uint8)
    # A chequered square as large as what is looked for, its fields as those of eyes and cheeks.
    fields = np.kron([[60, 120] * 2, [120, 60] * 2] * 2, np.ones((-(-size // 4),) * 2))[:size, :size]
    pixels[500 : 500 + size, 1000 : 1000 + size] = fields[:, :, None]
    pyramid = Pyramid(pixels)
    assert pyramid.contrast(View(1000 + size / 2, 500 + size / 2, 10 * size), size) > 8
    assert pyramid.contrast(View(300, 200, 400), size) == 0


def test_contrast_counts_the_edges_of_the_picture() -> None:
    pixels = np.zeros((301, 203, 3), np.uint8)
    pixels[-20:, -20:] = 255
    pyramid = Pyramid(pixels)
    assert pyramid.contrast(View(203, 301, 60), 20) > 50
    assert pyramid.contrast(View(0, 0, 60), 20) == 0


def test_the_mouth_tells_how_a_profile_leans_whose_eyes_nearly_coincide() -> None:
    keypoints = ((0.50, 0.40), (0.52, 0.45), (0.5, 0.6), (0.50, 0.80), (0.0, 0.5), (1.0, 0.5))
    assert abs(Face((0, 0, 1, 1), keypoints, 0.9).roll) < 15


def test_grain_is_no_contrast_at_the_size_of_a_face() -> None:
    grain = np.random.default_rng(0).normal(128, 6, (960, 1280, 3)).clip(0, 255).astype(np.uint8)
    assert Pyramid(grain).contrast(View(640, 480, 480), 48) < 3
