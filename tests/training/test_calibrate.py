from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scorers import Told

from facefake.calibration import Calibration
from facefake.classifier import Scores
from facefake.detail import Detail, sharpness
from facefake.errors import DatasetError
from facefake.rates import adjusted, false_alarm_rate, probability
from facefake.training import calibrate as module
from facefake.training import face_scores
from facefake.training.calibrate import auc_by_view, calibrate, check_enough, told_limits
from facefake.training.real_scores import fit_real_scores, threshold
from facefake.training.scoring import halves, measure, seen, told_both_labels, told_left_out, unseen
from facefake.training.views import blurred, denoised, small, small_and_blurred, smoothed, view

SIDE = 32


def untouched(pixels: np.ndarray) -> np.ndarray:
    return pixels


def telling(logit: float, number: int) -> np.ndarray:
    """A crop that tells a logit, with a little texture so that it has some sharpness."""
    rng = np.random.default_rng(number)
    pixels = np.full((40, 40, 3), 128 + 10 * np.clip(logit, -11, 11))
    return np.clip(pixels + rng.integers(-3, 4, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def told_store(store_of):
    """Two sources of real faces, normal around −2 and −1, and one of fakes around 2."""
    rng = np.random.default_rng(0)
    crops = []
    for fields, mean in (
        ({"source": "easy"}, -2),
        ({"source": "hard"}, -1),
        ({"label": "fake", "kind": "gan", "source": "gans"}, 2),
    ):
        for number in range(400):
            fields = {**fields, "split": "val", "group": f"{mean} {number}"}
            crops.append((fields, telling(rng.normal(mean, 1), number), None))
    return store_of(crops)


def without_denoising(patch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at what denoising, which takes long, does to a crop."""

    def denoised(pixels: np.ndarray) -> np.ndarray:
        return pixels

    patch.setattr(module, "denoised", denoised)


@pytest.fixture
def undenoised(monkeypatch) -> None:
    without_denoising(monkeypatch)


@pytest.fixture(scope="module")
def plain(told_store):
    """`measure`, of each view but once in all tests that are without denoising."""
    kept = {}

    def measured(scorer, store, numbers, side, margin, worn):
        key = getattr(worn, "func", worn).__name__, str(getattr(worn, "keywords", "")), *numbers
        if key not in kept:
            kept[key] = measure(scorer, store, numbers, side, margin, worn)
        found = kept[key]
        return found._replace(logits=found.logits.copy(), details=found.details.copy())

    return measured


@pytest.fixture(scope="module")
def fitted(told_store, plain) -> Calibration:
    with pytest.MonkeyPatch.context() as patch:
        without_denoising(patch)
        patch.setattr(module, "measure", plain)
        return calibrate(Told(), told_store, range(len(told_store)), SIDE, 1.25)


def test_how_far_a_calibration_is_is_told(told_store, undenoised):
    told: dict[str, list[tuple[int, int]]] = {}

    def progress(what: str, done: int, total: int) -> None:
        told.setdefault(what, []).append((done, total))

    calibrate(Told(), told_store, range(780, 820), SIDE, 1.25, progress)
    assert list(told) == ["sizes and blurs tried", "calibration views scored"]
    for counted in told.values():
        assert counted == [(done, len(counted)) for done in range(1, len(counted) + 1)]


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01, 0.002])
def test_the_rates_hold_on_fresh_faces(fitted, rate):
    rng = np.random.default_rng(9)
    fresh = np.concatenate([rng.normal(mean, 1, 20_000) for mean in (-2, -1)])
    alarms = (fresh >= threshold(fitted, rate)).mean()
    # The rates come from 800 faces: their own error is the larger one.
    error = 3 * math.sqrt(rate / 800)
    assert alarms <= rate + error
    assert alarms >= rate - error - 0.5 * rate


def test_the_calibration_can_be_kept(fitted):
    assert fitted.real_count == 800
    assert fitted.real_probabilities[-1] == 1.0
    assert fitted.tail is not None
    assert Calibration.from_dict(fitted.to_dict()) == fitted
    assert fitted.min_face == min(module.FACE_SIDES)


@pytest.mark.parametrize(
    ("harder", "fails_at", "weaker", "stronger"),
    [
        *((view, None, "soft", "sharp") for view in ("small", "web", "hard")),
        *((blur, None, "sharp", "soft") for blur in (2.0, 3.0, 4.0)),
        ("small_and_blurred", None, "sharp", "soft"),
        (3.0, 4.0, "sharp", "soft"),
        *((filtered, None, "soft", "grainless") for filtered in ("smoothed", "denoised")),
        *((blur, 2.0, "grainless", "sharp") for blur in (1.0, 1.5)),
        ("denoised", 2.0, "sharp", "grainless"),
    ],
)
def test_the_rates_hold_on_every_view(
    told_store, monkeypatch, undenoised, plain, harder, fails_at, weaker, stronger
):
    """Blurs where a network fails at 2 pixels are no soft faces: those that are judged count with the others."""

    def harder_on_one(scorer, store, numbers, side, margin, worn):
        own = getattr(worn, "func", worn).__name__
        if own in ("wear", "blurred"):
            own = next(iter(worn.keywords.values()))
        found = plain(scorer, store, numbers, side, margin, worn)
        return found._replace(logits=found.logits + added * (own == harder))

    def measured(*args, viewed):
        return {view: 0.7 if fails_at and view == fails_at else 0.9 for view in args[-1]}

    monkeypatch.setattr(module, "measure", harder_on_one)
    monkeypatch.setattr(module, "auc_by_view", measured)
    top = {}
    for added in (0, 2):
        found = calibrate(Told(), told_store, range(0, len(told_store), 4), SIDE, 1.25)
        top["sharp", added] = found.real_scores[-1]
        top["grainless", added] = found.grainless.real_scores[-1]
        assert (found.soft is None) == (fails_at == 2.0)
        if found.soft is not None:
            top["soft", added] = found.soft.real_scores[-1]
    assert top[stronger, 2] > top[stronger, 0] + 1
    assert top[weaker, 2] == top[weaker, 0]


def test_soft_faces_have_probabilities_of_their_own(told_store, monkeypatch, undenoised, plain):
    """Where blur and want of grain add 3 to every logit, a soft face with 3 more is as probably fake."""

    def shifted(scorer, store, numbers, side, margin, worn):
        is_soft = worn in (smoothed, module.denoised) or (
            worn.keywords.get("sigma", 0) >= module.SOFT_FROM or worn.func is small_and_blurred
        )
        found = plain(scorer, store, numbers, side, margin, worn)
        return found._replace(logits=found.logits + 3 * is_soft)

    monkeypatch.setattr(module, "measure", shifted)
    found = calibrate(Told(), told_store, range(0, len(told_store), 4), SIDE, 1.25)
    for logit in (-2.0, 0.0, 2.0):
        for lacking in (Detail(0, 1), Detail(1, 0)):
            stated = probability(logit + 3, found, lacking)
            assert stated == pytest.approx(probability(logit, found), abs=0.03)


@pytest.mark.parametrize(
    ("label", "kept", "own"), [("real", 4, True), ("real", 5, False), ("fake", 25, False)]
)
def test_faces_that_lack_detail_do_not_count_with_the_others(
    told_store, monkeypatch, undenoised, plain, label, kept, own
):
    """Real faces that are soft score 9 more, fakes 9 less: with enough left that are not, the others' fit knows nothing."""
    limits = module._limits

    def measured(scorer, store, numbers, side, margin, worn):
        found = plain(scorer, store, numbers, side, margin, worn)
        lacking = np.array([n % kept > 0 and store.crops[n].example.label == label for n in numbers])
        if getattr(worn, "func", worn).__name__ in ("wear", "small"):
            found.logits[lacking] += 9 if label == "real" else -9
            found.details[:] = np.where(lacking[:, None], 0.0, 9.0)
        return found

    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(module, "_limits", lambda *args: limits(*args)._replace(lacking=Detail(0.5, 0.5)))
    found = calibrate(Told(), told_store, range(len(told_store)), SIDE, 1.25)
    assert (found.real_scores[-1] < 5 and found.temperature < 2) == own
    assert found.real_count == (200 if label == "real" and own else 800)
    assert found.soft is not None and found.soft.real_scores[-1] < 5


def test_faces_as_blurred_as_soft_ones_are_most_of_them_soft(told_store, fitted):
    real = [n for n, crop in enumerate(told_store.crops) if crop.example.label == "real"]
    shares = {
        sigma: np.mean(
            measure(Told(), told_store, real, SIDE, 1.25, partial(blurred, sigma=sigma)).details[:, 0]
            < fitted.soft.below
        )
        for sigma in (0.0, 2.0)
    }
    assert shares[2.0] == pytest.approx(module.SOFT_SHARE, abs=0.08)  # it comes from 60 of a source
    assert shares[0.0] < 0.05


def test_the_limit_of_grain_is_that_of_denoised_real_faces(store_of) -> None:
    """Crops of blocks with more or less noise, of which denoising takes a part."""
    rng = np.random.default_rng(2)
    crops = []
    for number in range(120):
        blocks = np.kron(rng.integers(60, 200, (5, 5, 3)), np.ones((8, 8, 1)))
        pixels = np.clip(blocks + rng.normal(0, rng.uniform(1, 12), blocks.shape), 0, 255).astype(np.uint8)
        fields = {"source": "photos"} if number < 80 else {"label": "fake", "kind": "gan", "source": "gans"}
        crops.append(({**fields, "split": "val", "group": f"{number}"}, pixels, None))
    store = store_of(crops)
    below = module._limits(Told(), store, range(120), SIDE, 1.25).lacking.grain
    grain = {
        wear: measure(Told(), store, range(80), SIDE, 1.25, wear).details[:, 1]
        for wear in (denoised, untouched)
    }
    assert (grain[denoised] < below).mean() == pytest.approx(module.GRAINLESS_SHARE, abs=0.02)
    assert (grain[untouched] < below).mean() < module.GRAINLESS_SHARE - 0.1


def test_sources_of_one_name_are_told_apart_by_kind(store_of, monkeypatch):
    def noted(logits, labels, sources):
        found.update(sources.tolist())
        return 1.0, 0.0

    found: set[str] = set()
    monkeypatch.setattr(face_scores, "_fit_probability", noted)
    crops = [
        (
            {"label": label, "kind": kind, "source": "clips", "group": f"{kind} {number}"},
            telling(0, number),
            None,
        )
        for label, kind in (("real", "photo"), ("fake", "face-swap"))
        for number in range(20)
    ]
    calibrate(Told(), store_of(crops), range(40), SIDE, 1.25)
    assert found == {"photo/clips", "face-swap/clips"}


def test_faces_are_judged_up_to_the_blur_that_the_network_fails_at(told_store, monkeypatch):
    fails = dict.fromkeys((2.0, 3.0, 4.0), 0.74)
    monkeypatch.setattr(
        module, "auc_by_view", lambda *args, viewed: {view: fails.get(view, 0.76) for view in args[-1]}
    )
    numbers = range(780, 820)
    found = module._limits(Told(), told_store, numbers, SIDE, 1.25)
    measured = [
        sharpness(view(blurred(told_store.pixels(n), 2.0), SIDE, 1.25), round(40 * 1.25 / 1.35))
        for n in numbers
        if told_store.crops[n].example.label == "real"
    ]
    assert found.blur == 1.5
    assert found.sharpness == pytest.approx(float(np.median(measured)))


@pytest.mark.parametrize(
    ("unfit", "smallest"), [((), 16), ((16,), 24), ((16, 24, 32), 48), ((16, 32), 48), ((224,), 224)]
)
def test_no_face_is_judged_below_a_size_that_the_network_fails_at(told_store, monkeypatch, unfit, smallest):
    def measured(scorer, store, numbers, side, margin, views, viewed):
        return {key: 0.74 if key in unfit else 0.76 for key in views}

    monkeypatch.setattr(module, "auc_by_view", measured)
    assert module._limits(Told(), told_store, range(780, 820), SIDE, 1.25).face_side == smallest


@pytest.mark.parametrize(("at_48", "smallest"), [(0.76, 48), (0.9, 48), (0.75, 48), (0.74, 64)])
def test_the_smallest_face_is_one_of_a_size_that_was_measured(at_48, smallest):
    assert module._smallest({64: 0.8, 32: 0.70, 48: at_48}) == smallest


def test_the_smallest_face_is_that_at_which_small_pictures_still_tell(store_of):
    """Fakes have stripes of two pixels, which the smallest faces cannot show."""

    class Striped:
        def predict(self, crops):
            grey = crops.astype(np.float32).mean(-1)
            logits = np.abs(np.diff(grey, axis=2)).mean((1, 2))
            return Scores(logits.astype(np.float32), np.zeros((len(crops), 1, 1), np.float32))

    stripes = np.where(np.arange(86) // 2 % 2, 150, 100).astype(np.uint8)
    rng = np.random.default_rng(3)
    crops = []
    for number in range(60):
        fake = {"label": "fake", "kind": "gan"} if number % 2 else {}
        noise = rng.integers(-3, 4, (86, 86, 3))
        plain = (
            np.full((86, 86, 3), 125) if number % 2 == 0 else np.broadcast_to(stripes[:, None], (86, 86, 3))
        )
        crops.append((fake, np.swapaxes(np.clip(plain + noise, 0, 255), 0, 1).astype(np.uint8), None))
    store = store_of(crops)
    views = {side: partial(small, face_side=side, tier="web") for side in module.FACE_SIDES}
    measured = auc_by_view(Striped(), store, range(60), 64, 1.25, views)
    smallest = calibrate(Striped(), store, range(60), 64, 1.25).min_face
    assert min(module.FACE_SIDES) < smallest < max(module.FACE_SIDES)
    assert all(auc >= 0.75 for side, auc in measured.items() if side >= smallest)
    assert [auc for side, auc in measured.items() if side < smallest][-1] < 0.75


def test_probabilities_are_those_of_the_law(fitted):
    """At logit x: N(2, 1) of the fakes against half N(−2, 1) and half N(−1, 1) of the real ones."""

    def density(x: float, mean: float) -> float:
        return math.exp(-((x - mean) ** 2) / 2)

    for x in (-1, 0, 0.5, 1, 2):
        truth = density(x, 2) / (density(x, 2) + (density(x, -1) + density(x, -2)) / 2)
        stated = 1 / (1 + math.exp(-(x / fitted.temperature + fitted.bias)))
        assert stated == pytest.approx(truth, abs=0.08)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.05, -1.0), (0.3, 2.0), (4.0, 0.5)])
def test_a_known_logistic_is_found_again(slope, offset):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3 / slope, 40_000) - offset / slope
    labels = rng.random(logits.size) < 1 / (1 + np.exp(-(slope * logits + offset)))
    sources = np.where(labels, "gan/f", "photo/r")
    temperature, bias = face_scores._fit_probability(logits[None].astype(np.float32), labels, sources)
    # Both labels weigh the same in the fit, so that the offset moves by the log odds of their shares.
    prior = math.log(labels.mean() / (1 - labels.mean()))
    assert 1 / temperature == pytest.approx(slope, rel=0.05)
    assert bias == pytest.approx(offset - prior, abs=0.15)


