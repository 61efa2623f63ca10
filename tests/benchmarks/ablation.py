"""A short training run with some settings changed, such as models/EXPERIMENTS.md compares.

    python tests/benchmarks/ablation.py DATA --cache FOLDER --recipe RECIPE.toml [SETTING=VALUE ...] [options]

DATA is a dataset as `facefake train` takes it. SETTING is one of the recipe's, VALUE in TOML. The run starts from
ImageNet weights and is scored on the calibration half, on at most 60 faces per source: the AUC of every source of fakes
against the real faces of its own source, or against all if it has none; means over the sources of a kind, and over all
sources.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from facefake.training.crops import CropStore, make_crops
from facefake.training.dataset import read_dataset
from facefake.training.fit import auc_by_source, fit, network_logits
from facefake.training.network import LITE0, build
from facefake.training.recipe import Recipe, read_recipe
from facefake.training.scoring import by_source, halves, seen, unseen
from facefake.training.stages import reconstructions_for
from facefake.training.views import TIERS, Tier

A_SOURCE = 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--backbone", default=LITE0)
    parser.add_argument("--freeze-batch-norm", action="store_true")
    parser.add_argument("--stem-stride", type=int, choices=(1, 2), default=2)
    arguments = parser.parse_intermixed_args()

    changes = tomllib.loads("\n".join(arguments.settings))
    recipe = replace(read_recipe(arguments.recipe).stages()[0], **changes)
    store = make_crops(read_dataset(arguments.data), arguments.cache)
    train = seen(store, recipe.held_out)
    calibration, _ = halves(store, unseen(store, recipe.held_out))
    keras.utils.set_random_seed(recipe.seed)
    network = build(arguments.backbone, recipe.side, recipe.dropout)
    if arguments.stem_stride == 1:
        network = finer(network)
    if arguments.freeze_batch_norm:
        for layer in network.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    made = reconstructions_for(recipe, store, train, arguments.cache)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(network, store, train, calibration[:2], recipe, Path(folder), reconstructions=made)
    minutes = (time.process_time() - started) / 60
    result = {tier: scored(network, store, calibration, recipe, tier) for tier in TIERS}
    print(json.dumps({"settings": arguments.settings, "cpu_minutes": round(minutes, 1), **result}))


def finer(network: keras.Model) -> keras.Model:
    """The same weights with a stem of stride 1, so that the evidence map has twice the side."""
    config = network.get_config()
    for layer in config["layers"]:
        if layer["config"]["name"] == "stem":
            layer["config"]["strides"] = (1, 1)
        if layer["config"]["name"] == "map":
            layer["config"]["target_shape"] = [2 * side for side in layer["config"]["target_shape"]]
    changed = keras.Model.from_config(config)
    changed.set_weights(network.get_weights())
    return changed


def scored(
    network: keras.Model, store: CropStore, numbers: list[int], recipe: Recipe, tier: Tier
) -> dict[str, float]:
    """Mean AUC by kind, over the sources that training left out, and over all sources."""
    kinds = {crop.example.source: crop.example.kind for crop in store.crops if crop.example.label == "fake"}
    logits = {
        key: network_logits(network, store, members[:A_SOURCE], recipe, tier)
        for key, members in by_source(store, numbers).items()
    }
    aucs = auc_by_source(logits)
    groups: dict[str, list[float]] = {}
    for source, auc in aucs["sources"].items():
        groups.setdefault(kinds[source], []).append(auc)
        if source in recipe.held_out:
            groups.setdefault("left out", []).append(auc)
    means = {name: round(float(np.mean(values)), 3) for name, values in sorted(groups.items())}
    return {**means, "mean": round(float(aucs["auc"]), 3)}


if __name__ == "__main__":
    main()
