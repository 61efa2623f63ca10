from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scorers import Told

from facefake.bundle import read_bundle
from facefake.calibration import SoftFaces
from facefake.errors import DatasetError, ModelError
from facefake.rates import probability
from facefake.training.calibrate import BLURS, FACE_SIDES
from facefake.training.edits import EDITS
from facefake.training.evaluate import Judged, _chosen, _tier_rows, evaluate_crops
from facefake.training.figure_tables import evaluation_tables
from facefake.training.views import TIERS

LOGITS = {
    ("real", "photo", "speakers"): [-3.0, -2.5, -2.0, 3.0],
    ("real", "photo", "clips"): [-1.0, -0.5],
    ("fake", "gan", "<b>gans</b>"): [-2.2, 1.0, 2.5, 3.5],
    ("fake", "face-swap", "clips"): [-0.7, 0.0],
}


@pytest.fixture(scope="module")
def scored(store_of, tiny_bundle):
    crops = [
        (
            {"label": label, "kind": kind, "source": source, "group": f"{source} {logit}"},
            np.full((64, 64, 3), 128 + 10 * logit).astype(np.uint8),
            None,
        )
        for (label, kind, source), logits in LOGITS.items()
        for logit in logits
    ]
    store, read = store_of(crops), read_bundle(tiny_bundle)
    data = [{"label": "fake", "source": "<b>gans</b>", "trained": 3}]
    bundle = replace(read, card={"recipe": {"held_out": ["speakers"]}, "data": data})
    told: list[tuple[str, int, int]] = []
    found = evaluate_crops(Told(), bundle, store, range(len(store)), "all", lambda *what: told.append(what))
    assert [done for _, done, _ in told] == list(range(1, told[0][2] + 1))
    return found


def rows(scored, table, **wanted):
    return [
        row
        for row in getattr(scored.evaluation, table)
        if all(getattr(row, key) == value for key, value in wanted.items())
    ]


def test_sources_are_measured_against_their_own_real_faces_or_else_all(scored):
    for tier in TIERS:
        (swaps,) = rows(scored, "sources", tier=tier, label="fake", source="clips")
        assert swaps.auc == 3 / 4  # of four pairs with −1 and −0.5, one is the wrong way round
        (gans,) = rows(scored, "sources", tier=tier, kind="gan")
        assert gans.auc == pytest.approx((2 + 5 + 5 + 6) / 24)
        assert gans.detected_at_1_percent == 1 / 4
        # Called fake from a logit of about 1.95 on: two of four fakes, and one of six real faces.
        assert gans.called_fake == 1 / 2
        assert gans.balanced_accuracy == pytest.approx((1 / 2 + 1 - 1 / 8) / 2)
        (speakers,) = rows(scored, "sources", tier=tier, source="speakers")
        assert (speakers.auc, speakers.calibration_error, speakers.called_fake) == (None, None, 0.25)
        assert (speakers.trained_on, gans.trained_on) == (False, True)


def test_within_a_label_sources_weigh_the_same(scored):
    for tier in TIERS:
        (tier_row,) = rows(scored, "tiers", tier=tier)
        assert tier_row.false_alarms == (1 / 4 + 0) / 2
        assert tier_row.false_alarms_per_face == pytest.approx(1 / 6)
        assert tier_row.balanced_accuracy == pytest.approx((1 - 1 / 8 + (1 / 2 + 0) / 2) / 2)
        assert tier_row.left_out is None  # no source has twenty faces
        (gans,) = rows(scored, "kinds", tier=tier, kind="gan")
        assert tier_row.auc_by_kind == {row.kind: row.auc for row in rows(scored, "kinds", tier=tier)}
        assert (gans.count, gans.auc) == (4, rows(scored, "sources", tier=tier, kind="gan")[0].auc)


def test_a_mean_of_sources_is_the_same_to_its_last_digit_in_every_run():
    rng = np.random.default_rng(0)
    count = 400
    faces = {name: rng.random(count) < 0.5 for name in ("fake", "called_fake", "called_uncertain")}
    judged = Judged(
        **faces,
        kind=np.full(count, "photo"),
        source=np.array([f"source {number}" for number in rng.integers(0, 40, count)]),
        logits=np.zeros(count, np.float32),
        details=np.ones((count, 2)),
        stated=np.zeros(count),
    )
    for _ in range(50):
        among = rng.random(count) < 0.7
        shares = [
            faces["fake"][among & (judged.source == name)].mean()
            for name in sorted(set(judged.source[among]))
        ]
        assert judged.mean(judged.fake, among) == np.mean(shares)


