from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from facefake.alignment import align, crop_corners, crop_matrix, native_side, outside_share, resample
from facefake.detection import Face

coordinates = st.floats(-300, 500)
sides = st.floats(8, 400)
rolls = st.floats(-math.pi / 4, math.pi / 4)


def face_at(x: float, y: float, side: float, roll: float = 0.0) -> Face:
    """A face with a square box and eyes 0.4 sides apart, 0.1 sides above the middle, turned clockwise by `roll`."""
    cos, sin = math.cos(roll), math.sin(roll)

    def place(along: float, down: float) -> tuple[float, float]:
        return x + side * (along * cos - down * sin), y + side * (along * sin + down * cos)

    keypoints = [(-0.2, -0.1), (0.2, -0.1), (0.0, 0.1), (0.0, 0.25), (-0.5, 0.0), (0.5, 0.0)]
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return Face(box, tuple(place(*point) for point in keypoints), 0.9)


def eye_points(face: Face, side: int, margin: float) -> np.ndarray:
    matrix = crop_matrix(face, side, margin)
    return np.array(face.keypoints[:2]) @ matrix[:, :2].T + matrix[:, 2]


def centre_of(channel: np.ndarray) -> np.ndarray:
    """Centre of mass of what is bright, continuous x and y."""
    weight = channel.astype(float)
    weight[weight < 0.3 * weight.max()] = 0
    rows, columns = np.mgrid[0 : len(weight), 0 : weight.shape[1]] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def disc(pixels: np.ndarray, channel: int, centre: tuple[float, float], radius: float) -> None:
    """Draws a disc with soft edges at continuous coordinates."""
    rows, columns = np.mgrid[0 : len(pixels), 0 : pixels.shape[1]] + 0.5
    distance = np.hypot(columns - centre[0], rows - centre[1])
    drawn = 255 * np.clip(radius + 0.5 - distance, 0, 1)
    pixels[..., channel] = np.maximum(pixels[..., channel], drawn.astype(np.uint8))


@given(coordinates, coordinates, sides, rolls, st.floats(1, 3))
def test_the_crop_is_level_centred_and_as_large_as_the_margin_says(x, y, side, roll, margin):
    face = face_at(x, y, side, roll)
    right, left = eye_points(face, 128, margin)
    assert left[1] - right[1] == pytest.approx(0, abs=1e-6)
    assert left[0] - right[0] == pytest.approx(0.4 * 128 / margin, abs=1e-6)
    matrix = crop_matrix(face, 128, margin)
    assert matrix[:, :2] @ [x, y] + matrix[:, 2] == pytest.approx([64, 64], abs=1e-6)
    mapped = crop_corners(face, margin) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(mapped, [[0, 0], [128, 0], [128, 128], [0, 128]], atol=1e-6)
    assert native_side(face, margin) == round(side * margin)


@pytest.mark.parametrize("roll", [-45, -20, 0, 7, 45])
@pytest.mark.parametrize("scale", [0.1, 0.35, 1.0, 2.2, 4.0])
def test_drawn_eyes_come_out_where_the_matrix_says(roll, scale):
    side, margin = 96, 1.5
    box = side / margin / scale
    length = math.ceil(2 * box * margin)
    face = face_at(0.52 * length, 0.47 * length, box, math.radians(roll))
    picture = np.zeros((length, length, 3), np.uint8)
    for channel, eye in enumerate(face.keypoints[:2]):
        disc(picture, channel, eye, max(1.0, 3 / scale))
    crop = align(picture, face, side, margin)
    for channel, expected in enumerate(eye_points(face, side, margin)):
        assert np.abs(centre_of(crop[..., channel]) - expected).max() < 0.5


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0.5), (0.5, 0), (1, 0.5)])
def test_a_face_over_the_edge_keeps_its_place_and_mirrors_the_rest(corner):
    side, box = 96, 120.0
    x, y = (at * 300 + (1 - 2 * at) * 0.4 * box for at in corner)
    face = face_at(x, y, box, math.radians(10))
    picture = np.full((300, 300, 3), 90, np.uint8)
    picture[..., :2] = 0
    for channel, eye in enumerate(face.keypoints[:2]):
        disc(picture, channel, eye, 4)
    crop = align(picture, face, side, 1.25)
    for channel, expected in enumerate(eye_points(face, side, 1.25)):
        bright = crop[..., channel].copy()
        rows, columns = np.mgrid[0:side, 0:side] + 0.5
        bright[np.hypot(columns - expected[0], rows - expected[1]) > 8] = 0
        assert np.abs(centre_of(bright) - expected).max() < 1
    np.testing.assert_allclose(crop[..., 2], 90, atol=1)  # no black beyond the edge


