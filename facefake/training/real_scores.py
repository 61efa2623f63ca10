"""How high real faces score, measured so that it holds on sources of real faces that were not measured.

One collection of real photographs raises many times the false alarms of another: the uncertainty lies in the sources, not
in the number of their faces. So a source is weighted by the square root of its size, and whether that is enough is
measured by leaving each source out (`left_out_alarms`). A guarantee for any new source whatsoever would need about
1 / false-alarm rate sources (Dunn, Wasserman & Ramdas, JASA 2023): a hundred for a rate of 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from facefake.calibration import Calibration, GeneralisedPareto, RealScores
from facefake.rates import false_alarm_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_FACES = 20
"""A source with fewer faces says nothing by itself about a rate of a few per cent."""

TAIL_FROM = 200
"""With fewer faces, no tail is fitted to the highest scores, and no rate is below 1 / (1 + their number)."""

_QUANTILES = 400
# At 1 %, where verdicts fall, faces are then still counted, or almost; a tail fitted to the highest tenth is too heavy
# there and misses fakes for nothing: with sources left out, both hold the rate.
_TAIL_SHARE = 0.03
_TAIL_FACES = 20  # the fewest for a mean excess


@dataclass(frozen=True, slots=True)
class LeftOut:
    """False alarms on a source of real faces when the threshold comes from all others.

    Attributes:
        per_face: share of all faces, each judged by the threshold from the other sources.
        mean: mean of the shares of the sources with at least 20 faces.
        worst: the highest of these shares.
        worst_source: the source that has it.
    """

    per_face: float
    mean: float
    worst: float
    worst_source: str


def source_weights(sources: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weights (n,) with sum 1, by which a source counts in proportion to the square root of its size."""
    _, source, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[source])
    return np.asarray(weights / weights.sum(), np.float64)


def effective_count(weights: NDArray[np.float64]) -> int:
    """The effective number of faces under unequal weights (Kish, "Survey Sampling", 1965)."""
    return max(1, int(1 / (weights**2).sum() + 1e-6))


