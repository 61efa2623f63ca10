"""What the command line shows to a person: tables and progress that no file name can tamper with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from facefake.results import FaceResult, ImageResult, Verdict, percent

# Colours that colour-blind people tell apart and that every terminal theme keeps legible; the word and the
# sign before it say the same without colour.
_LOOKS: dict[Verdict, tuple[str, str]] = {
    "fake": ("▲ fake", "bold red"),
    "uncertain": ("? uncertain", "yellow"),
    "real": ("○ real", "cyan"),
    "not_applicable": ("– not judged", "dim"),
}
_SECONDS_A_LINE = 10


def console(stderr: bool = False) -> Console:
    """Standard output, or standard error, where brackets and colons in a text mean themselves."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Text for a terminal: what would move its cursor, change its colours or not show becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def table(headers: Iterable[str], rows: Iterable[Sequence[str | Text]], numbers: Sequence[int] = ()) -> Table:
    """A table; the columns at the places `numbers` are aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, header in enumerate(headers):
        made.add_column(
            Text(printable(header)), justify="right" if place in numbers else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row])
    return made


def picture(result: ImageResult, heading: str, wide: bool) -> RenderableType:
    """A picture's heading, its faces as a table, and the sentence on the whole.

    Args:
        heading: for one, the picture's path.
        wide: whether there is room for reasons in the table; else they go below it.
    """
    size = Text(f"  {result.width} × {result.height} pixels", style="dim")
    parts: list[RenderableType] = [Text.assemble((printable(heading), "bold"), size)]
    if result.faces:
        headers = ["Face", "Size in px", "Verdict", "Fake probability", "False-alarm rate", "Reason"]
        rows = [_face_row(face) for face in result.faces]
        if not wide:
            headers, rows = headers[:-1], [row[:-1] for row in rows]
        parts.append(table(headers, rows, numbers=(0, 1, 3, 4)))
        if not wide:
            notes = Table.grid(padding=(0, 1, 0, 0))
            for face in result.faces:
                if face.reason:
                    notes.add_row(Text(f"Face {face.number}:"), Text(printable(face.reason)))
            parts.append(notes)
    sign, style = _LOOKS[result.verdict]
    parts.append(Text.assemble((sign, style), ": ", result.summary))
    parts += [Text(f"Note: {printable(warning)}") for warning in result.warnings]
    return Group(*parts, Text())


def _face_row(face: FaceResult) -> list[str | Text]:
    left, top, right, bottom = face.box
    return [
        str(face.number),
        f"{right - left:.0f} × {bottom - top:.0f}",
        Text(*_LOOKS[face.verdict]),
        "" if face.fake_probability is None else percent(face.fake_probability),
        "" if face.false_alarm_rate is None else percent(face.false_alarm_rate),
        face.reason or "",
    ]


def tally(verdicts: Mapping[str, int]) -> str:
    """How many pictures got which verdict, as a sentence."""
    words = {"fake": "fake", "uncertain": "uncertain", "real": "real", "not_applicable": "not judged"}
    words["error"] = "failed"
    told = [f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts.get(verdict)]
    return f"{sum(verdicts.values())} pictures: {', '.join(told)}."


def details(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested settings, one pair a leaf: ``("recipe side", "160")``."""
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from details(value, f"{label} ")
        elif isinstance(value, (list, tuple)):
            yield label, ", ".join(map(str, value)) or "none"
        else:
            yield label, str(value)


@contextmanager
def progress(what: str, err: Console, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Gives a function to be told how many of how many are done, and, where that changes, of what.

    It shows a bar on a terminal, elsewhere a line now and then, and nothing for a single item.

    Args:
        what: is counted.
        err: where it is shown.
        shown: whether it is shown at all.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    last = time.monotonic()
    hidden = not (shown and err.is_terminal)
    with Progress(*columns, console=err, transient=True, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def report(done: int, total: int, what: str = what) -> None:
            nonlocal last
            bar.update(task, description=what, completed=done, total=total, visible=total > 1)
            if shown and not err.is_terminal and time.monotonic() - last > _SECONDS_A_LINE:
                last = time.monotonic()
                err.print(f"{done} of {total} {what}")

        yield report
