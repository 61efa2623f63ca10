from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_calibration import calibrations, measured, real_scores, tails

from facefake.calibration import (
    Calibration,
    GeneralisedPareto,
    GrainlessFaces,
    RealScores,
    SoftFaces,
)
from facefake.detail import Detail
from facefake.errors import ModelError
from facefake.rates import (
    SMALLEST_RATE,
    adjusted,
    any_fake_probability,
    corrected,
    false_alarm_rate,
    log_odds,
    probability,
)

LOGITS = st.floats(-30, 30)


@given(calibrations(), LOGITS, LOGITS)
def test_a_higher_logit_never_has_a_higher_rate(calibration: Calibration, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert false_alarm_rate(low, calibration) >= false_alarm_rate(high, calibration)


@given(calibrations(), real_scores(), st.floats(0, 1), LOGITS, st.sampled_from(["soft", "grainless"]))
def test_a_face_that_lacks_detail_is_compared_with_such(
    calibration: Calibration, others: RealScores, below: float, logit: float, lack: str
) -> None:
    """Out of focus, or sharp but without grain."""
    group = {"soft": SoftFaces, "grainless": GrainlessFaces}[lack](
        **others.arguments(), below=below, temperature=3.0, bias=-0.25
    )
    calibration = replace(calibration, soft=None, grainless=None, neighbours=None)
    told_apart = replace(calibration, **{lack: group})
    at_limit = Detail(below, 0.0) if lack == "soft" else Detail(0.0, below)
    lower = math.nextafter(below, -1)
    lacking = Detail(lower, 1.0) if lack == "soft" else Detail(1.0, lower)
    full = false_alarm_rate(logit, calibration)
    assert false_alarm_rate(logit, told_apart) == false_alarm_rate(logit, told_apart, at_limit) == full
    assert false_alarm_rate(logit, calibration, Detail(0.0, 0.0)) == full
    found = false_alarm_rate(logit, told_apart, lacking)
    assert found == false_alarm_rate(logit, replace(calibration, **others.arguments()))
    assert probability(logit, told_apart, lacking) == pytest.approx(1 / (1 + math.exp(0.25 - logit / 3)))
    assert probability(logit, told_apart) == probability(logit, calibration)
    assert told_apart.lack(lacking) == lack


@given(calibrations(), tails(), st.floats(0, 1e-3))
def test_the_rate_does_not_rise_across_the_join(
    calibration: Calibration, tail: GeneralisedPareto, step: float
) -> None:
    calibration = replace(calibration, tail=tail)
    points = [
        tail.threshold - step,
        tail.threshold,
        math.nextafter(tail.threshold, 99),
        tail.threshold + step,
    ]
    rates = [false_alarm_rate(point, calibration) for point in sorted(points)]
    assert rates == sorted(rates, reverse=True)


@given(calibrations(), LOGITS)
def test_rates_are_shares_above_nothing(calibration: Calibration, logit: float) -> None:
    assert SMALLEST_RATE <= false_alarm_rate(logit, calibration) <= 1


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), LOGITS)
def test_without_a_tail_real_faces_are_counted(scores: list[float], logit: float) -> None:
    counted = (1 + sum(score >= logit for score in scores)) / (1 + len(scores))
    assert false_alarm_rate(logit, measured(scores)) == pytest.approx(counted)


@given(st.lists(st.floats(-10, 10), min_size=4, max_size=60), st.integers(2, 9), LOGITS)
def test_compressed_scores_are_never_more_hopeful(scores: list[float], step: int, logit: float) -> None:
    full = measured(scores)
    kept = replace(
        full, real_scores=full.real_scores[::step], real_probabilities=full.real_probabilities[::step]
    )
    assert false_alarm_rate(logit, kept) >= false_alarm_rate(logit, full) - 1e-12


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), tails())
def test_just_above_the_threshold_the_tail_promises_no_less_than_was_counted(
    scores: list[float], tail: GeneralisedPareto
) -> None:
    just_above = math.nextafter(tail.threshold, math.inf)
    counted = (1 + sum(score > tail.threshold for score in scores)) / (1 + len(scores))
    assert false_alarm_rate(just_above, measured(scores, tail)) >= counted * (1 - 1e-9)


def test_the_tail_begins_at_the_larger_of_the_counted_and_the_fitted_share() -> None:
    scores = [score / 1000 for score in range(1000)]
    for exceedance, share in ((0.3, 301 / 1001), (0.01, 100 / 1001)):
        tail = GeneralisedPareto(threshold=0.9, scale=0.5, shape=0.1, exceedance=exceedance)
        assert false_alarm_rate(math.nextafter(0.9, 1), measured(scores, tail)) == pytest.approx(share)


def test_a_score_at_the_threshold_is_not_beyond_it() -> None:
    tail = GeneralisedPareto(threshold=0.0, scale=0.5, shape=0.0, exceedance=0.1)
    calibration = measured([0.0] * 50 + [1.0] * 50, tail)
    assert false_alarm_rate(0.0, calibration) == 1
    assert false_alarm_rate(1e-9, calibration) == pytest.approx(51 / 101)