@pytest.mark.parametrize("lacking", [40, 300])
def test_rates_on_sources_left_out_are_those_of_faces_that_lack_no_detail(tiny_bundle, lacking):
    """Some of 400 real faces are out of focus and look fake: with them among the others no score would be rare enough."""
    read = read_bundle(tiny_bundle)
    soft = SoftFaces(below=0.5, **read.calibration.arguments())
    bundle = replace(read, calibration=replace(read.calibration, soft=soft))
    rng = np.random.default_rng(0)
    odd = rng.permutation(400) < lacking
    logits = np.concatenate([np.where(odd, 9.0, rng.normal(-3, 1, 400)), [2.0]]).astype(np.float32)
    judged = Judged(
        fake=np.arange(401) == 400,
        kind=np.array(["photo"] * 400 + ["gan"]),
        source=np.array(["one", "two"] * 200 + ["gans"]),
        logits=logits,
        details=np.column_stack([np.append(np.where(odd, 0.0, 1.0), 1.0), np.ones(401)]),
        stated=np.full(401, 0.5),
        called_fake=np.zeros(401, bool),
        called_uncertain=np.zeros(401, bool),
    )
    for row in _tier_rows(dict.fromkeys(TIERS, judged), bundle):
        assert row.left_out.per_face == (pytest.approx(0.01, abs=0.009) if lacking == 40 else 0)


def test_what_is_rather_fake_than_real_is_uncertain_as_in_a_scan(scored):
    calibration = scored.bundle.calibration
    for judged in scored.tiers.values():
        assert not (judged.called_fake & judged.called_uncertain).any()
        doubt = np.array([probability(float(logit), calibration) >= 0.5 for logit in judged.logits])
        assert doubt.any()
        assert (judged.called_fake | judged.called_uncertain)[doubt].all()


def test_every_size_is_measured_clean_and_on_the_web(scored):
    sizes = scored.evaluation.sizes
    assert [(row.face_side, row.tier) for row in sizes] == [
        (side, tier) for side in FACE_SIDES for tier in ("clean", "web")
    ]
    assert set(scored.evaluation.auc_by_face_side) == set(FACE_SIDES)
    for row in sizes:  # the logit is in the mean, which no size takes away
        assert row.auc == pytest.approx((18 + 9) / 36, abs=0.04)


def test_every_blur_is_measured(scored):
    blurs = scored.evaluation.blurs
    assert [row.blur for row in blurs if row.face_side == 224] == list(BLURS)
    assert {row.face_side for row in blurs} == {48, 64, 224}
    sharp = next(row for row in scored.evaluation.sizes if (row.face_side, row.tier) == (224, "clean"))
    assert (
        asdict(blurs[0]).items()
        >= {name: value for name, value in asdict(sharp).items() if name not in ("face_side", "tier")}.items()
    )
    for row in blurs:  # the logit is in the mean, which no blur takes away
        assert row.auc == pytest.approx((18 + 9) / 36, abs=0.04)


def test_every_edit_is_measured(scored):
    edits = {row.edit: row for row in scored.evaluation.edits}
    stretched = edits["stretched"]
    assert (stretched.false_alarms, stretched.false_alarms_per_face) == (1 / 8, pytest.approx(1 / 6))
    assert list(edits) == list(EDITS)
    for name in ("black and white", "stretched", "grainy", "saved twice"):  # these all but keep the mean
        assert edits[name].auc == pytest.approx((18 + 9) / 36, abs=0.04), name
    assert edits["dark"].called_fake < edits["grainy"].called_fake  # and this one lowers it


def test_no_verdict_changes_where_only_the_mean_counts(scored):
    assert [row.changed for row in scored.evaluation.stability] == [0.0] * 4


def test_the_figures_are_json_and_the_tables_say_the_same(scored):
    values = json.loads(json.dumps(scored.evaluation.to_dict(), allow_nan=False))
    assert values["tiers"][0]["false_alarms"] == 0.125
    assert values["auc_by_face_side"].keys() == {str(side) for side in FACE_SIDES}
    tables = {table.title: table for table in evaluation_tables(scored.evaluation)}
    shown = tables["By source"]
    assert len(shown.rows) == len(values["sources"])
    for row, source in zip(shown.rows, values["sources"], strict=True):
        told = dict(zip(shown.headers, row, strict=True))
        assert told["fake"] == f"{source['called_fake']:.1%}"
        assert told["AUC"] == ("" if source["auc"] is None else f"{source['auc']:.3f}")
    for table in tables.values():
        assert all(len(row) == len(table.headers) for row in table.rows)


@pytest.mark.parametrize("recipe", [[], {"held_out": 5}, {"held_out": "speakers"}, {"held_out": [5]}])
def test_a_card_that_does_not_tell_what_was_held_out_is_an_error(store_of, tiny_bundle, recipe):
    store = store_of([({"label": "real"}, np.zeros((64, 64, 3), np.uint8), None)])
    bundle = replace(read_bundle(tiny_bundle), card={"recipe": recipe})
    with pytest.raises(ModelError, match="a card whose recipe lists the sources held out"):
        _chosen(store, bundle, "unseen")


@pytest.mark.parametrize("label", ["real", "fake"])
def test_one_label_alone_is_no_evaluation(scored, label):
    numbers = [n for n in scored.numbers if scored.store.crops[n].example.label == label]
    with pytest.raises(DatasetError, match="real and fake faces in the split 'val'"):
        evaluate_crops(Told(), scored.bundle, scored.store, numbers, "val")
