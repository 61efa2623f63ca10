from __future__ import annotations

import cv2
import numpy as np
import pytest

from facefake.training.styling import denoise, smooth, style

SEEDS = range(40)


@pytest.fixture
def crop(face):
    return face(0)[0]


@pytest.mark.parametrize("edit", [style, smooth])
def test_a_seed_gives_one_edit_and_another_another(crop, edit):
    before = crop.copy()
    first, second = ([edit(crop, np.random.default_rng(seed)).tobytes() for seed in SEEDS] for _ in range(2))
    assert first == second
    assert len(set(first)) > 0.9 * len(SEEDS)
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("edit", [style, smooth])
def test_a_seed_draws_as_much_whatever_the_picture(crop, edit):
    """Or two pictures of a pair would part after the first edit that depends on what they show."""
    for seed in SEEDS:
        states = []
        for picture in (crop, np.zeros((64, 64, 3), np.uint8)):
            rng = np.random.default_rng(seed)
            assert edit(picture, rng).shape == picture.shape
            states.append(rng.bit_generator.state)
        assert states[0] == states[1]


def test_a_style_is_an_edit_and_no_other_picture(crop):
    """What is light stays light, and what is dark stays dark."""
    greys = [style(crop, np.random.default_rng(seed)).mean(-1).ravel() for seed in SEEDS]
    likeness = [np.corrcoef(crop.mean(-1).ravel(), grey)[0, 1] for grey in greys]
    assert min(likeness) > 0.6
    assert np.median(likeness) > 0.9


def test_styles_go_from_none_to_strong(crop):
    changed = [
        np.abs(style(crop, np.random.default_rng(seed)).astype(int) - crop).mean() for seed in range(200)
    ]
    assert 2 <= changed.count(0) <= 30  # about one in eighteen
    assert max(changed) > 10


def test_to_smooth_takes_grain_and_leaves_edges():
    grain = np.random.default_rng(0).normal(0, 5, (96, 96, 3))
    left, right = slice(0, 40), slice(56, 96)
    pixels = np.full((96, 96, 3), 60.0)
    pixels[:, 48:] = 190
    pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    for seed in SEEDS:
        smoothed = smooth(pixels, np.random.default_rng(seed))
        for part in (left, right):
            assert smoothed[:, part].std() < 0.97 * pixels[:, part].std()
        assert smoothed[:, right].mean() - smoothed[:, left].mean() == pytest.approx(130, abs=2)
        assert (smoothed[:, 50].mean() - smoothed[:, 45].mean()) > 110


def test_to_denoise_takes_red_for_red(crop):
    def filtered(pixels):
        return cv2.fastNlMeansDenoisingColored(pixels, None, 4, 4, 5, 15)

    expected = cv2.cvtColor(filtered(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(denoise(crop, strength=4, reach=7), expected)
    assert (filtered(crop) != expected).any()
