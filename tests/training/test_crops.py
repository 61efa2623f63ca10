from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefake.alignment import align, native_side
from facefake.detection import FaceDetector
from facefake.errors import DatasetError, OutputError
from facefake.locks import alone_in
from facefake.training.crops import STORE_MARGIN, STORE_SIDE, CropStore, make_crops
from facefake.training.dataset import Example

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def example(path: Path, label: str = "real") -> Example:
    return Example(path, label, "photo", "samples", path.stem, "train")


@pytest.fixture
def data(tmp_path: Path) -> list[Example]:
    """Two pictures of a face, one without any, and one that is cut short."""
    for name, source in (("a", "astronaut"), ("b", "ai-selfie")):
        Image.open(SAMPLES / f"{source}.jpg").convert("RGB").save(tmp_path / f"{name}.png", compress_level=1)
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes((SAMPLES / "astronaut.jpg").read_bytes()[:3000])
    names = [("a.png", "real"), ("b.png", "fake"), ("c.png", "real"), ("d.jpg", "real")]
    return [example(tmp_path / name, label) for name, label in names]


@pytest.fixture
def detections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of every picture in which faces were looked for."""
    seen: list[tuple[int, ...]] = []
    detect = FaceDetector.detect

    def counted(self, pixels):
        seen.append(pixels.shape)
        return detect(self, pixels)

    monkeypatch.setattr(FaceDetector, "detect", counted)
    return seen


def test_the_store_holds_the_pipeline_s_own_crops(data, tmp_path):
    steps = []
    store = make_crops(data, tmp_path / "store", lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(store) == 2
    for number, crop in enumerate(store.crops):
        assert crop.example == data[number]
        pixels = np.asarray(Image.open(crop.example.path))
        with FaceDetector() as detector:
            face = max(detector.detect(pixels), key=lambda face: face.side)
        side = min(STORE_SIDE, native_side(face, STORE_MARGIN))
        assert crop.side == side
        assert crop.face_side == pytest.approx(face.side, abs=0.06)
        np.testing.assert_array_equal(store.pixels(number), align(pixels, face, side, STORE_MARGIN))
        assert not store.pixels(number).flags.writeable
    landmarks = store.landmarks(0)
    assert landmarks.shape == (468, 2)
    assert landmarks.dtype == np.float32
    assert landmarks.mean(0) / store.crops[0].side == pytest.approx([0.5, 0.5], abs=0.15)
    assert store.landmarks(1) is None  # a fake: no forgery starts from it
    reasons = dict(store.skipped)
    assert reasons[str(data[2].path)] == "no face found"
    assert "d.jpg" in reasons[str(data[3].path)]


def test_a_run_that_is_cut_short_leaves_nothing_half_written(data, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_crops(data, tmp_path / "store", interrupt)
    assert not list((tmp_path / "store").iterdir())
    (tmp_path / "store" / ".facefake-0123456789abcdef.partial").touch()  # of one that was killed
    make_crops(data, tmp_path / "store")
    assert not list((tmp_path / "store").glob(".*"))


def test_what_gave_no_crop_is_told(data, tmp_path):
    store = make_crops(data, tmp_path / "store")
    told = store.told_skipped()
    assert told == (
        f"2 of {len(data)} pictures are left out: 1 without a face, 1 that cannot be read; "
        f"the first: {data[2].path}: no face found"
    )
    store.skipped.clear()
    assert store.told_skipped() is None


def test_crops_are_made_once_and_again_when_a_picture_changes(data, tmp_path, detections):
    store = tmp_path / "store"
    made = make_crops(data, store)
    assert len(detections) == 3
    again = make_crops(data, store)
    assert len(detections) == 3
    assert (again.crops, again.skipped) == (made.crops, made.skipped)
    Image.open(SAMPLES / "grace-hopper.jpg").save(data[2].path)
    assert len(make_crops(data, store)) == 3
    assert len(detections) == 6
    os.utime(data[0].path, ns=(1, 1))
    make_crops(data, store)
    assert len(detections) == 9
    assert len(make_crops(data[:1], store)) == 1


def test_a_store_that_was_cut_short_is_made_again(data, tmp_path, monkeypatch):
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    make_crops(data[1:], tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        make_crops(data, tmp_path / "store", stop)
    assert len(make_crops(data, tmp_path / "store")) == 2
    assert json.loads((tmp_path / "store" / "index.json").read_text())["crops"]
    assert len(CropStore(tmp_path / "store")) == 2


def test_who_reads_a_store_keeps_it_while_another_one_is_made_there(data, tmp_path):
    store = make_crops(data[:1], tmp_path / "store")
    before = store.pixels(0).copy()
    make_crops(data[1:], tmp_path / "store")
    np.testing.assert_array_equal(store.pixels(0), before)
    small = store.thumbnails()  # what it makes now does not become the other one's
    assert (CropStore(tmp_path / "store").thumbnails() != small).any()
    np.testing.assert_array_equal(store.thumbnails(), small)


def test_a_picture_that_is_gone_is_left_out(data, tmp_path):
    data[0].path.unlink()
    data[0].path.symlink_to("nowhere")
    store = make_crops(data, tmp_path / "store")
    assert store.skipped[0][0] == str(data[0].path)
    assert len(store) == 1


def test_pictures_without_any_face_are_an_error_that_says_why(data, tmp_path):
    with pytest.raises(DatasetError, match=r"found none; the first: .*c\.png: no face found$"):
        make_crops(data[2:], tmp_path / "store")
    with pytest.raises(DatasetError, match=r"found none; the first: [^ ]*d\.jpg: expected a whole"):
        make_crops(data[3:], tmp_path / "store")


@pytest.mark.parametrize("size", [None, 0, 1000])
@pytest.mark.parametrize("name", ["pixels.bin", "landmarks.npy"])
def test_a_store_that_is_not_whole_is_told(data, tmp_path, name, size):
    store = tmp_path / "store"
    make_crops(data[:2], store)
    if size is None:
        (store / name).unlink()
    else:
        os.truncate(store / name, size)
    with pytest.raises(DatasetError, match=r"index\.json: expected .* delete this file to cut them anew"):
        make_crops(data[:2], store)
    (store / "index.json").unlink()
    assert len(make_crops(data[:2], store)) == 2


def test_landmarks_of_another_store_are_told(data, tmp_path):
    store = tmp_path / "store"
    make_crops(data[:1], tmp_path / "other")
    make_crops(data[:2], store)
    shutil.copy(tmp_path / "other" / "landmarks.npy", store)
    with pytest.raises(
        DatasetError, match=r"landmarks\.npy of shape \(1, 468, 2\) in place of \(2, 468, 2\)"
    ):
        CropStore(store)


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_thumbnails_that_are_not_whole_are_made_again(data, tmp_path, size):
    store = make_crops(data[:2], tmp_path / "store")
    whole = store.thumbnails()
    (path,) = (tmp_path / "store").glob("thumbnails-*.npy")
    os.truncate(path, size)
    np.testing.assert_array_equal(store.thumbnails(), whole)
    np.testing.assert_array_equal(np.load(path), whole)


def test_two_at_once_do_not_cut_into_one_folder(data, tmp_path, detections):
    half = tmp_path / ".facefake-0123456789abcdef.partial"
    half.touch()
    with (
        alone_in(tmp_path, "cutting"),
        pytest.raises(OutputError, match=r"expected to be the only process cutting there, got another one"),
    ):
        make_crops(data, tmp_path)
    assert (detections, half.exists()) == ([], True)
    assert len(make_crops(data, tmp_path)) == 2
    assert not list(tmp_path.glob(".facefake-*"))


@pytest.mark.parametrize("content", ['{"name": "another"}', "[]", "{"])
def test_another_program_s_index_is_left_alone(data, tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DatasetError, match=r"index\.json: expected the index of face crops"):
        make_crops(data, tmp_path)
    assert (tmp_path / "index.json").read_text() == content


def test_a_folder_that_cannot_be_written_to_is_told(data, tmp_path, detections):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/crops: expected a folder that can be written to"):
        make_crops(data, tmp_path / "file" / "crops")
    assert detections == []
