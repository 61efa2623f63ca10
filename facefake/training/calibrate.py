"""Turns scores of faces that training never saw into the numbers that a bundle promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facefake.calibration import Calibration, FaceScores, GrainlessFaces, Lack, SoftFaces, lack_of
from facefake.detail import Detail
from facefake.errors import DatasetError
from facefake.rates import log_odds_of
from facefake.training.companions import Seen, fit_neighbours
from facefake.training.face_scores import fit_face_scores
from facefake.training.metrics import area_under_curve
from facefake.training.real_scores import TAIL_FROM, effective_count, enough_alone, source_weights
from facefake.training.scoring import CrossFitted, Scorer, detail_of, largest_of_each, measure, sources_of
from facefake.training.views import (
    TIERS,
    blurred,
    denoised,
    small,
    small_and_blurred,
    smoothed,
    view,
    wear,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.training.crops import CropStore
    from facefake.training.scoring import Measured, Wear

ALARM_RATE = 0.01
UNCERTAIN_RATE = 0.1
FACE_SIDES = (16, 24, 32, 48, 64, 96, 128, 224)  # pixels
LEAST_AUC = 0.75  # below this, faces are better left unjudged

BLURS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)  # σ in pixels of the stored crop
SOFT_FROM = 2.0  # one of these: at weaker ones, real faces score as they do when sharp
# Share of the real faces at that blur that count as soft. With 0.95 a quarter of all fakes do, too, and a tenth fewer are
# found; with less, faces between sharp and soft are called fake too often (models/EXPERIMENTS.md, 56).
SOFT_SHARE = 0.85
# Share of denoised real faces that count as faces without grain; of other real faces, one in ten does.
GRAINLESS_SHARE = 0.7
SMALL_BLUR = 0.7  # σ in pixels of the smallest face that is judged, equivalent to 3 on one of 190 pixels
PROBED_A_SOURCE = 60
_LEAST_FACES = 20


class _Limits(NamedTuple):
    """What is still judged: least side of a face's box in pixels, least sharpness, and strongest blur, σ in pixels.

    `lacking` holds the sharpness below which a face is soft, and the grain below which it counts as one without grain.
    """

    face_side: int
    sharpness: float
    blur: float
    lacking: Detail


class _Viewed(NamedTuple):
    """The logits of some faces in one view, float32 (n,), and what each face lacks, str (n,): "" for nothing."""

    logits: NDArray[np.float32]
    lacks: NDArray[np.str_]

    def whole(self) -> _Viewed:
        """The same, treated as if no face lacked anything."""
        return self._replace(lacks=np.full(self.lacks.size, ""))

    def counted_logits(self) -> NDArray[np.float32]:
        """The logits of the faces that lack nothing, NaN for the others."""
        return np.where(self.lacks == "", self.logits, np.float32(np.nan))

    def seen(self, scores: FaceScores, lacking: Mapping[Lack, FaceScores]) -> Seen:
        """What `fit_neighbours` takes; the odds of a face that lacks detail come from the fit for such faces."""
        logits = self.logits.astype(np.float64)
        odds = log_odds_of(logits, scores)
        for lack, own in lacking.items():
            odds = np.where(self.lacks == lack, log_odds_of(logits, own), odds)
        return Seen(odds, self.lacks == "")


def calibrate(
    scorer: Scorer | CrossFitted,
    store: CropStore,
    numbers: Sequence[int],
    side: int,
    margin: float,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Calibration:
    """Measure a network on faces that it was not trained on.

    Every face is used on each tier: clean, web and hard. The false-alarm rates hold on each tier separately, and on the
    smallest faces that are judged; see `fit_real_scores`. Soft faces have rates of their own, which hold at each blur
    from `SOFT_FROM` to the strongest that is judged, and on the smallest faces out of focus; so do faces without grain,
    whose rates hold on denoised and on smoothed faces. Those views are used whole, including faces that fall into another
    group: the rest of a view would say too little. Of all other views, only faces that lack no detail are used, or all
    faces where those are too few. A network that fails at `SOFT_FROM` has no soft faces: its rates hold at each blur that
    is judged.

    The same is fitted for faces among neighbours, for which faces of one source stand in: each face among others in the
    same view, and small and blurred faces and those that lack detail also among clean ones. Where no source has 20 real
    faces, this is left out, and all faces are judged as if they were alone.

    Args:
        scorer: the networks; or, where their last layers were fitted to some of these faces, what `refit.refit` gives.
        store: the crops.
        numbers: which of them to calibrate on; real and fake.
        side, margin: the network's.
        progress: called after every view with what is counted, how many are done and their total.

    Raises:
        DatasetError: fewer than 20 faces of either label.
    """
    check_enough(store, numbers)
    labels = np.array([store.crops[n].example.label == "fake" for n in numbers])
    sources = sources_of(store, numbers)
    probed = largest_of_each(store, numbers, PROBED_A_SOURCE)
    limits = _limits(scorer, store, probed, side, margin, partial(progress, "sizes and blurs tried"))
    reals = [number for number, fake in zip(numbers, labels, strict=True) if not fake]
    worn, lacking = _views_within(limits)
    views_done, view_count = count(1), len(TIERS) + len(worn) + sum(map(len, lacking.values()))

    def measured(numbers: Sequence[int], wear: Wear) -> Measured:
        found = measure(scorer, store, numbers, side, margin, wear)
        progress("calibration views scored", next(views_done), view_count)
        return found

    lacking_logits = {
        lack: np.stack([measured(numbers, each).logits for each in views]) for lack, views in lacking.items()
    }
    groups = {lack: fit_face_scores(each, labels, sources) for lack, each in lacking_logits.items()}
    soft = (
        SoftFaces(below=limits.lacking.sharpness, **groups["soft"].arguments()) if "soft" in groups else None
    )
    grainless = GrainlessFaces(below=limits.lacking.grain, **groups["grainless"].arguments())

    def viewed(numbers: Sequence[int], wear: Wear) -> _Viewed:
        found = measured(numbers, wear)
        lacks = [lack_of(detail, soft, grainless) or "" for detail in found.each_detail()]
        return _Viewed(found.logits, np.array(lacks))

    tiers = [viewed(numbers, partial(wear, tier=tier)) for tier in TIERS]
    faint = [viewed(reals, each) for each in worn]
    if not _enough_lack_nothing(tiers, faint, labels, sources):
        tiers, faint = ([view.whole() for view in views] for views in (tiers, faint))
    scores = fit_face_scores(
        np.stack([view.counted_logits() for view in tiers]),
        labels,
        sources,
        [view.counted_logits() for view in faint],
    )
    neighbours = fit_neighbours(
        [view.seen(scores, groups) for view in tiers],
        [view.seen(scores, groups) for view in faint],
        {
            lack: [_Viewed(view, np.full(view.size, "")).seen(groups[lack], {}) for view in views]
            for lack, views in lacking_logits.items()
        },
        labels,
        sources,
        np.array([store.crops[n].example.source for n in numbers]),
    )
    return Calibration(
        **scores.arguments(),
        neighbours=neighbours,
        alarm_rate=ALARM_RATE,
        uncertain_rate=UNCERTAIN_RATE,
        min_face=float(limits.face_side),
        min_sharpness=limits.sharpness,
        soft=soft,
        grainless=grainless,
    )


def _views_within(limits: _Limits) -> tuple[list[Wear], dict[Lack, list[Wear]]]:
    """The views of real faces besides the tiers, and for each lack of detail the views of faces that show it."""
    worn: list[Wear] = [partial(small, face_side=limits.face_side)]
    lacking: dict[Lack, list[Wear]] = {"grainless": [smoothed, denoised]}
    if limits.blur < SOFT_FROM:
        worn += [partial(blurred, sigma=sigma) for sigma in BLURS if 0 < sigma <= limits.blur]
    else:
        lacking["soft"] = [
            *(partial(blurred, sigma=sigma) for sigma in BLURS if SOFT_FROM <= sigma <= limits.blur),
            partial(small_and_blurred, face_side=limits.face_side, sigma=SMALL_BLUR),
        ]
    return worn, lacking


def _enough_lack_nothing(
    tiers: Sequence[_Viewed], faint: Sequence[_Viewed], labels: NDArray[np.bool_], sources: NDArray[np.str_]
) -> bool:
    """Whether rates and probabilities can be fitted without the faces that lack detail."""
    own = np.stack([view.lacks == "" for view in tiers])
    real = np.stack([*own[:, ~labels], *(view.lacks == "" for view in faint)])
    return enough_alone(real, sources[~labels]) and bool((own[:, labels].sum(1) >= _LEAST_FACES).all())


def check_enough(store: CropStore, numbers: Sequence[int], use: str = "calibrate on") -> None:
    """Check that there are enough faces to calibrate on, or for another use of the calibration half.

    Raises:
        DatasetError: fewer than 20 of either label.
    """
    count = {label: sum(store.crops[n].example.label == label for n in numbers) for label in ("real", "fake")}
    if min(count.values()) < _LEAST_FACES:
        raise DatasetError(
            f"expected at least {_LEAST_FACES} real and {_LEAST_FACES} fake faces to {use}, got {count}: they are "
            "half of what is not trained on (a fifth of a small folder), each photograph once; give more distinct "
            "pictures, or a manifest with more in val"
        )


def told_limits(store: CropStore, numbers: Sequence[int]) -> str | None:
    """A sentence for the user about what too few real faces to calibrate on rule out; None if there are enough."""
    sources = sources_of(store, [n for n in numbers if store.crops[n].example.label == "real"])
    count = effective_count(source_weights(sources))
    if count >= TAIL_FROM:
        return None
    # With no tail fitted no rate is below 1 / (count + 1); among so many faces that is ALARM_RATE.
    faces = int(ALARM_RATE * (count + 1) + 1e-9)
    if faces == 0:
        bound = f"no face can be called fake at a false-alarm rate of {ALARM_RATE:.0%}, only uncertain"
    elif faces == 1:
        bound = "a single fake cannot be called fake beside other faces"
    else:
        bound = f"a single fake can be called fake only in pictures of at most {faces} faces"
    several = len(set(sources.tolist()))
    of = f" of {several} sources (those of small sources weigh more)" if several > 1 else ""
    return (
        f"{sources.size:,} real faces{of} to calibrate on count as much as {count:,} from one source, so {bound}; "
        f"{TAIL_FROM} would lift this limit."
    )


def auc_by_view(
    scorer: Scorer | CrossFitted,
    store: CropStore,
    numbers: Sequence[int],
    side: int,
    margin: float,
    views: Mapping[float, Wear],
    viewed: Callable[[], None] = lambda: None,
) -> dict[float, float]:
    """AUC, 0 to 1, of all fakes against all real faces in each view."""
    labels = np.array([store.crops[n].example.label == "fake" for n in numbers])
    result = {}
    for key, worn in views.items():
        logits = measure(scorer, store, numbers, side, margin, worn).logits
        result[key] = area_under_curve(logits[~labels], logits[labels])
        viewed()
    return result


def _limits(
    scorer: Scorer | CrossFitted,
    store: CropStore,
    numbers: Sequence[int],
    side: int,
    margin: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> _Limits:
    """The limits of size and sharpness within which the AUC is at least `LEAST_AUC`.

    Sizes are measured on the web tier: compression takes more from a small face than from a large one.
    """
    done = count(1)

    def viewed() -> None:
        progress(next(done), len(FACE_SIDES) + len(BLURS))

    auc = partial(auc_by_view, scorer, store, numbers, side, margin, viewed=viewed)
    by_side = auc({face: partial(small, face_side=face, tier="web") for face in FACE_SIDES})
    by_blur = auc({sigma: partial(blurred, sigma=sigma) for sigma in BLURS})
    unfit = next((place for place, sigma in enumerate(BLURS) if by_blur[sigma] < LEAST_AUC), len(BLURS))
    strongest = BLURS[min(unfit, len(BLURS) - 1)]
    real = [n for n in numbers if store.crops[n].example.label == "real"]

    def quantile(share: float, wear: Wear) -> Detail:
        """A quantile of the real faces' sharpness, and of their grain."""
        worn = [wear(store.pixels(n)) for n in real]
        measured = [detail_of(view(pixels, side, margin), pixels, margin) for pixels in worn]
        return Detail(*np.quantile(measured, share, axis=0).tolist())

    return _Limits(
        face_side=_smallest(by_side),
        sharpness=quantile(0.5 if unfit < len(BLURS) else 0.05, partial(blurred, sigma=strongest)).sharpness,
        blur=BLURS[max(0, unfit - 1)],
        lacking=Detail(
            quantile(SOFT_SHARE, partial(blurred, sigma=SOFT_FROM)).sharpness,
            quantile(GRAINLESS_SHARE, denoised).grain,
        ),
    )


def _smallest(by_side: Mapping[float, float]) -> int:
    """The smallest measured side from which upwards the AUC is at least `LEAST_AUC`; the largest if there is none.

    It is not interpolated between two measured sides: smaller faces cost more tiles per picture, and tell the least.
    """
    sides = sorted(by_side)
    unfit = [place for place, side in enumerate(sides) if by_side[side] < LEAST_AUC]
    return int(sides[min(unfit[-1] + 1, len(sides) - 1)] if unfit else sides[0])
