from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.tracking import Tracker


@dataclass(frozen=True)
class Found:
    who: str
    box: tuple[float, float, float, float]


def found(who: str, x: float, y: float = 100, side: float = 40) -> Found:
    return Found(who, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


def scene(number: int) -> np.ndarray:
    """Frames of one scene look alike, of different ones not."""
    shade = np.linspace(0, 255, 160).astype(np.uint8) if number % 2 else np.full(160, 200, np.uint8)
    pixels = np.repeat(np.repeat(shade[None, :, None], 90, 0), 3, 2).copy()
    pixels[..., number % 3] //= 3
    return pixels


def people(frames: list[list[Found]], interval: float = 0.5, scenes: list[int] | None = None) -> list[str]:
    tracker: Tracker[Found] = Tracker(interval)
    for number, faces in enumerate(frames):
        tracker.add(number * interval, scene(scenes[number] if scenes else 0), faces)
    return ["".join(face.who for face in track.detections) for track in tracker.tracks]


def test_two_people_who_move_stay_two() -> None:
    frames = [[found("a", 100 + 20 * n), found("b", 400 - 20 * n)] for n in range(6)]
    assert people(frames) == ["aaaaaa", "bbbbbb"]
    assert people([list(reversed(faces)) for faces in frames]) == ["bbbbbb", "aaaaaa"]


def test_the_nearer_one_is_joined() -> None:
    assert people([[found("a", 100), found("b", 150)], [found("b", 145), found("a", 105)]]) == ["aa", "bb"]


def test_a_face_of_another_size_or_place_is_somebody_else() -> None:
    assert people([[found("a", 100)], [found("b", 100, side=90)]]) == ["a", "b"]
    assert people([[found("a", 100)], [found("b", 220)]]) == ["a", "b"]


@pytest.mark.parametrize("towards", [(1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize(("distance", "tracks"), [(53, ["aa"]), (54, ["a", "a"])])
def test_a_face_moves_by_four_thirds_of_its_side_at_most(
    distance: int, tracks: list[str], towards: tuple[int, int]
) -> None:
    """From one frame to the next; of the two grown boxes a fifth is common then."""
    moved = found("a", *(100 + distance * way for way in towards))
    assert people([[found("a", 100)], [moved]]) == tracks


def test_a_narrow_face_is_grown_by_its_longer_side() -> None:
    for distance, tracks in ((39, ["aa"]), (41, ["a", "a"])):
        narrow = [Found("a", (x, 100, x + 20, 140)) for x in (100, 100 + distance)]
        assert people([[face] for face in narrow]) == tracks


def test_a_face_grows_and_shrinks_by_seven_tenths_at_most() -> None:
    for side, tracks in ((67, ["aa"]), (69, ["a", "a"])):
        sizes = [found("a", 100, side=40), found("a", 100, side=side)]
        assert people([[face] for face in sizes]) == people([[face] for face in reversed(sizes)]) == tracks


@pytest.mark.parametrize(("away", "tracks"), [(3, ["aa"]), (4, ["a", "a"])])
def test_a_short_absence_is_bridged_and_a_long_one_is_not(away: int, tracks: list[str]) -> None:
    assert people([[found("a", 100)], *[[]] * away, [found("a", 100)]]) == tracks


def test_sparse_frames_bridge_nothing_but_the_next_one() -> None:
    assert people([[found("a", 100)], [found("a", 100)], [], [found("a", 100)]], interval=7) == ["aa", "a"]
    tracker: Tracker[Found] = Tracker(7)
    for time, faces in ((0, "a"), (3, ""), (10, "a"), (14, ""), (21, "a")):  # not as evenly as asked for
        tracker.add(time, scene(0), [found(who, 100) for who in faces])
    assert [track.times for track in tracker.tracks] == [[0, 10], [21]]


def test_who_is_in_a_frame_that_is_held_for_long_was_not_away() -> None:
    tracker: Tracker[Found] = Tracker(0.5)
    for time, faces in ((0, "a"), (5, "ab"), (12, "b"), (14.5, "ab")):
        tracker.add(time, scene(0), [found(who, 100 if who == "a" else 300) for who in faces])
    assert [track.times for track in tracker.tracks] == [[0, 5], [5, 12, 14.5], [14.5]]


def test_a_cut_ends_every_track() -> None:
    frames = [[found("a", 100), found("b", 300)]] * 4
    assert people(frames, scenes=[0, 0, 0, 0]) == ["aaaa", "bbbb"]
    assert people(frames, scenes=[0, 0, 1, 1]) == ["aa", "bb", "aa", "bb"]


def test_other_colours_alone_are_a_cut_and_so_is_another_layout() -> None:
    left_half = np.zeros((90, 160, 3), np.uint8)
    left_half[:, :80] = 255
    reddish, greenish = (
        np.full((90, 160, 3), colour, np.uint8) for colour in ((150, 110, 110), (110, 150, 110))
    )
    for one, other in ((left_half, left_half[:, ::-1].copy()), (reddish, greenish)):
        tracker: Tracker[Found] = Tracker(0.5)
        tracker.add(0.0, one, [found("a", 100)])
        tracker.add(0.5, other, [found("a", 100)])
        assert len(tracker.tracks) == 2


def test_motion_and_light_are_no_cut() -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    tracker: Tracker[Found] = Tracker(0.5)
    for number in range(8):
        frame = np.roll(picture, 6 * number, axis=1) * (1 - 0.03 * number)
        tracker.add(number / 2, frame.astype(np.uint8), [found("a", 100)])
    assert len(tracker.tracks) == 1


@pytest.mark.parametrize(("lighter", "tracks"), [(50, 1), (62, 2)])
def test_a_frame_that_is_much_lighter_all_over_is_another_scene(lighter: int, tracks: int) -> None:
    tracker: Tracker[Found] = Tracker(0.5)
    for number, grey in enumerate((100, 100 + lighter)):
        tracker.add(number / 2, np.full((90, 160, 3), grey, np.uint8), [found("a", 100)])
    assert len(tracker.tracks) == tracks


BOXES = st.builds(
    found, st.just("x"), st.floats(0, 500), st.floats(0, 500), st.floats(1, 200)
)  # fmt: skip


@given(st.lists(st.lists(BOXES, max_size=5), min_size=1, max_size=6))
def test_every_face_is_in_exactly_one_track_and_once_a_frame(frames: list[list[Found]]) -> None:
    tracker: Tracker[Found] = Tracker(0.5)
    for number, faces in enumerate(frames):
        tracker.add(number / 2, scene(0), faces)
    joined = [pair for t in tracker.tracks for pair in zip(t.times, t.detections, strict=True)]
    assert sorted(joined, key=repr) == sorted(
        ((n / 2, face) for n, faces in enumerate(frames) for face in faces), key=repr
    )
    for track in tracker.tracks:
        assert all(earlier < later for earlier, later in pairwise(track.times))
