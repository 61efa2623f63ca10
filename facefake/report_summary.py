"""The summary of many records: how many pictures and faces got each verdict, in numbers and as a histogram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from facefake.sources import is_video
from facefake.terminal import SIGNS, WORDS
from facefake.wording import counted

BINS = 20
"""Number of bins in the histogram, from 0 to 100 %."""

_STACKED = ("real", "uncertain", "fake")  # from the axis up
_LEFT, _TOP, _WIDE, _HIGH = 46, 34, 640, 190  # of the histogram's bars, in units of its drawing

FaceKey = tuple[float, int, int]
"""How suspicious a face is (the smaller, the more); the number of its record; its position in that."""


@dataclass
class Tally:
    """What was counted.

    Attributes:
        records: how many there are.
        pictures, faces, videos: by verdict.
        others: records other than pictures with faces, by "failure", "faceless" and "video".
        failed_videos: how many of the failures are videos.
        models: pictures and videos by the model that judged them.
        histogram: judged faces by verdict and by the bin that their fake probability falls into.
    """

    records: int = 0
    pictures: Counter[str] = field(default_factory=Counter)
    faces: Counter[str] = field(default_factory=Counter)
    videos: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    failed_videos: int = 0
    models: Counter[str] = field(default_factory=Counter)
    histogram: Counter[tuple[str, int]] = field(default_factory=Counter)

    def counting(self, records: Iterable[Mapping[str, Any]]) -> Iterator[FaceKey]:
        """Count records, and yield the key of each face on the way."""
        for number, record in enumerate(records):
            self.records += 1
            kind = kind_of(record)
            if kind != "picture":
                self.others[kind] += 1
            if kind == "failure":
                self.failed_videos += is_video(record["path"] or "")
                continue
            self.models[record["model"]] += 1
            if record["verdict"] not in WORDS:
                raise ValueError(f"the verdict {record['verdict']!r}")
            if kind == "video":
                self.videos[record["verdict"]] += 1
                continue
            self.pictures[record["verdict"]] += 1
            for index, face in enumerate(record["faces"]):
                verdict, probability = face["verdict"], face["fake_probability"]
                self.faces[verdict] += 1
                if probability is not None:
                    self.histogram[verdict, min(BINS - 1, int(probability * BINS))] += 1
                if verdict not in WORDS:
                    raise ValueError(f"the verdict {verdict!r}")
                rate = face["false_alarm_rate"]
                yield 2.0 if rate is None else float(rate), number, index

    def sentence(self) -> str:
        """All of it in a sentence or two."""
        parts = []
        if self.pictures or not self.videos:
            parts.append(
                f"{counted(self.pictures.total(), 'picture')} with {counted(self.faces.total(), 'face')}"
            )
        if self.videos:
            parts.append(counted(self.videos.total(), "video"))
        told = [f"{', '.join(parts)}."]
        judged = sum(found.total() - found["not_applicable"] for found in (self.faces, self.videos))
        if self.pictures["fake"]:
            told.append(_looking_fake(self.faces, "face", f" in {counted(self.pictures['fake'], 'picture')}"))
        elif judged and not self.videos["fake"]:
            told.append("No face looks fake.")
        if self.videos["fake"]:
            told.append(_looking_fake(self.videos, "video"))
        for verdicts, noun in ((self.faces, "face"), (self.videos, "video")):
            if count := verdicts["uncertain"]:
                told.append(f"{counted(count, noun)} {'is' if count == 1 else 'are'} uncertain.")
            if count := verdicts["not_applicable"]:
                told.append(f"{counted(count, noun)} could not be judged.")
        if count := self.others["failure"]:
            told.append(
                f"{count:,} {'file or folder' if count == 1 else 'files or folders'} could not be analysed."
            )
        return " ".join(told)


def kind_of(record: Mapping[str, Any]) -> str:
    """How a report treats a record: as a "picture" (with faces), "faceless", a "video" or a "failure"."""
    if record["verdict"] == "error":
        return "failure"
    if record.get("media") == "video":
        return "video"
    return "picture" if record["faces"] else "faceless"


def counts(tally: Tally) -> str:
    """How many pictures, videos (if there are any) and faces got each verdict, as the inside of an HTML table."""
    columns = {"Pictures": tally.pictures, "Videos": tally.videos, "Faces": tally.faces}
    if not tally.videos and not tally.failed_videos:
        del columns["Videos"]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Verdict", *columns))
    rows = [
        f'<tr><th scope="row"><span class="badge" data-verdict="{verdict}"><i aria-hidden="true">{SIGNS[verdict]}</i>'
        f"{word}</span></th>{''.join(f'<td>{found[verdict]:,}</td>' for found in columns.values())}</tr>"
        for verdict, word in WORDS.items()
    ]
    if failures := tally.others["failure"]:
        badge = '<span class="badge" data-verdict="error"><i aria-hidden="true">✕</i>failed</span>'
        failed = [failures - tally.failed_videos, tally.failed_videos][: len(columns) - 1]
        cells = "".join(f"<td>{count:,}</td>" for count in failed)
        rows.append(f'<tr><th scope="row">{badge}</th>{cells}<td></td></tr>')
    return "\n".join([f"<thead><tr>{heads}</tr></thead>", "<tbody>", *rows, "</tbody>"])


def histogram(tally: Tally) -> str:
    """The judged faces of pictures by fake probability, as inline SVG; colours, patterns and titles tell verdicts apart."""
    columns = [{verdict: tally.histogram[verdict, at] for verdict in _STACKED} for at in range(BINS)]
    if not any(map(any, (column.values() for column in columns))):
        return "<p>No face of a picture was judged.</p>"
    tallest = max(sum(column.values()) for column in columns)
    step = _WIDE / BINS
    bottom = _TOP + _HIGH
    drawn = []
    for at, column in enumerate(columns):
        y = float(bottom)
        told = ", ".join(f"{count:,} {WORDS[verdict]}" for verdict, count in column.items() if count)
        title = f"<title>{100 * at // BINS} to {100 * (at + 1) // BINS} %: {told}</title>"
        for verdict, count in column.items():
            if not count:
                continue
            high = max(1.5, _HIGH * count / tallest)  # one face among thousands shows too
            y -= high
            place = f'x="{_LEFT + at * step + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{high:.1f}"'
            drawn.append(f'<rect {place} fill="{_fill(verdict)}">{title}</rect>')
    for share in (0, 25, 50, 75, 100):
        x = _LEFT + _WIDE * share / 100
        drawn.append(f'<text x="{x:g}" y="{bottom + 22}" text-anchor="middle">{share} %</text>')
    drawn += [
        f'<text x="{_LEFT - 6}" y="{_TOP + 5}" text-anchor="end">{tallest:,}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<path class="axis" fill="none" d="M{_LEFT} {bottom + 0.5}H{_LEFT + _WIDE}"/>',
    ]
    for at, verdict in enumerate(_STACKED):
        start = _LEFT + 190 * at
        drawn.append(f'<rect x="{start}" y="6" width="22" height="15" fill="{_fill(verdict)}"/>')
        drawn.append(f'<text x="{start + 29}" y="18">{WORDS[verdict]}</text>')
    told = "; ".join(
        f"{100 * at // BINS} to {100 * (at + 1) // BINS} %: {sum(column.values()):,}"
        for at, column in enumerate(columns)
        if any(column.values())
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {_LEFT + _WIDE + 40} {bottom + 30}" role="img" '
        f'aria-label="{escape("Faces by fake probability. " + told)}"><defs>{_PATTERNS}</defs>{"".join(drawn)}</svg>'
    )


_PATTERNS = (
    '<pattern id="pattern-real" width="8" height="8" patternUnits="userSpaceOnUse">'
    '<rect width="8" height="8" fill="#56b4e9"/></pattern>'
    '<pattern id="pattern-uncertain" width="8" height="8" patternUnits="userSpaceOnUse">'
    '<rect width="8" height="8" fill="#f0e442"/>'
    '<path class="hatch" fill="none" d="M-2 10L10 -2M-2 2L2 -2M6 10L10 6"/></pattern>'
    '<pattern id="pattern-fake" width="8" height="8" patternUnits="userSpaceOnUse">'
    '<rect width="8" height="8" fill="#d55e00"/><circle class="dots" cx="4" cy="4" r="1.6"/></pattern>'
)


def _fill(verdict: str) -> str:
    return f"url(#pattern-{verdict})"


def _looking_fake(verdicts: Counter[str], noun: str, where: str = "") -> str:
    return f"{counted(verdicts['fake'], noun)}{where} {'looks' if verdicts['fake'] == 1 else 'look'} fake."
