from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefake.detail import FULL, Detail
from facefake.detector import FakeImageDetector
from facefake.errors import ImageError
from facefake.rates import probability
from facefake.results import ImageResult
from facefake.scanning import scan

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())
PORTRAIT = SAMPLES / "grace-hopper.jpg"
PORTRAIT_PIXELS = np.asarray(Image.open(PORTRAIT).convert("RGB"))


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Iterator[FakeImageDetector]:
    with FakeImageDetector(tiny_bundle) as detector:
        yield detector


@pytest.fixture(scope="module")
def group(detector: FakeImageDetector) -> ImageResult:
    return detector.analyze(SAMPLES / "group.jpg")


def record(result: ImageResult) -> dict:
    return {key: value for key, value in result.to_dict().items() if key not in ("path", "file")}


def test_every_face_of_the_group_gets_a_result(group):
    assert group.path == str(SAMPLES / "group.jpg")
    assert group.model == "tiny 0.1"
    assert len(group.faces) == len(TRUTH["group.jpg"]) == 14
    for truth in TRUTH["group.jpg"]:
        left, top, right, bottom = truth["box"]
        centre = ((left + right) / 2, (top + bottom) / 2)
        held = [f for f in group.faces if f.box[0] < centre[0] < f.box[2] and f.box[1] < centre[1] < f.box[3]]
        assert len(held) == 1
    for face in group.faces:
        assert face.verdict in ("real", "fake", "uncertain")
        assert 0 <= face.fake_probability <= 1
    assert len({face.fake_probability for face in group.faces}) > 10  # each its own, none twice


def test_a_face_s_logit_is_that_of_its_own_crop(detector, group):
    """Faces are judged in one batch: their scores must come back in order."""
    from facefake.alignment import align
    from facefake.detection import Face

    pixels = np.asarray(Image.open(SAMPLES / "group.jpg").convert("RGB"))
    bundle = detector.bundle
    for face in group.faces:
        crop = align(pixels, Face(face.box, face.keypoints, 1.0), bundle.side, bundle.margin)
        scores = detector._classifier.predict(crop[None])
        logit = float(scores.logits[0])
        assert face.logit == pytest.approx(logit, abs=1e-4)
        np.testing.assert_allclose(face.evidence, scores.maps[0], atol=1e-3)
        assert face.fake_probability == pytest.approx(probability(logit, bundle.calibration), abs=1e-3)


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_the_mean_of_the_evidence_plus_the_bias_is_the_logit(runtime):
    """Of the model that comes along, whose bias is not 0."""
    with FakeImageDetector(runtime=runtime) as detector:
        faces = detector.analyze(SAMPLES / "group.jpg").faces
        alone = detector.analyze(PORTRAIT).faces
        assert detector.bundle.bias != 0
    assert len(faces) > 10
    assert len(alone) == 1
    for face in (*faces, *alone):
        assert face.evidence.dtype == np.float32
        assert np.ptp(face.evidence) > 0.1
        mean = face.evidence.mean(dtype=np.float64)
        assert mean + detector.bundle.bias == pytest.approx(face.logit, abs=1e-5)
    possible = (
        probability(alone[0].logit, detector.bundle.calibration, each)
        for each in (FULL, Detail(0, 1), Detail(1, 0))
    )
    assert min(abs(alone[0].fake_probability - stated) for stated in possible) < 1e-9


def test_the_short_form_is_a_flag_and_a_probability(detector):
    flag, confidence = detector.detect_fake_image(PORTRAIT)
    result = detector.analyze(PORTRAIT)
    assert type(flag) is bool
    assert type(confidence) is float
    assert (flag, confidence) == (result.verdict == "fake", result.fake_probability)
    assert 0 < confidence < 1


def test_a_picture_without_a_face_is_neither_real_nor_fake(detector):
    blank = np.full((120, 160, 3), 128, np.uint8)
    result = detector.analyze(blank)
    assert (result.verdict, result.reason, result.fake_probability) == (
        "not_applicable",
        "no face found",
        None,
    )
    assert detector.detect_fake_image(blank) == (False, 0.0)


