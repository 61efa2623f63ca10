"""Text files that are there whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from facefake.errors import OutputError


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 in place of whatever is there; never half of it.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f".facefake-{secrets.token_hex(8)}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError(f"{path}: expected a file that can be written, got: {got}") from error
    finally:
        partial.unlink(missing_ok=True)
