"""Leave one source of fakes out: train short runs without it, and see whether it is detected all the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.errors import DatasetError
from facefake.locks import alone_in
from facefake.training.crops import CropStore, make_crops
from facefake.training.dataset import read_dataset
from facefake.training.figure_tables import Table
from facefake.training.files import make_folder, write_text
from facefake.training.fit import CHECKPOINT, auc_by_source, fit, network_logits
from facefake.training.network import build
from facefake.training.recipe import Recipe
from facefake.training.scoring import by_source, first_of_each, seen, unseen
from facefake.training.stages import reconstructions_for

if TYPE_CHECKING:
    import keras

    from facefake.training.evaluate import Progress
    from facefake.training.views import Tier

_TIERS: tuple[Tier, ...] = ("clean", "web")
_RESULT = "result.json"
_FORMAT = 3
_SCORED_A_SOURCE = 200


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """The figures of a run on fakes that it was not trained on.

    Attributes:
        name: of the sources that were left out together.
        count: fakes scored.
        auc_by_source: source → tier → AUC against unseen real faces: those of the same source if there are any, else all.
    """

    name: str
    count: int
    auc_by_source: dict[str, dict[str, float]]

    @property
    def auc(self) -> dict[str, float]:
        """Tier → mean of the sources' AUC."""
        return {tier: float(np.mean([auc[tier] for auc in self.auc_by_source.values()])) for tier in _TIERS}


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """The rows of all runs."""

    rows: tuple[LeftOutRow, ...]

    @property
    def mean_auc(self) -> dict[str, float]:
        """Tier → mean of the rows' AUC."""
        return {tier: float(np.mean([row.auc[tier] for row in self.rows])) for tier in _TIERS}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [{**asdict(row), "auc": row.auc} for row in self.rows]
        return {"left_out": rows, "mean_auc": self.mean_auc}

    def tables(self) -> list[Table]:
        """For a person."""

        def cells(auc: dict[str, float]) -> list[str]:
            return [f"{auc[tier]:.3f}" for tier in _TIERS]

        rows = []
        for row in self.rows:
            rows.append([row.name, ", ".join(row.auc_by_source), str(row.count), *cells(row.auc)])
            if len(row.auc_by_source) > 1:
                rows += [["", source, "", *cells(auc)] for source, auc in row.auc_by_source.items()]
        rows.append(["mean", "", "", *cells(self.mean_auc)])
        headers = ["left out", "sources", "faces", *(f"AUC {tier}" for tier in _TIERS)]
        return [Table("Left out", headers, rows, names=2)]


