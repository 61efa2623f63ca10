"""From scores on faces that training never saw to the numbers that a bundle promises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facefake.calibration import Calibration, SoftFaces
from facefake.errors import DatasetError
from facefake.training.metrics import area_under_curve
from facefake.training.real_scores import TAIL_FROM, effective_count, fit_real_scores, source_weights
from facefake.training.scoring import Scorer, largest_of_each, measure, sharpness_of
from facefake.training.views import TIERS, blurred, small, small_and_blurred, view, wear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.training.crops import CropStore
    from facefake.training.scoring import Wear

ALARM_RATE = 0.01
UNCERTAIN_RATE = 0.1
FACE_SIDES = (16, 24, 32, 48, 64, 96, 128, 224)  # pixels
LEAST_AUC = 0.75  # below this a face is better not judged
_SIDE_STEP = 4  # pixels: the AUC does not tell sizes apart more finely

BLURS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)  # σ in pixels of the stored crop
SOFT_FROM = 2.0  # of these: at weaker ones real faces score as they do when sharp
# Of the real faces at that blur so many are soft. With 0.95 a quarter of all fakes is, too, and a tenth fewer are found;
# with less, faces between sharp and soft are called fake too often (models/EXPERIMENTS.md, 56).
SOFT_SHARE = 0.85
SMALL_BLUR = 0.7  # σ in pixels of the smallest face that is judged: as much to it as 3 to one of 190 pixels
PROBED_A_SOURCE = 60
_LEAST_FACES = 20
_LEAST_SLOPE = 1e-3  # of probability's log-odds against logits: a temperature is above 0


class _Limits(NamedTuple):
    """Where judging ends: the side of a face's box in pixels, the sharpness, and the blur, σ in pixels, behind that.

    And `soft`, the sharpness below which a face is soft.
    """

    face_side: int
    sharpness: float
    blur: float
    soft: float


def calibrate(
    scorer: Scorer, store: CropStore, numbers: Sequence[int], side: int, margin: float
) -> Calibration:
    """Measure a network on faces that it was not trained on.

    Every face counts as it is and as the web and a harder path leave it. The false-alarm rates hold on each of these
    alone, and on faces as small as are just judged; see `fit_real_scores`. Soft faces have rates of their own, which hold
    on each blur from `SOFT_FROM` to the strongest that is judged, and on the smallest faces out of focus. These views
    count whole, with the few faces in them that fall into the other group: what is left of a view says too little. A
    network that fails at `SOFT_FROM` has no soft faces: its rates hold on each blur that is judged.

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
        [measure(scorer, store, numbers, side, margin, partial(wear, tier=tier)).logits for tier in TIERS]
    )
    labels = np.array([store.crops[n].example.label == "fake" for n in numbers])
    sources = _sources(store, numbers)
    limits = _limits(scorer, store, largest_of_each(store, numbers, PROBED_A_SOURCE), side, margin)
    reals = [number for number, fake in zip(numbers, labels, strict=True) if not fake]
    worn: list[Wear] = [partial(small, face_side=limits.face_side)]
    soft = None
    if limits.blur < SOFT_FROM:
        worn += [partial(blurred, sigma=sigma) for sigma in BLURS if 0 < sigma <= limits.blur]
    else:
        out_of_focus: list[Wear] = [
            partial(blurred, sigma=sigma) for sigma in BLURS if SOFT_FROM <= sigma <= limits.blur
        ]
        out_of_focus.append(partial(small_and_blurred, face_side=limits.face_side, sigma=SMALL_BLUR))
        views = [measure(scorer, store, numbers, side, margin, each).logits for each in out_of_focus]
        soft = SoftFaces(below=limits.soft, **_fitted(np.stack(views), labels, sources))
    faint = [measure(scorer, store, reals, side, margin, each).logits for each in worn]
    return Calibration(
        **_fitted(logits, labels, sources, faint),
        alarm_rate=ALARM_RATE,
        uncertain_rate=UNCERTAIN_RATE,
        min_face=float(limits.face_side),
        min_sharpness=limits.sharpness,
        soft=soft,
    )


def _fitted(
    logits: NDArray[np.float32],
    labels: NDArray[np.bool_],
    sources: NDArray[np.str_],
    faint: Sequence[NDArray[np.float32]] = (),
) -> dict[str, Any]:
    """Temperature, bias and the real faces' scores, from logits in some views, (views, n), and of the real in more."""
    temperature, bias = _fit_probability(logits, labels, sources)
    real = fit_real_scores(np.stack([*logits[:, ~labels], *faint]), sources[~labels])
    return {"temperature": temperature, "bias": bias, **real.arguments()}


def _sources(store: CropStore, numbers: Sequence[int]) -> NDArray[np.str_]:
    """Of each crop kind and source: what weighs as one."""
    return np.array([f"{store.crops[n].example.kind}/{store.crops[n].example.source}" for n in numbers])