def test_a_crop_of_the_picture_s_own_pixels_is_exact():
    picture = np.random.default_rng(0).integers(0, 256, (200, 240, 3)).astype(np.uint8)
    crop = align(picture, face_at(100, 90, 64), 80, 1.25)
    np.testing.assert_array_equal(crop, picture[50:130, 60:140])


def test_between_pixels_a_crop_is_the_cubic_through_four_of_them():
    picture = np.full((9, 9, 3), 100, np.uint8)
    picture[:, 4] = 200
    crop = resample(picture, np.array([[1.0, 0, -0.5], [0, 1, 0]]), 8)
    weights = np.array([-0.09375, 0.59375, 0.59375, -0.09375])
    np.testing.assert_allclose(crop[4, 2:6, 0], 100 + 100 * weights, atol=1)


def test_pixels_at_the_edge_of_a_crop_are_made_of_what_lies_beyond_it_too():
    picture = np.random.default_rng(0).integers(0, 256, (120, 140, 3)).astype(np.uint8)
    crop = resample(picture, np.array([[1.0, 0, -30.5], [0, 1, -20.5]]), 64)
    larger = resample(picture, np.array([[1.0, 0, -26.5], [0, 1, -16.5]]), 72)
    np.testing.assert_array_equal(crop, larger[4:-4, 4:-4])


def test_far_beyond_the_edge_the_last_pixel_is_repeated():
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for far, mirrored in ((250, True), (400, False)):
        crop = resample(picture, np.array([[1.0, 0, -far], [0, 1, 0]]), 16)
        repeated = np.broadcast_to(picture[:16, -1:], (16, 16, 3))
        assert np.array_equal(crop, repeated) is not mirrored


@pytest.mark.parametrize("roll", [0, 30])
def test_a_fine_checkerboard_shrinks_to_grey(roll):
    rows, columns = np.mgrid[0:600, 0:600]
    picture = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    crop = align(picture, face_at(300, 300, 250, math.radians(roll)), 97, 1.25)
    assert np.abs(crop.astype(int) - 127).max() < 16


@settings(max_examples=60, deadline=None)
@given(coordinates, coordinates, sides, rolls)
def test_any_box_gives_a_crop_even_beyond_the_picture(x, y, side, roll):
    picture = np.full((160, 200, 3), 77, np.uint8)
    crop = align(picture, face_at(x, y, side, roll), 32, 1.25)
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.uint8
    np.testing.assert_allclose(crop, 77, atol=1)


@settings(max_examples=150, deadline=None)
@given(coordinates, coordinates, sides, rolls, st.integers(20, 300), st.integers(20, 300))
@example(0.0, 32.0, 9.0, math.pi / 4, 20, 33)  # two corners of the crop on edges of the picture
def test_the_share_outside_is_what_counting_gives(x, y, side, roll, width, height):
    face = face_at(x, y, side, roll)
    corners = crop_corners(face, 1.25)
    steps = (np.arange(120) + 0.5) / 120
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    points = corners[0] + steps[:, None, None] * along + steps[None, :, None] * down
    inside = ((points >= 0) & (points <= [width, height])).all(-1)
    assert outside_share(face, width, height, 1.25) == pytest.approx(1 - inside.mean(), abs=0.02)


def test_a_flip_may_be_part_of_the_similarity():
    picture = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        resample(picture, np.array([[-1.0, 0, 40], [0, 1, 0]]), 40), picture[:, ::-1]
    )


def test_a_huge_box_on_a_small_picture_takes_no_longer_than_another():
    picture = np.full((255, 191, 3), 77, np.uint8)
    for side in (3662.5, 50_000.0):
        np.testing.assert_allclose(align(picture, face_at(191, 0.5, side, math.pi), 32, 1.25), 77, atol=1)
