"""An evaluation as one HTML page, for a researcher to read and to pass on.

The page is one file that loads nothing from the network and runs no script; its content security policy forbids both.
"""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from facefake import __version__
from facefake.training import evaluation_plots as draw
from facefake.training import figure_tables
from facefake.training.elements import Measure, figures, pivot, render, table, tag
from facefake.training.figures import SourceRow
from facefake.training.real_scores import told_never_fake
from facefake.wording import percent

if TYPE_CHECKING:
    from facefake.training.evaluate import Scored

_MISTAKES = 12  # thumbnails per label and kind
_THUMBNAIL = 112
_AUC = Measure("AUC", lambda row: f"{row.auc:.3f}", lambda row: _grade(row.auc))
_FOUND = Measure("found at 1 % false alarms", lambda row: f"{row.detected_at_1_percent:.0%}")
_CALLED_FAKE = Measure("called fake", lambda row: f"{row.called_fake:.1%}")
_UNCERTAIN = Measure("called uncertain", lambda row: f"{row.called_uncertain:.1%}")
_ACCURACY = Measure("balanced accuracy", lambda row: f"{row.balanced_accuracy:.1%}")
_ERROR = Measure("calibration error", lambda row: f"{row.calibration_error:.3f}")


def evaluation_page(scored: Scored) -> str:
    """The page, HTML.

    Args:
        scored: from `evaluate`. Its worst mistakes are shown as thumbnails: mind the licences of the pictures.
    """
    style = Path(__file__).with_name("evaluation.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    sections = [
        ("Summary", _summary(scored)),
        ("Kinds of fake", _kinds(scored)),
        ("ROC curves", _roc_curves(scored)),
        ("Scores", _scores(scored)),
        ("Calibration", _calibration(scored)),
        ("False alarms", _false_alarms(scored)),
        ("Sources of fakes", _fake_sources(scored)),
        ("Face sizes", _face_sizes(scored)),
        ("Blur", _blurs(scored)),
        ("Everyday edits", _edits(scored)),
        *([("Several faces", _crowds(scored))] if scored.evaluation.crowds else []),
        ("Steadiness", _steadiness(scored)),
        ("Worst mistakes", _mistakes(scored)),
        ("All figures", _all_figures(scored)),
    ]
    sheet = Element("style")
    sheet.text = style  # as it is: the policy holds its digest
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{scored.evaluation.model}: evaluation"),
        sheet,
    )
    links = [tag("a", name, href=f"#{_anchor(name)}") for name, _ in sections]
    parts = [tag("section", tag("h2", name), *content, id=_anchor(name)) for name, content in sections]
    licences = (
        f"Made by facefake {__version__}. This page contains pictures of faces from the dataset: whether it may be passed "
        "on depends on their licences and on the people in them."
    )
    body = tag(
        "body",
        _header(scored),
        tag("nav", *links),
        tag("main", *parts),
        tag("footer", tag("p", licences)),
    )
    page = tag("html", head, body, lang="en")
    return f"<!doctype html>\n{render(page)}\n"


def _header(scored: Scored) -> Element:
    clean = scored.tiers["clean"]
    fakes, faces = int(clean.fake.sum()), clean.fake.size
    told = (
        f"{faces - fakes:,} real and {fakes:,} fake faces of {len(scored.evaluation.sources) // len(scored.tiers)} "
        f"sources; split: {scored.evaluation.split}. Three tiers: clean, the pictures as they are; web, at most 768 px "
        "and JPEG quality 60; hard, at most 512 px and quality 40."
    )
    return tag(
        "header", tag("h1", f"How well {scored.evaluation.model} tells real from fake"), tag("p", told)
    )


def _summary(scored: Scored) -> list[Element]:
    found = scored.evaluation
    web = next(row for row in found.tiers if row.tier == "web")
    cards = [(f"AUC {kind}, web", f"{auc:.3f}") for kind, auc in web.auc_by_kind.items()]
    cards.append(("false alarms per real face, web", f"{web.false_alarms_per_face:.1%}"))
    if web.left_out:
        cards.append(("the same on left-out sources", f"{web.left_out.per_face:.1%}"))
    cards.append(("calibration error, web", f"{web.calibration_error:.3f}"))
    cards.append(("verdicts that flip", f"{found.stability[0].flipped:.1%}"))
    tiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in cards]
    never = told_never_fake(scored.bundle.calibration)
    told = [tag("p", never)] if never else []
    return [tag("dl", *tiles, class_="tiles"), *told, table(figure_tables.by_tier(found))]


