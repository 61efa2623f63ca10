"""Frames of a video, read strictly: in order, upright, evenly sampled, or one `ImageError`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, Self

from facefake.containers import Outline, counts_frames, has_hole, is_container, outline
from facefake.decoder import LONGEST, Decoder
from facefake.reading import ImageLimits, check_regular, check_size, image_error
from facefake.refusal import Refusal, faults
from facefake.settings import real_number, whole_number

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from facefake.refusal import ErrorKind

LARGEST_FILE = 1 << 36  # bytes
_UNKNOWN = 1 << 30  # frames: FFmpeg's placeholder in an AVI file, which it cannot correct in a stream
_FASTEST = 1000  # frames a second: WebM counts milliseconds, and some writers state that as the rate
_RATE_OF_COVERS = 90_000  # which FFmpeg reports for the cover picture of a sound file
_LEAP_FROM = 4.0  # seconds to the next wanted frame: nearer ones are reached sooner by decoding up to them
_LEAST_ROOM = 64 << 20  # bytes of memory: with less left FFmpeg may fail at anything
_FRAMES_AT_ONCE = 4  # in RGB, as large as twice as many in the decoder
_NEAR_END = 30.0  # seconds of a clip that are decoded only to see whether it goes on


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are looked at.

    Attributes:
        frames_per_second: how many a second, if the clip is short enough.
        max_frames: how many of a clip at most; in a longer clip they are further apart, evenly.

    Raises:
        TypeError, ValueError: one is not a number above 0, `max_frames` is not whole, or `frames_per_second` has no
            finite inverse.
    """

    frames_per_second: float = 2.0
    max_frames: int = 300

    def __post_init__(self) -> None:
        rate = real_number("frames_per_second", self.frames_per_second)
        if not 0 < rate < math.inf or math.isinf(1 / rate):
            raise ValueError(
                f"expected frames_per_second to be above 0, with a finite inverse, got {self.frames_per_second!r}"
            )
        object.__setattr__(self, "frames_per_second", rate)  # NumPy's is not JSON-serialisable
        object.__setattr__(self, "max_frames", whole_number("max_frames", self.max_frames))

    def interval(self, duration: float) -> float:
        """Seconds between the frames that are looked at in a clip that lasts so many seconds."""
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
    """An open video; close it, or use it in a ``with`` statement.

    OpenCV silently scales every frame to the size of the first, so where a clip changes its size on the way, as video
    calls do, faces may be distorted.

    Args:
        path: of a file.
        limits: how large a frame may be.

    Attributes:
        path: as text.
        width, height: of its frames, upright, in pixels, and as they are displayed: where pixels are not square, as on
            many discs and in many broadcasts, frames are made wider or taller.
        rate: its frames a second, as the file says.
        duration: its length in seconds, as the file says, or counted where it says nothing.
        ended: whether `frames` came to the last one.
        overran: whether `frames` gave as many as it may while the clip goes on beyond its stated duration.

    Raises:
        ImageError: it cannot be read; its `kind` is one of `refusal.ERROR_KINDS`.
        MissingLibraryError: a system library is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], limits: ImageLimits | None = None) -> None:
        self.path = os.fsdecode(path)
        self._file = -1
        self._leaps = True  # until one goes wrong
        self.ended = self.overran = False
        self.width = self.height = 0
        try:
            with self._named():
                self._open(limits or ImageLimits())
        except BaseException:
            self.close()
            raise

    def frames(self, sampling: Sampling) -> Iterator[Frame]:
        """The sampled frames, in order. Can be iterated over once.

        Raises:
            ImageError: the video ends before it should, or a frame cannot be decoded.
            ValueError: the file was closed.
        """
        interval = sampling.interval(self.duration)
        wanted, last = 0.0, 0.0
        with self._named():
            for _ in range(sampling.max_frames):
                self._check_open()
                if not self._advance(wanted):
                    break
                time = self._decoder.time
                if time - last > 2 * max(interval, 1 / self.rate) and self._outline == "damaged":
                    got = f"none from {last:.1f} to {time:.1f} seconds of a damaged file"
                    raise Refusal("corrupt", "frames throughout", got)
                pixels = self._decoder.pixels()
                if pixels is None:
                    self._refuse("corrupt", "frames that can be decoded", f"none at {time:.1f} seconds")
                yield Frame(max(0.0, time), pixels)
                last = time
                wanted = interval * (math.floor((time + 0.5 / self.rate) / interval + 1e-6) + 1)
            else:
                self._check_open()
                near = self.duration - self._decoder.time < _NEAR_END
                self.overran = near and self._reaches(wanted + interval)
                return
            self._check_end()
            self.ended = True

    def close(self) -> None:
        """Frees the decoder and closes the file."""
        if hasattr(self, "_decoder"):
            self._decoder.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
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
        self._decoder = Decoder(self._file)
        if not self._decoder.opened:
            told = "one that it cannot, or that holds no picture"
            self._refuse("corrupt", "a video that FFmpeg can open", told)
        self.width, self.height = self._decoder.width, self._decoder.height
        check_size(self.width, self.height, limits)
        self.rate = self._decoder.rate
        if not 0 < self.rate <= _FASTEST:
            cover = ", as of a sound file with a cover and no video" if self.rate == _RATE_OF_COVERS else ""
            raise Refusal("corrupt", f"up to {_FASTEST} frames a second", f"{self.rate:g}{cover}")
        count = self._decoder.count
        self.duration = count / self.rate if 0 < count < _UNKNOWN else self._counted()
        if not 0 < self.duration <= LONGEST:
            raise Refusal("too_large", f"at most {LONGEST:,} seconds", f"{self.duration:,.0f}")

    def _check_open(self) -> None:
        if self._file < 0:  # its number may be another file's by now
            raise ValueError("expected an open video, got one that was closed")

    def _advance(self, wanted: float) -> bool:
        """Grab the first frame at a time, or later; whether there is one."""
        leapt = False
        while self._decoder.time < wanted - 0.5 / self.rate:
            if not self._decoder.step():
                return False
            # Not to where there should be nothing more: whatever is there all the same is decoded. And only once: if it
            # lands too early, frames are decoded from there.
            far = self._decoder.time + _LEAP_FROM < wanted < self.duration
            if far and not leapt and self._leaps and not self._has_hole:
                leapt, self._leaps = True, self._decoder.leap(wanted)
        return True

    def _check_end(self) -> None:
        """Refuse a clip that ends too early, after the frame that was grabbed last.

        Raises:
            Refusal: it is cut off, or shows nothing.
        """
        if self._decoder.time < 0:
            self._refuse("corrupt", "at least one frame", "none that can be decoded")
        end = self._decoder.time + 1 / self.rate
        # With some tolerance: the number of frames may be an estimate.
        early = end < 0.9 * self.duration - max(1 / self.rate, min(1.0, 0.1 * self.duration))
        if early and not self._is_whole():
            self._refuse(
                "truncated", f"a video of {self.duration:.1f} seconds", f"an end after {end:.1f} seconds"
            )

    def _is_whole(self) -> bool:
        """Whether a file that ends early is complete all the same.

        The last picture may be held for long: MP4 and QuickTime state their number of frames. In Matroska sound may go
        on for longer, or the timestamps may begin late: its outline decides.
        """
        if not counts_frames(self._file):
            return self._outline == "whole"
        self._decoder.rewind()
        promised = self._decoder.count
        come = 0
        while come < promised and self._decoder.step():
            come += 1
        # None are promised if the file was cut meanwhile and can no longer be opened.
        return 0 < promised <= come

    @cached_property
    def _outline(self) -> Outline:
        return outline(self._file)

    @cached_property
    def _has_hole(self) -> bool:
        return has_hole(self._file)

    def _reaches(self, end: float) -> bool:
        """Whether there is a frame then or later. A fragmented file may state only the length of its first fragment."""
        while self._decoder.time < end and self._decoder.step():
            pass
        return self._decoder.time >= end

    def _counted(self) -> float:
        """The length in seconds of a video that does not state it, as after streaming."""
        while self._decoder.step():
            pass
        last = self._decoder.time
        if last < 0:
            self._refuse("corrupt", "at least one frame", "none that can be decoded")
        self._decoder.rewind()
        return last + 1 / self.rate

    def _refuse(self, kind: ErrorKind, expected: str, got: str) -> NoReturn:
        """Refuse the file; as too large if little memory is left, as FFmpeg gives nothing then, either.

        Raises:
            Refusal: always.
        """
        import numpy as np

        with faults(kind, expected):
            np.empty(max(_LEAST_ROOM, _FRAMES_AT_ONCE * self.width * self.height * 3), np.uint8)
        raise Refusal(kind, expected, got)
