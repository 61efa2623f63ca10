from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.neighbours import FEWEST_COMPARED, among_neighbours

ODDS = st.lists(st.floats(-10, 10), min_size=FEWEST_COMPARED, max_size=40)


@given(ODDS, st.floats(-5, 5))
def test_each_face_gets_a_share_of_what_its_neighbours_are_below_the_ordinary(
    odds: list[float], ordinary: float
) -> None:
    found = among_neighbours(odds, ordinary)
    assert found.dtype == np.float64
    for at, own in enumerate(odds):
        typical = np.quantile(odds[:at] + odds[at + 1 :], 0.3)
        assert found[at] == pytest.approx(own + 0.6 * max(0.0, ordinary - typical), abs=1e-9)


@given(st.lists(ODDS, min_size=1, max_size=5), st.floats(-5, 5))
def test_many_pictures_at_once_are_as_each_alone(pictures: list[list[float]], ordinary: float) -> None:
    count = min(map(len, pictures))
    rows = [picture[:count] for picture in pictures]
    together = among_neighbours(np.array(rows), ordinary)
    assert together.tolist() == [among_neighbours(row, ordinary).tolist() for row in rows]


def test_half_of_a_picture_cannot_exonerate_itself() -> None:
    """The neighbours of a fake are judged by the real ones among them, as long as there are some."""
    real, fake = [-4.0] * 6, [3.0] * 6
    assert among_neighbours(real + fake, -1.0)[6:] == pytest.approx(3 + 0.6 * 3)
    assert among_neighbours(fake + fake, -1.0) == pytest.approx(3)
