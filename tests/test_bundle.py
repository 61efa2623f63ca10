from __future__ import annotations

import base64
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facefake.bundle import DESCRIPTION, KERAS_FILE, LITERT_FILE, checked_file, read_bundle
from facefake.classifier import Classifier
from facefake.errors import ModelError

_MISSING = object()


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def write(folder: Path, field: str, value: Any) -> None:
    """Sets a field, "outer.inner" for a nested one."""
    path = folder / DESCRIPTION
    values = json.loads(path.read_text())
    *outer, last = field.split(".")
    inside = values
    for name in outer:
        inside = inside[name]
    if value is _MISSING:
        del inside[last]
    else:
        inside[last] = value
    path.write_text(json.dumps(values))


def test_a_bundle_says_what_was_written(tiny_bundle, tiny_network):
    bundle = read_bundle(tiny_bundle)
    assert (bundle.name, bundle.version, bundle.side, bundle.margin) == ("tiny", "0.1", 32, 1.25)
    assert bundle.bias == 0.25
    assert bundle.card == {"made": "for tests"}
    assert bundle.calibration.real_count == 500
    test = bundle.self_test
    inputs = test.inputs(32)
    np.testing.assert_array_equal(inputs, test.patterns)
    logits = tiny_network.predict(inputs.astype(np.float32), verbose=0)["logit"]
    np.testing.assert_allclose(test.logits, logits, atol=1e-5)
    np.testing.assert_array_equal(test.inputs(64)[:, ::2, 1::2], test.patterns)
    assert test.inputs(50).shape == (len(test.patterns), 50, 50, 3)
    for name in (LITERT_FILE, KERAS_FILE):
        assert checked_file(bundle, name) == (tiny_bundle / name).read_bytes()


FIELDS = [
    *("format", "name", "version", "side", "margin", "bias", "sha256", "card"),
    *("calibration", "calibration.temperature", "calibration.real_scores", "calibration.real_count"),
    *("self_test", "self_test.patterns", "self_test.logits", "self_test.tolerance"),
]
VALUES = [
    None,
    True,
    "1",
    "NaN",
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1,
    10**400,
    [],
    {},
    [math.nan],
    [[1]],
    _MISSING,
]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_a_wrong_field_is_a_model_error_that_names_the_file(copy, field, value):
    accepted = {  # what is no fault
        ("card", "{}"): {},
        ("name", "'1'"): "1",
        ("name", "'NaN'"): "NaN",
        ("version", "'1'"): "1",
        ("version", "'NaN'"): "NaN",
        ("bias", "-1"): -1,
        ("bias", "1e+308"): 1e308,
        ("calibration.temperature", "1e+308"): 1e308,
    }
    write(copy, field, value)
    if (field, repr(value)) in accepted:
        read_bundle(copy)
        return
    with pytest.raises(ModelError, match=re.escape(str(copy / DESCRIPTION))):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        ("version", ""),
        ("side", 31),
        ("side", 4096),
        ("margin", 0.5),
        ("sha256", {LITERT_FILE: "0" * 64}),
        ("sha256", {LITERT_FILE: "0" * 64, KERAS_FILE: "x"}),
        ("sha256", {LITERT_FILE: "0" * 64, KERAS_FILE: 0}),
        ("self_test.patterns", "no base64!"),
        ("self_test.patterns", ""),
        ("self_test.patterns", base64.b64encode(bytes(32 * 32 * 3 + 1)).decode()),
        ("self_test.patterns", base64.b64encode(bytes(32 * 32 * 3 * 65)).decode()),
        ("self_test.logits", ["1", "2", "3", "x"]),
        ("self_test.logits", [10**400] * 4),
        ("self_test.logits", [None] * 4),
        ("calibration.real_scores", [10**400]),
        ("calibration.tail", {}),
        ("calibration.tail", {"threshold": 10**400, "scale": 1, "shape": 0, "exceedance": 0.1}),
    ],
)
def test_a_value_out_of_range_is_refused(copy, field, value):
    write(copy, field, value)
    with pytest.raises(ModelError, match=re.escape(str(copy / DESCRIPTION))):
        read_bundle(copy)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"{}", b" " * (5 << 20)]
)
def test_a_file_that_is_no_description_is_refused(copy, content):
    (copy / DESCRIPTION).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(str(copy / DESCRIPTION))):
        read_bundle(copy)


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(ModelError, match=re.escape(str(tmp_path))):
        read_bundle(tmp_path)
    with pytest.raises(ModelError, match="nowhere"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_a_changed_self_test_is_noticed(copy, runtime):
    logits = read_bundle(copy).self_test.logits
    write(copy, "self_test.logits", [*logits[:-1], logits[-1] + 0.05])
    with pytest.raises(ModelError, match=f"{re.escape(str(copy))}.*self-test.*{runtime}"):
        Classifier(copy, runtime)
