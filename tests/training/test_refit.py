from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from facefake.classifier import Scores, run_keras
from facefake.training import forgery, stream
from facefake.training import refit as module
from facefake.training.metrics import area_under_curve
from facefake.training.recipe import Recipe
from facefake.training.refit import face_weights, fit_last_layers, fitted_to, fold_of, refit
from facefake.training.scoring import CrossFitted, measure
from facefake.training.views import view

SIDE = 32
RECIPE = Recipe(side=SIDE, refit=0.01)


def stated(found, features, scores):
    return found.scale * scores + features @ found.change + found.bias


def test_a_feature_that_tells_faces_that_were_held_out_is_found():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 1
    features = rng.normal(0, (5.0, 0.01, 1.0), (2, 400, 3)).astype(np.float32)
    features[:, :, 1] += 0.04 * labels
    scores = rng.normal(0, 1, (2, 400))  # of a network that knows nothing of them
    found = fit_last_layers(features, scores, labels, np.full((2, 400), 1 / 400), 1e-3)
    better = stated(found, features, scores)
    assert area_under_curve(better[0][~labels], better[0][labels]) > 0.9
    assert abs(found.change[1] * 0.01) > 20 * max(abs(found.change[0] * 5), abs(found.change[2]))


def test_a_great_penalty_leaves_the_order_as_it_was():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2 == 1
    features = rng.normal(size=(1, 100, 5)).astype(np.float32) + labels[:, None]
    scores = rng.normal(size=(1, 100)) + labels
    found = fit_last_layers(features, scores, labels, np.full((1, 100), 1 / 100), 1e6)
    assert found.scale > 0
    assert np.abs(features @ found.change + found.bias).std() < 1e-3


def test_labels_sources_and_self_made_fakes_weigh_as_described():
    labels = np.arange(110) >= 90
    sources = np.array(["small"] * 9 + ["large"] * 81 + ["fakes"] * 16 + ["blend"] * 4)
    made = np.arange(110) >= 106
    for share in (0.0, 0.1):
        weights = face_weights(labels, sources, made, share)
        assert weights[:9].sum() == pytest.approx(0.5 * 3 / 12)
        assert weights[9:90].sum() == pytest.approx(0.5 * 9 / 12)
        assert weights[90:106].sum() == pytest.approx(0.5 * (1 - share))
        assert weights[106:].sum() == pytest.approx(0.5 * share)
    alone = face_weights(labels[:106], sources[:106], made[:106], 0.1)  # a fold without any
    assert alone[90:].sum() == pytest.approx(0.5)


def test_faces_count_by_their_weights():
    # Nothing tells anything, so the bias alone states the odds.
    features, scores = np.zeros((2, 4, 2), np.float32), np.zeros((2, 4))
    labels = np.array([False, False, True, True])
    found = fit_last_layers(
        features, scores, labels, np.array([[0.1, 0.1, 0.2, 0.6], [0.1, 0.1, 0.5, 0.3]]), 1.0
    )
    assert 1 / (1 + np.exp(-found.bias)) == pytest.approx(0.8)


def test_a_group_has_one_fold_and_calibration_all_of_them():
    calibrated = [str(n) for n in range(400) if half_of(str(n)) == 0]
    assert {fold_of(group) for group in calibrated} == {0, 1, 2, 3, 4}
    assert fold_of("\udcff") == fold_of("\udcff")


def half_of(group: str) -> int:
    """As `scoring.halves` takes it."""
    return hashlib.sha256(group.encode()).digest()[0] % 2


def tiny(seed: int, filters: int = 8):
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(filters, 8, 8, activation="relu", name="features")(
        keras.layers.Rescaling(1 / 128, -1)(inputs)
    )
    x = keras.layers.SpatialDropout2D(0.5, name="dropout")(x)
    maps = keras.layers.Conv2D(1, 1, use_bias=False, name="evidence")(x)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    logit = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones", name="bias")(mean)
    outputs = {
        "logit": keras.layers.Reshape((), name="logit")(logit),
        "map": keras.layers.Reshape((4, 4), name="map")(maps),
    }
    return keras.Model(inputs, outputs)


def blotches_of(store_of, count: int, fake):
    """Crops of coloured blotches, two alike in a group, of which nothing tells whether they are called fake."""
    rng = np.random.default_rng(1)
    crops = []
    for number in range(count):
        if number % 2 == 0:
            coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        label = "fake" if fake(number) else "real"
        fields = {"label": label, "group": f"g{number // 2}", "split": "val"}
        crops.append((fields, np.kron(coarse, np.ones((10, 10, 1), np.uint8)), None))
    return store_of(crops)


