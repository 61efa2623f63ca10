"""Which precision to ship: AUC, size and time per face of the bundle's networks as float32, float16 and int8.

    python tests/benchmarks/precision.py DATA --cache FOLDER [--model BUNDLE]

DATA is a dataset as `facefake train` takes it; the faces are those that neither training nor calibration saw. Times are
given in ms, and relative to one run of EfficientNet-Lite0 at 224 pixels in float32, measured with interleaved calls and one
LiteRT thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from facefake.bundle import checked_file, read_bundle
from facefake.classifier import LiteRTNetworks
from facefake.keras_archive import load_keras
from facefake.paths import models_folder
from facefake.training.crops import make_crops
from facefake.training.dataset import read_dataset
from facefake.training.export import convert
from facefake.training.metrics import area_under_curve
from facefake.training.network import LITE0, build
from facefake.training.scoring import halves, measure, unseen
from facefake.training.views import batches

REPEATS = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=models_folder() / "facefake")
    arguments = parser.parse_args()

    bundle = read_bundle(arguments.model)
    networks = {name: load_keras(checked_file(bundle, name), name) for name in bundle.keras_files}
    store = make_crops(read_dataset(arguments.data), arguments.cache)
    calibration, report = halves(store, unseen(store, bundle.card["recipe"]["held_out"]))
    labels = np.array([store.crops[n].example.label == "fake" for n in report])
    examples = np.concatenate(list(batches(store, calibration[::7][:256], bundle.side, bundle.margin)))

    reference = convert(build(LITE0, 224, dropout=0.0), "float32")
    contents = {
        precision: {name: convert(network, precision, examples) for name, network in networks.items()}
        for precision in ("float32", "float16", "int8")
    }
    runs = {"reference": (LiteRTNetworks({"reference": reference}, 224, 1), 224)}
    runs |= {
        precision: (LiteRTNetworks(files, bundle.side, 1, bundle.mirror_share), bundle.side)
        for precision, files in contents.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    rng = np.random.default_rng(0)
    for _ in range(REPEATS):
        for name, (run, side) in runs.items():
            crop = rng.integers(0, 256, (1, side, side, 3), np.uint8)
            started = time.perf_counter()
            run.predict(crop)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    once = medians["reference"] / 2  # it was shown the crop and its mirror image

    table = Table("precision", "MB", "AUC", "largest change of a logit", "time / reference", "ms")
    exact = None
    for name, files in contents.items():
        scorer = runs[name][0]
        logits = measure(scorer, store, report, bundle.side, bundle.margin, lambda pixels: pixels).logits
        exact = logits if exact is None else exact
        table.add_row(
            name,
            f"{sum(map(len, files.values())) / 1e6:.1f}",
            f"{area_under_curve(logits[~labels], logits[labels]):.4f}",
            f"{np.abs(logits - exact).max():.3f}",
            f"{medians[name] / once:.2f}",
            f"{1000 * medians[name]:.1f}",
        )
    Console().print(f"Keras {keras.__version__}, {len(report)} faces", table)


if __name__ == "__main__":
    main()
