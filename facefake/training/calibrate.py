"""From scores on faces that training never saw to the numbers that a bundle promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from facefake.aggregator import sharpness
from facefake.calibration import Calibration, GeneralisedPareto
from facefake.errors import DatasetError
from facefake.training.crops import STORE_MARGIN, CropStore
from facefake.training.degrade import Degradation, apply
from facefake.training.metrics import area_under_curve
from facefake.training.scoring import Scorer, score
from facefake.training.views import TIERS, small, view, wear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.training.scoring import Wear

ALARM_RATE = 0.01
UNCERTAIN_RATE = 0.1
FACE_SIDES = (32, 48, 64, 96, 128, 224)  # pixels
LEAST_AUC = 0.75  # below this a face is better not judged

_QUANTILES = 400
_TAIL_SHARE = 0.1
_BLURS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)  # σ in pixels of the stored crop
_PROBED_A_SOURCE = 60
_LEAST_FACES = 20


def calibrate(
    scorer: Scorer, store: CropStore, numbers: Sequence[int], side: int, margin: float
) -> Calibration:
    """Measure a network on faces that it was not trained on.

    Every face counts as it is and as the web and a harder path leave it. The false-alarm rates come from the
    worse half of the sources of real faces, so that they hold on a source that nobody has seen yet.

    Args:
        scorer: the network.
        store: the crops.
        numbers: which of them to calibrate on; real and fake.
        side, margin: the network's.

    Raises:
        DatasetError: fewer than 20 faces of either label.
    """
    check_enough(store, numbers)
    logits = np.stack(
        [score(scorer, store, numbers, side, margin, partial(wear, tier=tier)) for tier in TIERS]
    )
    labels = np.array([store.crops[n].example.label == "fake" for n in numbers])
    sources = np.array([f"{store.crops[n].example.kind}/{store.crops[n].example.source}" for n in numbers])
    temperature, bias = _fit_probability(logits, labels, sources)
    real = np.sort(_worse_half(logits[:, ~labels], sources[~labels]))
    shares = np.linspace(0, 1, min(_QUANTILES, real.size) + 1)[1:]
    # A finer grid towards the high scores, where verdicts fall.
    shares = np.unique(np.concatenate([shares, 1 - np.geomspace(1 / real.size, 0.05, 60)]))
    kept = np.unique(np.ceil(shares * real.size).astype(int).clip(1, real.size))
    min_face, min_sharpness = _limits(scorer, store, _probe(store, numbers), side, margin)
    return Calibration(
        temperature=temperature,
        bias=bias,
        real_scores=tuple(float(real[rank - 1]) for rank in kept),
        real_probabilities=tuple(
            float(np.searchsorted(real, real[rank - 1], "right") / real.size) for rank in kept
        ),
        # The tiers of one face are no independent faces.
        real_count=real.size // len(TIERS),
        tail=fit_tail(real),
        alarm_rate=ALARM_RATE,
        uncertain_rate=UNCERTAIN_RATE,
        min_face=min_face,
        min_sharpness=min_sharpness,
    )


def check_enough(store: CropStore, numbers: Sequence[int]) -> None:
    """Whether there are faces enough to calibrate on.

    Raises:
        DatasetError: fewer than 20 of either label.
    """
    count = {label: sum(store.crops[n].example.label == label for n in numbers) for label in ("real", "fake")}
    if min(count.values()) < _LEAST_FACES:
        raise DatasetError(
            f"expected at least {_LEAST_FACES} real and {_LEAST_FACES} fake faces to calibrate on, got {count}"
        )


def fit_tail(scores: NDArray[np.float32]) -> GeneralisedPareto | None:
    """A generalised Pareto law for the highest tenth of ascending scores.

    None when there are fewer than 200, or those are all equal.

    By probability-weighted moments (Hosking & Wallis, Technometrics 1987). A tail that would end is replaced by the
    exponential one with the same mean: a few hundred faces cannot prove that no real face scores higher.
    """
    if scores.size < 200:
        return None
    values = scores.astype(np.float64)
    first = values.size - int(_TAIL_SHARE * values.size)
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


def _worse_half(logits: NDArray[np.float32], sources: NDArray[np.str_]) -> NDArray[np.float32]:
    """The scores of the sources that look most fake, as many sources as hold half of the faces."""
    names = sorted(set(sources), key=lambda name: -float(np.quantile(logits[:, sources == name], 0.95)))
    chosen: list[str] = []
    while sum((sources == name).sum() for name in chosen) < sources.size / 2:
        chosen.append(names[len(chosen)])
    return logits[:, np.isin(sources, chosen)].ravel()


def _fit_probability(
    logits: NDArray[np.float32], labels: NDArray[np.bool_], sources: NDArray[np.str_]
) -> tuple[float, float]:
    """Temperature and bias by weighted logistic regression (Platt 1999) with Newton's method.

    Both labels weigh the same, and within a label every source does by the square root of its size.
    """
    _, source, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[source])
    for label in (False, True):
        weights[labels == label] /= weights[labels == label].sum()
    x = logits.astype(np.float64).ravel()
    y, w = np.tile(labels, len(logits)).astype(np.float64), np.tile(weights, len(logits))
    design = np.column_stack([x, np.ones_like(x)])
    prior = np.array([1.0, 0.0])

    def loss(parameters: NDArray[np.float64]) -> float:
        margins = design @ parameters
        fit = float(w @ (np.logaddexp(0, margins) - y * margins))
        return fit + 0.5e-4 * float(((parameters - prior) ** 2).sum())

    parameters = prior
    for _ in range(50):
        stated = 1 / (1 + np.exp(-np.clip(design @ parameters, -50, 50)))
        gradient = design.T @ (w * (stated - y)) + 1e-4 * (parameters - prior)
        hessian = (design * (w * stated * (1 - stated))[:, None]).T @ design + 1e-4 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # Where the logits are far too sure the curvature is all but 0, and a full step would leap beyond the minimum.
        while loss(parameters - step) > loss(parameters) and np.abs(step).max() >= 1e-9:
            step = step / 2
        parameters = parameters - step
        if np.abs(step).max() < 1e-9:
            break
    slope = max(
        float(parameters[0]), 1e-3
    )  # a network that is worse than chance still has a temperature above 0
    return 1 / slope, float(parameters[1])


def _probe(store: CropStore, numbers: Sequence[int]) -> list[int]:
    """At most 60 crops a source, large ones first: what small or blurred views are made of."""
    by_source: dict[tuple[str, str], list[int]] = {}
    for number in sorted(numbers, key=lambda n: -store.crops[n].side):
        example = store.crops[number].example
        by_source.setdefault((example.label, example.source), []).append(number)
    return [number for members in by_source.values() for number in members[:_PROBED_A_SOURCE]]


def auc_by_view(
    scorer: Scorer,
    store: CropStore,
    numbers: Sequence[int],
    side: int,
    margin: float,
    views: Mapping[float, Wear],
) -> dict[float, float]:
    """AUC, 0 to 1, of all fakes against all real faces, as each view shows them."""
    labels = np.array([store.crops[n].example.label == "fake" for n in numbers])
    result = {}
    for key, worn in views.items():
        logits = score(scorer, store, numbers, side, margin, worn)
        result[key] = area_under_curve(logits[~labels], logits[labels])
    return result


def _limits(
    scorer: Scorer, store: CropStore, numbers: Sequence[int], side: int, margin: float
) -> tuple[float, float]:
    """The smallest face side and the smallest sharpness from which on the AUC is at least `LEAST_AUC`."""
    by_side = auc_by_view(
        scorer, store, numbers, side, margin, {face: partial(small, face_side=face) for face in FACE_SIDES}
    )
    fit_sides = [face for face in FACE_SIDES if all(by_side[f] >= LEAST_AUC for f in FACE_SIDES if f >= face)]
    blurred = {sigma: partial(apply, degradation=Degradation(blur=sigma)) for sigma in _BLURS}
    by_blur = auc_by_view(scorer, store, numbers, side, margin, blurred)
    unfit = [sigma for sigma in _BLURS if by_blur[sigma] < LEAST_AUC]
    worn = blurred[unfit[0] if unfit else _BLURS[-1]]
    real = [n for n in numbers if store.crops[n].example.label == "real"]
    measured = [
        sharpness(
            view(worn(store.pixels(n)), side, margin), round(store.crops[n].side * margin / STORE_MARGIN)
        )
        for n in real
    ]
    return float(min(fit_sides, default=FACE_SIDES[-1])), float(np.quantile(measured, 0.5 if unfit else 0.05))
