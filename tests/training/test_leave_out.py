from __future__ import annotations

import json
from pathlib import Path

import pytest

from facefake.errors import DatasetError, OutputError
from facefake.locks import alone_in
from facefake.training import leave_out as module
from facefake.training import network
from facefake.training.fit import CHECKPOINT
from facefake.training.leave_out import LeaveOneOut, LeftOutRow, leave_one_source_out
from facefake.training.recipe import Recipe

RECIPE = Recipe(
    side=32,
    batch=8,
    steps=12,
    steps_an_epoch=12,
    learning_rate=1e-2,
    warmup_steps=2,
    ema=0.8,
    degradation=0.1,
    self_made_share={},
    held_out=["two", "gans"],
)


AUCS = {"gans": {"clean": 0.5, "web": 0.5}}


@pytest.fixture
def toy(toy_store, monkeypatch, tiny_backbone):
    """The toy store in place of a dataset on disk: real faces "one" and "two", fakes "gans" and "face-swaps"."""
    monkeypatch.setattr(module, "read_dataset", lambda data: [crop.example for crop in toy_store.crops])
    monkeypatch.setattr(module, "make_crops", lambda examples, cache, progress: toy_store)
    monkeypatch.setattr(network, "backbone", tiny_backbone)
    return toy_store


@pytest.fixture
def trained(monkeypatch):
    """What `fit` is given, run by run; it trains all the same."""
    runs = []
    fit = module.fit

    def noted(network, store, train, val, recipe, folder, **rest):
        runs.append({"train": train, "val": val, "folder": folder})
        fit(network, store, train, val, recipe, folder, **rest)

    monkeypatch.setattr(module, "fit", noted)
    return runs


@pytest.fixture
def pretended(monkeypatch):
    """The folders of the runs, none of which trains."""
    folders = []
    monkeypatch.setattr(module, "build", lambda *settings: None)
    monkeypatch.setattr(module, "fit", lambda *settings, **rest: folders.append(settings[5]))
    monkeypatch.setattr(module, "_auc", lambda *settings: {"gans": 0.5})
    return folders


def run(out: Path, *patterns: str, **rest) -> LeaveOneOut:
    return leave_one_source_out(Path("data"), out, RECIPE, backbone="tiny", patterns=patterns, **rest)


def test_every_source_of_fakes_is_left_out_once_and_found_all_the_same(toy, trained, tmp_path):
    reported, steps = [], []
    found = run(tmp_path, report=reported.append, progress=lambda *what: steps.append(what))
    assert [row.name for row in found.rows] == ["face-swaps", "gans"]
    assert reported == list(found.rows)
    assert steps[-1] == ("steps trained", 24, 24)
    for row in found.rows:  # all fakes are green, of whatever source
        assert set(row.auc) == {"clean", "web"}
        assert row.auc["clean"] > 0.9
    assert found.mean_auc["web"] == pytest.approx(sum(row.auc["web"] for row in found.rows) / 2)
    for row, seen in zip(found.rows, trained, strict=True):
        examples = [toy.crops[n].example for n in seen["train"]]
        fakes = {example.source for example in examples if example.label == "fake"}
        # The other source is trained on, though the recipe holds "gans" out; its real sources stay unseen.
        assert fakes == {"face-swaps", "gans"} - set(row.auc_by_source)
        assert {example.source for example in examples if example.label == "real"} == {"one"}
        assert {example.split for example in examples} == {"train"}
        scored = [toy.crops[n].example for n in seen["val"]]
        assert {example.source for example in scored if example.label == "fake"} == set(row.auc_by_source)
        assert not {example.group for example in scored} & {example.group for example in examples}


def test_a_run_that_is_done_is_not_repeated(toy, pretended, tmp_path):
    (first,) = run(tmp_path, "gans").rows
    assert len(pretended) == 1
    both = run(tmp_path)
    assert len(pretended) == 2
    assert first in both.rows
    assert json.loads((pretended[0] / "result.json").read_text())["name"] == "gans"


