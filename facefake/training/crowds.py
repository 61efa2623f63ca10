"""Verdicts on pictures of several faces, put together from faces that were scored one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from facefake.aggregator import verdicts
from facefake.detail import Detail
from facefake.training.companions import sources_with_companions
from facefake.training.figures import CrowdRow
from facefake.training.real_scores import LEAST_FACES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from facefake.calibration import Calibration
    from facefake.training.evaluate import Judged
    from facefake.training.views import Tier

SIZES = (2, 4, 8, 16, 32)
_PICTURES = 40  # for each source, number of faces and number of fakes


def crowd_rows(tiers: Mapping[Tier, Judged], calibration: Calibration) -> list[CrowdRow]:
    """Verdicts on pictures of each number of faces in `SIZES`, of which none, one, half or all are fake.

    The fakes of a picture come from one source, and so do its real faces: from the same source if that has enough of them,
    else from any other one. Only sources with `LEAST_FACES` faces take part.

    Args:
        tiers: the same faces, as they were judged on each tier.
        calibration: judges the pictures.

    Returns:
        One row for each number of faces, number of fakes among them, and tier; none at all where no source of real
        faces, or none of fakes, is large enough.
    """
    judged = next(iter(tiers.values()))
    rows = []
    for faces in SIZES:
        for fakes in sorted({0, 1, faces // 2, faces}):
            pictures = list(_pictures(judged, faces, fakes))
            if pictures:
                rows += [_row(pictures, fakes, tier, seen, calibration) for tier, seen in tiers.items()]
    return rows


def _pictures(judged: Judged, faces: int, fakes: int) -> Iterator[NDArray[np.intp]]:
    """Indices of each picture's faces, the fakes first; equally many pictures per source."""
    rng = np.random.default_rng(0)
    fake = judged.fake
    hosts = sources_with_companions(judged.source, fake)
    names, counts = np.unique(judged.source[fake], return_counts=True)
    of_fakes = [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_FACES]
    if not hosts or not of_fakes:
        return
    for source in of_fakes if fakes else hosts:
        for _ in range(_PICTURES):
            host = source if source in hosts else hosts[rng.integers(len(hosts))]
            pools = ((source, True, fakes), (host, False, faces - fakes))
            yield np.concatenate([_drawn(rng, judged, *pool) for pool in pools])


def _drawn(rng: np.random.Generator, judged: Judged, source: str, fake: bool, count: int) -> NDArray[np.intp]:
    places = np.flatnonzero((judged.source == source) & (judged.fake == fake))
    return np.asarray(
        rng.choice(places, count, replace=places.size < count) if count else places[:0], np.intp
    )


def _row(
    pictures: list[NDArray[np.intp]], fakes: int, tier: Tier, judged: Judged, calibration: Calibration
) -> CrowdRow:
    found = [
        verdicts(
            judged.logits[places].tolist(),
            [Detail(*row) for row in judged.details[places].tolist()],
            calibration,
        )
        for places in pictures
    ]
    fake = np.array([[verdict == "fake" for verdict in faces] for faces, _ in found])
    whole = np.array([verdict for _, verdict in found])
    count = fake.shape[1]
    return CrowdRow(
        faces=count,
        fakes=fakes,
        tier=tier,
        called_fake=float((whole == "fake").mean()),
        called_uncertain=float((whole == "uncertain").mean()),
        fakes_called_fake=float(fake[:, :fakes].mean()) if fakes else None,
        real_called_fake=float(fake[:, fakes:].mean()) if fakes < count else None,
    )
