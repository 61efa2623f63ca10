"""A video as OpenCV's FFmpeg decodes it, frame after frame, each with its time.

FFmpeg is shown the contents of one open file and may open nothing else: no address, no playlist, no file that the video
refers to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from facefake.native import lock_awaited_by_forks, naming_missing_libraries

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 12 * 3600
"""The most seconds that a video may last."""

_OPTIONS = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # faults of a file are reported as errors, not on standard error
}
_MOST_GRABS = LONGEST * 60  # frames: as many as 60 a second make
_ASPECTS = (0.25, 4.0)  # credible ratios of a pixel's width to its height
_LATE = 1.0  # second by which a leap may go too far
_opening = lock_awaited_by_forks()


class Decoder:
    """The frames of a video, in order.

    OpenCV silently scales every frame to the size of the first.

    Args:
        descriptor: of the file, open for reading; it remains the caller's.

    Attributes:
        opened: whether FFmpeg can open the file; if not, the other attributes mean nothing.
        rate: frames a second, as the file says.
        count: frames, as the file says; 0 or less, or absurdly many, where it does not know.
        width, height: of a frame, upright, in pixels, and as it is displayed: where pixels are not square, as on many
            discs and in many broadcasts, frames are made wider or taller.
        time: of the frame that was grabbed last, in seconds; −1 / `rate` before the first.

    Raises:
        MissingLibraryError: a system library is not installed.
    """

    time: float

    def __init__(self, descriptor: int) -> None:
        with naming_missing_libraries():
            import cv2

        # By its descriptor: it is the file that was checked, whatever has its name by now, and no name acts as a URL.
        self._name = f"/proc/self/fd/{descriptor}"
        self._capture = _capture(self._name)
        self.opened = bool(self._capture.isOpened())
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        aspect = self._pixel_aspect()
        width, height = (
            int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.width, self.height = round(width * max(1, aspect)), round(height / min(1, aspect))
        self._start()

    def step(self) -> bool:
        """Grab the next frame; whether there is one."""
        position = self._grabbed()
        if position is None:
            return False
        self.time = position if self.time < position < LONGEST else self.time + 1 / self.rate
        return True

    def leap(self, wanted: float) -> bool:
        """Seek to a time and grab a frame near it, without those in between.

        Args:
            wanted: in seconds, later than `time`.

        Returns:
            Whether seeking can be relied on. If not, the video is at its beginning, before the first frame. If so, it may
            still be where it was.
        """
        landed = self._landed(wanted)
        if self.time < landed < wanted + max(_LATE, 1 / self.rate):
            self.time = landed
            return True
        # OpenCV does not check where it lands: it counts frames as if evenly spaced. Or there is a gap in the file.
        before = self.time
        self.rewind()
        landed = self._landed(before)
        if 0 < landed <= before:
            self.time = landed
            return True
        self.rewind()
        return False

    def rewind(self) -> None:
        """Go back to the beginning by opening the file once more: not every video can be rewound."""
        import cv2

        self._capture.release()
        self._capture = _capture(self._name)
        self.count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._start()

    def pixels(self) -> NDArray[np.uint8] | None:
        """The frame that was grabbed last, uint8 (height, width, 3) RGB; None where it cannot be decoded."""
        import cv2

        decoded, pixels = self._capture.retrieve()
        if not decoded:
            return None
        if pixels.shape[:2] != (self.height, self.width):
            pixels = cv2.resize(pixels, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        colours: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return colours

    def close(self) -> None:
        """Frees the decoder."""
        self._capture.release()

    def _start(self) -> None:
        self.time = -1 / self.rate if self.rate > 0 else 0.0
        self._grabs = 0

    def _landed(self, wanted: float) -> float:
        """Seek to a time and grab the next frame: its time in seconds; 0 where there is none."""
        import cv2

        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * wanted)
        return self._grabbed() or 0.0

    def _grabbed(self) -> float | None:
        """Grab a frame: its time in seconds, as the file says, 0 where it says nothing; None if there is no frame."""
        import cv2

        self._grabs += 1
        if self._grabs > _MOST_GRABS or not self._capture.grab():
            return None
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def _pixel_aspect(self) -> float:
        """A displayed pixel's width over its height, in upright frames; 1 if the difference is hardly visible or absurd."""
        import cv2

        across, down = (self._capture.get(kind) for kind in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
        if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:
            across, down = down, across
        aspect = across / down if across > 0 and down > 0 else 1.0
        return aspect if _ASPECTS[0] <= aspect <= _ASPECTS[1] and abs(aspect - 1) > 0.02 else 1.0


def _capture(path: str) -> Any:
    import cv2

    with _opening:  # the environment is the whole process's
        before = {name: os.environ.get(name) for name in _OPTIONS}
        level = cv2.utils.logging.setLogLevel(0)
        # Bypassing os.environ: another thread that copies it would get a KeyError if a name vanished meanwhile.
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