def test_a_run_that_was_cut_short_goes_on_in_its_folder(toy, pretended, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_auc", lambda *settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, "gans")
    run(tmp_path, "gans")
    assert pretended[0] == pretended[1]


def test_a_run_cut_short_while_it_is_scored_does_not_train_again(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_auc", lambda *settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, "gans")
    steps = []
    (row,) = run(tmp_path, "gans", progress=lambda *what: steps.append(what)).rows
    assert steps == []
    assert row.auc["clean"] > 0.9
    assert not list(tmp_path.rglob(CHECKPOINT))


def test_two_at_once_are_not_at_the_same_run(toy, pretended, tmp_path):
    run(tmp_path, "gans")
    (folder,) = set(pretended)
    (folder / "result.json").unlink()
    with alone_in(folder, "training"):
        with pytest.raises(OutputError, match="expected to be the only process training there"):
            run(tmp_path, "gans")
        run(tmp_path, "face-swaps")
    assert len(pretended) == 2
    run(tmp_path, "gans")


def test_a_folder_that_cannot_be_written_to_is_told_first(toy, pretended, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/out: expected a folder that can be written to"):
        run(tmp_path / "file" / "out")


def test_other_settings_have_runs_of_their_own(toy, pretended, tmp_path, monkeypatch):
    run(tmp_path, "gans")
    monkeypatch.setattr(f"{__name__}.RECIPE", Recipe(**{**RECIPE.to_dict(), "seed": 1}))
    run(tmp_path, "gans")
    assert len(set(pretended)) == 2


def test_sources_can_be_left_out_together():
    known = ["flux1-dev", "flux1-pro", "odd,name*", "sd15", "sd21"]
    assert module._groups(known, ["flux1-*", "sd21,sd15", "odd,name*"]) == {
        "flux1-*": ["flux1-dev", "flux1-pro"],
        "sd21,sd15": ["sd15", "sd21"],
        "odd,name*": ["odd,name*"],
    }
    assert module._groups(known, []) == {name: [name] for name in known}
    for patterns in (["sd15", "sd3"], ["sd15,sd3"]):
        with pytest.raises(DatasetError, match="'sd3' matches none"):
            module._groups(known, patterns)


def test_of_sources_that_are_left_out_together_each_is_told(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_groups", lambda known, patterns: {"both": known})
    aucs = {"clean": {"face-swaps": 0.5, "gans": 0.9}, "web": {"face-swaps": 0.4, "gans": 0.7}}
    row = LeftOutRow("both", 12, {s: {tier: aucs[tier][s] for tier in aucs} for s in aucs["clean"]})
    monkeypatch.setattr(module, "_run", lambda *args: row)
    found = run(tmp_path)
    assert found.rows == (row,)
    assert found.to_dict()["left_out"][0]["auc"] == pytest.approx({"clean": 0.7, "web": 0.55})
    (table,) = found.tables()
    assert [line[1:] for line in table.rows] == [
        ["face-swaps, gans", "12", "0.700", "0.550"],
        ["face-swaps", "", "0.500", "0.400"],
        ["gans", "", "0.900", "0.700"],
        ["", "", "0.700", "0.550"],
    ]


@pytest.mark.parametrize("name", ["../../up", "/root", "..", "a\x00b", "x" * 300, "grün"])
def test_no_name_of_a_source_leads_out_of_the_folder(toy, tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "_groups", lambda known, patterns: {name: ["gans"]})
    monkeypatch.setattr(module, "_run", lambda *args: LeftOutRow(name, 1, AUCS))
    run(tmp_path / "out")
    (made,) = (tmp_path / "out").iterdir()
    assert (made / "result.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_unseen_fakes_there_is_nothing_to_score(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "seen", lambda store, held_out: list(range(len(store))))
    monkeypatch.setattr(module, "fit", lambda *args, **rest: pytest.fail("trained first"))
    with pytest.raises(DatasetError, match="fakes of gans and real faces that are not trained on, got 0"):
        run(tmp_path, "gans")


def test_a_source_without_unseen_fakes_costs_no_other_its_run(toy, pretended, tmp_path, monkeypatch):
    chosen = module._chosen

    def without(store, sources, recipe):
        train, fakes, reals = chosen(store, sources, recipe)
        return train, [] if sources == ["face-swaps"] else fakes, reals

    monkeypatch.setattr(module, "_chosen", without)
    told = []
    assert [row.name for row in run(tmp_path, tell=told.append).rows] == ["gans"]
    assert told[-1].startswith("No run leaves out face-swaps: expected fakes of face-swaps")