@pytest.fixture
def unconverted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of the folds are not converted for LiteRT, which takes its time."""
    monkeypatch.setattr(module, "convert", lambda network: b"")
    monkeypatch.setattr(module, "LiteRTNetworks", lambda *rest: None)


def clean_of(store, numbers: Sequence[int]):
    return np.stack([view(store.pixels(n), SIDE, RECIPE.margin) for n in numbers])


@pytest.mark.parametrize("count", [1, 2])
def test_networks_score_as_before_but_for_their_last_layers(store_of, unconverted, count):
    store = blotches_of(store_of, 40, lambda n: n % 2)
    networks = [tiny(seed) for seed in range(count)]
    before = [each.get_weights() for each in networks]
    seen = []
    cross_fitted = refit(
        networks, store, range(40), replace(RECIPE, mirror_share=0.25), lambda *done: seen.append(done)
    )
    assert seen == [(40, 40)]
    for each, weights in zip(networks, before, strict=True):
        changed = [not np.array_equal(*pair) for pair in zip(each.get_weights(), weights, strict=True)]
        # kernel and bias of the features, the evidence, scale and bias of the score
        assert changed == [False, False, True, False, True]
        found = run_keras(each, clean_of(store, range(4)))
        assert np.allclose(
            found.logits, found.maps.mean((1, 2)) + each.get_layer("bias").get_weights()[1], atol=1e-4
        )

    class Final:
        def predict(self, crops):
            return Scores(np.full(len(crops), 7, np.float32), np.empty((len(crops), 1, 1), np.float32))

    scorer = cross_fitted(Final())
    assert [scorer.place_of(n) for n in range(40)] == [fold_of(f"g{n // 2}") for n in range(40)]
    assert scorer.place_of(40) == 5
    assert scorer.scorers[5].predict(clean_of(store, [0])).logits == [7]


def test_the_networks_end_with_what_the_regression_found(store_of, unconverted):
    """Two networks whose scores mean nothing, and pictures of which the fakes are darker."""
    rng = np.random.default_rng(0)
    store = store_of(
        [
            (
                {"label": ("real", "fake")[n % 2], "split": "val"},
                rng.integers(0, 255 - 60 * (n % 2), (40, 40, 3), np.uint8),
                None,
            )
            for n in range(60)
        ]
    )
    networks = [tiny(seed) for seed in (3, 4)]
    crops = clean_of(store, range(60))

    def scored():
        return (
            0.75 * run_keras(networks[0], crops).logits
            + 0.25 * run_keras(networks[1], crops[:, :, ::-1]).logits
        )

    refit(networks, store, range(40), replace(RECIPE, mirror_share=0.25))
    labels = np.arange(60) % 2 == 1
    unseen_logits = scored()[40:]
    assert area_under_curve(unseen_logits[~labels[40:]], unseen_logits[labels[40:]]) > 0.95
    fake, real = unseen_logits[labels[40:]].mean(), unseen_logits[~labels[40:]].mean()
    assert abs(fake + real) < 0.3 * (fake - real)  # even odds in the middle


def test_no_face_is_scored_by_last_layers_that_were_fitted_to_its_group(store_of):
    """Labels that nothing tells can be learned by heart, and not foreseen."""
    store = blotches_of(store_of, 80, lambda n: n // 2 % 2)
    networks = [tiny(0, filters=200)]
    cross_fitted = refit(networks, store, range(80), replace(RECIPE, refit=1e-6))

    class Final:
        def predict(self, crops):
            return run_keras(networks[0], crops)

    labels = np.arange(80) // 2 % 2 == 1

    def auc(scorer):
        logits = measure(scorer, store, range(80), SIDE, RECIPE.margin, lambda pixels: pixels).logits
        return area_under_curve(logits[~labels], logits[labels])

    assert auc(Final()) > 0.95
    assert auc(cross_fitted(Final())) < 0.75


def test_fakes_made_from_a_fold_are_made_of_its_faces_and_fitted_to_with_it(
    store_of, unconverted, monkeypatch: pytest.MonkeyPatch
):
    """Real faces of one grey each, so that a pixel tells which face it is from."""
    groups = [f"g{n}" for n in range(24)]
    landmarks = np.random.default_rng(0).uniform(10, 30, (468, 2)).astype(np.float32)
    crops = [
        (
            {"label": ("real", "fake")[n % 2], "group": groups[n], "split": "val"},
            np.full((40, 40, 3), 10 * n, np.uint8),
            landmarks if n < 20 else None,
        )
        for n in range(24)
    ]
    store = store_of(crops)
    sources = {}

    def swap(crop, points, source, source_points, rng):
        sources.setdefault(fold_of(groups[crop[0, 0, 0] // 10]), set()).add(int(source[0, 0, 0]) // 10)
        return forgery.Forgery(255 - crop, np.ones(crop.shape[:2], np.float32), "")

    def unchanged(crop, points, rng):
        return forgery.Forgery(crop, np.ones(crop.shape[:2], np.float32), "")

    monkeypatch.setattr(forgery, "swap", swap)
    for kind in ("self_blend", "region_blend", "retouch", "upsampling"):
        monkeypatch.setattr(forgery, kind, unchanged)
    fitted = []

    def fit(features, scores, labels, weights, penalty):
        fitted.append((features.shape[1], int(labels.sum()), weights))
        return fit_last_layers(features, scores, labels, weights, penalty)

    monkeypatch.setattr(module, "fit_last_layers", fit)
    recipe = replace(RECIPE, refit_self_made=0.3)
    scorer = refit([tiny(0)], store, range(24), recipe)(None)
    assert [scorer.place_of(n) for n in range(24)] == [fold_of(group) for group in groups]
    # Of the ten real faces with landmarks, five fakes each.
    count, fakes, weights = fitted[-1]
    assert (count, fakes) == (24 + 50, 12 + 50)
    assert weights[:3, 24:].sum(1) == pytest.approx(0.3 / 2)
    # Not among small faces and those out of focus.
    assert weights[3:, 24:].sum() == 0
    assert weights.sum(1) == pytest.approx(1)
    folds = np.array([fold_of(group) for group in groups])
    made = np.array([fold_of(groups[n]) for n in range(0, 20, 2)])
    for fold in range(5):
        assert fitted[fold][0] == (folds != fold).sum() + 5 * (made != fold).sum()
    assert sources
    for fold, numbers in sources.items():
        assert {fold_of(groups[n]) for n in numbers} == {fold}


def test_faces_are_fitted_to_in_drawn_views_as_well(store_of, unconverted, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(10, 30, (468, 2)).astype(np.float32)
    store = store_of(
        [
            (
                {"label": ("real", "fake")[n % 2], "group": f"g{n}", "split": "val"},
                rng.integers(0, 256, (40, 40, 3), np.uint8),
                landmarks,
            )
            for n in range(24)
        ]
    )

    def grey(crop, points, *rest):
        return forgery.Forgery(np.full_like(crop, 90), np.ones(crop.shape[:2], np.float32), "")

    for kind in ("self_blend", "region_blend", "retouch", "upsampling"):
        monkeypatch.setattr(forgery, kind, grey)
    monkeypatch.setattr(forgery, "swap", lambda crop, points, source, *rest: grey(crop, points))
    drawn_by, fitted = [], []

    def drawn_view(recipe, rng):
        drawn_by.append(recipe)
        return stream.drawn_view(recipe, rng)

    def fit(features, scores, labels, weights, penalty):
        fitted.append((features, weights))
        return fit_last_layers(features, scores, labels, weights, penalty)

    monkeypatch.setattr(module, "drawn_view", drawn_view)
    monkeypatch.setattr(module, "fit_last_layers", fit)
    recipe = replace(RECIPE, refit_self_made=0.2, stage=[{"styling": 0.9}], refit_view={"styling": 0.5})
    found = []
    for drawn in (0, 2, 2):
        refit([tiny(0)], store, range(24), replace(recipe, refit_drawn=drawn))
        found.append(fitted[-1])
    assert len(drawn_by) == 2 * 2 * (24 + 60)
    assert {(each.styling, each.side) for each in drawn_by} == {(0.5, SIDE)}
    (fixed, _), (features, weights), (again, _) = found
    assert np.array_equal(features, again)
    assert np.array_equal(features[:6], fixed)
    # Each face and each made fake has a view of its own in each draw.
    assert len(np.unique(features[6:].reshape(-1, features.shape[2]), axis=0)) > 2 * 24 + 60
    assert weights[6:, 24:].sum(1) == pytest.approx(0.2 / 2)
    assert weights[:3, 24:].sum(1) == pytest.approx(0.2 / 2)
    assert weights[3:6, 24:].sum() == 0


def test_faces_keep_their_order_whoever_scores_them(store_of):
    store = blotches_of(store_of, 7, lambda n: n % 2)

    class Told:
        def __init__(self, value):
            self.value = value

        def predict(self, crops):
            return Scores(
                np.full(len(crops), self.value, np.float32), np.empty((len(crops), 1, 1), np.float32)
            )

    scorer = CrossFitted((Told(0), Told(1), Told(9)), {0: 1, 2: 0, 5: 1})
    numbers = [5, 3, 2, 0, 6]
    found = measure(scorer, store, numbers, SIDE, 1.25, lambda pixels: pixels)
    assert found.logits.tolist() == [1, 9, 0, 1, 9]
    plain = measure(Told(0), store, numbers, SIDE, 1.25, lambda pixels: pixels)
    assert np.array_equal(found.details, plain.details)


def test_sources_that_must_stay_unseen_are_not_fitted_to(store_of):
    sources = ["a", "held", "left", "a"]
    pixels = np.zeros((8, 8, 3), np.uint8)
    store = store_of([({"source": source}, pixels, None) for source in sources])
    recipe = Recipe(held_out=["held"], refit=1.0, refit_without=["left"])
    assert fitted_to(store, [0, 1, 2, 3], recipe) == [0, 3]
    assert fitted_to(store, [1, 3], recipe) == [3]
