from __future__ import annotations

import numpy as np
import pytest

from facefake.training.blending import (
    Brush,
    affine_field,
    blend,
    hull_mask,
    liquify,
    move,
    piecewise_field,
    poisson_clone,
    resample,
    shift_statistics,
    soft_mask,
    transfer_colour,
    warp,
)
from facefake.training.landmarks import FACE_OVAL, MOUTH


def test_a_hull_is_convex_and_filled(face):
    crop, landmarks = face(0)
    mask = hull_mask(len(crop), landmarks, [FACE_OVAL])
    assert set(np.unique(mask)) == {0, 255}
    assert mask[68, 64] == 255
    assert mask[0, 0] == 0
    for row in mask[mask.any(axis=1)]:
        inside = np.flatnonzero(row)
        assert len(inside) == inside[-1] - inside[0] + 1


@pytest.mark.parametrize("grow", [0.0, 0.08])
def test_a_soft_mask_stays_within_and_is_soft(face, grow):
    crop, landmarks = face(1)
    within = hull_mask(len(crop), landmarks, [FACE_OVAL])
    soft = 0
    for seed in range(30):
        mask = soft_mask(landmarks, [MOUTH if grow else FACE_OVAL], within, np.random.default_rng(seed), grow)
        assert not mask[within == 0].any()
        assert mask.max() == pytest.approx(1, abs=0.02)
        soft += bool(((mask > 0.1) & (mask < 0.9)).any())
    assert soft > 20


def test_soft_masks_of_one_hull_differ(face):
    crop, landmarks = face(1)
    within = hull_mask(len(crop), landmarks, [FACE_OVAL])
    masks = [
        soft_mask(landmarks, [FACE_OVAL], within, np.random.default_rng(seed)) > 0.5 for seed in range(10)
    ]
    overlap = np.logical_and.reduce(masks).sum() / np.logical_or.reduce(masks).sum()
    assert 0.3 < overlap < 0.95


def test_no_warp_without_a_field(face):
    crop, _ = face(2)
    np.testing.assert_array_equal(warp(crop, np.zeros((*crop.shape[:2], 2), np.float32)), crop)


def test_a_brush_moves_what_lies_under_it():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[30:33, 30:33] = 255
    field, mask = liquify(64, [Brush(np.array([31.0, 31.0]), 20.0, (4.0, -3.0))])
    assert not field[mask == 0].any()
    assert mask[31, 31] == 1
    moved = warp(picture, field)[..., 0].astype(float)
    rows, columns = np.indices(moved.shape)
    assert (moved * columns).sum() / moved.sum() == pytest.approx(35, abs=0.5)
    assert (moved * rows).sum() / moved.sum() == pytest.approx(28, abs=0.5)


def test_a_growing_brush_enlarges():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[28:35, 28:35] = 255
    field, _ = liquify(64, [Brush(np.array([31.0, 31.0]), 20.0, growth=0.3)])
    assert warp(picture, field).sum() > 1.3 * picture.sum()


def test_a_brush_may_reach_over_the_edge():
    field, mask = liquify(
        32, [Brush(np.array([0.0, 31.0]), 10.0, (2.0, 2.0)), Brush(np.array([-50.0, 0.0]), 5.0)]
    )
    assert field[31, 0] == pytest.approx([-2, -2])
    assert not mask[:, 11:].any()


def test_a_piecewise_field_lays_each_source_point_on_its_target():
    rng = np.random.default_rng(0)
    axis = np.linspace(10, 54, 5)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2) + rng.uniform(-2, 2, (25, 2))
    sources = points + rng.uniform(-0.7, 0.7, points.shape) + (4, -3)
    field = piecewise_field(64, points.astype(np.float32), sources.astype(np.float32))
    for point, source in zip(points, sources, strict=True):
        x, y = np.rint(point).astype(int)
        assert field[y, x] == pytest.approx(source - point, abs=1.0)
    assert not field[:5].any()


def test_a_piecewise_field_of_an_affine_map_is_that_map():
    rng = np.random.default_rng(1)
    points = rng.uniform(5, 59, (30, 2)).astype(np.float32)
    sources = (points @ np.array([[1.1, 0.1], [-0.2, 0.9]]) + (3, -2)).astype(np.float32)
    piecewise, affine = (
        piecewise_field(64, points, sources),
        affine_field(64, points, sources, similarity=False),
    )
    inside = hull_of(points)
    assert inside.sum() > 1000
    np.testing.assert_allclose(piecewise[inside], affine[inside], atol=1e-2)


def hull_of(points):
    import cv2

    mask = np.zeros((64, 64), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points).astype(np.int32), 1)
    return cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0


