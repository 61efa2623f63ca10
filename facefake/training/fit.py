"""The training run: one loop over the stream, checkpointed so that it can be stopped and resumed at any epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.errors import ModelError
from facefake.training.crops import CropStore
from facefake.training.flatness import sharpness_aware
from facefake.training.metrics import area_under_curve
from facefake.training.recipe import Recipe
from facefake.training.scoring import by_source
from facefake.training.stream import PairStream
from facefake.training.views import batches

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from facefake.training.reconstruction import Reconstructions
    from facefake.training.views import Tier

LOG = "log.jsonl"
CHECKPOINT = "checkpoint.weights.h5"

_VALIDATED_A_SOURCE = 100
_LEFT_OF_START = 0.05  # the largest share that a run's initial weights may have in the average at its end


def fit(
    network: keras.Model,
    store: CropStore,
    train: Sequence[int],
    val: Sequence[int],
    recipe: Recipe,
    folder: Path,
    report: Callable[[dict[str, Any]], None] = lambda epoch: None,
    stepped: Callable[[int, int], None] = lambda done, total: None,
    reconstructions: Reconstructions | None = None,
) -> None:
    """Train a network in place; afterwards it holds the averaged weights.

    If `folder` holds the checkpoint of an interrupted run, training resumes from it. The checkpoint of the last epoch is
    kept: the caller removes it once the result is saved.

    Args:
        network: as `network.build` makes it.
        store: the crops.
        train: numbers of the crops to train on.
        val: numbers of the crops to validate on after every epoch (at most 100 per source and label are used).
        recipe: the settings.
        folder: gets the checkpoint and ``log.jsonl``, one line per epoch: loss, AUC per source, and their mean.
        report: called with that line after every epoch.
        stepped: called after every step with how many are done and their total.
        reconstructions: of real crops; needed where the recipe has a share of them.

    Raises:
        DatasetError: there is nothing to draw fakes from.
        ModelError: the loss became infinite or NaN, or the checkpoint cannot be read.
    """
    import keras

    keras.utils.set_random_seed(recipe.seed)
    epochs, steps = recipe.epochs, recipe.whole_steps
    recipe = replace(recipe, steps_an_epoch=steps // epochs)
    optimizer = _optimizer(recipe, steps)
    model = sharpness_aware(network, recipe.flatness) if recipe.flatness else network
    model.compile(optimizer, loss={"logit": _loss(recipe)})
    stream = _batches(PairStream(store, train, recipe, reconstructions), recipe)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / CHECKPOINT
    done = _restored(model, checkpoint) // recipe.steps_an_epoch
    if not done:
        (folder / LOG).unlink(missing_ok=True)

    def begin(epoch: int) -> None:
        stream.epoch = epoch
        _reseed(network, recipe.seed, epoch)

    def count(batch: int) -> None:
        stepped(stream.epoch * recipe.steps_an_epoch + batch + 1, steps)

    history = model.fit(
        stream,
        epochs=epochs,
        initial_epoch=done,
        shuffle=False,  # batches are random already, and their order would depend on where the run was interrupted
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: begin(epoch),
                on_train_batch_end=lambda batch, logs: count(batch),
                # Before the validation, so that every epoch in the log is in the checkpoint.
                on_epoch_end=lambda epoch, logs: _save(model, checkpoint),
            ),
            _validation(store, val, recipe, folder, report),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=0,
    )
    if not np.isfinite(history.history.get("loss", [])).all():
        checkpoint.unlink(missing_ok=True)
        raise ModelError(
            f"expected a finite loss, got {history.history['loss'][-1]}: a lower learning rate than "
            f"{recipe.learning_rate} may help"
        )
    optimizer.finalize_variable_values(network.trainable_variables)


def _optimizer(recipe: Recipe, steps: int) -> Any:
    """AdamW with clipped gradients, a linear warm-up and a cosine decay over this many steps; it keeps the average of the
    weights, which `fit` takes from it.
    """
    import keras

    warmup_steps = min(recipe.warmup_steps, steps // 2)
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=recipe.learning_rate / 50,
            decay_steps=steps - warmup_steps,
            alpha=0.02,
            warmup_target=recipe.learning_rate,
            warmup_steps=warmup_steps,
        ),
        weight_decay=recipe.weight_decay,
        use_ema=True,
        ema_momentum=min(recipe.ema, _LEFT_OF_START ** (1 / steps)),
        ema_overwrite_frequency=None,
        clipnorm=5.0,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _save(model: keras.Model, checkpoint: Path) -> None:
    """Save weights and optimizer state, whole or not at all: `keras.callbacks.BackupAndRestore` overwrites its file, so a
    run that is killed meanwhile could not be resumed.
    """
    partial = checkpoint.with_name(f"partial-{checkpoint.name}")
    model.save_weights(partial)
    partial.replace(checkpoint)


def _restored(model: keras.Model, checkpoint: Path) -> int:
    """Load the checkpoint into the model, if there is one; returns how many steps the model has done."""
    if checkpoint.exists():
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(checkpoint)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"{checkpoint}: expected the checkpoint of this run, got: {error}; delete this file to begin anew"
            ) from error
    return int(model.optimizer.iterations)


def _reseed(network: keras.Model, seed: int, epoch: int) -> None:
    """Make an epoch's dropout depend on the seed and the epoch alone, as batches do: checkpoints do not hold its state.

    Keras increments a state at every step, so the states of two epochs must lie far apart, or their dropout would repeat.
    """
    for place, generator in enumerate(_seed_generators(network)):
        # Without the highest bit: on PyTorch states are signed.
        state = np.random.SeedSequence([seed, place, epoch]).generate_state(2) >> 1
        generator.state.assign(state.astype(generator.state.dtype))


def _seed_generators(network: keras.Model) -> Iterator[keras.random.SeedGenerator]:
    for layer in network.layers:
        if generator := getattr(layer, "seed_generator", None):
            yield generator
        elif hasattr(layer, "layers"):  # one of Keras's own applications
            yield from _seed_generators(layer)


def _loss(recipe: Recipe) -> Any:
    """Cross-entropy, and with consistency the symmetric Kullback–Leibler divergence between the halves of a batch."""
    import keras
    from keras import ops

    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    if not recipe.consistency:
        return cross_entropy

    def loss(label: Any, logit: Any) -> Any:
        first, second = ops.split(logit, 2)
        # Of two Bernoulli distributions with these logits.
        divergence = (ops.sigmoid(first) - ops.sigmoid(second)) * (first - second)
        return cross_entropy(label, logit) + recipe.consistency * ops.mean(divergence) / 2

    return loss


def _batches(stream: PairStream, recipe: Recipe) -> Any:
    import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        """Batch `i` of an epoch depends on the seed, the epoch and `i` alone, whatever thread makes it."""

        epoch = 0

        def __len__(self) -> int:
            return recipe.steps_an_epoch

        def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
            rng = np.random.default_rng([recipe.seed, self.epoch, index])
            views = 2 if recipe.consistency else 1
            faces = [stream.pairs(rng, views) for _ in range(recipe.batch // (2 * views))]
            # All first views, then all second ones, as `_loss` expects.
            crops = np.stack([crop for view in zip(*faces, strict=True) for pair in view for crop in pair])
            crops = crops.astype(np.float32)
            labels = np.tile(np.array([1, 0], np.float32), recipe.batch // 2)
            return crops, {"logit": labels}

    return Batches(workers=2, use_multiprocessing=False, max_queue_size=8)


def _validation(
    store: CropStore,
    val: Sequence[int],
    recipe: Recipe,
    folder: Path,
    report: Callable[[dict[str, Any]], None],
) -> Any:
    import keras

    chosen = {key: numbers[:_VALIDATED_A_SOURCE] for key, numbers in by_source(store, val).items()}

    class Validation(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            trained = self._copied_weights()
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
            self.model.set_weights(self._copied_weights())
            scores = {
                key: network_logits(self.model, store, numbers, recipe) for key, numbers in chosen.items()
            }
            self.model.set_weights(trained)
            line = {"epoch": epoch + 1, "loss": float((logs or {})["loss"]), **auc_by_source(scores)}
            with (folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            report(line)

        def _copied_weights(self) -> list[NDArray[np.float32]]:
            # JAX shares its buffers, and predicting donates them: the optimizer's would be lost with the model's.
            return [np.array(weight) for weight in self.model.get_weights()]

    return Validation()


def network_logits(
    network: keras.Model, store: CropStore, numbers: Sequence[int], recipe: Recipe, tier: Tier = "clean"
) -> NDArray[np.float32]:
    """The logits of a network, as `network.build` makes it, for some crops, at least one, on a tier; float32 (n,)."""
    logits = [
        network.predict_on_batch(crops.astype(np.float32))["logit"]
        for crops in batches(store, numbers, recipe.side, recipe.margin, tier)
    ]
    return np.concatenate([np.asarray(logit) for logit in logits])


def auc_by_source(scores: Mapping[tuple[str, str], NDArray[np.float32]]) -> dict[str, Any]:
    """AUC of every source of fakes against the real faces of its own source, or else against all; and their mean.

    Args:
        scores: logits by (label, source).

    Returns:
        ``auc`` (0 to 1), the mean over the sources of fakes, and ``sources``, source → AUC.
    """
    reals = np.concatenate(
        [part for (label, _), part in scores.items() if label == "real"] or [np.empty(0, np.float32)]
    )
    sources = {
        source: round(area_under_curve(scores.get(("real", source), reals), fakes), 4)
        for (label, source), fakes in scores.items()
        if label == "fake"
    }
    return {
        "auc": round(float(np.mean(list(sources.values()))), 4) if sources else float("nan"),
        "sources": sources,
    }