def check_enough(store: CropStore, numbers: Sequence[int]) -> None:
    """Whether there are faces enough to calibrate on.

    Raises:
        DatasetError: fewer than 20 of either label.
    """
    count = {label: sum(store.crops[n].example.label == label for n in numbers) for label in ("real", "fake")}
    if min(count.values()) < _LEAST_FACES:
        raise DatasetError(
            f"expected at least {_LEAST_FACES} real and {_LEAST_FACES} fake faces to calibrate on, got {count}: half of "
            "what is not trained on is, of small folders a fifth of all, each photograph once; give more different "
            "pictures, or a manifest with more in val"
        )


def told_limits(store: CropStore, numbers: Sequence[int]) -> str | None:
    """A sentence about what cannot be promised with so few real faces to calibrate on; None with enough of them."""
    sources = _sources(store, [n for n in numbers if store.crops[n].example.label == "real"])
    count = effective_count(source_weights(sources))
    if count >= TAIL_FROM:
        return None
    # With no tail fitted no rate is below this; so many faces raise it to ALARM_RATE.
    faces = int(math.log1p(-ALARM_RATE) / math.log1p(-1 / (count + 1)))
    if faces == 0:
        bound = f"no face can be called fake at a false-alarm rate of {ALARM_RATE:.0%}, only uncertain"
    elif faces == 1:
        bound = "only a face that is alone in its picture can be called fake"
    else:
        bound = f"faces can be called fake only in pictures of at most {faces}"
    several = len(set(sources.tolist()))
    of = f" of {several} sources, where the faces of small ones weigh more," if several > 1 else ""
    return (
        f"{sources.size:,} real faces{of} to calibrate on count as much as {count:,} of one source, so {bound}; "
        f"with {TAIL_FROM} there is no such bound."
    )


def _fit_probability(
    logits: NDArray[np.float32], labels: NDArray[np.bool_], sources: NDArray[np.str_]
) -> tuple[float, float]:
    """Temperature and bias by weighted logistic regression (Platt 1999) with Newton's method.

    Both labels weigh the same, and within a label every source does by the square root of its size.
    """
    weights = np.empty(labels.size)
    for label in (False, True):
        weights[labels == label] = source_weights(sources[labels == label])
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
    slope, bias = map(float, parameters)
    if slope < _LEAST_SLOPE:  # no better than chance: every face is as probably fake as not
        return 1 / _LEAST_SLOPE, 0.0
    return 1 / slope, bias


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
        logits = measure(scorer, store, numbers, side, margin, worn).logits
        result[key] = area_under_curve(logits[~labels], logits[labels])
    return result


def _limits(scorer: Scorer, store: CropStore, numbers: Sequence[int], side: int, margin: float) -> _Limits:
    """From which size and sharpness on the AUC is at least `LEAST_AUC`.

    A small face is measured as the web saves pictures: compression takes more from it than from a large one.
    """
    auc = partial(auc_by_view, scorer, store, numbers, side, margin)
    by_side = auc({face: partial(small, face_side=face, tier="web") for face in FACE_SIDES})
    by_blur = auc({sigma: partial(blurred, sigma=sigma) for sigma in BLURS})
    unfit = next((place for place, sigma in enumerate(BLURS) if by_blur[sigma] < LEAST_AUC), len(BLURS))
    strongest = BLURS[min(unfit, len(BLURS) - 1)]
    real = [n for n in numbers if store.crops[n].example.label == "real"]

    def sharpness(sigma: float, quantile: float) -> float:
        worn = [blurred(store.pixels(n), sigma) for n in real]
        measured = [sharpness_of(view(pixels, side, margin), pixels, margin) for pixels in worn]
        return float(np.quantile(measured, quantile))

    return _Limits(
        face_side=_smallest(by_side),
        sharpness=sharpness(strongest, 0.5 if unfit < len(BLURS) else 0.05),
        blur=BLURS[max(0, unfit - 1)],
        soft=sharpness(SOFT_FROM, SOFT_SHARE),
    )


def _smallest(by_side: Mapping[float, float]) -> int:
    """From which side on, in steps of four pixels, the AUC is at least `LEAST_AUC`, on a line between those measured."""
    sides = sorted(by_side)
    unfit = [place for place, side in enumerate(sides) if by_side[side] < LEAST_AUC]
    if not unfit:
        return int(sides[0])
    below = sides[unfit[-1]]
    if below == sides[-1]:
        return int(below)
    above = sides[unfit[-1] + 1]
    share = (LEAST_AUC - by_side[below]) / (by_side[above] - by_side[below])
    return math.ceil((below + share * (above - below)) / _SIDE_STEP) * _SIDE_STEP
