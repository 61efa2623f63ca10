from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.training.metrics import area_under_curve, calibration_error, detection_rate

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
