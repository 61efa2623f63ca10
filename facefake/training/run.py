"""A whole training run: from a dataset to a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefake.bundle import ONE_NETWORK_SHARE
from facefake.classifier import LiteRTNetworks
from facefake.errors import DatasetError
from facefake.locks import alone_in
from facefake.training.calibrate import FACE_SIDES, LEAST_AUC, calibrate, check_enough, told_limits
from facefake.training.crops import CropStore, fingerprint_of, make_crops
from facefake.training.dataset import Example, read_dataset
from facefake.training.evaluate import evaluate_crops
from facefake.training.export import litert_contents, move_bundle, write_description, write_networks
from facefake.training.files import make_folder, write_text
from facefake.training.fit import CHECKPOINT
from facefake.training.recipe import Recipe
from facefake.training.refit import fitted_to, refit
from facefake.training.scoring import halves, seen, told_both_labels, told_left_out, unseen
from facefake.training.stages import Start, from_bundle, from_imagenet, train_stages, trained_files

if TYPE_CHECKING:
    import keras

    from facefake.bundle import Bundle

_CLAIM = "run.json"
_EXPORT = ".facefake-export"  # in the run's folder, where the user may have a folder with a more common name


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    backbone: str,
    start: Path | None = None,
    cache: Path | None = None,
    name: str = "custom",
    version: str = "1",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    report: Callable[[dict[str, Any]], None] = lambda epoch: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Bundle:
    """Train on a dataset, calibrate on what was not trained on, and write a bundle.

    When called again with the same `out`, an interrupted run resumes after its last epoch, one that finished a stage
    continues with the next, and one that was trained but not yet calibrated and exported only does that. One that has
    written its bundle starts anew.

    Args:
        data: as `read_dataset` takes it.
        out: folder of the bundle; also gets ``log.jsonl`` and, while the run lasts, a checkpoint; with a recipe in
            stages, each stage has a folder for these.
        recipe: the settings; both networks of `start` are trained with them, so a bundle of two takes twice the time.
        backbone: one of `network.BACKBONES`; ignored with `start`.
        start: a bundle to fine-tune; its side, margin and mirror_share replace those of the recipe and its stages.
        cache: where the crops, and reconstructions, are kept; None for ``crops``, and ``reconstructions``, in `out`.
        name, version: of the bundle.
        progress: called while crops are made, after every step, and while what was trained is calibrated and measured,
            with what is counted, how many are done and their total.
        report: called with each epoch's line of the log, as `train_stages` does.
        tell: called with each sentence that the user should read about the data or the bundle.

    Raises:
        DatasetError: the dataset is not as described, or too small to calibrate on; or `out` holds an interrupted run with
            other settings or pictures; or the recipe has a second network, which it must not have with `start`, or holds
            out sources that `start` was trained on.
        ModelError: a backbone or the bundle to start from is not available, two networks do not fit together, or the
            training diverged.
        OutputError: `out` or `cache` cannot be written to, or another process is training or cutting crops there.
    """
    examples = read_dataset(data)
    begun = from_imagenet(recipe, backbone) if start is None else from_bundle(recipe, start)
    recipe = begun.recipe
    claim = {"recipe": recipe.to_dict(), "crops": fingerprint_of(examples), "from": begun.identity}
    make_folder(out)
    with alone_in(out, "training"):
        # Before crops are cut: another dataset's would replace those that an interrupted run needs to resume.
        content = _claimed(begun, out, claim)
        store = make_crops(
            examples, out / "crops" if cache is None else cache, partial(progress, "pictures cropped")
        )
        numbers, calibration_half = _parts(store, recipe, examples, tell)
        write_text(out / _CLAIM, content)
        finished = trained_files(begun, out)
        try:
            # No epoch is validated on what is reported on: a run chosen by those figures would look better than it is.
            networks = train_stages(
                begun, store, numbers, calibration_half, out, cache=cache, progress=progress, report=report
            )
        except BaseException:  # Ctrl-C among them
            if not _has_weights(begun, out):
                (out / _CLAIM).unlink()
            raise
        bundle = export(
            networks,
            store,
            recipe,
            out,
            name=name,
            version=version,
            card={
                "trained_from": begun.origin,
                "trained_before": begun.trained_before,
                "recipe": recipe.to_dict(),
                "data": _counts(store, recipe),
            },
            progress=progress,
        )
        # The first stage's after the others: without it, a run with other settings would take theirs for its own.
        for file in (*reversed(finished), out / _CLAIM):
            file.unlink()
        tell(_told_figures(bundle))
        if sentence := _told_weak(bundle):
            tell(sentence)
        return bundle


def _parts(
    store: CropStore, recipe: Recipe, examples: Sequence[Example], tell: Callable[[str], None]
) -> tuple[list[int], list[int]]:
    """Numbers of the crops to train on and of those to calibrate on; tells what the user should know about the data.

    What would fail after hours of training fails here.

    Raises:
        DatasetError: a label is missing where it is needed, or there are too few faces to calibrate on.
    """
    numbers = seen(store, recipe.held_out)
    calibration_half, report_half = halves(store, unseen(store, recipe.held_out))
    for sentence in (
        store.told_skipped(),
        told_both_labels(store),
        told_left_out(store, recipe.held_out),
        _told_unknown(recipe, examples),
        _told_use(store, numbers, calibration_half, report_half),
    ):
        if sentence:
            tell(sentence)
    for crops, use in ((numbers, "train"), (calibration_half, "calibrate"), (report_half, "report")):
        _check_labels(store, crops, use)
    check_enough(store, calibration_half)
    if recipe.refit:
        check_enough(store, fitted_to(store, calibration_half, recipe), "fit last layers to")
    if sentence := told_limits(store, calibration_half):
        tell(sentence)
    return numbers, calibration_half


def _told_use(store: CropStore, *uses: Sequence[int]) -> str:
    """A sentence for the user about how many faces there are to train, to calibrate and to report on."""
    counts = []
    for numbers in uses:
        fakes = sum(store.crops[n].example.label == "fake" for n in numbers)
        counts.append(f"{len(numbers) - fakes:,} real and {fakes:,} fake")
    return "Of the faces, {} are for training, {} for calibration, and {} for evaluation.".format(*counts)


def _told_figures(bundle: Bundle) -> str:
    """A sentence for the user about the figures on a bundle's own card."""
    kinds = [row for row in bundle.card["metrics"]["kinds"] if row["tier"] == "web"]
    aucs = ", ".join(f"{row['kind']} {row['auc']:.3f} ({row['count']:,} faces)" for row in kinds)
    return f"AUC on the faces for evaluation, on the web tier: {aucs}."


