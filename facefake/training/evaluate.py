"""How well a bundle tells real from fake: per source, on three tiers and by face size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from facefake.calibration import false_alarm_rate, probability
from facefake.classifier import Classifier
from facefake.errors import DatasetError
from facefake.training.calibrate import FACE_SIDES, auc_by_view
from facefake.training.crops import CropStore, make_crops
from facefake.training.dataset import read_dataset
from facefake.training.metrics import area_under_curve, calibration_error, detection_rate
from facefake.training.scoring import halves, score, unseen
from facefake.training.views import TIERS, Tier, small, wear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.bundle import Bundle
    from facefake.training.scoring import Scorer

Split = Literal["all", "train", "val", "unseen"]
SPLITS = get_args(Split)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What one source got on one tier.

    Attributes:
        label, kind, source, tier: which.
        trained_on: whether pictures of this source were trained on (not these).
        count: faces.
        auc: of a source of fakes, against the real faces of the same source if there are any, else against all;
            None for real faces.
        detected_at_1_percent: share of these fakes found at a threshold that 1 % of those real faces pass; None for
            real faces.
        called_fake: share that the bundle's own threshold calls fake: for real faces, the false-alarm rate.
        called_uncertain: share that it calls uncertain.
    """

    label: str
    kind: str
    source: str
    tier: Tier
    trained_on: bool
    count: int
    auc: float | None
    detected_at_1_percent: float | None
    called_fake: float
    called_uncertain: float


@dataclass(frozen=True, slots=True)
class TierRow:
    """What all faces got on one tier; sources weigh the same within real, and within fake, faces.

    Attributes:
        tier: which.
        auc_by_kind: kind of fake → AUC against all real faces, 0 to 1.
        false_alarms: mean over the sources of real faces of the share called fake.
        balanced_accuracy: mean of the shares of real faces not called fake and of fakes called fake.
        calibration_error: expected calibration error of fake_probability.
    """

    tier: Tier
    auc_by_kind: dict[str, float]
    false_alarms: float
    balanced_accuracy: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one bundle on one dataset.

    Attributes:
        model: name and version of the bundle.
        split: which faces were used.
        sources: one row a source and tier.
        tiers: one row a tier.
        auc_by_face_side: side of the face's box in pixels → AUC, real sources against fake ones.
    """

    model: str
    split: str
    sources: tuple[SourceRow, ...]
    tiers: tuple[TierRow, ...]
    auc_by_face_side: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, shares and areas to four decimals."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded

    def tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """For a person: headers and rows of the sources, of the tiers, and of the face sizes."""
        sources = [
            [
                row.label,
                row.kind,
                row.source,
                "no" if row.trained_on else "yes",
                str(row.count),
                row.tier,
                "" if row.auc is None else f"{row.auc:.3f}",
                "" if row.detected_at_1_percent is None else f"{row.detected_at_1_percent:.0%}",
                f"{row.called_fake:.1%}",
                f"{row.called_uncertain:.1%}",
            ]
            for row in self.sources
        ]
        kinds = sorted({kind for row in self.tiers for kind in row.auc_by_kind})
        tiers = [
            [
                row.tier,
                *(f"{row.auc_by_kind[kind]:.3f}" for kind in kinds),
                f"{row.false_alarms:.1%}",
                f"{row.balanced_accuracy:.1%}",
                f"{row.calibration_error:.3f}",
            ]
            for row in self.tiers
        ]
        sides = [[str(side), f"{auc:.3f}"] for side, auc in self.auc_by_face_side.items()]
        return [
            (
                [
                    "label",
                    "kind",
                    "source",
                    "unseen",
                    "faces",
                    "tier",
                    "AUC",
                    "found at 1 %",
                    "fake",
                    "uncertain",
                ],
                sources,
            ),
            (
                [
                    "tier",
                    *(f"AUC {kind}" for kind in kinds),
                    "false alarms",
                    "balanced accuracy",
                    "calibration error",
                ],
                tiers,
            ),
            (["face, pixels", "AUC"], sides),
        ]


def evaluate(
    data: Path,
    bundle: Path | None,
    *,
    split: Split = "all",
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Evaluate a bundle on a dataset.

    Args:
        data: as `read_dataset` takes it.
        bundle: folder of the bundle; None for the one that comes with facefake.
        split: "unseen" is what neither the training nor the calibration of this bundle saw, as far as the dataset is
            the one that it was trained on.
        cache: where the crops are kept; see `make_crops`.
        progress: called while crops are made.

    Raises:
        DatasetError: the dataset is not as described, or the split holds only one label.
        ModelError: the bundle is damaged.
    """
    classifier = Classifier(bundle, threads=2)
    store = make_crops(read_dataset(data), cache, progress)
    return evaluate_crops(
        classifier, classifier.bundle, store, _chosen(store, classifier.bundle, split), split
    )


