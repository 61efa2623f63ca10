from __future__ import annotations

import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from facefake.errors import DatasetError, ModelError, OutputError
from facefake.locks import alone_in
from facefake.training import reconstruction
from facefake.training.reconstruction import (
    UPSAMPLERS,
    ReconstructionSettings,
    autoencoder,
    check_reconstructions,
    make_reconstructions,
    reconstruct,
    train_autoencoder,
)

REALS = range(0, 96, 2)  # of toy_store


SETTINGS = ReconstructionSettings(["transposed-3", "sub-pixel"], count=10, steps=2, seed=4)


def make(store, folder, *progress, **changes):
    return make_reconstructions(store, REALS, folder, replace(SETTINGS, **changes), *progress)


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_every_autoencoder_keeps_the_size_and_has_a_bottleneck(upsampler):
    network = autoencoder(upsampler)
    made = network.predict_on_batch(np.zeros((1, 64, 40, 3), np.float32))
    assert made.shape == (1, 64, 40, 3)
    import keras

    [bottleneck] = [layer.output for layer in network.layers if isinstance(layer, keras.layers.Concatenate)]
    through = keras.Model(network.input, bottleneck).predict_on_batch(np.zeros((1, 64, 40, 3)))
    assert through.size < made.size / 3


def test_an_unknown_upsampler_is_refused():
    with pytest.raises(ValueError, match="expected an up-sampler out of nearest"):
        autoencoder("cubic")


def test_training_brings_the_reconstruction_closer(toy_store):
    crop = toy_store.pixels(0)[None].astype(np.float32) / 255
    errors = []
    for steps in (1, 30):
        network = train_autoencoder("sub-pixel", toy_store, REALS, 3, steps)
        errors.append(np.abs(network.predict_on_batch(crop) - crop).mean())
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("side", [32, 101, 128, 256])
def test_a_reconstruction_has_its_crop_s_size_colours_and_shading(side):
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (3, 3, 3)).astype(np.uint8)
    shading = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    crop = np.clip(shading + rng.normal(0, 3, shading.shape), 0, 255).astype(np.uint8)
    made = reconstruct(autoencoder("bilinear"), crop)  # untrained: nothing of the crop but these is left
    assert made.shape == crop.shape
    assert made.dtype == np.uint8
    if side > 100:
        assert np.abs(made.mean((0, 1)) - crop.mean((0, 1))).max() < 3
        blurred = [cv2.GaussianBlur(pixels, (0, 0), side / 8).astype(int) for pixels in (made, crop)]
        assert np.abs(blurred[0] - blurred[1]).max() < 15
    assert (made != crop).any()


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_crops_may_come_in_any_sizes(upsampler):
    network = autoencoder(upsampler)
    for side in (64, 67, 80):
        assert reconstruct(network, np.full((side, side, 3), 90, np.uint8)).shape == (side, side, 3)


def test_reconstructions_are_made_once_and_anew_when_a_setting_changes(toy_store, tmp_path, monkeypatch):
    seen = []
    first = make(toy_store, tmp_path, lambda *args: seen.append(args))
    assert len(first.numbers) == 10
    assert set(first.numbers) <= set(REALS)
    assert {first.upsampler(number) for number in first.numbers} == {"transposed-3", "sub-pixel"}
    assert {toy_store.crops[number].example.source for number in first.numbers} == {"one", "two"}
    assert seen[-1] == ("faces reconstructed", 10, 10)
    assert ("auto-encoder steps trained", 4, 4) in seen
    for number in first.numbers:
        made, crop = first.pixels(number), toy_store.pixels(number)
        assert made.shape == crop.shape
        assert (made != crop).any()
    trained = []
    train = reconstruction.train_autoencoder
    monkeypatch.setattr(
        reconstruction, "train_autoencoder", lambda *args: trained.append(args[0]) or train(*args)
    )
    again = make(toy_store, tmp_path)
    assert trained == []
    assert again.numbers == first.numbers
    other = make(toy_store, tmp_path, seed=5)
    assert trained == ["transposed-3", "sub-pixel"]
    assert other.numbers != first.numbers


