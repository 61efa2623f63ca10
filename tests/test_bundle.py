from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facefake.bundle import (
    DESCRIPTION,
    KERAS_FILE,
    LITERT_FILE,
    checked_file,
    description_digest,
    read_bundle,
)
from facefake.classifier import Classifier
from facefake.detector import FakeImageDetector
from facefake.errors import ModelError
from facefake.settings import LEAST_FACE, read_settings, settings_of

_MISSING = object()


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def write(folder: Path, field: str, value: Any) -> None:
    """Sets a field, "outer.inner" for a nested one, and the digest, as somebody with bad intent would."""
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
    values["digest"] = description_digest(values)
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
    ways = [
        tiny_network.predict(crops.astype(np.float32), verbose=0)["logit"]
        for crops in (inputs, inputs[:, :, ::-1])
    ]
    np.testing.assert_allclose(test.logits, np.mean(ways, axis=0), atol=1e-5)
    np.testing.assert_array_equal(test.inputs(64)[:, ::2, 1::2], test.patterns)
    assert test.inputs(50).shape == (len(test.patterns), 50, 50, 3)
    assert (bundle.litert_files, bundle.keras_files, bundle.mirror_share) == (
        (LITERT_FILE,),
        (KERAS_FILE,),
        0.5,
    )
    for name in (LITERT_FILE, KERAS_FILE):
        assert checked_file(bundle, name) == (tiny_bundle / name).read_bytes()


def test_a_bundle_of_two_networks_names_both(tiny_pair, tiny_network, tiny_mirror):
    bundle = read_bundle(tiny_pair)
    assert bundle.litert_files == (LITERT_FILE, "mirror.tflite")
    assert bundle.keras_files == (KERAS_FILE, "mirror.keras")
    assert (bundle.mirror_share, bundle.bias) == (0.25, 0.75 * 0.25 - 0.25 * 1)
    inputs = bundle.self_test.inputs(32)
    logits = [
        network.predict(crops.astype(np.float32), verbose=0)["logit"]
        for network, crops in ((tiny_network, inputs), (tiny_mirror, inputs[:, :, ::-1]))
    ]
    expected = np.average(logits, axis=0, weights=[0.75, 0.25])
    np.testing.assert_allclose(bundle.self_test.logits, expected, atol=1e-5)
    for name in (*bundle.litert_files, *bundle.keras_files):
        assert checked_file(bundle, name) == (tiny_pair / name).read_bytes()


@pytest.mark.parametrize("share", [None, True, "1", -0.1, 1.1, math.nan, _MISSING])
def test_two_networks_need_a_share_between_none_and_all(tiny_pair, tmp_path, share):
    pair = Path(shutil.copytree(tiny_pair, tmp_path / "pair"))
    write(pair, "mirror_share", share)
    with pytest.raises(ModelError, match="mirror_share" if share == share else "not finite"):
        read_bundle(pair)


