from __future__ import annotations

import pytest

from facefake.wording import at_most, clock, likely, percent, pixels


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.0000000012, "0.00000012 %"),
        (0.000001, "0.0001 %"),
        (0.000123, "0.012 %"),
        (0.02, "2 %"),
        (0.0375, "3.8 %"),
        (0.0999, "10 %"),
        (0.972, "97 %"),
        (0.9999, ">99 %"),
        (1.0, "100 %"),
    ],
)
def test_percent_reads_well(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("probability", "text"), [(0.494, "49 %"), (0.4951, "<50 %"), (0.4999, "<50 %"), (0.5, "50 %")]
)
def test_half_is_told_only_of_what_is_as_likely_fake_as_real(probability: float, text: str) -> None:
    assert likely(probability) == text


@pytest.mark.parametrize(
    ("probability", "text"), [(1e-300, "<0.0001 %"), (9e-7, "<0.0001 %"), (1e-6, "0.0001 %"), (1.0, "100 %")]
)
def test_no_face_is_told_to_be_real_for_certain(probability: float, text: str) -> None:
    assert likely(probability) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0004, "0.04 %"), (0.314, "31 %"), (0.99, "99 %"), (0.993, "100 %"), (1.0, "100 %")],
)
def test_an_upper_bound_is_told_as_one(share: float, text: str) -> None:
    assert at_most(share) == text


@pytest.mark.parametrize(
    ("length", "text"), [(8.0, "8"), (47.25, "47.2"), (999.4, "999"), (999.6, "1000"), (1500.0, "1500")]
)
def test_lengths_are_told_in_plain_figures(length: float, text: str) -> None:
    assert pixels(length) == text


@pytest.mark.parametrize(
    ("seconds", "plain", "fine"),
    [
        (0, "0:00", "0:00"),
        (4.5, "0:04", "0:04.5"),
        (65, "1:05", "1:05"),
        (59.96, "1:00", "1:00"),
        (3723.25, "1:02:03", "1:02:03.2"),
    ],
)
def test_times_for_people(seconds: float, plain: str, fine: str) -> None:
    assert (clock(seconds), clock(seconds, tenths=True)) == (plain, fine)
