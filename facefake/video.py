"""One clip: frames in, a verdict on each person and on the clip out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.frames import Sampling, VideoFile
from facefake.persons import PersonResult, Sighting, judge_persons, sentence
from facefake.record_values import message_text, six_digits, valid_unicode
from facefake.results import MORE_FACES, SCHEMA_VERSION, FileState, Verdict
from facefake.settings import check_sampling
from facefake.tracking import Tracker

if TYPE_CHECKING:
    import PIL.Image
    from numpy.typing import NDArray

    from facefake.detector import FakeImageDetector
    from facefake.frames import Frame
    from facefake.results import FaceResult
    from facefake.settings import Settings
    from facefake.tiles import Box

STILLS = (
    "the model was trained and calibrated on still pictures: video compression and motion may mislead it, "
    "and the false-alarm rates were not measured on video"
)
"""A warning in every record of a video."""

MOST_SHEETS = 40
"""The most contact sheets for one clip."""

_MOST_CROPS = 8_000  # per clip, so that they take some 220 MB at most; in a crowd the later faces have none
_CROP_SIDE = 96  # pixels of a face on the contact sheet
_CROP_MARGIN = 1.5


@dataclass(frozen=True, slots=True)
class VideoResult:
    """The judgement on one clip and on each person in it.

    Attributes:
        path: where it came from.
        width, height: of its frames as they are displayed, upright, in pixels.
        duration: in seconds, according to the file.
        frames: how many frames were looked at.
        interval: seconds between them.
        sampling: the requested one.
        verdict: "fake" when at least one person is, "not_applicable" when nobody was judged.
        fake_probability: probability, 0 to 1, that one of the people is fake; None when nobody was judged.
        false_alarm_rate: upper bound on the share of clips with as many people, all of them real, that look at
            least as fake, see `persons.judge_persons`; None when nobody was judged.
        reason: why the clip is uncertain or could not be judged; None otherwise.
        persons: in order of appearance.
        warnings: what one should know before relying on the verdict, one sentence each.
        model: name and version of the model bundle.
        schema_version: of the record.
        file: the file's state before a scan read it; None otherwise.
        settings: what the verdict depends on apart from the clip and the sampling.
    """

    path: str
    width: int
    height: int
    duration: float
    frames: int
    interval: float
    sampling: Sampling
    verdict: Verdict
    fake_probability: float | None
    false_alarm_rate: float | None
    reason: str | None
    persons: tuple[PersonResult, ...]
    warnings: tuple[str, ...]
    model: str
    schema_version: str = SCHEMA_VERSION
    file: FileState | None = None
    settings: Settings | None = None

    @property
    def summary(self) -> str:
        """One plain English sentence for a person."""
        return sentence(self.verdict, self.persons, self.false_alarm_rate)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values that satisfy `results.schema`."""
        return {
            "schema_version": self.schema_version,
            "media": "video",
            "path": valid_unicode(self.path),
            "width": self.width,
            "height": self.height,
            "duration": six_digits(self.duration),
            "frames": self.frames,
            "interval": six_digits(self.interval),
            "sampling": asdict(self.sampling),
            "verdict": self.verdict,
            "fake_probability": six_digits(self.fake_probability),
            "false_alarm_rate": six_digits(self.false_alarm_rate),
            "reason": self.reason,
            "summary": self.summary,
            "persons": [person.to_dict() for person in self.persons],
            "warnings": [message_text(warning) for warning in self.warnings],
            "model": self.model,
            "file": None if self.file is None else asdict(self.file),
            "settings": None if self.settings is None else asdict(self.settings),
        }


