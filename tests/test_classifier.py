from __future__ import annotations

import ast
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefake.alignment import align
from facefake.bundle import DESCRIPTION, KERAS_FILE, LITERT_FILE, description_digest, read_bundle
from facefake.classifier import Classifier, LiteRTNetworks, Scores, _Shared, both_ways
from facefake.detection import FaceDetector
from facefake.errors import ModelError
from facefake.rates import probability

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "models" / "facefake"


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (20, 8, 8, 3))
    return coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)


@pytest.fixture
def damaged(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "damaged"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / DESCRIPTION
    values = json.loads(path.read_text())
    change(values)
    values["digest"] = description_digest(values)
    path.write_text(json.dumps(values))


def put(folder: Path, name: str, content: bytes) -> None:
    """Swaps a network file and the checksum with it, as somebody with bad intent would."""
    (folder / name).write_bytes(content)
    edit(folder, lambda values: values["sha256"].update({name: hashlib.sha256(content).hexdigest()}))


def test_keras_is_opened_without_a_word(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from facefake.classifier import Classifier\n"
        "Classifier(Path(sys.argv[1]), 'keras')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    finished = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize("runtime", ["litert", "keras"])
@pytest.mark.parametrize("name", ["tiny_bundle", "tiny_pair"])
def test_the_mean_of_the_map_is_the_score(request, name, crops, runtime):
    classifier = Classifier(request.getfixturevalue(name), runtime)
    scores = classifier.predict(crops)
    assert scores.logits.shape == (20,)
    assert scores.logits.dtype == scores.maps.dtype == np.float32
    assert scores.maps.shape == (20, 8, 8)
    assert np.ptp(scores.logits) > 0.1  # or the test would hold of a network that says nothing
    np.testing.assert_allclose(scores.maps.mean((1, 2)) + classifier.bundle.bias, scores.logits, atol=1e-4)
    assert classifier.bundle.label == "tiny 0.1"
    empty = classifier.predict(crops[:0])
    assert empty.logits.shape == (0,)


@pytest.mark.parametrize("name", ["tiny_bundle", "tiny_pair"])
def test_both_runtimes_agree(request, name, crops):
    stated = []
    for runtime in ("litert", "keras"):
        classifier = Classifier(request.getfixturevalue(name), runtime)
        logits = classifier.predict(crops).logits
        stated.append([probability(float(logit), classifier.bundle.calibration) for logit in logits])
    np.testing.assert_allclose(stated[0], stated[1], atol=1e-3)


@pytest.mark.parametrize(("runtime", "threads"), [("litert", 1), ("litert", 3), ("keras", 1)])
@pytest.mark.parametrize("name", ["tiny_bundle", "tiny_pair"])
def test_eight_threads_share_one(request, name, crops, runtime, threads):
    classifier = Classifier(request.getfixturevalue(name), runtime, threads)
    expected = classifier.predict(crops).logits
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: classifier.predict(crops).logits, range(24)))
    for logits in found:
        np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_litert_never_runs_on_the_caller_s_thread(tiny_bundle, crops, monkeypatch, threads):
    """Where a signal handler could raise while an interpreter is on its way back to the pool."""
    classifier = Classifier(tiny_bundle, threads=threads)
    seen = set()
    monkeypatch.setattr(_Shared, "score", lambda *_: seen.add(threading.current_thread()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier.predict(crops)
    assert seen
    assert threading.main_thread() not in seen


@pytest.mark.parametrize(("runtime", "threads"), [("litert", 1), ("litert", 3), ("keras", 1)])
def test_of_two_networks_the_second_sees_the_mirror_image(
    tiny_pair, tiny_network, tiny_mirror, crops, runtime, threads
):
    scores = Classifier(tiny_pair, runtime, threads).predict(crops)
    first = tiny_network.predict(crops.astype(np.float32), verbose=0)
    second = tiny_mirror.predict(crops[:, :, ::-1].astype(np.float32), verbose=0)
    assert np.abs(first["logit"] - second["logit"]).min() > 0.1
    np.testing.assert_allclose(scores.logits, 0.75 * first["logit"] + 0.25 * second["logit"], atol=1e-4)
    maps = 0.75 * first["map"] + 0.25 * second["map"][:, :, ::-1]
    np.testing.assert_allclose(scores.maps, maps, atol=1e-4)


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_two_networks_to_maps_of_different_shapes_are_refused(tiny_pair, tmp_path, runtime):
    import keras

    from facefake.training.export import convert

    pair = Path(shutil.copytree(tiny_pair, tmp_path / "pair"))
    inputs = keras.Input((32, 32, 3), name="crops")
    maps = keras.layers.Reshape((2, 2))(keras.layers.Conv2D(1, 3, 16, padding="same", use_bias=False)(inputs))
    logit = keras.layers.Reshape(())(keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(inputs)))
    other = keras.Model(inputs, {"logit": logit, "map": maps})
    other.save(tmp_path / "other.keras")
    put(pair, "mirror.keras", (tmp_path / "other.keras").read_bytes())
    put(pair, "mirror.tflite", convert(other, "float32"))
    with pytest.raises(ModelError, match=r"maps of one shape, got .*\(8, 8\).*\(2, 2\)"):
        Classifier(pair, runtime)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
    ],
)
def test_crops_of_another_kind_are_refused(tiny_bundle, wrong):
    with pytest.raises(ValueError, match=r"expected crops uint8 \(n, 32, 32, 3\), got"):
        Classifier(tiny_bundle).predict(wrong)


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_a_closed_one_says_so(tiny_bundle, crops, runtime):
    classifier = Classifier(tiny_bundle, runtime)
    classifier.close()
    classifier.close()
    with pytest.raises(ValueError, match="closed"):
        classifier.predict(crops)


