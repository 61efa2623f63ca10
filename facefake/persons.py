"""From one person's faces in the frames of a clip to a verdict on the person, and on the clip."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from facefake.aggregator import verdict_on
from facefake.calibration import Calibration
from facefake.rates import Adjusted, adjusted, any_fake_probability, corrected
from facefake.reasons import suspicious_alone, told_rate
from facefake.record_values import six_digits
from facefake.results import Verdict
from facefake.wording import at_most, none_looks_fake

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facefake.tiles import Box

FEWEST_JUDGED = 3
"""How many faces of a person must be judged, in a clip with at least as many frames: a single one may not be a face."""

WINDOW = 5
"""How many judged faces in a row make a time span."""


class Span(NamedTuple):
    """A stretch of time, in seconds from the beginning of the clip."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person's face in one frame.

    Attributes:
        time: of the frame, in seconds.
        box: left, top, right, bottom, in pixels of the frame.
        detection_score: 0 to 1.
        logit: the network's raw score; None when the face was not judged.
        fake_probability: that of this face alone, 0 to 1; None when it was not judged.
        false_alarm_rate: that of this face alone, above 0 and at most 1; None when it was not judged.
        reason: why it was not judged; None when it was.
        crop: uint8 (n, n, 3) RGB, the face and its surroundings, for a contact sheet; not part of the record.
    """

    time: float
    box: Box
    detection_score: float
    logit: float | None
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    crop: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The sighting as JSON-ready values."""
        return {
            "time": round(self.time, 3),
            "box": [round(float(value), 2) for value in self.box],
            "detection_score": six_digits(self.detection_score),
            "logit": six_digits(self.logit),
            "fake_probability": six_digits(self.fake_probability),
            "false_alarm_rate": six_digits(self.false_alarm_rate),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class PersonResult:
    """The judgement on one person in a clip or, to be exact, on one uninterrupted appearance.

    Attributes:
        index: in the order of appearance, from 0.
        verdict: "not_applicable" when the person cannot be judged.
        fake_probability: calibrated probability, 0 to 1, that the face is fake; None when it was not judged.
        false_alarm_rate: share of real people, above 0 and at most 1, who look at least as fake in as many frames;
            an upper bound, see `judge_persons`; None when the person was not judged.
        reason: why the person is uncertain or was not judged; None otherwise.
        logit: the highest that more than half of the judged faces reach; None when the person was not judged.
        spans: when the person looks fake, in order.
        sightings: the person's face in each frame in which it was found, in order.
    """

    index: int
    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    logit: float | None
    spans: tuple[Span, ...]
    sightings: tuple[Sighting, ...]

    @property
    def number(self) -> int:
        """The person's number in texts, where people count from 1."""
        return self.index + 1

    @property
    def judged(self) -> int:
        """The number of frames in which the face was judged."""
        return sum(sighting.logit is not None for sighting in self.sightings)

    @property
    def seen(self) -> Span:
        """From when to when the person is seen."""
        return Span(self.sightings[0].time, self.sightings[-1].time)

    def to_dict(self) -> dict[str, Any]:
        """The person as JSON-ready values."""
        return {
            "index": self.index,
            "verdict": self.verdict,
            "fake_probability": six_digits(self.fake_probability),
            "false_alarm_rate": six_digits(self.false_alarm_rate),
            "reason": self.reason,
            "logit": six_digits(self.logit),
            "seen": [round(time, 3) for time in self.seen],
            "spans": [[round(time, 3) for time in span] for span in self.spans],
            "sightings": [sighting.to_dict() for sighting in self.sightings],
        }


@dataclass(frozen=True, slots=True)
class ClipJudgement:
    """The verdict on a clip and on the people in it; the attributes are those of `VideoResult`."""

    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    persons: tuple[PersonResult, ...]


def judge_persons(
    tracks: Sequence[Sequence[Sighting]], frames: int, calibration: Calibration
) -> ClipJudgement:
    """Verdicts for the people in a clip and for the clip.

    The frames of one person are anything but independent: what makes one face look fake, such as the camera's filter,
    makes the next one look fake too. So no probabilities are multiplied. A person's score is the logit that more than
    half of the person's m judged faces reach, the k-th largest; as many faces have at most some false-alarm rate.
    However the faces depend on each other: if each face of a real person is as likely to have such a rate as a real face
    in a still picture, k of m have it with a probability of at most m / k times that rate, which is less than twice
    (Rüger 1978, "Das maximale Signifikanzniveau des Tests «Lehne H₀ ab, wenn k unter n gegebenen Tests zur Ablehnung
    führen»", Metrika 25; Vovk & Wang 2020, "Combining p-values via averaging", Biometrika 107). This bound is the
    person's false-alarm rate. It is `adjusted` for the number of judged people, just as faces' rates are for the number
    of faces in a picture, and verdicts follow from it in the same way. A clip of one frame is judged like a picture of
    the same faces.

    Spans are found in the same way from `WINDOW` judged faces in a row, and corrected for the number of such windows in
    the clip as well. For people who are called fake, whose spans only say when, the correction is for the number of
    people alone, and shared by as many as look equally fake.
    A person who has spans but is not called fake is uncertain, and so is the clip, whatever the scores: a part may be
    faked.

    Args:
        tracks: one per person, in order of appearance, each with at least one sighting.
        frames: how many frames were looked at.
        calibration: the model's, for still pictures.
    """
    least = min(FEWEST_JUDGED, frames)
    judged = [sum(sighting.logit is not None for sighting in track) for track in tracks]
    count = sum(faces >= least for faces in judged)
    windows = sum(max(1, faces - WINDOW + 1) for faces in judged if faces >= least)
    majorities = [majority(track) for track, faces in zip(tracks, judged, strict=True) if faces >= least]
    rates = adjusted([each.rate for each in majorities])
    each_judged = iter(zip(majorities, rates, strict=True))
    persons = tuple(
        _judge_person(index, track, *next(each_judged), count, windows, calibration)
        if faces >= least
        else PersonResult(
            index, "not_applicable", None, None, _why_not(track, faces, least), None, (), tuple(track)
        )
        for index, (track, faces) in enumerate(zip(tracks, judged, strict=True))
    )
    chances = [person.fake_probability for person in persons if person.fake_probability is not None]
    if not chances:
        reason = f"none of {len(persons)} people can be judged" if persons else "no face found"
        return ClipJudgement(
            "not_applicable", None, None, persons[0].reason if len(persons) == 1 else reason, persons
        )
    lowest = min(rates)
    chance = any_fake_probability([math.log(p) - math.log1p(-p) for p in map(_bounded, chances)])
    shown = told_rate(min(each.rate for each in majorities), lowest, count, calibration)
    verdict, why = verdict_on(shown.rate, chance, _alike(shown, count), calibration, at_most)
    in_part = [person for person in persons if person.spans]
    if verdict == "real" and in_part:
        verdict, why = "uncertain", f"person {in_part[0].number}: {in_part[0].reason}"
    return ClipJudgement(verdict, chance, lowest.rate, why, persons)


def _judge_person(
    index: int,
    track: Sequence[Sighting],
    most: Majority,
    rate: Adjusted,
    count: int,
    windows: int,
    calibration: Calibration,
) -> PersonResult:
    shown, among = told_rate(most.rate, rate, count, calibration), count
    if not suspicious_alone(most.rate, calibration):
        shown, among = Adjusted(most.rate, 1), 1
    told = _alike(shown, among)
    verdict, reason = verdict_on(shown.rate, most.fake_probability, told, calibration, at_most)
    chances = count / rate.among if verdict == "fake" else windows
    spans = _spans(track, chances, calibration)
    if spans and verdict == "real":
        verdict, reason = "uncertain", "looks fake only part of the time"
    return PersonResult(
        index, verdict, most.fake_probability, most.rate, reason, most.logit, spans, tuple(track)
    )


class Majority(NamedTuple):
    """What more than half of a person's judged faces have in common.

    Attributes:
        logit: the highest that they all reach.
        fake_probability: likewise.
        rate: the bound on the person's false-alarm rate that follows from theirs.
    """

    logit: float
    fake_probability: float
    rate: float


def majority(sightings: Sequence[Sighting]) -> Majority:
    """What more than half of the judged faces have in common; at least one sighting must have been judged."""
    logits = sorted((s.logit for s in sightings if s.logit is not None), reverse=True)
    chances = sorted((s.fake_probability for s in sightings if s.fake_probability is not None), reverse=True)
    rates = sorted(s.false_alarm_rate for s in sightings if s.false_alarm_rate is not None)
    least = len(logits) // 2 + 1
    return Majority(logits[least - 1], chances[least - 1], min(1.0, rates[least - 1] * len(rates) / least))


def _bounded(chance: float) -> float:
    """The probability, kept far enough from 0 and 1 for its odds to be finite."""
    return min(max(chance, sys.float_info.min), 1 - sys.float_info.epsilon)


def _spans(track: Sequence[Sighting], chances: float, calibration: Calibration) -> tuple[Span, ...]:
    judged = [sighting for sighting in track if sighting.logit is not None]
    spans: list[Span] = []
    for first in range(len(judged) - WINDOW + 1):
        window = judged[first : first + WINDOW]
        if corrected(majority(window).rate, chances) > calibration.alarm_rate:
            continue
        start, end = window[0].time, window[-1].time
        if spans and start <= spans[-1].end:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    return tuple(spans)


def _why_not(track: Sequence[Sighting], judged: int, least: int) -> str:
    reasons = [sighting.reason for sighting in track if sighting.reason is not None]
    if len(reasons) > judged:
        faults = [reason.partition(":")[0] for reason in reasons]
        often = max(sorted(set(faults)), key=faults.count)
        return f"{often}: in {faults.count(often)} of {len(track)} frames"
    frames = "1 frame" if judged == 1 else f"{judged} frames"
    return f"seen too briefly: judged in {frames}, at least {least} are needed"


def _alike(rate: Adjusted, count: int) -> str:
    if count == 1:
        return "up to {} of real people may look"
    shown = "one who looks" if rate.among == 1 else f"{rate.among} who look"
    return f"up to {{}} of clips with {count} real people may show {shown}"


def sentence(verdict: Verdict, persons: Sequence[PersonResult], rate: float | None) -> str:
    """One plain English sentence on a clip."""
    if not persons:
        return "No face found, so there is nothing to judge."
    if verdict == "not_applicable":
        return (
            f"The one person found cannot be judged: {persons[0].reason}."
            if len(persons) == 1
            else f"{len(persons)} people found, none of whom can be judged."
        )
    verdicts = [person.verdict for person in persons]
    counts = {each: verdicts.count(each) for each in get_args(Verdict)}
    of = "The one person found" if len(persons) == 1 else f"{counts['fake']} of {len(persons)} people"
    if counts["fake"]:
        looks = "look" if counts["fake"] > 1 else "looks"
        clauses = [f"{of} {looks} fake (false-alarm rate at most {at_most(rate or 1.0)})"]
    elif len(persons) == 1:
        clauses = [f"{of} is uncertain" if counts["uncertain"] else f"{of} does not look fake"]
    else:
        clauses = [none_looks_fake(counts, "person", "people")]
    if len(persons) - counts["not_applicable"] > 1 and counts["uncertain"]:
        clauses.append(f"{counts['uncertain']} {'is' if counts['uncertain'] == 1 else 'are'} uncertain")
    if counts["not_applicable"]:
        clauses.append(f"{counts['not_applicable']} cannot be judged")
    if verdict == "real":
        clauses.append("that does not prove the clip authentic")
    return "; ".join(clauses) + "."
