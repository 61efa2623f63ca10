from __future__ import annotations

import numpy as np
import pytest

from facefake.bundle import DESCRIPTION, LITERT_FILE, read_bundle
from facefake.classifier import Classifier, LiteRTNetworks
from facefake.errors import ModelError, OutputError
from facefake.training.export import convert, write_description, write_networks


@pytest.fixture(scope="module")
def crops():
    coarse = np.random.default_rng(4).integers(0, 256, (16, 8, 8, 3))
    return coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)


@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-4), ("float16", 0.01), ("int8", 0.05)])
def test_every_precision_stays_close_to_keras(tiny_network, crops, precision, apart):
    content = convert(tiny_network, precision, crops)
    found = LiteRTNetworks({"tiny": content}, 32, 1).predict(crops)
    ways = [tiny_network.predict(given.astype(np.float32), verbose=0) for given in (crops, crops[:, :, ::-1])]
    logits, means = (
        np.mean([way["logit"] for way in ways], 0),
        np.mean([way["map"].mean((1, 2)) for way in ways], 0),
    )
    assert np.ptp(logits) > 4 * apart  # or a constant would pass
    np.testing.assert_allclose(found.logits, logits, atol=apart)
    np.testing.assert_allclose(found.maps.mean((1, 2)), means, atol=apart)


def test_no_room_for_temporary_files_is_told(tiny_network, monkeypatch):
    import keras
    import tensorflow as tf

    def full(*rest, **more):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    # The class makes objects of another one.
    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", full)
    with pytest.raises(OutputError, match="expected a folder that can be written to, got: No space left"):
        convert(tiny_network)


def test_int8_needs_examples(tiny_network):
    with pytest.raises(ValueError, match="example crops"):
        convert(tiny_network, "int8")


def describe(folder, networks, bundle, name="tiny"):
    return write_description(
        folder,
        name=name,
        version="2",
        margin=1.25,
        networks=networks,
        mirror_share=0.5,
        calibration=bundle.calibration,
        card={},
    )


def test_a_coarser_bundle_loads_in_both_runtimes(tiny_network, tiny_bundle, tmp_path):
    write_networks([tiny_network], tmp_path)
    (tmp_path / LITERT_FILE).write_bytes(convert(tiny_network, "float16"))
    describe(tmp_path, [tiny_network], read_bundle(tiny_bundle))
    for runtime in ("litert", "keras"):
        assert Classifier(tmp_path, runtime).bundle.label == "tiny 2"
    assert not list(tmp_path.glob("*.partial"))


def test_a_second_network_is_written_and_goes_with_the_next_export(
    tiny_network, tiny_mirror, tiny_bundle, tmp_path
):
    write_networks([tiny_network, tiny_mirror], tmp_path)
    describe(tmp_path, [tiny_network, tiny_mirror], read_bundle(tiny_bundle))
    assert len(list(tmp_path.iterdir())) == 5
    assert Classifier(tmp_path).bundle.litert_files == ("model.tflite", "mirror.tflite")
    write_networks([tiny_mirror], tmp_path)
    describe(tmp_path, [tiny_mirror], read_bundle(tiny_bundle))
    assert len(list(tmp_path.iterdir())) == 3
    assert Classifier(tmp_path, "keras").bundle.bias == -1


def test_networks_that_disagree_are_not_described(tiny_network, tiny_bundle, tmp_path):
    import keras

    other = keras.models.clone_model(tiny_network)
    other.set_weights([weights * 1.1 for weights in tiny_network.get_weights()])
    write_networks([other], tmp_path)
    with pytest.raises(ModelError, match=r"expected LiteRT's logits within .* of Keras's"):
        describe(tmp_path, [tiny_network], read_bundle(tiny_bundle))
    assert not (tmp_path / DESCRIPTION).exists()


def test_a_name_that_no_bundle_may_have_is_refused(tiny_network, tiny_bundle, tmp_path):
    write_networks([tiny_network], tmp_path)
    with pytest.raises(ModelError, match="letters, digits"):
        describe(tmp_path, [tiny_network], read_bundle(tiny_bundle), name="my model")
