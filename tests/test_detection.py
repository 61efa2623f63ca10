from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from facefake.blazeface import _NOTHING, Detections
from facefake.detection import _SMALLEST_SHARE, Face, FaceDetector, _believe
from facefake.errors import MissingLibraryError
from facefake.native import naming_missing_libraries, quiet
from facefake.tiles import Pyramid, View, merge, overlap, tile

ROOT = Path(__file__).resolve().parents[1]
Pixels = NDArray[np.uint8]


def face(left: float, top: float, side: float, score: float = 0.9) -> Face:
    keypoints = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.5, 0.8), (0.0, 0.5), (1.0, 0.5)]
    return Face(
        (left, top, left + side, top + side),
        tuple((left + x * side, top + y * side) for x, y in keypoints),
        score,
    )


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector(min_face=16) as detector:
        yield detector


@pytest.fixture(scope="module")
def group(shared: Path) -> tuple[Pixels, list[Face]]:
    """A group photo and the boxes that people drew around its faces."""
    name = "2008_004176.jpg"
    boxes = json.loads((shared / "groups" / "boxes.json").read_text())[name]["boxes"]
    return read(shared / "groups" / name), [face(left, top, width) for left, top, width, _ in boxes]


@pytest.fixture(scope="module")
def portrait(shared: Path) -> Pixels:
    """A head and shoulders, 256 pixels wide."""
    return read(shared / "faces" / "real" / "us-congress" / _first(shared, "us-congress"))


def _first(shared: Path, source: str) -> str:
    return min(path.name for path in (shared / "faces" / "real" / source).iterdir())


# Geometry --------------------------------------------------------------------------------------------

sizes = st.integers(1, 3000)


@given(sizes, sizes, st.floats(64, 1000))
def test_tiles_cover_the_picture(width: int, height: int, side: float) -> None:
    views = tile(width, height, side)
    for length, centres in ((width, {view.x for view in views}), (height, {view.y for view in views})):
        reached = 0.0
        for centre in sorted(centres):
            assert centre - side / 2 <= reached + 1e-6
            reached = centre + side / 2
        assert reached >= length - 1e-6


@given(
    sizes, sizes, st.floats(64, 1000), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 2 * _SMALLEST_SHARE)
)
@example(width=321, height=1, side=64.00000000000017, right=1.0, down=0.0, share=0.125)
def test_a_face_of_a_tile_s_size_lies_wholly_in_one(
    width: int, height: int, side: float, right: float, down: float, share: float
) -> None:
    length = min(share * side, width, height)
    one = face(right * (width - length), down * (height - length), length)
    assert any(
        not view.cuts(one, width, height)
        and abs(one.centre[0] - view.x) <= (side - length) / 2 + 1e-6
        and abs(one.centre[1] - view.y) <= (side - length) / 2 + 1e-6
        for view in tile(width, height, side)
    )


def test_a_box_at_an_inner_edge_is_cut_and_one_at_the_picture_s_edge_is_not() -> None:
    left_tile = View(50, 50, 100)
    assert left_tile.cuts(face(81, 40, 20), 200, 100)
    assert not left_tile.cuts(face(0, 0, 20), 200, 100)
    assert not left_tile.cuts(face(81, 40, 20), 100, 100)


@pytest.mark.parametrize("roll", [-45.0, 0.0, 30.0])
@pytest.mark.parametrize("side", [40.0, 100.0, 330.0, 700.0])
def test_a_rendered_point_is_placed_where_it_came_from(roll: float, side: float) -> None:
    x, y = np.meshgrid(np.arange(600) + 0.5, np.arange(500) + 0.5)
    blob = 255 * np.exp(-((x - 310.3) ** 2 + (y - 247.8) ** 2) / (2 * (side / 30) ** 2))
    view = View(303.0, 251.0, side, roll)
    rendered = (
        Pyramid(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8))
        .render(view, 128)[..., 0]
        .astype(float)
    )
    rows, columns = np.indices(rendered.shape) + 0.5
    found = [
        (columns * rendered).sum() / rendered.sum() / 128,
        (rows * rendered).sum() / rendered.sum() / 128,
    ]
    placed = view.place(Face((*found, *found), (tuple(found),) * 6, 1.0))
    assert placed.centre == pytest.approx((310.3, 247.8), abs=side / 400)
    assert placed.keypoints[0] == pytest.approx((310.3, 247.8), abs=side / 400)