def test_a_source_counts_in_the_probability_by_the_square_root_of_its_size():
    rng = np.random.default_rng(2)
    real, others, fakes = (rng.normal(mean, 1, 100).astype(np.float32) for mean in (-3, 0, 2))
    labels = np.repeat([False, True], [500, 100])
    one_of_400 = np.repeat(["r", "s", "f"], [100, 400, 100])
    found = face_scores._fit_probability(
        np.concatenate([real, *[others] * 4, fakes])[None], labels, one_of_400
    )
    two_of_100 = np.repeat(["r", "s", "t", "f"], 100)
    expected = face_scores._fit_probability(
        np.concatenate([real, others, others, fakes])[None], labels[200:], two_of_100
    )
    assert found == pytest.approx(expected)


def test_a_network_that_is_worse_than_chance_still_gets_a_temperature():
    logits = np.array([[3.0] * 30 + [-3.0] * 30], np.float32)
    labels = np.array([False] * 30 + [True] * 30)
    for shift in (0, -6, 6):
        temperature, bias = face_scores._fit_probability(logits + shift, labels, np.where(labels, "f", "r"))
        assert temperature == pytest.approx(1000)
        assert bias == 0  # whatever it says of a face, it knows nothing of it


def test_too_few_faces_are_told(told_store):
    with pytest.raises(DatasetError, match="at least 20 real and 20 fake"):
        calibrate(Told(), told_store, [*range(19), *range(800, 900)], SIDE, 1.25)
    with pytest.raises(DatasetError, match="'fake': 19"):
        check_enough(told_store, [*range(20), *range(800, 819)])
    check_enough(told_store, [*range(20), *range(800, 820)])


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (
            (98,),
            "98 real faces to calibrate on count as much as 98 from one source, so no face can be called fake",
        ),
        ((99,), "a single fake cannot be called fake beside other faces"),
        ((199,), "can be called fake only in pictures of at most 2 faces; 200 would"),
        ((200,), None),
        ((100, 100), None),
        (
            (195, 5),
            "of 2 sources (those of small sources weigh more) to calibrate on count as much as 131 from",
        ),
    ],
)
def test_what_few_real_faces_cannot_promise_is_told_and_true(store_of, sizes, told):
    flat = np.zeros((86, 86, 3), np.uint8)
    sources = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    store = store_of([({"source": source}, flat, None) for source in [*sources, "f"]])
    found = told_limits(store, range(sum(sizes)))
    assert found is None if told is None else told in found
    real = fit_real_scores(np.arange(len(sources), dtype=np.float32)[None], np.array(sources))
    calibration = Calibration(
        temperature=1.0,
        bias=0.0,
        **real.arguments(),
        alarm_rate=0.01,
        uncertain_rate=0.1,
        min_face=32.0,
        min_sharpness=0.0,
    )
    highest, lowest = (false_alarm_rate(logit, calibration) for logit in (1e6, -1e6))
    called = [adjusted([highest, *[lowest] * more])[0].rate <= 0.01 for more in range(3)]
    bounds = {"no face can be": 0, "beside other faces": 1, "at most 2": 2}
    most = next((most for bound, most in bounds.items() if told and bound in found), None)
    if most is not None:
        assert called == [faces <= most for faces in (1, 2, 3)]