def test_a_similarity_keeps_the_shape():
    rng = np.random.default_rng(2)
    points = rng.uniform(5, 59, (30, 2)).astype(np.float32)
    turn = 1.2 * np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    sources = (points @ turn + (4, 6)).astype(np.float32)
    field = affine_field(64, points, sources, similarity=True)
    for x, y in ((0, 0), (63, 10), (20, 50)):
        assert field[y, x] + (x, y) == pytest.approx(np.array([x, y]) @ turn + (4, 6), abs=1e-3)
    sheared = (points @ np.array([[1.0, 0.5], [0.0, 1.0]])).astype(np.float32)
    field = affine_field(64, points, sheared, similarity=True) + np.stack(
        np.meshgrid(range(64), range(64)), axis=-1
    )
    across, down = field[0, 10] - field[0, 0], field[10, 0] - field[0, 0]
    assert across @ down == pytest.approx(0, abs=1e-2)
    assert np.linalg.norm(across) == pytest.approx(np.linalg.norm(down), abs=1e-3)


def test_colours_come_from_the_target(face):
    source, target = face(3)[0], (face(4)[0] * 0.6 + (60, 20, 0)).astype(np.uint8)
    region = np.zeros(source.shape[:2], np.uint8)
    region[30:100, 30:100] = 255
    inside = region > 0
    before = np.abs(source[inside].mean(0) - target[inside].mean(0)).max()
    methods = set()
    for seed in range(30):
        result, method = transfer_colour(source, target, region, np.random.default_rng(seed))
        assert result.shape == source.shape
        assert result.dtype == np.uint8
        assert np.abs(result[inside].mean(0) - target[inside].mean(0)).max() < min(6, before / 2), method
        methods.add(method)
    assert methods == {"Reinhard", "means", "histograms"}


@pytest.mark.parametrize("width", [3, 24])
def test_poisson_meets_the_target_at_the_edge(width):
    rng = np.random.default_rng(5)
    target = np.full((64, 64, 3), 160, np.uint8)
    source = rng.integers(20, 60, (64, 64, 3)).astype(np.uint8)
    region = np.zeros((64, 64), np.uint8)
    region[20:44, 20 : 20 + width] = 255
    before = region.copy()
    result = poisson_clone(source, target, region)
    np.testing.assert_array_equal(region, before)
    changed = (result != target).any(axis=2)
    assert changed[region > 0].mean() > 0.9
    changed[18:46, 18 : 22 + width] = False
    assert not changed.any()
    assert np.abs(result[region > 0].mean() - 160) < 15
    assert result[region > 0].std() > 3


def test_blend_mixes_by_the_mask(face):
    target, source = face(6)[0], face(7)[0]
    mask = np.zeros(target.shape[:2], np.float32)
    mask[:40], mask[40:80] = 1, 0.5
    result = blend(target, source, mask)
    np.testing.assert_array_equal(result[:40], source[:40])
    np.testing.assert_array_equal(result[80:], target[80:])
    middle = (target[40:80].astype(float) + source[40:80]) / 2
    assert np.abs(result[40:80] - middle).max() <= 0.5


def test_statistics_always_shift_and_never_run_away(face):
    crop, _ = face(8)
    for seed in range(60):
        shifted = shift_statistics(crop, np.random.default_rng(seed))
        assert 0 < np.abs(shifted.astype(int) - crop).mean() < 50
    colours = [
        np.abs(shift_statistics(crop, np.random.default_rng(s), 0.1).mean((0, 1)) - crop.mean((0, 1))).max()
        for s in range(60)
    ]
    assert max(colours) < 8


def test_resampling_takes_detail(face):
    crop, _ = face(9)
    detail = [
        np.abs(np.diff(resample(crop, factor, np.random.default_rng(0)).astype(int), axis=1)).mean()
        for factor in (1.5, 4)
    ]
    assert np.abs(np.diff(crop.astype(int), axis=1)).mean() > detail[0] > detail[1]


def test_a_move_is_slight_and_leaves_no_border():
    axis = np.arange(64, dtype=np.uint8)
    ramp = np.stack(np.broadcast_arrays(100 + axis[None, :], 100 + axis[:, None], np.uint8(128)), axis=-1)
    for seed in range(30):
        moved = move(np.ascontiguousarray(ramp), np.random.default_rng(seed))
        assert moved.min() >= 98
        shift = np.abs(moved[32, 32].astype(int) - ramp[32, 32])
        assert shift[0] <= 0.03 * 64 + 2
        assert shift[1] <= 0.015 * 64 + 2
