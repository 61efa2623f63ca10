"""Fakes by reconstruction: real faces passed through a network whose up-sampler leaves its trace.

The network is a small auto-encoder of our own, or one for super-resolution (`restoration`).

Generators share little but their last layers, which enlarge a small map into a picture. A real face that has passed
through such layers carries their trace and nothing else that is generated, and it has an untouched twin. (That trace:
Durall et al., "Watch your Up-Convolution", CVPR 2020; Zhang et al., "Detecting and Simulating Artifacts in GAN Fake
Images", WIFS 2019.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.errors import DatasetError, ModelError
from facefake.locks import alone_in
from facefake.training.crops import CropStore
from facefake.training.files import make_folder, write_text
from facefake.training.restoration import RESTORERS, installed, restorer

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from facefake.training.restoration import Restorer

UPSAMPLERS = ("nearest", "transposed-4", "transposed-3", "sub-pixel", "bilinear", "two-stage")
"""How a decoder doubles the side of a map: by copying and a convolution; by a transposed convolution whose kernel of 4
or 3 overlaps itself, evenly or not; by one whose kernel of 2 does not, which is a sub-pixel convolution (Shi et al.,
CVPR 2016); by interpolation and a convolution; or by interpolation and a second network that sharpens the picture."""

# Their bottleneck is an eighth of the side, that of the others a quarter.
_EIGHTH = ("nearest", "transposed-4")
_BATCH = 16
_PATCH = 96  # pixels a side of the patches that are learned from
_LEARNING_RATE = 2e-3
_MULTIPLE = 8  # what a side must be a multiple of to be halved three times
# Pixels: standard deviation of a Gaussian; a reconstruction's picture blurred by it is replaced by the crop's.
_OWN_SHADING = 4.0
_INDEX, _PIXELS = "index.json", "pixels.bin"
_FORMAT = 2


def autoencoder(upsampler: str) -> keras.Model:
    """A small fully convolutional auto-encoder, untrained.

    Args:
        upsampler: one of `UPSAMPLERS`.

    Returns:
        A model from float32 (n, h, w, 3) to float32 (n, h, w, 3), RGB, 0 to 1; h and w are multiples of 8.

    Raises:
        ValueError: there is no such up-sampler.
    """
    import keras
    from keras import layers

    if upsampler not in UPSAMPLERS:
        raise ValueError(f"expected an up-sampler out of {', '.join(UPSAMPLERS)}, got {upsampler!r}")
    filters = (24, 48, 72) if upsampler in _EIGHTH else (24, 48)

    def convolution(x: Any, count: int, strides: int = 1) -> Any:
        return layers.LeakyReLU(0.1)(layers.Conv2D(count, 3, strides, padding="same")(x))

    def doubled(x: Any, count: int) -> Any:
        if upsampler in ("transposed-4", "transposed-3", "sub-pixel"):
            kernel = {"transposed-4": 4, "transposed-3": 3, "sub-pixel": 2}[upsampler]
            return layers.LeakyReLU(0.1)(layers.Conv2DTranspose(count, kernel, 2, padding="same")(x))
        interpolation = "nearest" if upsampler == "nearest" else "bilinear"
        return convolution(layers.UpSampling2D(2, interpolation=interpolation)(x), count)

    inputs = keras.Input((None, None, 3))
    x = inputs
    for count in filters:
        x = convolution(convolution(x, count, strides=2), count)
    x = layers.Conv2D(45 if upsampler in _EIGHTH else 9, 1)(x)
    # Colour and large shapes come for free, so that few steps suffice to learn the rest.
    x = layers.Concatenate()([x, layers.AveragePooling2D(2 ** len(filters))(inputs)])
    for count in reversed(filters):
        x = doubled(convolution(x, count), count)
    outputs = layers.Conv2D(3, 3, padding="same")(x)
    if upsampler == "two-stage":
        correction = layers.Conv2D(3, 3, padding="same")(convolution(convolution(outputs, 24), 24))
        outputs = layers.Add()([outputs, correction])
    return keras.Model(inputs, outputs, name=f"autoencoder_{upsampler.replace('-', '_')}")


def train_autoencoder(
    upsampler: str,
    store: CropStore,
    numbers: Sequence[int],
    seed: int,
    steps: int,
    stepped: Callable[[int, int], None] = lambda done, total: None,
) -> keras.Model:
    """Train an auto-encoder on patches of stored crops.

    The loss is the mean absolute error of the pixels, plus that of the differences between neighbours: without the latter,
    reconstructions could be told by their blur alone.

    Args:
        upsampler: one of `UPSAMPLERS`.
        store: the crops.
        numbers: which of them to learn from: real ones. Those below 96 pixels are left out.
        seed: of the initial weights and of the patches, below 2^32.
        steps: of 16 patches each.
        stepped: called after every step with how many are done and their total.

    Raises:
        ModelError: no crop is large enough.
    """
    import keras
    from keras import ops

    keras.utils.set_random_seed(seed)
    network = autoencoder(upsampler)
    large = [number for number in numbers if store.crops[number].side >= _PATCH]
    if not large:
        raise ModelError(f"expected crops of {_PATCH} pixels or more to learn reconstruction from, got none")

    def loss(true: Any, made: Any) -> Any:
        error = true - made
        across, down = error[:, :, 1:] - error[:, :, :-1], error[:, 1:] - error[:, :-1]
        return ops.mean(ops.abs(error)) + ops.mean(ops.abs(across)) + ops.mean(ops.abs(down))

    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps, alpha=0.02)
    network.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss=loss)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        patches = []
        for number in rng.choice(large, _BATCH):
            pixels = store.pixels(number)
            y, x = rng.integers(0, len(pixels) - _PATCH + 1, 2)
            patches.append(pixels[y : y + _PATCH, x : x + _PATCH])
        batch = np.stack(patches).astype(np.float32) / 255
        network.train_on_batch(batch, batch)
        stepped(step + 1, steps)
    return network


def reconstruct(network: keras.Model, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop passed through an auto-encoder, with the crop's own colours and shading.

    What a small auto-encoder does to those is not the trace of its up-sampler, and would be learned instead of it.

    Args:
        network: as `train_autoencoder` returns it.
        crop: uint8 (n, n, 3) RGB.

    Returns:
        uint8 (n, n, 3).
    """
    import keras

    side = len(crop)
    extra = -side % _MULTIPLE
    padded = np.pad(crop, ((0, extra), (0, extra), (0, 0)), "symmetric")
    # Called directly: `predict` would compile the network for each of the crops' many sizes.
    output = network(padded[None].astype(np.float32) / 255, training=False)
    return _with_own_shading(crop, keras.ops.convert_to_numpy(output)[0, :side, :side] * 255)


