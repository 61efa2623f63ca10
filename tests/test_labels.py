from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facefake.labels import Rectangle, Scale, describe, label_extent, line_width, outline, place_labels
from facefake.results import OUTLIER, FaceResult, Verdict

VERDICTS: tuple[Verdict, ...] = ("fake", "uncertain", "real", "not_applicable")
Box = tuple[float, float, float, float]


def face(box: Box, verdict: Verdict = "real", index: int = 0, fake_probability: float = 0.25) -> FaceResult:
    if verdict == "not_applicable":
        return FaceResult(index, box, (), 0.9, verdict, None, None, "too blurred: sharpness 0.01")
    return FaceResult(index, box, (), 0.9, verdict, fake_probability, 0.01, None)


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def grid(columns: int, rows: int, side: float, gap: float) -> list[Box]:
    step = side + gap
    places = [(gap + step * x, gap + step * y) for y in range(rows) for x in range(columns)]
    return [(x, y, x + side, y + side) for x, y in places]


@pytest.mark.parametrize(
    ("verdict", "probability", "text"),
    [
        ("fake", 0.97, "fake 97 %"),
        ("fake", 0.9999, "fake >99 %"),
        ("uncertain", 0.62, "fake? 62 %"),
        ("real", 0.02, "real 98 %"),
        ("real", 0.0001, "real >99 %"),
        ("real", 0.999, "real <1 %"),
        ("not_applicable", 0.5, "too blurred"),
    ],
)
def test_the_number_says_how_probable_the_word_is(verdict: Verdict, probability: float, text: str) -> None:
    assert describe(face((0, 0, 50, 50), verdict, fake_probability=probability)) == text


def test_a_lone_face_needs_no_number() -> None:
    [label] = place_labels([face((100, 100, 200, 200), "fake", fake_probability=0.97)], 400, 400)
    assert label.text == "fake 97 %"


def test_a_face_that_stands_out_is_marked() -> None:
    boxes = grid(2, 1, 100, 150)
    odd = replace(face(boxes[0], "fake"), relative_score=OUTLIER + 0.1)
    even = replace(face(boxes[1], "fake", 1), relative_score=OUTLIER)
    assert [label.text for label in place_labels([odd, even], 700, 400)] == ["#1 fake 25 % !", "#2 fake 25 %"]


def test_faces_with_room_get_number_and_words_in_their_own_order() -> None:
    faces = [face(box, VERDICTS[at % 4], at) for at, box in enumerate(grid(3, 2, 100, 150))]
    texts = [label.text for label in place_labels(faces, 1000, 700)]
    assert texts == [
        "#1 fake 25 %",
        "#2 fake? 25 %",
        "#3 real 75 %",
        "#4 too blurred",
        "#5 fake 25 %",
        "#6 fake? 25 %",
    ]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_label_covers_a_face_or_a_label_where_there_is_room(data: st.DataObject) -> None:
    """Faces scattered over a grid whose gaps are wide enough for a number beside each."""
    columns, rows = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    side = data.draw(st.floats(20, 90))
    gap = data.draw(st.floats(70, 200))
    kept = data.draw(st.lists(st.booleans(), min_size=columns * rows, max_size=columns * rows))
    boxes = [box for box, keep in zip(grid(columns, rows, side, gap), kept, strict=True) if keep]
    verdicts = data.draw(st.lists(st.sampled_from(VERDICTS), min_size=len(boxes), max_size=len(boxes)))
    faces = [face(box, verdict, at) for at, (box, verdict) in enumerate(zip(boxes, verdicts, strict=True))]
    width, height = round((side + gap) * columns + gap), round((side + gap) * rows + gap)
    labels = place_labels(faces, width, height)
    frames = [outline(each, width, height) for each in faces]
    assert not any(overlap(label.box, frame) for label in labels for frame in frames)
    assert not any(overlap(a.box, b.box) for a, b in combinations(labels, 2))
    for label in labels:
        left, top, right, bottom = label.box
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_label_covers_a_neighbour_only_if_no_place_beside_its_own_face_is_free(data: st.DataObject) -> None:
    side = st.integers(20, 120)
    corners = data.draw(
        st.lists(st.tuples(st.integers(0, 480), st.integers(0, 380), side), min_size=2, max_size=14)
    )
    faces = [face((x, y, x + s, y + s), VERDICTS[at % 4], at) for at, (x, y, s) in enumerate(corners)]
    labels = place_labels(faces, 600, 500)
    frames = [outline(each, 600, 500) for each in faces]
    for at, label in enumerate(labels):
        blocked = [frame for other, frame in enumerate(frames) if other != at]
        blocked += [each.box for other, each in enumerate(labels) if other != at]
        if any(overlap(label.box, obstacle) for obstacle in blocked):
            wide, high = label_extent(f"#{at + 1}", Scale.of(600, 500).small)
            left, top, right, bottom = frames[at]
            beside = [(x, y) for x in (left, right - wide) for y in (top - high, bottom)]
            beside += [(x, y) for x in (right, left - wide) for y in (top, bottom - high)]
            for x, y in beside:
                place = (x, y, x + wide, y + high)
                within = x >= 0 and y >= 0 and x + wide <= 600 and y + high <= 500
                assert not within or any(overlap(place, obstacle) for obstacle in blocked)