@given(st.floats(-90, 90), st.floats(10, 200))
def test_a_view_around_a_turned_face_is_turned_like_it(roll: float, side: float) -> None:
    upright = face(-side / 2, -side / 2, side)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    turned = Face(
        upright.box, tuple((x * cos - y * sin, x * sin + y * cos) for x, y in upright.keypoints), 0.9
    )
    view = View.around(turned, 2.0)
    assert view.roll == pytest.approx(roll, abs=1e-6)
    assert view.side == pytest.approx(2 * side)
    assert (view.x, view.y) == pytest.approx((0, 0), abs=1e-9)


# Merging ---------------------------------------------------------------------------------------------

crowds = st.lists(
    st.builds(face, st.floats(0, 100), st.floats(0, 100), st.floats(5, 60), st.floats(0.3, 1)), max_size=25
)


@given(crowds, st.randoms())
def test_merged_faces_are_the_best_and_lie_apart_whatever_their_order(
    faces: list[Face], random: object
) -> None:
    merged = merge(faces)
    for index, one in enumerate(merged):
        for other in merged[:index]:
            iou, part = overlap(one.box, other.box)
            assert iou <= 0.3 and part <= 0.6
    for lost in set(faces) - set(merged):
        assert any(
            best.score >= lost.score
            and (overlap(best.box, lost.box)[0] > 0.3 or overlap(best.box, lost.box)[1] > 0.6)
            for best in merged
        )
    shuffled = list(faces)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(shuffled) == merged


def test_neighbours_in_a_crowd_stay_apart() -> None:
    faces = [face(0, 0, 40), face(28, 8, 40)]
    assert len(merge(faces)) == 2


def test_a_doubtful_face_is_believed_among_its_like() -> None:
    doubtful = face(300, 300, 30, 0.55)
    crowd = [face(50 * index, 0, 40, 0.9) for index in range(3)]
    giants = [face(500 * index, 0, 400, 0.9) for index in range(3)]
    assert doubtful not in _believe([doubtful], 1000)
    assert doubtful not in _believe([doubtful, *crowd[:2]], 1000)
    assert doubtful in _believe([doubtful, *crowd], 1000)
    assert doubtful not in _believe([doubtful, *giants], 1000)
    assert doubtful in _believe([doubtful], 100), "it fills a third of the picture"


# Pictures --------------------------------------------------------------------------------------------


def same(one: Face, other: Face) -> bool:
    return overlap(one.box, other.box)[0] > 0.3


def test_finds_each_face_of_a_group_once(detector: FaceDetector, group: tuple[Pixels, list[Face]]) -> None:
    pixels, truth = group
    found = detector.detect(pixels)
    assert len(found) == len(truth)
    assert all(sum(same(one, other) for other in found) == 1 for one in truth)
    assert found == sorted(found, key=lambda one: one.box)
    for one in found:
        right_eye, left_eye, nose, mouth = one.keypoints[:4]
        assert right_eye[0] < left_eye[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]
        assert 0.5 < one.score <= 1


def test_finds_small_faces_where_one_pass_over_the_picture_does_not(
    shared: Path, detector: FaceDetector
) -> None:
    pixels = read(shared / "groups" / "pif-group.jpg")
    found = detector.detect(pixels)
    assert 63 <= len(found) <= 67
    assert sum(one.side < 0.03 * pixels.shape[1] for one in found) > 60


def test_reports_no_face_below_min_face(group: tuple[Pixels, list[Face]], detector: FaceDetector) -> None:
    pixels = np.asarray(Image.fromarray(group[0]).resize((300, 274), Image.Resampling.BOX))
    assert len(detector.detect(pixels)) == len(group[1])
    with FaceDetector(min_face=40, threads=1) as coarse:
        assert coarse.detect(pixels) == []


def test_a_face_is_as_large_as_the_second_look_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaceDetector(min_face=32, threads=1) as detector:
        monkeypatch.setattr(detector, "_first_look", lambda pyramid: [face(0, 0, 40), face(100, 0, 25)])
        monkeypatch.setattr(detector, "_second_look", lambda *_: [face(0, 0, 31), face(100, 0, 33)])
        assert detector.detect(np.zeros((100, 200, 3), np.uint8)) == [face(100, 0, 33)]


@pytest.mark.parametrize(("seen", "more"), [(2, False), (3, True)])
def test_candidates_that_nobody_looked_at_may_be_more_faces(
    monkeypatch: pytest.MonkeyPatch, seen: int, more: bool
) -> None:
    monkeypatch.setattr("facefake.detection._SPARE", 0)
    faces = [face(100 * place, 0, 40) for place in range(seen)]
    with FaceDetector(min_face=32, threads=1) as detector:
        monkeypatch.setattr(detector, "_first_look", lambda pyramid: faces)
        monkeypatch.setattr(detector, "_second_look", lambda pyramid, candidates: candidates[:1])
        assert detector.detect_largest(np.zeros((100, 400, 3), np.uint8), 1) == (faces[:1], more)


