from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facefake.errors import OutputError
from facefake.training import contact_sheet as module
from facefake.training.contact_sheet import contact_sheet
from facefake.training.reconstruction import autoencoder


@pytest.fixture
def crops(shared):
    files = sorted((shared / "faces" / "real" / "us-congress").glob("*.jpg"))[:3]
    pictures = [Image.open(file).convert("RGB") for file in files]
    return [np.array(picture.resize((128, 128))) for picture in pictures]


def test_one_row_per_face(crops, tmp_path):
    empty = np.full((128, 128, 3), 128, np.uint8)
    path = tmp_path / "sheet.png"
    assert contact_sheet([*crops, empty], np.random.default_rng(0), path) == len(crops)
    sheet = np.array(Image.open(path))
    assert sheet.shape[0] % len(crops) == 0
    rows = np.split(sheet, len(crops))
    assert all((row < 250).any() for row in rows)
    contact_sheet([*crops, empty], np.random.default_rng(0), tmp_path / "again.png")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "again.png")), sheet)


def test_what_cannot_be_swapped_has_empty_tiles(crops, tmp_path, monkeypatch):
    def swapped(crop, *rest):
        if crop is crops[1]:
            raise ValueError("expected a source whose pose fits the target's")
        return swap(crop, *rest)

    def emptiness(name, row):
        """Of each tile of a row: whether it is white but for its caption."""
        sheet = np.array(Image.open(tmp_path / name))
        high, side = module._TILE + module._CAPTION, module._TILE
        tiles = sheet[high * row + module._CAPTION : high * (row + 1)]
        return [bool((tile == 255).all()) for tile in np.split(tiles, sheet.shape[1] // side, axis=1)]

    swap = module.swap
    monkeypatch.setattr(module, "swap", swapped)
    assert contact_sheet(crops, np.random.default_rng(0), tmp_path / "three.png") == 3
    assert contact_sheet(crops[:1], np.random.default_rng(0), tmp_path / "one.png") == 1
    assert not any(emptiness("three.png", 0)[-4:])
    assert emptiness("three.png", 1)[-4:] == [False, True, True, True]  # the source is there
    assert emptiness("one.png", 0)[-4:] == [True] * 4


def test_an_autoencoder_adds_reconstructions(crops, tmp_path):
    network = autoencoder("nearest")
    for path, given in (("without.png", None), ("with.png", network)):
        contact_sheet(crops, np.random.default_rng(0), tmp_path / path, given)
    without, added = (Image.open(tmp_path / name).size for name in ("without.png", "with.png"))
    assert added[0] > without[0]
    assert added[1] == without[1]


def test_a_folder_that_is_not_there_is_an_output_error(crops, tmp_path):
    with pytest.raises(OutputError, match=r"expected to write the contact sheet to .*got"):
        contact_sheet(crops, np.random.default_rng(0), tmp_path / "nowhere" / "sheet.png")


def test_faceless_crops_are_refused(tmp_path):
    empty = np.full((128, 128, 3), 128, np.uint8)
    with pytest.raises(ValueError, match="expected a crop with a face, got none among 2"):
        contact_sheet([empty, empty], np.random.default_rng(0), tmp_path / "sheet.png")
