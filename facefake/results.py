"""What an analysis says: one `FaceResult` per face, one `ImageResult` per picture, and their JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args

from facefake.errors import OutputError
from facefake.record_values import message_text, six_digits, valid_unicode
from facefake.wording import none_looks_fake, percent, pixels

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

    from facefake.calibration import Lack
    from facefake.images import Picture
    from facefake.provenance import Provenance
    from facefake.settings import Settings

SCHEMA_VERSION = "1.5"
Verdict = Literal["real", "fake", "uncertain", "not_applicable"]

MORE_FACES = "holds more faces"
"""The beginning of the warning that not all faces of a picture were judged."""

OUTLIER = 3.5
"""The relative score above which a face stands out (Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers")."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file is recognised by: its size in bytes and its time of change, in nanoseconds since 1970."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class ContentState(FileState):
    """What a picture that came as bytes is recognised by: its `modified_ns` is 0, and its path is only a name.

    Attributes:
        sha256: of the content, in hexadecimal digits.
    """

    sha256: str


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The judgement on one face.

    Attributes:
        index: position among the picture's faces from left to right, from 0.
        box: (left, top, right, bottom) in pixels of the upright picture; may lie partly outside it.
        keypoints: six (x, y) in pixels: right eye, left eye, nose tip, mouth centre, right and left ear
            tragion (the subject's right).
        detection_score: the detector's confidence that this is a face, 0 to 1.
        verdict: "not_applicable" when the face cannot be judged.
        fake_probability: calibrated probability, 0 to 1, that the face is fake; None when it was not judged.
        false_alarm_rate: share of real faces, above 0 and at most 1, that look at least as fake as this one; if it has
            little fine detail, of real faces that have as little. Not adjusted for the number of faces. In a picture
            with 4 judged faces or more, this and the probability refer to faces among neighbours, and allow for how real
            this one's neighbours look (see `facefake.neighbours`). None when it was not judged.
        reason: why the face is uncertain or was not judged, in plain English; None otherwise. For a face that
            was not judged it is a short name of the fault, a colon and the numbers.
        logit: the network's raw score, positive for fake; None when the face was not judged.
        relative_score: by how many robust standard deviations the face's log-odds of being fake exceed the median of the
            picture's judged faces, which share its camera and its compression, each taken alone; None with fewer than 4
            of them. It accompanies the verdict and does not change it.
        evidence: float32 (h, w), the logit resolved over the aligned crop, row by row from the top left:
            ``evidence.mean()`` plus the bundle's bias is the logit, up to rounding. None when the face was not judged.
        sharpness, grain: of the crop, 0 or more (see `facefake.detail`).
        lack: "soft" or "grainless" if the false-alarm rate refers to real faces that lack sharpness or grain, too; None
            for other faces, and when the face was not judged.
    """

    index: int
    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float], ...]
    detection_score: float
    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    logit: float | None = None
    relative_score: float | None = None
    evidence: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    sharpness: float | None = None
    grain: float | None = None
    lack: Lack | None = None

    @property
    def number(self) -> int:
        """The face's number in texts and on annotated pictures, where people count from 1."""
        return self.index + 1

    @property
    def stands_out(self) -> bool:
        """Whether the face looks much more fake than the others in its picture: a relative score above `OUTLIER`."""
        return self.relative_score is not None and self.relative_score > OUTLIER

    def to_dict(self) -> dict[str, Any]:
        """The face as JSON-ready values.

        Pixel coordinates have two decimals, evidence four significant digits, other numbers six.
        """
        return {
            "index": self.index,
            "box": [round(float(value), 2) for value in self.box],
            "keypoints": [[round(float(x), 2), round(float(y), 2)] for x, y in self.keypoints],
            "detection_score": six_digits(self.detection_score),
            "verdict": self.verdict,
            "fake_probability": six_digits(self.fake_probability),
            "false_alarm_rate": six_digits(self.false_alarm_rate),
            "reason": self.reason,
            "logit": six_digits(self.logit),
            "relative_score": six_digits(self.relative_score),
            "evidence": None
            if self.evidence is None
            else [[float(f"{value:.4g}") for value in row] for row in self.evidence.tolist()],
            "sharpness": six_digits(self.sharpness),
            "grain": six_digits(self.grain),
            "lack": self.lack,
        }


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The judgement on one picture and on each face in it.

    Attributes:
        path: where the picture came from, or None when it was not a file.
        width, height: of the upright picture, in pixels.
        verdict: "fake" when at least one face is, "not_applicable" when no face was judged. "real" means that
            no face looks fake, which is no proof that the picture is authentic.
        fake_probability: probability, 0 to 1, that the picture holds a fake face; None when no face was
            judged.
        false_alarm_rate: share of pictures with as many judged faces, all of them real, that would look at
            least as fake as this one; None when no face was judged.
        reason: why the picture is uncertain or could not be judged, in plain English; None otherwise.
        faces: from left to right.
        warnings: what was odd about the file, one sentence each.
        model: name and version of the model bundle.
        schema_version: of the record.
        crop_margin: side of the aligned square that a face's evidence covers, as a multiple of its box's longer
            side (see `facefake.alignment`); None in a result without evidence.
        provenance: what the file says about its own origin, which does not affect the verdict; None if nobody asked.
        file: the file's state before a scan read it; None outside a scan, and when the picture was not a file.
        settings: what the verdict depends on apart from the picture; None in a result that no detector made.
        picture: the pixels that `annotated` draws on; not part of the record.
    """

    path: str | None
    width: int
    height: int
    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    faces: tuple[FaceResult, ...]
    warnings: tuple[str, ...]
    model: str
    schema_version: str = SCHEMA_VERSION
    crop_margin: float | None = None
    provenance: Provenance | None = None
    file: FileState | None = None
    settings: Settings | None = None
    picture: Picture | None = field(default=None, repr=False, compare=False)

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many faces got each verdict; all verdicts are keys."""
        verdicts = [face.verdict for face in self.faces]
        return {verdict: verdicts.count(verdict) for verdict in get_args(Verdict)}

    @property
    def summary(self) -> str:
        """One plain English sentence for a person."""
        if not self.faces:
            least = "" if self.settings is None else f" of {pixels(self.settings.min_face)} pixels or more"
            return f"No face{least} found, so there is nothing to judge."
        if len(self.faces) == 1:
            return _sentence_for_one(self.faces[0])
        counts, total = self.counts, len(self.faces)
        if self.verdict == "not_applicable":
            return f"{total} faces found, none of them can be judged."
        clauses = []
        if counts["fake"]:
            looks = "looks" if counts["fake"] == 1 else "look"
            rate = (
                ""
                if self.false_alarm_rate is None
                else f" (false-alarm rate {percent(self.false_alarm_rate)})"
            )
            clauses.append(f"{counts['fake']} of {total} faces {looks} fake{rate}")
        else:
            clauses.append(none_looks_fake(counts, "face", "faces"))
        if counts["uncertain"] and total - counts["not_applicable"] > 1:
            clauses.append(f"{counts['uncertain']} {'is' if counts['uncertain'] == 1 else 'are'} uncertain")
        if counts["not_applicable"]:
            clauses.append(f"{counts['not_applicable']} cannot be judged")
        outliers = [str(face.number) for face in self.faces if face.stands_out]
        if outliers:
            names = (
                f"face {outliers[0]} stands" if len(outliers) == 1 else f"faces {', '.join(outliers)} stand"
            )
            clauses.append(f"{names} out from the others")
        if self.verdict == "real":
            clauses.append("that does not prove the picture authentic")
        return "; ".join(clauses) + "."

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values that satisfy `schema`.

        Undecodable bytes of the path become ``\\udcNN`` escapes, so that the record is valid Unicode; see
        `record_values.valid_unicode`, and `record_values.without_escapes` for the way back.
        """
        return {
            "schema_version": self.schema_version,
            "path": None if self.path is None else valid_unicode(self.path),
            "width": self.width,
            "height": self.height,
            "verdict": self.verdict,
            "fake_probability": six_digits(self.fake_probability),
            "false_alarm_rate": six_digits(self.false_alarm_rate),
            "reason": self.reason,
            "summary": self.summary,
            "faces": [face.to_dict() for face in self.faces],
            "warnings": [message_text(warning) for warning in self.warnings],
            "model": self.model,
            "crop_margin": six_digits(self.crop_margin),
            "provenance": None if self.provenance is None else self.provenance.to_dict(),
            "file": None if self.file is None else asdict(self.file),
            "settings": None if self.settings is None else asdict(self.settings),
        }

    def annotated(self, evidence: bool = False) -> PIL.Image.Image:
        """The picture with a box and a label per face and the summary below it, as a new RGB image.

        Args:
            evidence: whether to overlay each judged face with its evidence in colour.

        Raises:
            OutputError: the result no longer has its picture.
        """
        from facefake.annotate import annotate

        if self.picture is None:
            raise OutputError(
                "expected a result that still holds its picture, got one without: analyse it again"
            )
        return annotate(self.picture, self, evidence)


@dataclass(frozen=True, slots=True)
class ErrorResult:
    """The record of a picture that could not be analysed.

    Attributes:
        path: where the picture came from, or None when it was not a file.
        kind: a short machine-readable class of the fault, such as "truncated".
        message: what was expected and what came, for a person.
        file: the file's state before it was read; None if there was no file, or none whose state could be read.
        settings: what a verdict would have depended on; None outside a scan.
    """

    path: str | None
    kind: str
    message: str
    file: FileState | None = None
    settings: Settings | None = None

    @property
    def verdict(self) -> Literal["error"]:
        """Always "error", so that records of both kinds can be told apart by their verdict."""
        return "error"

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values that satisfy `schema`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "path": None if self.path is None else valid_unicode(self.path),
            "verdict": self.verdict,
            "error": {"kind": self.kind, "message": message_text(self.message)},
            "file": None if self.file is None else asdict(self.file),
            "settings": None if self.settings is None else asdict(self.settings),
        }


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `to_dict` of `ImageResult`, `VideoResult` and `ErrorResult` returns.

    It is of this `SCHEMA_VERSION` alone and knows all fields: records of another version, which `records.read_records`
    reads up to the next whole number, need not satisfy it.
    """
    text = resources.files("facefake").joinpath("result.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _sentence_for_one(face: FaceResult) -> str:
    if face.verdict == "fake" and face.false_alarm_rate is not None:
        return f"The one face found looks fake (false-alarm rate {percent(face.false_alarm_rate)})."
    if face.verdict == "uncertain":
        return "The one face found is uncertain: neither clearly fake nor clearly real."
    if face.verdict == "real":
        return "The one face found does not look fake; that does not prove the picture authentic."
    return f"The one face found cannot be judged; it is {face.reason}."
