"""The figures of an evaluation as tables for a person: on a screen, in a file, on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from facefake.training.figures import Evaluation, KindRow, SourceRow, WeakenedRow

# The headings of what `_weakened` returns.
_WEAKENED = (
    "AUC",
    "found at 1 %",
    "fakes called fake",
    "false alarms",
    "per face",
    "balanced accuracy",
    "calibration error",
)


class Table(NamedTuple):
    """A table for a person; the first `names` columns say what a row is about."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    names: int


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """All of them, in the order in which they are printed; some may have no rows."""
    return [
        by_source(evaluation),
        by_kind(evaluation),
        by_tier(evaluation),
        left_out(evaluation),
        by_size(evaluation),
        by_blur(evaluation),
        by_edit(evaluation),
        by_crowd(evaluation),
        by_steadiness(evaluation),
    ]


def by_source(evaluation: Evaluation) -> Table:
    """One row per source and tier."""
    headers = [
        "label",
        "kind",
        "source",
        "tier",
        "unseen",
        "faces",
        "AUC",
        "found at 1 %",
        "fake",
        "uncertain",
    ]
    headers += ["balanced accuracy", "calibration error"]
    rows = [
        [
            row.label,
            row.kind,
            row.source,
            row.tier,
            "no" if row.trained_on else "yes",
            str(row.count),
            *_measured(row),
        ]
        for row in evaluation.sources
    ]
    return Table("By source", headers, rows, names=4)


def by_kind(evaluation: Evaluation) -> Table:
    """One row per kind of fake and tier."""
    headers = ["kind", "tier", "faces", "AUC", "found at 1 %", "fake", "uncertain"]
    headers += ["balanced accuracy", "calibration error"]
    rows = [[row.kind, row.tier, str(row.count), *_measured(row)] for row in evaluation.kinds]
    return Table("By kind of fake", headers, rows, names=2)


def by_tier(evaluation: Evaluation) -> Table:
    """One row per tier."""
    kinds = sorted({kind for row in evaluation.tiers for kind in row.auc_by_kind})
    headers = ["tier", *(f"AUC {kind}" for kind in kinds), "false alarms", "per face"]
    headers += ["balanced accuracy", "calibration error"]
    rows = [
        [
            row.tier,
            *(_number(row.auc_by_kind[kind]) for kind in kinds),
            _share(row.false_alarms),
            _share(row.false_alarms_per_face),
            _share(row.balanced_accuracy),
            _number(row.calibration_error),
        ]
        for row in evaluation.tiers
    ]
    return Table("By tier", headers, rows, names=1)


def left_out(evaluation: Evaluation) -> Table:
    """One row per tier; none where there are too few sources."""
    headers = ["tier", "false alarms per face", "mean of sources", "worst", "worst source"]
    rows = [
        [row.tier, _share(found.per_face), _share(found.mean), _share(found.worst), found.worst_source]
        for row in evaluation.tiers
        if (found := row.left_out)
    ]
    return Table("False alarms on sources left out of the thresholds", headers, rows, names=1)


def by_size(evaluation: Evaluation) -> Table:
    """One row per face size and tier."""
    headers = ["face, pixels", "tier", *_WEAKENED]
    rows = [[str(row.face_side), row.tier, *_weakened(row)] for row in evaluation.sizes]
    return Table("By size of the face", headers, rows, names=2)


def by_blur(evaluation: Evaluation) -> Table:
    """One row per size and blur."""
    rows = [[str(row.face_side), f"{row.blur:g}", *_weakened(row)] for row in evaluation.blurs]
    return Table("By blur", ["face, pixels", "blur, pixels", *_WEAKENED], rows, names=2)


def by_edit(evaluation: Evaluation) -> Table:
    """One row per everyday edit."""
    rows = [[row.edit, *_weakened(row)] for row in evaluation.edits]
    return Table("By everyday edit", ["edit", *_WEAKENED], rows, names=1)


def by_crowd(evaluation: Evaluation) -> Table:
    """One row per number of faces, number of fakes and tier."""
    headers = ["faces", "fakes", "tier", "pictures called fake", "uncertain", "fakes called fake"]
    headers += ["real faces called fake"]
    rows = [
        [
            str(row.faces),
            str(row.fakes),
            row.tier,
            _share(row.called_fake),
            _share(row.called_uncertain),
            _share(row.fakes_called_fake),
            _share(row.real_called_fake),
        ]
        for row in evaluation.crowds
    ]
    return Table("By number of faces in a picture", headers, rows, names=3)


def by_steadiness(evaluation: Evaluation) -> Table:
    """One row per label and kind, after one for all faces."""
    headers = ["label", "kind", "faces", "real and fake", "any change"]
    rows = [
        [row.label, row.kind, str(row.count), _share(row.flipped), _share(row.changed)]
        for row in evaluation.stability
    ]
    return Table("Verdicts that change over 12 sizes and qualities", headers, rows, names=2)


def _weakened(row: WeakenedRow) -> list[str]:
    return [
        _number(row.auc),
        _share(row.detected_at_1_percent, 0),
        _share(row.called_fake),
        _share(row.false_alarms),
        _share(row.false_alarms_per_face),
        _share(row.balanced_accuracy),
        _number(row.calibration_error),
    ]


def _measured(row: SourceRow | KindRow) -> list[str]:
    return [
        _number(row.auc),
        _share(row.detected_at_1_percent, 0),
        _share(row.called_fake),
        _share(row.called_uncertain),
        _share(row.balanced_accuracy),
        _number(row.calibration_error),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _share(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}%}"
