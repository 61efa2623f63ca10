from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facefake.bundle import read_bundle
from facefake.classifier import Scores
from facefake.training.stability import QUALITIES, SCALES, VIEWS, stability, verdicts


class Sharp:
    """Calls fake what is sharp, which does not outlast being saved again, and is sure of either."""

    def predict(self, crops: np.ndarray) -> Scores:
        grey = crops.astype(np.float32).mean(-1)
        logits = np.where(np.abs(np.diff(grey, axis=2)).mean((1, 2)) > 40, 50, -50)
        return Scores(logits.astype(np.float32), np.zeros((len(crops), 1, 1), np.float32))


@pytest.fixture(scope="module")
def store(store_of):
    """One face of noise, whose sharpness does not last, and two plain ones."""
    rng = np.random.default_rng(0)
    fake = {"label": "fake", "kind": "gan", "source": "gans"}
    noise = rng.integers(0, 256, (64, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    plain = rng.integers(100, 120, (64, 64, 3)).astype(np.uint8)
    return store_of([(fake, noise, None), (fake, plain, None), ({}, plain, None)])


@pytest.fixture
def bundle(tiny_bundle):
    read = read_bundle(tiny_bundle)
    return replace(read, side=64, margin=1.35)


def test_every_size_and_quality_is_looked_at(store, bundle):
    looked = []
    found = verdicts(Sharp(), bundle, store, [0, 1, 2], lambda: looked.append(1))
    assert len(found) == len(looked) == VIEWS == 1 + len(QUALITIES) * len(SCALES) == 13
    assert found[0] == ["fake", "real", "real"]
    assert {row[0] for row in found} == {"fake", "real"}
    assert {tuple(row[1:]) for row in found} == {("real", "real")}


def test_faces_are_counted_once_however_often_they_flip(store, bundle):
    rows = {(row.label, row.kind): row for row in stability(Sharp(), bundle, store, [0, 1, 2])}
    assert list(rows) == [("all", "all"), ("fake", "gan"), ("real", "photo")]
    assert (rows["all", "all"].count, rows["fake", "gan"].count, rows["real", "photo"].count) == (3, 2, 1)
    assert rows["all", "all"].flipped == pytest.approx(1 / 3)
    assert rows["fake", "gan"].flipped == 0.5
    assert rows["real", "photo"].flipped == rows["real", "photo"].changed == 0


def test_a_face_that_is_no_longer_judged_has_changed_but_not_flipped(store, bundle):
    # Of 64 pixels with a margin of 1.35 the face has 47; at three quarters, 36.
    strict = replace(bundle, calibration=replace(bundle.calibration, min_face=40.0))
    found = verdicts(Sharp(), strict, store, [1, 2])
    assert [row.count("not_applicable") for row in found] == [0] + [2] * 4 + [0] * 8
    (whole, *_) = stability(Sharp(), strict, store, [1, 2])
    assert (whole.flipped, whole.changed) == (0.0, 1.0)


def test_many_faces_are_judged_as_few_are(store, bundle, monkeypatch):
    together = verdicts(Sharp(), bundle, store, [0, 1, 2])
    monkeypatch.setattr("facefake.training.stability.BATCH", 2)
    assert verdicts(Sharp(), bundle, store, [0, 1, 2]) == together
