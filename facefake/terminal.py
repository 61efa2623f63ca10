"""What the command line shows: tables and progress that no file name can tamper with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from facefake.record_values import message_text
from facefake.results import FaceResult, ImageResult, Verdict
from facefake.wording import at_most, clock, counted, likely, percent

if TYPE_CHECKING:
    from facefake.persons import PersonResult
    from facefake.video import VideoResult

SIGNS: Mapping[str, str] = {"fake": "▲", "uncertain": "?", "real": "○", "not_applicable": "–"}
WORDS: Mapping[str, str] = {
    "fake": "fake",
    "uncertain": "uncertain",
    "real": "real",
    "not_applicable": "not judged",
}

# Colours that colour-blind people can tell apart and that are legible in every terminal theme; the word and the
# sign before it say the same without colour.
_COLOURS: Mapping[Verdict, str] = {
    "fake": "bold red",
    "uncertain": "yellow",
    "real": "cyan",
    "not_applicable": "dim",
}
_LOOKS = {verdict: (f"{SIGNS[verdict]} {WORDS[verdict]}", colour) for verdict, colour in _COLOURS.items()}
_OUTCOMES = {**WORDS, "error": "failed"}
_ASCII = str.maketrans({"×": "x", "≤": "<=", "▲": "^", "○": "o", "–": "-"})
_FIRST_LINE, _LONGEST_PAUSE = 30, 600  # seconds: an overnight log should not be all progress lines
_NUMBER = re.compile(r"[\d.]+%?$")
_FOLDED_NAME = 16  # columns that a name in a table of figures keeps if there is no room for all of it
_WIDE = 100  # columns from which on reasons have room in the table of a picture


def console(stderr: bool = False) -> Console:
    """Standard output, or standard error, on which brackets and colons in a text are literal."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


printable = message_text  # what a terminal may be shown of a text from anywhere


