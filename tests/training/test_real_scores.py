from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.calibration import Calibration
from facefake.rates import false_alarm_rate
from facefake.training.real_scores import (
    LEAST_FACES,
    TAIL_FROM,
    enough_alone,
    fit_real_scores,
    fit_tail,
    left_out_alarms,
    source_weights,
    threshold,
    told_never_fake,
)


def calibrated(logits: np.ndarray, sources: np.ndarray, alarm_rate: float = 0.05) -> Calibration:
    return Calibration(
        temperature=1.0,
        bias=0.0,
        **fit_real_scores(logits.astype(np.float32), sources).arguments(),
        alarm_rate=alarm_rate,
        uncertain_rate=0.2,
        min_face=32.0,
        min_sharpness=0.0,
    )


def drawn(means: dict[str, float], count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = np.concatenate([rng.normal(mean, 1, count) for mean in means.values()])
    return logits.astype(np.float32)[None], np.repeat(list(means), count)


def test_a_source_weighs_by_the_square_root_of_its_size():
    sources = np.array(["large"] * 900 + ["small"] * 100)
    weights = source_weights(sources)
    assert weights.sum() == pytest.approx(1)
    assert weights[:900].sum() == pytest.approx(0.75)
    logits = np.where(sources == "small", 5.0, np.linspace(-1, 1, 1000))[None]
    fitted = calibrated(logits, sources)
    # A quarter of the weight scores 5, and there are fewer faces' worth of knowledge than faces.
    assert false_alarm_rate(4.0, fitted) == pytest.approx(0.25, abs=0.01)
    assert fitted.real_count == int(1 / (0.75**2 / 900 + 0.25**2 / 100))


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=60))
def test_of_one_source_the_scores_are_those_that_were_measured(scores):
    fitted = fit_real_scores(np.array([scores], np.float32), np.array(["one"] * len(scores)))
    assert fitted.real_count == len(scores)
    assert set(fitted.real_scores) <= set(np.array(scores, np.float32).tolist())
    assert fitted.real_scores[-1] == max(np.array(scores, np.float32).tolist())
    assert fitted.real_probabilities[-1] == 1.0


@pytest.mark.parametrize("count", [37, 65, 99, 300])
def test_no_rank_of_a_few_scores_is_left_out(count):
    fitted = fit_real_scores(np.arange(count, dtype=np.float32)[None], np.array(["one"] * count))
    assert len(fitted.real_scores) == count


@given(st.integers(0, 2**32 - 1))
def test_the_rates_hold_on_each_view_alone(seed):
    rng = np.random.default_rng(seed)
    views = rng.normal(rng.normal(0, 1, (3, 1)), rng.uniform(0.3, 2, (3, 1)), (3, 300)).astype(np.float32)
    sources = np.repeat(["one", "two", "three"], 100)
    fitted = calibrated(views, sources)
    for rate in (0.5, 0.3, 0.15):  # above the tail, where faces are counted
        allowed = (views >= threshold(fitted, rate)).mean(axis=1)
        assert (allowed <= rate + 1 / 300).all()
    # A view in which faces never look fake changes nothing.
    harmless = np.concatenate([views, np.full((1, 300), -99, np.float32)])
    assert fit_real_scores(harmless, sources) == fit_real_scores(views, sources)


def test_a_face_counts_in_the_views_that_have_a_score_of_it():
    logits, sources = drawn({"one": 0.0, "two": 1.0}, 300)
    odd = np.arange(600) % 4 == 0
    seen = np.where(odd, np.float32(np.nan), logits)
    assert fit_real_scores(seen, sources) == fit_real_scores(logits[:, ~odd], sources[~odd])
    # The view with the fewest says how much is known; the rates hold on the other, too.
    harder = np.concatenate([seen, logits + 2])
    fitted = fit_real_scores(harder, sources)
    assert fitted.real_count == 450
    assert fitted.real_scores[-1] == pytest.approx(logits.max() + 2)


def test_some_faces_are_enough_alone_when_they_count_as_many_in_each_view():
    sources = np.array(["one"] * 300 + ["two"] * 100)
    own = np.ones((2, 400), bool)
    assert enough_alone(own, sources)
    own[1, TAIL_FROM:] = False
    assert enough_alone(own, sources)
    own[1, 0] = False
    assert not enough_alone(own, sources)
    own[1] = False
    assert not enough_alone(own, sources)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 1e-4])