def _told_weak(bundle: Bundle) -> str | None:
    """A sentence for the user about a bundle that judges only the largest faces; None for any other bundle."""
    calibration = bundle.calibration
    if calibration.min_face < FACE_SIDES[-1]:
        return None
    return (
        f"On the web tier, there is no face size below {FACE_SIDES[-1]} pixels from which upwards the AUC is {LEAST_AUC} "
        f"or more: the model is too weak to be relied on, and judges only faces of {FACE_SIDES[-1]} pixels or more with a "
        f"sharpness of {calibration.min_sharpness:.2g} or more."
    )


def _told_unknown(recipe: Recipe, examples: Sequence[Example]) -> str | None:
    """A sentence for the user about names in the recipe that are not in the dataset; None if all are."""
    sources, kinds = ({getattr(e, field) for e in examples} for field in ("source", "kind"))
    named = [*recipe.held_out, *recipe.refit_without]
    named_kinds: list[str] = []
    for stage in recipe.stages():
        named += [*(name for pair in stage.counterpart.items() for name in pair), *stage.source_share]
        named_kinds += stage.kind_share
    unknown = [name for name in dict.fromkeys(named) if name not in sources]
    unknown += [name for name in dict.fromkeys(named_kinds) if name not in kinds]
    return (
        f"The recipe names sources or kinds that are not in the data: {', '.join(unknown)}."
        if unknown
        else None
    )


