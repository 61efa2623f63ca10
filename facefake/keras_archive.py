"""Untrusted `.keras` archives, which are examined before Keras builds anything from them.

Keras's own safe mode refuses code; this also refuses what Keras would accept but no face network needs: layers that
read files, objects that this process happens to have registered, sizes that only a bomb has.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facefake.errors import ModelError, OutputError

_CONFIGURATION, _WEIGHTS = "config.json", "model.weights.h5"
_PARTS = frozenset((_CONFIGURATION, _WEIGHTS, "metadata.json"))
_LARGEST_CONFIGURATION = 16 << 20  # bytes
_DEEPEST = 60  # levels of a configuration; a network in a network in a network has 20
_LARGEST_NUMBER = 8192  # filters, units, pixels: more than any network here has, shipped or trained
_NO_SIZES = frozenset(("seed", "shared_object_id"))
_LARGEST_OUTPUT = 1 << 28  # values that one layer may give for one crop: 1 GiB
_LONGEST_REASON = 300  # characters; Keras quotes whole configurations

# What the networks of `training.network` consist of, and the like: layers that only compute. Keras has others that read
# files (StringLookup), run code (Lambda, TFSMLayer, TorchModuleWrapper) or wrap any of these (TimeDistributed).
_MODULES = ("keras.layers", "keras.initializers", "keras")
_KINDS = frozenset(
    (
        *("InputLayer", "Rescaling", "Normalization", "Reshape", "Flatten", "ZeroPadding2D", "Cropping2D"),
        *("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "Dropout", "SpatialDropout2D"),
        *("BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "Softmax"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Concatenate"),
        *("AveragePooling2D", "MaxPooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
        *("Zeros", "Ones", "GlorotUniform", "VarianceScaling", "DTypePolicy"),
    )
)
_OTHERS = frozenset(
    (
        ("keras.src.models.functional", "Functional"),
        ("keras.src.ops.numpy", "Flip"),
        (None, "__keras_tensor__"),
    )
)


def load_keras(content: bytes, name: str) -> Any:
    """A Keras model from a .keras archive that holds the weights of built-in layers and nothing else.

    Args:
        content: the archive.
        name: what to call it in an error.

    Raises:
        ModelError: it is not such an archive, holds a layer that no network of facefake has (such as a Lambda), a
            custom object or another file, is damaged, or asks for far more memory than its own size.
        OutputError: a copy of it cannot be written to the folder of temporary files.
    """
    import keras

    try:
        _check_archive(content)
        with tempfile.TemporaryDirectory() as folder:  # Keras wants a file name, and may unpack beside it
            copy = Path(folder, "model.keras")
            try:
                copy.write_bytes(content)
            except OSError as error:
                raise OutputError(
                    f"{copy}: expected a file that can be written, got: {error.strerror or error}"
                ) from error
            model = keras.saving.load_model(copy, compile=False, safe_mode=True)
        _check_outputs(model)
        return model
    except OutputError:  # no fault of the archive's
        raise
    except Exception as error:  # Keras raises whatever its layers do on damaged or unsafe archives
        reason = str(error) or type(error).__name__
        if len(reason) > _LONGEST_REASON:
            reason = reason[:_LONGEST_REASON] + "…"
        raise ModelError(f"{name}: expected a .keras archive of built-in layers, got: {reason}") from error


def _check_archive(content: bytes) -> None:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("another kind of file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if sorted(part.filename for part in parts) != sorted(_PARTS):
            names = ", ".join(repr(part.filename[:80]) for part in parts[:10])
            raise ValueError(f"an archive of {len(parts)} files: {names}")
        for part in parts:  # Keras stores them as they are, so that none can be larger than the archive
            if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
                raise ValueError(
                    f"{part.filename} compressed to {part.compress_size:,} of {part.file_size:,} bytes"
                )
        if archive.getinfo(_CONFIGURATION).file_size > _LARGEST_CONFIGURATION:
            raise ValueError(f"a {_CONFIGURATION} of {archive.getinfo(_CONFIGURATION).file_size:,} bytes")
        configuration = json.loads(archive.read(_CONFIGURATION))
        if isinstance(configuration, dict):
            configuration.pop("compile_config", None)  # is not used
        _check_configuration(configuration)
        _check_weights(archive.read(_WEIGHTS))


def _check_configuration(configuration: Any) -> None:
    for key, value in _members(configuration):
        if isinstance(value, dict) and "class_name" in value:
            kind = (value.get("module"), value["class_name"])
            if kind not in _OTHERS and not (kind[0] in _MODULES and kind[1] in _KINDS):
                raise ValueError(f"a {str(kind[1])[:80]} of {str(kind[0])[:80]}")
        elif isinstance(value, str) and ">" in value:
            # "package>name": Keras would take what this process registered under that name.
            raise ValueError(f"the custom object {value[:80]}")
        elif key == "inbound_nodes" and isinstance(value, list) and len(value) > 1:
            # For such a layer Keras reports only the outputs of its first use.
            raise ValueError("a layer that is used more than once")
        elif key not in _NO_SIZES and isinstance(value, (int, float)) and not abs(value) <= _LARGEST_NUMBER:
            raise ValueError(f"{str(key)[:80]} {str(value)[:40]}, above {_LARGEST_NUMBER:,}")


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    """All values in a configuration with their names, those in lists with the list's."""
    level: list[tuple[Any, Any]] = [("", value)]
    for _ in range(_DEEPEST):
        yield from level
        level = [
            child
            for key, parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.items() if isinstance(parent, dict) else [(key, item) for item in parent])
        ]
    if level:
        raise ValueError(f"a configuration of more than {_DEEPEST} levels")


def _check_weights(content: bytes) -> None:
    """Keras stores weights as they are; a dataset that is larger than its file is a bomb, or lies elsewhere."""
    import h5py

    declared = 0

    def add(name: str, item: Any) -> None:
        nonlocal declared
        if isinstance(item, h5py.Dataset):
            declared += item.nbytes

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(add)
    if declared > len(content):
        raise ValueError(f"weights of {declared:,} bytes in a file of {len(content):,}")


def _check_outputs(model: Any, nested: bool = False) -> None:
    import keras

    # A backbone takes pictures of any size, which its user chooses. Nested in a network, it may leave no size open.
    untold = not nested and any(None in tuple(each.shape)[1:] for each in model.inputs)
    for layer in model.layers:
        if hasattr(layer, "layers"):  # a network within the network
            _check_outputs(layer, nested=True)
        for output in keras.tree.flatten(layer.output):
            sides = tuple(output.shape)[1:]
            if (None in sides and not untold) or math.prod(side or 1 for side in sides) > _LARGEST_OUTPUT:
                raise ValueError(f"a layer that gives {tuple(output.shape)}")