@pytest.mark.parametrize("angle", [-45, -30, 30, 45])
def test_finds_turned_faces(detector: FaceDetector, portrait: Pixels, angle: int) -> None:
    (upright,) = detector.detect(portrait)
    turned = Image.fromarray(portrait).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    (found,) = detector.detect(np.asarray(turned))
    # Pillow turns counterclockwise, a head's roll counts clockwise.
    assert found.roll == pytest.approx(upright.roll - angle, abs=8)
    assert found.side == pytest.approx(upright.side, rel=0.3)


@pytest.mark.parametrize("angle", [-150, 150, 180])
def test_finds_faces_that_stand_on_their_heads(detector: FaceDetector, portrait: Pixels, angle: int) -> None:
    (upright,) = detector.detect(portrait)
    turned = Image.fromarray(portrait).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    (found,) = detector.detect(np.asarray(turned))
    assert math.remainder(found.roll - upright.roll + angle, 360) == pytest.approx(0, abs=8)
    assert found.side == pytest.approx(upright.side, rel=0.3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_face_that_the_picture_s_edge_cuts_is_where_it_would_be_without(
    detector: FaceDetector, portrait: Pixels, mirrored: bool
) -> None:
    pixels = portrait[:, ::-1] if mirrored else portrait
    (whole,) = detector.detect(pixels)
    cut = round(whole.box[0] + 0.26 * whole.side)
    canvas = np.full((900, 900, 3), 128, np.uint8)
    canvas[: len(pixels), : pixels.shape[1] - cut] = pixels[:, cut:]
    (found,) = detector.detect(canvas)
    left, top, right, bottom = found.box
    assert overlap((left + cut, top, right + cut, bottom), whole.box)[0] > 0.7


def test_finds_the_smallest_faces_in_a_picture_hardly_larger_than_a_tile(portrait: Pixels) -> None:
    with FaceDetector(min_face=48, threads=1) as detector:
        (large,) = detector.detect(portrait)
        width, height = (round(side * 52 / large.side) for side in portrait.shape[1::-1])
        small = np.asarray(Image.fromarray(portrait).resize((width, height), Image.Resampling.BOX))
        pixels = np.full((420, 590, 3), 128, np.uint8)
        places = [(x, y) for y in (20, 170, 320) for x in (20, 160, 300, 440)]
        for x, y in places:
            pixels[y : y + height, x : x + width] = small
        assert len(detector.detect(pixels)) == len(places)


def test_finds_a_face_that_fills_the_frame(detector: FaceDetector, portrait: Pixels) -> None:
    (whole,) = detector.detect(portrait)
    left, top, right, bottom = (round(edge) for edge in whole.box)
    (found,) = detector.detect(portrait[top:bottom, left:right])
    assert overlap(found.box, (0, 0, right - left, bottom - top))[0] > 0.6
    eyes = np.add(found.keypoints[:2], (left, top))
    assert eyes == pytest.approx(np.array(whole.keypoints[:2]), abs=0.06 * whole.side)


def test_keypoints_of_small_faces_are_fine(detector: FaceDetector, portrait: Pixels) -> None:
    (large,) = detector.detect(portrait)
    scale = 28 / large.side
    size = (round(portrait.shape[1] * scale), round(portrait.shape[0] * scale))
    canvas = np.full((400, 500, 3), 128, np.uint8)
    canvas[150 : 150 + size[1], 230 : 230 + size[0]] = np.asarray(
        Image.fromarray(portrait).resize(size, Image.Resampling.BOX)
    )
    (small,) = detector.detect(canvas)
    eyes = np.subtract(small.keypoints[:2], (230, 150)) / scale
    assert eyes == pytest.approx(np.array(large.keypoints[:2]), abs=0.05 * large.side)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (300, 700)])
@pytest.mark.parametrize("fill", ["black", "grey", "noise", "ramp"])
def test_finds_nothing_where_nothing_is(detector: FaceDetector, shape: tuple[int, int], fill: str) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    if fill == "grey":
        pixels[:] = 128
    elif fill == "noise":
        pixels[:] = np.random.default_rng(7).integers(0, 256, pixels.shape)
    elif fill == "ramp":
        pixels[:] = np.linspace(0, 255, shape[1])[:, None]
    assert detector.detect(pixels) == []


