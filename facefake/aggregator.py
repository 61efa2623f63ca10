"""From the evidence on each face to its verdict, and from the faces to the picture's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facefake.calibration import Calibration, FaceScores
from facefake.detail import Detail
from facefake.neighbours import FEWEST_COMPARED, among_neighbours
from facefake.rates import (
    Adjusted,
    adjusted,
    any_fake_probability,
    log_odds,
    log_odds_of,
    probability_of,
    rate_of,
)
from facefake.reasons import Alike, suspicious_alone, told_apart, told_rate, why_none, why_uncertain
from facefake.results import FaceResult, Verdict
from facefake.wording import percent, pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.tiles import Face

LARGEST_OUTSIDE = 0.4
"""A face is cut off when more than this share of its crop lies outside the picture. A whole face that just
fills its frame is judged: with a crop of 1.25 times its side, 1 − 1 / 1.25² = 36 % of the crop lies outside."""

LEAST_SPREAD = 0.5
"""The least spread assumed of a picture's faces, as a share of that of real faces across many pictures. Without such a
floor one of ten real faces stands out in 7 % of pictures, however alike they are; with it, in 0.2 % where a picture's
faces are half as spread as those of many pictures."""

LEAST_DOUBT = 0.5
"""The fake probability from which nothing is called real, however many real faces look as fake."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one face before it is judged.

    Attributes:
        face: where it is.
        detail: of its crop.
        outside: share, 0 to 1, of its crop that lies outside the picture.
        logit: the classifier's; None for a face that fails `usability` and was never classified.
        map: the classifier's evidence map, float32 (h, w), whose mean plus the bundle's bias is the logit; None
            where that is.
    """

    face: Face
    detail: Detail
    outside: float
    logit: float | None = None
    map: NDArray[np.float32] | None = None


class Chance(NamedTuple):
    """What the score of a judged face means, given those of the other faces in its picture.

    Attributes:
        rate: its false-alarm rate, above 0 and at most 1.
        log_odds: of its being fake.
    """

    rate: float
    log_odds: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a picture and on its faces; the attributes are those of `ImageResult`."""

    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    faces: tuple[FaceResult, ...]


def usability(evidence: Evidence, calibration: Calibration) -> str | None:
    """Why a face cannot be judged, as "fault: the numbers behind it", or None when it can."""
    side, sharp, outside = evidence.face.side, evidence.detail.sharpness, evidence.outside
    if side < calibration.min_face:
        told = told_apart(side, [calibration.min_face], pixels)
        return f"too small: {told} pixels, at least {pixels(calibration.min_face)} are needed"
    if outside > LARGEST_OUTSIDE:
        told = told_apart(outside, [LARGEST_OUTSIDE], percent, " %")
        return (
            f"cut off: {told} of the area around the face lies outside the picture, "
            f"at most {percent(LARGEST_OUTSIDE)} may"
        )
    if sharp < calibration.min_sharpness:
        told = told_apart(sharp, [calibration.min_sharpness], "{:.2g}".format)
        return f"too blurred: sharpness {told}, at least {calibration.min_sharpness:.2g} is needed"
    return None


def relative_scores(log_odds: Sequence[float], calibration: Calibration) -> list[float | None]:
    """How far each of a picture's faces is from the middle of them all, in robust standard deviations.

    The modified z-score of Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers": distance from the median
    over 1.4826 times the median absolute deviation, which is the standard deviation of a normal distribution and is
    not moved by the outlier itself. `LEAST_SPREAD` bounds it below.

    Args:
        log_odds: of the judged faces; not their logits, which mean less on a soft face than on a sharp one.

    Returns:
        One per face, positive where it looks more fake than most; all None with fewer than `FEWEST_COMPARED` faces.
    """
    if len(log_odds) < FEWEST_COMPARED:
        return [None] * len(log_odds)
    values = np.asarray(log_odds, np.float64)
    distances = values - np.median(values)
    low, high = np.interp([0.25, 0.75], calibration.real_probabilities, calibration.real_scores)
    # The quartiles of a normal distribution are 1.349 standard deviations apart.
    floor = LEAST_SPREAD * float(high - low) / calibration.temperature / 1.349
    spread = max(1.4826 * float(np.median(np.abs(distances))), floor)
    return [float(distance / spread) if spread > 0 else 0.0 for distance in distances]


def chances(logits: Sequence[float], details: Sequence[Detail], calibration: Calibration) -> list[Chance]:
    """The false-alarm rates and log-odds of the judged faces of a picture.

    From `FEWEST_COMPARED` faces on, if the calibration has `neighbours`, they are compared with real faces among others,
    by `among_neighbours`, otherwise with lone real faces; those that lack detail with real ones that lack it, too.

    Args:
        logits: of the faces.
        details: their detail.
        calibration: has the scores of real faces.

    Raises:
        ModelError: a logit is not a finite number.
    """
    scores: Sequence[float] = logits
    groups: list[FaceScores] = [calibration.of(each) for each in details]
    if calibration.neighbours is not None and len(logits) >= FEWEST_COMPARED:
        alone = [log_odds_of(logit, group) for logit, group in zip(logits, groups, strict=True)]
        among = calibration.neighbours
        scores = among_neighbours(alone, among.ordinary).tolist()
        groups = [among.of(calibration.lack(each)) for each in details]
    return [
        Chance(rate_of(score, group), log_odds_of(score, group))
        for score, group in zip(scores, groups, strict=True)
    ]


