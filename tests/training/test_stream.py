from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from facefake.detail import sharpness
from facefake.errors import DatasetError
from facefake.training import degrade, forgery
from facefake.training import stream as stream_module
from facefake.training.crops import STORE_MARGIN, make_crops
from facefake.training.dataset import read_dataset
from facefake.training.metrics import area_under_curve
from facefake.training.recipe import SELF_MADE, Recipe
from facefake.training.stream import PairStream

RECIPE = Recipe(side=64, margin=1.3, other_kind_share=0.0, self_made_share={})
ALL_SELF_MADE = dict.fromkeys(SELF_MADE, 1.0)


class Rebuilt:
    """Reconstructions that differ from their crops everywhere but in the corners."""

    def __init__(self, store):
        self.numbers = range(0, len(store), 4)
        self._store = store

    def pixels(self, number):
        return self.changed(self._store.pixels(number))

    @staticmethod
    def changed(crop, rng=None):
        made = crop.copy()
        made[32:-32, 32:-32] ^= 15
        return made


def test_a_seed_gives_one_stream(toy_store):
    recipe = replace(RECIPE, other_kind_share=1.0, self_made_share=ALL_SELF_MADE)
    numbers = range(len(toy_store))
    runs = []
    for seed in (5, 5, 6):
        stream, rng = PairStream(toy_store, numbers, recipe, Rebuilt(toy_store)), np.random.default_rng(seed)
        runs.append(np.stack([crop for _ in range(12) for crop in stream.pairs(rng)[0]]))
    assert runs[0].shape == (24, 64, 64, 3)
    assert runs[0].dtype == np.uint8
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("name", SELF_MADE)
def test_a_self_made_fake_and_its_real_one_differ_in_the_forged_place_only(toy_store, monkeypatch, name):
    """Of both the corners, which no mask reaches, are the same but for rounding: one history, one geometry, one colour."""
    histories = []
    apply = degrade.apply
    monkeypatch.setattr(degrade, "apply", lambda p, history: histories.append(history) or apply(p, history))
    monkeypatch.setattr(forgery, "redraw", Rebuilt.changed)
    # JPEG spreads a difference over its blocks, so the pictures go through without degradation here.
    recipe = replace(RECIPE, self_made_share={name: 1.0}, degradation=0.0, jitter_degrees=1.0)
    stream = PairStream(toy_store, range(len(toy_store)), recipe, Rebuilt(toy_store))
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(8):
        fake, real = stream.pairs(rng)[0]
        difference = np.abs(fake.astype(int) - real).max(-1)
        assert max(difference[:6, :6].max(), difference[-6:, -6:].max(), difference[:6, -6:].max()) <= 1
        differences.append(difference.max())
    assert max(differences) > 8
    assert histories[0::2] == histories[1::2]


@pytest.mark.parametrize(
    "change", [{}, {"styling": 1.0}, {"defocus": 0.5}, {"distant": 0.5}, {"smoothing": 0.5}]
)
def test_a_forgery_that_changes_nothing_gives_two_equal_crops(toy_store, monkeypatch, change):
    empty = forgery.Forgery
    monkeypatch.setattr(
        forgery, "self_blend", lambda crop, points, rng: empty(crop.copy(), np.zeros(crop.shape[:2]), "none")
    )
    recipe = replace(RECIPE, self_made_share={"self-blend": 1.0}, degradation=1.0, **change)
    stream, rng = PairStream(toy_store, range(len(toy_store)), recipe), np.random.default_rng(0)
    outputs = [stream.pairs(rng)[0] for _ in range(20)]
    for fake, real in outputs:
        np.testing.assert_array_equal(fake, real)
    assert len({real.tobytes() for _, real in outputs}) == 20  # but each pair is another one


@pytest.mark.parametrize(("edit", "setting"), [("style", "styling"), ("smooth", "smoothing")])
def test_so_many_pairs_are_edited_both_alike(toy_store, monkeypatch, edit, setting):
    styled = []
    monkeypatch.setattr(stream_module, edit, lambda pixels, rng: styled.append(rng.random()) or pixels)
    recipe = replace(RECIPE, other_kind_share=1.0, **{setting: 0.4})
    stream, rng = PairStream(toy_store, range(len(toy_store)), recipe), np.random.default_rng(0)
    for _ in range(100):
        stream.pairs(rng)
    assert 25 <= len(styled) / 2 <= 55
    assert styled[0::2] == styled[1::2]  # one seed for both


