"""The records of a scan as JSON Lines, one record a line, and read back."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from facefake.errors import RecordError
from facefake.results import SCHEMA_VERSION

LONGEST_LINE = 64 << 20
"""The most bytes a line may have, its end included: one for a picture of a thousand faces has 1 MiB."""

_BEGINNING = b'{"schema_version": "'
_FIELDS = {"path": str | None, "verdict": str}
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "file": lambda file: file is None or (isinstance(file, dict) and {"size", "modified_ns"} <= file.keys()),
    "model": lambda model: isinstance(model, str),
    "error": lambda error: isinstance(error, dict) and {"kind", "message"} <= error.keys(),
    "warnings": lambda warnings: (
        isinstance(warnings, list) and all(isinstance(line, str) for line in warnings)
    ),
    "faces": lambda faces: isinstance(faces, list) and all(map(_is_face, faces)),
    "persons": lambda persons: (
        isinstance(persons, list)
        and all(isinstance(person, dict) and isinstance(person.get("index"), int) for person in persons)
    ),
}


def line_of(record: Mapping[str, Any]) -> bytes:
    """The line of a record, in ASCII."""
    return (json.dumps(record, allow_nan=False) + "\n").encode("ascii")


def read_records(
    path: str | os.PathLike[str], warn: Callable[[str], object] = warnings.warn
) -> Iterator[dict[str, Any]]:
    """The records in a file that `JsonLines` wrote, one after the other, as JSON values.

    Args:
        path: the file, to which a scan may still be writing.
        warn: is called with a message when the last line is half-written; that line is not yielded.

    Raises:
        RecordError: the file cannot be read, or a line is not a record; those before it have been yielded.
    """
    for line, record in read_lines(path):
        if record is None:
            warn(f"{path}: the last line is half-written and was left out: {len(line)} bytes")
        else:
            yield record


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """As `read_records`, but each line with its record; a last line that holds only the beginning of one has None."""
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                try:
                    yield line, _parsed(line)
                except ValueError as error:
                    begun = (
                        line.startswith(_BEGINNING) or _BEGINNING.startswith(line) or not line.strip(b"\0")
                    )
                    if line.endswith(b"\n") or len(line) == LONGEST_LINE or not begun:
                        raise RecordError(
                            f"{path}, line {number}: expected a record, got: {error}"
                        ) from error
                    yield line, None
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"{path}: expected a file of records, got: {got}") from error


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError(f"a {type(record).__name__}")
    version = record.get("schema_version")
    if not isinstance(version, str) or version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise ValueError(f"schema version {version!r} where {SCHEMA_VERSION} is supported")
    for name, kind in _FIELDS.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{record.get(name)!r:.80} for {name}")
    is_video = record.get("media") == "video"
    whole = ("file", "warnings", "model", "persons" if is_video else "faces")
    for name in ("file", "error") if record["verdict"] == "error" else whole:
        if not _CHECKS[name](record.get(name)):
            raise ValueError(f"{record.get(name)!r:.80} for {name}")
    return record


def _is_face(face: object) -> bool:
    if not isinstance(face, dict) or not isinstance(face.get("index"), int):
        return False
    box = face.get("box")
    return isinstance(box, list) and len(box) == 4