def test_an_unknown_runtime_is_refused(tiny_bundle):
    with pytest.raises(ValueError, match="'onnx'"):
        Classifier(tiny_bundle, "onnx")


def test_a_score_that_is_no_number_is_refused(tiny_bundle, crops, monkeypatch):
    classifier = Classifier(tiny_bundle)
    for wrong in (np.nan, np.inf):
        scores = Scores(np.full(len(crops), wrong, np.float32), np.zeros((len(crops), 8, 8), np.float32))
        monkeypatch.setattr(classifier._network, "predict", lambda crops, scores=scores: scores)
        with pytest.raises(ModelError, match="expected finite scores, got"):
            classifier.predict(crops)


@pytest.mark.parametrize(("runtime", "name"), [("litert", LITERT_FILE), ("keras", KERAS_FILE)])
@pytest.mark.parametrize("fault", ["missing", "truncated", "one bit", "swapped"])
def test_a_damaged_network_file_is_named(damaged, runtime, name, fault):
    path = damaged / name
    content = path.read_bytes()
    other = damaged / (KERAS_FILE if name == LITERT_FILE else LITERT_FILE)
    flipped = content[:500] + bytes([content[500] ^ 1]) + content[501:]
    path.unlink()
    if fault != "missing":
        path.write_bytes(
            {"truncated": content[:-100], "one bit": flipped, "swapped": other.read_bytes()}[fault]
        )
    with pytest.raises(ModelError, match=name):
        Classifier(damaged, runtime)


@pytest.mark.parametrize(("runtime", "name"), [("litert", LITERT_FILE), ("keras", KERAS_FILE)])
def test_a_file_that_is_no_network_is_refused_even_with_its_checksum(damaged, runtime, name):
    content = (damaged / name).read_bytes()
    for fake in (b"", b"no network", content[: len(content) // 2]):
        put(damaged, name, fake)
        with pytest.raises(ModelError, match=name):
            Classifier(damaged, runtime)


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_another_network_with_its_checksum_fails_the_self_test(damaged, tiny_network, runtime):
    import keras

    from facefake.training.export import convert

    other = keras.models.clone_model(tiny_network)
    other.set_weights([weights * 1.1 for weights in tiny_network.get_weights()])
    other.save(damaged.parent / "other.keras")
    put(damaged, KERAS_FILE, (damaged.parent / "other.keras").read_bytes())
    put(damaged, LITERT_FILE, convert(other, "float32"))
    with pytest.raises(
        ModelError, match=r"damaged: expected the self-test's logits within .* under " + runtime
    ):
        Classifier(damaged, runtime)


def test_a_keras_network_with_other_outputs_is_refused(damaged):
    import keras

    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.ReLU()(inputs)).save(damaged / "other.keras")
    put(damaged, KERAS_FILE, (damaged / "other.keras").read_bytes())
    with pytest.raises(ModelError, match=r"model\.keras: expected a network from"):
        Classifier(damaged, "keras")


def _litert(compute: Callable[[Any], dict[str, Any]], select: bool = False, custom: bool = False) -> bytes:
    """A LiteRT file from `crops` (1, 32, 32, 3) to what `compute` makes of them."""
    import tensorflow as tf

    serve = tf.function(compute, input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32, name="crops")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], tf.Module())
    if select:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    converter.allow_custom_ops = custom
    return converter.convert()


def _said(value: Any) -> dict[str, Any]:
    import tensorflow as tf

    return {"logit": tf.reshape(value, (1,)), "map": tf.reshape(value, (1, 1, 1))}


def _determinant(crops: Any) -> dict[str, Any]:
    import tensorflow as tf

    return _said(tf.linalg.det(crops[0, :3, :3, 0]))


def _bomb(crops: Any) -> dict[str, Any]:
    import tensorflow as tf

    pixel = tf.reshape(tf.reduce_mean(crops), (1, 1, 1, 1))
    return _said(tf.reduce_mean(tf.sqrt(tf.tile(pixel, (1, 30_000, 30_000, 16)) + 1.0)))


