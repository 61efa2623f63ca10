"""The figures of an evaluation: per source, kind, tier, face size, blur, edit and crowd."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facefake.training.real_scores import LeftOut
    from facefake.training.stability import StabilityRow
    from facefake.training.views import Tier


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The figures of one source on one tier.

    Attributes:
        label, kind, source, tier: which.
        trained_on: whether the model was trained on pictures of this source.
        count: faces.
        auc: of a source of fakes, against the real faces of the same source if there are any, else against all;
            None for real faces, as are the next three.
        detected_at_1_percent: share of these fakes found at a threshold that 1 % of those real faces pass.
        balanced_accuracy: mean of the shares of those real faces not called fake and of these fakes called fake.
        calibration_error: expected calibration error of fake_probability on both, with half of the weight on each label.
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
    balanced_accuracy: float | None
    calibration_error: float | None
    called_fake: float
    called_uncertain: float


@dataclass(frozen=True, slots=True)
class KindRow:
    """The figures of one kind of fake on one tier, against all real faces.

    Its sources have equal weight, except in `auc` and `detected_at_1_percent`, where every face has.

    Attributes:
        kind, tier: which.
        count: faces.
        auc, detected_at_1_percent: as in `SourceRow`.
        called_fake, called_uncertain: mean over the kind's sources.
        balanced_accuracy, calibration_error: as in `SourceRow`.
    """

    kind: str
    tier: Tier
    count: int
    auc: float
    detected_at_1_percent: float
    called_fake: float
    called_uncertain: float
    balanced_accuracy: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class TierRow:
    """The figures of all faces on one tier.

    Within each label, sources have equal weight, except in the AUC and `false_alarms_per_face`, where every face has.

    Attributes:
        tier: which.
        auc_by_kind: kind of fake → AUC against all real faces, 0 to 1.
        false_alarms: mean over the sources of real faces of the share called fake.
        false_alarms_per_face: share of all real faces called fake.
        balanced_accuracy: mean of the shares of real faces not called fake and of fakes called fake.
        calibration_error: expected calibration error of fake_probability.
        left_out: false alarms on each source of real faces at a threshold made like the bundle's, but only from the other
            sources' faces here, on the three tiers; of faces that lack no detail, or of all where those are too few. None
            where there are too few sources.
    """

    tier: Tier
    auc_by_kind: dict[str, float]
    false_alarms: float
    false_alarms_per_face: float
    balanced_accuracy: float
    calibration_error: float
    left_out: LeftOut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakenedRow:
    """The figures of faces that were degraded or edited, at most 60 per source and label.

    Attributes:
        auc, detected_at_1_percent: of all fakes against all real faces.
        called_fake: mean over the sources of fakes of the share called fake.
        false_alarms, false_alarms_per_face, balanced_accuracy, calibration_error: as in `TierRow`. In the first, a source
            of few faces has as much weight as others, so the second varies less by chance.
    """

    auc: float
    detected_at_1_percent: float
    called_fake: float
    false_alarms: float
    false_alarms_per_face: float
    balanced_accuracy: float
    calibration_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRow(WeakenedRow):
    """The figures of faces shrunk to one size.

    Attributes:
        face_side: side of the face's box, pixels; smaller faces are not enlarged, and a store's faces have 190 at most.
        tier: what the small face then goes through.
    """

    face_side: int
    tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class BlurRow(WeakenedRow):
    """The figures of faces out of focus.

    Attributes:
        face_side: side of the face's box, as in `SizeRow`.
        blur: σ of the Gaussian blur, pixels of a face of that size.
    """

    face_side: int
    blur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRow(WeakenedRow):
    """The figures of faces after an everyday edit.

    Attributes:
        edit: its name in `edits.EDITS`.
    """

    edit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdRow:
    """The figures of pictures put together from a number of faces, real ones from one source and fakes from one.

    The sources of the fakes, or of the real faces where there are no fakes, have equal weight.

    Attributes:
        faces, fakes, tier: which.
        called_fake, called_uncertain: share of the pictures.
        fakes_called_fake, real_called_fake: share of these faces in them; None where there are none.
    """

    faces: int
    fakes: int
    tier: Tier
    called_fake: float
    called_uncertain: float
    fakes_called_fake: float | None
    real_called_fake: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one bundle on one dataset.

    Attributes:
        model: name and version of the bundle.
        split: which faces were used.
        sources: one row per source and tier.
        kinds: one row per kind of fake and tier.
        tiers: one row per tier.
        sizes: one row per face size, on the clean and on the web tier.
        blurs: one row per blur, of faces at their own size and of small ones.
        edits: one row per everyday edit.
        crowds: one row per number of faces, number of fakes among them, and tier.
        stability: how verdicts change when pictures are resized and saved again, by kind; the first row is for all faces.
    """

    model: str
    split: str
    sources: tuple[SourceRow, ...]
    kinds: tuple[KindRow, ...]
    tiers: tuple[TierRow, ...]
    sizes: tuple[SizeRow, ...]
    blurs: tuple[BlurRow, ...]
    edits: tuple[EditRow, ...]
    crowds: tuple[CrowdRow, ...]
    stability: tuple[StabilityRow, ...]

    @property
    def auc_by_face_side(self) -> dict[int, float]:
        """Side of the face's box in pixels → AUC on the clean tier."""
        return {row.face_side: row.auc for row in self.sizes if row.tier == "clean"}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with numbers rounded to six decimals."""
        rounded: dict[str, Any] = _rounded({**asdict(self), "auc_by_face_side": self.auc_by_face_side})
        return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
