"""Logistic regression with weights and a ridge penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_STEPS = 50
_LEAST_STEP = 1e-9  # in any parameter


def fit_logistic(
    design: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
    ridge: NDArray[np.float64],
    prior: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The parameters (d,) that minimise the weighted log loss of ``design @ parameters``, by Newton's method.

    The penalty on their distance from the prior, half of ``ridge @ (parameters - prior) ** 2``, is added to the loss.

    Args:
        design: (n, d).
        labels: (n,).
        weights: of the examples, (n,).
        ridge: above 0, (d,).
        prior: where the parameters start, (d,).
    """

    def loss(parameters: NDArray[np.float64]) -> float:
        margins = design @ parameters
        fit = float(weights @ (np.logaddexp(0, margins) - labels * margins))
        return fit + 0.5 * float(ridge @ (parameters - prior) ** 2)

    parameters = prior
    for _ in range(_MOST_STEPS):
        stated = 1 / (1 + np.exp(-np.clip(design @ parameters, -50, 50)))
        gradient = design.T @ (weights * (stated - labels)) + ridge * (parameters - prior)
        hessian = (design * (weights * stated * (1 - stated))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        # Where the margins are far too confident the curvature is nearly 0, and a full step would overshoot the minimum.
        while loss(parameters - step) > loss(parameters) and np.abs(step).max() >= _LEAST_STEP:
            step = step / 2
        parameters = parameters - step
        if np.abs(step).max() < _LEAST_STEP:
            break
    return parameters
