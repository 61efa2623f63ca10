from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefake.alignment import align
from facefake.bundle import DESCRIPTION, KERAS_FILE, LITERT_FILE, read_bundle
from facefake.calibration import probability
from facefake.classifier import Classifier, LiteRTNetwork, load_keras
from facefake.detection import FaceDetector
from facefake.errors import ModelError

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
    path.write_text(json.dumps(values))


def put(folder: Path, name: str, content: bytes) -> None:
    """Swaps a network file and the checksum with it, as somebody with bad intent would."""
    (folder / name).write_bytes(content)
    edit(folder, lambda values: values["sha256"].update({name: hashlib.sha256(content).hexdigest()}))


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_the_mean_of_the_map_is_the_score(tiny_bundle, crops, runtime):
    classifier = Classifier(tiny_bundle, runtime)
    scores = classifier.predict(crops)
    assert scores.logits.shape == (20,)
    assert scores.logits.dtype == scores.maps.dtype == np.float32
    assert scores.maps.shape == (20, 8, 8)
    assert np.ptp(scores.logits) > 0.1  # or the test would hold of a network that says nothing
    np.testing.assert_allclose(scores.maps.mean((1, 2)) + classifier.bundle.bias, scores.logits, atol=1e-4)
    assert classifier.bundle.label == "tiny 0.1"
    empty = classifier.predict(crops[:0])
    assert empty.logits.shape == (0,)


def test_both_runtimes_agree(tiny_bundle, crops):
    stated = []
    for runtime in ("litert", "keras"):
        classifier = Classifier(tiny_bundle, runtime)
        logits = classifier.predict(crops).logits
        stated.append([probability(float(logit), classifier.bundle.calibration) for logit in logits])
    np.testing.assert_allclose(stated[0], stated[1], atol=1e-3)


@pytest.mark.parametrize(("runtime", "networks"), [("litert", 1), ("litert", 3), ("keras", 1)])
def test_eight_threads_share_one(tiny_bundle, crops, runtime, networks):
    classifier = Classifier(tiny_bundle, runtime, networks)
    expected = classifier.predict(crops).logits
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: classifier.predict(crops).logits, range(24)))
    for logits in found:
        np.testing.assert_array_equal(logits, expected)


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


def test_an_unknown_runtime_is_refused(tiny_bundle):
    with pytest.raises(ValueError, match="'onnx'"):
        Classifier(tiny_bundle, "onnx")


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


def _archive(model: Any, folder: Path) -> bytes:
    model.save(folder / "stranger.keras")
    return (folder / "stranger.keras").read_bytes()


def _wrap(layer: Any) -> Any:
    import keras

    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layer(inputs))


def test_a_lambda_layer_is_refused(tmp_path):
    import keras

    content = _archive(_wrap(keras.layers.Lambda(lambda x: x * 2, output_shape=(32, 32, 3))), tmp_path)
    with pytest.raises(ModelError, match=r"stranger.*built-in layers"):
        load_keras(content, "stranger")


@pytest.mark.parametrize("part", ["layer", "activation", "nested"])
def test_a_custom_object_is_refused_though_this_process_registered_it(tmp_path, part):
    import keras

    @keras.saving.register_keras_serializable(package="strange")
    class Doubling(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    @keras.saving.register_keras_serializable(package="strange")
    def doubled(x: Any) -> Any:
        return x * 2

    layers = {
        "layer": Doubling(),
        "activation": keras.layers.Activation(doubled),
        "nested": keras.layers.TimeDistributed(Doubling()),
    }
    content = _archive(_wrap(layers[part]), tmp_path)
    with pytest.raises(ModelError, match=r"stranger.*strange>"):
        load_keras(content, "stranger")


def test_a_keras_network_with_other_outputs_is_refused(damaged):
    import keras

    put(damaged, KERAS_FILE, _archive(_wrap(keras.layers.ReLU()), damaged))
    with pytest.raises(ModelError, match=r"model\.keras: expected a network from"):
        Classifier(damaged, "keras")


def test_a_litert_network_with_other_outputs_is_refused():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32, name="crops")])
    def serve(crops):
        return {"sum": tf.reduce_sum(crops)}

    traced = serve.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module()).convert()
    with pytest.raises(ModelError, match="stranger: expected a network to one logit"):
        LiteRTNetwork(content, 32, 1, "stranger")


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
    assert (shipped / LITERT_FILE).stat().st_size <= 25_000_000
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
