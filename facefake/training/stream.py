"""The training stream: pairs of a fake and a real crop that share one quality history."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facefake.alignment import resample
from facefake.errors import DatasetError
from facefake.training import degrade, forgery
from facefake.training.crops import STORE_MARGIN, CropStore
from facefake.training.recipe import SELF_MADE
from facefake.training.styling import smooth, style

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.training.recipe import Recipe
    from facefake.training.reconstruction import Reconstructions

_MASKED_SQUARE = 16  # pixels of the crop
_STRONGEST_DEFOCUS = 4.0  # σ in pixels of the stored crop: the strongest blur that is judged
_DISTANT_FACE = (40, 128)  # pixels: from a little below what is judged to a size that compression hurts less
_SWAP_CANDIDATES = 64  # enough for one of similar pose and colouring


class PairStream:
    """Draws pairs: a fake by kind, then by source, and with it the real picture that otherwise differs least from it.

    A fake whose group holds a real picture (the same clip, the same person) is paired with it; a self-made one with the
    face that it was made from; one whose source has a counterpart with a real face from there; any other with a real face
    drawn by source. Both pictures of a pair go through the same history and the same geometry, so that neither reveals
    the label. Within a kind, a source is drawn in proportion to the square root of its size, so that no collection
    dominates.

    Args:
        store: the crops.
        numbers: which of them to draw from.
        recipe: the training settings.
        reconstructions: of some of the real crops; needed where the recipe has a share of them.

    Raises:
        DatasetError: there is nothing to draw fakes from.
    """

    def __init__(
        self,
        store: CropStore,
        numbers: Sequence[int],
        recipe: Recipe,
        reconstructions: Reconstructions | None = None,
    ) -> None:
        self._store = store
        self._recipe = recipe
        self._reconstructions = reconstructions
        crops = [(number, store.crops[number].example) for number in numbers]
        self._reals = _Sources({n: e.source for n, e in crops if e.label == "real"}, recipe.source_share)
        self._forgeable = _Sources(
            {n: e.source for n, e in crops if e.label == "real" and store.landmarks(n) is not None},
            recipe.source_share,
        )
        rebuilt = set(reconstructions.numbers if reconstructions else ())
        self._rebuilt = _Sources(
            {n: self._source(n) for n in self._forgeable.members() if n in rebuilt}, recipe.source_share
        )
        self._likenesses = {
            number: forgery.likeness(store.pixels(number), points)
            for number in (self._forgeable.members() if recipe.self_made_share.get("swap") else ())
            if (points := store.landmarks(number)) is not None
        }
        self._by_group: dict[str, list[int]] = {}
        self._by_source: dict[str, list[int]] = {}
        for number, example in crops:
            if example.label == "real":
                self._by_group.setdefault(example.group, []).append(number)
                self._by_source.setdefault(example.source, []).append(number)
        kinds = sorted({e.kind for _, e in crops if e.label == "fake"})
        self._fakes = {
            kind: _Sources({n: e.source for n, e in crops if e.label == "fake" and e.kind == kind}, {})
            for kind in kinds
        }
        if recipe.self_made_share.get("reconstruction") and not self._rebuilt:
            raise DatasetError(
                "expected reconstructions of real faces, which the recipe has a share of; got none"
            )
        if not self._reals:
            raise DatasetError("expected real faces of a source with a source_share above 0, got none")
        shares = [recipe.kind_share.get(kind, recipe.other_kind_share) for kind in kinds]
        made = [recipe.self_made_share.get(name, 0.0) for name in SELF_MADE]
        if sum(made) and not self._forgeable:
            raise DatasetError(
                "expected real faces with landmarks to make fakes from, got none; without them the recipe's "
                "self_made_share must be 0"
            )
        if not sum(shares + made):
            raise DatasetError(
                f"expected a kind of fake with a share above 0, got none of {kinds}, none self-made"
            )
        # The data may have a kind with the same name as a self-made one.
        self._kinds = [*((kind, False) for kind in kinds), *((name, True) for name in SELF_MADE)]
        self._shares = np.array(shares + made) / sum(shares + made)

    def pairs(
        self, rng: np.random.Generator, views: int = 1
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """One fake and one real crop, each uint8 (side, side, 3), RGB, once for every view.

        The views differ in their history, their geometry and their colours.
        """
        recipe = self._recipe
        kind, self_made = self._kinds[rng.choice(len(self._kinds), p=self._shares)]
        if self_made:
            number = (self._rebuilt if kind == "reconstruction" else self._forgeable).draw(rng)
            real = self._store.pixels(number)
            fake = self.forge(kind, number, rng)
        else:
            chosen = self._fakes[kind].draw(rng)
            fake = self._store.pixels(chosen)
            example = self._store.crops[chosen].example
            partners = self._by_group.get(example.group)
            if not partners and example.source in recipe.counterpart:
                partners = self._by_source.get(recipe.counterpart[example.source])
            real = self._store.pixels(
                partners[rng.integers(len(partners))] if partners else self._reals.draw(rng)
            )
        shows = [drawn_view(recipe, rng) for _ in range(views)]
        return [(show(fake), show(real)) for show in shows]

    def forge(self, name: str, number: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A fake made from a real face, uint8 (n, n, 3); a self-blend where no other person's face fits for a swap.

        Args:
            name: the kind, out of `recipe.SELF_MADE`, one that the recipe has a share of.
            number: of a real crop that the stream draws from and that has landmarks.
            rng: the only source of randomness.
        """
        crop, points = self._store.pixels(number), self._store.landmarks(number)
        assert points is not None
        if name == "region-blend":
            return forgery.region_blend(crop, points, rng).pixels
        if name == "retouch":
            return forgery.retouch(crop, points, rng).pixels
        if name == "reconstruction":
            assert self._reconstructions is not None
            return forgery.reconstruction(crop, points, self._reconstructions.pixels(number), rng).pixels
        if name == "upsampling":
            return forgery.upsampling(crop, points, rng).pixels
        if name == "swap":
            redrawn = self._recipe.redrawn and rng.random() < self._recipe.redrawn
            made = self._reconstructions if redrawn else None
            faces = self._rebuilt if made else self._forgeable
            drawn = [faces.draw(rng) for _ in range(_SWAP_CANDIDATES)]
            sources = [source for source in drawn if self._group(source) != self._group(number)]
            if sources:
                likenesses = np.stack([self._likenesses[source] for source in sources])
                source = sources[forgery.nearest_source(self._likenesses[number], likenesses)]
                source_points = self._store.landmarks(source)
                assert source_points is not None
                source_crop = (made or self._store).pixels(source)
                # Two heads that are turned too far apart cannot be swapped.
                with suppress(ValueError):
                    return forgery.swap(crop, points, source_crop, source_points, rng).pixels
        return forgery.self_blend(crop, points, rng).pixels

    def _group(self, number: int) -> str:
        return self._store.crops[number].example.group

    def _source(self, number: int) -> str:
        return self._store.crops[number].example.source