def _kinds(scored: Scored) -> list[Element]:
    by_kind: dict[str, dict[str, Any]] = {}
    for row in scored.evaluation.kinds:
        by_kind.setdefault(row.kind, {})[row.tier] = row
    rows = [([kind, str(of_tier["clean"].count)], of_tier) for kind, of_tier in by_kind.items()]
    told = "Each kind against all real faces. “Called fake” is by the model's own threshold, for a face on its own."
    measures = [_AUC, _FOUND, _CALLED_FAKE, _UNCERTAIN, _ACCURACY, _ERROR]
    return [tag("p", told), pivot(["kind", "faces"], rows, measures)]


def _roc_curves(scored: Scored) -> list[Element]:
    told = "Each kind of fake against all real faces, with its AUC. The dots mark the model's own threshold."
    return [tag("p", told), figures(draw.roc_curves(scored))]


def _scores(scored: Scored) -> list[Element]:
    lacking = scored.bundle.calibration.soft or scored.bundle.calibration.grainless
    full = " (if it does not lack detail)" if lacking else ""
    told = (
        "Within each label, all sources have equal weight. The dashed lines mark the scores from which a face on its own "
        f"is called uncertain, and fake{full}."
    )
    return [tag("p", told), figures(draw.histograms(scored))]


def _calibration(scored: Scored) -> list[Element]:
    told = (
        "Stated fake probability against the true share of fakes, in ten bins of equal weight; real and fake faces have "
        "half of the weight each, shared equally by their sources. On the dashed line, calibration is perfect."
    )
    return [tag("p", told), figures(draw.reliability_diagram(scored))]


def _false_alarms(scored: Scored) -> list[Element]:
    alarm_rate = scored.bundle.calibration.alarm_rate
    by_source = _by_source(scored, "real")
    by_source.sort(key=lambda of_tier: -of_tier["web"].called_fake)
    called_fake = _CALLED_FAKE._replace(grade=lambda row: "bad" if row.called_fake > alarm_rate else "")
    rows = [([row.source, *_known(row)], of_tier) for of_tier in by_source for row in (of_tier["clean"],)]
    plot = draw.false_alarms([of_tier["web"] for of_tier in by_source], alarm_rate)
    names = tag("ol", *[tag("li", of_tier["web"].source) for of_tier in by_source], class_="sources")
    told = "Share of each source of real faces that the model's threshold calls fake; in colour where it exceeds α."
    parts = [
        tag("p", told),
        tag("div", tag("figure", plot.element), names, class_="beside"),
        pivot(["source", "faces", "unseen"], rows, [called_fake, _UNCERTAIN]),
    ]
    left_out = figure_tables.left_out(scored.evaluation)
    if left_out.rows:
        lacking = scored.bundle.calibration.soft or scored.bundle.calibration.grainless
        told_apart = (
            ". Faces that lack detail are left out, or judged like all others if too few remain"
            if lacking
            else ""
        )
        told = (
            "What to expect on a new source: each source is judged by a threshold made like the model's, but from all "
            f"others on this page, without the smallest faces that the model's own allows for{told_apart}."
        )
        parts += [tag("h3", left_out.title), tag("p", told), table(left_out)]
    return parts


def _fake_sources(scored: Scored) -> list[Element]:
    by_source = _by_source(scored, "fake")
    by_source.sort(key=lambda of_tier: (of_tier["web"].kind, of_tier["web"].auc))
    rows = [
        ([row.source, row.kind, *_known(row)], of_tier)
        for of_tier in by_source
        for row in (of_tier["clean"],)
    ]
    told = "Each source against the real faces of the same source if there are any, else against all."
    measures = [_AUC, _FOUND, _CALLED_FAKE, _UNCERTAIN]
    return [tag("p", told), pivot(["source", "kind", "faces", "unseen"], rows, measures)]


def _face_sizes(scored: Scored) -> list[Element]:
    told = (
        "Faces shrunk to a size, both clean and compressed as on the web; all fakes against all real faces."
    )
    beside = tag(
        "div",
        figures(draw.face_sizes(scored)),
        table(figure_tables.by_size(scored.evaluation)),
        class_="beside",
    )
    return [tag("p", told), beside]


