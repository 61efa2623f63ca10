"""How well a model detects fakes that the project's own code makes from real faces that the model has never seen.

    python tests/benchmarks/self_made.py DATA --cache FOLDER [--model BUNDLE] [--faces N] [--sheet FILE.png]

DATA is a dataset as `facefake train` takes it. The faces are those that neither training nor calibration saw; the
auto-encoders are of the kinds that the recipe leaves out, and are trained on the faces of the calibration half. The
super-resolution networks are all those whose packages are installed; a column says which ones the recipe uses.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from facefake.bundle import checked_file, read_bundle
from facefake.classifier import LiteRTNetworks
from facefake.errors import ModelError
from facefake.paths import models_folder
from facefake.training import forgery
from facefake.training.contact_sheet import contact_sheet
from facefake.training.crops import CropStore, make_crops
from facefake.training.dataset import read_dataset
from facefake.training.metrics import area_under_curve
from facefake.training.recipe import Recipe
from facefake.training.reconstruction import UPSAMPLERS, reconstruct, restore, train_autoencoder
from facefake.training.restoration import RESTORERS, restorer
from facefake.training.scoring import halves, unseen
from facefake.training.views import TIERS, view, wear

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=models_folder() / "facefake")
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--sheet", type=Path, help="write some of the fakes as a picture")
    arguments = parser.parse_args()

    bundle = read_bundle(arguments.model)
    recipe = Recipe(**bundle.card["recipe"])
    contents = {name: checked_file(bundle, name) for name in bundle.litert_files}
    litert = LiteRTNetworks(contents, bundle.side, 2, bundle.mirror_share)
    store = make_crops(read_dataset(arguments.data), arguments.cache)
    calibration, report = (forgeable(store, half) for half in halves(store, unseen(store, recipe.held_out)))
    rng = np.random.default_rng(SEED)
    chosen = [int(n) for n in rng.permutation(report)[: arguments.faces]]
    faces = [(store.pixels(n), store.landmarks(n)) for n in chosen]
    likenesses = np.stack([forgery.likeness(*face) for face in faces])
    trained_on = {name for stage in recipe.stages() for name in stage.upsamplers}
    steps = recipe.stages()[-1].reconstruction_steps
    autoencoders = {
        name: train_autoencoder(name, store, calibration, SEED, steps)
        for name in UPSAMPLERS
        if name not in trained_on
    }
    remakes = {name: partial(reconstruct, network) for name, network in autoencoders.items()}
    for name in RESTORERS:
        try:
            remakes[name] = partial(restore, restorer(name))
        except ModelError as error:
            print(f"Left out: {error}")

    def swap(at: int, rng: np.random.Generator) -> forgery.Forgery:
        distance = ((likenesses - likenesses[at]) ** 2).sum(-1)
        distance[[store.crops[n].example.group == store.crops[chosen[at]].example.group for n in chosen]] = (
            np.inf
        )
        return forgery.swap(*faces[at], *faces[int(distance.argmin())], rng)

    made = {
        "self-blend": lambda at, rng: forgery.self_blend(*faces[at], rng),
        "region blend": lambda at, rng: forgery.region_blend(*faces[at], rng),
        "retouch": lambda at, rng: forgery.retouch(*faces[at], rng),
        "swap": swap,
        "up-sampling": lambda at, rng: forgery.upsampling(*faces[at], rng),
    }
    for name, remake in remakes.items():
        made[f"reconstruction, {name}"] = lambda at, rng, remake=remake: forgery.reconstruction(
            *faces[at], remake(faces[at][0]), rng
        )

    def logits(crops: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {
            tier: np.array(
                [
                    litert.predict(view(wear(crop, tier), bundle.side, bundle.margin)[None]).logits[0]
                    for crop in crops
                ]
            )
            for tier in TIERS
        }

    real = logits([crop for crop, _ in faces])
    table = Table("fakes", "network in training", *(f"AUC {tier}" for tier in TIERS))
    for name, make in made.items():
        # A generator of its own, so that no row depends on which other rows there are.
        chance = np.random.default_rng([SEED, *name.encode()])
        fake = logits([make(at, chance).pixels for at in range(len(faces))])
        remade = name.removeprefix("reconstruction, ")
        known = ("yes" if remade in trained_on else "no") if remade in remakes else ""
        table.add_row(name, known, *(f"{area_under_curve(real[tier], fake[tier]):.3f}" for tier in TIERS))
    Console().print(f"{bundle.label}, {len(faces)} real faces and each forged", table)
    if arguments.sheet:
        network = next(iter(autoencoders.values()), None)  # there may be none that the recipe leaves out
        contact_sheet([crop for crop, _ in faces[:8]], rng, arguments.sheet, network)


def forgeable(store: CropStore, numbers: list[int]) -> list[int]:
    """The crops that have landmarks."""
    return [n for n in numbers if store.landmarks(n) is not None]


if __name__ == "__main__":
    main()
