"""A model bundle: a folder with the network in two formats and all that is known about it, checked when read."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.calibration import Calibration
from facefake.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 2  # format 1 measured sharpness in another way
DESCRIPTION = "bundle.json"
LITERT_FILE, KERAS_FILE = "model.tflite", "model.keras"
# For the network that sees a crop's mirror image, where that is a second one.
MIRROR_LITERT_FILE, MIRROR_KERAS_FILE = "mirror.tflite", "mirror.keras"
ONE_NETWORK_SHARE = 0.5  # weight of the mirror image's score where one network scores it and the crop
_ONE_NETWORK = {LITERT_FILE, KERAS_FILE}
_TWO_NETWORKS = _ONE_NETWORK | {MIRROR_LITERT_FILE, MIRROR_KERAS_FILE}
LEAST_SIDE, LARGEST_SIDE = 32, 1024  # pixels of a network's input
_LARGEST = {DESCRIPTION: 32 << 20, **dict.fromkeys(_TWO_NETWORKS, 1 << 30)}  # bytes
_DEEPEST = 20  # levels of lists and objects in a description; code that writes it out again may recurse
_MOST_DIGITS = 19  # of a whole number, enough for 64 bits
_READ_ONLY = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has all of them
    _READ_ONLY |= getattr(os, _flag, 0)
_SELF_TEST_SIDE = 32
_MOST_SELF_TESTS = 64


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Inputs and the logits that the network gave for them when it was exported.

    Attributes:
        patterns: uint8 (n, 32, 32, 3), RGB; `inputs` enlarges them.
        logits: float64 (n,).
        tolerance: largest deviation of a logit, above 0, that is no sign of damage.
    """

    patterns: NDArray[np.uint8]
    logits: NDArray[np.float64]
    tolerance: float

    def inputs(self, side: int) -> NDArray[np.uint8]:
        """The patterns as network inputs, uint8 (n, side, side, 3), every pixel repeated."""
        at = np.arange(side) * _SELF_TEST_SIDE // side
        return self.patterns[:, at][:, :, at]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "patterns": base64.b64encode(self.patterns.tobytes()).decode("ascii"),
            "logits": [float(logit) for logit in self.logits],
            "tolerance": self.tolerance,
        }


def self_test_patterns(count: int, seed: int) -> NDArray[np.uint8]:
    """Random textures of several scales, uint8 (count, 32, 32, 3), for `SelfTest`."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, _SELF_TEST_SIDE, _SELF_TEST_SIDE, 3))
    for cells in (2, 4, 8, 16, 32):
        repeat = _SELF_TEST_SIDE // cells
        noise = rng.uniform(-1, 1, (count, cells, cells, 3))
        total += noise.repeat(repeat, 1).repeat(repeat, 2) / math.sqrt(cells)
    return np.clip(128 + 90 * total, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """What a bundle's description says.

    Attributes:
        folder: where the files lie.
        name, version: of the model.
        side: side of the network's input, pixels.
        margin: side of a crop as a multiple of the face box's longer side.
        mirror_share: weight, 0 to 1, of the second network's score, that of a crop's mirror image; 0.5 where one
            network scores both.
        bias: the weighted mean of the heads' biases, so that logit = mean(map) + bias.
        calibration: from logits to probabilities, rates and verdicts.
        sha256: of the network files, by file name.
        description_sha256: of the description as it was read.
        self_test: checked when the networks are loaded.
        card: everything else: data, metrics, training settings.
    """

    folder: Path
    name: str
    version: str
    side: int
    margin: float
    mirror_share: float
    bias: float
    calibration: Calibration
    sha256: Mapping[str, str]
    description_sha256: str
    self_test: SelfTest
    card: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Name and version, as results carry them."""
        return f"{self.name} {self.version}"

    @property
    def litert_files(self) -> tuple[str, ...]:
        """LiteRT files: the network that sees a crop, then the one that sees its mirror image, if there are two."""
        return tuple(name for name in (LITERT_FILE, MIRROR_LITERT_FILE) if name in self.sha256)

    @property
    def keras_files(self) -> tuple[str, ...]:
        """The same for Keras."""
        return tuple(name for name in (KERAS_FILE, MIRROR_KERAS_FILE) if name in self.sha256)


