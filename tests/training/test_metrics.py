from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.training.metrics import (
    area_under_curve,
    calibration_error,
    detection_rate,
    reliability,
    roc_curve,
    wilson_interval,
)

scores = st.lists(st.integers(-4, 4), min_size=1, max_size=30)  # few values, so that there are ties


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(real, fake):
    pairs = [1.0 if f > r else 0.5 if f == r else 0.0 for r in real for f in fake]
    assert area_under_curve(real, fake) == pytest.approx(np.mean(pairs))


@given(scores, scores, st.floats(0, 0.99))
def test_the_detection_rate_is_the_best_within_the_false_alarms(real, fake, allowed):
    candidates = [-math.inf, *sorted({*real, *fake})]
    within = [t for t in candidates if sum(r > t for r in real) <= allowed * len(real)]
    best = max(np.mean([f > t for f in fake]) for t in within)
    assert detection_rate(real, fake, allowed) <= best + 1e-12
    # The threshold is one of the real scores; no better one of these keeps within the false alarms.
    of_real = [np.mean([f > t for f in fake]) for t in within if t in real]
    assert detection_rate(real, fake, allowed) == pytest.approx(max(of_real))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("real", "fake"), [([], [1.0]), ([1.0], []), ([], [])])
def test_nothing_to_compare_is_no_number(real, fake):
    assert math.isnan(area_under_curve(real, fake))
    assert math.isnan(detection_rate(real, fake, 0.1))


def test_honest_probabilities_have_no_error_and_shifted_ones_have_the_shift():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.1, 0.8, 100_000)
    fake = rng.random(stated.size) < stated
    ones = np.ones(stated.size)
    assert calibration_error(stated, fake, ones) < 0.01
    assert calibration_error(stated + 0.1, fake, ones) == pytest.approx(0.1, abs=0.01)
    assert calibration_error([0.0] * 5 + [1.0] * 5, [False] * 5 + [True] * 5, np.ones(10)) == 0
    assert calibration_error([1.0] * 5 + [0.0] * 5, [False] * 5 + [True] * 5, np.ones(10)) == 1


@given(st.permutations([True] * 10 + [False] * 10))
def test_the_order_of_equal_probabilities_does_not_matter(fake):
    assert calibration_error([0.5] * 20, fake, np.ones(20)) == pytest.approx(0, abs=1e-12)


def test_weights_stand_for_repetition():
    stated, fake, weight = [0.2, 0.2, 0.9, 0.9], [True, False, True, False], [1, 3, 2, 4]
    repeated = [np.repeat(values, weight) for values in (stated, fake)]
    assert calibration_error(stated, fake, weight, 5) == pytest.approx(
        calibration_error(*repeated, np.ones(10), 5)
    )


@given(scores, scores)
def test_the_roc_curve_rises_and_encloses_the_area(real, fake):
    false, true = roc_curve(real, fake)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(area_under_curve(real, fake))


@given(scores, scores)
def test_every_point_of_the_roc_curve_is_a_threshold(real, fake):
    false, true = roc_curve(real, fake)
    thresholds = [math.inf, *sorted({*real, *fake}, reverse=True)]
    expected = [(np.mean([r >= t for r in real]), np.mean([f >= t for f in fake])) for t in thresholds]
    np.testing.assert_allclose(np.column_stack([false, true]), expected)


def test_reliability_tells_stated_from_true():
    found = reliability(
        [0.1] * 10 + [0.8] * 10, [False] * 9 + [True] + [True] * 5 + [False] * 5, np.ones(20), 2
    )
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.1, 0.8], [0.1, 0.5]])
    # With fewer faces than bins, empty bins are left out.
    assert [len(part) for part in reliability([0.2, 0.9], [False, True], [1, 1])] == [2, 2, 2]


@pytest.mark.parametrize(
    ("count", "total", "low", "high"), [(0, 10, 0, 0.278), (5, 10, 0.237, 0.763), (10, 10, 0.722, 1)]
)
def test_an_interval_of_a_share(count, total, low, high):
    """The values are those that R's prop.test gives without continuity correction."""
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=0.001)