def evaluate_crops(
    scorer: Scorer, bundle: Bundle, store: CropStore, numbers: Sequence[int], split: str
) -> Evaluation:
    """The same for crops at hand."""
    faces = [store.crops[n].example for n in numbers]
    labels = np.array([face.label == "fake" for face in faces])
    if labels.all() or not labels.any():
        raise DatasetError(
            f"expected real and fake faces in the split {split!r}, got {labels.sum()} fake of {labels.size}"
        )
    of_source = np.array([face.source for face in faces])
    held_out = set(bundle.card.get("recipe", {}).get("held_out", []))
    sources: list[SourceRow] = []
    tiers: list[TierRow] = []
    for tier in TIERS:
        logits = score(scorer, store, numbers, bundle.side, bundle.margin, partial(wear, tier=tier))
        rates = np.array([false_alarm_rate(float(logit), bundle.calibration) for logit in logits])
        keys = np.array([f"{face.label}/{face.kind}/{face.source}" for face in faces])
        tier_rows = []
        for key in sorted(set(keys)):
            own = keys == key
            label, kind, source = key.split("/", 2)
            reference = logits[~labels & (of_source == source)]
            reference = reference if reference.size else logits[~labels]
            fake = label == "fake"
            tier_rows.append(
                SourceRow(
                    label=label,
                    kind=kind,
                    source=source,
                    tier=tier,
                    trained_on=source not in held_out,
                    count=int(own.sum()),
                    auc=area_under_curve(reference, logits[own]) if fake else None,
                    detected_at_1_percent=detection_rate(reference, logits[own], 0.01) if fake else None,
                    called_fake=float((rates[own] <= bundle.calibration.alarm_rate).mean()),
                    called_uncertain=float(
                        (
                            (rates[own] > bundle.calibration.alarm_rate)
                            & (rates[own] <= bundle.calibration.uncertain_rate)
                        ).mean()
                    ),
                )
            )
        sources += tier_rows
        tiers.append(_tier_row(tier, tier_rows, bundle, logits, labels, keys))
    by_side = auc_by_view(
        scorer,
        store,
        numbers,
        bundle.side,
        bundle.margin,
        {face: partial(small, face_side=face) for face in FACE_SIDES},
    )
    return Evaluation(
        model=bundle.label,
        split=split,
        sources=tuple(sources),
        tiers=tuple(tiers),
        auc_by_face_side={int(side): auc for side, auc in by_side.items()},
    )


def _tier_row(
    tier: Tier,
    rows: Sequence[SourceRow],
    bundle: Bundle,
    logits: NDArray[np.float32],
    labels: NDArray[np.bool_],
    keys: NDArray[np.str_],
) -> TierRow:
    kinds = np.array([key.split("/", 2)[1] for key in keys])
    called = {
        label: float(np.mean([row.called_fake for row in rows if row.label == label]))
        for label in ("real", "fake")
    }
    stated = [probability(float(logit), bundle.calibration) for logit in logits]
    _, source, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1 / counts[source]
    for label in (False, True):
        weights[labels == label] /= weights[labels == label].sum()
    return TierRow(
        tier=tier,
        auc_by_kind={
            kind: area_under_curve(logits[~labels], logits[labels & (kinds == kind)])
            for kind in sorted(set(kinds[labels]))
        },
        false_alarms=called["real"],
        balanced_accuracy=(1 - called["real"] + called["fake"]) / 2,
        calibration_error=calibration_error(stated, labels, weights),
    )


def _chosen(store: CropStore, bundle: Bundle, split: Split) -> list[int]:
    if split == "all":
        return list(range(len(store)))
    if split == "unseen":
        held_out = bundle.card.get("recipe", {}).get("held_out", [])
        return halves(store, unseen(store, held_out))[1]
    return [number for number, crop in enumerate(store.crops) if crop.example.split == split]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
