from __future__ import annotations

import io
import time
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facefake.annotate import STYLES, _Atom, _atoms, _rows, _runs, _width, annotate
from facefake.images import Picture
from facefake.labels import Scale, place_labels
from facefake.results import FaceResult, ImageResult, Verdict

VERDICTS: tuple[Verdict, ...] = ("fake", "uncertain", "real", "not_applicable")


def faces_at(boxes: list[tuple[float, float, float, float]], *verdicts: Verdict) -> tuple[FaceResult, ...]:
    """A face per box; the verdicts are dealt out in turn."""
    faces = []
    for index, box in enumerate(boxes):
        verdict = verdicts[index % len(verdicts)]
        judged = verdict != "not_applicable"
        probability, rate = (0.8, 0.01) if judged else (None, None)
        reason = None if judged else "too small: 9 pixels"
        faces.append(FaceResult(index, box, ((0.0, 0.0),) * 6, 0.9, verdict, probability, rate, reason))
    return tuple(faces)


def analysed(
    width: int, height: int, faces: tuple[FaceResult, ...], icc_profile: bytes | None = None
) -> tuple[Picture, ImageResult]:
    """A grey picture, and a result with these faces."""
    picture = Picture(np.full((height, width, 3), 90, np.uint8), icc_profile=icc_profile)
    verdict: Verdict = next((v for v in VERDICTS if any(f.verdict == v for f in faces)), "not_applicable")
    probability, rate = (None, None) if verdict == "not_applicable" else (0.8, 0.01)
    reason = "because" if verdict in ("uncertain", "not_applicable") else None
    return picture, ImageResult(
        "a.jpg", width, height, verdict, probability, rate, reason, faces, (), "test 1"
    )


def drawn(width: int, height: int, faces: tuple[FaceResult, ...]) -> NDArray[np.uint8]:
    return np.asarray(annotate(*analysed(width, height, faces)))


def test_the_picture_stays_where_it_was_and_the_band_is_below_it() -> None:
    image = drawn(400, 300, faces_at([(100, 100, 180, 180)], "fake"))
    assert image.shape[1] == 400
    assert image.shape[0] > 300
    assert (image[105:175, 105:175] == 90).all()
    assert (image[290:300] == 90).all()
    assert (image[300:] > 200).any()


def test_the_original_is_not_touched() -> None:
    picture, result = analysed(400, 300, faces_at([(100, 100, 180, 180)], "fake"))
    annotate(picture, result)
    assert (picture.pixels == 90).all()


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_has_its_colour_around_the_face(verdict: Verdict) -> None:
    image = drawn(400, 300, faces_at([(100, 100, 180, 180)], verdict))[:300]
    coloured = (image == STYLES[verdict].colour).all(axis=2)
    assert coloured[98:100, 98:100].all()
    assert coloured[180:182, 180:182].all()
    assert not coloured[101:179, 101:179].any()
    assert not coloured[186:].any()


