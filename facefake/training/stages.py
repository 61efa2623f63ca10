"""The networks of a run: where they start, and how they go through a recipe's stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.bundle import checked_file, read_bundle
from facefake.errors import DatasetError, ModelError
from facefake.keras_archive import load_keras
from facefake.training.crops import CropStore
from facefake.training.evaluate import trained_sources
from facefake.training.fit import CHECKPOINT, fit
from facefake.training.network import HEAD, build, fold_scale
from facefake.training.recipe import Recipe
from facefake.training.reconstruction import (
    Reconstructions,
    ReconstructionSettings,
    check_reconstructions,
    make_reconstructions,
)

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where a run starts, and the stages that follow.

    Attributes:
        networks: one, or two of which the second scores mirror images.
        backbones: of each network, one of `network.BACKBONES`; of a bundle's networks, its label.
        recipe: the run's settings, with those that a bundle to start from imposes.
        plan: the stages in their order, each with the number of the network that it trains.
        origin: what the run starts from, for the model's card.
        trained_before: label and name of the sources that the networks have seen already.
        identity: what tells this start from all others.
    """

    networks: Sequence[keras.Model]
    backbones: Sequence[str]
    recipe: Recipe
    plan: Sequence[tuple[int, Recipe]]
    origin: str
    trained_before: Sequence[list[str]]
    identity: Sequence[str]

    def __post_init__(self) -> None:
        if len({network.output["map"].shape for network in self.networks}) > 1:
            raise ModelError(f"expected networks with maps of one shape, got {' and '.join(self.backbones)}")


def from_imagenet(recipe: Recipe, backbone: str) -> Start:
    """A start from ImageNet's weights; the recipe's last stages train its second network, if it has one.

    Raises:
        ModelError: a backbone is not available, or two do not fit together.
    """
    backbones = [backbone, recipe.mirror] if recipe.mirror else [backbone]
    networks = [_begun(name, recipe, number) for number, name in enumerate(backbones)]
    stages = recipe.stages()
    first = len(stages) - recipe.mirror_stages
    plan = [(int(number >= first), stage) for number, stage in enumerate(stages)]
    return Start(networks, backbones, recipe, plan, " and ".join(backbones), [], backbones)


def from_bundle(recipe: Recipe, folder: Path) -> Start:
    """A start from a bundle's weights: its side, margin and mirror_share replace those of the recipe and its stages.

    All its networks go through all stages, each with its own seeds.

    Raises:
        DatasetError: the recipe has a second network, which it must not have here; or it holds out sources that the bundle
            was trained on.
        ModelError: the bundle is not available, or holds a network without the layers that a run finds by name.
    """
    bundle = read_bundle(folder)
    networks = [load_keras(checked_file(bundle, name), str(folder / name)) for name in bundle.keras_files]
    for name, network in zip(bundle.keras_files, networks, strict=True):
        if lacking := [layer for layer in HEAD if layer not in {own.name for own in network.layers}]:
            raise ModelError(
                f"{folder / name}: expected a network to fine-tune, with layers named {', '.join(HEAD)}; got none named "
                f"{', '.join(lacking)}"
            )
    if recipe.mirror:
        raise DatasetError(
            f"expected a recipe without mirror beside a bundle to start from, got {recipe.mirror!r}"
        )
    before = trained_sources(bundle.card)
    if known := sorted({source for _, source in before} & set(recipe.held_out)):
        raise DatasetError(
            f"expected sources to hold out that {bundle.label} was not trained on, got {', '.join(known)}"
        )
    tables = [{name: value for name, value in table.items() if name != "side"} for table in recipe.stage]
    recipe = replace(
        recipe, side=bundle.side, margin=bundle.margin, mirror_share=bundle.mirror_share, stage=tables
    )
    stages = recipe.stages()
    plan = [
        (which, replace(stage, seed=(stage.seed + which * len(stages)) % 2**32))
        for which in range(len(networks))
        for stage in stages
    ]
    # Another bundle may have the same name and version.
    identity = [bundle.sha256[name] for name in bundle.keras_files]
    # All stages have the bundle's side, so no network is rebuilt, and its backbone need not be known.
    return Start(
        networks,
        [bundle.label] * len(networks),
        recipe,
        plan,
        bundle.label,
        sorted(map(list, before)),
        identity,
    )


def trained_files(start: Start, out: Path) -> list[Path]:
    """Where the weights of each stage lie, while the run lasts."""
    return [out / f"trained-{number}.keras" for number in range(1, len(start.plan) + 1)]


