from __future__ import annotations

import numpy as np
import pytest

from facefake.training import upsampling
from facefake.training.upsampling import redraw

SEEDS = range(24)


@pytest.fixture
def crop(face):
    return face(0)[0]


def spectrum(picture):
    """Of a picture's grey, without what changes slowly."""
    grey = np.asarray(picture, np.float64).mean(-1)
    return np.abs(np.fft.fft2(grey - grey.mean()))


def test_a_seed_gives_one_fake_and_another_another(crop):
    before = crop.copy()
    first, second = (
        [redraw(crop, np.random.default_rng(seed)).tobytes() for seed in SEEDS] for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == len(SEEDS)
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("row", upsampling._KERNELS)
@pytest.mark.parametrize("doublings", [1, 2, 3])
def test_no_kernel_moves_the_picture(row, doublings):
    across = np.arange(128)
    bump = np.exp(-((across[:, None] - 63.5) ** 2 + (across - 63.5) ** 2) / 288)
    picture = np.repeat(bump[..., None], 3, -1).astype(np.float32)
    kernel = np.outer(row, row).astype(np.float32)
    small = picture
    for _ in range(doublings):
        small = upsampling._halved(small, kernel)
    for _ in range(doublings):
        small = upsampling._doubled(small, kernel)
    for weights in (small[..., 0], small[..., 0].T):
        assert (weights * across).sum() / weights.sum() == pytest.approx(63.5, abs=0.05)


@pytest.mark.parametrize("side", [32, 33, 95, 224])
def test_shape_and_type_are_the_crop_s(crop, side):
    part = np.ascontiguousarray(crop[:side, :side])
    for seed in SEEDS:
        made = redraw(part, np.random.default_rng(seed))
        assert (made.shape, made.dtype) == (part.shape, np.uint8)


def test_the_face_stays_where_it_is_and_what_it_is(crop):
    """The trace shifts nothing, and changes no colour of a larger area."""
    import cv2

    for seed in SEEDS:
        made = redraw(crop, np.random.default_rng(seed)).astype(np.float32)
        shift, _ = cv2.phaseCorrelate(crop.mean(-1).astype(np.float64), made.mean(-1).astype(np.float64))
        assert np.abs(shift).max() < 0.35
        coarse = [
            cv2.resize(picture.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
            for picture in (crop, made)
        ]
        assert float(np.abs(coarse[0] - coarse[1]).mean()) < 5


def test_a_fake_has_the_replica_that_the_kernel_leaves(monkeypatch):
    """Of a smooth picture, at the frequencies where a doubling puts it, and nothing like it without noise."""
    y, x = np.mgrid[:128, :128]
    smooth = (128 + 60 * np.sin(2 * np.pi * x / 32) * np.cos(2 * np.pi * y / 32)).round().astype(np.uint8)
    picture = np.repeat(smooth[..., None], 3, -1)
    replica = np.s_[56:72, 56:72]  # around half the sampling rate, both ways
    monkeypatch.setattr(upsampling, "_DOUBLINGS_SHARE", (1.0, 0.0, 0.0))
    noisy = [spectrum(redraw(picture, np.random.default_rng(seed)))[replica].max() for seed in SEEDS]
    monkeypatch.setattr(upsampling, "_NOISE", (0.0, 0.0))
    clean = [spectrum(redraw(picture, np.random.default_rng(seed)))[replica].max() for seed in SEEDS]
    assert np.median(noisy) > 3 * np.median(clean)


def test_hardly_a_fake_is_its_own_real_face(crop):
    changes = [
        np.abs(redraw(crop, np.random.default_rng(seed)).astype(int) - crop).max() for seed in range(200)
    ]
    assert np.mean(np.array(changes) <= 3) < 0.01


def test_without_noise_and_with_its_detail_a_crop_stays_as_it_is(crop, monkeypatch):
    monkeypatch.setattr(upsampling, "_NOISE", (0.0, 0.0))
    kept = [int(np.abs(redraw(crop, np.random.default_rng(seed)).astype(int) - crop).max()) for seed in SEEDS]
    assert kept.count(0) >= 0.2 * len(SEEDS)  # two in five keep all of it


@pytest.mark.parametrize("row", upsampling._KERNELS)
def test_every_kernel_gives_an_even_surface(row):
    kernel = np.outer(row, row).astype(np.float32)
    doubled = upsampling._doubled(np.full((8, 6, 3), 100, np.float32), kernel)
    assert doubled.shape == (16, 12, 3)
    np.testing.assert_allclose(doubled, 100, atol=1e-3)
