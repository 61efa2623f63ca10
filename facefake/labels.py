"""What the labels of an annotated picture say, how big they are, and where they go so as not to hide a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.results import FaceResult

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are exclusive."""

OUTLIER_SIGN = "!"
"""What follows the words on a face that stands out from the others in its picture."""

_URGENCY = ("fake", "uncertain", "real", "not_applicable")
_STRIP = 4  # a picture whose sides differ by more is viewed part by part, not fitted to a screen
_ROOMY = 12  # a label may lie inside its face's box if that is this many times larger


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in pixels that look the same however large the picture is, once it is fitted to a screen.

    Attributes:
        line: width of a box's line.
        small: the smallest height of text that stays legible.
        large: the largest height of text.
    """

    line: int
    small: int
    large: int

    @classmethod
    def of(cls, width: int, height: int) -> Scale:
        """The sizes for a picture of this width and height in pixels."""
        longer = min(max(width, height), _STRIP * min(width, height))
        return cls(line=max(2, longer // 500), small=max(12, longer // 110), large=max(15, longer // 60))


@dataclass(frozen=True, slots=True)
class Label:
    """A text, the height of its letters in pixels, and the rectangle that it fills."""

    text: str
    size: int
    box: Rectangle


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in scalable font; it has ASCII and little else."""
    return ImageFont.load_default(size=size)


def outline(face: FaceResult, width: int, height: int) -> Rectangle:
    """The rectangle that a face's frame fills: its box and the line around it, kept within the picture."""
    left, top, right, bottom = face.box
    line = line_width(face, Scale.of(width, height))
    x = min(max(0, round(left) - line), width - 1), max(1, min(width, round(right) + line))
    y = min(max(0, round(top) - line), height - 1), max(1, min(height, round(bottom) + line))
    return x[0], y[0], max(x[1], x[0] + 1), max(y[1], y[0] + 1)


def line_width(face: FaceResult, scale: Scale) -> int:
    """Width of the line around a face: thicker for a fake, thinner around a small face."""
    left, top, right, bottom = face.box
    wide = scale.line * 3 // 2 if face.verdict == "fake" else scale.line
    return max(2, min(wide, round(max(right - left, bottom - top) / 12)))


def describe(face: FaceResult) -> str:
    """The verdict in a word, and how probable that word is: "fake 97 %", "fake? 62 %", "real 98 %" …"""
    if face.fake_probability is None:
        return (face.reason or "not judged").partition(":")[0]
    if face.verdict == "real":
        return f"real {_chance(1 - face.fake_probability)}"
    return f"{'fake' if face.verdict == 'fake' else 'fake?'} {_chance(face.fake_probability)}"


def place_labels(faces: Sequence[FaceResult], width: int, height: int) -> list[Label]:
    """One label per face, in the faces' order.

    Fake and uncertain faces choose first. Every other face gets its number, then also the words where there is
    still room. A label lies beside its face, or in a corner of a large one; it covers another face or label
    only if there is no free place even for the number alone.

    Args:
        faces: all faces of the picture.
        width, height: of the picture, in pixels.
    """
    placer = _Placer(faces, width, height)
    by_size = sorted(range(len(faces)), key=lambda index: -_area(placer.frames[index]))
    order = sorted(by_size, key=lambda index: _URGENCY.index(faces[index].verdict))
    for index in order:
        words = placer.words(index) if faces[index].verdict in ("fake", "uncertain") else []
        placer.place(index, [*words, placer.number(index)])
    # Others have moved since: a number that had to be squeezed in may find a free place now.
    for index in order:
        placer.place(index, [*placer.words(index), placer.number(index)])
    return [placer.labels[index] for index in range(len(faces))]


