from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scorers import Told

from facefake.bundle import read_bundle
from facefake.training import elements
from facefake.training.evaluate import evaluate_crops
from facefake.training.evaluation_report import evaluation_page
from facefake.training.figure_tables import Table, evaluation_tables

HOSTILE = "\"><script>alert(1)</script>\x1b[31m\u202e&amp;'"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What the page holds: its elements, the texts of its table rows, and whether it is well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] or "" for _, found in self.elements if attribute in found]


@pytest.fixture(scope="module")
def scored(store_of, tiny_bundle):
    """Two sources of real faces with enough of them to be left out, and hostile names."""
    rng = np.random.default_rng(0)
    crops = []
    for fields, mean, count in (
        ({"source": "speakers"}, -2, 24),
        ({"source": HOSTILE}, -1.5, 24),
        ({"label": "fake", "kind": "gan", "source": HOSTILE}, 1, 10),
        ({"label": "fake", "kind": f"kind {HOSTILE}", "source": "others"}, 2, 10),
    ):
        for number in range(count):
            fields = {**fields, "path": f"{number} {HOSTILE}.jpg", "group": f"{mean} {number}"}
            pixels = np.full((64, 64, 3), 128 + 10 * rng.normal(mean, 1)).clip(0, 255).astype(np.uint8)
            crops.append((fields, pixels, None))
    store = store_of(crops)
    return evaluate_crops(Told(), read_bundle(tiny_bundle), store, range(len(store)), "val")


@pytest.fixture(scope="module")
def text(scored) -> str:
    return evaluation_page(scored)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_page_asks_the_network_for_nothing(text, page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "use", "foreignobject"}
    assert not any(name.startswith("on") or name == "style" for _, found in page.elements for name in found)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    assert not re.search(r"url\(|@import|https?:", text.split("</style>")[0])


def test_what_is_printed_is_dark_on_white_whatever_the_screen(text):
    assert re.findall("@media (.*)prefers-color-scheme: dark", text) == ["screen and ("]


def test_the_policy_allows_nothing_but_this_style_and_these_pictures(text, page):
    (policy,) = (
        found["content"] for _, found in page.elements if found.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_hostile_names_are_text(text, page):
    assert "<script" not in text
    assert "\x1b" not in text and "\u202e" not in text
    shown = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert shown in page.texts
    assert f"{shown.rpartition('/')[2]}.jpg" in page.values("title")


def test_every_link_has_its_section(page):
    places = page.values("id")
    assert len(places) == len(set(places)) > 5
    assert {value.removeprefix("#") for value in page.values("href")} == set(places)


def test_the_figures_are_those_of_the_evaluation(scored, page):
    def shown(table: Table) -> list[list[str]]:
        return [
            [cell.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e") for cell in row]
            for row in [table.headers, *table.rows]
        ]

    tables = [table for table in evaluation_tables(scored.evaluation) if table.rows]
    assert len(tables) == 8
    for table in tables:
        header, *rows = shown(table)
        start = page.rows.index(header)
        assert page.rows[start + 1 : start + 1 + len(rows)] == rows
    web = next(row for row in scored.evaluation.to_dict()["tiers"] if row["tier"] == "web")
    for value in (
        f"{web['auc_by_kind']['gan']:.3f}",
        f"{web['false_alarms_per_face']:.1%}",
        f"{web['left_out']['per_face']:.1%}",
        f"{web['calibration_error']:.3f}",
    ):
        assert value in page.texts


def test_the_worst_mistakes_come_first_with_source_and_score(scored, text):
    clean = scored.tiers["clean"]
    sections = re.split("<h3>", text[text.index(">Worst mistakes</h2>") : text.index(">All figures</h2>")])[
        1:
    ]
    assert [section.split("<")[0].split(":")[0] for section in sections] == ["real", "fake", "fake"]
    for section, label, kind in zip(sections, (False, True, True), ("photo", "gan", None), strict=True):
        own = (clean.fake == label) & (clean.kind == kind if kind else clean.kind != "gan")
        stated = np.sort(clean.stated[own])
        told = [
            float(value)
            for value in re.findall(r"; &gt;?([\d.]+) %|; ([\d.]+) % fake", section)
            for value in value
            if value
        ]
        assert told == sorted(told, reverse=not label)
        assert len(told) == min(12, own.sum())
        assert told[0] == pytest.approx(100 * (stated[0] if label else stated[-1]), rel=0.06)


def test_thumbnails_are_pictures(page):
    pictures = page.values("src")
    assert pictures
    for value in pictures:
        with Image.open(io.BytesIO(base64.b64decode(value.partition(",")[2]))) as picture:
            picture.load()
            assert max(picture.size) <= 112


def test_there_is_a_plot_of_everything(page):
    titles = " ".join(page.texts)
    for what in (
        "ROC curves",
        "Scores of real and fake",
        "Reliability diagram",
        "False alarms by source",
        "AUC by size",
    ):
        assert what in titles
    curves = [found["d"] for tag, found in page.elements if tag == "path"]
    # Two kinds and two labels on three tiers, reliability on three tiers, sizes on two.
    assert len(curves) == 6 + 6 + 3 + 2
    for curve in curves:
        assert re.fullmatch(r"M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)*", curve)


def test_only_columns_of_nothing_but_numbers_are_aligned_to_the_right():
    shown = Table("", ["edit", "AUC", "share"], [["256 colours", "0.9", "3%"], ["dark", "0.8", ""]], 1)
    classes = [cell.get("class") for cell in elements.table(shown).iter() if cell.tag in ("th", "td")]
    assert classes == [None, "number", "number"] * 3


def test_a_network_that_says_the_same_of_all_faces_has_a_page(scored):
    same = {
        tier: replace(judged, logits=np.full_like(judged.logits, 0.25))
        for tier, judged in scored.tiers.items()
    }
    assert "<svg" in evaluation_page(replace(scored, tiers=same))


def test_a_page_says_of_a_model_that_it_can_call_no_face_fake(scored):
    calibration = scored.bundle.calibration
    few = replace(scored, bundle=replace(scored.bundle, calibration=replace(calibration, real_count=20)))
    told = "calls no single face fake, only uncertain: the real faces that it was calibrated on count as much as 20"
    assert told in evaluation_page(few)
    assert "no face alone fake" not in evaluation_page(scored)
