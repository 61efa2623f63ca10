"""Writes a bundle: the networks for LiteRT and for Keras, and the description that binds them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from facefake.bundle import (
    DESCRIPTION,
    FORMAT,
    KERAS_FILE,
    LITERT_FILE,
    MIRROR_KERAS_FILE,
    MIRROR_LITERT_FILE,
    SelfTest,
    description_digest,
    read_bundle,
    self_test_patterns,
)
from facefake.classifier import LiteRTNetworks, Scores, both_ways, run_keras
from facefake.errors import ModelError, OutputError
from facefake.native import quiet
from facefake.training.files import write_text

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from facefake.bundle import Bundle
    from facefake.calibration import Calibration

Precision = Literal["float32", "float16", "int8"]

_FILES = ((KERAS_FILE, LITERT_FILE), (MIRROR_KERAS_FILE, MIRROR_LITERT_FILE))
_SELF_TESTS = 4
# Logits, between runtimes and processors: 0.005 in probability; more where coarse weights alone use up half of it.
_TOLERANCE = 0.02
_LARGEST_TOLERANCE = 0.1


def write_networks(networks: Sequence[keras.Model], folder: Path) -> None:
    """Write ``model.keras`` and ``model.tflite``, and for two networks also ``mirror.keras`` and ``mirror.tflite``.

    Args:
        networks: one or two, as `network.build` makes them: the first sees a face's crop, the last its mirror image.
        folder: is created if necessary.

    Raises:
        ModelError: Keras does not run on TensorFlow, the only backend that can export.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"expected Keras on TensorFlow for the export, got {keras.backend.backend()}")
    folder.mkdir(parents=True, exist_ok=True)
    for network, (for_keras, for_litert) in zip(networks, _FILES, strict=False):
        network.save(folder / for_keras)
        (folder / for_litert).write_bytes(convert(network))
    for name in (name for files in _FILES[len(networks) :] for name in files):
        (folder / name).unlink(missing_ok=True)  # of an earlier run


def convert(
    network: keras.Model, precision: Precision = "float32", examples: NDArray[np.uint8] | None = None
) -> bytes:
    """The network as a LiteRT file from ``crops`` float32 (1, side, side, 3) to ``logit`` and ``map``.

    Args:
        network: as `network.build` makes it.
        precision: of the weights; bundles have "float32", for reasons that tests/benchmarks/precision.py measures.
            "float16" computes in float32; "int8" computes the convolutions in int8, with ranges taken from `examples`.
        examples: uint8 (n, side, side, 3), RGB, typical crops; only for "int8".

    Raises:
        OutputError: TensorFlow's copy of the network cannot be written to the temporary folder.
        ValueError: "int8" without examples.
    """
    import keras

    with quiet():
        import tensorflow as tf

    side = int(network.input_shape[1])
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serve",
        lambda crops: network(crops, training=False),
        input_signature=[tf.TensorSpec((1, side, side, 3), tf.float32, name="crops")],
    )
    # The converter prints the signatures to standard output, and messages to standard error.
    with tempfile.TemporaryDirectory() as saved, contextlib.redirect_stdout(io.StringIO()), quiet():
        try:
            archive.write_out(saved, verbose=False)
        except tf.errors.OpError as error:
            raise OutputError(
                f"{saved}: expected a folder that can be written to, got: {error.message}"
            ) from error
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["serve"])
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            if examples is None:
                raise ValueError("expected example crops for int8, got none")
            converter.representative_dataset = lambda: (
                {"crops": crop[None].astype(np.float32)} for crop in examples
            )
        content: bytes = converter.convert()
    return content


def write_description(
    folder: Path,
    *,
    name: str,
    version: str,
    margin: float,
    networks: Sequence[keras.Model],
    mirror_share: float,
    calibration: Calibration,
    card: dict[str, Any],
) -> Bundle:
    """Write ``bundle.json`` for the networks in a folder, self-test included, and read it back.

    Args:
        folder: where `write_networks` wrote.
        name, version: letters, digits, dots, dashes.
        margin: the crop margin.
        networks: what was written.
        mirror_share: weight of the last one's scores, those of mirror images, 0 to 1.
        calibration: what was measured.
        card: JSON-ready: data, metrics, recipe.

    Raises:
        ModelError: one of these is out of range, or the files for Keras and for LiteRT do not agree.
    """
    side = int(networks[0].input_shape[1])
    files = _FILES[: len(networks)]
    test = SelfTest(self_test_patterns(_SELF_TESTS, seed=0), np.zeros(_SELF_TESTS), _TOLERANCE)

    def run(crops: NDArray[np.uint8], mirrored: NDArray[np.uint8]) -> tuple[Scores, Scores]:
        return run_keras(networks[0], crops), run_keras(networks[-1], mirrored)

    logits = both_ways(run, test.inputs(side), mirror_share).logits.astype(np.float64)
    litert = LiteRTNetworks(litert_contents(folder), side, 1, mirror_share)
    apart = float(np.abs(litert.predict(test.inputs(side)).logits - logits).max())
    if not apart <= _LARGEST_TOLERANCE / 2:
        raise ModelError(
            f"{folder}: expected LiteRT's logits within {_LARGEST_TOLERANCE / 2} of Keras's, got a difference of "
            f"{apart:.4g}: the LiteRT files need a finer precision"
        )
    tolerance = max(_TOLERANCE, 2 * apart)
    biases = [network.get_layer("bias").get_weights()[1][0] for network in networks]
    description = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "side": side,
        "margin": margin,
        "preprocessing": "uint8 RGB as float32, 0 to 255; the network scales by itself; scores are weighted means over "
        "a crop and its mirror image",
        "classes": {"fake": "logit above 0", "real": "logit below 0"},
        **({"mirror_share": mirror_share} if len(networks) > 1 else {}),
        "bias": float((1 - mirror_share) * biases[0] + mirror_share * biases[-1]),
        "calibration": calibration.to_dict(),
        "sha256": {
            file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for pair in files for file in pair
        },
        "self_test": SelfTest(test.patterns, logits, tolerance).to_dict(),
        "card": card,
    }
    description["digest"] = description_digest(description)
    write_text(folder / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    return read_bundle(folder)


def move_bundle(made: Path, folder: Path) -> Bundle:
    """Move a bundle into a folder, in place of any that is there, and read it back."""
    for name in (*(name for pair in _FILES for name in pair), DESCRIPTION):
        if (made / name).exists():
            os.replace(made / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(made)
    return read_bundle(folder)


def litert_contents(folder: Path) -> dict[str, bytes]:
    """The LiteRT files that `write_networks` wrote, by their paths, as `LiteRTNetworks` takes them."""
    paths = [folder / name for _, name in _FILES]
    return {str(path): path.read_bytes() for path in paths if path.exists()}