class _Placer:
    def __init__(self, faces: Sequence[FaceResult], width: int, height: int) -> None:
        self.faces, self.width, self.height = faces, width, height
        self.scale = Scale.of(width, height)
        self.frames = [outline(face, width, height) for face in faces]
        self.labels: dict[int, Label] = {}
        # A detected face ends at the brow: of several free places, one that spares the others' hair is best.
        hair = [(left, top - (bottom - top) // 3, right, top) for left, top, right, bottom in self.frames]
        self._hair = np.array(hair, np.int64).reshape(-1, 4)
        # The frame and the label of each face; the label is empty until it has one.
        self._taken = np.zeros((2, len(faces), 4), np.int64)
        self._taken[0] = np.array(self.frames, np.int64).reshape(-1, 4)

    def number(self, index: int) -> tuple[str, int]:
        """The shortest text of a face, and its size."""
        alone = len(self.faces) == 1
        return describe(self.faces[index]) if alone else f"#{self.faces[index].number}", self.scale.small

    def words(self, index: int) -> list[tuple[str, int]]:
        """The whole text of a face in the size that suits it, and in the smallest one."""
        face, frame = self.faces[index], self.frames[index]
        text = describe(face) if len(self.faces) == 1 else f"#{face.number} {describe(face)}"
        text += f" {OUTLIER_SIGN}" if face.stands_out else ""
        suitable = max(self.scale.small, min(self.scale.large, (frame[2] - frame[0]) // 4))
        return [(text, suitable), (text, self.scale.small)]

    def place(self, index: int, options: Sequence[tuple[str, int]]) -> None:
        """Give a face the first option that has a free place; else keep its label, or squeeze one in."""
        frame = self.frames[index]
        hair = np.delete(self._hair, index, axis=0)
        obstacles = np.delete(self._taken, index, axis=1).reshape(-1, 4)
        for text, size in options:
            extent = label_extent(text, size)
            if extent[0] > self.width and (text, size) != options[-1]:
                continue
            places = self._beside(frame, extent)
            if _area(frame) >= _ROOMY * extent[0] * extent[1]:
                places += _inside(frame, extent)
            free = [places[at] for at in np.flatnonzero(_overlaps(places, obstacles) == 0)]
            if free:
                self._put(index, Label(text, size, free[int(np.argmin(_overlaps(free, hair)))]))
                return
        if index not in self.labels:
            text, size = options[-1]
            extent = label_extent(text, size)
            places = [self._shifted(place) for place in _inside(frame, extent)] + self._beside(frame, extent)
            self._put(index, Label(text, size, places[int(np.argmin(_overlaps(places, obstacles)))]))

    def _put(self, index: int, label: Label) -> None:
        self.labels[index] = label
        self._taken[1, index] = label.box

    def _beside(self, frame: Rectangle, extent: tuple[int, int]) -> list[Rectangle]:
        """Places that touch a frame from outside and lie within the picture, best first."""
        left, top, right, bottom = frame
        wide, high = extent
        columns = (left, (left + right - wide) // 2, right - wide, right - high, left - wide + high)
        rows = (top, (top + bottom - high) // 2, bottom - high)
        corners = [(x, y) for y in (top - high, bottom) for x in columns]
        corners += [(x, y) for x in (right, left - wide) for y in rows]
        shifted = [self._shifted((x, y, x + wide, y + high)) for x, y in corners]
        return [shifted[at] for at in np.flatnonzero(_overlaps(shifted, [frame]) == 0)]

    def _shifted(self, place: Rectangle) -> Rectangle:
        left, top, right, bottom = place
        x = max(0, left - max(0, right - self.width))
        y = max(0, top - max(0, bottom - self.height))
        return x, y, x + right - left, y + bottom - top


def label_extent(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a label with this text, its padding included."""
    return text_width(text, size) + 2 * padding(size), capital_height(size) + 2 * padding(size)


def text_width(text: str, size: int) -> int:
    """Width in pixels of a text with the spaces that `spaced` gives it."""
    *_, (word, x) = spaced(text, size)
    return x + round(font(size).getlength(word))


def spaced(text: str, size: int) -> list[tuple[str, int]]:
    """Each word of a text with its x, in pixels. The font's own spaces all but vanish in small letters."""
    words, x = [], 0.0
    for word in text.split():
        words.append((word, round(x)))
        x += font(size).getlength(word) + 0.32 * size
    return words


def capital_height(size: int) -> int:
    """Height in pixels of capitals and digits in letters of this size."""
    _, top, _, bottom = font(size).getbbox("0")
    return round(bottom - top)


def padding(size: int) -> int:
    """Space in pixels between a label's edge and letters of this size."""
    return max(2, size // 4)


def _inside(frame: Rectangle, extent: tuple[int, int]) -> list[Rectangle]:
    left, top, right, bottom = frame
    wide, high = extent
    return [(x, y, x + wide, y + high) for y in (bottom - high, top) for x in (left, right - wide)]


def _overlaps(
    places: Sequence[Rectangle], obstacles: Sequence[Rectangle] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each place, how many pixels of it the obstacles cover."""
    ours = np.array(places, np.int64).reshape(-1, 1, 4)
    theirs = np.asarray(obstacles, np.int64).reshape(-1, 4)
    if places:  # among a thousand faces few are near
        (left, top), (right, bottom) = ours[:, 0, :2].min(0), ours[:, 0, 2:].max(0)
        across = (theirs[:, 0] < right) & (theirs[:, 2] > left)
        theirs = theirs[across & (theirs[:, 1] < bottom) & (theirs[:, 3] > top)]
    wide = np.minimum(ours[..., 2], theirs[..., 2]) - np.maximum(ours[..., 0], theirs[..., 0])
    high = np.minimum(ours[..., 3], theirs[..., 3]) - np.maximum(ours[..., 1], theirs[..., 1])
    covered: NDArray[np.int64] = (np.clip(wide, 0, None) * np.clip(high, 0, None)).sum(axis=1)
    return covered


def _area(rectangle: Rectangle) -> int:
    left, top, right, bottom = rectangle
    return (right - left) * (bottom - top)


def _chance(probability: float) -> str:
    if probability < 0.01:
        return "<1 %"
    return ">99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