def analyze_video(
    detector: FakeImageDetector,
    path: str | os.PathLike[str],
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VideoResult:
    """Judge every person in a clip, and the clip.

    Args:
        detector: judges the frames; its limits for pictures apply to them.
        path: of the clip.
        sampling: which frames are looked at; None for two a second, at most 300.
        progress: called after each frame with how many were looked at and about how many there are to look at.

    Returns:
        The result, with the faces' crops in its persons' sightings.

    Raises:
        ImageError: the clip cannot be read.
        MissingLibraryError: a system library is not installed.
        TypeError: `sampling` has the wrong type.
        ValueError: the detector was closed, or made before this process was forked.
    """
    check_sampling(sampling)
    sampling = Sampling() if sampling is None else sampling
    with VideoFile(path, detector.limits) as video:
        interval = max(sampling.interval(video.duration), 1 / video.rate)
        expected = max(1, min(sampling.max_frames, math.ceil(video.duration / interval)))
        tracker: Tracker[Sighting] = Tracker(interval)
        count, crops, last, crowded = 0, 0, 0.0, False
        for frame in video.frames(sampling):
            found = detector.analyze(frame.pixels)
            sightings = [_sighting(face, frame, with_crop=crops < _MOST_CROPS) for face in found.faces]
            crops += len(sightings)
            crowded = crowded or any(warning.startswith(MORE_FACES) for warning in found.warnings)
            tracker.add(frame.time, frame.pixels, sightings)
            count, last = count + 1, frame.time
            progress(count, max(count, expected))
        judgement = judge_persons([track.detections for track in tracker.tracks], count, detector.calibration)
        warnings: tuple[str, ...] = (STILLS,)
        if video.overran or (not video.ended and video.duration - last > 2 * interval):
            warnings += (f"only the first {last:.0f} seconds were looked at",)
        if crowded:
            warnings += (
                f"some frames hold more faces than the {detector.settings.max_faces} that are judged at most",
            )
        return VideoResult(
            path=video.path,
            width=video.width,
            height=video.height,
            duration=video.duration,
            frames=count,
            interval=interval,
            sampling=sampling,
            verdict=judgement.verdict,
            fake_probability=judgement.fake_probability,
            false_alarm_rate=judgement.false_alarm_rate,
            reason=judgement.reason,
            persons=judgement.persons,
            warnings=warnings,
            model=detector.bundle.label,
            settings=detector.settings,
        )


def _sighting(face: FaceResult, frame: Frame, with_crop: bool) -> Sighting:
    return Sighting(
        time=frame.time,
        box=face.box,
        detection_score=face.detection_score,
        logit=face.logit,
        fake_probability=face.fake_probability,
        false_alarm_rate=face.false_alarm_rate,
        reason=None if face.logit is not None else face.reason,
        crop=_crop(frame.pixels, face.box) if with_crop else None,
    )


def _crop(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """A face and its surroundings, black beyond the frame."""
    import cv2

    left, top, right, bottom = box
    half = max(1, round(_CROP_MARGIN * max(right - left, bottom - top) / 2))
    x, y = round((left + right) / 2) - half, round((top + bottom) / 2) - half
    whole = np.zeros((2 * half, 2 * half, 3), np.uint8)
    part = pixels[max(0, y) : max(0, y + 2 * half), max(0, x) : max(0, x + 2 * half)]
    above, before = max(0, -y), max(0, -x)
    whole[above : above + part.shape[0], before : before + part.shape[1]] = part
    small = whole.shape[0] > _CROP_SIDE
    way = cv2.INTER_AREA if small else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(whole, (_CROP_SIDE, _CROP_SIDE), interpolation=way), np.uint8)


def sheets(result: VideoResult) -> Iterator[tuple[PersonResult, PIL.Image.Image]]:
    """The contact sheets of at most `MOST_SHEETS` people in a clip: those who look fakest, in order of appearance.

    Args:
        result: with crops in its sightings.
    """
    from facefake.person_sheet import person_sheet

    # Those who look fake at least part of the time come first, however they look as a whole.
    ranked = sorted(result.persons, key=lambda person: (not person.spans, -(person.fake_probability or 0.0)))
    for person in sorted(ranked[:MOST_SHEETS], key=lambda person: person.index):
        yield person, person_sheet(result, person)


def without_crops(result: VideoResult) -> VideoResult:
    """The result as it is kept in records."""
    return replace(
        result,
        persons=tuple(
            replace(person, sightings=tuple(replace(s, crop=None) for s in person.sightings))
            for person in result.persons
        ),
    )
