"""The pictures in samples/ are what samples/truth.json says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefake.detection import FaceDetector
from facefake.images import load_picture

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))


def side(box: Sequence[float]) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (first, second)]
    return shared / (sum(areas) - shared)


def test_truth_and_readme_name_every_picture() -> None:
    pictures = {path.name for path in SAMPLES.glob("*.jpg")} - {"group-annotated.jpg"}
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert pictures == set(TRUTH)
    assert [name for name in pictures if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_detector_finds_the_true_faces_and_no_others(name: str) -> None:
    with FaceDetector(min_face=24) as detector:
        faces = detector.detect(load_picture(SAMPLES / name).pixels)
    expected = TRUTH[name]
    assert len(faces) == len(expected)
    for entry in expected:
        best = max(overlap(face.box, entry["box"]) for face in faces)
        assert best > 0.5, f"no face found at {entry['box']}, {entry['origin']}"


def test_group_mixes_real_and_fake_faces_of_many_sizes() -> None:
    group = TRUTH["group.jpg"]
    sides = [side(entry["box"]) for entry in group]
    assert len(group) >= 10
    assert 30 <= min(sides) < 60
    assert 200 < max(sides) <= 300
    labels = [entry["label"] for entry in group]
    assert set(labels) == {"real", "fake"}
    assert min(labels.count("real"), labels.count("fake")) >= 4


def test_group_holds_every_way_of_making_a_face() -> None:
    origins = [(entry["origin"].split(":")[0], entry["label"]) for entry in TRUTH["group.jpg"]]
    assert set(origins) == {
        ("photograph", "real"),
        ("generated", "fake"),
        ("forged (self-blend) from", "fake"),
    }


def test_no_two_faces_of_the_group_overlap() -> None:
    boxes = [entry["box"] for entry in TRUTH["group.jpg"]]
    for index, box in enumerate(boxes):
        assert all(overlap(box, other) == 0 for other in boxes[index + 1 :])


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_pictures_are_small_carry_no_metadata_and_share_one_jpeg_quality(name: str) -> None:
    path = SAMPLES / name
    assert path.stat().st_size <= (600_000 if name == "group.jpg" else 150_000)
    with Image.open(path) as picture, Image.open(SAMPLES / "group.jpg") as group:
        assert picture.quantization == group.quantization  # type: ignore[attr-defined]
        assert not picture.getexif()
        assert not {"icc_profile", "comment", "xmp", "photoshop"} & set(picture.info)


def test_self_blend_differs_from_its_photograph_in_the_face_only() -> None:
    real = load_picture(SAMPLES / "astronaut.jpg").pixels.astype(np.int16)
    fake = load_picture(SAMPLES / "self-blend.jpg").pixels.astype(np.int16)
    change = np.abs(real - fake).max(-1)
    left, top, right, bottom = (round(value) for value in TRUTH["self-blend.jpg"][0]["box"])
    assert change[top:bottom, left:right].max() > 40
    # JPEG spreads a change over blocks of 16 pixels.
    change[top // 16 * 16 : -(-bottom // 16) * 16, left // 16 * 16 : -(-right // 16) * 16] = 0
    assert change.max() <= 4