def test_a_fake_in_a_crowd_gets_its_words_before_the_others() -> None:
    boxes = grid(8, 6, 40, 22)
    faces = [face(box, "fake" if at == 20 else "real", at) for at, box in enumerate(boxes)]
    labels = place_labels(faces, 520, 400)
    assert labels[20].text == "#21 fake 25 %"
    assert any(label.text == f"#{at + 1}" for at, label in enumerate(labels))


def test_a_face_that_fills_the_picture_has_its_label_inside() -> None:
    [label] = place_labels([face((5, 5, 595, 595), "fake")], 600, 600)
    left, top, right, bottom = label.box
    assert left >= 0
    assert top >= 0
    assert right <= 600
    assert bottom <= 600


def test_time_grows_with_the_faces_and_not_with_their_square() -> None:
    def cost(columns: int) -> float:
        boxes = grid(columns, columns, 60, 20)
        faces = [face(box, VERDICTS[index % 4], index) for index, box in enumerate(boxes)]
        started = time.process_time()
        place_labels(faces, 80 * columns + 20, 80 * columns + 20)
        return time.process_time() - started

    cost(5)
    assert cost(30) < 25 * min(cost(10), cost(10))  # nine times the faces


@pytest.mark.parametrize("width", [400, 1600, 6000])
def test_text_stays_legible_when_the_picture_is_fitted_to_a_screen(width: int) -> None:
    scale = Scale.of(width, width * 3 // 4)
    on_screen = min(1, 1200 / width)
    assert scale.small * on_screen >= 10
    assert scale.large * on_screen <= 24
    assert scale.line * on_screen >= 1.5


def test_the_frame_of_a_fake_is_half_as_thick_again_and_that_of_a_small_face_thinner() -> None:
    scale = Scale(line=4, small=12, large=24)
    found = [
        line_width(face((0, 0, side, side), verdict), scale)
        for side, verdict in ((300, "fake"), (300, "real"), (36, "fake"), (12, "real"))
    ]
    assert found == [6, 4, 3, 2]


def test_frames_stay_within_the_picture_and_outside_the_face() -> None:
    assert outline(face((100, 100, 200, 200)), 400, 400) == (98, 98, 202, 202)
    assert outline(face((-50, -50, 30, 500)), 400, 400) == (0, 0, 32, 400)
    assert outline(face((-90, -90, -50, -50)), 400, 400) == (0, 0, 1, 1)


@pytest.mark.parametrize(("width", "height"), [(720, 13_000), (1080, 20_000), (100, 3_000), (13_000, 120)])
def test_labels_of_a_strip_stay_within_it_and_say_the_percentage(width: int, height: int) -> None:
    side = min(width, height) / 2
    step = (max(width, height) - side) / 3
    along = [side / 2 + step * number for number in range(3)]
    boxes = [
        (20, at, 20 + side, at + side) if height > width else (at, 40, at + side, 40 + side) for at in along
    ]
    faces = [face(box, "uncertain", index, 0.62) for index, box in enumerate(boxes)]
    for label in place_labels(faces, width, height):
        left, top, right, bottom = label.box
        assert label.text.endswith("62 %")
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