def test_scores_come_back_in_order_after_their_wear(told_store):
    numbers = list(range(0, 1200, 11))

    def darken(pixels):
        return np.clip(pixels.astype(int) - 10, 0, 255).astype(np.uint8)

    plain = measure(Told(), told_store, numbers, SIDE, 1.25, lambda pixels: pixels).logits
    expected = [Told().predict(view(told_store.pixels(n), SIDE, 1.25)[None]).logits[0] for n in numbers]
    np.testing.assert_array_equal(plain, expected)
    darker = measure(Told(), told_store, numbers, SIDE, 1.25, darken).logits
    np.testing.assert_allclose(darker, plain - 1, atol=0.05)
    nothing = measure(Told(), told_store, [], SIDE, 1.25, darken)
    assert nothing.logits.shape == (0,)
    assert nothing.details.shape == (0, 2)


def test_what_is_trained_on_is_never_what_is_judged_on(toy_store):
    held_out = ["two", "gans"]
    trained, hidden = seen(toy_store, held_out), unseen(toy_store, held_out)
    known = {toy_store.crops[n].example.group for n in trained}
    of_known = {n for n, crop in enumerate(toy_store.crops) if crop.example.group in known}
    assert of_known > set(trained)
    assert set(hidden) == set(range(len(toy_store))) - of_known
    for number in trained:
        example = toy_store.crops[number].example
        assert example.split == "train"
        assert example.source not in held_out
    first, second = halves(toy_store, hidden)
    assert sorted(first + second) == hidden
    groups = [{toy_store.crops[n].example.group for n in half} for half in (first, second)]
    assert groups[0] and groups[1] and not groups[0] & groups[1]


