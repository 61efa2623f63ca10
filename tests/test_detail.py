from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facefake.detail import Detail, grain, measured_detail, sharpness
from facefake.training.views import denoised, smoothed

ROOT = Path(__file__).resolve().parents[1]


def textured(side: int = 128) -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 256, (side // 2, side // 2, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def test_blur_lowers_sharpness_and_poor_light_does_not() -> None:
    picture = textured()
    sharp = sharpness(np.asarray(picture), 128)
    blurred = [
        sharpness(np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))), 128) for radius in (1, 2, 4)
    ]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    dark = (np.asarray(picture) * 0.3).astype(np.uint8)
    assert sharpness(dark, 128) == pytest.approx(sharp, rel=0.05)


def test_a_small_face_that_was_enlarged_is_not_taken_for_blurred() -> None:
    small = textured(64)
    enlarged = np.asarray(small.resize((224, 224), Image.Resampling.BILINEAR))
    own = sharpness(np.asarray(small), 64)
    assert sharpness(enlarged, 224) < own / 2 < sharpness(enlarged, 64)


def test_the_same_blur_for_its_size_makes_a_face_as_soft_whatever_its_size() -> None:
    photo = Image.open(ROOT / "samples" / "grace-hopper.jpg").convert("RGB").crop((180, 60, 340, 220))
    large = [
        sharpness(np.asarray(photo.filter(ImageFilter.GaussianBlur(radius))), 160) for radius in (0, 2, 4)
    ]
    halved = photo.resize((80, 80), Image.Resampling.BOX)
    small = [
        sharpness(np.asarray(halved.filter(ImageFilter.GaussianBlur(radius))), 80) for radius in (0, 1, 2)
    ]
    assert small == pytest.approx(large, rel=0.25)
    assert large[0] > 3 * large[1] > 9 * large[2]


def test_a_sharp_background_does_not_excuse_a_blurred_face() -> None:
    crop = np.asarray(textured()).copy()
    crop[32:96, 32:96] = np.asarray(textured().filter(ImageFilter.GaussianBlur(4)))[32:96, 32:96]
    assert sharpness(crop, 128) < sharpness(np.asarray(textured()), 128) / 10


def test_a_flat_crop_has_no_sharpness() -> None:
    assert sharpness(np.full((64, 64, 3), 90, np.uint8), 64) == pytest.approx(0, abs=1e-6)
    assert sharpness(np.full((64, 64, 3), 90, np.uint8), 2) == pytest.approx(0, abs=1e-6)


def portrait(side: int = 160) -> np.ndarray:
    photo = Image.open(ROOT / "samples" / "grace-hopper.jpg").convert("RGB").crop((180, 60, 340, 220))
    return np.asarray(photo.resize((side, side), Image.Resampling.BOX))


def test_denoising_and_smoothing_take_the_grain_and_blur_does_not() -> None:
    photo = portrait()
    own = grain(photo, 160)
    assert grain(denoised(photo), 160) < 0.8 * own
    assert grain(smoothed(photo), 160) < 0.8 * own
    blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(2)))
    assert grain(blurred, 160) > 0.8 * own
    assert sharpness(denoised(photo), 160) > 0.6 * sharpness(photo, 160)
    grainy = np.clip(photo + np.random.default_rng(0).normal(0, 8, photo.shape), 0, 255).astype(np.uint8)
    assert grain(grainy, 160) > 1.2 * own


def test_a_small_face_that_was_enlarged_has_the_grain_of_its_own_pixels() -> None:
    small = portrait(64)
    enlarged = np.asarray(Image.fromarray(small).resize((160, 160), Image.Resampling.BILINEAR))
    assert grain(enlarged, 64) == pytest.approx(grain(small, 64), rel=0.2)


def test_poor_light_takes_no_grain() -> None:
    noise = np.asarray(textured())
    assert grain((noise * 0.3).astype(np.uint8), 128) == pytest.approx(grain(noise, 128), rel=0.05)


def test_the_measures_are_those_by_which_the_limits_of_bundles_were_chosen() -> None:
    """With others, other faces would count as soft or without grain."""
    assert measured_detail(portrait(), 160) == pytest.approx((0.0981, 0.1418), rel=0.01)


@pytest.mark.parametrize("native_side", [2, 64, 500])
def test_both_are_measured_at_once(native_side: int) -> None:
    photo = portrait()
    assert measured_detail(photo, native_side) == Detail(
        sharpness(photo, native_side), grain(photo, native_side)
    )
    assert measured_detail(np.full((64, 64, 3), 90, np.uint8), native_side) == pytest.approx((0, 0), abs=1e-6)