def test_more_candidates_than_faces_are_told_of_in_a_sentence(detector, monkeypatch):
    seen = detector._faces.detect(PORTRAIT_PIXELS)
    told = []
    for faces in (seen, seen * 2):
        monkeypatch.setattr(detector._faces, "detect_largest", lambda *_, faces=faces: (faces, True))
        told += detector.analyze(PORTRAIT_PIXELS).warnings
    assert told == [
        "holds more faces: only 1 of the largest was judged",
        "holds more faces: only 2 of the largest were judged",
    ]


@pytest.mark.parametrize("alarm_rate", [0.04, 0.1, 0.2, 0.5, 0.9])
def test_what_most_real_pictures_look_like_is_no_suspicion(tiny_bundle, alarm_rate):
    with FakeImageDetector(tiny_bundle, alarm_rate=alarm_rate) as detector:
        uncertain = detector.calibration.uncertain_rate
    assert uncertain == pytest.approx(max(alarm_rate, min(0.5, 10 * alarm_rate)))


def test_the_alarm_rate_moves_the_verdict_and_nothing_else(tiny_bundle, detector):
    result = detector.analyze(PORTRAIT)
    rate = result.false_alarm_rate
    assert 0.02 < rate < 0.9  # or the rates below would not lie on both sides
    between = "uncertain" if rate <= 0.5 else "real"
    for alarm_rate, verdict in ((rate * 1.05, "fake"), (rate / 5, between), (rate / 50, "real")):
        with FakeImageDetector(tiny_bundle, alarm_rate=alarm_rate) as other:
            found = other.analyze(PORTRAIT)
        assert found.verdict == verdict
        assert found.fake_probability == result.fake_probability


def test_the_smallest_face_can_be_set(tiny_bundle):
    side = max(TRUTH["grace-hopper.jpg"], key=lambda face: face["box"][2])["box"]
    side = max(side[2] - side[0], side[3] - side[1])
    pixels = Image.open(PORTRAIT).convert("RGB")
    scale = 18 / side
    small = np.asarray(
        pixels.resize((round(pixels.width * scale), round(pixels.height * scale)), Image.LANCZOS)
    )
    canvas = np.full((160, 160, 3), 200, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small[:160, :160]
    with FakeImageDetector(tiny_bundle) as default, FakeImageDetector(tiny_bundle, min_face=12) as fine:
        assert default.analyze(canvas).reason == "no face found"
        result = fine.analyze(canvas)
    (face,) = result.faces
    assert face.verdict == result.verdict == "not_applicable"
    assert face.reason.startswith("too small")
    with pytest.raises(ValueError, match="min_face"):
        FakeImageDetector(tiny_bundle, min_face=1)


def test_every_kind_of_source_gives_one_answer(detector):
    pixels = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    content = PORTRAIT.read_bytes()
    sources = [PORTRAIT, str(PORTRAIT), content, io.BytesIO(content), Image.open(PORTRAIT), pixels]
    # What is decoded already says nothing of its origin.
    first, *others = [record(replace(detector.analyze(source), provenance=None)) for source in sources]
    assert len(first["faces"]) == 1
    assert all(other == first for other in others)
    with pytest.raises(ImageError):
        detector.analyze(content[:2000])


def test_eight_threads_share_one(detector):
    expected = json.dumps(detector.analyze(PORTRAIT).to_dict())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: json.dumps(detector.analyze(PORTRAIT).to_dict()), range(8)))
    assert found == [expected] * 8


@pytest.mark.parametrize(("most", "told"), [(1, "the largest was"), (2, "the 2 largest were")])
def test_what_is_not_judged_for_its_number_is_told(tiny_bundle, most, told):
    with FakeImageDetector(tiny_bundle, max_faces=most, threads=1) as detector:
        result = detector.analyze(SAMPLES / "group.jpg")
    assert len(result.faces) == most
    assert result.warnings == (f"holds more faces: only {told} judged",)