def _has_weights(begun: Start, out: Path) -> bool:
    """Whether there is anything to resume from; without it, other settings may be tried."""
    files = (trained_files(begun, out)[0], out / CHECKPOINT, out / "stage-1" / CHECKPOINT)
    return any(file.exists() for file in files)


def _claimed(begun: Start, out: Path, settings: dict[str, Any]) -> str:
    """What identifies a run in its folder, so that it can be resumed there after an interruption.

    Raises:
        DatasetError: the folder holds another run.
    """
    content = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    claim = out / _CLAIM
    if not claim.is_file() or claim.read_bytes() == content.encode():
        return content
    # A run that was killed before its first weights were kept could not take its own away.
    if _has_weights(begun, out) or not _is_claim(claim, settings):
        raise DatasetError(
            f"{claim}: expected the settings, crops and start of the interrupted run in this folder, got others: use the "
            "same again, or another folder"
        )
    return content


def _is_claim(file: Path, settings: dict[str, Any]) -> bool:
    """Whether a file is a run's note of its settings, and no other program's."""
    try:
        noted = json.loads(file.read_bytes())
    except ValueError:
        return False
    return isinstance(noted, dict) and noted.keys() == settings.keys()


def export(
    networks: Sequence[keras.Model],
    store: CropStore,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    version: str,
    card: dict[str, Any],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Bundle:
    """Calibrate trained networks on half of what they have not seen, measure them on the other half, write a bundle.

    If the recipe asks for it, their last layers are refitted first, to faces of the former half.

    A bundle that `out` holds already stays intact until the new one is complete.
    """
    calibration_half, report_half = halves(store, unseen(store, recipe.held_out))
    made = out / _EXPORT
    cross_fitted = None
    if recipe.refit:
        numbers = fitted_to(store, calibration_half, recipe)
        cross_fitted = refit(networks, store, numbers, recipe, partial(progress, "faces fitted to"))
    write_networks(networks, made)
    mirror_share = recipe.mirror_share if len(networks) > 1 else ONE_NETWORK_SHARE
    scorer = LiteRTNetworks(litert_contents(made), recipe.side, 2, mirror_share)
    calibration = calibrate(
        scorer if cross_fitted is None else cross_fitted(scorer),
        store,
        calibration_half,
        recipe.side,
        recipe.margin,
        progress,
    )

    def write(card: dict[str, Any]) -> Bundle:
        return write_description(
            made,
            name=name,
            version=version,
            margin=recipe.margin,
            networks=networks,
            mirror_share=mirror_share,
            calibration=calibration,
            card=card,
        )

    scored = evaluate_crops(scorer, write(card), store, report_half, "unseen", progress)
    write({**card, "metrics": scored.evaluation.to_dict()})
    return move_bundle(made, out)


def _check_labels(store: CropStore, numbers: list[int], use: str) -> None:
    for label in ("real", "fake"):
        if not any(store.crops[n].example.label == label for n in numbers):
            raise DatasetError(f"expected {label} faces to {use} on, got none among {len(numbers)} crops")


def _counts(store: CropStore, recipe: Recipe) -> list[dict[str, Any]]:
    """Crops by source: how many were trained on, and how many were kept unseen."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for use, numbers in (
        ("trained", seen(store, recipe.held_out)),
        ("unseen", unseen(store, recipe.held_out)),
    ):
        for number in numbers:
            example = store.crops[number].example
            key = (example.label, example.kind, example.source)
            named = dict(zip(("label", "kind", "source"), key, strict=True))
            rows.setdefault(key, {**named, "trained": 0, "unseen": 0})[use] += 1
    return [rows[key] for key in sorted(rows)]
