"""What a detector is judged by: threshold-free, at a false-alarm rate, and for the honesty of its probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def area_under_curve(real: ArrayLike, fake: ArrayLike) -> float:
    """Area under the ROC curve: how often a fake scores above a real one, ties counted half (Mann–Whitney U).

    Args:
        real, fake: scores, (n,) and (m,), each at least one.

    Returns:
        0 to 1; NaN when either is empty.
    """
    reals, fakes = np.sort(np.asarray(real, np.float64)), np.asarray(fake, np.float64)
    if not reals.size or not fakes.size:
        return float("nan")
    below = np.searchsorted(reals, fakes, "left") + np.searchsorted(reals, fakes, "right")
    return float(below.mean() / (2 * reals.size))


def detection_rate(real: ArrayLike, fake: ArrayLike, false_alarms: float) -> float:
    """Share of fakes that score above the threshold at which at most `false_alarms` of the real ones do.

    Returns:
        0 to 1; NaN when either is empty.
    """
    reals, fakes = np.sort(np.asarray(real, np.float64))[::-1], np.asarray(fake, np.float64)
    if not reals.size or not fakes.size:
        return float("nan")
    threshold = reals[int(false_alarms * reals.size)]
    return float((fakes > threshold).mean())


def calibration_error(probability: ArrayLike, fake: ArrayLike, weight: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean gap between stated and true share of fakes, over bins of equal weight.

    Args:
        probability: stated probabilities of fake, (n,).
        fake: whether each is, (n,).
        weight: weight of each face, (n,), above 0; use it to give both labels and every source their share.
        bins: how many.

    Returns:
        0 to 1 (Naeini et al., AAAI 2015, with equal-mass bins).
    """
    order = np.argsort(np.asarray(probability), kind="stable")
    stated = np.asarray(probability, np.float64)[order]
    truth = np.asarray(fake, np.float64)[order]
    mass = np.asarray(weight, np.float64)[order]
    mass = mass / mass.sum()
    # Faces with one probability may fall into two bins: each then takes their common share, whatever their order.
    _, tie = np.unique(stated, return_inverse=True)
    truth = (np.bincount(tie, mass * truth) / np.bincount(tie, mass))[tie]
    bin_of = np.minimum((np.cumsum(mass) - mass / 2) * bins, bins - 1).astype(int)
    gaps = np.bincount(bin_of, mass * (stated - truth), bins)
    return float(np.abs(gaps).sum())
