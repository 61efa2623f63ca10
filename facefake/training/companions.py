"""Faces among others of their source, from which it is measured what a face's neighbours say of it.

Nobody has labelled group photos enough. But pictures of one source share much of what those of one picture do, so faces
of a source stand for its pictures; those of one picture are more alike still, which makes it the safe side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facefake.calibration import AmongNeighbours
from facefake.neighbours import FEWEST_COMPARED, among_neighbours
from facefake.training.face_scores import fit_face_scores
from facefake.training.real_scores import LEAST_FACES, source_weights, weighted_quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPANIONS = (FEWEST_COMPARED - 1, 15)  # few, which tell least, and many
_ORDINARY = 0.6  # share of real faces that look more real than neighbours who say nothing of a face


def sources_with_companions(sources: NDArray[np.str_], fake: NDArray[np.bool_]) -> list[str]:
    """The sources of real faces that have `LEAST_FACES` of them, in order."""
    names, counts = np.unique(sources[~fake], return_counts=True)
    return [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_FACES]


def companions(
    rng: np.random.Generator, sources: NDArray[np.str_], fake: NDArray[np.bool_], *, real: bool
) -> NDArray[np.intp]:
    """Some faces for each face to be in a picture with.

    Args:
        rng: draws them.
        sources: of the faces, (n,); one of them at least has companions.
        fake: whether each is one, bool (n,).
        real: whether a fake gets real faces, of its own source if that has enough of them, else of any one source;
            otherwise fakes of its own. A real face always gets real ones of its own source.

    Returns:
        Their places, (n, 15).
    """
    hosts = sources_with_companions(sources, fake)
    found = np.empty((fake.size, _COMPANIONS[-1]), np.intp)
    for at, (source, is_fake) in enumerate(zip(sources.tolist(), fake.tolist(), strict=True)):
        host = hosts[rng.integers(len(hosts))] if is_fake and real and source not in hosts else source
        pool = np.flatnonzero((sources == host) & (fake == (is_fake and not real)))
        others = pool[pool != at] if pool.size > 1 else pool
        found[at] = rng.choice(others, _COMPANIONS[-1], replace=others.size < _COMPANIONS[-1])
    return found


def scored_among(
    rng: np.random.Generator,
    own: NDArray[np.float64],
    others: NDArray[np.float64],
    found: NDArray[np.intp],
    ordinary: float,
) -> NDArray[np.float64]:
    """Scores, by `among_neighbours`, of faces of which each is in a picture with few or many of its companions.

    Args:
        rng: draws which.
        own: log-odds of the faces as they are seen, (m,).
        others: the same of all faces as they are seen where they are companions, (n,).
        found: places of the companions, (m, 15).
        ordinary: as for `among_neighbours`.
    """
    scores = [
        among_neighbours(np.concatenate([own[:, None], others[found[:, :count]]], axis=1), ordinary)[:, 0]
        for count in _COMPANIONS
    ]
    return np.asarray(np.where(rng.random(own.size) < 0.5, *scores), np.float64)


def fit_neighbours(
    odds: NDArray[np.float64],
    faint: Sequence[NDArray[np.float64]],
    soft: NDArray[np.float64] | None,
    labels: NDArray[np.bool_],
    sources: NDArray[np.str_],
    collections: NDArray[np.str_],
) -> AmongNeighbours | None:
    """How faces score among neighbours; None where no source has `LEAST_FACES` real faces to be those.

    Args:
        odds: log-odds of the faces alone on each tier, (views, n).
        faint: the same of the real faces in other views, each (real faces,).
        soft: the same of all where they are soft, (views, n).
        labels: whether each is fake, (n,).
        sources: what weighs as one, (n,).
        collections: whose faces stand for those of a picture, (n,).
    """
    hosts = sources_with_companions(collections, labels)
    if not hosts:
        return None
    reals = np.flatnonzero(~labels)
    real_sources = sources[reals]
    ordinary = float(
        weighted_quantiles(
            odds[0, reals].astype(np.float32), source_weights(real_sources), np.array([_ORDINARY])
        )[0]
    )
    rng = np.random.default_rng(0)
    kept = labels | np.isin(collections, hosts)
    real = kept & ~labels
    # A fake may be the only one of its picture, or one of many.
    found = [companions(rng, collections[kept], labels[kept], real=each) for each in (True, False)]

    def among(own: NDArray[np.float64], others: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        return [
            scored_among(rng, own[kept], others[kept], each, ordinary).astype(np.float32) for each in found
        ]

    def of_real(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float32]:
        return among(own, others)[0][real[kept]]

    views = [view for tier in odds for view in among(tier, tier)]
    seldom = []
    for each in faint:
        whole = odds[0].copy()
        whole[reals] = each
        seldom += [of_real(whole, whole), of_real(whole, odds[0]), of_real(odds[0], whole)]
    soft_scores = None
    if soft is not None:
        out_of_focus = [view for own in soft for others in (own, odds[0]) for view in among(own, others)]
        soft_scores = fit_face_scores(np.stack(out_of_focus), labels[kept], sources[kept])
    scores = fit_face_scores(np.stack(views), labels[kept], sources[kept], seldom)
    return AmongNeighbours(**scores.arguments(), ordinary=ordinary, soft=soft_scores)
