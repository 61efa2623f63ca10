from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from facefake.errors import ModelError
from facefake.training import fit as module
from facefake.training import network
from facefake.training.fit import CHECKPOINT, auc_by_source, fit
from facefake.training.flatness import sharpness_aware
from facefake.training.recipe import Recipe
from facefake.training.scoring import seen, unseen

RECIPE = Recipe(
    side=32,
    batch=16,
    steps=60,
    steps_an_epoch=20,
    learning_rate=1e-2,
    warmup_steps=5,
    ema=0.8,
    degradation=0.2,
    seed=11,
)


class Stopped(Exception):
    pass


@pytest.fixture
def fresh(monkeypatch, tiny_backbone):
    """Makes a network; one with the same seed has the same weights."""
    monkeypatch.setattr(network, "backbone", tiny_backbone)

    def make(seed: int = 0, dropout: float = 0.1):
        import keras

        keras.utils.set_random_seed(seed)
        return network.build("tiny", 32, dropout)

    return make


def run(model, store, folder, report=lambda line: None, recipe=RECIPE):
    fit(model, store, seen(store, []), unseen(store, []), recipe, folder, report)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_what_is_easy_and_logs_every_epoch(fresh, toy_store, tmp_path):
    model, reported = fresh(), []
    run(model, toy_store, tmp_path, reported.append)
    assert reported == log(tmp_path)
    assert [line["epoch"] for line in reported] == [1, 2, 3]
    losses = [line["loss"] for line in reported]
    assert losses[2] < losses[0] < 2
    assert losses[2] < 0.5
    assert reported[2]["auc"] > 0.9
    assert set(reported[2]["sources"]) == {"gans", "face-swaps"}


def test_a_run_that_ended_before_its_network_was_kept_is_not_repeated(fresh, toy_store, tmp_path):
    recipe = replace(RECIPE, steps=8, steps_an_epoch=4)
    whole, again, epochs = fresh(), fresh(seed=99), []
    run(whole, toy_store, tmp_path, recipe=recipe)
    run(again, toy_store, tmp_path, epochs.append, recipe)
    assert epochs == []
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(fresh, toy_store, tmp_path, dropout):
    """Weights, optimizer, average, stream and dropout all go on, and batches come in the same order."""
    recipe = Recipe(**{**RECIPE.to_dict(), "steps": 24, "steps_an_epoch": 8})
    whole = fresh(dropout=dropout)
    run(whole, toy_store, tmp_path / "whole", recipe=recipe)

    def stop(line):
        if line["epoch"] == 1:
            raise Stopped

    first = fresh(dropout=dropout)
    with pytest.raises(Stopped):
        run(first, toy_store, tmp_path / "cut", stop, recipe)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    assert [line["epoch"] for line in log(tmp_path / "cut")] == [1]
    second, epochs = fresh(seed=99, dropout=dropout), []
    run(second, toy_store, tmp_path / "cut", lambda line: epochs.append(line["epoch"]), recipe)
    assert epochs == [2, 3]
    assert [line["epoch"] for line in log(tmp_path / "cut")] == [1, 2, 3]
    assert int(second.optimizer.iterations) == int(whole.optimizer.iterations) == 24
    for a, b in zip(whole.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0.02, atol=2e-3, err_msg=a.path)
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_a_run_that_is_killed_while_it_saves_goes_on_from_the_epoch_before(
    fresh, toy_store, tmp_path, monkeypatch
):
    import keras

    save = keras.Model.save_weights

    def killed(model, path, *rest):
        save(model, path, *rest)
        if int(model.optimizer.iterations) == 16:
            path.write_bytes(path.read_bytes()[:5000])
            raise KeyboardInterrupt

    recipe = replace(RECIPE, steps=24, steps_an_epoch=8)
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            run(fresh(), toy_store, tmp_path, recipe=recipe)
    epochs = []
    run(fresh(), toy_store, tmp_path, lambda line: epochs.append(line["epoch"]), recipe)
    assert epochs == [2, 3]


def test_a_damaged_checkpoint_is_told(fresh, toy_store, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(
        ModelError, match=r"checkpoint\.weights\.h5: expected the checkpoint of this run, got"
    ):
        run(fresh(), toy_store, tmp_path)


def test_of_the_first_weights_little_is_left_in_the_average_of_a_short_run(fresh, toy_store, tmp_path):
    recipe = replace(RECIPE, ema=0.9999)
    model = fresh()
    run(model, toy_store, tmp_path, recipe=recipe)
    momentum = model.optimizer.ema_momentum
    assert momentum ** int(model.optimizer.iterations) == pytest.approx(0.05)


def test_with_flatness_the_gradient_is_that_uphill():
    import keras

    inputs = keras.Input((3,))
    dense = keras.layers.Dense(1, use_bias=False)
    network = keras.Model(inputs, {"logit": keras.layers.Reshape(())(dense(inputs))})
    crops = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    labels = (crops[:, 0] > 0).astype(np.float32)

    def gradient(weights):
        stated = 1 / (1 + np.exp(-crops @ weights))
        return (stated - labels) @ crops / len(crops)

    before = dense.get_weights()[0][:, 0]
    first = gradient(before)
    model = sharpness_aware(network, 0.5)
    model.compile(
        keras.optimizers.SGD(0.1), loss={"logit": keras.losses.BinaryCrossentropy(from_logits=True)}
    )
    model.fit(crops, {"logit": labels}, batch_size=16, verbose=0)
    expected = before - 0.1 * gradient(before + 0.5 * first / np.linalg.norm(first))
    np.testing.assert_allclose(dense.get_weights()[0][:, 0], expected, rtol=1e-5)
    assert np.abs(expected - (before - 0.1 * first)).max() > 1e-4


def test_a_run_with_flatness_learns(fresh, toy_store, tmp_path):
    recipe = replace(RECIPE, flatness=0.05)
    model, lines = fresh(), []
    run(model, toy_store, tmp_path, lines.append, recipe)
    assert log(tmp_path) == lines
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["auc"] > 0.8


def test_every_dropout_of_an_epoch_has_a_state_of_its_own(fresh, toy_store, tmp_path, monkeypatch):
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)])
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inner(inputs)))
    drops = [*inner.layers, model.layers[-1]]
    for epoch in (3, 4):
        module._reseed(model, 7, epoch)
        states = [tuple(np.asarray(layer.seed_generator.state).tolist()) for layer in drops]
        assert len(set(states)) == 3
        module._reseed(model, 7, epoch)
        assert states == [tuple(np.asarray(layer.seed_generator.state).tolist()) for layer in drops]