def test_a_run_that_was_cut_short_leaves_nothing_that_is_taken_for_whole(toy_store, tmp_path):
    class Stopped(Exception):
        pass

    def stop(what, done, total):
        if what == "faces reconstructed" and done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        make(toy_store, tmp_path, stop, upsamplers=["sub-pixel"])
    whole, elsewhere = (
        make(toy_store, folder, upsamplers=["sub-pixel"]) for folder in (tmp_path, tmp_path / "elsewhere")
    )
    assert whole.numbers == elsewhere.numbers
    for number in whole.numbers:
        np.testing.assert_array_equal(whole.pixels(number), elsewhere.pixels(number))


def test_two_at_once_do_not_write_over_one_another(toy_store, tmp_path):
    """Runs that share a cache, of which one would train on what the other has not written yet."""
    _, folder = reconstruction._planned(toy_store, REALS, tmp_path, SETTINGS)
    folder.mkdir()
    with (
        alone_in(folder, "reconstructing"),
        pytest.raises(OutputError, match="expected to be the only process reconstructing there"),
    ):
        make(toy_store, tmp_path)
    assert not list(folder.iterdir())
    assert len(make(toy_store, tmp_path).numbers) == 10
    assert {path.name for path in folder.iterdir()} == {"index.json", "pixels.bin"}


@pytest.mark.parametrize(("name", "size"), [("pixels.bin", 0), ("pixels.bin", 1000), ("index.json", 20)])
def test_reconstructions_that_are_not_whole_are_told(toy_store, tmp_path, monkeypatch, name, size):
    monkeypatch.setattr(reconstruction, "restorer", lambda name: lambda crop: crop + 9)
    settings = replace(SETTINGS, upsamplers=["real-cugan"])
    whole = make_reconstructions(toy_store, REALS, tmp_path, settings)
    (path,) = tmp_path.rglob(name)
    os.truncate(path, size)
    for ask in (check_reconstructions, make_reconstructions):
        with pytest.raises(
            DatasetError, match=r"index\.json: expected .* delete this file to make them anew"
        ):
            ask(toy_store, REALS, tmp_path, settings)
    path.with_name("index.json").unlink()
    assert make_reconstructions(toy_store, REALS, tmp_path, settings).numbers == whole.numbers


def test_every_seed_of_a_recipe_is_one_of_several_autoencoders(toy_store, tmp_path):
    assert len(make(toy_store, tmp_path, seed=2**32 - 1, steps=1).numbers) == 10


def test_without_a_large_crop_there_is_nothing_to_learn_from(store_of, face):
    pixels, _ = face(0)
    store = store_of([({}, np.ascontiguousarray(pixels[:64, :64]), None)])
    with pytest.raises(ModelError, match="expected crops of 96 pixels or more"):
        train_autoencoder("nearest", store, [0], 0, 1)


def test_without_a_face_there_is_nothing_to_reconstruct(toy_store, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "restorer", lambda name: lambda crop: crop)
    for upsamplers in (["real-esrgan"], ["nearest"]):
        with pytest.raises(ModelError, match="real faces with landmarks to reconstruct, got none"):
            make_reconstructions(toy_store, [], tmp_path, replace(SETTINGS, upsamplers=upsamplers))


def test_a_folder_that_cannot_be_written_to_is_told(toy_store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected a folder that can be written to"):
        make(toy_store, tmp_path / "file")


def test_every_source_has_as_much_of_every_autoencoder(store_of, face):
    sources = "aaaabbbbccccddddde"
    store = store_of([({"source": source}, *face(number)) for number, source in enumerate(sources)])
    in_turns = reconstruction._in_turns(store, range(len(sources)), np.random.default_rng(0))
    hands = reconstruction._dealt(store, in_turns, 4)
    assert sorted(number for hand in hands for number in hand) == list(range(len(sources)))
    for hand in hands:
        of = [store.crops[number].example.source for number in hand]
        assert [of.count(source) for source in "abc"] == [1, 1, 1]
        assert of.count("d") in (1, 2)