def drawn_view(recipe: Recipe, rng: np.random.Generator) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """A function that shows stored crops to the network, each after the same history, geometry and colours.

    Args:
        recipe: what they are drawn by.
        rng: the only source of randomness; nothing is drawn later.

    Returns:
        A function from a stored crop, uint8 (n, n, 3), RGB, to uint8 (side, side, 3).
    """
    focused = not recipe.defocus or rng.random() >= recipe.defocus
    lens = degrade.Degradation(blur=0.0 if focused else float(rng.uniform(0, _STRONGEST_DEFOCUS)))
    smoothed = recipe.smoothing and rng.random() < recipe.smoothing
    smoothing_seed = rng.integers(2**32) if smoothed else None
    styled = recipe.styling and rng.random() < recipe.styling
    style_seed = rng.integers(2**32) if styled else None
    history = degrade.draw(rng, recipe.degradation)
    distance = _distance(recipe, rng)
    matrix_seed = rng.integers(2**32)
    colour_seed = rng.integers(2**32)
    mask = _mask(rng, recipe.side, recipe.masking)

    def show(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not focused:
            pixels = degrade.apply(pixels, lens)
        if smoothing_seed is not None:
            pixels = smooth(pixels, np.random.default_rng(smoothing_seed))
        if style_seed is not None:
            pixels = style(pixels, np.random.default_rng(style_seed))
        worn = degrade.apply(pixels, history) if distance is None else distance.wear(pixels, history)
        seen = resample(worn, _jitter(recipe, len(worn), np.random.default_rng(matrix_seed)), recipe.side)
        coloured = _colour(seen, np.random.default_rng(colour_seed))
        coloured[mask] = coloured.reshape(-1, 3).mean(0).round()
        return coloured

    return show


class _Distance(NamedTuple):
    """Far from the camera: crops of at most `side` pixels, so that what is saved is a face as small as in crowds."""

    side: int
    kernel: degrade.Kernel

    def wear(self, pixels: NDArray[np.uint8], history: degrade.Degradation) -> NDArray[np.uint8]:
        """A crop shrunk first, then put through the history without its scaling, and with its blur scaled down to match."""
        side = min(len(pixels), self.side)
        shrunk = degrade.resize(pixels, (side, side), self.kernel)
        return degrade.apply(shrunk, replace(history, scale=1.0, blur=history.blur * side / len(pixels)))


class _Sources:
    """Members grouped by source; a source is drawn in proportion to the square root of its size times its share."""

    def __init__(self, members: Mapping[int, str], shares: Mapping[str, float]) -> None:
        self._members: dict[str, list[int]] = {}
        for number, source in members.items():
            if shares.get(source, 1.0):
                self._members.setdefault(source, []).append(number)
        self._names = list(self._members)
        weights = [math.sqrt(len(self._members[name])) * shares.get(name, 1.0) for name in self._names]
        self._shares = np.array(weights) / sum(weights)

    def __bool__(self) -> bool:
        return bool(self._members)

    def members(self) -> Iterator[int]:
        return chain.from_iterable(self._members.values())

    def draw(self, rng: np.random.Generator) -> int:
        members = self._members[self._names[rng.choice(len(self._names), p=self._shares)]]
        return members[rng.integers(len(members))]


def _distance(recipe: Recipe, rng: np.random.Generator) -> _Distance | None:
    if not recipe.distant or rng.random() >= recipe.distant:
        return None
    smallest, largest = map(math.log, _DISTANT_FACE)
    face = math.exp(rng.uniform(smallest, largest))
    return _Distance(round(face * STORE_MARGIN), degrade.draw_kernel(rng))


def _jitter(recipe: Recipe, crop_side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    scale = (
        recipe.side / crop_side * STORE_MARGIN / recipe.margin * math.exp(rng.normal(0, recipe.jitter_scale))
    )
    turn = rng.normal(0, math.radians(recipe.jitter_degrees))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    linear = np.array([[flip * cos, sin], [-flip * sin, cos]])
    centre = recipe.side * (0.5 + rng.normal(0, recipe.jitter_shift, 2))
    return np.column_stack([linear, centre - linear @ [crop_side / 2, crop_side / 2]])


def _mask(rng: np.random.Generator, side: int, most: float) -> NDArray[np.bool_]:
    """Which pixels of a crop are blanked: squares of a grid, a share of them between none and `most`.

    After random erasing (Zhong et al., AAAI 2020), with hide-and-seek's grid (Singh & Lee, ICCV 2017).
    """
    squares = -(-side // _MASKED_SQUARE)
    blank = rng.random((squares, squares)) < most * rng.random()
    return np.kron(blank, np.ones((_MASKED_SQUARE, _MASKED_SQUARE), bool))[:side, :side]


def _colour(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A slight change of gain per channel and of offset, as between cameras; one in twenty turns grey."""
    gain = np.exp(rng.normal(0, 0.06) + rng.normal(0, 0.03, 3))
    offset = rng.normal(0, 6)
    result = pixels * gain.astype(np.float32) + np.float32(offset)
    if rng.random() < 0.05:
        result[:] = result.mean(-1, keepdims=True)
    return np.asarray(np.clip(result, 0, 255).round(), np.uint8)