def test_it_can_be_closed_twice(tiny_bundle):
    with FakeImageDetector(tiny_bundle, threads=1) as detector:
        detector.analyze(PORTRAIT)
        detector.close()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"max_faces": 2.5}, TypeError),
        ({"max_faces": True}, TypeError),
        ({"max_faces": 0}, ValueError),
        ({"limits": 5}, TypeError),
        ({"alarm_rate": "x"}, TypeError),
        ({"alarm_rate": True}, TypeError),
        ({"alarm_rate": 0.0}, ValueError),
        ({"alarm_rate": 1.0}, ValueError),
        ({"alarm_rate": -0.1}, ValueError),
        ({"alarm_rate": float("nan")}, ValueError),
        ({"alarm_rate": 10**400}, ValueError),
    ],
)
def test_arguments_of_other_kinds_are_refused(tiny_bundle, settings, fault):
    with pytest.raises(fault, match=next(iter(settings))):
        FakeImageDetector(tiny_bundle, **settings)
    with pytest.raises(fault, match=next(iter(settings))):
        list(scan("x.jpg", model=tiny_bundle, workers=0, **settings))


@pytest.mark.parametrize("of", [np.float32, np.float16, np.float64, np.int16])
def test_numpys_numbers_are_taken_and_kept_as_pythons(tiny_bundle, of):
    chosen = {"max_faces": np.int64(3), "min_face": of(24), "threads": np.int8(1)}
    if of is not np.int16:
        chosen["alarm_rate"] = of(0.25)
    with FakeImageDetector(tiny_bundle, **chosen) as detector:
        settings = asdict(detector.settings)
    kept = [settings["max_faces"], settings["min_face"], settings["alarm_rate"]]
    assert kept == [3, 24.0, 0.25 if "alarm_rate" in chosen else 0.01]
    assert [type(each) for each in kept] == [int, float, float]


def test_any_number_of_threads_may_be_asked_for(tiny_bundle):
    with FakeImageDetector(tiny_bundle, threads=1 << 40) as detector:
        assert len(detector.analyze(PORTRAIT).faces) == 1


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_a_closed_detector_keeps_no_model(tiny_bundle, runtime):
    detector = FakeImageDetector(tiny_bundle, runtime=runtime, threads=1)
    detector.analyze(PORTRAIT)
    with detector._faces._network._networks.one() as first_look:
        models = [weakref.ref(first_look), weakref.ref(detector._classifier._network)]
    del first_look
    detector.close()
    gc.collect()
    assert [model() for model in models] == [None] * 2
    with pytest.raises(ValueError, match="closed"):
        detector.analyze(PORTRAIT)


FORK = """
import os, signal, sys
from facefake import FakeImageDetector
detector = FakeImageDetector(sys.argv[1], threads=2)
if sys.argv[3] == "used":
    detector.analyze(sys.argv[2])
if not (child := os.fork()):
    signal.alarm(60)
    try:
        detector.analyze(sys.argv[2])
    except ValueError as error:
        assert "forked" in str(error)
    else:
        sys.exit("expected a complaint")
    if sys.argv[4] == "closed":
        detector.close()
    detector = FakeImageDetector(sys.argv[1], threads=2)  # the other one goes
    assert len(detector.analyze(sys.argv[2]).faces) == 1
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(detector.analyze(sys.argv[2]).faces) == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("before", ["new", "used"])
@pytest.mark.parametrize("after", ["closed", "dropped"])
def test_a_forked_process_waits_for_no_thread_of_the_detector_that_it_has_from_its_parent(
    tiny_bundle, before, after
):
    command = [sys.executable, "-c", FORK, str(tiny_bundle), str(PORTRAIT), before, after]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_models_go_with_the_detector_without_a_garbage_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        detector = FakeImageDetector(threads=2)
        detector.analyze(PORTRAIT)
        models = [
            weakref.ref(detector._faces._mediapipe),
            weakref.ref(detector._faces._network),
            *(weakref.ref(network) for network in detector._classifier._network._networks),  # type: ignore[attr-defined]
        ]
        del detector
        assert [model() for model in models] == [None] * 4
    finally:
        gc.enable()
