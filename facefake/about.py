"""What an installation consists of: the versions of its parts, and what a model's bundle says about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from platform import platform, python_version
from typing import TYPE_CHECKING, Any

from facefake import __version__
from facefake.wording import percent

if TYPE_CHECKING:
    from facefake.bundle import Bundle

# Named here, since the installed package's metadata also lists the tools of its extras for tests and linting.
DEPENDENCIES = (
    "ai-edge-litert",
    "c2pa-python",
    "click",
    "defusedxml",
    "h5py",
    "keras",
    "mediapipe",
    "numpy",
    "opencv-contrib-python",
    "Pillow",
    "pillow-heif",
    "ray",
    "rich",
    "tensorflow",
)
_WORST = 5


def versions() -> dict[str, str]:
    """Name → version of facefake, Python, the system and all dependencies, none of which is imported."""
    found = {"facefake": __version__, "Python": python_version(), "system": platform()}
    for name in DEPENDENCIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe(bundle: Bundle) -> dict[str, Any]:
    """A bundle without its card, JSON-ready: its name, folder, input, thresholds and weaknesses."""
    calibration = asdict(bundle.calibration)
    among = calibration["neighbours"]
    groups = [
        scores
        for whole in (calibration, among)
        if whole
        for scores in (whole, whole["soft"], whole["grainless"])
    ]
    for scores in filter(None, groups):
        del scores["real_scores"], scores["real_probabilities"]
    return {
        "name": bundle.name,
        "version": bundle.version,
        "folder": str(bundle.folder),
        "side": bundle.side,
        "margin": bundle.margin,
        "networks": list(bundle.litert_files),
        "mirror_share": bundle.mirror_share,
        "calibration": calibration,
        "weaknesses": weaknesses(bundle.card),
    }


def weaknesses(card: Mapping[str, Any]) -> list[str]:
    """Where a model fails according to its card, worst first, as clauses without their subject, the model.

    The sources of fakes that it finds least often, and the sources of real faces that it most often calls fake, at
    the bundle's own threshold for a single face, each at the quality where the model does worst. Empty if the card
    does not say.
    """
    metrics = card.get("metrics")
    rows = metrics.get("sources") if isinstance(metrics, Mapping) else None
    measured = [row for row in rows if _is_complete(row)] if isinstance(rows, list) else []
    measured.sort(key=lambda row: row["called_fake"])
    fakes = _one_a_source(row for row in measured if row["label"] == "fake")
    reals = _one_a_source(
        row for row in reversed(measured) if row["label"] == "real" and row["called_fake"] > 0
    )
    return [
        *(f"finds {percent(row['called_fake'])} of the fakes from {_origin(row)}" for row in fakes),
        *(f"calls {percent(row['called_fake'])} of the real faces from {_origin(row)} fake" for row in reals),
    ]


def _one_a_source(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(str(row["source"]), row)
    return list(first.values())[:_WORST]


def _is_complete(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and {"label", "source", "tier", "called_fake"} <= set(row)
        and isinstance(row["called_fake"], (int, float))
    )


def _origin(row: Mapping[str, Any]) -> str:
    return f"{row['source']} ({row['tier']} pictures)"