def test_no_epoch_drops_what_another_did():
    import keras

    drop = keras.layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((8,)), drop])
    states = []
    for epoch in range(4):
        module._reseed(model, 7, epoch)
        states += [tuple(np.asarray(drop.seed_generator.next()).tolist()) for _ in range(50)]
    assert len(set(states)) == 4 * 50


def test_every_seed_of_a_recipe_is_one_of_dropout_on_pytorch_too(monkeypatch):
    import keras

    state = keras.Variable(np.zeros(2), dtype="int32", trainable=False)  # what PyTorch has for want of uint32
    monkeypatch.setattr(module, "_seed_generators", lambda network: [SimpleNamespace(state=state)])
    for epoch in range(8):
        module._reseed(None, 2**32 - 1, epoch)
        assert (np.asarray(state) >= 0).all()


def test_afterwards_the_network_holds_the_average(fresh, toy_store, tmp_path):
    model, trained = fresh(), []
    run(model, toy_store, tmp_path, lambda line: trained.append(model.get_layer("evidence").get_weights()[0]))
    kept = model.get_layer("evidence").get_weights()[0]
    (average,) = (
        np.asarray(variable)
        for variable in model.optimizer.variables
        if "average" in variable.path and "evidence" in variable.path
    )
    np.testing.assert_array_equal(kept, average)
    assert np.abs(trained[-1] - kept).max() > 0  # the validation had put the last step's weights back


def test_every_batch_is_drawn_from_seed_epoch_and_place(fresh, toy_store, tmp_path, monkeypatch):
    seeds = []
    default_rng = np.random.default_rng

    def recorded(seed=None):
        if isinstance(seed, list):
            seeds.append(tuple(seed))
        return default_rng(seed)

    monkeypatch.setattr(module.np.random, "default_rng", recorded)
    recipe = Recipe(**{**RECIPE.to_dict(), "steps": 12, "steps_an_epoch": 4})
    run(fresh(), toy_store, tmp_path, recipe=recipe)
    assert set(seeds) == {(11, epoch, index) for epoch in range(3) for index in range(4)}
    assert sum(seed[1] > 0 for seed in seeds) == 8  # no batch of a later epoch is made twice


def test_a_new_run_starts_a_new_log(fresh, toy_store, tmp_path):
    (tmp_path / "log.jsonl").write_text("an old run\n")
    run(fresh(), toy_store, tmp_path, recipe=Recipe(**{**RECIPE.to_dict(), "steps": 2, "steps_an_epoch": 2}))
    assert len(log(tmp_path)) == 1


def test_a_loss_that_is_no_number_is_an_error(fresh, toy_store, tmp_path):
    model = fresh()
    model.get_layer("bias").set_weights([np.array([[math.nan]]), np.zeros(1)])
    with pytest.raises(ModelError, match="lower learning rate"):
        run(model, toy_store, tmp_path)


def test_a_source_of_fakes_is_compared_with_the_real_faces_of_that_source():
    scores = {
        ("real", "clips"): np.array([5.0, 6.0]),
        ("real", "other"): np.array([0.0, 1.0]),
        ("fake", "clips"): np.array([2.0, 3.0]),
        ("fake", "gan"): np.array([2.0, 3.0]),
    }
    result = auc_by_source(scores)
    assert result["sources"] == {"clips": 0.0, "gan": 0.5}
    assert result["auc"] == 0.25
    assert math.isnan(auc_by_source({("real", "x"): np.zeros(3)})["auc"])


@pytest.mark.parametrize(("steps", "steps_an_epoch", "done"), [(3, 8, 3), (12, 10, 12), (20, 8, 21)])
def test_a_run_is_as_long_as_was_asked_for(fresh, toy_store, tmp_path, steps, steps_an_epoch, done):
    recipe = Recipe(
        **{**RECIPE.to_dict(), "steps": steps, "steps_an_epoch": steps_an_epoch, "warmup_steps": 200}
    )
    model = fresh()
    run(model, toy_store, tmp_path, recipe=recipe)
    assert int(model.optimizer.iterations) == done
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(done + 1)]
    assert max(rates) == pytest.approx(recipe.learning_rate, rel=0.5)
    assert rates[-1] == pytest.approx(0.02 * recipe.learning_rate, rel=0.01)
