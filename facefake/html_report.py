"""An HTML report of many records: one file that a person can sort, filter and look through, without a network."""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from facefake import __version__
from facefake.cores import usable_cores
from facefake.errors import RecordError
from facefake.evidence import FULL_SCALE, OPACITY, OPAQUE_FROM, colours
from facefake.journal import read_latest
from facefake.report_entries import other_entry, picture_entry, text
from facefake.report_summary import FaceKey, Tally, counts, histogram, kind_of
from facefake.saving import whole_file
from facefake.thumbnails import SIDE

MOST_FACES = 20_000
"""The most faces that the gallery holds, the most suspicious ones; the others are only counted."""

MOST_THUMBNAILS = 5_000
"""The most of them that have thumbnails: of 3 kB at most, and a third more as base64, which is 20 MB."""

_MOST_ROWS = 2_000  # in each table of what is not in the gallery
_PICTURE_ROOM = 18 << 20  # bytes that all small pictures may take together, before base64
_MOST_MODELS = 3  # that are named
_MOST_THREADS = 4  # each holds a decoded picture
_MARK = "<!-- records -->"

# What code that expects a record may raise on an arbitrary line of JSON.
_WRONG_FIELDS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


class _Choice(NamedTuple):
    """Which faces a report shows, by the numbers of their records."""

    shown: Mapping[int, set[int]]
    with_thumbnails: Mapping[int, set[int]]


def write_html(
    records: Path,
    target: Path,
    *,
    force: bool = False,
    warn: Callable[[str], object] = warnings.warn,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the report of a file of records.

    If a path has several records, the last one counts. The pictures are read again, by their paths, for thumbnails of
    the most suspicious faces; a picture that is gone or was changed still has its record in the report. All texts in
    the records count as hostile: the report has a content security policy that allows nothing but its own script and
    style, and no text becomes markup. It is written piece by piece, and gets its name only once it is complete.

    Args:
        records: a file as `facefake.journal.JsonLines` writes it.
        target: the HTML file.
        force: overwrite an existing file.
        warn: called with a message if the last record is half-written, and left out.
        progress: called with how many records are done, and how many there are.

    Raises:
        RecordError: the records cannot be read, or a line is not a record.
        OutputError: the report exists, or cannot be written.
    """
    with whole_file(target, force, through=True) as file:
        tally = Tally()
        read = read_latest(records, warn)
        try:
            keys = heapq.nsmallest(MOST_FACES, tally.counting(read()))
        except _WRONG_FIELDS as error:
            raise _record_error(records, tally.records, error) from error
        choice = _Choice(_by_record(keys), _by_record(keys[:MOST_THUMBNAILS]))
        head, tail = _page(records, tally, len(keys)).split(_MARK)
        file.write(head.encode())
        for number, piece in _pieces(records, read(), choice):
            progress(number, tally.records)
            file.write(piece.encode())
        file.write(tail.encode())
    progress(tally.records, tally.records)


def _record_error(records: Path, number: int, error: Exception) -> RecordError:
    got = f"none named {error}" if isinstance(error, KeyError) else error
    return RecordError(f"{records}, record {number}: expected the fields of a record, got: {got}")


def _by_record(keys: Iterable[FaceKey]) -> dict[int, set[int]]:
    chosen: dict[int, set[int]] = defaultdict(set)
    for _, number, place in keys:
        chosen[number].add(place)
    return dict(chosen)


def _page(records: Path, tally: Tally, shown: int) -> str:
    """The page without its records, in two parts with `_MARK` between them."""
    folder = resources.files("facefake") / "html"
    page, style, script = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    left_out = (
        f"The {shown:,} most suspicious of {tally.faces.total():,} faces are shown here; "
        "the summary counts them all."
        if shown < tally.faces.total()
        else None
    )
    ramp = np.linspace(-FULL_SCALE, FULL_SCALE, 256, dtype=np.float32)[None]
    config = {
        "full_scale": FULL_SCALE,
        "opacity": OPACITY,
        "opaque_from": OPAQUE_FROM,
        "colours": colours(ramp).tobytes().hex(),
        "side": SIDE,
        "totals": {kind: tally.others[kind] for kind in ("failure", "faceless", "video")},
        "left_out": left_out,
    }
    models = ", ".join(sorted(tally.models)[:_MOST_MODELS]) or "no model"
    if (more := len(tally.models) - _MOST_MODELS) > 0:
        models += f" and {more} more"
    return Template(page).substitute(
        policy=escape(policy, quote=False),
        version=__version__,
        title=escape(text(records.name)),
        style=style,
        sentence=escape(tally.sentence()),
        models=escape(text(models)),
        counts=counts(tally),
        histogram=histogram(tally),
        config=_json(config),
        script=script,
    )


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _pieces(file: Path, records: Iterable[Mapping[str, Any]], choice: _Choice) -> Iterator[tuple[int, str]]:
    """The HTML of the records of a file, each with the record's number, in their order."""
    threads = min(_MOST_THREADS, usable_cores())
    room = _PICTURE_ROOM // max(1, len(choice.with_thumbnails))
    listed: Counter[str] = Counter()
    waiting: deque[tuple[int, Future[str]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for number, record in enumerate(records):
            kind = kind_of(record)
            listed[kind] += 1
            if kind == "picture" and number in choice.shown:
                waiting.append((number, pool.submit(_picture, number, record, choice, room)))
            elif kind != "picture" and listed[kind] <= _MOST_ROWS:
                waiting.append((number, pool.submit(_other, record, kind)))
            if len(waiting) > 2 * threads:
                yield _outcome(file, *waiting.popleft())
        while waiting:
            yield _outcome(file, *waiting.popleft())


def _outcome(records: Path, number: int, future: Future[str]) -> tuple[int, str]:
    try:
        return number, future.result()
    except _WRONG_FIELDS as error:
        raise _record_error(records, number + 1, error) from error


def _picture(number: int, record: Mapping[str, Any], choice: _Choice, room: int) -> str:
    """A record with faces: a script that holds its data, and one for each small picture."""
    entry, small = picture_entry(record, choice.shown[number], choice.with_thumbnails.get(number, ()), room)
    images = {f"face-{number}-{index}": content for index, content in small.faces.items()}
    if small.picture is not None:
        images[f"picture-{number}"] = small.picture
    return _script({**entry, "line": number}) + "".join(
        f'<script type="text/plain" id="{name}">{base64.b64encode(content).decode()}</script>\n'
        for name, content in images.items()
    )


def _other(record: Mapping[str, Any], kind: str) -> str:
    return _script(other_entry(record, kind))


def _script(entry: Mapping[str, Any]) -> str:
    return f'<script type="application/json" class="record">{_json(entry)}</script>\n'


def _json(value: Mapping[str, Any]) -> str:
    """JSON that nothing in HTML takes for a tag or a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
