"""Records as a spreadsheet table: written while a scan runs, or made from its records at any time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from facefake.journal import Recorded, RecordFile
from facefake.saving import whole_file

COLUMNS = (
    "path",
    "face",
    "verdict",
    "fake_probability",
    "false_alarm_rate",
    "relative_score",
    "reason",
    "left",
    "top",
    "right",
    "bottom",
    "detection_score",
    "lack",
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
"""The columns of `CsvTable`. Those from face to lack describe the face, which is numbered from 1."""


class CsvTable(RecordFile):
    """A comma-separated table with the columns `COLUMNS`, one row per face.

    A picture without faces, or an unreadable one, has one row; a video has one per person. Text that a spreadsheet would
    take for a formula gets an apostrophe before it. The encoding is UTF-8 with a byte order mark, by which spreadsheets
    recognise it.

    Args:
        path: the file, which must not exist yet.
        force: overwrite an existing file.

    Raises:
        OutputError: the file exists, cannot be created, or another process is writing to it; `write` raises it when the
            disk is full.
    """

    def begin(self) -> None:
        """Empty a file that is to be overwritten, and write the column names; entering a ``with`` block does this.

        Raises:
            OutputError: the disk is full.
        """
        super().begin()
        self._append(_HEADER)

    def write(self, record: Recorded) -> None:
        """Add the rows of a record."""
        self._append(_table(record.to_dict()))


def write_csv(records: Iterable[Mapping[str, Any]], path: Path, force: bool = False) -> None:
    """Write the same table as `CsvTable`, from records as `read_records` or `read_latest` gives them.

    Raises:
        OutputError: the file exists, a scan still writes to it, or it cannot be written; nothing is left behind.
        RecordError: as `records` raises it.
    """
    with ExitStack() as stack:
        if force and path.is_file():  # and not a pipe, which cannot be opened twice
            stack.push(RecordFile(path, resume=True))
        file = stack.enter_context(whole_file(path, force, through=True))
        file.write(_HEADER)
        for record in records:
            file.write(_table(record))


def _table(record: Mapping[str, Any]) -> bytes:
    rows = ([row.get(column) for column in COLUMNS] for row in _rows(record))
    # A record may come from anywhere, and hold lone surrogates.
    return "".join(map(_line, rows)).encode("utf-8", "backslashreplace")


def _rows(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    whole = {name: values.get(name) for name in ("path", "width", "height", "model", "schema_version")}
    for name in ("verdict", "fake_probability", "false_alarm_rate", "reason"):
        whole[f"picture_{name}"] = values.get(name)
    if values["verdict"] == "error":
        yield {**whole, "error_kind": values["error"]["kind"], "error": values["error"]["message"]}
        return
    whole["warnings"] = "; ".join(values["warnings"])
    if values.get("media") == "video":
        for person in values["persons"]:
            yield {**person, **whole, "face": person["index"] + 1}
        if not values["persons"]:
            yield whole
        return
    for face in values["faces"]:
        box = dict(zip(("left", "top", "right", "bottom"), face["box"], strict=True))
        yield {**face, **box, **whole, "face": face["index"] + 1}
    if not values["faces"]:
        yield whole


def _line(cells: Iterable[Any]) -> str:
    # All text is quoted, because a spreadsheet that splits at semicolons would cut an unquoted name at one. But it
    # recognises only the quotes at the beginning of a line, and cuts later text even within its quotes.
    first, *others = cells
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC).writerow(
        [_defused(first, _FORMULA), *(_defused(cell, _FORMULA_AFTER_CUT) for cell in others)]
    )
    return line.getvalue()


def _defused(cell: Any, formula: re.Pattern[str]) -> Any:
    return formula.sub("'", cell) if isinstance(cell, str) else cell


# Where a spreadsheet would take a formula to begin.
_FORMULA = re.compile(r"\A(?=[=+\-@\t\r\n])")
_FORMULA_AFTER_CUT = re.compile(rf"{_FORMULA.pattern}|(?<=[;\t\r\n])(?=\"*[=+\-@])")
_HEADER = b"\xef\xbb\xbf" + _line(COLUMNS).encode("utf-8")
