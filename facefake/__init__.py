"""Finds every face in a picture and tells which are real and which are fake.

>>> from facefake import FakeImageDetector
>>> is_fake, confidence = FakeImageDetector().detect_fake_image("photo.jpg")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facefake.detector import FakeImageDetector
    from facefake.errors import FaceFakeError, ImageError, ModelError
    from facefake.reading import ImageLimits
    from facefake.results import ErrorResult, FaceResult, ImageResult
    from facefake.scanning import scan

_HOMES = {
    "FakeImageDetector": "detector",
    "FaceFakeError": "errors",
    "ImageError": "errors",
    "ModelError": "errors",
    "ImageLimits": "reading",
    "ErrorResult": "results",
    "FaceResult": "results",
    "ImageResult": "results",
    "scan": "scanning",
}

__all__ = [
    "ErrorResult",
    "FaceFakeError",
    "FaceResult",
    "FakeImageDetector",
    "ImageError",
    "ImageLimits",
    "ImageResult",
    "ModelError",
    "scan",
]
__version__ = "0.1.0"


if not TYPE_CHECKING:  # otherwise type checkers would accept any name as one of this module's

    def __getattr__(name: str) -> Any:
        # Names are imported on first use, so that `import facefake` costs nothing.
        if name not in _HOMES:
            raise AttributeError(f"module 'facefake' has no attribute {name!r}")
        return getattr(import_module(f"facefake.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