def table(headers: Iterable[str], rows: Iterable[Sequence[str | Text]], numbers: Sequence[int] = ()) -> Table:
    """A table; the columns at the positions `numbers` are right-aligned."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, header in enumerate(headers):
        made.add_column(
            Text(printable(header)), justify="right" if place in numbers else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row])
    return made


def figures(
    headers: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    names: int,
    width: int,
    numbers: Sequence[int] | None = None,
) -> list[Table]:
    """A table in which no number and no word of a heading is broken; split into several parts if it is too wide.

    Args:
        headers: of the columns.
        rows: at least one, with a cell for each column.
        names: how many of the first columns name the row; every part repeats them.
        width: of the terminal, in columns; a part is wider if a name and a number do not fit side by side.
        numbers: which columns hold numbers; None for those with a cell of digits, with or without a % sign.
    """
    columns = list(zip(*rows, strict=True))
    if numbers is None:
        numbers = [at for at, cells in enumerate(columns) if any(_NUMBER.match(str(cell)) for cell in cells)]
    least, whole = [], []
    for place, (header, cells) in enumerate(zip(headers, columns, strict=True)):
        longest = max(map(_columns, cells))
        kept = longest if place in numbers else min(longest, _FOLDED_NAME)
        least.append(max([kept, *map(_columns, header.split())]))
        whole.append(max(longest, _columns(header)))
    parts = [list(range(names))]
    for place in range(names, len(headers)):
        if len(parts[-1]) > names and _across(least, [*parts[-1], place]) > width:
            parts.append(list(range(names)))
        parts[-1].append(place)
    made = []
    for part in parts:
        shown = table(
            [headers[place] for place in part],
            [[row[place] for place in part] for row in rows],
            [at for at, place in enumerate(part) if place in numbers],
        )
        room = max(0, width - _across(least, part))
        for column, place in zip(shown.columns, part, strict=True):
            more = min(room, whole[place] - least[place])
            column.width = least[place] + more
            room -= more
        shown.width = _across([column.width or 0 for column in shown.columns], range(len(part)))
        made.append(shown)
    return made


def _columns(text: str | Text) -> int:
    """The width of a text in terminal columns."""
    return cell_len(printable(str(text)))


def _across(widths: Sequence[int], part: Sequence[int]) -> int:
    """The width of a table with some of the columns."""
    return sum(widths[place] + 2 for place in part) - 1  # two between columns, one after the last


def picture(result: ImageResult, heading: str, width: int, ascii_only: bool = False) -> RenderableType:
    """A picture's heading, its faces as a table, and a summarising sentence.

    Args:
        result: of the picture.
        heading: the picture's path, perhaps with its place among others before it.
        width: of the terminal, in columns; if it is narrow, reasons go below the table, which may be in parts.
        ascii_only: whether symbols are spelt in ASCII; the heading is left as it is.
    """
    signs = _ASCII if ascii_only else {}
    size = f"{result.width} × {result.height} pixels".translate(signs)
    parts: list[RenderableType] = [_heading(heading, size)]
    if result.faces:
        wide = width >= _WIDE
        headers = ["Face", "Size in px", "Verdict", "Fake probability", "False-alarm rate", "Reason"]
        rows = [_spelt(_face_row(face), signs) for face in result.faces]
        if not wide:
            headers, rows = headers[:-1], [row[:-1] for row in rows]
        parts += figures(headers, rows, names=1, width=width, numbers=(0, 1, 3, 4))
        if not wide:
            parts += _remarks("Face", ((face.number, _remark_on_face(face)) for face in result.faces))
    sign, style = _LOOKS[result.verdict]
    parts.append(Text.assemble((sign.translate(signs), style), ": ", result.summary))
    if result.provenance is not None and not result.provenance.is_silent:
        parts.append(Text(f"Origin: {printable(result.provenance.summary)}"))
    parts += [Text(f"Note: {printable(warning)}") for warning in result.warnings]
    return Group(*parts, Text())


def video(result: VideoResult, heading: str, width: int, ascii_only: bool = False) -> RenderableType:
    """A clip's heading, its people as a table, remarks on each, and a summarising sentence.

    The arguments are those of `picture`.
    """
    signs = _ASCII if ascii_only else {}
    frames = "1 frame" if result.frames == 1 else f"{result.frames} frames"
    size = f"{result.width} × {result.height} pixels, {clock(result.duration)}, {frames} looked at"
    parts: list[RenderableType] = [_heading(heading, size.translate(signs))]
    if result.persons:
        headers = ["Person", "Seen", "Judged in", "Verdict", "Fake probability", "False-alarm rate"]
        rows = [_spelt(_person_row(person), signs) for person in result.persons]
        parts += figures(headers, rows, names=1, width=width, numbers=(0, 4, 5))
        parts += _remarks("Person", ((person.number, _remark_on_person(person)) for person in result.persons))
    sign, style = _LOOKS[result.verdict]
    parts.append(Text.assemble((sign.translate(signs), style), ": ", result.summary))
    parts += [Text(f"Note: {printable(warning)}") for warning in result.warnings]
    return Group(*parts, Text())


def _spelt(row: Iterable[str | Text], signs: Mapping[int, str]) -> list[str | Text]:
    return [
        Text(cell.plain.translate(signs), cell.style) if isinstance(cell, Text) else cell.translate(signs)
        for cell in row
    ]


def _heading(path: str, size: str) -> Text:
    """A single line, however long: a path that is broken over lines can be neither copied nor searched for."""
    line = Text.assemble((printable(path), "bold"), Text(f"  {size}", style="dim"))
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _person_row(person: PersonResult) -> list[str | Text]:
    return [
        str(person.number),
        f"{clock(person.seen.start)} to {clock(person.seen.end)}",
        f"{person.judged} of {len(person.sightings)}",
        Text(*_LOOKS[person.verdict]),
        "" if person.fake_probability is None else likely(person.fake_probability),
        "" if person.false_alarm_rate is None else f"≤ {at_most(person.false_alarm_rate)}",
    ]


def _face_row(face: FaceResult) -> list[str | Text]:
    left, top, right, bottom = face.box
    return [
        str(face.number),
        f"{right - left:.0f} × {bottom - top:.0f}",
        Text(*_LOOKS[face.verdict]),
        "" if face.fake_probability is None else likely(face.fake_probability),
        "" if face.false_alarm_rate is None else percent(face.false_alarm_rate),
        _remark_on_face(face),
    ]


def _remarks(what: str, remarks: Iterable[tuple[int, str]]) -> list[Table]:
    """Remarks on single faces or persons, by their numbers; no table if there are none."""
    lines = Table.grid(padding=(0, 1, 0, 0))
    for number, remark in remarks:
        if remark:
            lines.add_row(Text(f"{what} {number}:"), Text(printable(remark)))
    return [lines] if lines.row_count else []


def _remark_on_person(person: PersonResult) -> str:
    spans = [f"{clock(span.start)} to {clock(span.end)}" for span in person.spans]
    remarks = [f"looks fake from {', '.join(spans)}"] if spans else []
    if person.reason:
        remarks.append(person.reason)
    return "; ".join(remarks)


def _remark_on_face(face: FaceResult) -> str:
    remarks = [face.reason] if face.reason else []
    if face.stands_out:
        remarks.append(f"stands out from the other faces (relative score {face.relative_score:.1f})")
    return "; ".join(remarks)


def counts(verdicts: Mapping[str, int], which: Iterable[str] = tuple(_OUTCOMES)) -> str:
    """How often each verdict was given, without those that were not: ``"3 fake, 1 failed"``."""
    return ", ".join(
        f"{verdicts[verdict]:,} {_OUTCOMES[verdict]}" for verdict in which if verdicts.get(verdict)
    )


def media(pictures: int, videos: int) -> str:
    """How many there are of both, those that there are: ``"2 pictures and 1 video"``."""
    return " and ".join(
        counted(count, noun) for count, noun in ((pictures, "picture"), (videos, "video")) if count
    )


def details(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested settings, one pair per leaf: ``("recipe side", "160")``."""
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from details(value, f"{label} ")
        elif isinstance(value, (list, tuple)):
            yield label, ", ".join(map(str, value)) or "none"
        elif isinstance(value, float):
            yield label, f"{value:.4g}"
        else:
            yield label, str(value)


