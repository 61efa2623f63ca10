"""Draws verdicts onto a picture: a frame and a label per face, and the summary in a band below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from facefake.evidence import FULL_SCALE, colours, laid_over
from facefake.labels import (
    OUTLIER_SIGN,
    Label,
    Rectangle,
    Scale,
    capital_height,
    font,
    line_width,
    outline,
    padding,
    place_labels,
    spaced,
    text_width,
)

if TYPE_CHECKING:
    from facefake.images import Picture
    from facefake.results import ImageResult, Verdict

Colour = tuple[int, int, int]


class _Style(NamedTuple):
    colour: Colour
    meaning: str


class _Atom(NamedTuple):
    """What is never split across two rows: a word, or a verdict's frame and its meaning."""

    text: str
    verdict: Verdict | None = None


_COLOUR_BAR = _Atom("")  # the evidence colours in the key

# Colours that colour-blind people can tell apart (Okabe & Ito 2008, "Color Universal Design"), and that differ in
# luminance so that they survive a greyscale print; the line pattern says the same once more (see `_runs`).
STYLES: dict[Verdict, _Style] = {
    "fake": _Style((213, 94, 0), "fake"),
    "uncertain": _Style((240, 228, 66), "fake? = uncertain"),
    "real": _Style((86, 180, 233), "real"),
    "not_applicable": _Style((255, 255, 255), "not judged"),
}
_INK = (0, 0, 0)
_PAPER = (255, 255, 255)
_BAND = (24, 24, 24)
_NARROWEST = 160  # pixels: what the longest words and labels need in the smallest legible letters
_KEY = "% = how likely that is"
_OUTLIER_KEY = f"{OUTLIER_SIGN} = stands out from the others"


def annotate(picture: Picture, result: ImageResult, evidence: bool = False) -> Image.Image:
    """The picture with a frame and a label per face, and below it the summary and the key to the frames.

    A fake face has a thick solid frame, an uncertain one a dashed one, a real one corner brackets, one that
    was not judged a dotted one. Faces are numbered as `FaceResult.number` when there are several.

    Args:
        picture: the pixels that the result is about.
        result: what was found in them.
        evidence: whether to show each judged face's evidence, see `facefake.evidence`, and its colours in the key.

    Returns:
        A new RGB image with the picture at its top left, pixel for pixel: taller by the band, and wider only if the
        picture is too narrow for text. Of the original's metadata it keeps only the colour profile, as
        ``info["icc_profile"]``.
    """
    height, width = picture.height, max(picture.width, _NARROWEST)
    scale = Scale.of(picture.width, height)
    pixels = picture.pixels
    if evidence and result.crop_margin is not None:
        pixels = laid_over(pixels, result.faces, result.crop_margin)
    band = _band(result, width, scale, evidence)
    canvas = Image.new("RGB", (width, height + band.height), _BAND)
    canvas.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(canvas)
    for face in sorted(result.faces, key=lambda face: face.verdict == "fake"):
        _draw_frame(draw, outline(face, picture.width, height), face.verdict, line_width(face, scale))
    for face, label in zip(result.faces, place_labels(result.faces, width, height), strict=True):
        _draw_label(draw, label, STYLES[face.verdict].colour)
    canvas.paste(band, (0, height))
    if picture.icc_profile is not None:
        canvas.info["icc_profile"] = picture.icc_profile
    return canvas