@pytest.mark.parametrize("length", [20, 40, 53, 110, 400])
@pytest.mark.parametrize("line", [2, 5, 9])
def test_a_dashed_side_has_a_dash_between_its_corners(length: int, line: int) -> None:
    line = min(line, length // 12 or 1)
    runs = _runs("uncertain", length, line)
    assert len(runs) >= 3
    assert runs[0][0] == 0
    assert runs[-1][1] == length
    assert all(end < start for (_, end), (start, _) in pairwise(runs))


def test_each_verdict_has_its_own_line_pattern() -> None:
    def share_of_side(verdict: Verdict) -> float:
        image = drawn(400, 300, faces_at([(100, 100, 200, 200)], verdict))
        below, beside = image[200:206, 100:200], image[100:200, 200:206].swapaxes(0, 1)
        assert (below == beside).all()
        return float((below == STYLES[verdict].colour).all(axis=2).any(axis=0).mean())

    solid, dashed, corners, dotted = (share_of_side(verdict) for verdict in VERDICTS)
    assert solid == 1
    assert 0.5 < dashed < 0.75
    assert 0.4 < corners < 0.6
    assert 0.2 < dotted < 0.45
    middle = drawn(400, 300, faces_at([(100, 100, 200, 200)], "real"))[200:206, 130:170]
    assert (middle == 90).all()


def test_a_fake_s_frame_lies_over_the_others() -> None:
    image = drawn(400, 300, faces_at([(100, 100, 200, 200), (100, 150, 200, 250)], "fake", "real"))
    assert (image[100:150, 98:100] == STYLES["fake"].colour).all()
    assert (image[150:200, 98:100] == STYLES["fake"].colour).all()


def linear(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    share = np.array(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def luminance(colour: tuple[int, int, int]) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


# Complete loss of one kind of cone: Machado, Oliveira & Fernandes 2009, "A Physiologically-based Model for
# Simulation of Color Vision Deficiency".
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colour_blind_people_tell_the_colours_apart(blindness: str) -> None:
    # A difference that can just be noticed is 2.3 in CIELAB.
    seen = [lab(np.array(BLINDNESS[blindness]) @ linear(style.colour)) for style in STYLES.values()]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 20


def test_the_colours_differ_on_a_grey_print() -> None:
    lights = sorted(luminance(style.colour) for style in STYLES.values())
    assert all((high + 0.05) / (low + 0.05) > 1.25 for low, high in pairwise(lights))


def test_black_text_on_every_label_has_the_contrast_that_wcag_asks_for() -> None:
    assert all((luminance(style.colour) + 0.05) / 0.05 >= 4.5 for style in STYLES.values())


def test_only_the_colour_profile_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = annotate(*analysed(400, 300, faces_at([(100, 100, 180, 180)], "fake"), profile))
    assert image.info == {"icc_profile": profile}
    assert not image.getexif()
    saved = io.BytesIO()
    image.save(saved, "PNG")
    assert Image.open(saved).info["icc_profile"] == profile
    assert annotate(*analysed(400, 300, ())).info == {}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.lists(st.tuples(*[st.floats(-300, 900)] * 2, *[st.floats(0, 800)] * 2), max_size=5),
    st.permutations(VERDICTS),
)
def test_any_picture_and_any_boxes_can_be_drawn(
    width: int, height: int, corners: list[tuple[float, float, float, float]], verdicts: list[Verdict]
) -> None:
    boxes = [(left, top, left + wide, top + high) for left, top, wide, high in corners]
    image = annotate(*analysed(width, height, faces_at(boxes, *verdicts)))
    assert image.mode == "RGB"
    assert image.width == max(width, 160)
    assert image.height > height


@pytest.mark.parametrize("width", [20, 40, 55, 100])
def test_nothing_is_cut_off_below_a_narrow_picture(width: int) -> None:
    """In the room beside it and below it nothing is within two pixels of the right edge."""
    faces = tuple(
        replace(face, relative_score=9.0, evidence=np.zeros((5, 5), np.float32))
        for face in faces_at([(2, 2 + 30 * at, 18, 18 + 30 * at) for at in range(4)], *VERDICTS)
    )
    image = np.asarray(annotate(*analysed(width, 130, faces), evidence=True))
    assert (image[:130, : width - 2].std(axis=(0, 1)) > 0).all()
    assert (image[:, -2:] == image[-1, -1]).all()
    assert image[130:].max() > 200


def test_a_label_beside_a_narrow_picture_has_all_its_words() -> None:
    picture, result = analysed(50, 50, faces_at([(1, 1, 49, 49)], "uncertain"))
    [label] = place_labels(result.faces, 160, 50)
    left, top, right, bottom = label.box
    assert label.text == "fake? 80 %"
    assert 0 <= left < right < 160
    image = np.asarray(annotate(picture, result))
    assert right <= image.shape[1]
    assert (image[top + 1, left + 1 : right - 1] == STYLES["uncertain"].colour).all()
    assert 0 <= top < bottom <= 50


def test_numbers_and_signs_stay_with_what_they_belong_to() -> None:
    assert [atom.text for atom in _atoms("fake (rate 0.2 %); 2 more")] == [
        "fake",
        "(rate",
        "0.2 %);",
        "2",
        "more",
    ]
    assert [atom.text for atom in _atoms("% = how likely")] == ["% = how", "likely"]


@pytest.mark.parametrize("room", [120, 300, 2000])
def test_words_of_a_row_stand_side_by_side_and_fit(room: int) -> None:
    atoms = [_Atom("uncertain", "uncertain"), *_atoms("None of 12 faces looks fake; 7 are uncertain.")]
    rows = _rows(atoms, 12, room)
    assert [atom for row in rows for _, atom in row] == atoms
    for row in rows:
        assert row[0][0] == 0
        assert row[-1][0] + _width(row[-1][1], 12) <= room
        assert all(second > first + _width(atom, 12) for (first, atom), (second, _) in pairwise(row))
    for row, following in pairwise(rows):
        assert row[-1][0] + _width(row[-1][1], 12) + _width(following[0][1], 12) + 3 > room


def test_the_key_holds_the_frames_that_are_there_below_a_larger_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[tuple[_Atom, int]] = []
    monkeypatch.setattr(
        "facefake.annotate._draw_atom", lambda _, atom, at, size: written.append((atom, size))
    )
    for width in (1500, 170):
        scale = Scale.of(width, 300)
        for verdicts in (VERDICTS, ("real",), ("fake", "not_applicable")):
            written.clear()
            drawn(width, 300, faces_at([(9, 9, 80, 80), (99, 9, 180, 80)] * 2, *verdicts))
            assert [atom.verdict for atom, _ in written if atom.verdict] == list(verdicts)
            # Small letters where the large ones would take more than two rows.
            assert written[0][1] == (scale.large if width == 1500 else scale.small)
            assert written[-1][1] == scale.small < scale.large


def test_text_grows_with_the_picture() -> None:
    def band(side: int) -> int:
        return annotate(*analysed(side, side, ())).height - side

    assert band(6000) > 5 * band(400)


def test_sixty_faces_on_twelve_megapixels_are_fast() -> None:
    boxes = [
        (200.0 + 350 * (k % 10), 300.0 + 400 * (k // 10), 330.0 + 350 * (k % 10), 430.0 + 400 * (k // 10))
        for k in range(60)
    ]
    given_picture = analysed(4000, 3000, faces_at(boxes, *VERDICTS))
    annotate(*given_picture)
    started = time.process_time()
    annotate(*given_picture)
    assert time.process_time() - started < 0.5


def test_evidence_is_drawn_with_a_key_and_only_where_there_is_some() -> None:
    def coloured(evidence: NDArray[np.float32] | None, shown: bool = True) -> tuple[bool, int]:
        [face] = faces_at([(100, 100, 180, 180)], "real")
        points = ((120.0, 120.0), (160.0, 120.0), *[(140.0, 140.0)] * 4)
        picture, result = analysed(400, 300, (replace(face, keypoints=points, evidence=evidence),))
        image = np.asarray(annotate(picture, replace(result, crop_margin=1.25), shown)).astype(int)
        return bool(np.ptp(image[140, 140]) > 30), image.shape[0]

    strong = np.full((5, 5), 6, np.float32)
    with_key, plain = coloured(strong), coloured(strong, shown=False)
    assert (with_key[0], plain[0]) == (True, False)
    assert with_key[1] > plain[1]
    assert coloured(None) == plain


def test_the_key_explains_the_mark_of_a_face_that_stands_out() -> None:
    def band(relative_score: float) -> int:
        [face] = faces_at([(100, 100, 180, 180)], "fake")
        picture, result = analysed(400, 300, (replace(face, relative_score=relative_score),))
        return annotate(picture, result).height

    assert band(9.0) > band(1.0)
