"""The plots of an evaluation: ROC curves, score histograms, reliability, false alarms and face sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facefake.training.calibrate import LEAST_AUC
from facefake.training.metrics import reliability, roc_curve, wilson_interval
from facefake.training.plots import Axis, Plot
from facefake.training.real_scores import LEAST_FACES, threshold
from facefake.wording import percent

if TYPE_CHECKING:
    from facefake.training.evaluate import Scored
    from facefake.training.figures import SourceRow

    Shown = tuple[str, Plot, Sequence[tuple[int, str]]]
    """Title, plot, and number and name of each series."""

_SHARES = [(fifth / 5, f"{fifth * 20} %") for fifth in range(6)]


def roc_curves(scored: Scored) -> list[Shown]:
    """One plot per tier, one curve per kind of fake; the false-positive rate is logarithmic, down to about one face."""
    real = ~scored.tiers["clean"].fake
    decades = max(2, math.floor(math.log10(real.sum())))
    ticks = [(10.0**-power, percent(10.0**-power)) for power in range(decades, -1, -1)]
    alarm_rate = scored.bundle.calibration.alarm_rate
    plots: list[Shown] = []
    for row in scored.evaluation.tiers:
        judged = scored.tiers[row.tier]
        plot = Plot(
            f"ROC curves by kind of fake, {row.tier}",
            Axis("false-positive rate (logarithmic)", ticks[0][0], 1.0, ticks, log=True),
            Axis("true-positive rate", 0.0, 1.0, _SHARES),
        )
        plot.limit(alarm_rate, f"α = {percent(alarm_rate)}")
        alarms = float(judged.called_fake[real].mean())
        for series, (kind, auc) in enumerate(row.auc_by_kind.items()):
            own = judged.fake & (judged.kind == kind)
            plot.curve(*roc_curve(judged.logits[real], judged.logits[own]), series, f"{kind}, AUC {auc:.3f}")
            caught = float(judged.called_fake[own].mean())
            told = f"{kind} at the model's threshold: {caught:.1%} found, {alarms:.1%} false alarms"
            plot.mark(alarms, caught, series, told)
        names = [f"{kind} {auc:.3f}" for kind, auc in row.auc_by_kind.items()]
        plots.append((row.tier, plot, list(enumerate(names))))
    return plots


def histograms(scored: Scored) -> list[Shown]:
    """One plot per tier: the distribution of the logits of each label, with equal weight for each source in it."""
    tiers, calibration = scored.tiers, scored.bundle.calibration
    everything = np.concatenate([judged.logits for judged in tiers.values()])
    low, high = (float(value) for value in np.quantile(everything, [0.002, 0.998]))
    if low == high:  # of a network that has collapsed
        low, high = low - 1, high + 1
    edges = np.linspace(low, high, 41)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    shares = {}
    for tier, judged in tiers.items():
        weights = judged.weights(np.ones(judged.fake.size, bool))
        for fake in (False, True):
            own = judged.fake == fake
            inside = judged.logits[own].clip(low, high)
            shares[tier, fake] = np.histogram(inside, edges, weights=weights[own])[0].tolist()
    top = max(max(heights) for heights in shares.values())
    step = max(1, round((high - low) / 6))
    ticks = [value for value in range(math.ceil(low), math.floor(high) + 1) if value % step == 0]
    plots: list[Shown] = []
    for tier in tiers:
        plot = Plot(
            f"Scores of real and fake faces, {tier}",
            Axis("logit", low, high, [(value, str(value)) for value in ticks]),
            Axis("share of the label", 0.0, top, _percents(top)),
        )
        for series, label in enumerate(("real", "fake")):
            plot.area(middles, shares[tier, label == "fake"], series, label)
        for rate, verdict in ((calibration.alarm_rate, "fake"), (calibration.uncertain_rate, "uncertain")):
            place = threshold(calibration, rate)
            if low < place < high:
                plot.limit(place, verdict)
        plots.append((tier, plot, [(0, "real"), (1, "fake")]))
    return plots


def reliability_diagram(scored: Scored) -> list[Shown]:
    """One plot with a curve per tier; with equal weight for both labels and, within each, for every source."""
    plot = Plot(
        "Reliability diagram",
        Axis("stated fake probability", 0.0, 1.0, _SHARES),
        Axis("share of fakes", 0.0, 1.0, _SHARES),
    )
    plot.diagonal()
    names = []
    for series, row in enumerate(scored.evaluation.tiers):
        judged = scored.tiers[row.tier]
        found = reliability(judged.stated, judged.fake, judged.weights(np.ones(judged.fake.size, bool)))
        name = f"{row.tier}, error {row.calibration_error:.3f}"
        names.append((series, name))
        plot.curve(found.stated, found.true, series, name)
        for mass, stated, true in zip(*found, strict=True):
            told = f"{row.tier}: {stated:.0%} stated, {true:.0%} true, {mass:.0%} of the faces"
            plot.mark(float(stated), float(true), series, told)
    return [("", plot, names)]


def false_alarms(rows: Sequence[SourceRow], alarm_rate: float) -> Plot:
    """The false-alarm rates of sources of real faces, numbered from 1 at the top, with 95 % intervals."""
    intervals = [wilson_interval(round(row.called_fake * row.count), row.count) for row in rows]
    # A source of three faces would squeeze all others: what lies beyond the axis is drawn at its end.
    highest = max((row.called_fake for row in rows if row.count >= LEAST_FACES), default=1.0)
    top = min(1.0, max(0.1, 1.2 * highest))
    last = len(rows)
    plot = Plot(
        "False alarms by source of real faces, web",
        Axis("called fake, web, with 95 % interval", 0.0, top, _percents(top)),
        Axis("source", 0.0, last + 1.0, [(last - place, str(place + 1)) for place in range(last)]),
        height=80 + 15 * last,
    )
    for place, (row, interval) in enumerate(zip(rows, intervals, strict=True)):
        plot.span(*interval, last - place, 0)
        told = f"{row.source}: {row.called_fake:.1%} of {row.count}"
        plot.mark(row.called_fake, last - place, 0, told)
    plot.limit(alarm_rate, f"α = {percent(alarm_rate)}")
    return plot


def face_sizes(scored: Scored) -> list[Shown]:
    """AUC by the side of the face, one curve per tier."""
    rows = scored.evaluation.sizes
    sides = sorted({row.face_side for row in rows})
    plot = Plot(
        "AUC by size of the face",
        Axis(
            "side of the face, pixels", sides[0], sides[-1], [(side, str(side)) for side in sides], log=True
        ),
        Axis("AUC", 0.5, 1.0, [(tenth / 10, f"{tenth / 10:.1f}") for tenth in range(5, 11)]),
    )
    plot.limit(LEAST_AUC, "not worth judging below", "y")
    limit = scored.bundle.calibration.min_face
    if sides[0] < limit < sides[-1]:
        plot.limit(limit, f"judged from {limit:g} px")
    tiers = list(dict.fromkeys(row.tier for row in rows))
    for series, tier in enumerate(tiers):
        own = [row for row in rows if row.tier == tier]
        plot.curve([row.face_side for row in own], [row.auc for row in own], series, tier)
        for row in own:
            plot.mark(row.face_side, row.auc, series, f"{row.face_side} px, {tier}: AUC {row.auc:.3f}")
    return [("", plot, list(enumerate(tiers)))]


def _percents(top: float) -> list[tuple[float, str]]:
    step = next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if top / step <= 6), 0.25)
    return [(step * place, f"{step * place:.0%}") for place in range(int(top / step) + 1)]
