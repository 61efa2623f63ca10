"""Turns the scores of faces in several views into what they mean: probabilities and false-alarm rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facefake.calibration import FaceScores
from facefake.training.logistic import fit_logistic
from facefake.training.real_scores import fit_real_scores, source_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RIDGE = 1e-4
_LEAST_SLOPE = 1e-3  # of the probability's log-odds against the score: a temperature must be above 0


def fit_face_scores(
    scores: NDArray[np.float32],
    labels: NDArray[np.bool_],
    sources: NDArray[np.str_],
    faint: Sequence[NDArray[np.float32]] = (),
    draws: int = 1,
) -> FaceScores:
    """Fit temperature, bias and the distribution of the real faces' scores.

    Args:
        scores: float32 (views, n), of the same faces; NaN where a face does not count in a view.
        labels: whether each is fake, bool (n,).
        sources: of the faces, (n,); each is weighted as one.
        faint: scores of the real faces in more views, likewise, float32 (real faces,) each; used for the rates only.
        draws: how often each face occurs.
    """
    temperature, bias = _fit_probability(scores, labels, sources)
    real = fit_real_scores(np.stack([*scores[:, ~labels], *faint]), sources[~labels], draws)
    return FaceScores(temperature=temperature, bias=bias, **real.arguments())


def _fit_probability(
    logits: NDArray[np.float32], labels: NDArray[np.bool_], sources: NDArray[np.str_]
) -> tuple[float, float]:
    """Temperature and bias by weighted logistic regression (Platt 1999) with Newton's method.

    Both labels have equal weight, and within a label each source is weighted by the square root of its size.
    """
    counted = ~np.isnan(logits)
    x = logits[counted].astype(np.float64)
    places = np.nonzero(counted)[1]
    y, source = labels[places], sources[places]
    w = np.empty(x.size)
    for label in (False, True):
        w[y == label] = source_weights(source[y == label])
    design = np.column_stack([x, np.ones_like(x)])
    parameters = fit_logistic(design, y, w, np.full(2, _RIDGE), np.array([1.0, 0.0]))
    slope, bias = map(float, parameters)
    if slope < _LEAST_SLOPE:  # no better than chance: every face is as likely fake as not
        return 1 / _LEAST_SLOPE, 0.0
    return 1 / slope, bias