def test_the_threshold_is_the_lowest_logit_with_that_rate(rate):
    fitted = calibrated(*drawn({"one": 0.0, "two": 1.0}, 400))
    found = threshold(fitted, rate)
    assert false_alarm_rate(found, fitted) <= rate
    assert false_alarm_rate(found - 0.002, fitted) > rate


def test_few_faces_give_no_threshold_for_a_rare_rate():
    fitted = calibrated(*drawn({"one": 0.0}, 50))
    assert threshold(fitted, 0.01) == math.inf
    assert threshold(fitted, 0.05) < math.inf
    assert told_never_fake(fitted) is None
    told = told_never_fake(replace(fitted, alarm_rate=0.01))
    assert told is not None
    assert "count as much as 50 from one source, too few for a false-alarm rate of 1%" in told


def test_left_out_sources_that_are_alike_hold_the_rate():
    logits, sources = drawn({f"s{number}": 0.0 for number in range(8)}, 250)
    (found,) = left_out_alarms(calibrated(logits, sources), logits, sources)
    assert found.per_face == pytest.approx(0.05, abs=0.015)
    assert found.mean == pytest.approx(found.per_face)
    assert found.worst <= 0.12


def test_a_left_out_source_that_is_odd_is_found_out():
    logits, sources = drawn({**{f"s{number}": 0.0 for number in range(5)}, "odd": 2.5}, 200)
    fitted = calibrated(logits, sources)
    (found,) = left_out_alarms(fitted, logits, sources)
    assert found.worst_source == "odd"
    # The threshold of all faces knows it, that of the others does not.
    assert found.worst > 2 * (logits[0, sources == "odd"] >= threshold(fitted, 0.05)).mean()
    assert found.worst > 0.5
    # That of the others, when one of them is left out, does.
    assert (6 * found.per_face - found.worst) / 5 < 0.02


def test_sources_of_a_few_faces_have_no_rate_of_their_own():
    logits, sources = drawn({"one": 0.0, "two": 0.0}, 100)
    few = LEAST_FACES - 1
    logits = np.concatenate([logits, np.full((1, few), 9, np.float32)], axis=1)
    sources = np.concatenate([sources, ["few"] * few])
    (found,) = left_out_alarms(calibrated(logits, sources), logits, sources)
    assert found.worst_source != "few"
    assert found.per_face >= few / (200 + few)
    only = sources != "two"
    assert left_out_alarms(calibrated(logits, sources), logits[:, only], sources[only]) == []


def test_faces_that_do_not_count_raise_no_alarm_and_are_not_counted():
    logits, sources = drawn({f"s{number}": 0.0 for number in range(4)}, 100)
    odd = np.arange(400) % 2 == 0
    seen = np.where(odd, np.float32(np.nan), logits)
    found = left_out_alarms(calibrated(logits, sources), np.concatenate([seen, logits + 9 * odd]), sources)
    assert found[0].per_face == pytest.approx(0.0, abs=0.02)  # the threshold holds on the harder view
    assert found[1].per_face == pytest.approx(0.05, abs=0.03)
    few = np.where(np.arange(400) % 100 < LEAST_FACES - 1, logits, np.float32(np.nan))
    assert left_out_alarms(calibrated(logits, sources), few, sources) == []


@pytest.mark.parametrize("shape", [0.0, 0.25, 0.4])
def test_a_known_tail_is_found_again(shape):
    uniform = np.random.default_rng(2).random(100_000)
    excess = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    tail = fit_tail(np.sort(2.0 * excess).astype(np.float32))
    # Above a threshold u the law is the same, with the scale σ + shape · u.
    assert tail.exceedance == pytest.approx(0.03)
    assert tail.shape == pytest.approx(shape, abs=0.1)
    assert tail.scale == pytest.approx(2.0 + shape * tail.threshold, rel=0.12)


def test_a_tail_that_would_end_is_taken_for_exponential():
    tail = fit_tail(np.sort(np.random.default_rng(3).random(5000)).astype(np.float32))
    assert tail.shape == 0
    assert tail.survival(2.0) > 0


def test_a_tail_is_fitted_to_twenty_scores_at_least():
    tail = fit_tail(np.arange(200, dtype=np.float32))
    assert (tail.exceedance, tail.threshold) == (20 / 200, 179)


def test_without_enough_or_different_scores_there_is_no_tail():
    assert fit_tail(np.linspace(0, 1, 199, dtype=np.float32)) is None
    assert fit_tail(np.linspace(0, 1, 200, dtype=np.float32)) is not None
    assert fit_tail(np.ones(400, np.float32)) is None
