"""Metrics of a detector: threshold-free, at a false-alarm rate, and of the calibration of its probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_BINS = 10


class Reliability(NamedTuple):
    """Stated probabilities and true shares, in bins of equal weight; each float64 (bins,), 0 to 1.

    Attributes:
        mass: share of the weight in the bin.
        stated: mean stated probability of fake.
        true: share of fakes.
    """

    mass: NDArray[np.float64]
    stated: NDArray[np.float64]
    true: NDArray[np.float64]


def area_under_curve(real: ArrayLike, fake: ArrayLike) -> float:
    """Area under the ROC curve: how often a fake scores above a real one, ties counted half (Mann–Whitney U).

    Args:
        real, fake: scores, (n,) and (m,).

    Returns:
        0 to 1; NaN when either is empty.
    """
    reals, fakes = np.sort(np.asarray(real, np.float64)), np.asarray(fake, np.float64)
    if not reals.size or not fakes.size:
        return float("nan")
    below = np.searchsorted(reals, fakes, "left") + np.searchsorted(reals, fakes, "right")
    return float(below.mean() / (2 * reals.size))


def roc_curve(real: ArrayLike, fake: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve: at every threshold that separates the scores, the shares at or above it.

    Args:
        real, fake: scores, (n,) and (m,), each at least one.

    Returns:
        False-positive and true-positive rates, float64 (k,), both ascending from 0 to 1. Straight lines between
        the points enclose `area_under_curve`.
    """
    reals, fakes = np.sort(np.asarray(real, np.float64)), np.sort(np.asarray(fake, np.float64))
    thresholds = np.unique(np.concatenate([reals, fakes]))[::-1]
    rates = [1 - np.searchsorted(scores, thresholds, "left") / scores.size for scores in (reals, fakes)]
    start = np.zeros(1)
    return np.concatenate([start, rates[0]]), np.concatenate([start, rates[1]])


def detection_rate(real: ArrayLike, fake: ArrayLike, false_alarms: float) -> float:
    """Share of fakes that score above the threshold at which at most `false_alarms` of the real ones do.

    Args:
        real, fake: scores, (n,) and (m,).
        false_alarms: a share, from 0 to below 1.

    Returns:
        0 to 1; NaN when either is empty.
    """
    reals, fakes = np.sort(np.asarray(real, np.float64))[::-1], np.asarray(fake, np.float64)
    if not reals.size or not fakes.size:
        return float("nan")
    threshold = reals[int(false_alarms * reals.size)]
    return float((fakes > threshold).mean())


def reliability(probability: ArrayLike, fake: ArrayLike, weight: ArrayLike, bins: int = _BINS) -> Reliability:
    """How the stated probabilities compare with the truth, over bins of equal weight; empty bins are left out.

    Args:
        probability: stated probabilities of fake, (n,).
        fake: whether each is, (n,).
        weight: weight of each face, (n,), above 0; use it to give both labels and every source their share.
        bins: how many.
    """
    order = np.argsort(np.asarray(probability), kind="stable")
    stated = np.asarray(probability, np.float64)[order]
    truth = np.asarray(fake, np.float64)[order]
    mass = np.asarray(weight, np.float64)[order]
    mass = mass / mass.sum()
    # Faces with the same probability may fall into two bins: each then gets their common share, whatever their order.
    _, tie = np.unique(stated, return_inverse=True)
    truth = (np.bincount(tie, mass * truth) / np.bincount(tie, mass))[tie]
    bin_of = np.minimum((np.cumsum(mass) - mass / 2) * bins, bins - 1).astype(int)
    total = np.bincount(bin_of, mass, bins).astype(np.float64)
    held = total > 0
    stated_mass, true_mass = np.bincount(bin_of, mass * stated, bins), np.bincount(bin_of, mass * truth, bins)
    return Reliability(total[held], stated_mass[held] / total[held], true_mass[held] / total[held])


def calibration_error(probability: ArrayLike, fake: ArrayLike, weight: ArrayLike, bins: int = _BINS) -> float:
    """Expected calibration error: mean gap between stated and true share of fakes, over bins of equal weight.

    Args:
        probability, fake, weight, bins: as `reliability` takes them.

    Returns:
        0 to 1 (Naeini et al., AAAI 2015, with equal-mass bins).
    """
    found = reliability(probability, fake, weight, bins)
    return float((found.mass * np.abs(found.stated - found.true)).sum())


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, of which `count` in `total` were seen, 0 to 1 (Wilson, JASA 1927)."""
    z = 1.96
    share = count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
