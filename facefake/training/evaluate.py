"""How well a bundle tells real from fake: per source and kind, by tier, size, blur, edit and crowd, and how steadily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from facefake.aggregator import verdict_of
from facefake.classifier import Classifier
from facefake.detail import Detail
from facefake.errors import DatasetError, ModelError
from facefake.rates import false_alarm_rate, probability
from facefake.training.calibrate import BLURS, FACE_SIDES, PROBED_A_SOURCE
from facefake.training.crops import CropStore, make_crops
from facefake.training.crowds import crowd_rows
from facefake.training.dataset import read_dataset
from facefake.training.edits import EDITS
from facefake.training.figures import BlurRow, EditRow, Evaluation, KindRow, SizeRow, SourceRow, TierRow
from facefake.training.metrics import area_under_curve, calibration_error, detection_rate
from facefake.training.real_scores import enough_alone, left_out_alarms, told_never_fake
from facefake.training.scoring import first_of_each, halves, largest_of_each, measure, unseen
from facefake.training.stability import VIEWS, stability
from facefake.training.views import TIERS, Tier, small, small_and_blurred, wear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.bundle import Bundle
    from facefake.calibration import Calibration
    from facefake.training.scoring import Measured, Scorer, Wear

Split = Literal["all", "train", "val", "unseen"]
Progress = Callable[[str, int, int], None]

_LABELS = ("real", "fake")
_SIZE_TIERS: tuple[Tier, ...] = ("clean", "web")
_STEADY_A_SOURCE = 25
_BLURRED = (
    *((FACE_SIDES[-1], sigma) for sigma in BLURS),
    *product((64, 48), (0.5, 0.7, 1.0)),  # pixels: equivalent to 1.5, 2 and 3, or 2, 3 and 4, on large faces
)
_VIEWS = len(TIERS) + len(FACE_SIDES) * len(_SIZE_TIERS) + len(_BLURRED) + len(EDITS) + VIEWS


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Some faces, and what a bundle says about each on its own, in one view.

    Attributes:
        fake: whether it is one, bool (n,).
        kind, source: of each, str (n,).
        logits: float32 (n,).
        details: sharpness and grain, float64 (n, 2).
        stated: fake_probability, float64 (n,).
        called_fake, called_uncertain: whether its verdict is that, bool (n,).
    """

    fake: NDArray[np.bool_]
    kind: NDArray[np.str_]
    source: NDArray[np.str_]
    logits: NDArray[np.float32]
    details: NDArray[np.float64]
    stated: NDArray[np.float64]
    called_fake: NDArray[np.bool_]
    called_uncertain: NDArray[np.bool_]

    def lacks_nothing(self, calibration: Calibration) -> NDArray[np.bool_]:
        """Whether each counts as a face that lacks no detail, bool (n,)."""
        return np.array([calibration.lack(Detail(*row)) is None for row in self.details.tolist()], bool)

    def mean(self, what: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        """Share of `what` among some faces, with equal weight for each source."""
        # In a fixed order: the last digits of a sum over a set would depend on hashes.
        names = np.unique(self.source[among])
        return float(np.mean([what[among & (self.source == name)].mean() for name in names]))

    def weights(self, among: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Weights of some faces, equal for both labels and, within each, for every source; float64, summing to 2."""
        weights = np.zeros(among.size)
        for fake in (False, True):
            own = among & (self.fake == fake)
            _, source, counts = np.unique(self.source[own], return_inverse=True, return_counts=True)
            weights[own] = 1 / (counts[source] * len(counts))
        return weights[among]

    def ranking(self, real: NDArray[np.bool_], fake: NDArray[np.bool_]) -> dict[str, float]:
        """AUC, and share of the fakes found at a threshold that 1 % of the real faces pass."""
        scores = self.logits[real], self.logits[fake]
        return {"auc": area_under_curve(*scores), "detected_at_1_percent": detection_rate(*scores, 0.01)}

    def false_alarms(self) -> dict[str, float]:
        """Share of the real faces called fake: the mean over their sources, and the share of all faces."""
        real = ~self.fake
        return {
            "false_alarms": self.mean(self.called_fake, real),
            "false_alarms_per_face": float(self.called_fake[real].mean()),
        }

    def verdicts(self, real: NDArray[np.bool_], fake: NDArray[np.bool_]) -> dict[str, float]:
        """Balanced accuracy at the bundle's threshold, and calibration error; with equal weight for each source."""
        both = real | fake
        correct = 1 - self.mean(self.called_fake, real) + self.mean(self.called_fake, fake)
        error = calibration_error(self.stated[both], self.fake[both], self.weights(both))
        return {"balanced_accuracy": correct / 2, "calibration_error": error}


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What an evaluation's figures come from.

    Attributes:
        evaluation: the figures.
        bundle: the bundle that was evaluated.
        store: the crops.
        numbers: the crops that were judged, n of them.
        tiers: tier → what the bundle says about these, in the same order.
    """

    evaluation: Evaluation
    bundle: Bundle
    store: CropStore
    numbers: Sequence[int]
    tiers: dict[Tier, Judged]


def evaluate(
    data: Path,
    bundle: Path | None,
    *,
    split: Split = "all",
    cache: Path,
    progress: Progress = lambda what, done, total: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Scored:
    """Evaluate a bundle on a dataset.

    Args:
        data: as `read_dataset` takes it.
        bundle: folder of the bundle; None for the one that comes with facefake.
        split: "unseen" is what neither the training nor the calibration of this bundle saw, provided that the dataset is
            the one that it was trained on.
        cache: where the crops are kept; see `make_crops`.
        progress: called while crops are made and scored, with what is counted, how many are done and their total.
        tell: called with a sentence about the pictures that are left out, if there are any, and with one if the model
            cannot call any single face fake.

    Raises:
        DatasetError: the dataset is not as described, or the split holds only one label.
        ModelError: the bundle is damaged.
        OutputError: `cache` cannot be written to.
    """
    classifier = Classifier(bundle, threads=2)
    store = make_crops(read_dataset(data), cache, partial(progress, "pictures cropped"))
    for sentence in (store.told_skipped(), told_never_fake(classifier.bundle.calibration)):
        if sentence:
            tell(sentence)
    numbers = _chosen(store, classifier.bundle, split)
    return evaluate_crops(classifier, classifier.bundle, store, numbers, split, progress)


def evaluate_crops(
    scorer: Scorer,
    bundle: Bundle,
    store: CropStore,
    numbers: Sequence[int],
    split: str,
    progress: Progress = lambda what, done, total: None,
) -> Scored:
    """Evaluate a bundle on crops that have been made already.

    Every face is scored on each tier; sizes, blurs and edits are measured on at most 60 faces per source and label, and
    the stability of verdicts on at most 25.
    """
    labels = [store.crops[n].example.label for n in numbers]
    if set(labels) != set(_LABELS):
        raise DatasetError(
            f"expected real and fake faces in the split {split!r}, got {labels.count('fake')} fake of {len(labels)}"
        )
    done = count(1)

    def viewed() -> None:
        progress("views scored", next(done), _VIEWS)

    def judged(numbers: Sequence[int], worn: Wear) -> Judged:
        measured = measure(scorer, store, numbers, bundle.side, bundle.margin, worn)
        viewed()
        return _judge(bundle, store, numbers, measured)

    tiers = {tier: judged(numbers, partial(wear, tier=tier)) for tier in TIERS}
    large = largest_of_each(store, numbers, PROBED_A_SOURCE)
    sizes = [
        SizeRow(
            face_side=side, tier=tier, **_weakened(judged(large, partial(small, face_side=side, tier=tier)))
        )
        for side in FACE_SIDES
        for tier in _SIZE_TIERS
    ]
    blurs = [
        BlurRow(
            face_side=side,
            blur=sigma,
            **_weakened(judged(large, partial(small_and_blurred, face_side=side, sigma=sigma))),
        )
        for side, sigma in _BLURRED
    ]
    edits = [EditRow(edit=name, **_weakened(judged(large, edit))) for name, edit in EDITS.items()]
    mixed = np.random.default_rng(0).permutation(numbers).tolist()
    steady = stability(scorer, bundle, store, first_of_each(store, mixed, _STEADY_A_SOURCE), viewed)
    trained = trained_sources(bundle.card)
    evaluation = Evaluation(
        model=bundle.label,
        split=split,
        sources=tuple(row for tier in TIERS for row in _source_rows(tiers[tier], tier, trained)),
        kinds=tuple(_kind_row(tiers[tier], tier, kind) for tier in TIERS for kind in _kinds(tiers[tier])),
        tiers=tuple(_tier_rows(tiers, bundle)),
        sizes=tuple(sizes),
        blurs=tuple(blurs),
        edits=tuple(edits),
        crowds=tuple(crowd_rows({tier: tiers[tier] for tier in _SIZE_TIERS}, bundle.calibration)),
        stability=tuple(steady),
    )
    return Scored(evaluation, bundle, store, numbers, tiers)


def _judge(bundle: Bundle, store: CropStore, numbers: Sequence[int], measured: Measured) -> Judged:
    calibration = bundle.calibration
    examples = [store.crops[n].example for n in numbers]
    pairs = list(zip(measured.logits.tolist(), measured.each_detail(), strict=True))
    rates = [false_alarm_rate(logit, calibration, detail) for logit, detail in pairs]
    stated = [probability(logit, calibration, detail) for logit, detail in pairs]
    verdicts = np.array([verdict_of(*pair, calibration) for pair in zip(rates, stated, strict=True)])
    return Judged(
        fake=np.array([example.label == "fake" for example in examples]),
        kind=np.array([example.kind for example in examples]),
        source=np.array([example.source for example in examples]),
        logits=measured.logits,
        details=measured.details,
        stated=np.array(stated),
        called_fake=verdicts == "fake",
        called_uncertain=verdicts == "uncertain",
    )


def _held_out(card: Mapping[str, Any]) -> list[str]:
    recipe = card.get("recipe", {})
    held_out = recipe.get("held_out", []) if isinstance(recipe, Mapping) else None
    if not isinstance(held_out, list) or not all(isinstance(source, str) for source in held_out):
        raise ModelError(f"expected a card whose recipe lists the sources held out, got {recipe!r}")
    return held_out


def trained_sources(card: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Label and name of the sources that a bundle was trained on, by its card, including those before fine-tuning.

    Raises:
        ModelError: the card does not list them in the way that `export` does.
    """
    try:
        here = {(row["label"], row["source"]) for row in card.get("data", []) if row["trained"]}
        return here | {(label, source) for label, source in card.get("trained_before", [])}
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(
            f"expected a card with rows of label, source and trained under data, got: {error!r}"
        ) from error


def _source_rows(judged: Judged, tier: Tier, trained: set[tuple[str, str]]) -> list[SourceRow]:
    rows = []
    keys = zip(judged.fake.tolist(), judged.kind.tolist(), judged.source.tolist(), strict=True)
    for fake, kind, source in sorted(set(keys), key=lambda key: (_LABELS[key[0]], *key[1:])):
        own = (judged.fake == fake) & (judged.kind == kind) & (judged.source == source)
        real = ~judged.fake & (judged.source == source)
        if not real.any():
            real = ~judged.fake
        measured: dict[str, Any] = {
            "auc": None,
            "detected_at_1_percent": None,
            "balanced_accuracy": None,
            "calibration_error": None,
        }
        if fake:
            measured = {**judged.ranking(real, own), **judged.verdicts(real, own)}
        rows.append(
            SourceRow(
                label=_LABELS[fake],
                kind=kind,
                source=source,
                tier=tier,
                trained_on=(_LABELS[fake], source) in trained,
                count=int(own.sum()),
                called_fake=float(judged.called_fake[own].mean()),
                called_uncertain=float(judged.called_uncertain[own].mean()),
                **measured,
            )
        )
    return rows


def _kinds(judged: Judged) -> list[str]:
    return sorted(set(judged.kind[judged.fake].tolist()))


def _kind_row(judged: Judged, tier: Tier, kind: str) -> KindRow:
    own = judged.fake & (judged.kind == kind)
    return KindRow(
        kind=kind,
        tier=tier,
        count=int(own.sum()),
        **judged.ranking(~judged.fake, own),
        called_fake=judged.mean(judged.called_fake, own),
        called_uncertain=judged.mean(judged.called_uncertain, own),
        **judged.verdicts(~judged.fake, own),
    )


def _tier_rows(tiers: dict[Tier, Judged], bundle: Bundle) -> list[TierRow]:
    real = ~tiers["clean"].fake
    sources = tiers["clean"].source[real]
    logits = np.stack([judged.logits[real] for judged in tiers.values()])
    own = np.stack([judged.lacks_nothing(bundle.calibration)[real] for judged in tiers.values()])
    if enough_alone(own, sources):
        logits = np.where(own, logits, np.float32(np.nan))
    left_out = left_out_alarms(bundle.calibration, logits, sources)
    return [
        TierRow(
            tier=tier,
            auc_by_kind={
                kind: judged.ranking(real, judged.fake & (judged.kind == kind))["auc"]
                for kind in _kinds(judged)
            },
            **judged.false_alarms(),
            **judged.verdicts(real, ~real),
            left_out=left_out[place] if left_out else None,
        )
        for place, (tier, judged) in enumerate(tiers.items())
    ]


def _weakened(judged: Judged) -> dict[str, float]:
    """The figures of a `WeakenedRow`."""
    real = ~judged.fake
    return {
        **judged.ranking(real, ~real),
        "called_fake": judged.mean(judged.called_fake, ~real),
        **judged.false_alarms(),
        **judged.verdicts(real, ~real),
    }


def _chosen(store: CropStore, bundle: Bundle, split: Split) -> list[int]:
    if split == "all":
        return list(range(len(store)))
    if split == "unseen":
        return halves(store, unseen(store, _held_out(bundle.card)))[1]
    return [number for number, crop in enumerate(store.crops) if crop.example.split == split]