class _Rate(ProgressColumn):
    """How many are done per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{_rate(task.speed)}/s")


def _rate(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


@contextmanager
def progress(what: str, err: Console, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Yields a function to report progress to: how many are done of how many (and of what, if that changes), and a note.

    It shows a bar on a terminal, an occasional line elsewhere, and nothing for a single item. The total may be None
    while it is unknown.

    Args:
        what: what is counted.
        err: where progress is shown.
        shown: whether it is shown at all.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    begun = last = time.monotonic()
    pause, first, latest = _FIRST_LINE, 0, (what, 0)
    hidden = not (shown and err.is_terminal)
    with Progress(
        *columns, console=err, transient=True, redirect_stdout=False, disable=hidden, speed_estimate_period=60
    ) as bar:
        task = bar.add_task(what, total=None, visible=False, note="")

        def report(done: int, total: int | None, what: str = what, note: str = "") -> None:
            nonlocal begun, last, pause, first, latest
            bar.update(task, description=what, completed=done, total=total, visible=total != 1, note=note)
            now = time.monotonic()
            if what != latest[0] or done < latest[1]:  # a new count, with a rate of its own
                begun, first = now, done
            first = first or done  # what an earlier run did must not count towards the rate
            latest = (what, done)
            if shown and total != 1 and not err.is_terminal and now - last > pause:
                last, pause = now, min(2 * pause, _LONGEST_PAUSE)
                rate = (done - first) / (now - begun) if now > begun else 0.0
                err.print(_line(done, total, what, rate, note), soft_wrap=True)

        yield report


def _line(done: int, total: int | None, what: str, rate: float, note: str) -> str:
    parts = [f"{done} {what}" if total is None else f"{done} of {total} {what}"]
    if rate > 0:
        parts.append(f"{_rate(rate)} a second")
        if total is not None and total > done:
            parts.append(f"{timedelta(seconds=round((total - done) / rate))} left")
    return ", ".join([*parts, note] if note else parts)
