"""Text files that are written whole or not at all, and folders to write to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from facefake.errors import OutputError
from facefake.saving import whole_file


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 in place of whatever is there; never only half of it.

    Raises:
        OutputError: it cannot be written.
    """
    with whole_file(path, force=True) as file:
        file.write(text.encode())


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there: what would fail after hours of work should fail before them.

    Raises:
        OutputError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError(f"{folder}: expected a folder that can be written to, got: {got}") from error