def _draw_frame(draw: ImageDraw.ImageDraw, frame: Rectangle, verdict: Verdict, line: int) -> None:
    left, top, right, bottom = frame
    strokes = []
    for start, end in _runs(verdict, right - left, line):
        strokes += [(left + start, y, left + end, y + line) for y in (top, bottom - line)]
    for start, end in _runs(verdict, bottom - top, line):
        strokes += [(x, top + start, x + line, top + end) for x in (left, right - line)]
    # A dark rim sets every stroke off from a bright picture; from a dark one the bright stroke itself stands out.
    rim = max(1, line // 3)
    for spread, colour in ((rim, _INK), (0, STYLES[verdict].colour)):
        for x0, y0, x1, y1 in strokes:
            draw.rectangle((x0 - spread, y0 - spread, x1 - 1 + spread, y1 - 1 + spread), fill=colour)


def _runs(verdict: Verdict, length: int, line: int) -> list[tuple[int, int]]:
    """The drawn parts of one side of a frame, both corners included: all of it, the two ends, dashes or dots."""
    if verdict == "fake":
        return [(0, length)]
    if verdict == "real":
        arm = max(2 * line, length // 4)
        return [(0, min(arm, length)), (max(0, length - arm), length)]
    # At least one dash between the corners, or they would look like brackets.
    dash, gap, fewest = (
        (min(4 * line, max(1, length // 5)), 3 * line, 2) if verdict == "uncertain" else (line, 2 * line, 1)
    )
    gaps = max(fewest, round((length - dash) / (dash + gap)))
    starts = [round(k * (length - dash) / gaps) for k in range(gaps + 1)]
    return [(max(0, start), start + dash) for start in starts]


def _draw_label(draw: ImageDraw.ImageDraw, label: Label, colour: Colour) -> None:
    left, top, right, bottom = label.box
    draw.rectangle((left, top, right - 1, bottom - 1), fill=colour, outline=_INK)
    for word, x in spaced(label.text, label.size):
        at = left + padding(label.size) + x, bottom - padding(label.size)
        draw.text(at, word, _INK, font(label.size), anchor="ls")


def _band(result: ImageResult, width: int, scale: Scale, evidence: bool) -> Image.Image:
    """The strip that goes below the picture: the summary, then what the frames and figures in it mean."""
    summary = _atoms(result.summary)
    key = [_Atom(style.meaning, verdict) for verdict, style in STYLES.items() if result.counts[verdict]]
    if any(face.fake_probability is not None for face in result.faces):
        key += _atoms(_KEY)
    outliers = any(face.stands_out for face in result.faces)
    legend = [_Atom(f"evidence: less fake -{FULL_SCALE:g}"), _COLOUR_BAR, _Atom(f"+{FULL_SCALE:g} more fake")]
    evidence = evidence and any(face.evidence is not None for face in result.faces)
    keys = [key, _atoms(_OUTLIER_KEY) if outliers else [], legend if evidence else []]
    margin = 2 * padding(scale.large)
    room = width - 2 * margin
    # Large letters if every word fits and two rows are enough, else small ones.
    small = scale.small
    roomy = max(_width(atom, scale.large) for atom in summary) <= room
    large = scale.large if roomy and len(_rows(summary, scale.large, room)) <= 2 else small
    blocks = [(_rows(summary, large, room), large)] + [(_rows(key, small, room), small) for key in keys]

    height = 2 * margin + sum(len(rows) * 2 * size for rows, size in blocks)
    band = Image.new("RGB", (width, height), _BAND)
    draw = ImageDraw.Draw(band)
    top = margin
    for rows, size in blocks:
        for row in rows:
            for x, atom in row:
                _draw_atom(draw, atom, (margin + x, top), size)
            top += 2 * size
    return band


def _atoms(sentence: str) -> list[_Atom]:
    """A sentence's words; a number stays with its per cent sign, and a sign with the first word of its meaning."""
    return [_Atom(text) for text in re.split(r"(?<! =) (?!%|= )", sentence)]


def _rows(atoms: Sequence[_Atom], size: int, room: int) -> list[list[tuple[int, _Atom]]]:
    """The atoms broken into rows that fit the room, each with its x."""
    rows: list[list[tuple[int, _Atom]]] = []
    x = 0
    for atom in atoms:
        width = _width(atom, size)
        if not rows or x + width > room:
            rows.append([])
            x = 0
        rows[-1].append((x, atom))
        x += width + (size if atom.verdict else size // 3)
    return rows


def _width(atom: _Atom, size: int) -> int:
    if atom is _COLOUR_BAR:
        return 8 * size
    return text_width(atom.text, size) + (2 * size if atom.verdict else 0)


def _draw_atom(draw: ImageDraw.ImageDraw, atom: _Atom, at: tuple[int, int], size: int) -> None:
    """Draw an atom in a row two letters high; a verdict's meaning follows a frame in its style."""
    x, top = at
    if atom is _COLOUR_BAR:
        shades = colours(np.linspace(-FULL_SCALE, FULL_SCALE, _width(atom, size), dtype=np.float32)[None])
        for column, (red, green, blue) in enumerate(shades[0].tolist()):
            draw.line((x + column, top + size // 2, x + column, top + size * 3 // 2), (red, green, blue))
        return
    if atom.verdict:
        edge = top + size // 4
        side = 2 * (size * 3 // 4)
        _draw_frame(draw, (x, edge, x + side, edge + side), atom.verdict, max(2, size // 7))
        x += 2 * size
    for word, offset in spaced(atom.text, size):
        base = top + size + capital_height(size) // 2
        draw.text((x + offset, base), word, _PAPER, font(size), anchor="ls")
