from __future__ import annotations

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facefake.training.degrade import Compression, Degradation, apply, draw

CODECS = ("pillow-jpeg", "opencv-jpeg", "webp")


@pytest.fixture(scope="module")
def crop(face) -> NDArray[np.uint8]:
    return face(0)[0]


@pytest.fixture(scope="module")
def histories() -> list[Degradation]:
    rng = np.random.default_rng(0)
    return [draw(rng, 1.0) for _ in range(4000)]


def saves(history: Degradation) -> list[Compression]:
    return [compression for compression in (history.save, history.resave) if compression is not None]


def is_nearly_clean(history: Degradation) -> bool:
    untouched = history.scale == 1 and history.blur == 0 and history.noise == 0 and history.resave is None
    return untouched and (history.save is None or history.save.quality >= 90)


def distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def test_a_seed_gives_one_history_and_one_picture(crop):
    for seed in range(20):
        first, second = (draw(np.random.default_rng(seed), 1.0) for _ in range(2))
        assert first == second
        np.testing.assert_array_equal(apply(crop, first), apply(crop, second))


def test_seeds_give_different_histories():
    assert len({draw(np.random.default_rng(seed), 1.0) for seed in range(50)}) > 30


def test_strength_zero_leaves_the_picture_as_it_is(crop):
    rng = np.random.default_rng(0)
    for _ in range(20):
        np.testing.assert_array_equal(apply(crop, draw(rng, 0.0)), crop)


def test_ranges(histories):
    for history in histories:
        assert 0.25 <= history.scale <= 1.5
        assert 0 <= history.blur <= 3
        assert 0 <= history.noise <= 5
        assert all(30 <= compression.quality <= 100 for compression in saves(history))
        assert history.order.index("shrink") < history.order.index("restore")
        assert history.order.index("save") < history.order.index("resave")
        assert sorted(history.order) == sorted(Degradation().order)


def test_the_ranges_are_used(histories):
    qualities = [compression.quality for history in histories for compression in saves(history)]
    assert min(qualities) == 30
    assert max(qualities) == 100
    scales = [history.scale for history in histories]
    assert min(scales) < 0.26
    assert max(scales) > 1.45
    assert max(history.blur for history in histories) > 2.5
    assert np.median([history.blur for history in histories if history.blur > 0]) < 1


def test_every_codec_subsampling_and_kernel_comes_up(histories):
    codecs = Counter(compression.codec for history in histories for compression in saves(history))
    assert set(codecs) == set(CODECS)
    assert min(codecs.values()) > 0.1 * codecs.total()
    assert {c.subsampling for history in histories for c in saves(history)} == {"4:4:4", "4:2:2", "4:2:0"}
    six = {"nearest", "bilinear", "bicubic", "area", "lanczos", "antialiased"}
    assert {history.shrink_kernel for history in histories} == six
    assert {history.restore_kernel for history in histories} == six
    assert len({history.order for history in histories}) > 50
    assert any(history.resave is not None for history in histories)


def test_a_fair_share_stays_clean(histories):
    share = sum(is_nearly_clean(history) for history in histories) / len(histories)
    assert 0.25 < share < 0.33
    untouched = sum(history == Degradation() for history in histories) / len(histories)
    assert 0.1 < untouched < 0.2


def test_less_strength_draws_milder_histories():
    rng = np.random.default_rng(1)
    mild = [draw(rng, 0.3) for _ in range(1000)]
    assert min(compression.quality for history in mild for compression in saves(history)) >= 75
    assert min(history.scale for history in mild) > 0.75
    assert max(history.blur for history in mild) < 1
    assert sum(is_nearly_clean(history) for history in mild) > 700


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(0, 2**32 - 1))
def test_any_shape_comes_back_in_its_shape(height, width, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = pixels.copy()
    result = apply(pixels, draw(rng, 1.0))
    assert result.shape == pixels.shape
    assert result.dtype == np.uint8
    assert not np.shares_memory(result, pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("codec", CODECS)
def test_lower_quality_strays_farther_and_keeps_the_picture(crop, codec):
    errors = [
        distance(crop, apply(crop, Degradation(save=Compression(codec, q, "4:2:0")))) for q in (95, 60, 30)
    ]
    assert 0 < errors[0] < errors[1] < errors[2] < 20


@pytest.mark.parametrize("codec", CODECS)
def test_red_stays_red(codec):
    red = np.full((32, 32, 3), (200, 30, 20), np.uint8)
    assert distance(apply(red, Degradation(save=Compression(codec, 80, "4:2:0"))), red) < 5


@pytest.mark.parametrize("codec", ["pillow-jpeg", "opencv-jpeg"])
def test_chroma_subsampling_costs_colour_detail(codec):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    stripes[:, 1::2, 2] = 255
    fine, coarse = (
        distance(stripes, apply(stripes, Degradation(save=Compression(codec, 95, subsampling))))
        for subsampling in ("4:4:4", "4:2:0")
    )
    assert fine < coarse / 3


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "area", "lanczos", "antialiased"])
def test_shrinking_costs_detail_whatever_the_kernel(crop, kernel):
    errors = [
        distance(crop, apply(crop, Degradation(scale=scale, shrink_kernel=kernel, restore_kernel=kernel)))
        for scale in (1.0, 0.5, 0.25)
    ]
    assert 0 == errors[0] < errors[1] < errors[2]


