"""Scores a bundle's network on stored crops: the part of the pipeline that calibration and evaluation share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from facefake.detail import Detail, measured_detail
from facefake.training.crops import STORE_MARGIN, CropStore
from facefake.training.views import view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from facefake.classifier import Scores

    Wear = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    """From a stored crop to the one that is shown, both uint8, RGB and square; their sides may differ."""

BATCH = 32  # crops at once: what a thread holds in memory
# Correlation of two crops' thumbnails: the pairs above it in the development data, by eye, each show one photograph.
_SAME = 0.98


class Scorer(Protocol):
    """What `Classifier` offers."""

    def predict(self, crops: NDArray[np.uint8]) -> Scores:
        """See `Classifier.predict`."""


class CrossFitted(NamedTuple):
    """Scorers each of which was fitted without a fold of faces, and scores these.

    Attributes:
        scorers: one for each fold, then that of all other faces.
        fold_by_number: the fold of each crop that they were fitted to.
    """

    scorers: tuple[Scorer, ...]
    fold_by_number: Mapping[int, int]

    def place_of(self, number: int) -> int:
        """Which of the scorers scores this crop."""
        return self.fold_by_number.get(number, len(self.scorers) - 1)


class Measured(NamedTuple):
    """What decides the verdicts on some faces.

    Attributes:
        logits: float32 (n,).
        details: sharpness and grain as a scan would measure them, float64 (n, 2).
    """

    logits: NDArray[np.float32]
    details: NDArray[np.float64]

    def each_detail(self) -> list[Detail]:
        """The detail of each face."""
        return [Detail(*row) for row in self.details.tolist()]


def measure(
    scorer: Scorer | CrossFitted,
    store: CropStore,
    numbers: Sequence[int],
    side: int,
    margin: float,
    wear: Wear,
) -> Measured:
    """Logits and detail of some crops, each shown after `wear`.

    Args:
        scorer: a classifier, or several of which each scores its own crops.
        store: the crops.
        numbers: which of them.
        side, margin: the network's.
        wear: what the crop goes through first.
    """
    if isinstance(scorer, CrossFitted):
        found = Measured(np.empty(len(numbers), np.float32), np.empty((len(numbers), 2)))
        places = np.array([scorer.place_of(number) for number in numbers], np.intp)
        for place in sorted(set(places.tolist())):
            own = np.flatnonzero(places == place)
            part = measure(
                scorer.scorers[place], store, [numbers[at] for at in own.tolist()], side, margin, wear
            )
            found.logits[own], found.details[own] = part
        return found

    def batch(start: int) -> Measured:
        worn = [wear(store.pixels(n)) for n in numbers[start : start + BATCH]]
        crops = np.stack([view(pixels, side, margin) for pixels in worn])
        details = [detail_of(*pair, margin) for pair in zip(crops, worn, strict=True)]
        return Measured(scorer.predict(crops).logits, np.array(details))

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(batch, range(0, len(numbers), BATCH)))
    return Measured(
        np.concatenate([np.empty(0, np.float32), *(part.logits for part in parts)]),
        np.concatenate([np.empty((0, 2)), *(part.details for part in parts)]),
    )


def detail_of(crop: NDArray[np.uint8], stored: NDArray[np.uint8], margin: float) -> Detail:
    """The detail of the crop that `view` cut from a stored one with this margin."""
    return measured_detail(crop, round(len(stored) / STORE_MARGIN * margin))


def unseen(store: CropStore, held_out: Sequence[str]) -> list[int]:
    """Numbers of the crops that a run with these held-out sources never trains on, without duplicate photographs.

    A crop whose group is trained on is left out, such as a held-out fake made from a training clip. So is a near-duplicate,
    with the same label, of a crop that is trained on or of an earlier one of these: collections list one portrait under
    two names, and a photograph in both halves would serve both to calibrate and to report.
    """
    return list(_unseen(store, tuple(held_out))[0])


def told_left_out(store: CropStore, held_out: Sequence[str]) -> str | None:
    """A sentence for the user about crops that are neither trained on nor `unseen`; None if there are none."""
    kept, known, repeated = _unseen(store, tuple(held_out))
    if not known and not repeated:
        return None
    return (
        f"Of {len(kept) + known + repeated:,} pictures that are not trained on, {known + repeated:,} are not measured on "
        f"either: {repeated:,} are near-duplicates of others, {known:,} belong to groups that are trained on."
    )


def told_both_labels(store: CropStore) -> str | None:
    """A sentence for the user about crops that occur, to the pixel, both as real and as fake; None if there are none."""
    alike: dict[bytes, list[int]] = {}
    for number, small in enumerate(store.thumbnails()):
        alike.setdefault(small.tobytes(), []).append(number)
    count, first = 0, None
    for numbers in alike.values():
        if len({store.crops[n].example.label for n in numbers}) == 1:
            continue
        # A fake may differ from its real face by less than a thumbnail shows.
        same: dict[bytes, dict[str, list[int]]] = {}
        for number in numbers:
            labels = same.setdefault(store.pixels(number).tobytes(), {"real": [], "fake": []})
            labels[store.crops[number].example.label].append(number)
        for labels in same.values():
            if labels["real"] and labels["fake"]:
                count += len(labels["fake"])
                first = first or (labels["real"][0], labels["fake"][0])
    if first is None:
        return None
    names = " and ".join(str(store.crops[n].example.path) for n in first)
    return f"Fakes that also occur as real faces, pixel for pixel: {count:,}; the first: {names}."


@lru_cache(maxsize=1)  # a run asks for them repeatedly
def _unseen(store: CropStore, held_out: tuple[str, ...]) -> tuple[tuple[int, ...], int, int]:
    """Those crops, and how many are left out because of their group, and as near-duplicates."""
    trained = seen(store, held_out)
    groups = {store.crops[number].example.group for number in trained}
    untrained = sorted(set(range(len(store))) - set(trained))
    hidden = [number for number in untrained if store.crops[number].example.group not in groups]
    again = _repeated(store, trained, hidden)
    kept = tuple(number for number, repeated in zip(hidden, again, strict=True) if not repeated)
    return kept, len(untrained) - len(hidden), len(hidden) - len(kept)


def seen(store: CropStore, held_out: Sequence[str]) -> list[int]:
    """Numbers of the crops that a run with these held-out sources trains on."""
    return [
        number
        for number, crop in enumerate(store.crops)
        if crop.example.split == "train" and crop.example.source not in held_out
    ]


def _repeated(store: CropStore, before: Sequence[int], numbers: Sequence[int]) -> NDArray[np.bool_]:
    """Which crops are near-duplicates of one of `before`, or of an earlier one of `numbers`, with the same label."""
    small = store.thumbnails().reshape(len(store), -1).astype(np.float32)
    small -= small.mean(1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    fake = np.array([crop.example.label == "fake" for crop in store.crops])
    others = np.array([*before, *numbers], int)
    compared, fake_others = small[others], fake[others]
    again = np.zeros(len(numbers), bool)
    for start in range(0, len(numbers), BATCH):
        own = np.array(numbers[start : start + BATCH])
        alike = (small[own] @ compared.T >= _SAME) & (fake[own][:, None] == fake_others)
        place = len(before) + start + np.arange(own.size)
        again[start : start + own.size] = (alike & (np.arange(others.size) < place[:, None])).any(1)
    return again


def by_source(store: CropStore, numbers: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """These crops by (label, source)."""
    found: dict[tuple[str, str], list[int]] = {}
    for number in numbers:
        example = store.crops[number].example
        found.setdefault((example.label, example.source), []).append(number)
    return found


def sources_of(store: CropStore, numbers: Sequence[int]) -> NDArray[np.str_]:
    """Kind and source of each crop: those that share both are weighted as one source."""
    return np.array([f"{store.crops[n].example.kind}/{store.crops[n].example.source}" for n in numbers])


def first_of_each(store: CropStore, numbers: Sequence[int], count: int) -> list[int]:
    """The first `count` of these crops from each source and label."""
    return [number for members in by_source(store, numbers).values() for number in members[:count]]


def largest_of_each(store: CropStore, numbers: Sequence[int], count: int) -> list[int]:
    """The largest `count` of these crops from each source and label, to make small or blurred views from."""
    return first_of_each(store, sorted(numbers, key=lambda n: -store.crops[n].side), count)


def halves(store: CropStore, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
    """Unseen crops in two halves, by a hash of their groups: one to calibrate on, and one to report on."""
    parts: tuple[list[int], list[int]] = ([], [])
    for number in numbers:
        digest = hashlib.sha256(store.crops[number].example.group.encode("utf-8", "surrogateescape")).digest()
        parts[digest[0] % 2].append(number)
    return parts