def _blurs(scored: Scored) -> list[Element]:
    told = (
        "Faces out of focus, by σ of the blur in pixels, at their own size (listed as 224; 190 pixels at most) and small; "
        "all fakes against all real faces."
    )
    if soft := scored.bundle.calibration.soft:
        told += f" A face with a sharpness below {soft.below:.2g} counts as soft, and is compared with soft real faces."
    return [tag("p", told), table(figure_tables.by_blur(scored.evaluation))]


def _edits(scored: Scored) -> list[Element]:
    told = (
        "Faces after what people and apps do to photographs; all fakes against all real faces. None of it makes a real "
        "face a fake, so false alarms should not rise. “Enlarged” is from 64 pixels."
    )
    if grainless := scored.bundle.calibration.grainless:
        told += f" Faces with a grain below {grainless.below:.2g} are compared with real faces without grain."
    return [tag("p", told), table(figure_tables.by_edit(scored.evaluation))]


def _crowds(scored: Scored) -> list[Element]:
    told = (
        "Pictures put together from the faces evaluated here: real ones from one source and fakes, if any, from one. Real "
        "faces from one source stand in for those of one photograph. Sources have equal weight."
    )
    return [tag("p", told), table(figure_tables.by_crowd(scored.evaluation))]


def _steadiness(scored: Scored) -> list[Element]:
    told = (
        "Each face is judged as it is, and after resizing to 0.75, 1 and 1.25 times its size and saving as JPEG of quality "
        "60, 75, 85 and 95. “Real and fake”: it is called real in one view and fake in another. “Any change”: its verdict "
        "is not the same in all views, even if it only turns to uncertain or not judged."
    )
    return [tag("p", told), table(figure_tables.by_steadiness(scored.evaluation))]


def _mistakes(scored: Scored) -> list[Element]:
    clean = scored.tiers["clean"]
    told = "The real faces that look most fake, and the fakes that look most real, on the clean tier."
    parts = [tag("p", told)]
    keys = zip(clean.fake.tolist(), clean.kind.tolist(), strict=True)
    for fake, kind in sorted(set(keys)):
        own = np.flatnonzero((clean.fake == fake) & (clean.kind == kind))
        worst = own[np.argsort(clean.logits[own] if fake else -clean.logits[own], kind="stable")]
        faces = [_thumbnail(scored, place) for place in worst[:_MISTAKES].tolist()]
        parts += [tag("h3", f"{'fake' if fake else 'real'}: {kind}"), tag("div", *faces, class_="faces")]
    return parts


def _thumbnail(scored: Scored, place: int) -> Element:
    number, judged = scored.numbers[place], scored.tiers["clean"]
    example = scored.store.crops[number].example
    picture = Image.fromarray(scored.store.pixels(number))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    verdict = (
        "fake" if judged.called_fake[place] else "uncertain" if judged.called_uncertain[place] else "real"
    )
    image = tag(
        "img",
        src=f"data:image/jpeg;base64,{data}",
        alt=f"{example.label} face of {example.source}",
        title=example.path.name,
        width=str(picture.width),
        height=str(picture.height),
    )
    score = f"{verdict}; {percent(float(judged.stated[place]))} fake"
    return tag("figure", image, tag("figcaption", tag("b", example.source), tag("span", score)))


def _all_figures(scored: Scored) -> list[Element]:
    return [
        tag("details", tag("summary", shown.title), table(shown))
        for shown in figure_tables.evaluation_tables(scored.evaluation)
        if shown.rows
    ]


def _by_source(scored: Scored, label: str) -> list[dict[str, SourceRow]]:
    """The rows by tier of each source with this label."""
    found: dict[tuple[str, str], dict[str, SourceRow]] = {}
    for row in scored.evaluation.sources:
        if row.label == label:
            found.setdefault((row.kind, row.source), {})[row.tier] = row
    return list(found.values())


def _known(row: SourceRow) -> list[str]:
    return [str(row.count), "no" if row.trained_on else "yes"]


def _grade(auc: float) -> str:
    """A class for the shade of a cell: the lower the AUC, the stronger."""
    return f"grade{sum(auc < level for level in (0.99, 0.95, 0.9, 0.8))}"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
