"""Whether a verdict holds when the picture is resized and saved again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from facefake.aggregator import Evidence, judge
from facefake.tiles import Face
from facefake.training.crops import STORE_MARGIN, CropStore
from facefake.training.scoring import BATCH, detail_of
from facefake.training.views import resaved, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.bundle import Bundle
    from facefake.results import Verdict
    from facefake.training.scoring import Scorer, Wear

QUALITIES = (60, 75, 85, 95)  # of JPEG
SCALES = (0.75, 1.0, 1.25)
VIEWS = 1 + len(QUALITIES) * len(SCALES)


@dataclass(frozen=True, slots=True)
class StabilityRow:
    """How many verdicts change over the views of `verdicts`.

    Attributes:
        label, kind: which faces; "all" for all.
        count: faces.
        flipped: share of them that are called real in one view and fake in another.
        changed: share of them whose verdict is not the same in all views.
    """

    label: str
    kind: str
    count: int
    flipped: float
    changed: float


def stability(
    scorer: Scorer,
    bundle: Bundle,
    store: CropStore,
    numbers: Sequence[int],
    viewed: Callable[[], None] = lambda: None,
) -> list[StabilityRow]:
    """Rows for all faces, and for each label and kind.

    Args:
        scorer: a classifier.
        bundle: its bundle.
        store: the crops.
        numbers: which of them, at least one.
        viewed: called after each of the 13 views.
    """
    by_face = list(zip(*verdicts(scorer, bundle, store, numbers, viewed), strict=True))
    flipped = np.array([{"real", "fake"} <= set(found) for found in by_face])
    changed = np.array([len(set(found)) > 1 for found in by_face])
    keys = [(store.crops[n].example.label, store.crops[n].example.kind) for n in numbers]
    rows = [StabilityRow("all", "all", len(keys), float(flipped.mean()), float(changed.mean()))]
    for label, kind in sorted(set(keys)):
        own = [key == (label, kind) for key in keys]
        rows.append(
            StabilityRow(label, kind, sum(own), float(flipped[own].mean()), float(changed[own].mean()))
        )
    return rows


def verdicts(
    scorer: Scorer,
    bundle: Bundle,
    store: CropStore,
    numbers: Sequence[int],
    viewed: Callable[[], None] = lambda: None,
) -> list[list[Verdict]]:
    """The verdict on each face alone, for each view: as it is, then resized and saved in twelve ways.

    Faces that become too small or too blurred in a view are not judged there, as in a scan.
    """
    wears: list[Wear] = [lambda pixels: pixels]
    wears += [partial(resaved, scale=scale, quality=quality) for scale in SCALES for quality in QUALITIES]

    def batch(wear: Wear, start: int) -> list[Verdict]:
        worn = [wear(store.pixels(n)) for n in numbers[start : start + BATCH]]
        crops = np.stack([view(pixels, bundle.side, bundle.margin) for pixels in worn])
        logits = scorer.predict(crops).logits
        return [
            _verdict(pixels, crop, float(logit), bundle)
            for pixels, crop, logit in zip(worn, crops, logits, strict=True)
        ]

    found = []
    with ThreadPoolExecutor() as pool:
        for wear in wears:
            found.append(
                list(chain.from_iterable(pool.map(partial(batch, wear), range(0, len(numbers), BATCH))))
            )
            viewed()
    return found


def _verdict(stored: NDArray[np.uint8], crop: NDArray[np.uint8], logit: float, bundle: Bundle) -> Verdict:
    side = len(stored) / STORE_MARGIN
    face = Face((0.0, 0.0, side, side), ((side / 2, side / 2),) * 6, 1.0)
    evidence = Evidence(face, detail_of(crop, stored, bundle.margin), 0.0, logit)
    return judge([evidence], bundle.calibration).verdict
