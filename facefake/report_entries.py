"""What goes into an HTML report for each record: JSON-ready values for its script, and small pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from facefake.alignment import crop_matrix
from facefake.calibration import Lack
from facefake.results import FaceResult, Verdict
from facefake.terminal import printable
from facefake.thumbnails import Thumbnails, make_thumbnails
from facefake.tiles import Face
from facefake.wording import likely, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_USUAL_MARGIN = 1.25  # of the crops in records that do not give it
_LONGEST_TEXT = 2_000  # characters
_FINEST = 16  # cells along a side of an evidence map in a report; finer maps are averaged down


def picture_entry(
    record: Mapping[str, Any], shown: Collection[int], with_thumbnails: Collection[int], room: int
) -> tuple[dict[str, Any], Thumbnails]:
    """A picture with faces.

    Args:
        record: as `ImageResult.to_dict` gave it.
        shown: the positions in it of the faces that the report shows.
        with_thumbnails: the positions of those among them that get thumbnails.
        room: how many bytes the whole picture may take.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError: it is not such a record.
    """
    margin = float(record.get("crop_margin") or _USUAL_MARGIN)
    faces = {place: _face(record["faces"][place]) for place in sorted(shown)}
    wanted = [face for place, face in faces.items() if place in with_thumbnails]
    small = make_thumbnails(record, wanted, margin, room) if wanted else Thumbnails()
    entry = {
        "kind": "picture",
        "name": text(record["path"]),
        "width": int(record["width"]),
        "height": int(record["height"]),
        "shown": small.size,
        "gone": small.gone,
        **_verdict(record),
        "summary": text(record["summary"]),
        "warnings": [text(warning) for warning in record["warnings"]],
        "provenance": _provenance(record),
        "model": text(record["model"]),
        "faces": [_face_entry(face, margin, small) for face in faces.values()],
    }
    return entry, small


def other_entry(record: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A failure, a picture without a face, or a video, whichever `report_summary.kind_of` says it is.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError: it is not such a record.
    """
    entry: dict[str, Any] = {"kind": kind, "name": text(record["path"])}
    if kind == "failure":
        entry |= {"error": text(record["error"]["kind"]), "message": text(record["error"]["message"])}
    else:
        entry |= {**_verdict(record), "summary": text(record["summary"]), "provenance": _provenance(record)}
        entry["warnings"] = [text(warning) for warning in record["warnings"]]
    return entry


def _face(values: Mapping[str, Any]) -> FaceResult:
    evidence = values.get("evidence")
    left, top, right, bottom = map(float, values["box"])
    if (lack := values.get("lack")) not in (None, *get_args(Lack)):
        raise ValueError(f"a face that lacks {lack!r}")
    return FaceResult(
        index=int(values["index"]),
        box=(left, top, right, bottom),
        keypoints=tuple((float(x), float(y)) for x, y in values["keypoints"]),
        detection_score=float(values["detection_score"]),
        verdict=values["verdict"],
        fake_probability=values["fake_probability"],
        false_alarm_rate=values["false_alarm_rate"],
        reason=values["reason"],
        logit=values.get("logit"),
        relative_score=values.get("relative_score"),
        evidence=None if evidence is None else np.asarray(evidence, np.float32),
        sharpness=values.get("sharpness"),
        grain=values.get("grain"),
        lack=lack,
    )


def _face_entry(face: FaceResult, margin: float, small: Thumbnails) -> dict[str, Any]:
    left, top, right, bottom = face.box
    evidence = face.evidence if face.index in small.faces else None
    return {
        "index": face.index,
        "box": [round(value, 1) for value in face.box],
        "crop": None if evidence is None else _placed(face, margin),
        **_verdict(face.to_dict()),
        "cause": _cause(face),
        "logit": face.logit,
        "sharpness": face.sharpness,
        "grain": face.grain,
        "lack": face.lack,
        "relative": face.relative_score,
        "stands_out": face.stands_out,
        "size": round(max(right - left, bottom - top)),
        "extent": f"{right - left:.0f} × {bottom - top:.0f}",
        "evidence": None if evidence is None else _coarse(evidence),
    }


def _verdict(record: Mapping[str, Any]) -> dict[str, Any]:
    verdict = record["verdict"]
    probability, rate = record.get("fake_probability"), record.get("false_alarm_rate")
    if verdict not in get_args(Verdict):
        raise ValueError(f"the verdict {verdict!r}")
    return {
        "verdict": verdict,
        "probability": probability,
        "probability_text": None if probability is None else likely(probability),
        "rate": rate,
        "rate_text": None if rate is None else percent(rate),
        "reason": None if record.get("reason") is None else text(record["reason"]),
    }


def _cause(face: FaceResult) -> str:
    """The reason without its numbers, by which faces are sorted and filtered."""
    if face.reason is None:
        return ""
    if face.verdict == "uncertain":
        rather = face.reason.startswith("rather")
        return "rather fake, but so are many real faces" if rather else "between the limits"
    return text(face.reason.partition(":")[0])


def _placed(face: FaceResult, margin: float) -> str:
    """The SVG matrix that maps the unit square to the face's crop in the picture."""
    to_crop = crop_matrix(Face(face.box, face.keypoints, face.detection_score), 1, margin)
    (a, c, e), (b, d, f) = np.linalg.inv(np.vstack([to_crop, [0, 0, 1]]))[:2]
    return " ".join(f"{value:.2f}" for value in (a, b, c, d, e, f))


def _coarse(evidence: NDArray[np.float32]) -> list[list[float]]:
    import cv2

    height, width = evidence.shape
    if max(height, width) > _FINEST:
        extent = (min(width, _FINEST), min(height, _FINEST))
        evidence = np.asarray(cv2.resize(evidence, extent, interpolation=cv2.INTER_AREA), np.float32)
    return [[round(value, 1) for value in row] for row in evidence.tolist()]


def _provenance(record: Mapping[str, Any]) -> str | None:
    says = record.get("provenance")
    return None if says is None else text(says["summary"])


def text(given: str | None) -> str:
    """A text from a record on one line: characters that are invisible or change the reading direction become escapes."""
    shown = printable("no file" if given is None else given)
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]} …"