PATTERNS_65 = base64.b64encode(bytes(32 * 32 * 3 * 65)).decode()
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
        ("sha256", {LITERT_FILE: "0" * 64, KERAS_FILE: "0" * 64, "mirror.tflite": "0" * 64}),
        ("self_test.patterns", "no base64!"),
        ("self_test.patterns", ""),
        ("self_test.patterns", base64.b64encode(bytes(32 * 32 * 3 + 1)).decode()),
        ("self_test.patterns", PATTERNS_65),
        ("self_test.logits", ["1", "2", "3", "x"]),
        ("self_test.logits", [10**400] * 4),
        ("self_test.logits", [None] * 4),
        ("self_test.logits", ["nan", 0.5, 0.5, 0.5]),
        ("self_test", {"patterns": "", "logits": [], "tolerance": 0.01}),
        ("self_test", {"patterns": PATTERNS_65, "logits": [0.5] * 65, "tolerance": 0.01}),
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
    ("old", "new", "reason"),
    [
        ('"made": "for tests"', '"made": "for tests", "made": "for others"', "twice"),
        ('"made": "for tests"', '"made": NaN', "not finite"),
        ('"made": "for tests"', '"made": -Infinity', "not finite"),
        ('"made": "for tests"', '"made": 1e999', "not finite"),
        ('"made": "for tests"', f'"made": {10**30}', "31 digits"),
        ('"made": "for tests"', f'"made": {"[" * 30}{"]" * 30}', "levels"),
        ('"made": "for tests"', f'"made": {"[" * 900}{"]" * 900}', "levels"),
        ('"made": "for tests"', '"made": "for others"', "edited"),
        ('"version": "0.1"', '"version": "0.2"', "edited"),
        ('"digest": "', '"digest": "0', "edited"),
        ('"digest"', '"digits"', "digest"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_somebody_else_might_read_differently_is_refused(copy, old, new, reason):
    path = copy / DESCRIPTION
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=rf"{re.escape(str(path))}.*{reason}") as caught:
        read_bundle(copy)
    assert len(str(caught.value)) < 1000


def test_spacing_and_order_are_free(copy, tiny_bundle):
    values = json.loads((copy / DESCRIPTION).read_text())
    (copy / DESCRIPTION).write_text(json.dumps(dict(reversed(values.items()))))
    assert read_bundle(copy).calibration == read_bundle(tiny_bundle).calibration


@pytest.mark.parametrize("change", ["gone", "another"])
def test_settings_are_of_the_description_that_was_read_whatever_becomes_of_its_file(copy, change):
    digest = hashlib.sha256((copy / DESCRIPTION).read_bytes()).hexdigest()
    bundle = read_bundle(copy)
    if change == "gone":
        (copy / DESCRIPTION).unlink()
    else:
        write(copy, "version", "0.2")
    assert settings_of(bundle).bundle == digest[:16]


def test_a_bundle_that_judges_any_face_is_asked_for_no_smaller_ones_than_can_be_found(copy):
    write(copy, "calibration.min_face", 4)
    with FakeImageDetector(copy) as detector:
        assert detector.settings.min_face == LEAST_FACE
        assert detector.settings == read_settings(copy)


def test_no_flipped_bit_of_a_description_goes_unnoticed(copy):
    path = copy / DESCRIPTION
    content = path.read_bytes()
    values = json.loads(content)
    refused = 0
    for place in range(0, len(content), 37):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            read_bundle(copy)
        except ModelError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # one blank for another, or a digit that a float does not hold
            assert json.loads(flipped) == values
    assert refused > 0.9 * len(content) / 37
    for length in range(0, len(content) - 2, 911):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=re.escape(str(path))):
            read_bundle(copy)


@pytest.mark.parametrize("name", [LITERT_FILE, KERAS_FILE])
def test_no_flipped_bit_of_a_network_goes_unnoticed(copy, name):
    bundle, path = read_bundle(copy), copy / name
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(ModelError, match=rf"{re.escape(str(path))}.*damaged"):
            checked_file(bundle, name)
        path.write_bytes(content[:place])
        with pytest.raises(ModelError, match=rf"{re.escape(str(path))}.*damaged"):
            checked_file(bundle, name)


@pytest.mark.parametrize("name", [DESCRIPTION, LITERT_FILE, KERAS_FILE])
@pytest.mark.parametrize(
    "kind", ["link beside", "link outside", "/dev/zero", "FIFO", "folder", "loop", "sparse"]
)
def test_whatever_is_not_a_file_of_its_own_is_refused_at_once(copy, tmp_path, name, kind):
    path = copy / name
    path.rename(tmp_path / "elsewhere")
    if kind == "link beside":
        (tmp_path / "elsewhere").rename(copy / "beside")
        path.symlink_to("beside")
    elif kind == "link outside":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "/dev/zero":
        path.symlink_to("/dev/zero")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(name)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)  # a terabyte that takes no room
    told = "got a symbolic link" if path.is_symlink() else r"got something else|at most .* bytes"
    with pytest.raises(ModelError, match=rf"{re.escape(str(path))}: expected .*({told})"):
        checked_file(read_bundle(copy), name)


@pytest.mark.parametrize("name", ["../" + LITERT_FILE, "/etc/passwd", "other.tflite"])
def test_a_description_cannot_name_other_files(copy, name):
    digests = dict(read_bundle(copy).sha256)
    write(copy, "sha256", digests | {name: "0" * 64})
    with pytest.raises(ModelError, match="expected sha256 to hold one digest each"):
        read_bundle(copy)


def test_a_bundle_may_itself_be_a_link(copy, tmp_path):
    (tmp_path / "link").symlink_to(copy, target_is_directory=True)
    assert read_bundle(tmp_path / "link").name == "tiny"


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
