"""Records as files: JSON Lines for programs, CSV for spreadsheets; both grow record by record."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from facefake.errors import OutputError
from facefake.results import ErrorResult, ImageResult

COLUMNS = (
    "path",
    "face",
    "verdict",
    "fake_probability",
    "false_alarm_rate",
    "reason",
    "left",
    "top",
    "right",
    "bottom",
    "detection_score",
    "picture_verdict",
    "picture_fake_probability",
    "picture_false_alarm_rate",
    "picture_reason",
    "width",
    "height",
    "error_kind",
    "error",
    "warnings",
    "model",
    "schema_version",
)
"""The columns of `CsvTable`. Those before picture_verdict are the face's, which is numbered from 1."""


class _RecordFile:
    """A text file that is created at once, or not at all, and handed every record when it comes."""

    def __init__(self, path: Path, force: bool = False) -> None:
        self.path = path
        try:
            self._file = path.open("w" if force else "x", encoding="utf-8", newline="")
        except FileExistsError as error:
            raise OutputError(f"{path}: expected a new file, found one of that name") from error
        except (OSError, ValueError) as error:
            got = error.strerror if isinstance(error, OSError) else error
            raise OutputError(f"{path}: expected a file that can be created, got: {got}") from error

    def _append(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: expected to go on writing, got: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class JsonLines(_RecordFile):
    """A file with one record a line, each the JSON of its ``to_dict()``, in ASCII.

    Args:
        path: the file, which must not exist yet: two runs cannot write the same one.
        force: write over an existing file.

    Raises:
        OutputError: the file exists, or cannot be created; `write` raises it when the disk is full.
    """

    def write(self, record: ImageResult | ErrorResult) -> None:
        """Add a record."""
        self._append(json.dumps(record.to_dict(), allow_nan=False) + "\n")


class CsvTable(_RecordFile):
    """A comma-separated table with the columns `COLUMNS`, one row a face.

    A picture without faces, or one that could not be read, has one row. Text that a spreadsheet would take
    for a formula gets an apostrophe before it. UTF-8 with the mark that spreadsheets know it by.

    Args:
        path: the file, which must not exist yet.
        force: write over an existing file.

    Raises:
        OutputError: the file exists, or cannot be created; `write` raises it when the disk is full.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        super().__init__(path, force)
        self._append("\ufeff" + _line(COLUMNS))

    def write(self, record: ImageResult | ErrorResult) -> None:
        """Add the rows of a record."""
        self._append("".join(_line([row.get(column) for column in COLUMNS]) for row in _rows(record)))


def _rows(record: ImageResult | ErrorResult) -> Iterator[dict[str, Any]]:
    values = record.to_dict()
    if isinstance(record, ErrorResult):
        error = values.pop("error")
        yield {**values, "picture_verdict": "error", "error_kind": error["kind"], "error": error["message"]}
        return
    whole = {name: values[name] for name in ("path", "width", "height", "model", "schema_version")}
    for name in ("verdict", "fake_probability", "false_alarm_rate", "reason"):
        whole[f"picture_{name}"] = values[name]
    whole["warnings"] = "; ".join(values["warnings"])
    for face in values["faces"]:
        box = dict(zip(("left", "top", "right", "bottom"), face["box"], strict=True))
        yield {**face, **box, **whole, "face": face["index"] + 1}
    if not values["faces"]:
        yield whole


def _line(cells: Any) -> str:
    # Quotes around all text, because a spreadsheet that separates by semicolons would cut a bare name at one.
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC).writerow([_defused(cell) for cell in cells])
    return line.getvalue()


def _defused(cell: Any) -> Any:
    return (
        f"'{cell}"
        if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        else cell
    )
