"""Warps: exact places, edges, and the same pixels on every processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefake.alignment import resample
from facefake.tiles import Pyramid, View
from facefake.warping import warp

# What OpenCV can do without, of two kinds of processors.
INSTRUCTIONS = "AVX2,AVX512_SKX,FP16,FMA3,NEON_FP16,NEON_DOTPROD"


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def tiles_and_crops() -> tuple[np.ndarray, np.ndarray]:
    """Level and turned, enlarged and shrunk ones."""
    picture = np.kron(noise(234, 300), np.ones((3, 3, 1), np.uint8))
    pyramid = Pyramid(picture)
    tiles, crops = [], []
    for number in range(12):
        view = View(300 + 20.3 * number, 350 - 9.7 * number, 61 + 50.1 * number, 25.7 * (number % 3))
        tiles.append(pyramid.render(view, 192))
        scale, roll = 0.3 + 0.17 * number, 0.31 * (number % 4)
        turn = scale * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        crops.append(resample(picture, np.column_stack([turn, [-60.4, -20.3]]), 160))
    return np.stack(tiles), np.stack(crops)


def test_pixels_are_the_same_with_fewer_instructions(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, __file__, tmp_path / "found.npz"],
        env=os.environ | {"OPENCV_CPU_DISABLE": INSTRUCTIONS},
        check=True,
        timeout=120,
    )
    tiles, crops = tiles_and_crops()
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["tiles"], tiles)
        differences = np.abs(found["crops"].astype(int) - crops)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 1e-4


@pytest.mark.parametrize("turned", [False, True])
def test_places_are_exact_to_a_30th_of_a_pixel(turned: bool) -> None:
    wide, high = np.meshgrid(np.arange(64), np.arange(64))
    ramp = np.stack([3 * wide, 3 * high, 0 * wide], axis=-1).astype(np.uint8)
    matrix = np.array([[0.7, 0.31, 5.3], [-0.31, 0.7, 20.9]] if turned else [[0.7, 0, 5.3], [0, 0.7, 9.1]])
    x, y = np.meshgrid(np.arange(50), np.arange(50))
    expected = 3 * (matrix @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)).reshape(2, 50, 50)
    for interpolation in (cv2.INTER_LINEAR, cv2.INTER_CUBIC):
        found = warp(ramp, matrix, 50, interpolation, cv2.BORDER_REFLECT_101)
        inside = (expected > 6).all(0) & (expected < 180).all(0)
        assert inside.mean() > 0.8
        # Half a grey level from rounding the pixel, and three times a 30th from its place and the filters.
        assert np.abs(np.moveaxis(found[..., :2], -1, 0) - expected)[:, inside].max() <= 0.5 + 3 / 30


def test_beyond_the_edge_it_is_black_or_mirrored_however_far() -> None:
    picture = noise(20, 30)
    for far in (100.0, 1e5, 1e9):
        matrix = np.array([[1.0, 0, far], [0, 1, 0]])
        assert (warp(picture, matrix, 8, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) == 0).all()
    mirrored = warp(picture, np.array([[1.0, 0, -8], [0, 1, 0]]), 8, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(mirrored, picture[:8, 8:0:-1])


def test_views_of_a_picture_wider_than_32767_pixels() -> None:
    picture = np.zeros((40, 40_000, 3), np.uint8)
    picture[:, 39_900:39_950] = 200
    shown = Pyramid(picture).render(View(39_925, 20, 100), 100)
    assert (shown[35:65, 30:70] == 200).all()
    assert (shown[:20] == 0).all()
    assert (shown[35:65, :20] == 0).all()


if __name__ == "__main__":
    tiles, crops = tiles_and_crops()
    np.savez(sys.argv[1], tiles=tiles, crops=crops)
