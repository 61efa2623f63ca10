"""Frames of a video, read strictly: in order, upright, evenly thinned, or one `ImageError`.

OpenCV's FFmpeg decodes. It is shown the contents of one regular file and may open nothing else: no address, no
playlist, no file that the video refers to.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from facefake.containers import Outline, counts_frames, has_hole, is_container, outline
from facefake.native import lock_awaited_by_forks, naming_missing_libraries
from facefake.reading import ImageLimits, check_regular, check_size, image_error
from facefake.refusal import Refusal, faults
from facefake.settings import real_number, whole_number

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from facefake.refusal import ErrorKind

_OPTIONS = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # what is wrong with a file is said here, not on standard error
}
LARGEST_FILE = 1 << 36  # bytes
_LONGEST = 12 * 3600  # seconds
_MOST_GRABS = 12 * 3600 * 60  # frames: as many as there are in so many seconds
_UNKNOWN = 1 << 30  # frames: what FFmpeg writes into an AVI file at first, and cannot mend in a stream
_FASTEST = 1000  # frames a second: WebM counts milliseconds, and some writers say so
_RATE_OF_COVERS = 90_000  # that FFmpeg gives the picture on the cover of a sound file
_SEEK_FROM = 4.0  # seconds to the next wanted frame: nearer ones are reached sooner by decoding those between
_LEAST_ROOM = 64 << 20  # bytes of memory: with less left FFmpeg may fail at anything
_FRAMES_AT_ONCE = 4  # RGB, which is what twice as many take while they are decoded
_ASPECTS = (0.25, 4.0)  # widths of a pixel by its height that are believed
_NEAR_END = 30.0  # seconds of a clip that are gone through only to see whether it goes on
_LATE = 1.0  # second by which a search may lead too far
_opening = lock_awaited_by_forks()


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are looked at.

    Attributes:
        frames_per_second: how many a second, where the clip is short enough.
        max_frames: how many of a clip at most; those of a longer one lie further apart, evenly.

    Raises:
        TypeError, ValueError: one is no number above 0, or the former one of which there is no finite inverse.
    """

    frames_per_second: float = 2.0
    max_frames: int = 300

    def __post_init__(self) -> None:
        rate = real_number("frames_per_second", self.frames_per_second)
        if not 0 < rate < math.inf or math.isinf(1 / rate):
            raise ValueError(
                f"expected frames_per_second to be above 0, with a finite inverse, got {self.frames_per_second!r}"
            )
        object.__setattr__(self, "frames_per_second", rate)  # NumPy's are no JSON
        object.__setattr__(self, "max_frames", whole_number("max_frames", self.max_frames))

    def interval(self, duration: float) -> float:
        """Seconds between the frames that are looked at in a clip of so many seconds."""
        return max(1 / self.frames_per_second, duration / self.max_frames)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        time: seconds from the beginning of the clip.
        pixels: (height, width, 3) uint8 RGB, upright.
    """

    time: float
    pixels: NDArray[np.uint8]


class VideoFile:
    """A video, opened; to be closed, or used in a ``with`` statement.

    OpenCV scales every frame to the size of the first and does not tell of it, so where a clip changes its size on the
    way, as calls do, faces may come distorted.

    Args:
        path: of a file.
        limits: how large a frame may be.

    Attributes:
        path: as text.
        width, height: of its frames, upright, in pixels, and as they are shown: where a pixel is no square, as on many
            discs and in many broadcasts, frames are made wider or higher.
        rate: its frames a second, as the file says.
        duration: its seconds, as the file says, or counted where it says nothing.
        ended: whether `frames` came to the last one.
        overran: whether `frames` gave as many as it may, and the clip goes on after the duration that it tells.

    Raises:
        ImageError: it cannot be read; its `kind` is one of `images.ERROR_KINDS`.
        MissingLibraryError: a system library is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], limits: ImageLimits | None = None) -> None:
        self.path = os.fsdecode(path)
        self._file = -1
        self.ended = self.overran = False
        self.width = self.height = 0
        try:
            with self._named():
                self._open(limits or ImageLimits())
        except BaseException:
            self.close()
            raise

    def frames(self, sampling: Sampling) -> Iterator[Frame]:
        """The wanted frames, in order. To be gone through once.

        Raises:
            ImageError: the video ends before it should, or a frame cannot be decoded.
            ValueError: the file was closed.
        """
        import cv2

        interval = sampling.interval(self.duration)
        wanted, sought, count = 0.0, True, 0
        time, last = -1 / self.rate, 0.0
        search: Literal["ahead", "back"] | None = None
        trusted, late = True, max(_LATE, 1 / self.rate)
        with self._named():
            for _ in range(_MOST_GRABS):
                if self._file < 0:  # its number may be another file's by now
                    raise ValueError("expected an open video, got one that was closed")
                if count == sampling.max_frames:
                    self.overran = self.duration - time < _NEAR_END and self._reaches(wanted + interval, time)
                    return
                grabbed = self._capture.grab()
                position = self._position() if grabbed else 0.0
                if search == "ahead" and not time < position < wanted + late:
                    # OpenCV does not look where it lands: it counts frames as if they lay evenly. Or there is a gap in
                    # the file: so first from where it was, in order.
                    self._reopen()
                    self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * time)
                    search = "back"
                    continue
                if search == "back" and not 0 < position <= time:
                    # From the beginning, and in order from now on.
                    self._reopen()
                    time, search, trusted = -1 / self.rate, None, False
                    continue
                if not grabbed:
                    break
                time = position if search == "back" else self._time(time)
                search = None
                if time < wanted - 0.5 / self.rate:
                    # Not to where there should be nothing more: what is there all the same is decoded.
                    far = time + _SEEK_FROM < wanted < self.duration and trusted and not sought
                    if far and not self._has_hole:
                        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * wanted)
                        sought, search = (
                            True,
                            "ahead",
                        )  # once: from where it lands too early, frames are decoded
                    continue
                if time - last > 2 * max(interval, 1 / self.rate) and self._outline == "damaged":
                    got = f"none from {last:.1f} to {time:.1f} seconds of a damaged file"
                    raise Refusal("corrupt", "frames all along", got)
                decoded, pixels = self._capture.retrieve()
                if not decoded:
                    self._refuse("corrupt", "frames that can be decoded", f"none at {time:.1f} seconds")
                if pixels.shape[:2] != (self.height, self.width):
                    pixels = cv2.resize(pixels, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
                yield Frame(max(0.0, time), cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                count, last = count + 1, time
                wanted = interval * (math.floor((time + 0.5 / self.rate) / interval + 1e-6) + 1)
                sought = False
            end = time + 1 / self.rate
            if count == 0:
                self._refuse("corrupt", "at least one frame", "none that can be decoded")
            # Not to the second: the number of frames may be an estimate.
            early = end < 0.9 * self.duration - max(1 / self.rate, min(1.0, 0.1 * self.duration))
            if early and not self._is_whole():
                self._refuse(
                    "truncated", f"a video of {self.duration:.1f} seconds", f"an end after {end:.1f} seconds"
                )
            self.ended = True

    def close(self) -> None:
        """Frees the decoder and closes the file."""
        if hasattr(self, "_capture"):
            self._capture.release()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            raise image_error(refusal, self.path) from refusal.__cause__

    def _open(self, limits: ImageLimits) -> None:
        with naming_missing_libraries():
            import cv2
        with faults("unreadable", "a readable file"):
            check_regular(os.stat(self.path), LARGEST_FILE)
            self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            check_regular(os.fstat(self._file), LARGEST_FILE)
            head = os.pread(self._file, 64, 0)
        if not head:
            raise Refusal("empty", "a video", "an empty file")
        if not is_container(head):
            got = f"a file that begins with {head[:12]!r}"
            raise Refusal("unsupported", "a video in MP4, QuickTime, Matroska, WebM or AVI", got)
        # By its descriptor: the file that was checked, whatever has its name by now, and no name is an address.
        self._name = f"/proc/self/fd/{self._file}"
        self._capture = _capture(self._name)
        if not self._capture.isOpened():
            told = "one that it cannot, or that holds no picture"
            self._refuse("corrupt", "a video that FFmpeg can open", told)
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        aspect = self._pixel_aspect()
        self.width, self.height = round(self.width * max(1, aspect)), round(self.height / min(1, aspect))
        check_size(self.width, self.height, limits)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        if not 0 < self.rate <= _FASTEST:
            cover = ", as of sound with a cover and no video" if self.rate == _RATE_OF_COVERS else ""
            raise Refusal("corrupt", f"up to {_FASTEST} frames a second", f"{self.rate:g}{cover}")
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.duration = count / self.rate if 0 < count < _UNKNOWN else self._counted()
        if not 0 < self.duration <= _LONGEST:
            raise Refusal("too_large", f"at most {_LONGEST:,} seconds", f"{self.duration:,.0f}")

    def _pixel_aspect(self) -> float:
        """How wide a pixel of the upright frames is shown by its height; 1 where that is hardly seen, or absurd."""
        import cv2

        across, down = (self._capture.get(kind) for kind in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
        if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:
            across, down = down, across
        aspect = across / down if across > 0 and down > 0 else 1.0
        return aspect if _ASPECTS[0] <= aspect <= _ASPECTS[1] and abs(aspect - 1) > 0.02 else 1.0

    def _is_whole(self) -> bool:
        """Whether an end that comes early is the file's own. The last picture may be held for long: MP4 and QuickTime
        say how many frames come. In Matroska sound may go on longer, or the times begin late: it is whole by its outline.
        """
        import cv2

        if not counts_frames(self._file):
            return self._outline == "whole"
        self._reopen()
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        come = 0
        while come < promised and self._capture.grab():
            come += 1
        # None are promised where the file was cut meanwhile, and cannot be opened any more.
        return bool(0 < promised <= come)

    @cached_property
    def _outline(self) -> Outline:
        return outline(self._file)

    @cached_property
    def _has_hole(self) -> bool:
        return has_hole(self._file)

    def _reaches(self, end: float, time: float) -> bool:
        """Whether there is a frame then or later. A fragmented file may tell the length of its first fragment only."""
        while time < end and self._capture.grab():
            time = self._time(time)
        return time >= end

    def _reopen(self) -> None:
        """Back to the beginning: not every video can be wound back."""
        self._capture.release()
        self._capture = _capture(self._name)

    def _counted(self) -> float:
        """The seconds of a video that does not say how long it is, as those do not that were streamed."""
        time = -1 / self.rate
        for _ in range(_MOST_GRABS):
            if not self._capture.grab():
                break
            time = self._time(time)
        if time < 0:
            self._refuse("corrupt", "at least one frame", "none that can be decoded")
        self._reopen()
        return float(time + 1 / self.rate)

    def _refuse(self, kind: ErrorKind, expected: str, got: str) -> NoReturn:
        """Refuse the file; as too large where there is little memory left, for want of which FFmpeg gives nothing, too.

        Raises:
            Refusal: always.
        """
        import numpy as np

        with faults(kind, expected):
            np.empty(max(_LEAST_ROOM, _FRAMES_AT_ONCE * self.width * self.height * 3), np.uint8)
        raise Refusal(kind, expected, got)

    def _time(self, before: float) -> float:
        """Seconds at which the frame stands that was grabbed, always after the one before it."""
        time = self._position()
        return time if before < time < _LONGEST else before + 1 / self.rate

    def _position(self) -> float:
        """Seconds at which the frame stands that was grabbed, as the file says; 0 where it says nothing."""
        import cv2

        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000


def _capture(path: str) -> Any:
    import cv2

    with _opening:  # the environment is the whole process's
        before = {name: os.environ.get(name) for name in _OPTIONS}
        level = cv2.utils.logging.setLogLevel(0)
        # Past os.environ: another thread that copies it would meet with a KeyError where a name goes meanwhile.
        for name, value in _OPTIONS.items():
            os.putenv(name, value)
        try:
            return cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(level)
            for name, previous in before.items():
                if previous is None:
                    os.unsetenv(name)
                else:
                    os.putenv(name, previous)