def test_each_kernel_is_another(crop):
    kernels = ("nearest", "bilinear", "bicubic", "area", "lanczos", "antialiased")
    assert (
        len({apply(crop, Degradation(scale=0.4, shrink_kernel=kernel)).tobytes() for kernel in kernels}) == 6
    )
    assert (
        len({apply(crop, Degradation(scale=0.4, restore_kernel=kernel)).tobytes() for kernel in kernels}) >= 5
    )


def test_height_shrinks_as_width_does():
    stripes = np.repeat(np.arange(64) // 2 % 2 * 255, 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    shrink = Degradation(scale=0.25)
    np.testing.assert_array_equal(
        apply(stripes, shrink), apply(stripes.swapaxes(0, 1), shrink).swapaxes(0, 1)
    )


def test_each_step_is_taken_once(crop):
    np.testing.assert_array_equal(apply(crop, Degradation(blur=1.5)), cv2.GaussianBlur(crop, (0, 0), 1.5))
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert apply(grey, Degradation(noise=2.0)).std() == pytest.approx(2, rel=0.05)


def test_blur_takes_detail_and_noise_adds_it(crop):
    def detail(pixels):
        return float(np.abs(np.diff(pixels.astype(int), axis=1)).mean())

    assert (
        detail(apply(crop, Degradation(blur=2.0)))
        < detail(crop)
        < detail(apply(crop, Degradation(noise=5.0)))
    )


def test_the_order_matters(crop):
    history = Degradation(scale=0.5, save=Compression("opencv-jpeg", 40, "4:2:0"))
    inside = dataclasses.replace(history, order=("shrink", "save", "restore", "resave", "blur", "noise"))
    after = dataclasses.replace(history, order=("shrink", "restore", "save", "resave", "blur", "noise"))
    assert distance(apply(crop, inside), apply(crop, after)) > 0


def test_a_picture_may_be_saved_twice(crop):
    once, twice = Compression("opencv-jpeg", 60, "4:2:0"), Compression("webp", 40, "4:2:0")
    expected = apply(apply(crop, Degradation(save=once)), Degradation(save=twice))
    np.testing.assert_array_equal(apply(crop, Degradation(save=once, resave=twice)), expected)


def test_noise_has_its_own_seed_and_no_mean():
    grey = np.full((256, 256, 3), 128, np.uint8)
    first, second = (apply(grey, Degradation(noise=2.0, noise_seed=seed)) for seed in (1, 2))
    assert (first != second).any()
    assert first.mean() == pytest.approx(128, abs=0.1)


def test_both_classes_get_the_same_history(crop):
    """A fake that differs from its real face in one corner still equals it, bit for bit, far from that corner."""
    fake = crop.copy()
    fake[:16, :16] = 255 - fake[:16, :16]
    rng = np.random.default_rng(2)
    for _ in range(30):
        history = draw(rng, 1.0)
        if any(compression.codec == "webp" for compression in saves(history)):
            continue  # WebP predicts each block from the ones before it, so that a change spreads.
        real_result, fake_result = apply(crop, history), apply(fake, history)
        assert distance(real_result, fake_result) > 0
        np.testing.assert_array_equal(real_result[112:, 112:], fake_result[112:, 112:])


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="expected a strength from 0 to 1, got"):
        draw(np.random.default_rng(0), strength)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((7, 32, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\).*got"):
        apply(pixels, Degradation())
