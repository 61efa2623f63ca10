from __future__ import annotations

import errno
import io
import json
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facefake.bundle import KERAS_FILE
from facefake.errors import ModelError, OutputError
from facefake.keras_archive import _check_configuration, load_keras
from facefake.training import network

PARTS = ("metadata.json", "config.json", "model.weights.h5")


def saved(model: Any, folder: Path) -> bytes:
    model.save(folder / "stranger.keras")
    return (folder / "stranger.keras").read_bytes()


def around(layer: Any) -> Any:
    import keras

    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layer(inputs))


def refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"^stranger: expected a \.keras archive.*{reason}") as caught:
        load_keras(content, "stranger")
    assert len(str(caught.value)) < 500


@pytest.fixture(scope="module")
def whole(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / KERAS_FILE).read_bytes()


def opened(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, content in parts:
            archive.writestr(name, content)
    return stream.getvalue()


def with_part(content: bytes, name: str, part: bytes) -> bytes:
    return packed(list((opened(content) | {name: part}).items()))


def with_configuration(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    configuration = json.loads(opened(content)["config.json"])
    change(configuration)
    return with_part(content, "config.json", json.dumps(configuration).encode())


def layer(configuration: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(layer for layer in configuration["config"]["layers"] if layer["class_name"] == kind)


def with_weights(content: bytes, change: Callable[[Any], object], tmp_path: Path) -> bytes:
    import h5py

    path = tmp_path / "weights.h5"
    path.write_bytes(opened(content)["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        change(file)
    return with_part(content, "model.weights.h5", path.read_bytes())


@pytest.mark.parametrize("name", network.BACKBONES)
def test_every_network_that_can_be_trained_is_of_known_parts(name, monkeypatch):
    import keras

    for application in network.KERAS_BACKBONES.values():  # without looking for weights
        plain = getattr(keras.applications, application)
        monkeypatch.setattr(
            keras.applications,
            application,
            lambda plain=plain, **options: plain(**options | {"weights": None}),
        )
    configuration = json.loads(network.build(name, 96, 0.1).to_json())
    assert len(configuration["config"]["layers"]) > 5
    _check_configuration(configuration)


def test_what_says_nothing_of_its_fault_is_told_by_its_kind(whole, monkeypatch):
    import keras

    def silent(*args: Any, **options: Any) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(keras.saving, "load_model", silent)
    refused(whole, "NotImplementedError$")


def test_weights_come_back_as_they_were(tiny_network, whole):
    for before, after in zip(tiny_network.get_weights(), load_keras(whole, "own").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_where_no_copy_can_be_made_the_archive_is_not_blamed(whole, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OutputError, match=r"model\.keras: expected a file that can be written, got: No space"
    ):
        load_keras(whole, "stranger")


def test_a_compiled_network_is_taken_without_what_it_was_compiled_with(tiny_network, tmp_path):
    import keras

    model = keras.models.clone_model(tiny_network)
    model.compile("adamw", {"logit": "binary_crossentropy"})
    assert not load_keras(saved(model, tmp_path), "own").compiled


def test_a_lambda_layer_is_refused(tmp_path):
    import keras

    doubling = keras.layers.Lambda(lambda x: x * 2, output_shape=(32, 32, 3))
    refused(saved(around(doubling), tmp_path), "a Lambda of keras.layers")


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

    inputs = keras.Input((32, 32, 3))
    strange = {
        "layer": around(Doubling()),
        "activation": around(keras.layers.Activation(doubled)),
        "nested": keras.Model(inputs, around(Doubling())(inputs)),
    }
    names = {"layer": "a Doubling of ", "activation": "a function of ", "nested": "a Doubling of "}
    refused(saved(strange[part], tmp_path), names[part])


def test_a_registered_name_in_the_place_of_a_built_in_one_is_refused(whole):
    def disguise(configuration: dict[str, Any]) -> None:
        layer(configuration, "Conv2D")["config"]["activation"] = "strange>doubled"

    refused(with_configuration(whole, disguise), "the custom object strange>doubled")


@pytest.mark.parametrize(
    ("module", "kind", "settings"),
    [
        ("keras.layers", "TFSMLayer", {"filepath": "/tmp/evil", "call_endpoint": "serve"}),
        ("keras.layers", "TorchModuleWrapper", {"module": "gASVAA=="}),
        ("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        ("keras.utils", "get_file", {"fname": "x", "origin": "file:///etc/passwd"}),
        ("os", "system", {"command": "touch owned"}),
        ("keras.src.saving.saving_lib", "Model", {}),
        (None, "__lambda__", {"value": "4wEAAAA="}),
        (None, "Conv2D", {}),
    ],
)
def test_a_layer_that_could_do_more_than_compute_is_refused(whole, module, kind, settings):
    def swap(configuration: dict[str, Any]) -> None:
        layer(configuration, "Conv2D").update(module=module, class_name=kind, config=settings)

    refused(with_configuration(whole, swap), f"a {kind} of {module}")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("Dense", "units", 10**9),
        ("Dense", "units", 1e9),
        ("Dense", "units", 8193),
        ("Dense", "units", -(10**9)),
        ("Dense", "units", float("nan")),
        ("Conv2D", "kernel_size", [10**6, 10**6]),
    ],
)
def test_a_bomb_of_weights_is_refused_before_it_is_built(whole, kind, name, value):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    change = with_configuration(whole, lambda c: layer(c, kind)["config"].update({name: value}))
    refused(change, rf"{name} \S+, above 8,192$")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_seed_of_any_size_is_no_bomb(whole):
    def sow(configuration: dict[str, Any]) -> None:
        layer(configuration, "Conv2D")["config"]["kernel_initializer"]["config"]["seed"] = 10**9

    assert load_keras(with_configuration(whole, sow), "own").count_params() > 0


def test_a_bomb_of_outputs_is_refused_before_it_computes(tmp_path):
    import keras

    refused(saved(around(keras.layers.ZeroPadding2D(8000)), tmp_path), "a layer that gives")


def bomb(inputs: Any, padding: Any) -> Any:
    """A network whose every configured number is small, and whose output is, too."""
    import keras

    large = keras.layers.Conv2D(64, 1)(padding(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(large))


@pytest.mark.parametrize("side", [32, None])
def test_a_bomb_of_outputs_within_a_nested_network_is_refused(side, tmp_path):
    import keras

    inner = bomb(keras.Input((side, side, 3)), keras.layers.ZeroPadding2D(2000))
    refused(saved(around(inner), tmp_path), "a layer that gives")


def test_a_layer_that_is_used_again_is_refused(tmp_path):
    import keras

    padding = keras.layers.ZeroPadding2D(900)
    network = bomb(keras.Input((32, 32, 3)), lambda inputs: padding(padding(inputs)))
    refused(saved(network, tmp_path), "a layer that is used more than once")


@pytest.mark.parametrize(
    ("levels", "reason"),
    [(61, "of more than 60 levels$"), (900, "of more than 60 levels$"), (100_000, "recursion")],
)
def test_a_configuration_without_end_is_refused(whole, levels, reason):
    refused(with_part(whole, "config.json", b"[" * levels + b"]" * levels), reason)


def test_a_configuration_of_many_bytes_is_refused_before_it_is_read(whole):
    refused(with_part(whole, "config.json", b" " * ((16 << 20) + 1)), r"a config\.json of 16,777,217 bytes$")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"1" * 5000])
def test_a_configuration_of_another_kind_is_refused(whole, content):
    refused(with_part(whole, "config.json", content), "")


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "/tmp/absolute.txt", "assets/x.txt", "model.weights.npz", "run.pkl", "__main__.py"],
)
def test_any_other_file_in_the_archive_is_refused(whole, name):
    refused(packed([*opened(whole).items(), (name, b"payload")]), "an archive of 4 files")


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_or_repeated_file_is_refused(whole, name):
    parts = opened(whole)
    refused(packed([part for part in parts.items() if part[0] != name]), "an archive of 2 files")
    refused(packed([*parts.items(), (name, parts[name])]), "an archive of 4 files")


def test_weights_of_another_format_are_refused(whole):
    stream = io.BytesIO()
    np.savez(stream, weights=np.array([print], dtype=object), allow_pickle=True)
    parts = opened(whole)
    del parts["model.weights.h5"]
    refused(packed([*parts.items(), ("model.weights.npz", stream.getvalue())]), "an archive of 3 files")
    refused(with_part(whole, "model.weights.h5", stream.getvalue()), "")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(whole):
    parts = opened(whole) | {"model.weights.h5": bytes(200_000_000)}
    bomb = packed(list(parts.items()), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(bomb, "compressed to")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def _bomb(file: Any) -> None:
    file.create_dataset("bomb", shape=(10**10,), dtype="f4", compression="gzip", chunks=(10**6,))


def _outside(file: Any) -> None:
    shape, size = file["layers/conv2d/vars/0"].shape, file["layers/conv2d/vars/0"].nbytes
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", shape, "f4", external=[("/etc/passwd", 0, size)])


def _link_outside(file: Any) -> None:
    import h5py

    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("/tmp/other.h5", "weights")


def _without(file: Any) -> None:
    del file["layers/conv2d/vars/0"]


def _of_another_shape(file: Any) -> None:
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = np.zeros((1, 2, 3), np.float32)


@pytest.mark.parametrize("change", [_bomb, _outside, _link_outside, _without, _of_another_shape])
def test_weights_that_lie_elsewhere_or_do_not_fit_are_refused(whole, change, tmp_path):
    refused(with_weights(whole, change, tmp_path), "")


def test_the_refused_ones_are_whole_but_for_their_fault(whole, tmp_path):
    """Or each of the tests above could pass for another reason than its own."""
    for content in (
        packed(list(opened(whole).items())),
        with_configuration(whole, lambda configuration: None),
        with_weights(whole, lambda file: None, tmp_path),
    ):
        assert load_keras(content, "own").count_params() > 0