def leave_one_source_out(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    backbone: str,
    patterns: Sequence[str] = (),
    cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
    report: Callable[[LeftOutRow], None] = lambda row: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> LeaveOneOut:
    """Train once without each source of fakes, or group of them, and score what was left out.

    When called again with the same `out`, finished runs are not repeated, and an interrupted one is resumed.

    Args:
        data: as `read_dataset` takes it.
        out: gets a folder for each run, named after what is left out and a hash of the settings.
        recipe: of each run. Sources of real faces that it holds out stay unseen; sources of fakes are all trained on,
            except those that are left out.
        backbone: one of `network.BACKBONES`.
        patterns: of the sources to leave out, one run each, such as ``sdxl`` or ``flux1-*,sd15-*``; if empty, every
            source of fakes is left out on its own.
        cache: where the crops are kept; None for ``crops`` in `out`.
        progress: called with what is counted, how many are done and their total.
        report: called with each run's row.
        tell: called with a sentence about the pictures that are left out, if there are any, and about sources that no run
            can leave out.

    Raises:
        DatasetError: the dataset is not as described, a pattern matches no source of fakes, or nothing is left to train
            on or to compare with.
        ModelError: the backbone is not available, or the training diverged.
        OutputError: `out` or `cache` cannot be written to, or another process is training or cutting crops there.
    """
    examples = read_dataset(data)
    groups = _groups(sorted({e.source for e in examples if e.label == "fake"}), patterns)
    make_folder(out)
    store = make_crops(
        examples, out / "crops" if cache is None else cache, partial(progress, "pictures cropped")
    )
    if sentence := store.told_skipped():
        tell(sentence)
    # What would fail after hours of training should fail before it.
    for name, sources in list(groups.items()):
        _, fakes, reals = _chosen(store, sources, recipe)
        if fakes and reals:
            continue
        got = f"expected fakes of {name} and real faces that are not trained on, got {len(fakes)} and {len(reals)}"
        if patterns or not reals or len(groups) == 1:
            raise DatasetError(got)
        tell(f"No run leaves out {name}: {got}.")
        del groups[name]
    rows = []
    for place, (name, sources) in enumerate(groups.items()):
        settings = [_FORMAT, recipe.to_dict(), backbone, store.fingerprint, sources]
        digest = hashlib.sha256(json.dumps(settings).encode("utf-8", "surrogateescape")).hexdigest()
        folder = out / f"{re.sub(r'[^a-zA-Z0-9-]+', '_', name)[:40]}-{digest[:8]}"

        def stepped(done: int, total: int, place: int = place) -> None:
            progress("steps trained", place * total + done, len(groups) * total)

        if not (folder / _RESULT).exists():
            make_folder(folder)
            with alone_in(folder, "training"):
                row = _run(store, name, sources, recipe, backbone, folder, progress, stepped)
                write_text(folder / _RESULT, json.dumps(asdict(row)) + "\n")
                (folder / CHECKPOINT).unlink(missing_ok=True)
        rows.append(LeftOutRow(**json.loads((folder / _RESULT).read_text(encoding="utf-8"))))
        report(rows[-1])
    return LeaveOneOut(tuple(rows))


def _groups(known: Sequence[str], patterns: Sequence[str]) -> dict[str, list[str]]:
    """Name → sources to be left out together."""
    groups = {}
    for pattern in patterns or known:
        # A source's own name always means that source, whatever characters are in it.
        parts = [pattern] if pattern in known else pattern.split(",")
        fitting: set[str] = set()
        for part in parts:
            names = {name for name in known if name == part or fnmatchcase(name, part)}
            if not names:
                raise DatasetError(
                    f"expected to leave out sources of fakes, out of {', '.join(known)}; {part!r} matches none"
                )
            fitting |= names
        groups[pattern] = sorted(fitting)
    return groups


def _run(
    store: CropStore,
    name: str,
    sources: list[str],
    recipe: Recipe,
    backbone: str,
    folder: Path,
    progress: Progress,
    stepped: Callable[[int, int], None],
) -> LeftOutRow:
    import keras

    train, fakes, reals = _chosen(store, sources, recipe)
    keras.utils.clear_session()  # what earlier runs left in memory
    keras.utils.set_random_seed(recipe.seed)
    network = build(backbone, recipe.side, recipe.dropout)
    # All runs train on the same real faces, so they can share reconstructions.
    made = reconstructions_for(recipe, store, train, folder.parent, progress)
    fit(network, store, train, [*fakes, *reals], recipe, folder, stepped=stepped, reconstructions=made)
    by_tier = {tier: _auc(network, store, [*fakes, *reals], recipe, tier) for tier in _TIERS}
    of_sources: dict[str, dict[str, float]] = {
        source: {tier: by_tier[tier][source] for tier in _TIERS} for source in sorted(by_tier["clean"])
    }
    return LeftOutRow(name, len(fakes), of_sources)


def _chosen(
    store: CropStore, sources: Sequence[str], recipe: Recipe
) -> tuple[list[int], list[int], list[int]]:
    """The crops to train on, and the fakes of these sources and the real faces that are then scored."""
    examples = [crop.example for crop in store.crops]
    of_reals = {example.source for example in examples if example.label == "real"}
    held_out = [source for source in recipe.held_out if source in of_reals]
    left_out = {
        n for n, example in enumerate(examples) if example.label == "fake" and example.source in sources
    }
    train = [n for n in seen(store, held_out) if n not in left_out]
    # A fake whose real clip was trained on is not unseen, nor is the reverse.
    known = {examples[n].group for n in train}
    mixed = np.random.default_rng(recipe.seed).permutation(len(store)).tolist()
    fakes = [n for n in mixed if n in left_out and examples[n].group not in known]
    unknown = set(unseen(store, held_out))
    reals = [
        n for n in mixed if n in unknown and examples[n].label == "real" and examples[n].group not in known
    ]
    fakes, reals = (first_of_each(store, numbers, _SCORED_A_SOURCE) for numbers in (fakes, reals))
    return train, fakes, reals


def _auc(
    network: keras.Model, store: CropStore, numbers: Sequence[int], recipe: Recipe, tier: Tier
) -> dict[str, float]:
    """Source of fakes → AUC."""
    scores = {
        key: network_logits(network, store, members, recipe, tier)
        for key, members in by_source(store, numbers).items()
    }
    aucs: dict[str, float] = auc_by_source(scores)["sources"]
    return aucs
