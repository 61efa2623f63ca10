"""The model card's figures are those that the bundle carries, and nothing in it is out of date."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facefake.calibration import Calibration
from facefake.rates import rate_of

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def bundle() -> dict:
    found: dict = json.loads((MODELS / "facefake" / "bundle.json").read_text())
    card = found["card"]
    # Of an empty table any card would be right.
    assert card["data"]
    assert all(card["metrics"][name] for name in ("sources", "tiers", "sizes", "blurs", "edits", "crowds"))
    return found


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    lines = (MODELS / "README.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_every_source_and_tier_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    for row in bundle["card"]["metrics"]["sources"]:
        if row["tier"] == "hard":
            continue
        start = [
            row["label"],
            row["source"],
            "no" if row["trained_on"] else "yes",
            str(row["count"]),
            row["tier"],
        ]
        found = [cells for cells in rows if cells[:5] == start]
        auc = "" if row["auc"] is None else f"{row['auc']:.3f}"
        assert found == [[*start, auc, f"{row['called_fake']:.1%}", f"{row['called_uncertain']:.1%}"]]


def test_every_tier_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    for row in bundle["card"]["metrics"]["tiers"]:
        kinds = [f"{row['auc_by_kind'][kind]:.3f}" for kind in ("gan", "diffusion", "face-swap", "photoshop")]
        rest = [
            f"{row['false_alarms']:.1%}",
            f"{row['balanced_accuracy']:.1%}",
            f"{row['calibration_error']:.3f}",
        ]
        assert [row["tier"], *kinds, *rest] in rows


def test_the_readme_tells_how_accurate_the_model_is(bundle: dict) -> None:
    readme = (MODELS.parent / "README.md").read_text()
    for row in bundle["card"]["metrics"]["tiers"]:
        cells = [row["tier"]]
        cells += [
            f"{row['auc_by_kind'][kind]:.3f}" for kind in ("gan", "diffusion", "face-swap", "photoshop")
        ]
        for label, digits in (("fake", 0), ("real", 1)):
            sources = [
                each
                for each in bundle["card"]["metrics"]["sources"]
                if (each["label"], each["tier"]) == (label, row["tier"])
            ]
            called = [
                np.mean([each[name] for each in sources]) for name in ("called_fake", "called_uncertain")
            ]
            cells += [f"{called[0]:.{digits}%}", f"{called[1]:.0%}"]
        assert f"| {' | '.join(cells)} |\n" in readme


def test_every_face_size_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    for name, tier in (("AUC", "clean"), ("AUC, web", "web")):
        sizes = [row for row in bundle["card"]["metrics"]["sizes"] if row["tier"] == tier]
        assert ["face, pixels", *[str(row["face_side"]) for row in sizes]] in rows
        assert [name, *[f"{row['auc']:.3f}" for row in sizes]] in rows


def test_every_blur_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    for row in bundle["card"]["metrics"]["blurs"]:
        start = [str(row["face_side"]), f"{row['blur']:g}"]
        shares = [f"{row[name]:.1%}" for name in ("called_fake", "false_alarms", "false_alarms_per_face")]
        assert [*start, f"{row['auc']:.3f}", *shares] in rows


def test_every_edit_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    edits = bundle["card"]["metrics"]["edits"]
    for row in edits:
        shares = [f"{row[name]:.1%}" for name in ("called_fake", "false_alarms", "false_alarms_per_face")]
        assert [row["edit"], f"{row['auc']:.3f}", *shares] in rows
    alarms = {row["edit"]: f"{row['false_alarms_per_face']:.1%}" for row in edits}
    told = f"Of real ones that were denoised {alarms['denoised']} are called fake where 1% is promised"
    assert told in " ".join((MODELS / "README.md").read_text().split())


def test_every_number_of_faces_stands_there_as_it_was_measured(bundle: dict, rows: list[list[str]]) -> None:
    crowds = bundle["card"]["metrics"]["crowds"]
    for row in crowds:
        shares = [
            row["called_fake"],
            row["called_uncertain"],
            row["fakes_called_fake"],
            row["real_called_fake"],
        ]
        told = ["" if share is None else f"{share:.1%}" for share in shares]
        assert [str(row["faces"]), str(row["fakes"]), row["tier"], *told] in rows


def test_the_limits_of_the_calibration_are_those_of_the_bundle(bundle: dict) -> None:
    text, calibration = (MODELS / "README.md").read_text(), bundle["calibration"]
    assert f"median of the calibration half, {calibration['neighbours']['ordinary']:.2f})" in text
    assert f"whose sharpness is below {calibration['soft']['below']:.2f}," in text
    assert f"whose grain is below {calibration['grainless']['below']:.3f}," in text


def test_what_the_tails_leave_out_where_verdicts_fall_is_told(bundle: dict) -> None:
    calibration = Calibration.from_dict(bundle["calibration"])
    assert calibration.soft is not None
    assert calibration.grainless is not None
    shares = []
    for group in (calibration, calibration.soft, calibration.grainless):
        rates = [rate_of(score, group) for score in group.real_scores]
        first = next(place for place, rate in enumerate(rates) if rate <= calibration.alarm_rate)
        shares.append(f"{1 - group.real_probabilities[first - 1]:.1%}")
    alone, soft, grainless = shares
    told = f"{alone} have a rate of 1 % or less, of soft faces' {soft}, of those without grain {grainless};"
    assert told in " ".join((MODELS / "README.md").read_text().split())


def test_every_source_of_training_pictures_is_counted(bundle: dict, rows: list[list[str]]) -> None:
    for row in bundle["card"]["data"]:
        line = [row["label"], row["kind"], row["source"], str(row["trained"]), str(row["unseen"])]
        assert [cells[:5] for cells in rows if cells[:3] == line[:3]] == [line]


def test_the_pictures_of_the_table_are_counted(bundle: dict) -> None:
    count = sum(row["trained"] + row["unseen"] for row in bundle["card"]["data"])
    assert f"The {count:,} of the table" in (MODELS / "README.md").read_text()