def restore(network: Restorer, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop redrawn by a network for super-resolution, with the crop's own colours and shading.

    Args:
        network: as `restoration.restorer` returns it.
        crop: uint8 (n, n, 3) RGB.

    Returns:
        uint8 (n, n, 3).
    """
    return _with_own_shading(crop, network(crop.astype(np.float32)))


def _with_own_shading(crop: NDArray[np.uint8], made: NDArray[np.float32]) -> NDArray[np.uint8]:
    import cv2

    made = made + cv2.GaussianBlur(crop - made, (0, 0), _OWN_SHADING)
    return np.asarray(np.clip(np.rint(made), 0, 255), np.uint8)


class Reconstructions:
    """Reconstructed real faces, by the number of their crop, in a folder that `make_reconstructions` wrote.

    Raises:
        DatasetError: a file in the folder is missing or does not match the index, as after an incomplete copy.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _INDEX
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            self._places = {int(number): tuple(place) for number, place in index["crops"].items()}
            self._pixels = np.memmap(folder / _PIXELS, np.uint8, "r")
            size = sum(side * side * 3 for _, side, _ in self._places.values())
            if self._pixels.size != size:
                raise ValueError(f"{_PIXELS} of {self._pixels.size:,} bytes in place of {size:,}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path}: expected the index of the reconstructions beside it, got: {error}; delete this file to make "
                "them anew"
            ) from error

    @property
    def numbers(self) -> list[int]:
        """The crops that have a reconstruction."""
        return list(self._places)

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """The reconstruction of crop `number`, uint8 (side, side, 3), RGB, read-only, aligned with the crop."""
        offset, side, _ = self._places[number]
        return self._pixels[offset : offset + side * side * 3].reshape(side, side, 3)

    def upsampler(self, number: int) -> str:
        """Which of `UPSAMPLERS` and `restoration.RESTORERS` made the reconstruction of crop `number`."""
        return str(self._places[number][2])


@dataclass(frozen=True, slots=True)
class ReconstructionSettings:
    """Which reconstructions are made.

    Attributes:
        upsamplers: out of `UPSAMPLERS` and `restoration.RESTORERS`; they take turns in every source.
        count: how many crops are reconstructed, each by one of them; drawn so that all sources take turns, too.
        steps: of each auto-encoder's training.
        seed: of everything random.
    """

    upsamplers: Sequence[str]
    count: int
    steps: int
    seed: int


def make_reconstructions(
    store: CropStore,
    numbers: Sequence[int],
    folder: Path,
    settings: ReconstructionSettings,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Reconstructions:
    """Train auto-encoders, reconstruct faces with them and with `restoration`'s networks; or take what `folder` holds.

    Args:
        store: the crops.
        numbers: real crops to learn from and to reconstruct.
        folder: where the reconstructions lie or will lie, in a sub-folder for these settings.
        settings: which reconstructions are made.
        progress: called with what is counted, how many are done and their total.

    Raises:
        DatasetError: what `folder` holds is incomplete.
        ModelError: there is no crop to learn from, or a network for super-resolution is not installed.
        OutputError: `folder` cannot be written to, or another process is making the same there.
    """
    chosen, folder = _planned(store, numbers, folder, settings)
    if not (folder / _INDEX).is_file():
        restorers = {name: restorer(name) for name in settings.upsamplers if name in RESTORERS}
        make_folder(folder)
        # Two processes at once would overwrite each other's pixels, and train on half-written ones.
        with alone_in(folder, "reconstructing"):
            if not (folder / _INDEX).is_file():
                _write(store, numbers, chosen, folder, settings, restorers, progress)
    return Reconstructions(folder)


def _write(
    store: CropStore,
    numbers: Sequence[int],
    chosen: Sequence[int],
    folder: Path,
    settings: ReconstructionSettings,
    restorers: Mapping[str, Restorer],
    progress: Callable[[str, int, int], None],
) -> None:
    """Reconstruct the chosen crops; auto-encoders learn from all of `numbers`. The index comes last."""
    upsamplers, steps = settings.upsamplers, settings.steps
    dealt = _dealt(store, chosen, len(upsamplers))
    trained = [name for name in upsamplers if name not in restorers]
    places: dict[int, tuple[int, int, str]] = {}
    offset = 0
    with (folder / _PIXELS).open("wb") as pixels:
        for at, upsampler in enumerate(upsamplers):
            if upsampler in restorers:
                remake = partial(restore, restorers[upsampler])
            else:

                def stepped(done: int, total: int, nth: int = trained.index(upsampler)) -> None:
                    progress("auto-encoder steps trained", nth * total + done, len(trained) * total)

                seed = (settings.seed + at) % 2**32
                network = train_autoencoder(upsampler, store, numbers, seed, steps, stepped)
                remake = partial(reconstruct, network)
            for number in dealt[at]:
                made = remake(store.pixels(number))
                pixels.write(made.tobytes())
                places[number] = offset, len(made), upsampler
                offset += made.size
                progress("faces reconstructed", len(places), len(chosen))
    write_text(folder / _INDEX, json.dumps({"crops": places}))


def check_reconstructions(
    store: CropStore, numbers: Sequence[int], folder: Path, settings: ReconstructionSettings
) -> None:
    """Check that `make_reconstructions`, which takes the same, has what it needs, or need not make any more.

    Raises:
        DatasetError, ModelError: as there.
    """
    _, folder = _planned(store, numbers, folder, settings)
    if (folder / _INDEX).is_file():
        Reconstructions(folder)
        return
    for name in settings.upsamplers:
        if name in RESTORERS:
            installed(name)


def _planned(
    store: CropStore, numbers: Sequence[int], folder: Path, settings: ReconstructionSettings
) -> tuple[list[int], Path]:
    """The crops to reconstruct, and the sub-folder for these settings: runs with other settings can share a cache."""
    chosen = _in_turns(store, numbers, np.random.default_rng(settings.seed))[: settings.count]
    if not chosen:
        raise ModelError("expected real faces with landmarks to reconstruct, got none")
    identity = [_FORMAT, store.fingerprint, list(settings.upsamplers), chosen, sorted(numbers)]
    digest = hashlib.sha256(json.dumps([*identity, settings.steps, settings.seed]).encode())
    return chosen, folder / digest.hexdigest()[:16]


def _dealt(store: CropStore, numbers: Sequence[int], hands: int) -> list[list[int]]:
    """Deal the numbers into hands; those of one source go round in turn, each source starting at another hand."""
    dealt: list[list[int]] = [[] for _ in range(hands)]
    turns: dict[str, int] = {}
    for number in numbers:
        source = store.crops[number].example.source
        hand = turns.setdefault(source, len(turns))
        dealt[hand % hands].append(number)
        turns[source] = hand + 1
    return dealt


def _in_turns(store: CropStore, numbers: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The numbers, shuffled, one from each source in turn for as long as it has any left."""
    by_source: dict[str, list[int]] = {}
    for number in rng.permutation(np.array(numbers, int)).tolist():
        by_source.setdefault(store.crops[number].example.source, []).append(number)
    turns = sorted((turn, source) for source, members in by_source.items() for turn in range(len(members)))
    return [by_source[source][turn] for turn, source in turns]
