from __future__ import annotations

import re

import pytest

from facefake.training.plots import Axis, Plot


def made(**x: object) -> Plot:
    across = Axis(**{"label": "x", "low": 0.0, "high": 10.0, "ticks": [(0, "0"), (10, "10")], **x})
    return Plot("what it shows", across, Axis("y", 0.0, 1.0, [(0, "0 %"), (1, "100 %")]))


def points(plot: Plot, at: int = 0) -> list[tuple[float, float]]:
    path = plot.element.findall("path")[at].get("d")
    return [tuple(map(float, point.split())) for point in re.split("[ML]", path)[1:]]


def test_places_are_proportional_and_upwards():
    plot = made()
    plot.curve([0, 5, 10], [0, 0.5, 1], 0, "line")
    (left, bottom), middle, (right, top) = points(plot)
    assert middle == (pytest.approx((left + right) / 2), pytest.approx((top + bottom) / 2))
    assert left < right and top < bottom


def test_a_logarithmic_axis_gives_every_decade_the_same_room():
    plot = made(low=0.01, high=1.0, log=True)
    plot.curve([0.01, 0.1, 1.0], [0, 0, 0], 0, "line")
    xs = [x for x, _ in points(plot)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])


def test_what_lies_beyond_the_axes_is_drawn_at_their_end():
    plot = made(low=0.01, high=1.0, log=True)
    plot.curve([0.0, 5.0], [-1, 7], 0, "beyond")
    plot.curve([0.01, 1.0], [0, 1], 0, "within")
    assert points(plot) == points(plot, 1)


def test_points_that_fall_together_are_drawn_once():
    plot = made()
    plot.curve([number / 1e5 for number in range(1000)], [0.5] * 1000, 0, "line")
    assert len(points(plot)) < 10


def test_an_area_reaches_the_axis():
    plot = made()
    plot.area([2, 4], [0.5, 0.5], 1, "area")
    corners = points(plot)
    assert corners[0][1] == corners[-1][1] > corners[1][1]
    assert (corners[0][0], corners[-1][0]) == (corners[1][0], corners[2][0])


def test_names_of_limits_do_not_cover_each_other():
    plot = made()
    plot.limit(5.0, "one")
    plot.limit(5.1, "two")
    notes = [text for text in plot.element.findall("text") if text.get("class") == "note"]
    assert abs(float(notes[0].get("y")) - float(notes[1].get("y"))) >= 11


def test_no_curve_covers_the_name_of_a_limit():
    plot = made()
    plot.limit(5.0, "limit")
    plot.curve([0, 10], [1, 1], 0, "line")
    assert plot.element[-1].text == "limit"


def test_everything_has_a_text_for_those_who_do_not_see_it():
    plot = made()
    plot.curve([0, 1], [0, 1], 0, "curve <1>")
    plot.mark(1, 1, 0, "mark")
    assert [title.text for title in plot.element.iter("title")] == ["what it shows", "curve <1>", "mark"]
    assert plot.element.get("role") == "img"
