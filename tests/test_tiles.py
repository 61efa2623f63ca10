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


# Views that reach beyond the picture, and views within it whose outer parts alone show something.
@pytest.mark.parametrize("side, inset", [(60, 0), (120, 75)])
def test_contrast_counts_the_edges_of_the_picture(side: int, inset: int) -> None:
    views = [View(x, y, side) for x in (inset, 203 - inset) for y in (inset, 301 - inset)]
    for busy in range(4):
        pixels = np.zeros((301, 203, 3), np.uint8)
        rows, columns = (slice(20), slice(-20, None))[busy % 2], (slice(20), slice(-20, None))[busy // 2]
        pixels[rows, columns] = 255
        pyramid = Pyramid(pixels)
        found = [pyramid.contrast(view, 20) for view in views]
        assert found[busy] > 50
        assert found[:busy] + found[busy + 1 :] == [0, 0, 0]


def test_the_mouth_tells_how_a_profile_leans_whose_eyes_nearly_coincide() -> None:
    keypoints = ((0.50, 0.40), (0.52, 0.45), (0.5, 0.6), (0.50, 0.80), (0.0, 0.5), (1.0, 0.5))
    assert abs(Face((0, 0, 1, 1), keypoints, 0.9).roll) < 15


def test_grain_is_no_contrast_at_the_size_of_a_face() -> None:
    grain = np.random.default_rng(0).normal(128, 6, (960, 1280, 3)).clip(0, 255).astype(np.uint8)
    assert Pyramid(grain).contrast(View(640, 480, 480), 48) < 3


@pytest.mark.parametrize("edge", range(4))
def test_a_view_cuts_faces_where_the_picture_goes_on(edge: int) -> None:
    def touching(view: View) -> Face:
        """A face in the middle of the view but for one edge, left, top, right or bottom, which it touches."""
        x, y, half = view.x, view.y, view.side / 2
        box = [x - half / 2, y - half / 2, x + half / 2, y + half / 2]
        box[edge] = (x - half, y - half, x + half, y + half)[edge]
        left, top, right, bottom = box
        return Face((left, top, right, bottom), ((x, y),) * 6, 0.9)

    def cuts(x: float, y: float) -> bool:
        view = View(x, y, 200)
        return view.cuts(touching(view), 1000, 800)

    assert cuts(500, 400)
    assert not View(500, 400, 200).cuts(Face((450, 350, 550, 450), ((500, 400),) * 6, 0.9), 1000, 800)
    assert cuts(*((101, 400), (500, 101), (899, 400), (500, 699))[edge])
    # Less than half a pixel of the picture beyond the view.
    assert not cuts(*((100.4, 400), (500, 100.4), (899.6, 400), (500, 699.6))[edge])
