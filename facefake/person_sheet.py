"""A contact sheet of one person in a clip: the verdict, how it came about over time, and the faces it is based on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from facefake.annotate import STYLES
from facefake.labels import capital_height, font, spaced, text_width
from facefake.wording import at_most, clock, likely

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from facefake.annotate import Colour
    from facefake.persons import PersonResult, Sighting
    from facefake.video import VideoResult

MOST_FACES = 48
"""The most faces on one sheet, chosen evenly from first to last."""

_WIDTH = 1000
_MARGIN = 24
_LARGE, _MEDIUM, _SMALL = 26, 17, 14
_CHART_HEIGHT = 170
_CHART_LEFT = 74  # room for the axis labels
_TILE = 112
_COLUMNS = 8
_DOT = 4
_SIGNS = {"fake": "FAKE", "uncertain": "UNCERTAIN", "real": "REAL", "not_applicable": "NOT JUDGED"}

_BACKGROUND: Colour = (24, 24, 24)
_PANEL: Colour = (44, 44, 44)
_AWAY: Colour = (30, 30, 30)
_RULE: Colour = (90, 90, 90)
_PAPER: Colour = (255, 255, 255)
_DIM: Colour = (176, 176, 176)
_INK: Colour = (0, 0, 0)
_SPAN: Colour = (122, 58, 8)


def person_sheet(result: VideoResult, person: PersonResult) -> Image.Image:
    """The contact sheet of one person.

    At the top are the verdict and its figures; below them a chart of each face's fake probability over the whole clip,
    with the stretches in which the person looks fake; then the faces, each with its time and probability.

    Args:
        result: the clip's, with crops in its sightings.
        person: one of its persons.

    Returns:
        RGB, 1000 pixels wide.
    """
    shown = _evenly([s for s in person.sightings if s.crop is not None], MOST_FACES)
    facts = [line for text in _facts(result, person) for line in _lines(text, _MEDIUM)]
    footer = [line for text in _explanations(person, len(shown)) for line in _lines(text, _SMALL)]
    rows = -(-len(shown) // _COLUMNS)
    top_of_chart = _MARGIN + 2 * _LARGE + len(facts) * _row(_MEDIUM) + _MARGIN
    top_of_faces = top_of_chart + _row(_SMALL) + _CHART_HEIGHT + 2 * _row(_SMALL) + _MARGIN // 2
    top_of_footer = top_of_faces + rows * (_TILE + _row(_SMALL) + 8) + _MARGIN // 2
    sheet = Image.new("RGB", (_WIDTH, top_of_footer + len(footer) * _row(_SMALL) + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _heading(draw, result, person)
    for number, line in enumerate(facts):
        _write(draw, line, (_MARGIN, _MARGIN + 2 * _LARGE + number * _row(_MEDIUM)), _MEDIUM, _PAPER)
    _chart(draw, result, person, top_of_chart)
    for number, sighting in enumerate(shown):
        row, column = divmod(number, _COLUMNS)
        x = _MARGIN + column * ((_WIDTH - 2 * _MARGIN) // _COLUMNS)
        caption = clock(sighting.time, tenths=result.interval < 1)
        _tile(sheet, draw, sighting, caption, (x, top_of_faces + row * (_TILE + _row(_SMALL) + 8)))
    for number, line in enumerate(footer):
        _write(draw, line, (_MARGIN, top_of_footer + number * _row(_SMALL)), _SMALL, _DIM)
    return sheet


def _heading(draw: ImageDraw.ImageDraw, result: VideoResult, person: PersonResult) -> None:
    text = _SIGNS[person.verdict]
    colour = STYLES[person.verdict].colour
    high = capital_height(_LARGE) + 16
    wide = text_width(text, _LARGE) + 24
    draw.rectangle((_MARGIN, _MARGIN, _MARGIN + wide, _MARGIN + high), fill=colour)
    _write(draw, text, (_MARGIN + 12, _MARGIN + 8), _LARGE, _INK)
    of = f"Person {person.number} of {len(result.persons)}"
    _write(draw, of, (_MARGIN + wide + 16, _MARGIN + 8), _LARGE, _PAPER)


def _facts(result: VideoResult, person: PersonResult) -> list[str]:
    start, end = person.seen
    facts = [
        f"Seen from {clock(start, True)} to {clock(end, True)}, in {len(person.sightings)} of the {result.frames} "
        f"frames that were looked at; judged in {person.judged}."
    ]
    if person.fake_probability is not None and person.false_alarm_rate is not None:
        facts.append(
            f"Fake probability {likely(person.fake_probability)}: more than half of the judged faces reach it. "
            f"At most {at_most(person.false_alarm_rate)} of real people look as fake."
        )
    if person.spans:
        told = [f"{clock(span.start, True)} to {clock(span.end, True)}" for span in person.spans[:6]]
        more = f" and {len(person.spans) - 6} more times" if len(person.spans) > 6 else ""
        facts.append(f"Looks fake from {', from '.join(told)}{more}.")
    if person.reason is not None:
        facts.append(f"{person.reason[:1].upper()}{person.reason[1:]}.")
    return facts


def _explanations(person: PersonResult, shown: int) -> list[str]:
    count = len(person.sightings)
    some = f"{shown} of {count} faces, chosen evenly. " if shown < count else ""
    real = "REAL says that the face does not look fake, which proves nothing. "
    return [
        f"{some}Below each face: its time in the clip, and how likely it is fake, judged by this frame alone. "
        "Grey: not judged in this frame.",
        f"{real if person.verdict == 'real' else ''}The model was trained on still pictures; video may mislead it. "
        "A verdict is statistics, not proof.",
    ]


def _chart(draw: ImageDraw.ImageDraw, result: VideoResult, person: PersonResult, top: int) -> None:
    _write(draw, "How likely the face is fake, frame by frame", (_MARGIN, top), _SMALL, _PAPER)
    top += _row(_SMALL)
    left, right, bottom = _CHART_LEFT, _WIDTH - _MARGIN, top + _CHART_HEIGHT
    length = max(result.duration, person.seen.end)

    def across(seconds: float) -> int:
        return left + round((right - left) * min(1.0, seconds / length))

    def up(share: float) -> int:
        return bottom - round((bottom - top) * share)

    draw.rectangle((left, top, right, bottom), fill=_AWAY)
    draw.rectangle((across(person.seen.start), top, across(person.seen.end), bottom), fill=_PANEL)
    for span in person.spans:
        draw.rectangle((across(span.start), top, across(span.end), bottom), fill=_SPAN)
        label = "looks fake"
        if across(span.end) - across(span.start) > text_width(label, _SMALL) + 8:
            at = (across(span.start) + 5, bottom - 2 * capital_height(_SMALL))
            _write(draw, label, at, _SMALL, _PAPER)
    for share in (0.0, 0.5, 1.0):
        draw.line((left, up(share), right, up(share)), _RULE)
        label = f"{share:.0%}".replace("%", " %")
        at = (left - 8 - text_width(label, _SMALL), up(share) - capital_height(_SMALL) // 2)
        _write(draw, label, at, _SMALL, _DIM)
    _time_axis(draw, length, across, bottom)
    colour = STYLES[person.verdict].colour
    if person.fake_probability is not None:
        y = up(person.fake_probability)
        for x in range(across(person.seen.start), across(person.seen.end), 12):
            draw.line((x, y, x + 6, y), colour, width=2)
    for sighting in person.sightings:
        x = across(sighting.time)
        if sighting.fake_probability is None:
            draw.line((x, bottom - 6, x, bottom), _DIM, width=2)
            continue
        y = up(sighting.fake_probability)
        draw.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), fill=_PAPER, outline=_INK)
    key = "dots: single frames; "
    if person.fake_probability is not None:
        key += "dashed line: the person; "
    key += "lighter: while the person is seen" + ("; brown: looks fake" if person.spans else "")
    _write(draw, key, (left, bottom + 9 + _row(_SMALL)), _SMALL, _DIM)


def _time_axis(draw: ImageDraw.ImageDraw, length: float, across: Callable[[float], int], bottom: int) -> None:
    """Tick marks at round times, with their labels.

    Args:
        length: seconds that the axis spans.
        across: maps seconds to x.
        bottom: y of the axis.
    """
    free = _CHART_LEFT
    for seconds in _ticks(length):
        draw.line((across(seconds), bottom, across(seconds), bottom + 5), _RULE)
        label = clock(seconds, tenths=True)
        x = min(across(seconds), across(length) - text_width(label, _SMALL))
        if x >= free:  # the last label may be too close to the one before it
            _write(draw, label, (x, bottom + 9), _SMALL, _DIM)
            free = x + text_width(label, _SMALL) + 8


def _ticks(length: float) -> Sequence[float]:
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    step = next((step for step in steps if length / step <= 12), 14_400)
    return np.arange(0, length + step / 1000, step).tolist()


def _tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, sighting: Sighting, caption: str, corner: tuple[int, int]
) -> None:
    x, y = corner
    face = Image.fromarray(np.asarray(sighting.crop)).resize((_TILE, _TILE), Image.Resampling.LANCZOS)
    chance = sighting.fake_probability
    if chance is None:
        face = face.convert("L").convert("RGB")
    sheet.paste(face, corner)
    fault = (sighting.reason or "").partition(":")[0].removeprefix("too ")
    told = fault if chance is None else likely(chance)
    _write(draw, caption, (x, y + _TILE + 8), _SMALL, _DIM)
    _write(draw, told, (x + _TILE - text_width(told, _SMALL), y + _TILE + 8), _SMALL, _PAPER)
    if chance is not None:
        draw.rectangle((x, y + _TILE, x + _TILE - 1, y + _TILE + 3), fill=_RULE)
        share = round((_TILE - 1) * chance)
        draw.rectangle((x, y + _TILE, x + share, y + _TILE + 3), fill=STYLES["fake"].colour)


def _write(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Write a line of text whose capitals have their tops at ``at``'s y."""
    for word, offset in spaced(text, size):
        draw.text((at[0] + offset, at[1] + capital_height(size)), word, colour, font(size), anchor="ls")


def _lines(text: str, size: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= _WIDTH - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _row(size: int) -> int:
    return size * 3 // 2


def _evenly(sightings: Sequence[Sighting], most: int) -> list[Sighting]:
    places = np.linspace(0, len(sightings) - 1, min(most, len(sightings))).round().astype(int)
    return [sightings[place] for place in places]
