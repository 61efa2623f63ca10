from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from facefake.errors import DatasetError
from facefake.training.commands import train
from facefake.training.recipe import Recipe, read_recipe

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "facefake" / "recipe.toml"


def read(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text)
    return read_recipe(path)


def test_what_a_recipe_does_not_name_keeps_its_default(tmp_path):
    assert read(tmp_path, "") == Recipe()
    recipe = read(tmp_path, "steps = 7\nmargin = 1\nheld_out = ['x']\n[kind_share]\ngan = 2\n")
    assert recipe == Recipe(steps=7, margin=1.0, held_out=["x"], kind_share={"gan": 2})
    assert type(recipe.margin) is float
    assert Recipe(**recipe.to_dict()) == recipe


def test_a_table_takes_the_place_of_the_default_s_whole_as_the_help_says(tmp_path):
    text = "[self_made_share]\nswap = 1\n[[stage]]\n[stage.self_made_share]\nretouch = 2\n"
    recipe = read(tmp_path, text)
    (stage,) = recipe.stages()
    assert (recipe.self_made_share, stage.self_made_share) == ({"swap": 1}, {"retouch": 2})
    told = CliRunner().invoke(train, ["--help"]).output
    assert "A table replaces the default's whole" in " ".join(told.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 7", "'step'"),
        ("steps = 7.0", "steps to be a whole number, got 7.0"),
        ("steps = true", "steps to be a whole number"),
        ("steps = '7'", "steps to be a whole number"),
        ("held_out = 'x'", "held_out to be a list, got 'x'"),
        ("held_out = [1]", "names in held_out"),
        ("kind_share = ['gan']", r"kind_share to be a table, got \['gan'\]"),
        ("[kind_share]\ngan = 'much'", "kind_share of gan"),
        ("[self_made_share]\nswap = -1", "self_made_share of swap"),
        ("[source_share]\nx = nan", "source_share of x"),
        ("[counterpart]\nx = 1", "counterpart"),
        ("batch = 31", "a multiple of 2"),
        ("batch = 0", "batch above 0"),
        ("steps = -1", "steps above 0"),
        ("learning_rate = nan", "learning_rate above 0"),
        ("learning_rate = 'fast'", "learning_rate to be a number, got 'fast'"),
        ("dropout = true", "dropout to be a number, got True"),
        ("dropout = 1.5", "dropout from 0 to 1"),
        ("degradation = 1.1", "degradation from 0 to 1"),
        ("defocus = 1.1", "defocus from 0 to 1"),
        ("distant = -0.1", "distant from 0 to 1"),
        ("smoothing = 2", "smoothing from 0 to 1"),
        ("margin = 1.5", "margin from 1 to 1.35"),
        ("steps = ", "TOML"),
        ("consistency = -1", "consistency from 0"),
        ("consistency = 0.5\nbatch = 30", "a multiple of 4"),
        ("upsamplers = ['cubic']", "upsamplers out of nearest"),
        ("upsamplers = [['nearest']]", "upsamplers out of nearest"),
        ("upsamplers = []\n[self_made_share]\nreconstruction = 1", "expected upsamplers"),
        ("[self_made_share]\nself_blend = 1", "self_made_share out of self-blend, .* got 'self_blend'"),
        ("side = 16", "side from 32 to 1024"),
        ("side = 2048", "side from 32 to 1024"),
        ("seed = -1", "seed from 0"),
        ("seed = 4294967296", "seeds below"),
        ("other_kind_share = -1.0", "other_kind_share from 0"),
        ("jitter_scale = -1.0", "jitter_scale from 0 to 1"),
        ("jitter_scale = 1e3", "jitter_scale from 0 to 1"),  # whose exponential no float holds
        ("other_kind_share = 1e308", "other_kind_share from 0"),  # nor the sum of two of these
        ("[kind_share]\ngan = 1e308", "kind_share of gan from 0"),
        ("reconstructed = 0", "reconstructed above 0"),
        ("redrawn = 1.5", "redrawn from 0 to 1"),
        ("redrawn = 0.5", "a share of reconstructions, which redrawn needs"),
        (
            "[stage]\nsteps = 7",
            r"recipe\.toml: expected stage to be a list of tables, \[\[stage\]\], got a table",
        ),
        ("stage = 2", r"expected stage to be a list of tables, \[\[stage\]\], got 2"),
        ("[steps]", "steps to be a whole number, got a table"),
        ("mirror = 3", "mirror to be a text, got 3"),
        ("stage = [1]", "stage 1: expected a table of settings, got 1"),
        ("[[stage]]\n[[stage]]\nstep = 7", "stage 2: expected settings out of .* got 'step'"),
        ("[[stage]]\nsteps = 1.5", "stage 1: expected steps to be a whole number"),
        ("[[stage]]\nsteps = -1", "steps above 0"),
        ("averaged = 0", "averaged above 0, .* got 0"),
        ("[[stage]]\naveraged = -2", "averaged above 0, .* got -2"),
        ("mirror = 'efficientnet-lite0'", "mirror and mirror_stages together"),
        ("mirror_stages = 1\n[[stage]]\n[[stage]]", "mirror and mirror_stages together"),
        (
            "mirror = 'lenet'\nmirror_stages = 1\n[[stage]]\n[[stage]]",
            "mirror out of efficientnet-lite0, .* 'lenet'",
        ),
        (
            "mirror = 'efficientnet-lite0'\nmirror_stages = 2\n[[stage]]\n[[stage]]",
            "got 'efficientnet-lite0' and 2 of 2",
        ),
        ("[[stage]]\nmirror = 'efficientnet-lite0'", "stage 1: expected mirror to be the same in all stages"),
        pytest.param(
            "learning_rate = 1" + "0" * 400, "learning_rate above 0, .* got inf", id="beyond floats"
        ),
        pytest.param("steps = 1" + "0" * 5000, "expected a TOML recipe at", id="beyond Python's digits"),
        pytest.param("held_out = " + "[" * 5000 + "]" * 5000, "expected a TOML recipe at", id="too deep"),
        ("[[stage]]\nmargin = 1.2", "stage 1: expected margin to be the same in all stages"),
        ("refit_drawn = -1", "refit_drawn from 0"),
        ("[refit_view]\nstyling = 2", "styling from 0 to 1, got 2"),
        ("[refit_view]\nstyle = 1", "refit_view: expected settings out of .* got 'style'"),
        ("[refit_view]\nside = 64", "refit_view: expected settings out of degradation, .* got 'side'"),
        ("[[stage]]\n[stage.refit_view]\nstyling = 1", "stage 1: expected refit_view to be the same"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, text)


def test_drawn_views_differ_from_the_whole_recipe_where_their_table_says_so(tmp_path):
    text = "side = 64\nstyling = 0.1\ndefocus = 0.3\n"
    assert read(tmp_path, text).for_drawn_views() == read(tmp_path, text)
    drawn = read(tmp_path, text + "[[stage]]\nstyling = 0.9\n[refit_view]\nstyling = 0.5\n").for_drawn_views()
    assert (drawn.side, drawn.styling, drawn.defocus) == (64, 0.5, 0.3)


def test_the_ends_of_a_range_belong_to_it(tmp_path):
    recipe = read(tmp_path, "margin = 1.35\nseed = 4294967295\nside = 1024\ndropout = 1\nema = 0\n")
    assert (recipe.margin, recipe.seed, recipe.side) == (1.35, 2**32 - 1, 1024)


@pytest.mark.parametrize(
    ("steps", "an_epoch", "epochs", "whole"),
    [(1000, 250, 4, 1000), (1000, 300, 4, 1000), (1001, 300, 4, 1004), (7, 300, 1, 7), (5, 1, 5, 5)],
)
def test_epochs_are_of_one_length_and_hold_all_steps(steps, an_epoch, epochs, whole):
    recipe = Recipe(steps=steps, steps_an_epoch=an_epoch)
    assert (recipe.epochs, recipe.whole_steps) == (epochs, whole)


def test_a_stage_differs_in_what_it_names_and_has_the_next_seed(tmp_path):
    text = "seed = 5\nsteps = 9\n[kind_share]\ngan = 2\n[[stage]]\n[[stage]]\nsteps = 4\nlearning_rate = 1\nside = 96\n"
    recipe = read(tmp_path, text)
    common = Recipe(seed=5, steps=9, kind_share={"gan": 2})
    assert recipe.stages() == [common, replace(common, seed=6, steps=4, learning_rate=1.0, side=96)]
    assert common.stages() == [common]
    assert Recipe(**recipe.to_dict()) == recipe
    assert [stage.averaged for stage in read(tmp_path, "averaged = 2\n" + text).stages()] == [2, 2]


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"recipe\.toml"):
        read_recipe(tmp_path / "recipe.toml")


def test_the_shipped_recipe_is_one():
    recipe = read_recipe(SHIPPED)
    assert recipe != Recipe()
    assert recipe.held_out  # calibration needs sources that training never saw