def test_the_same_faces_from_any_number_of_threads(group: tuple[Pixels, list[Face]]) -> None:
    pixels, truth = group
    with FaceDetector(min_face=24, threads=1) as single:
        expected = single.detect(pixels)
    assert len(expected) == len(truth)
    with FaceDetector(min_face=24, threads=3) as detector:
        results: list[list[Face]] = []
        threads = [threading.Thread(target=lambda: results.append(detector.detect(pixels))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [expected] * 8


def test_takes_read_only_and_strided_arrays(detector: FaceDetector, portrait: Pixels) -> None:
    mirrored = portrait[:, ::-1]
    assert not mirrored.flags.c_contiguous
    frozen = portrait.copy()
    frozen.flags.writeable = False
    assert detector.detect(frozen) == detector.detect(portrait)
    assert detector.detect(mirrored) == detector.detect(mirrored.copy())


@pytest.mark.parametrize(
    ("pixels", "error", "got"),
    [
        ("photo.jpg", TypeError, "str"),
        (np.zeros((4, 4, 3)), TypeError, "float64"),
        (np.zeros((4, 4), np.uint8), ValueError, r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"\(0, 4, 3\)"),
        (np.zeros((1, 40_000, 3), np.uint8), ValueError, r"\(1, 40000, 3\)"),
    ],
)
def test_says_what_is_wrong_with_the_pixels(
    detector: FaceDetector, pixels: Pixels, error: type[Exception], got: str
) -> None:
    with pytest.raises(error, match=f"expected pixels .*got {got}"):
        detector.detect(pixels)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"min_face": "small"}, TypeError),
        ({"min_face": True}, TypeError),
        ({"min_face": 2}, ValueError),
        ({"min_face": math.nan}, ValueError),
        ({"min_face": math.inf}, ValueError),
        ({"threads": 0}, ValueError),
        ({"threads": 1.5}, TypeError),
    ],
)
def test_says_what_is_wrong_with_an_argument(arguments: dict[str, float], error: type[Exception]) -> None:
    (name,) = arguments
    with pytest.raises(error, match=f"expected {name} .*got"):
        FaceDetector(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_closed_detector_says_so(threads: int) -> None:
    detector = FaceDetector(threads=threads)
    detector.close()
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        detector.detect(np.zeros((8, 8, 3), np.uint8))


class _Struck(Exception):
    pass


def test_what_a_signal_handler_raises_leaves_the_models_to_end_their_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def strike(*_: object) -> None:
        raise _Struck

    ended: list[bool] = []

    def run(*_: object) -> Detections:
        if not ended:
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            time.sleep(0.1)
        ended.append(True)
        return _NOTHING

    handler = signal.signal(signal.SIGUSR1, strike)
    try:
        with FaceDetector(threads=1) as detector:
            monkeypatch.setattr(detector._network, "run", run)
            monkeypatch.setattr(detector._mediapipe, "find", lambda _: [])
            with pytest.raises(_Struck):
                detector.detect(np.zeros((8, 8, 3), np.uint8))
            assert detector.detect(np.zeros((8, 8, 3), np.uint8)) == []
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert len(ended) == 2, "the look that was struck, and that of the second picture"


# The native side -------------------------------------------------------------------------------------


def test_a_missing_library_is_named_with_its_package() -> None:
    complaint = "libEGL.so.1: cannot open shared object file: No such file or directory"
    with pytest.raises(MissingLibraryError, match=r"libEGL\.so.*libegl1"), naming_missing_libraries():
        raise OSError(complaint)
    with pytest.raises(ImportError, match="a typo"), naming_missing_libraries():
        raise ImportError("a typo")


def test_chatter_is_held_back_and_all_else_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"INFO: [environment.cc:36] Creating LiteRT environment with options\n")
        os.write(2, b"W0000 00:00:1795360389.060900    4666 inference_runner_litert.cc:1418] Input tensor\n")
        os.write(2, b"WARNING: this is somebody else's\n")
        os.write(2, b"E0000 00:00:1795360389.060900    4666 graph.cc:14] broken\n")
    os.write(2, b"afterwards\n")
    passed = capfd.readouterr().err.splitlines()
    assert [line.split()[0] for line in passed] == ["WARNING:", "E0000", "afterwards"]


@pytest.mark.parametrize("ending", ["", "detector.close()", "del detector", "raise SystemExit"])
def test_a_process_that_detects_is_silent_and_free_of_tensorflow(ending: str) -> None:
    program = f"""
import sys
import numpy as np
from PIL import Image
from facefake.detection import FaceDetector

assert not {{"mediapipe", "cv2", "tensorflow"}} & set(sys.modules), "imported before they are needed"
detector = FaceDetector(threads=2)
assert detector.detect(np.asarray(Image.open("samples/astronaut.jpg")))
assert "mediapipe" in sys.modules
assert not {{"tensorflow", "sounddevice"}} & set(sys.modules)
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
