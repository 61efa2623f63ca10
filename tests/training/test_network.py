from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from facefake.errors import ModelError
from facefake.keras_archive import load_keras
from facefake.paths import model_file
from facefake.training import network

TRAINING = Path(network.__file__).parent


def test_the_training_code_does_not_care_about_its_backend():
    """Only the export needs tensorflow, and flat minima one of the three."""
    files = list(TRAINING.glob("*.py"))
    assert len(files) > 10
    for path in files:
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
        allowed = {"export.py": {"tensorflow"}, "flatness.py": {"tensorflow", "torch", "jax"}}.get(
            path.name, set()
        )
        assert imported & {"tensorflow", "tf_keras", "torch", "jax"} <= allowed, path.name


def test_the_shipped_backbone_is_the_trained_one():
    random = network.efficientnet_lite0(64)
    trained = network.backbone(network.LITE0, 64)
    # Stem and head, 16 blocks of a depthwise and a projecting convolution, 15 of them with an expanding one.
    convolutions = [layer for layer in trained.layers if "Conv2D" in type(layer).__name__]
    assert len(convolutions) == 2 + 16 * 2 + 15
    assert sum(layer.name.endswith("_bn") for layer in trained.layers) == len(convolutions)
    assert sum(layer.name.endswith("_add") for layer in trained.layers) == 9
    assert trained.count_params() == random.count_params()
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    features = trained.predict(crops, verbose=0)
    assert features.shape == (2, 2, 2, 1280)
    assert features.min() >= 0
    assert 0 < features.max() <= 6
    for old, new in zip(random.get_weights(), trained.get_weights(), strict=True):
        assert old.shape == new.shape
        assert not np.array_equal(old, new)
    means = trained.get_layer("stem_bn").get_weights()[2]
    assert np.abs(means).max() > 0.1  # a random network's are all 0
    load_keras(model_file("backbones/efficientnet-lite0.keras").read_bytes(), "backbone")


def test_the_short_backbone_is_the_same_up_to_its_last_stage():
    whole = network.backbone(network.LITE0, 64)
    short = network.backbone(network.LITE0_SHORT, 64)
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    assert short.predict(crops, verbose=0).shape == (2, 2, 2, 512)
    assert short.count_params() < 0.75 * whole.count_params()
    kept = [layer for layer in short.layers if not layer.name.startswith("head")]
    assert kept[-1].name == "stage5_block3_add"
    for layer in kept:
        for mine, theirs in zip(layer.get_weights(), whole.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_scale_can_be_folded_into_the_map(tiny_network):
    import keras

    trained = keras.models.clone_model(tiny_network)
    trained.set_weights(tiny_network.get_weights())
    trained.get_layer("bias").set_weights([np.array([[-2.5]]), np.array([0.75])])
    crops = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.float32)
    before = trained.predict(crops, verbose=0)
    assert np.abs(before["map"].mean((1, 2)) + 0.75 - before["logit"]).max() > 0.1
    network.fold_scale(trained)
    after = trained.predict(crops, verbose=0)
    np.testing.assert_allclose(after["logit"], before["logit"], atol=1e-4)
    np.testing.assert_allclose(after["map"].mean((1, 2)) + 0.75, after["logit"], atol=1e-4)
    assert after["logit"].shape == (6,)
    assert after["map"].shape == (6, 8, 8)


@pytest.mark.parametrize("name", list(network.KERAS_BACKBONES))
def test_other_backbones_get_the_input_that_keras_gives_them(name):
    import keras

    modules = {"efficientnetv2b0": "efficientnet_v2", "inceptionv3": "inception_v3"}
    module = getattr(keras.applications, modules.get(name, name))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.float32)
    inputs = keras.Input((4, 4, 3))
    ours = keras.Model(inputs, keras.layers.Identity()(network._application_input(name, inputs)))
    np.testing.assert_allclose(
        ours.predict(pixels, verbose=0), np.asarray(module.preprocess_input(pixels.copy())), atol=1e-3
    )


def test_a_backbone_that_is_not_to_be_had_is_named(monkeypatch):
    import keras

    def fail(**settings):
        raise Exception("URL fetch failure")

    with pytest.raises(ModelError, match="'lenet'"):
        network.build("lenet", 64, 0.0)
    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(ModelError, match=r"ImageNet weights of vgg16 .*URL fetch failure"):
        network.build("vgg16", 64, 0.0)
