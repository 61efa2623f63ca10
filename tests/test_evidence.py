from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facefake.alignment import align
from facefake.evidence import FULL_SCALE, colours, enlarged, laid_over
from facefake.results import FaceResult
from facefake.tiles import Face

MARGIN = 1.25


def judged_face(
    evidence: NDArray[np.float32] | None, x: float = 200, y: float = 150, side: float = 160, roll: float = 0
) -> FaceResult:
    """A face of which only box and eyes matter, turned clockwise by `roll` radians."""
    u = np.array([math.cos(roll), math.sin(roll)]) * side / 4
    eyes = ((x - u[0], y - u[1]), (x + u[0], y + u[1]))
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    points = (*eyes, *[(x, y)] * 4)
    return FaceResult(0, box, points, 0.9, "real", 0.1, 0.5, None, evidence=evidence)


def grey(width: int = 400, height: int = 300) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def test_colours_get_lighter_and_yellower_with_the_evidence_and_end_at_full_scale() -> None:
    scale = colours(np.linspace(-FULL_SCALE, FULL_SCALE, 241, dtype=np.float32)[None])[0].astype(int)
    lightness = scale @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.5).all()
    assert scale[0, 2] > scale[0, 0] + 40  # blue
    assert scale[-1, 0] > scale[-1, 2] + 100  # yellow
    assert np.ptp(scale[120]) < 15  # grey
    beyond = colours(np.array([[-99.0, -FULL_SCALE, FULL_SCALE, 99.0]], np.float32))[0]
    assert (beyond[0] == beyond[1]).all()
    assert (beyond[2] == beyond[3]).all()


def test_an_enlarged_map_keeps_its_mean_and_its_places() -> None:
    evidence = np.random.default_rng(3).normal(0, 3, (5, 5)).astype(np.float32)
    fine = enlarged(evidence, 100)
    assert fine.shape == (100, 100)
    assert fine.mean() == pytest.approx(evidence.mean(), abs=0.3)
    assert np.unravel_index(fine.argmax(), fine.shape)[0] // 20 == evidence.argmax() // 5


@pytest.mark.parametrize("roll", [0.0, 0.4, -0.7])
def test_evidence_lies_where_its_crop_was_cut_out(roll: float) -> None:
    """The picture with the drawn evidence, cut out again, shows the map upright."""
    evidence = np.zeros((5, 5), np.float32)
    evidence[1, 3] = FULL_SCALE / 2
    face = judged_face(evidence, roll=roll)
    drawn = laid_over(grey(), [face], MARGIN)
    crop = align(drawn, Face(face.box, face.keypoints, 0.9), 100, MARGIN).astype(int)
    yellow = crop[..., 0] - crop[..., 2]
    row, column = np.argwhere(yellow > 0.8 * yellow.max()).mean(0)
    assert row == pytest.approx(30, abs=1.5)
    assert column == pytest.approx(70, abs=1.5)
    assert yellow[80, 20] == 0


def test_only_places_that_say_something_are_painted() -> None:
    nothing = judged_face(np.zeros((5, 5), np.float32))
    unjudged = judged_face(None)
    assert (laid_over(grey(), [nothing, unjudged], MARGIN) == 128).all()
    fake = judged_face(np.full((5, 5), FULL_SCALE, np.float32))
    drawn = laid_over(grey(), [fake], MARGIN)
    assert (drawn[150, 200] != 128).any()
    outside = np.ones((300, 400), bool)
    outside[50:250, 100:300] = False  # MARGIN times the box
    assert (drawn[outside] == 128).all()


@pytest.mark.parametrize(("logit", "weight"), [(FULL_SCALE, 1), (1.5, 0.5), (-0.75, 0.25)])
def test_colours_cover_the_more_the_more_is_said(logit: float, weight: float) -> None:
    pixels = np.full((300, 400, 3), (200, 120, 40), np.uint8)
    colour = colours(np.full((1, 1), logit, np.float32))[0, 0]
    painted = 0.7 * colour + 0.3 * 135  # the grey of the picture
    drawn = laid_over(pixels, [judged_face(np.full((5, 5), logit, np.float32))], MARGIN)
    assert drawn[150, 200] == pytest.approx(pixels[0, 0] + weight * (painted - pixels[0, 0]), abs=1)
    # At the edge of the crop, 100 pixels from its middle, they fade away.
    row = drawn[150, 290:300].astype(int)
    assert (
        np.abs(row - pixels[0, 0]).max(1) < np.abs(drawn[150, 200].astype(int) - pixels[0, 0]).max()
    ).all()


def test_the_original_is_not_touched() -> None:
    pixels = grey()
    pixels.flags.writeable = False
    laid_over(pixels, [judged_face(np.full((5, 5), 9, np.float32))], MARGIN)
    assert (pixels == 128).all()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-500, 900),
    st.floats(-500, 900),
    st.floats(0.5, 2000),
    st.floats(-3.2, 3.2),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_a_face_may_lie_anywhere(
    x: float, y: float, side: float, roll: float, extent: tuple[int, int]
) -> None:
    face = judged_face(np.full(extent, 50.0, np.float32), x, y, side, roll)
    drawn = laid_over(grey(61, 47), [face, replace(face, index=1)], MARGIN)
    assert drawn.shape == (47, 61, 3)
