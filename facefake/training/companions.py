"""Puts faces among others of their source, to measure what a face's neighbours say about it.

There are too few labelled group photos. But faces of one source have much in common, as those of one picture do, so they
stand in for pictures; faces of one picture are even more alike, so this errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facefake.calibration import AmongNeighbours, FaceScores, Lack
from facefake.neighbours import FEWEST_COMPARED, among_neighbours
from facefake.training.face_scores import fit_face_scores
from facefake.training.real_scores import LEAST_FACES, source_weights, weighted_quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPANIONS = (FEWEST_COMPARED - 1, 15)  # few, which tell least, and many
_DRAWS = 8  # of companions for each face: with one, a rate would depend on chance
_ORDINARY = 0.5  # share of real faces that look more real than an ordinary one


class Seen(NamedTuple):
    """Some faces in one view.

    Attributes:
        odds: log-odds of each alone, float64 (n,).
        counted: which ones rates and probabilities are fitted to, bool (n,); the others only serve as companions.
    """

    odds: NDArray[np.float64]
    counted: NDArray[np.bool_]


def sources_with_companions(sources: NDArray[np.str_], fake: NDArray[np.bool_]) -> list[str]:
    """The sources with at least `LEAST_FACES` real faces, in order."""
    names, counts = np.unique(sources[~fake], return_counts=True)
    return [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_FACES]


def companions(
    rng: np.random.Generator, sources: NDArray[np.str_], fake: NDArray[np.bool_], count: int, *, real: bool
) -> NDArray[np.intp]:
    """Draw for each face the others in its picture.

    Args:
        rng: draws them.
        sources: of the faces, (n,); at least one of them has companions.
        fake: whether each is one, bool (n,).
        count: how many each gets.
        real: whether a fake gets real faces, from its own source if that has enough of them, else from any single
            source; otherwise it gets fakes from its own. A real face always gets real ones from its own source.

    Returns:
        Their indices, (n, count).
    """
    hosts = sources_with_companions(sources, fake)
    found = np.empty((fake.size, count), np.intp)
    for at, (source, is_fake) in enumerate(zip(sources.tolist(), fake.tolist(), strict=True)):
        host = hosts[rng.integers(len(hosts))] if is_fake and real and source not in hosts else source
        pool = np.flatnonzero((sources == host) & (fake == (is_fake and not real)))
        others = pool[pool != at] if pool.size > 1 else pool
        found[at] = rng.choice(others, count, replace=others.size < count)
    return found


def scored_among(
    own: NDArray[np.float64], others: NDArray[np.float64], found: NDArray[np.intp], ordinary: float
) -> NDArray[np.float64]:
    """Scores, by `among_neighbours`, of faces that are each in a picture with their companions.

    Args:
        own: log-odds of the faces in the view that is scored, (n,).
        others: log-odds of the same faces in the view in which they serve as companions, (n,).
        found: indices of the companions, (n, count).
        ordinary: as for `among_neighbours`.
    """
    together = np.concatenate([own[:, None], others[found]], axis=1)
    return np.asarray(among_neighbours(together, ordinary)[:, 0], np.float64)


def fit_neighbours(
    tiers: Sequence[Seen],
    faint: Sequence[Seen],
    lacking: Mapping[Lack, Sequence[Seen]],
    labels: NDArray[np.bool_],
    sources: NDArray[np.str_],
    collections: NDArray[np.str_],
) -> AmongNeighbours | None:
    """Fit how faces score among neighbours; None where no source has `LEAST_FACES` real faces to serve as such.

    If fewer real faces than that count in some view, over all such sources together, every face counts in every view.

    Args:
        tiers: the faces on each tier.
        faint: the real faces in other views.
        lacking: all faces in the views where they lack detail, for each lack.
        labels: whether each is fake, (n,).
        sources: of the faces, (n,); each is weighted as one.
        collections: from which their companions come, (n,).
    """
    hosts = sources_with_companions(collections, labels)
    if not hosts:
        return None
    weights = source_weights(sources[~labels])
    levels = weighted_quantiles(tiers[0].odds[~labels].astype(np.float32), weights, np.array([_ORDINARY]))
    ordinary = float(levels[0])
    kept = labels | np.isin(collections, hosts)
    fake, among = labels[kept], sources[kept]
    hosted = kept[~labels]
    real_counted = [*(tier.counted[~labels] for tier in tiers), *(view.counted for view in faint)]
    if min(own[hosted].sum() for own in real_counted) < LEAST_FACES:
        tiers, faint = (
            [view._replace(counted=np.ones_like(view.counted)) for view in views] for views in (tiers, faint)
        )
    rng = np.random.default_rng(0)
    # A fake may be the only one in its picture, or one of many.
    draws = [
        [companions(rng, collections[kept], fake, count, real=real) for count in _COMPANIONS * (_DRAWS // 2)]
        for real in (True, False)
    ]

    def scored(own: Seen, others: Seen) -> NDArray[np.float32]:
        """Scores in all draws, (2, draws × n); NaN where a face does not count."""
        meant = np.where(own.counted, own.odds, np.nan)[kept]
        return np.array(
            [
                np.concatenate([scored_among(meant, others.odds[kept], found, ordinary) for found in same])
                for same in draws
            ],
            np.float32,
        )

    def fitted(views: list[NDArray[np.float32]], seldom: list[NDArray[np.float32]]) -> FaceScores:
        return fit_face_scores(
            np.concatenate(views), np.tile(fake, _DRAWS), np.tile(among, _DRAWS), seldom, draws=_DRAWS
        )

    seldom = []
    for view in faint:
        whole = Seen(tiers[0].odds.copy(), tiers[0].counted.copy())
        whole.odds[~labels], whole.counted[~labels] = view
        seldom += [
            scored(own, others)[0, np.tile(~fake, _DRAWS)]
            for own, others in ((whole, whole), (whole, tiers[0]), (tiers[0], whole))
        ]
    groups = {
        lack: fitted([scored(own, others) for own in views for others in (own, tiers[0])], [])
        for lack, views in lacking.items()
    }
    return AmongNeighbours(
        **fitted([scored(tier, tier) for tier in tiers], seldom).arguments(),
        ordinary=ordinary,
        soft=groups.get("soft"),
        grainless=groups.get("grainless"),
    )
