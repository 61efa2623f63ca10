from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facefake.alignment import align
from facefake.detection import Face
from facefake.training import views as module
from facefake.training.crops import STORE_MARGIN
from facefake.training.views import (
    TIERS,
    batches,
    blurred,
    denoised,
    resaved,
    small,
    small_and_blurred,
    smoothed,
    view,
    wear,
)


def smooth(side: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


def test_a_view_of_a_stored_crop_is_the_crop_that_the_pipeline_cuts():
    picture = smooth(700)
    box = (220.0, 210.0, 460.0, 450.0)
    face = Face(box, ((300.0, 300.0), (380.0, 310.0), *((340.0, 350.0),) * 4), 0.9)
    side = round(240 * STORE_MARGIN)
    stored = align(picture, face, side, STORE_MARGIN)
    direct = align(picture, face, 160, 1.25).astype(int)
    assert np.abs(view(stored, 160, 1.25) - direct).mean() < 1.5
    np.testing.assert_array_equal(view(stored, side, STORE_MARGIN), stored)


def test_each_tier_leaves_less_than_the_one_before():
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    lost = []
    for tier in TIERS:
        worn = wear(noise, tier)
        assert worn.dtype == np.uint8
        lost.append(np.abs(view(worn, 256, STORE_MARGIN).astype(int) - noise).mean())
    assert lost[0] == 0 < lost[1] < lost[2]


def test_a_worn_face_has_at_most_the_pixels_that_its_tier_leaves_it():
    assert wear(smooth(256), "web").shape == (256, 256, 3)  # 190 pixels of face, of 256 that are left
    assert wear(smooth(256), "hard").shape == (231, 231, 3)  # of 171
    assert wear(smooth(100), "hard").shape == (100, 100, 3)


@pytest.mark.parametrize(("scale", "side"), [(0.75, 96), (1.0, 128), (1.25, 160), (0.01, 8)])
def test_a_picture_that_was_resized_and_saved_shows_the_same_face(scale, side):
    picture = smooth(128)
    again = resaved(picture, scale, 95)
    assert again.shape == (side, side, 3)
    if scale > 0.5:
        shown = view(again, 64, STORE_MARGIN).astype(int)
        assert np.abs(shown - view(picture, 64, STORE_MARGIN)).mean() < 4


def test_lower_quality_leaves_less():
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    lost = [np.abs(resaved(noise, 1.0, quality).astype(int) - noise).mean() for quality in (95, 75, 40)]
    assert lost[0] < lost[1] < lost[2]


def test_a_small_face_is_shrunk_before_it_is_worn():
    picture = smooth(256)
    np.testing.assert_array_equal(small(picture, 32, "web"), wear(small(picture, 32), "web"))


@pytest.mark.parametrize(
    ("stored", "face", "side"), [(256, 64, 86), (256, 224, 256), (100, 64, 86), (60, 64, 60)]
)
def test_a_small_view_never_enlarges(stored, face, side):
    assert small(smooth(stored), face).shape == (side, side, 3)


def test_whatever_is_shrunk_is_made_of_all_its_pixels():
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert small(noise, 32).std() < noise.std() / 4
    assert resaved(noise, 0.25, 95).std() < noise.std() / 2.5


def test_what_is_out_of_focus_has_less_detail():
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    np.testing.assert_array_equal(blurred(noise, 0), noise)
    assert noise.std() > 2 * blurred(noise, 1).std() > 3 * blurred(noise, 2).std()
    np.testing.assert_array_equal(small_and_blurred(noise, 48, 1), blurred(small(noise, 48), 1))


@pytest.mark.parametrize("wears", [smoothed, denoised])
def test_grain_goes_and_edges_stay(wears):
    grain = np.random.default_rng(0).normal(0, 5, (96, 96, 3))
    pixels = (np.where(np.arange(96) < 48, 60, 180)[None, :, None] + grain).round().astype(np.uint8)
    worn = wears(pixels).astype(float)
    assert worn[:, :40].std() < 0.4 * pixels[:, :40].std()
    assert worn[:, 50].mean() - worn[:, 45].mean() > 110


def test_batches_keep_the_order(toy_store, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    numbers = [5, 0, 7, 3, 2]
    parts = list(batches(toy_store, numbers, 48, 1.25, "web"))
    assert [len(part) for part in parts] == [2, 2, 1]
    expected = [view(wear(toy_store.pixels(n), "web"), 48, 1.25) for n in numbers]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
