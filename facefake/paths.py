"""Where the model files lie: inside an installed package, or in `models/` beside a source checkout."""

from __future__ import annotations

from pathlib import Path

from facefake.errors import ModelError

_PACKAGE = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder that holds the face-detection models, the classifier bundle and the backbones.

    Raises:
        ModelError: neither the installed nor the checkout's folder exists.
    """
    for folder in (_PACKAGE / "models", _PACKAGE.parent / "models"):
        if folder.is_dir():
            return folder
    raise ModelError(
        f"expected the model files in {_PACKAGE / 'models'}, found no such folder: reinstall facefake"
    )


def model_file(name: str) -> Path:
    """The path of one file under `models_folder()`, such as ``"face_detection_short_range.tflite"``.

    Raises:
        ModelError: the file is not there.
    """
    path = models_folder() / name
    if not path.is_file():
        raise ModelError(f"expected the model file {path}, found none: reinstall facefake")
    return path
