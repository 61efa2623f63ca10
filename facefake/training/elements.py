"""HTML as a tree of elements: tables and figures, in which no text can become markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import Element

from facefake.terminal import printable

if TYPE_CHECKING:
    from facefake.training.figure_tables import Table
    from facefake.training.plots import Plot

_VOID = ("meta", "img")  # have no end tag


class Measure(NamedTuple):
    """Columns of a `pivot`.

    Attributes:
        name: the heading above them.
        text: gives a cell's text from the row that it shows.
        grade: gives a cell's class, which sets its shade.
    """

    name: str
    text: Callable[[Any], str]
    grade: Callable[[Any], str] = lambda row: ""


def tag(kind: str, *content: Element | str, **attributes: str) -> Element:
    """An element; ``class_`` and ``http_equiv`` stand for ``class`` and ``http-equiv``; attributes of "" are left out."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value}
    element = Element(kind, named)
    last: Element | None = None
    for part in content:
        if not isinstance(part, str):
            element.append(part)
            last = part
        elif last is None:
            element.text = (element.text or "") + part
        else:
            last.tail = (last.tail or "") + part
    return element


def render(element: Element) -> str:
    """HTML of an element and all that it contains, with unprintable characters escaped.

    Unlike `xml.etree`'s own, it writes no < in attributes, so that a search for tags finds only tags.
    """
    attributes = "".join(f' {name}="{_escaped(value)}"' for name, value in element.items())
    start = f"<{element.tag}{attributes}>"
    if element.tag in _VOID:
        return start
    text = element.text or ""
    content = [text if element.tag == "style" else _escaped(text)]
    content += [render(child) + _escaped(child.tail or "") for child in element]
    return f"{start}{''.join(content)}</{element.tag}>"


def table(shown: Table) -> Element:
    """A table; columns that hold nothing but numbers are aligned to the right."""
    columns = [[row[place] for row in shown.rows if row[place]] for place in range(len(shown.headers))]
    kinds = ["number" if cells and all(cell[0].isdigit() for cell in cells) else "" for cells in columns]
    head = [tag("th", text, class_=kind) for text, kind in zip(shown.headers, kinds, strict=True)]
    rows = [
        tag("tr", *[tag("td", text, class_=kind) for text, kind in zip(row, kinds, strict=True)])
        for row in shown.rows
    ]
    return _scrolled(tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows)))


def pivot(
    headers: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Mapping[Any, Any]]],
    measures: Sequence[Measure],
) -> Element:
    """A table with one column for each measure and tier.

    Args:
        headers: of the first columns.
        rows: the texts of the first columns, and tier → what the measures show; the same tiers in every row.
        measures: the other columns.
    """
    tiers = list(rows[0][1])
    above = [tag("th", name, rowspan="2") for name in headers]
    above += [tag("th", measure.name, colspan=str(len(tiers)), class_="group") for measure in measures]
    below = [tag("th", tier, class_="number") for _ in measures for tier in tiers]
    body = []
    for texts, by_tier in rows:
        cells = [tag("th", texts[0])]
        cells += [tag("td", text, class_="number" if text.isdigit() else "") for text in texts[1:]]
        cells += [
            tag("td", measure.text(row), class_=f"number {measure.grade(row)}".strip())
            for measure in measures
            for row in by_tier.values()
        ]
        body.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *above), tag("tr", *below))
    return _scrolled(tag("table", head, tag("tbody", *body)))


def figures(plots: Iterable[tuple[str, Plot, Sequence[tuple[int, str]]]]) -> Element:
    """Plots side by side.

    Args:
        plots: title, plot, and for the legend the number and name of each series.
    """
    made = []
    for title, plot, series in plots:
        caption = [tag("b", title)] if title else []
        caption += [tag("span", tag("i", class_=f"key s{number}"), name) for number, name in series]
        made.append(tag("figure", tag("figcaption", *caption), plot.element))
    return tag("div", *made, class_="plots")


def _scrolled(inner: Element) -> Element:
    return tag("div", inner, class_="scroll", tabindex="0")


def _escaped(text: str) -> str:
    return escape(printable(text))