def test_a_litert_network_with_other_outputs_is_refused():
    import tensorflow as tf

    content = _litert(lambda crops: {"sum": tf.reduce_sum(crops)})
    with pytest.raises(ModelError, match="stranger: expected a network with one logit"):
        LiteRTNetworks({"stranger": content}, 32, 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _litert(_determinant, select=True), "Select TensorFlow op"),
        (lambda: _litert(_determinant, custom=True), "custom op"),
        (lambda: _litert(_bomb), r"tensors of [\d,]+ values"),
    ],
    ids=["tensorflow", "custom", "huge"],
)
def test_a_litert_network_that_needs_more_than_arithmetic_is_refused(make, reason):
    content = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=f"stranger: expected a network that takes crops.*{reason}"):
        LiteRTNetworks({"stranger": content}, 32, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


MUTANTS = """
import os, random, signal, sys
from collections import Counter
from facefake.classifier import LiteRTNetworks
from facefake.errors import ModelError
import ai_edge_litert.interpreter
content = open(sys.argv[1], "rb").read()
ends = Counter()
for number in range(int(sys.argv[2])):
    rng, mutant = random.Random(number), bytearray(content)
    for _ in range(rng.choice((1, 2, 4, 8))):
        size = rng.choice((len(mutant), 3000, 3000))
        place = rng.randrange(size)
        mutant[-place if rng.random() < 0.5 else place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    if not (child := os.fork()):
        signal.alarm(60)
        try:
            LiteRTNetworks({"mutant": bytes(mutant)}, 32, 1)
        except ModelError:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    ends[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
print(dict(ends))
"""


def test_litert_survives_damaged_networks_whose_checksum_is_right(tiny_bundle):
    """Each in a process of its own, since native code could take the whole one along."""
    command = [sys.executable, "-c", MUTANTS, str(tiny_bundle / LITERT_FILE), "150"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    ends = ast.literal_eval(done.stdout)
    assert set(ends) == {0, 1}, done.stderr
    assert ends[1] > 30


@pytest.fixture(scope="module")
def shipped() -> Path:
    if not (SHIPPED / DESCRIPTION).is_file():
        pytest.skip("models/facefake holds no trained bundle yet")
    return SHIPPED


@pytest.fixture(scope="module")
def sample_crops(shipped: Path) -> np.ndarray:
    bundle = read_bundle(shipped)
    crops = []
    with FaceDetector(min_face=24) as faces:
        for name in ("group.jpg", "astronaut.jpg", "ai-selfie.jpg"):
            pixels = np.asarray(Image.open(ROOT / "samples" / name).convert("RGB"))
            crops += [align(pixels, face, bundle.side, bundle.margin) for face in faces.detect(pixels)]
    return np.stack(crops)


def test_the_shipped_bundle_is_small_and_both_runtimes_agree(shipped, sample_crops):
    assert sum((shipped / name).stat().st_size for name in read_bundle(shipped).litert_files) <= 25_000_000
    stated = []
    for runtime in ("litert", "keras"):
        classifier = Classifier(None, runtime)  # checks the checksums and runs the self-test
        assert classifier.bundle.folder == shipped
        scores = classifier.predict(sample_crops)
        np.testing.assert_allclose(
            scores.maps.mean((1, 2)) + classifier.bundle.bias, scores.logits, atol=1e-3
        )
        stated.append([probability(float(logit), classifier.bundle.calibration) for logit in scores.logits])
    np.testing.assert_allclose(stated[0], stated[1], atol=1e-3)


def test_by_one_network_a_face_and_its_mirror_image_score_alike(tiny_bundle, crops) -> None:
    for runtime in ("litert", "keras"):
        classifier = Classifier(tiny_bundle, runtime)
        scores, mirrored = classifier.predict(crops), classifier.predict(crops[:, :, ::-1])
        np.testing.assert_allclose(scores.logits, mirrored.logits, atol=1e-4)
        np.testing.assert_allclose(scores.maps, mirrored.maps[:, :, ::-1], atol=1e-3)


def test_both_ways_is_the_mean_of_two_runs() -> None:
    def left_half(crops: np.ndarray, mirrored: np.ndarray) -> tuple[Scores, Scores]:
        maps, mirrored_maps = crops[..., 0].astype(np.float32), mirrored[..., 0].astype(np.float32)
        return (
            Scores(maps[:, :, :2].mean((1, 2)), maps),
            Scores(mirrored_maps[:, :, :2].mean((1, 2)), mirrored_maps),
        )

    crops = np.zeros((2, 4, 4, 3), np.uint8)
    crops[1, :, 3] = 8
    scores = both_ways(left_half, crops, 0.25)
    np.testing.assert_array_equal(scores.logits, [0, 1])
    np.testing.assert_array_equal(scores.maps[1], [[0, 0, 0, 8]] * 4)