def read_bundle(folder: Path) -> Bundle:
    """Read and check a bundle's description.

    Raises:
        ModelError: the file is missing, not a regular file in that folder, too large, not JSON, or not as it was
            written; or a field is missing or out of range.
    """
    path = folder / DESCRIPTION
    try:
        content = _content(folder, DESCRIPTION)
        values = _parsed(content)
    except OSError as error:
        raise ModelError(
            f"expected a model bundle with {DESCRIPTION} in {folder}, got: {error.strerror or error}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: expected JSON, got: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(values).__name__}")
    try:
        found = description_digest(values)
        if _Fields(values).take("digest", str) != found:
            raise ModelError(f"expected the digest {found}, got another: the file is damaged or was edited")
        return _described(folder, _Fields(values), hashlib.sha256(content).hexdigest())
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def description_digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of a JSON-ready description without its field ``digest``; spacing and order do not matter.

    It reveals damage and untested edits. It does not show who wrote the bundle.
    """
    rest = json.loads(json.dumps({name: value for name, value in values.items() if name != "digest"}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def checked_file(bundle: Bundle, name: str) -> bytes:
    """The content of one of a bundle's network files, with its SHA-256 checked.

    Args:
        bundle: as `read_bundle` gives it.
        name: one of its `litert_files` or `keras_files`.

    Raises:
        ModelError: the file is missing, not a regular file in the bundle's folder, too large, or not the one that the
            description names.
    """
    path = bundle.folder / name
    try:
        content = _content(bundle.folder, name)
    except OSError as error:
        raise ModelError(
            f"expected the bundle's network at {path}, got: {error.strerror or error}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != bundle.sha256[name]:
        raise ModelError(
            f"{path}: expected sha256 {bundle.sha256[name]}, got {found}: the file is damaged or was swapped"
        )
    return content


def _content(folder: Path, name: str) -> bytes:
    """A regular file in a bundle's own folder: a link could lead anywhere, and a FIFO or a device might never end."""
    path, largest = folder / name, _LARGEST[name]

    def check(status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            got = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "something else"
            raise ModelError(f"{path}: expected a regular file, got {got}")
        if status.st_size > largest:
            raise ModelError(f"{path}: expected at most {largest:,} bytes, got {status.st_size:,}")

    check(path.lstat())  # since opening a device can itself do harm
    with open(os.open(path, _READ_ONLY), "rb") as file:
        status = os.fstat(file.fileno())
        check(status)  # since the name may have been given to another file meanwhile
        # And no more: Python allocates as much memory as it is asked to read.
        return file.read(status.st_size)


def _parsed(content: bytes) -> Any:
    """Strict JSON: each name once in an object, finite numbers of limited length, limited nesting."""

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(f"the number {text[:40]}, which is not finite")
        return value

    def whole(text: str) -> int:
        if len(text) > _MOST_DIGITS:
            raise ValueError(f"a whole number of {len(text):,} digits")
        return int(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("an object that names a field twice")
        return members

    values = json.loads(
        content, parse_float=number, parse_constant=number, parse_int=whole, object_pairs_hook=once
    )
    level: Iterable[Any] = [values]
    for _ in range(_DEEPEST):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    if level:
        raise ValueError(f"more than {_DEEPEST} levels of nesting")
    return values


class _Fields:
    """Typed access to a description; any fault is a `ModelError` that names the field."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def take(self, name: str, kind: type) -> Any:
        if name not in self._values:
            raise ModelError(f"expected the field {name}, found none")
        value: Any = self._values[name]
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**53 else math.inf
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise ModelError(f"expected {name} to be a finite {kind.__name__}, got {repr(value)[:80]}")
        return value

    def within(self, name: str, kind: type, low: float, high: float) -> Any:
        value = self.take(name, kind)
        if not low <= value <= high:
            raise ModelError(f"expected {name} from {low} to {high}, got {value}")
        return value


def _described(folder: Path, fields: _Fields, description_sha256: str) -> Bundle:
    if fields.take("format", int) != FORMAT:
        raise ModelError(
            f"expected bundle format {FORMAT}, got {fields.take('format', int)}: retrain the model with this version"
        )
    name, version = fields.take("name", str), fields.take("version", str)
    for text in (name, version):
        if not re.fullmatch(r"[\w.+-]{1,60}", text):
            raise ModelError(
                f"expected name and version of letters, digits, dots and dashes, got {text[:80]!r}"
            )
    sha256 = fields.take("sha256", dict)
    if set(sha256) not in (_ONE_NETWORK, _TWO_NETWORKS) or not all(
        isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) for digest in sha256.values()
    ):
        raise ModelError(
            f"expected sha256 to hold one digest each for {LITERT_FILE} and {KERAS_FILE}, or for these and "
            f"{MIRROR_LITERT_FILE} and {MIRROR_KERAS_FILE}"
        )
    return Bundle(
        folder=folder,
        name=name,
        version=version,
        side=fields.within("side", int, LEAST_SIDE, LARGEST_SIDE),
        margin=fields.within("margin", float, 1.0, 3.0),
        mirror_share=(
            fields.within("mirror_share", float, 0.0, 1.0)
            if MIRROR_LITERT_FILE in sha256
            else ONE_NETWORK_SHARE
        ),
        bias=fields.take("bias", float),
        calibration=Calibration.from_dict(fields.take("calibration", dict)),
        sha256=sha256,
        description_sha256=description_sha256,
        self_test=_self_test(_Fields(fields.take("self_test", dict))),
        card=fields.take("card", dict),
    )


def _self_test(fields: _Fields) -> SelfTest:
    try:
        flat = np.frombuffer(base64.b64decode(fields.take("patterns", str), validate=True), np.uint8)
        patterns = flat.reshape(-1, _SELF_TEST_SIDE, _SELF_TEST_SIDE, 3)
        logits = np.array([float(logit) for logit in fields.take("logits", list)], np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(
            f"expected self_test to hold patterns and a number for each, got: {error}"
        ) from error
    if not 1 <= len(patterns) <= _MOST_SELF_TESTS:
        raise ModelError(f"expected self_test to hold 1 to {_MOST_SELF_TESTS} patterns, got {len(patterns)}")
    if logits.shape != (len(patterns),) or not np.isfinite(logits).all():
        raise ModelError(f"expected self_test to hold one finite logit for each of {len(patterns)} patterns")
    return SelfTest(patterns, logits, fields.within("tolerance", float, 1e-6, 0.1))
