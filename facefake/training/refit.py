"""Refits the last layers of trained networks to faces that the networks were not trained on.

A network partly memorises the pictures that it is trained on, so its last layer, trained along with it, relies on features
that mean less on other pictures (Kirichenko, Izmailov & Wilson, "Last Layer Re-Training is Sufficient for Robustness to
Spurious Correlations", ICLR 2023). The score is linear in the features, so the best last layers for held-out faces are a
logistic regression, here with a ridge penalty on the distance from the trained ones.

Faces that the last layers were fitted to score too well to calibrate on. So these faces are split into folds by group, and
each fold is scored by last layers that were fitted to the other folds (cross-fitting).

Besides on the tiers, small, and out of focus, each face may be shown in views drawn as those of training are: where faces
are few, how their features vary over many views of them tells what to rely on.

Fakes made from the real faces may be among those that are fitted to, but not where all faces are small or out of focus:
there such a fake hardly differs from its face, and would teach that these faces look fake. All faces that go into one are
of one fold. It is not calibrated on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facefake.bundle import ONE_NETWORK_SHARE
from facefake.classifier import LiteRTNetworks
from facefake.training.export import convert
from facefake.training.logistic import fit_logistic
from facefake.training.real_scores import source_weights
from facefake.training.recipe import SELF_MADE, Recipe
from facefake.training.scoring import CrossFitted, Scorer
from facefake.training.stream import PairStream, drawn_view
from facefake.training.views import TIERS, blurred, small, small_and_blurred, view, wear

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from facefake.training.crops import CropStore
    from facefake.training.scoring import Wear

_FOLDS = 5
_SELF_MADE = tuple(kind for kind in SELF_MADE if kind != "reconstruction")  # this one needs auto-encoders
_SMALL_FACE = 48  # pixels
_BLUR = 2.0  # σ in pixels of the stored crop
_SMALL_BLURRED_FACE, _SMALL_BLUR = 64, 0.7  # pixels, and σ in them: as faces in crowds are
_BATCH = 64  # crops at once
_LEAST_RIDGE = 1e-9  # of the score's factor and the bias, which are all but free
_LEAST_SPREAD = 1e-2  # of a feature, in means of all features' standard deviations


class _Face(NamedTuple):
    """A crop of the store, or a fake made from it."""

    number: int
    fake: bool
    source: str  # of a fake that was made, its kind
    made: bool = False


class _View(NamedTuple):
    """How all faces are shown to the networks."""

    show: Callable[[NDArray[np.uint8], _Face], NDArray[np.uint8]]
    of_made: bool  # also those that were made


class LastLayers(NamedTuple):
    """How the score changes: to ``scale * score + features @ change + bias``.

    Attributes:
        scale: factor on the trained score.
        change: float64 (d,), what is added to the trained weights of the features.
        bias: what is added to the score.
    """

    scale: float
    change: NDArray[np.float64]
    bias: float


def fitted_to(store: CropStore, calibration_half: Sequence[int], recipe: Recipe) -> list[int]:
    """The faces of the calibration half that the last layers are fitted to: none from a source that must stay unseen."""
    without = {*recipe.held_out, *recipe.refit_without}
    return [number for number in calibration_half if store.crops[number].example.source not in without]


def refit(
    networks: Sequence[keras.Model],
    store: CropStore,
    numbers: Sequence[int],
    recipe: Recipe,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Callable[[Scorer], CrossFitted]:
    """Refit the last layers of one or two networks to faces on all tiers, small, out of focus, and in drawn views.

    ``logit = mean(map) + bias`` holds as before.

    Args:
        networks: as `network.build` makes them, their scale folded by `network.fold_scale`; their last layers are changed.
        store: the crops.
        numbers: which of them to fit to, of groups that the networks were not trained on; real and fake.
        recipe: gives the settings that begin with ``refit``, and the weight of the mirror image's score.
        progress: called with how many faces were measured and their total.

    Returns:
        A function that takes a scorer of the changed networks, and returns one that scores each of these faces by last
        layers that were fitted without its fold, and all other faces as the given scorer does.
    """
    share = recipe.mirror_share if len(networks) > 1 else ONE_NETWORK_SHARE
    faces = [_Face(n, store.crops[n].example.label == "fake", store.crops[n].example.source) for n in numbers]
    if recipe.refit_self_made:
        reals = [face.number for face in faces if not face.fake]
        forgeable = [n for n in reals if store.landmarks(n) is not None]
        faces += [_Face(n, True, kind, made=True) for n in forgeable for kind in _SELF_MADE]
    folds = np.array([fold_of(store.crops[face.number].example.group) for face in faces])
    look = _looks(store, faces)
    views = _views(recipe)
    measured = _features(networks, share)
    by_view: list[list[NDArray[np.float32]]] = [[] for _ in views]
    for start in range(0, len(faces), _BATCH):
        batch = faces[start : start + _BATCH]
        crops = [look(face) for face in batch]
        for (show, of_made), rows in zip(views, by_view, strict=True):
            shown = [
                show(crop, face) for crop, face in zip(crops, batch, strict=True) if of_made or not face.made
            ]
            if shown:
                rows.append(measured(np.stack(shown)))
        progress(start + len(crops), len(faces))
    seen = [np.concatenate(batches) for batches in by_view]
    features = np.zeros((len(views), len(faces), seen[0].shape[1]), np.float32)
    for place, found in enumerate(seen):
        features[place, : len(found)] = found
    labels = np.array([face.fake for face in faces])
    sources = np.array([face.source for face in faces])
    made = np.array([face.made for face in faces])
    trained = [network.get_weights() for network in networks]
    scores = features @ _weights(networks) + _bias(networks, share)

    def fit(own: NDArray[np.bool_]) -> None:
        made_shares = [recipe.refit_self_made if of_made else 0.0 for _, of_made in views]
        counts = np.stack([face_weights(labels[own], sources[own], made[own], each) for each in made_shares])
        found = fit_last_layers(features[:, own], scores[:, own], labels[own], counts, recipe.refit)
        for network, weights in zip(networks, trained, strict=True):
            network.set_weights(weights)
        _change(networks, found)

    scorers = []
    for fold in range(_FOLDS):
        fit(folds != fold)
        contents = {f"network {place}": convert(network) for place, network in enumerate(networks, 1)}
        scorers.append(LiteRTNetworks(contents, recipe.side, 2, share))
    fit(np.ones(len(faces), bool))
    fold_by_number = dict(zip(numbers, folds[: len(numbers)].tolist(), strict=True))
    return lambda scorer: CrossFitted((*scorers, scorer), fold_by_number)


def fold_of(group: str) -> int:
    """The fold, 0 to 4, of the faces of a group; another byte of the hash than `scoring.halves` takes."""
    digest = hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
    return digest[1] % _FOLDS


def face_weights(
    labels: NDArray[np.bool_], sources: NDArray[np.str_], made: NDArray[np.bool_], made_share: float
) -> NDArray[np.float64]:
    """Weights of faces, (n,), with sum 1: half for each label, by which a source counts by the square root of its size.

    Args:
        labels: whether each face is fake, (n,).
        sources: of the faces, (n,).
        made: which of the fakes were made from real faces among them, (n,).
        made_share: share of the fakes' weight that these have.
    """
    weights = np.zeros(labels.size)
    share = made_share if made.any() else 0.0
    for chosen, part in ((~labels, 1.0), (labels & ~made, 1 - share), (made, share)):
        if chosen.any():
            weights[chosen] = part / 2 * source_weights(sources[chosen])
    return weights


def fit_last_layers(
    features: NDArray[np.float32],
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
    penalty: float,
) -> LastLayers:
    """Weighted logistic regression on the trained scores and the features, with a ridge penalty on the latter.

    The penalty is half of `penalty` times the sum of the squared changes, for features scaled to a (weighted) standard
    deviation of 1.

    Args:
        features: float32 (views, n, d), of the same faces.
        scores: of the trained networks, (views, n).
        labels: whether each face is fake, bool (n,).
        weights: of the faces, in each view with sum 1, (views, n).
        penalty: above 0.
    """
    count, dimension = len(features), features.shape[2]
    w, y = weights.ravel() / count, np.tile(labels, count)
    flat = features.reshape(-1, dimension).astype(np.float64)
    middle = w @ flat
    spread = np.sqrt(w @ (flat - middle) ** 2)
    spread = spread + _LEAST_SPREAD * spread.mean() + np.finfo(np.float64).tiny
    design = np.column_stack([(flat - middle) / spread, scores.ravel(), np.ones(len(flat))])
    parameters = fit_logistic(
        design,
        y,
        w,
        np.append(np.full(dimension, penalty), [_LEAST_RIDGE, _LEAST_RIDGE]),
        np.append(np.zeros(dimension), [1.0, 0.0]),
    )
    change = parameters[:dimension] / spread
    return LastLayers(float(parameters[-2]), change, float(parameters[-1] - middle @ change))


def _views(recipe: Recipe) -> list[_View]:
    """The tiers, small, out of focus, both; then those that are drawn."""
    side, margin, drawn_by = recipe.side, recipe.margin, recipe.for_drawn_views()

    def fixed(wear: Wear) -> Callable[[NDArray[np.uint8], _Face], NDArray[np.uint8]]:
        return lambda crop, face: view(wear(crop), side, margin)

    def drawn(draw: int) -> Callable[[NDArray[np.uint8], _Face], NDArray[np.uint8]]:
        def show(crop: NDArray[np.uint8], face: _Face) -> NDArray[np.uint8]:
            kind = face.source.encode() if face.made else b""
            return drawn_view(drawn_by, np.random.default_rng([draw, face.number, *kind]))(crop)

        return show

    return [
        *(_View(fixed(partial(wear, tier=tier)), True) for tier in TIERS),
        _View(fixed(partial(small, face_side=_SMALL_FACE)), False),
        _View(fixed(partial(blurred, sigma=_BLUR)), False),
        _View(fixed(partial(small_and_blurred, face_side=_SMALL_BLURRED_FACE, sigma=_SMALL_BLUR)), False),
        *(_View(drawn(draw), True) for draw in range(recipe.refit_drawn)),
    ]


def _looks(store: CropStore, faces: Sequence[_Face]) -> Callable[[_Face], NDArray[np.uint8]]:
    """What gives the crops of these faces."""
    forging = Recipe(self_made_share=dict.fromkeys(_SELF_MADE, 1.0))
    fold = {face.number: fold_of(store.crops[face.number].example.group) for face in faces}
    streams = {
        each: PairStream(store, [n for n in fold if fold[n] == each], forging)
        for each in sorted({fold[face.number] for face in faces if face.made})
    }

    def look(face: _Face) -> NDArray[np.uint8]:
        if not face.made:
            return store.pixels(face.number)
        rng = np.random.default_rng([face.number, *face.source.encode()])
        return streams[fold[face.number]].forge(face.source, face.number, rng)

    return look


def _features(
    networks: Sequence[keras.Model], share: float
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Maps crops, uint8 (n, side, side, 3), to the features that the score is linear in, float32 (n, d).

    They are the means over all places of the last layers' inputs, for the crop and for its mirror image, each times its
    share of the score.
    """
    import keras

    models = []
    for network in networks:
        seen = network.get_layer("evidence").input
        models.append(keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(seen)))

    def measured(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown = crops.astype(np.float32)
        both = [
            (1 - share) * np.asarray(models[0].predict_on_batch(shown)),
            share * np.asarray(models[-1].predict_on_batch(shown[:, :, ::-1])),
        ]
        return np.asarray(both[0] + both[1] if len(models) == 1 else np.concatenate(both, axis=1), np.float32)

    return measured


def _weights(networks: Sequence[keras.Model]) -> NDArray[np.float64]:
    """Of all features, (d,)."""
    kernels = [network.get_layer("evidence").get_weights()[0].ravel() for network in networks]
    return np.concatenate(kernels).astype(np.float64)


def _bias(networks: Sequence[keras.Model], share: float) -> float:
    biases = [float(network.get_layer("bias").get_weights()[1][0]) for network in networks]
    return (1 - share) * biases[0] + share * biases[-1]


def _change(networks: Sequence[keras.Model], found: LastLayers) -> None:
    first = 0
    for network in networks:
        evidence, last = network.get_layer("evidence"), network.get_layer("bias")
        (kernel,), (scale, bias) = evidence.get_weights(), last.get_weights()
        own = found.change[first : first + kernel.size].reshape(kernel.shape)
        evidence.set_weights([np.asarray(found.scale * kernel + own, np.float32)])
        last.set_weights([scale, np.asarray(found.scale * bias + found.bias, np.float32)])
        first += kernel.size
