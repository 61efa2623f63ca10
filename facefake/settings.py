"""How a scan judges, and what a picture may cost it; records carry the former, so that no file mixes different settings."""

from __future__ import annotations

import math
import numbers
import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facefake.bundle import Bundle

MAX_FACES = 1000
"""How many faces of a picture are judged by default: half a minute's work."""

LEAST_FACE = 8
"""The smallest face that may be looked for, in pixels: anything smaller is not a face to any model."""

TIMEOUT = 120.0
"""How long one picture may take by default, in seconds."""

LONGEST_TIMEOUT = 1_000_000
"""The largest `timeout`, in seconds: eleven days, far below where the system's clocks overflow."""

WORKER_MEMORY = 4 << 30
"""How much memory a worker process may use by default, in bytes, models included; the largest pictures take two thirds."""

MOST_WORKER_MEMORY = 1 << 50
"""The largest `worker_memory`, in bytes: more than any machine has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are judged.

    Attributes:
        bundle: the first 16 hexadecimal digits of the SHA-256 of the model bundle's description, which holds the
            calibration, and the digests of the networks.
        runtime: "litert" or "keras".
        alarm_rate: largest false-alarm rate at which a picture is called fake.
        min_face: smallest face that is looked for, in pixels.
        max_faces: the most faces of a picture that are judged, the largest first.
    """

    bundle: str
    runtime: str
    alarm_rate: float
    min_face: float
    max_faces: int


def settings_of(
    bundle: Bundle,
    *,
    runtime: str = "litert",
    alarm_rate: float | None = None,
    min_face: float | None = None,
    max_faces: int = MAX_FACES,
) -> Settings:
    """The settings of a detector with this bundle; None stands for the bundle's own value.

    Raises:
        TypeError, ValueError: one has the wrong type, or is out of range.
    """
    return Settings(
        bundle=bundle.description_sha256[:16],
        runtime=runtime,
        alarm_rate=bundle.calibration.alarm_rate if alarm_rate is None else checked_rate(alarm_rate),
        min_face=(
            float(max(LEAST_FACE, bundle.calibration.min_face))
            if min_face is None
            else checked_min_face(min_face)
        ),
        max_faces=whole_number("max_faces", max_faces),
    )


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """An argument that must be a whole number, at least `least`; NumPy's are accepted, too.

    Raises:
        TypeError, ValueError: it is not one, or is below that.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:  # an array has an __index__, too, but only that of one whole number works
        number = None
    if number is None:
        raise TypeError(f"expected {name} to be a whole number, got {value!r}")
    if number < least:
        raise ValueError(f"expected {name} to be at least {least}, got {value!r}")
    return number


def real_number(name: str, value: object) -> float:
    """An argument that must be a number; NumPy's are accepted, too, of any precision.

    Raises:
        TypeError: it is not one.
        ValueError: it is a whole number or a fraction too large for a float.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"expected {name} to be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"expected {name} to be a number that fits a float, got a larger one") from error


def checked_rate(alarm_rate: object) -> float:
    """The largest false-alarm rate at which a picture is called fake, once checked.

    Raises:
        TypeError, ValueError: it is not a number, or not between 0 and 1.
    """
    rate = real_number("alarm_rate", alarm_rate)
    if not 0 < rate < 1:
        raise ValueError(f"expected alarm_rate to be between 0 and 1, got {alarm_rate!r}")
    return rate


def checked_min_face(min_face: object) -> float:
    """The smallest face to look for, in pixels, once checked.

    Raises:
        TypeError, ValueError: it is not a number, not finite, or below `LEAST_FACE`.
    """
    side = real_number("min_face", min_face)
    if not LEAST_FACE <= side < math.inf:
        raise ValueError(f"expected min_face to be at least {LEAST_FACE} pixels, got {min_face!r}")
    return side


def check_limits(limits: object) -> None:
    """Raise an error unless these are limits for pictures.

    Raises:
        TypeError: they are neither `ImageLimits` nor None, which stands for the default ones.
    """
    from facefake.reading import ImageLimits

    if limits is not None and not isinstance(limits, ImageLimits):
        raise TypeError(f"expected limits to be ImageLimits or None, got {limits!r}")


def check_sampling(sampling: object) -> None:
    """Raise an error unless this says which frames of videos are looked at.

    Raises:
        TypeError: it is neither a `Sampling` nor None, which stands for the default one.
    """
    from facefake.frames import Sampling

    if sampling is not None and not isinstance(sampling, Sampling):
        raise TypeError(f"expected sampling to be facefake.frames.Sampling or None, got {sampling!r}")


def read_settings(model: str | bytes | os.PathLike[str] | None, **chosen: Any) -> Settings:
    """The settings that a detector made with these arguments would have; no network is loaded.

    Raises:
        ModelError: the bundle is missing or damaged.
        TypeError, ValueError: as `settings_of` does.
    """
    from facefake.bundle import read_bundle
    from facefake.classifier import DEFAULT_BUNDLE
    from facefake.paths import models_folder

    folder = models_folder() / DEFAULT_BUNDLE if model is None else Path(os.fsdecode(model))
    return settings_of(read_bundle(folder), **chosen)