def fit_real_scores(logits: NDArray[np.float32], sources: NDArray[np.str_], draws: int = 1) -> RealScores:
    """The distribution of real faces' scores, taken from the worst of several views at every quantile.

    So a rate holds on each view separately: small faces that never look fake must not make up for large ones that do.

    Args:
        logits: float32 (views, n), of the same faces; NaN where a face does not count in a view.
        sources: of the faces, (n,).
        draws: how often each face occurs, with whatever else its score depends on drawn anew; all of them count as one.
    """
    views = [
        (view[own], source_weights(sources[own])) for view, own in zip(logits, ~np.isnan(logits), strict=True)
    ]
    count = max(1, min(effective_count(weights) for _, weights in views) // draws)
    levels = (np.arange(count) + 0.5) / count
    real = np.max([weighted_quantiles(*view, levels) for view in views], axis=0)
    shares = np.linspace(0, 1, min(_QUANTILES, count) + 1)[1:]
    # A finer grid towards the high scores, where verdicts fall.
    shares = np.unique(np.concatenate([shares, 1 - np.geomspace(1 / count, 0.05, 60)]))
    # Minus a little: k / count * count is sometimes slightly more than k, which would skip its rank.
    kept = np.unique(np.ceil(shares * count - 1e-6).astype(int).clip(1, count))
    return RealScores(
        real_scores=tuple(float(real[rank - 1]) for rank in kept),
        real_probabilities=tuple(
            float(np.searchsorted(real, real[rank - 1], "right") / count) for rank in kept
        ),
        real_count=count,
        tail=fit_tail(real),
    )


def enough_alone(own: NDArray[np.bool_], sources: NDArray[np.str_]) -> bool:
    """Whether some of the real faces suffice without the others: in each view, as much as `TAIL_FROM` of one source.

    Args:
        own: which of them, bool (views, n).
        sources: of the faces, (n,).
    """
    return all(view.any() and effective_count(source_weights(sources[view])) >= TAIL_FROM for view in own)


def fit_tail(scores: NDArray[np.float32]) -> GeneralisedPareto | None:
    """A generalised Pareto distribution of the highest 3 % of ascending scores, or of the highest 20 if those are more.

    None when there are fewer than `TAIL_FROM`, or the highest are all equal.

    Fitted by probability-weighted moments (Hosking & Wallis, Technometrics 1987). A tail with a finite end is replaced by
    the exponential one with the same mean: a few hundred faces cannot prove that no real face scores higher. Just above
    the threshold, the exponential tail states fewer alarms than were counted, by up to a third
    (models/EXPERIMENTS.md, 32).
    """
    if scores.size < TAIL_FROM:
        return None
    values = scores.astype(np.float64)
    first = values.size - max(_TAIL_FACES, int(_TAIL_SHARE * values.size))
    threshold = values[first - 1]
    excess = values[first:] - threshold
    ranks = np.arange(1, excess.size + 1)
    mean = excess.mean()
    if mean <= 0:  # the highest scores are all equal
        return None
    moment = float((excess * (1 - (ranks - 0.35) / excess.size)).mean())
    shape = 2 - mean / (mean - 2 * moment)
    scale = 2 * mean * moment / (mean - 2 * moment)
    if not 0 < shape < 1:
        shape, scale = 0.0, mean
    return GeneralisedPareto(float(threshold), float(scale), float(shape), excess.size / values.size)


def left_out_alarms(
    calibration: Calibration, logits: NDArray[np.float32], sources: NDArray[np.str_]
) -> list[LeftOut]:
    """How often real faces of a source that the calibration has not seen raise an alarm, for each view.

    Every source in turn is judged by what `fit_real_scores` makes of all the others, at the calibration's
    alarm_rate.

    Args:
        calibration: gives the alarm_rate.
        logits: float32 (views, n), of real faces; NaN where a face does not count in a view.
        sources: of the faces, (n,).

    Returns:
        One for each view; empty when in any of them fewer than two sources have `LEAST_FACES` faces.
    """
    counted = ~np.isnan(logits)
    large = [_large(sources[own]) for own in counted]
    if any(len(names) < 2 for names in large):
        return []
    alarms = np.zeros(logits.shape, bool)
    for name in sorted(set(sources.tolist())):
        own = sources == name
        others = replace(
            calibration,
            **fit_real_scores(logits[:, ~own], sources[~own]).arguments(),
            soft=None,
            grainless=None,
            neighbours=None,
        )
        alarms[:, own] = logits[:, own] >= threshold(others, calibration.alarm_rate)
    return [
        _left_out(view[own], sources[own], names)
        for view, own, names in zip(alarms, counted, large, strict=True)
    ]


def threshold(calibration: Calibration, rate: float) -> float:
    """The lowest logit, to a thousandth, at which the false-alarm rate of a face that lacks no detail is at most `rate`."""
    low, high = calibration.real_scores[0] - 1.0, calibration.real_scores[-1] + 1.0
    while false_alarm_rate(high, calibration) > rate:
        if high > 1e6:  # no logit is rare enough where few faces were measured
            return float("inf")
        high += high - low
    while high - low > 1e-3:
        middle = (low + high) / 2
        if false_alarm_rate(middle, calibration) > rate:
            low = middle
        else:
            high = middle
    return high


def told_never_fake(calibration: Calibration) -> str | None:
    """A sentence for the user about a model that cannot call any single face fake; None for any other model."""
    if np.isfinite(threshold(calibration, calibration.alarm_rate)):
        return None
    return (
        "The model calls no single face fake, only uncertain: the real faces that it was calibrated on count as much as "
        f"{calibration.real_count:,} from one source, too few for a false-alarm rate of {calibration.alarm_rate:.0%}."
    )


def _large(sources: NDArray[np.str_]) -> list[str]:
    """Those with at least `LEAST_FACES` faces, in order."""
    names, counts = np.unique(sources, return_counts=True)
    return [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_FACES]


def _left_out(alarms: NDArray[np.bool_], sources: NDArray[np.str_], large: Sequence[str]) -> LeftOut:
    shares = {name: float(alarms[sources == name].mean()) for name in large}
    worst = max(shares, key=lambda name: shares[name])
    return LeftOut(float(alarms.mean()), float(np.mean(list(shares.values()))), shares[worst], worst)


def weighted_quantiles(
    values: NDArray[np.float32], weights: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The quantiles of values (n,), with weights that sum to 1, at levels (m,) from 0 to 1; float32 (m,)."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return np.asarray(values[order][np.searchsorted(below, levels).clip(0, values.size - 1)], np.float32)