def test_so_many_pairs_are_out_of_focus_both_alike(toy_store, monkeypatch):
    blurs = []
    plain = degrade.apply
    monkeypatch.setattr(degrade, "apply", lambda pixels, each: blurs.append(each.blur) or plain(pixels, each))
    recipe = replace(RECIPE, other_kind_share=1.0, degradation=0.0, defocus=0.4)
    stream, rng = PairStream(toy_store, range(len(toy_store)), recipe), np.random.default_rng(0)
    for _ in range(200):
        stream.pairs(rng)
    blurs = [blur for blur in blurs if blur > 0]
    assert 60 <= len(blurs) / 2 <= 100
    assert blurs[0::2] == blurs[1::2]
    assert 3.5 < max(blurs) <= 4
    assert 1.6 < np.mean(blurs) < 2.4


def test_so_many_pairs_are_small_when_they_are_saved_both_alike(toy_store, monkeypatch):
    """As small as in crowds, not shrunk again, and blurred for their size."""
    histories = []
    plain = degrade.apply
    monkeypatch.setattr(
        degrade, "apply", lambda pixels, each: histories.append((len(pixels), each)) or plain(pixels, each)
    )
    recipe = replace(RECIPE, other_kind_share=1.0, degradation=1.0, distant=0.4)
    stream, rng = PairStream(toy_store, range(len(toy_store)), recipe), np.random.default_rng(0)
    for _ in range(200):
        stream.pairs(rng)
    assert {crop.side for crop in toy_store.crops} == {
        128
    }  # faces of 95 pixels, which none is enlarged beyond
    small = [(side, history) for side, history in histories if side < 128]
    assert 45 <= len(small) / 2 <= 75  # of 80 those that are to have less than 95 pixels, three quarters
    assert small[0::2] == small[1::2]
    faces = [side / STORE_MARGIN for side, _ in small]
    assert 39 < min(faces) < 45
    assert 55 < np.median(faces) < 70
    assert {history.scale for _, history in small} == {1.0}
    blurs = [max(h.blur for s, h in histories if low <= s < high) for low, high in ((0, 80), (128, 129))]
    assert 0 < blurs[0] < blurs[1] * 80 / 128