def test_the_tail_reaches_below_the_smallest_countable_rate() -> None:
    tail = GeneralisedPareto(threshold=0.9, scale=0.5, shape=0.1, exceedance=0.1)
    scores = [step / 1000 for step in range(1000)]
    assert false_alarm_rate(50.0, measured(scores)) == pytest.approx(1 / 1001)
    assert false_alarm_rate(8.0, measured(scores, tail)) < 1 / 1001 / 50


def test_a_tail_with_an_end_keeps_a_positive_rate_beyond_it() -> None:
    tail = GeneralisedPareto(threshold=1.0, scale=1.0, shape=-0.5, exceedance=0.05)
    assert tail.survival(3.0) == tail.survival(99.0) == 0
    assert false_alarm_rate(99.0, measured([0.0, 1.0], tail)) == SMALLEST_RATE == 1e-6


@given(tails(), st.floats(0, 10), st.floats(0.01, 0.9), st.booleans())
def test_the_tail_follows_its_formula(
    tail: GeneralisedPareto, excess: float, size: float, ends: bool
) -> None:
    tail = replace(tail, shape=-size if ends else size)
    if ends:
        excess = min(excess, 0.99 * tail.scale / size)
    inner = 1 + tail.shape * excess / tail.scale
    expected = inner ** (-1 / tail.shape)
    assert tail.survival(tail.threshold + excess) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(tails(), st.floats(0, 10))
def test_the_exponential_is_the_limit_of_small_shapes(tail: GeneralisedPareto, excess: float) -> None:
    at = tail.threshold + excess
    limit = replace(tail, shape=0.0).survival(at)
    for shape in (-1e-7, 1e-7):
        assert replace(tail, shape=shape).survival(at) == pytest.approx(limit, rel=2e-2, abs=1e-12)


@given(st.integers(1, 2**40).map(lambda k: Fraction(1, k)), st.integers(1, 300))
def test_corrected_is_exact_for_tiny_rates(rate: Fraction, count: int) -> None:
    expected = 1 - (1 - rate) ** count
    assert corrected(float(rate), count) == pytest.approx(float(expected), rel=1e-12, abs=0)


@given(st.floats(1e-6, 1), st.integers(1, 1000), st.integers(1, 1000))
def test_more_faces_never_make_a_rate_smaller(rate: float, a: int, b: int) -> None:
    few, many = sorted((a, b))
    assert 0 < corrected(rate, few) <= corrected(rate, many) <= 1
    assert corrected(rate, 1) == pytest.approx(rate, rel=1e-12)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30))
def test_adjusted_rates_are_the_step_up_of_benjamini_and_hochberg(rates: list[float]) -> None:
    found = adjusted(rates)
    count = len(rates)
    for rate, (value, among) in zip(rates, found, strict=True):
        # As many as at most so rare, at each rate that is no smaller; the smallest of those ratios.
        ratios = [other * count / sum(each <= other for each in rates) for other in rates if other >= rate]
        assert value == pytest.approx(min(ratios))
        assert rate <= value <= max(rates)
        assert sum(each <= value * among / count * (1 + 1e-12) for each in rates) >= among
    for alarm in (0.01, 0.1, 0.5):
        called = sum(value <= alarm for value, _ in found)
        assert called == max(
            (k for k in range(count + 1) if sum(each <= alarm * k / count for each in rates) >= k), default=0
        )


def test_one_among_many_is_told_from_many() -> None:
    assert adjusted([0.01]) == [(0.01, 1)]
    assert [found.among for found in adjusted([0.001, 0.5, 0.7, 0.9])] == [1, 4, 4, 4]
    assert adjusted([0.02, 0.03, 0.01, 0.9]) == [(pytest.approx(0.04), 3)] * 3 + [(0.9, 4)]
    assert adjusted([]) == []


@given(calibrations(), LOGITS)
def test_probability_is_the_calibrated_sigmoid(calibration: Calibration, logit: float) -> None:
    expected = 1 / (1 + math.exp(-(logit / calibration.temperature + calibration.bias)))
    assert probability(logit, calibration) == pytest.approx(expected)
    assert any_fake_probability([log_odds(logit, calibration)]) == pytest.approx(expected)


@given(calibrations(), st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_the_chance_of_any_fake_is_that_of_the_mean_odds(
    calibration: Calibration, logits: list[float]
) -> None:
    odds = [
        p / (1 - p) for p in (probability(logit, replace(calibration, temperature=1.0)) for logit in logits)
    ]
    mean = sum(odds) / len(odds)
    got = any_fake_probability([log_odds(logit, replace(calibration, temperature=1.0)) for logit in logits])
    assert got == pytest.approx(mean / (1 + mean), rel=1e-6)


def test_extreme_logits_overflow_nothing() -> None:
    calibration = measured([0.0])
    assert any_fake_probability([1e6, -1e6]) == 1.0
    assert probability(-1e6, calibration) == 0.0


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(logit: float) -> None:
    with pytest.raises(ModelError, match="finite logit"):
        false_alarm_rate(logit, measured([0.0]))
