"""Who is who from frame to frame: detections become tracks, one per uninterrupted appearance of a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from facefake.native import naming_missing_libraries
from facefake.tiles import overlap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.tiles import Box

LONGEST_GAP = 2.0
"""How long a face may be out of sight, in seconds; or one and a half intervals between frames, if that is longer. What the
last frame showed counts as seen until the next one, however late that is."""

_BUFFER = 0.5  # of a box's side, by which it is grown on all sides
_LEAST_OVERLAP = 0.2  # intersection over union of two grown boxes
_LARGEST_RATIO = 1.7  # between the sides of one face from frame to frame
_CUT_COLOURS = 0.55  # Bhattacharyya distance between the frames' histograms
_CUT_LAYOUT = 0.22  # mean difference between the frames, made small and blurred, as a share of the full range
_SMALL = (32, 18)


class _Boxed(Protocol):
    @property
    def box(self) -> Box: ...


Detection = TypeVar("Detection", bound=_Boxed)


@dataclass(slots=True)
class Track(Generic[Detection]):
    """One person's uninterrupted appearance.

    Attributes:
        times: seconds of the frames in which the face was found, ascending.
        detections: the face in each of these frames.
    """

    times: list[float] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)


class Tracker(Generic[Detection]):
    """Joins the faces of a clip's frames into tracks, frame by frame.

    Faces are matched greedily, largest overlap first, if their boxes, each grown by half its side, overlap enough and are
    of similar size. Growing makes up for how far a face moves between frames that are half a second apart (Yang et al.,
    "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching Space",
    WACV 2023). Greedy, since an optimal assignment differs only where faces cross. A face may be out of sight for
    `LONGEST_GAP`; a cut ends all tracks. Nobody is recognised: anybody who comes back after a cut, or after a longer
    absence, counts as somebody new.

    Args:
        interval: seconds between the frames.

    Attributes:
        tracks: of all frames so far, in order of appearance.
    """

    def __init__(self, interval: float) -> None:
        self.tracks: list[Track[Detection]] = []
        self._gap = max(LONGEST_GAP, 1.5 * interval)
        self._live: list[Track[Detection]] = []
        self._look: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._before = -np.inf  # time of the previous frame

    def add(self, time: float, pixels: NDArray[np.uint8], detections: Sequence[Detection]) -> None:
        """Add the next frame.

        Args:
            time: of the frame, in seconds, later than those before it.
            pixels: uint8 (height, width, 3), RGB.
            detections: the faces in it.
        """
        look = _look(pixels)
        cut = self._look is not None and _is_cut(self._look, look)
        self._look = look
        self._live = [
            track
            for track in self._live
            if not cut and (track.times[-1] == self._before or time - track.times[-1] <= self._gap)
        ]
        self._before = time
        pairs = sorted(
            (-likeness, number, place)
            for number, track in enumerate(self._live)
            for place, detection in enumerate(detections)
            if (likeness := _likeness(track.detections[-1].box, detection.box)) >= _LEAST_OVERLAP
        )
        joined: dict[int, Track[Detection]] = {}
        taken: set[int] = set()
        for _, number, place in pairs:
            if number not in taken and place not in joined:
                joined[place] = self._live[number]
                taken.add(number)
        for place, detection in enumerate(detections):
            track = joined.get(place)
            if track is None:
                track = Track()
                self._live.append(track)
                self.tracks.append(track)
            track.times.append(time)
            track.detections.append(detection)


def _likeness(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, each grown; 0 if their sizes differ too much."""
    sides = [max(right - left, bottom - top) for left, top, right, bottom in (one, other)]
    if max(sides) > _LARGEST_RATIO * min(sides):
        return 0.0
    grown = [
        (left - _BUFFER * side, top - _BUFFER * side, right + _BUFFER * side, bottom + _BUFFER * side)
        for (left, top, right, bottom), side in zip((one, other), sides, strict=True)
    ]
    return overlap(*grown)[0]


def _look(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The colours of a frame, as a histogram of hue and saturation, and its layout, as a small blurred picture."""
    with naming_missing_libraries():
        import cv2

    small = cv2.resize(pixels, (8 * _SMALL[0], 8 * _SMALL[1]), interpolation=cv2.INTER_AREA)
    colours = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1], None, [16, 8], [0, 180, 0, 256])
    layout = cv2.resize(small, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(colours / colours.sum(), np.float32), np.asarray(cv2.blur(layout, (3, 3)), np.float32)


def _is_cut(
    one: tuple[NDArray[np.float32], NDArray[np.float32]],
    other: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> bool:
    import cv2

    colours = cv2.compareHist(one[0], other[0], cv2.HISTCMP_BHATTACHARYYA)
    return bool(colours > _CUT_COLOURS or float(np.abs(one[1] - other[1]).mean()) > _CUT_LAYOUT)