def judge(faces: Sequence[Evidence], calibration: Calibration) -> Judgement:
    """Verdicts for every face and for the picture that they are in.

    A face is fake when its false-alarm rate from `chances`, once `adjusted` for the other judged faces, is at most the
    calibration's alarm_rate. So a picture is fake exactly when one of its faces is, and a picture of real faces raises
    an alarm no more often than at that rate, however many there are. What is not fake is uncertain up to the
    calibration's uncertain_rate, and also where its fake_probability is `LEAST_DOUBT` or more; otherwise it is real.

    Args:
        faces: from left to right.

    Raises:
        ModelError: a logit is not a finite number.
        ValueError: a face that can be judged has no logit.
    """
    reasons = [usability(evidence, calibration) for evidence in faces]
    logits = [None if reason else evidence.logit for evidence, reason in zip(faces, reasons, strict=True)]
    judged = [logit for logit in logits if logit is not None]
    if len(judged) < reasons.count(None):
        raise ValueError(f"expected {reasons.count(None)} logits, one per usable face, got {len(judged)}")
    details = [face.detail for face, logit in zip(faces, logits, strict=True) if logit is not None]
    found = chances(judged, details, calibration)
    rates = adjusted([each.rate for each in found])
    odds = [log_odds(logit, calibration, each) for logit, each in zip(judged, details, strict=True)]
    relative = relative_scores(odds, calibration)
    each_judged = iter(zip(found, rates, relative, strict=True))
    lacks = {calibration.lack(each) for each in details}
    alike = Alike(len(judged), lacks.pop() if len(lacks) == 1 else None)
    results = tuple(
        _not_judged(index, evidence, reason)
        if logit is None
        else _judge_face(index, evidence, logit, *next(each_judged), alike, calibration)
        for index, (evidence, logit, reason) in enumerate(zip(faces, logits, reasons, strict=True))
    )
    if not judged:
        return Judgement("not_applicable", None, None, why_none([r for r in reasons if r]), results)
    fake_probability = any_fake_probability([each.log_odds for each in found])
    lowest = min(rates)
    shown = told_rate(min(each.rate for each in found), lowest, len(judged), calibration)
    verdict, reason = verdict_on(shown.rate, fake_probability, alike.told(shown), calibration)
    return Judgement(verdict, fake_probability, lowest.rate, reason, results)


def verdicts(
    logits: Sequence[float], details: Sequence[Detail], calibration: Calibration
) -> tuple[list[Verdict], Verdict]:
    """The verdicts, without reasons, that `judge` gives the faces of a picture and the picture, if all can be judged.

    Args:
        logits: of the faces, at least one.
        details: their detail.
        calibration: has the scores of real faces and the thresholds.

    Raises:
        ModelError: a logit is not a finite number.
    """
    found = chances(logits, details, calibration)
    rates = adjusted([each.rate for each in found])
    faces = [
        verdict_of(rate.rate, probability_of(each.log_odds), calibration)
        for rate, each in zip(rates, found, strict=True)
    ]
    whole = any_fake_probability([each.log_odds for each in found])
    return faces, verdict_of(min(rates).rate, whole, calibration)


def _not_judged(index: int, evidence: Evidence, reason: str | None) -> FaceResult:
    return FaceResult(
        index=index,
        box=evidence.face.box,
        keypoints=evidence.face.keypoints,
        detection_score=evidence.face.score,
        verdict="not_applicable",
        fake_probability=None,
        false_alarm_rate=None,
        reason=reason,
        sharpness=evidence.detail.sharpness,
        grain=evidence.detail.grain,
    )


def _judge_face(
    index: int,
    evidence: Evidence,
    logit: float,
    chance: Chance,
    rate: Adjusted,
    relative: float | None,
    alike: Alike,
    calibration: Calibration,
) -> FaceResult:
    fake_probability = probability_of(chance.log_odds)
    lack = calibration.lack(evidence.detail)
    shown = told_rate(chance.rate, rate, alike.count, calibration)
    if not suspicious_alone(chance.rate, calibration):
        shown, alike = Adjusted(chance.rate, 1), Alike(1, lack)
    verdict, reason = verdict_on(shown.rate, fake_probability, alike.told(shown, lack), calibration)
    return FaceResult(
        index=index,
        box=evidence.face.box,
        keypoints=evidence.face.keypoints,
        detection_score=evidence.face.score,
        verdict=verdict,
        fake_probability=fake_probability,
        false_alarm_rate=chance.rate,
        reason=reason,
        logit=logit,
        relative_score=relative,
        evidence=evidence.map,
        sharpness=evidence.detail.sharpness,
        grain=evidence.detail.grain,
        lack=lack,
    )


def verdict_of(rate: float, fake_probability: float, calibration: Calibration) -> Verdict:
    """The verdict that follows from a false-alarm rate and a fake probability.

    Args:
        rate: adjusted for how many chances of a false alarm there were.
        fake_probability: of what is judged.
        calibration: has the thresholds.
    """
    if rate <= calibration.alarm_rate:
        return "fake"
    if rate > calibration.uncertain_rate and fake_probability < LEAST_DOUBT:
        return "real"
    return "uncertain"


def verdict_on(
    rate: float,
    fake_probability: float,
    alike: str,
    calibration: Calibration,
    told: Callable[[float], str] = percent,
) -> tuple[Verdict, str | None]:
    """The verdict of `verdict_of` and, if it is "uncertain", the reason from `why_uncertain`.

    Args:
        rate, fake_probability, calibration: as for `verdict_of`.
        alike, told: as for `why_uncertain`.
    """
    verdict = verdict_of(rate, fake_probability, calibration)
    if verdict != "uncertain":
        return verdict, None
    return verdict, why_uncertain(rate, fake_probability, alike, calibration, told)