def test_what_was_made_of_a_clip_that_is_trained_on_is_not_judged_on(store_of, face):
    def crop(number, group, **fields):
        return {"group": group, "split": "train", **fields}, face(number)[0], None

    fake = {"label": "fake", "source": "swapper"}
    store = store_of(
        [
            crop(0, "clip 1"),
            crop(1, "clip 1", **fake),
            crop(2, "clip 2", **fake, **{"split": "val"}),
            crop(3, "clip 2", split="val"),
        ]
    )
    assert seen(store, ["swapper"]) == [0]
    assert unseen(store, ["swapper"]) == [2, 3]
    assert "3 pictures that are not trained on, 1 are not" in told_left_out(store, ["swapper"])
    assert told_left_out(store, []) is None


def test_one_photograph_is_judged_on_once_and_not_if_it_was_trained_on(store_of, face):
    def crop(seed, split, label="real", change=lambda pixels: pixels):
        return {"label": label, "split": split}, change(face(seed)[0]), None

    def resized(pixels):
        return np.ascontiguousarray(pixels[::2, ::2])

    store = store_of(
        [
            crop(0, "train"),
            crop(0, "val", change=lambda pixels: np.clip(pixels * 0.9, 0, 255).astype(np.uint8)),
            crop(0, "val", "fake"),
            crop(1, "val"),
            crop(1, "val", change=resized),
            crop(2, "val"),
            crop(2, "train"),
            crop(3, "val"),
        ]
    )
    assert seen(store, []) == [0, 6]
    assert unseen(store, []) == [2, 3, 7]
    assert "3 are near-duplicates of others" in told_left_out(store, [])
    assert unseen(store, ["made"]) == [0, 2, 3, 5, 7]


def test_faces_under_both_labels_are_told(store_of):
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (64, 64, 3), np.uint8)
    touched = face.copy()
    touched[0, 0] ^= 1  # less than a thumbnail shows
    real, fake = ({"label": label, "kind": label} for label in ("real", "fake"))
    right = [(real, face, None), (real, face, None), (fake, touched, None)]
    assert told_both_labels(store_of(right)) is None
    told = told_both_labels(store_of([*right, (fake, face, None)]))
    assert told is not None and told.endswith("faces, pixel for pixel: 1; the first: 0.jpg and 3.jpg.")