def test_masking_blanks_the_same_squares_of_both_and_no_more_than_the_recipe_says(toy_store):
    recipe = replace(RECIPE, other_kind_share=1.0, masking=0.5)
    plain = PairStream(toy_store, range(len(toy_store)), replace(recipe, masking=0.0))
    masked = PairStream(toy_store, range(len(toy_store)), recipe)
    shares = []
    for seed in range(40):
        whole, blanked = (s.pairs(np.random.default_rng(seed))[0] for s in (plain, masked))
        places = []
        for before, after in zip(whole, blanked, strict=True):
            changed = (before != after).any(-1).reshape(4, 16, 4, 16).any((1, 3))
            # What is blanked has one colour, so no square is blanked in part.
            for row, column in zip(*np.nonzero(changed), strict=True):
                square = after[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                assert (square == square[0, 0]).all()
            places.append(changed)
        np.testing.assert_array_equal(*places)
        shares.append(places[0].mean())
    assert min(shares) == 0.0
    assert 0.15 < np.mean(shares) < 0.35


def test_the_views_of_a_pair_show_the_same_faces_with_other_histories(toy_store):
    recipe = replace(RECIPE, self_made_share={"self-blend": 1.0}, degradation=1.0)
    stream = PairStream(toy_store, range(len(toy_store)), recipe)
    for seed in range(10):
        first, second = stream.pairs(np.random.default_rng(seed), views=2)
        [alone] = stream.pairs(np.random.default_rng(seed))
        np.testing.assert_array_equal(first, alone)
        for one, other in zip(first, second, strict=True):
            assert (one != other).any()
            # Jitter and flip move them, and the histories wear them; their colours stay near.
            assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() < 60


def test_reconstructions_are_drawn_from_those_that_exist(toy_store, monkeypatch):
    recipe = replace(RECIPE, self_made_share={"reconstruction": 1.0})
    with pytest.raises(DatasetError, match="expected reconstructions of real faces"):
        PairStream(toy_store, range(len(toy_store)), recipe)
    some = Rebuilt(toy_store)
    stream = PairStream(toy_store, range(len(toy_store)), recipe, some)
    assert {real for _, real in drawn(stream, toy_store, monkeypatch, 20)} <= set(some.numbers)


@pytest.mark.parametrize("redrawn", [0.0, 0.5, 1.0])
def test_so_many_swaps_put_in_a_face_that_a_network_drew(toy_store, monkeypatch, redrawn):
    made = Rebuilt(toy_store)
    originals = {toy_store.pixels(n).tobytes() for n in range(len(toy_store))}
    sources = []
    swap = forgery.swap

    def seen(crop, points, source, source_points, rng):
        assert crop.tobytes() in originals
        sources.append(source.tobytes() in originals)
        return swap(crop, points, source, source_points, rng)

    monkeypatch.setattr(forgery, "swap", seen)
    recipe = replace(RECIPE, self_made_share={"swap": 1.0, "reconstruction": 1e-9}, redrawn=redrawn)
    stream = PairStream(toy_store, range(len(toy_store)), recipe, made)
    rng = np.random.default_rng(0)
    for _ in range(60):
        stream.pairs(rng)
    assert len(sources) > 40
    assert 1 - np.mean(sources) == pytest.approx(redrawn, abs=0.2 if redrawn % 1 else 0)


def drawn(stream: PairStream, store, monkeypatch, count: int) -> list[tuple[int, int]]:
    """The numbers of the fake and the real crop of each pair."""
    seen: list[int] = []
    pixels = type(store).pixels
    monkeypatch.setattr(type(store), "pixels", lambda self, n: seen.append(n) or pixels(self, n))
    rng = np.random.default_rng(1)
    for _ in range(count):
        stream.pairs(rng)[0]
    return list(zip(seen[0::2], seen[1::2], strict=True))


def test_a_fake_is_paired_with_the_real_face_of_its_group(toy_store, monkeypatch):
    stream = PairStream(toy_store, range(len(toy_store)), replace(RECIPE, other_kind_share=1.0))
    for fake, real in drawn(stream, toy_store, monkeypatch, 60):
        assert toy_store.crops[fake].example.label == "fake"
        assert toy_store.crops[real].example.label == "real"
        assert toy_store.crops[fake].example.group == toy_store.crops[real].example.group


def test_kinds_sources_and_counterparts_are_drawn_as_the_recipe_says(store_of, face, monkeypatch):
    crops = []
    for source, count in (("many", 16), ("few", 4), ("beside", 3)):
        crops += [({"source": source}, *face(number)) for number in range(count)]
    for kind, source, count in (("gan", "g1", 9), ("gan", "g2", 1), ("swap", "s", 4), ("never", "n", 4)):
        fields = {"label": "fake", "kind": kind, "source": source, "group": f"{source} clips"}
        crops += [(fields, face(50 + number)[0], None) for number in range(count)]
    store = store_of(crops)
    recipe = replace(
        RECIPE,
        other_kind_share=0.0,
        kind_share={"gan": 3.0, "swap": 1.0},  # a kind of the data, though a self-made one has the same name
        source_share={"few": 0.5},
        counterpart={"s": "beside"},
    )
    pairs = drawn(PairStream(store, range(len(store)), recipe), store, monkeypatch, 800)
    fakes = Counter(store.crops[fake].example.source for fake, _ in pairs)
    assert fakes["n"] == 0
    assert fakes["s"] / 800 == pytest.approx(0.25, abs=0.06)
    assert fakes["g1"] / (fakes["g1"] + fakes["g2"]) == pytest.approx(3 / 4, abs=0.06)
    reals = Counter(
        store.crops[real].example.source for fake, real in pairs if store.crops[fake].example.source != "s"
    )
    assert reals["many"] / reals["few"] == pytest.approx(4 / (2 * 0.5), rel=0.35)
    beside = {store.crops[r].example.source for f, r in pairs if store.crops[f].example.source == "s"}
    assert beside == {"beside"}


def test_a_source_without_a_name_is_no_counterpart(store_of, face, monkeypatch):
    """A manifest may leave the column empty."""
    crops = [({"source": source}, *face(number)) for number, source in enumerate(["", "", "named", "named"])]
    crops.append(({"label": "fake", "kind": "gan", "source": "gans"}, face(4)[0], None))
    store = store_of(crops)
    pairs = drawn(PairStream(store, range(5), replace(RECIPE, other_kind_share=1.0)), store, monkeypatch, 40)
    assert {store.crops[real].example.source for _, real in pairs} == {"", "named"}


def test_a_stream_without_fakes_is_refused(toy_store, store_of, face):
    reals = [n for n, crop in enumerate(toy_store.crops) if crop.example.label == "real"]
    with pytest.raises(DatasetError, match="share above 0"):
        PairStream(toy_store, reals, replace(RECIPE, other_kind_share=1.0))
    bare = store_of([({}, face(0)[0], None), ({"label": "fake", "kind": "gan"}, face(1)[0], None)])
    with pytest.raises(DatasetError, match="landmarks"):
        PairStream(bare, [0, 1], replace(RECIPE, self_made_share={"self-blend": 1.0}))


def file_features(pixels: np.ndarray) -> list[float]:
    """What tells of a file and not of a face: sharpness, spectrum, JPEG blocks, size and error when saved again."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.abs(np.fft.rfft2(grey - grey.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey))[None])
    edges = (0.05, 0.1, 0.2, 0.3, 0.4, 0.71)
    rings = [spectrum[(radius >= low) & (radius < high)].sum() for low, high in pairwise(edges)]
    steps = np.abs(np.diff(grey, axis=1)).mean(0)
    phases = [steps[phase::8].mean() for phase in range(8)]
    features = [
        sharpness(pixels, len(pixels)),
        *(ring / spectrum.sum() for ring in rings),
        max(phases) / np.mean(phases),
    ]
    for quality in (50, 75, 90):
        saved = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        features += [len(saved), np.abs(cv2.imdecode(saved, cv2.IMREAD_COLOR).astype(int) - pixels).mean()]
    return [float(np.log(feature + 1e-6)) for feature in features]


def told_by_files(stream: PairStream, pairs: int) -> float:
    """AUC, on pairs that it was not fitted to, of a logistic regression on file features alone."""
    rng = np.random.default_rng(2)
    x = np.array([file_features(crop) for _ in range(pairs) for crop in stream.pairs(rng)[0]])
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    y = np.tile([1.0, 0.0], pairs)
    fitted = np.arange(len(y)) < 1.2 * pairs
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        stated = 1 / (1 + np.exp(-x[fitted] @ weights))
        hessian = (x[fitted] * (stated * (1 - stated))[:, None]).T @ x[fitted] + np.eye(len(weights))
        weights -= np.linalg.solve(hessian, x[fitted].T @ (stated - y[fitted]) + weights)
    scores, truth = x[~fitted] @ weights, y[~fitted] == 1
    return area_under_curve(scores[~truth], scores[truth])


def test_file_features_tell_a_leaky_stream_but_hardly_the_self_made_one(shared, tmp_path_factory):
    wanted = [e for e in read_dataset(shared / "faces") if e.label == "real" and e.split == "train"]
    by_source: dict[str, int] = Counter()
    chosen = [e for e in wanted if by_source.update([e.source]) or by_source[e.source] <= 5]
    store = make_crops(chosen, tmp_path_factory.mktemp("shared") / "store")
    recipe = Recipe(self_made_share={"self-blend": 0.4, "region-blend": 0.2, "retouch": 0.4})
    stream = PairStream(store, range(len(store)), recipe)
    assert told_by_files(stream, 200) < 0.65
    # The same measure does see a difference of files: here only the fakes are saved once more.
    pairs = stream.pairs

    def leaky(rng):
        [(fake, real)] = pairs(rng)
        saved = cv2.imencode(".jpg", fake, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        return [(cv2.imdecode(saved, cv2.IMREAD_COLOR), real)]

    stream.pairs = leaky
    assert told_by_files(stream, 60) > 0.85
