"""Small plots as SVG elements that take their colours from the page around them.

Drawn here and not by a plotting library: matplotlib's SVG has fixed colours and sizes, so it suits neither a dark page
nor a phone, and it would be the largest dependency of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

_WIDTH, _HEIGHT = 380, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 18, 12, 44


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        label: what it shows.
        low, high: its ends; above 0 when it is logarithmic. Values beyond them are drawn at the end.
        ticks: values and their texts.
        log: whether it is logarithmic.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Plot:
    """A plot that lines, areas and marks are added to; each belongs to a series, whose number picks its colour.

    Args:
        description: what the plot shows, for those who do not see it.
        x, y: its axes.
        height: of its drawing, in units in which its width is 380.
    """

    def __init__(self, description: str, x: Axis, y: Axis, height: int = _HEIGHT) -> None:
        self._x, self._y, self._height = x, y, height
        self._limits = 0
        self._notes: list[Element] = []
        self._drawn = Element("svg", {"viewBox": f"0 0 {_WIDTH} {height}", "role": "img"})
        SubElement(self._drawn, "title").text = description
        bottom = height - _BOTTOM
        for value, text in x.ticks:
            across = self._across(value)
            self._line("grid", across, _TOP, across, bottom)
            self._text(text, across, bottom + 15, "middle")
        for value, text in y.ticks:
            down = self._down(value)
            self._line("grid", _LEFT, down, _WIDTH - _RIGHT, down)
            self._text(text, _LEFT - 6, down + 4, "end")
        self._text(x.label, (_LEFT + _WIDTH - _RIGHT) / 2, height - 8, "middle", "axis")
        middle = (_TOP + bottom) / 2
        label = self._text(y.label, 12, middle, "middle", "axis")
        label.set("transform", f"rotate(-90 12 {middle:g})")

    @property
    def element(self) -> Element:
        """What has been drawn so far, with the names of limits on top."""
        whole = copy(self._drawn)
        whole.extend(self._notes)
        return whole

    def curve(self, xs: Iterable[float], ys: Iterable[float], series: int, name: str) -> None:
        """A line through points, in their order."""
        self._path(self._points(xs, ys), f"line s{series}", name)

    def area(self, xs: Sequence[float], ys: Sequence[float], series: int, name: str) -> None:
        """The area between the points and the lower end of the y axis."""
        points = self._points([xs[0], *xs, xs[-1]], [self._y.low, *ys, self._y.low])
        self._path(points, f"area s{series}", name)

    def mark(self, x: float, y: float, series: int, name: str) -> None:
        """A dot."""
        place = {
            "cx": f"{self._across(x):.1f}",
            "cy": f"{self._down(y):.1f}",
            "r": "4",
            "class": f"mark s{series}",
        }
        SubElement(SubElement(self._drawn, "circle", place), "title").text = name

    def span(self, low: float, high: float, y: float, series: int) -> None:
        """A line along the x axis, such as an interval."""
        self._line(f"span s{series}", self._across(low), self._down(y), self._across(high), self._down(y))

    def limit(self, value: float, text: str, along: str = "x") -> None:
        """A dashed line at a value of the x or the y axis, with its name beside it."""
        if along == "x":
            across = self._across(value)
            self._line("limit", across, _TOP, across, self._height - _BOTTOM)
            late = across > 0.75 * _WIDTH
            # Each on a line of its own: the names of limits that lie close would overlap.
            down: float = _TOP + 11 + 14 * self._limits
            self._text(text, across + (-4 if late else 4), down, "end" if late else "start", "note")
            self._limits += 1
        else:
            down = self._down(value)
            self._line("limit", _LEFT, down, _WIDTH - _RIGHT, down)
            self._text(text, _WIDTH - _RIGHT - 4, down - 5, "end", "note")

    def diagonal(self) -> None:
        """From the lower left to the upper right corner."""
        self._line("limit", _LEFT, self._height - _BOTTOM, _WIDTH - _RIGHT, _TOP)

    def _across(self, value: float) -> float:
        return _LEFT + self._x.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def _down(self, value: float) -> float:
        return self._height - _BOTTOM - self._y.place(value) * (self._height - _TOP - _BOTTOM)

    def _points(self, xs: Iterable[float], ys: Iterable[float]) -> list[str]:
        points = [f"{self._across(x):.1f} {self._down(y):.1f}" for x, y in zip(xs, ys, strict=True)]
        # A curve of thousands of thresholds has far fewer places that an eye can tell apart.
        return [point for place, point in enumerate(points) if not place or point != points[place - 1]]

    def _path(self, points: list[str], kind: str, name: str) -> None:
        path = SubElement(self._drawn, "path", {"d": f"M{'L'.join(points)}", "class": kind})
        SubElement(path, "title").text = name

    def _line(self, kind: str, left: float, top: float, right: float, bottom: float) -> None:
        ends = {"x1": left, "y1": top, "x2": right, "y2": bottom}
        SubElement(self._drawn, "line", {**{key: f"{at:.1f}" for key, at in ends.items()}, "class": kind})

    def _text(self, text: str, x: float, y: float, anchor: str, kind: str = "tick") -> Element:
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind}
        element = Element("text", place)
        element.text = text
        (self._notes if kind == "note" else self._drawn).append(element)
        return element