def train_stages(
    start: Start,
    store: CropStore,
    train: Sequence[int],
    val: Sequence[int],
    out: Path,
    *,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    report: Callable[[dict[str, Any]], None] = lambda epoch: None,
) -> list[keras.Model]:
    """Take the networks through all stages that are not finished yet.

    Args:
        start: where they start.
        store: the crops.
        train: numbers of the crops to train on.
        val: numbers of the crops to validate on.
        out: folder of the run, whose `trained_files` are written and read.
        cache: folder of reconstructions; None for `out`.
        progress: called with what is counted, how many are done and their total; steps count through all stages.
        report: called with each epoch's line of the log; if there are several stages, it has the ``stage``, from 1.

    Returns:
        The networks at the recipe's side, each with the mean weights that its last stage asks for.

    Raises:
        DatasetError: there is nothing to draw fakes from, or reconstructions in the cache are incomplete.
        ModelError: the training diverged, or a stage asks for reconstructions by a network that is not installed.
    """
    networks = list(start.networks)
    files = trained_files(start, out)
    cache = out if cache is None else cache
    for (_, stage), file in zip(start.plan, files, strict=True):
        if not file.exists() and _asks_for_reconstructions(stage):
            # What a later stage lacks is reported before the first one is trained.
            check_reconstructions(store, *_reconstructed(stage, store, train, cache))
    steps = [stage.whole_steps for _, stage in start.plan]
    for number, ((which, stage), file) in enumerate(zip(start.plan, files, strict=True), 1):
        before = sum(steps[: number - 1])

        def stepped(done: int, total: int, before: int = before) -> None:
            progress("steps trained", before + done, sum(steps))

        def told(line: dict[str, Any], number: int = number) -> None:
            report({"stage": number, **line} if len(files) > 1 else line)

        began = networks[which].get_weights()
        folder = out if len(files) == 1 else out / f"stage-{number}"
        if not file.exists():
            network = _at_side(networks[which], stage.side, start.backbones[which], stage.dropout)
            network = _with_dropout(network, stage.dropout)
            made = reconstructions_for(stage, store, train, cache, progress)
            folder.mkdir(exist_ok=True)
            fit(network, store, train, val, stage, folder, told, stepped, made)
            fold_scale(network)
            partial_file = out / f"partial-{file.name}"
            network.save(partial_file)
            partial_file.replace(file)
        (folder / CHECKPOINT).unlink(missing_ok=True)  # or the next run in this folder would resume from it
        own = [f for f, (owner, _) in zip(files[:number], start.plan, strict=False) if owner == which]
        networks[which] = _mean(own[-stage.averaged :])
        if share := stage.start_share:
            ended = networks[which].get_weights()
            networks[which].set_weights(
                [share * old + (1 - share) * new for old, new in zip(began, ended, strict=True)]
            )
    return [
        _at_side(network, start.recipe.side, name, start.recipe.dropout)
        for network, name in zip(networks, start.backbones, strict=True)
    ]


def reconstructions_for(
    recipe: Recipe,
    store: CropStore,
    train: Sequence[int],
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Reconstructions | None:
    """The reconstructions that a recipe asks for, of the real faces to train on; None if it asks for none.

    Args:
        recipe: the settings.
        store: the crops.
        train: numbers of the crops to train on.
        folder: where they are kept, in ``reconstructions``.
        progress: called with what is counted, how many are done and their total.
    """
    if not _asks_for_reconstructions(recipe):
        return None
    return make_reconstructions(store, *_reconstructed(recipe, store, train, folder), progress=progress)


def _asks_for_reconstructions(recipe: Recipe) -> bool:
    return recipe.self_made_share.get("reconstruction", 0) > 0


def _reconstructed(
    recipe: Recipe, store: CropStore, train: Sequence[int], folder: Path
) -> tuple[list[int], Path, ReconstructionSettings]:
    """The faces, the folder and the settings that `make_reconstructions` takes."""
    settings = ReconstructionSettings(
        recipe.upsamplers, recipe.reconstructed, recipe.reconstruction_steps, recipe.reconstruction_seed
    )
    faces = [number for number in train if store.landmarks(number) is not None]
    return faces, folder / "reconstructions", settings


def _begun(backbone: str, recipe: Recipe, number: int) -> keras.Model:
    import keras

    keras.utils.set_random_seed((recipe.seed + number) % 2**32)  # for the head's initial weights
    return build(backbone, recipe.side, recipe.dropout)


def _mean(files: Sequence[Path]) -> keras.Model:
    """The network with the mean of the files' weights, without the optimizer's state."""
    members = [load_keras(file.read_bytes(), str(file)) for file in files]
    together = zip(*(member.get_weights() for member in members), strict=True)
    members[-1].set_weights([np.mean(weights, axis=0) for weights in together])
    return members[-1]


def _with_dropout(network: keras.Model, rate: float) -> keras.Model:
    """The same network with that dropout before the head; rebuilt, since a layer made with 0 has no generator."""
    import keras

    if network.get_layer("dropout").rate == rate:
        return network

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config({**config, "rate": rate} if layer.name == "dropout" else config)

    changed = keras.models.clone_model(network, clone_function=clone)
    changed.set_weights(network.get_weights())
    return changed


def _at_side(network: keras.Model, side: int, backbone: str, dropout: float) -> keras.Model:
    """The same weights for crops of that side."""
    if network.input_shape[1] == side:
        return network
    resized = build(backbone, side, dropout)
    resized.set_weights(network.get_weights())
    return resized
