"""How often real faces look this fake, alone and in a crowd: from logits to rates and probabilities."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from facefake.calibration import Calibration, FaceScores, RealScores
from facefake.detail import FULL, Detail
from facefake.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Score = TypeVar("Score", float, "NDArray[np.float64]")

SMALLEST_RATE = 1e-6
"""The smallest false-alarm rate ever claimed: a few thousand real faces say nothing about rarer events."""


def false_alarm_rate(logit: float, calibration: Calibration, detail: Detail = FULL) -> float:
    """Share of real faces that look at least as fake as a face with this logit, in [`SMALLEST_RATE`, 1].

    Faces that are out of focus are compared with real faces that are too, faces without grain with others without, and all
    the rest with the rest. That is a conformal predictor per category ("Mondrian", Vovk, Gammerman & Shafer 2005,
    "Algorithmic Learning in a Random World"), but without its guarantee: the real faces that lack detail were measured in
    views most of which lack it, not all.

    Args:
        logit: of the face.
        calibration: has the scores of real faces.
        detail: of the face; by default it lacks none.

    Raises:
        ModelError: the logit is not a finite number.
    """
    return rate_of(logit, calibration.of(detail))


def rate_of(score: float, scores: RealScores) -> float:
    """Share of real faces with a score at least as high, in [`SMALLEST_RATE`, 1].

    (1 + real faces with a score at least as high) / (1 + real faces), a conformal p-value. Above the tail's threshold the
    fitted distribution takes over: it starts from the counted or the fitted share, whichever is larger, so that the rate
    never rises with the score and is not too optimistic at the join.

    Raises:
        ModelError: the score is not a finite number.
    """
    if not math.isfinite(score):
        raise ModelError(f"expected the classifier to give a finite logit, got {score!r}")
    tail = scores.tail
    if tail is None:
        return _counted_rate(bisect_left(scores.real_scores, score), scores)
    above = bisect_right(scores.real_scores, tail.threshold)
    start = max(_counted_rate(above, scores), _share_to_rate(tail.exceedance, scores.real_count))
    if score > tail.threshold:
        return max(SMALLEST_RATE, start * tail.survival(score))
    return max(start, _counted_rate(bisect_left(scores.real_scores, score), scores))


class Adjusted(NamedTuple):
    """A false-alarm rate that allows for how many faces (or people) were judged together.

    Attributes:
        rate: how often, at most, `among` out of the same number of real ones score as high as these.
        among: how many score as high, the one in question included.
    """

    rate: float
    among: int


def adjusted(rates: Sequence[float]) -> list[Adjusted]:
    """The false-alarm rates of single faces, adjusted for the number of faces.

    This is the step-up procedure of Benjamini & Hochberg 1995, "Controlling the false discovery rate". Of pictures with
    real faces only, at most a share of α holds a face whose adjusted rate is at most α, provided that the faces are
    independent (Simes 1986) or look fake together rather than instead of one another (Sarkar 1998, "Some probability
    inequalities for ordered MTP2 random variables"), as faces from the same camera do. Every face still needs a rate of at
    most α of its own; where all have one, that is enough, so in a wholly fake picture as many can be called fake as if
    each face were alone.

    Args:
        rates: of the faces, each above 0 and at most 1.

    Returns:
        One for each rate, at least as large: the smallest n × p / k over this and all larger rates p, each of rank k.
    """
    count = len(rates)
    order = sorted(range(count), key=lambda at: rates[at])
    found: list[Adjusted] = [Adjusted(1.0, count)] * count
    best = Adjusted(math.inf, count)
    for rank in range(count, 0, -1):
        at = order[rank - 1]
        rate = rates[at] * count / rank if rank < count else rates[at]
        if rate < best.rate:
            best = Adjusted(rate, rank)
        found[at] = best
    return found


def corrected(rate: float, count: float) -> float:
    """1 − (1 − rate)^count: the rate of a false alarm among `count` independent faces, 1 or more (Šidák 1967).

    Exact for tiny rates, where the plain formula loses all its digits. The count need not be whole, for several may share
    one.
    """
    return 1.0 if rate >= 1 else -math.expm1(count * math.log1p(-rate))


def probability(logit: float, calibration: Calibration, detail: Detail = FULL) -> float:
    """Calibrated probability, 0 to 1, that a face is fake (Platt 1999; Guo et al. 2017).

    Args:
        logit, calibration, detail: as for `false_alarm_rate`.
    """
    return probability_of(log_odds(logit, calibration, detail))


def probability_of(log_odds: float) -> float:
    """The probability, 0 to 1, with these log-odds."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def log_odds(logit: float, calibration: Calibration, detail: Detail = FULL) -> float:
    """The log-odds, log(p / (1 − p)), of that probability."""
    return log_odds_of(logit, calibration.of(detail))


def log_odds_of(score: Score, scores: FaceScores) -> Score:
    """The log-odds, log(p / (1 − p)), that a face of this group with this score is fake.

    Args:
        score: a number, or float64 of any shape.
        scores: of the group.
    """
    return score / scores.temperature + scores.bias


def any_fake_probability(log_odds: Sequence[float]) -> float:
    """Posterior probability, 0 to 1, that one of the faces is fake.

    With even prior odds, and any one of the faces equally likely to be the fake, the odds are the mean of the faces'
    odds. For a single face this is `probability`; a crowd does not raise it, as 1 − Π(1 − p) would.

    Args:
        log_odds: of each face, at least one.
    """
    top = max(log_odds)
    # fsum is exact, so the order of the faces cannot change the last digit.
    return probability_of(
        top + math.log(math.fsum(math.exp(value - top) for value in log_odds) / len(log_odds))
    )


def _counted_rate(below: int, scores: RealScores) -> float:
    share_below = scores.real_probabilities[below - 1] if below else 0.0
    return _share_to_rate(1 - share_below, scores.real_count)


def _share_to_rate(share: float, count: int) -> float:
    return (1 + count * share) / (1 + count)
