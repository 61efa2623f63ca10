from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.calibration import (
    AmongNeighbours,
    Calibration,
    FaceScores,
    GeneralisedPareto,
    GrainlessFaces,
    RealScores,
    SoftFaces,
)
from facefake.detail import Detail
from facefake.errors import ModelError


@st.composite
def tails(draw: st.DrawFn) -> GeneralisedPareto:
    return GeneralisedPareto(
        threshold=draw(st.floats(-5, 5)),
        scale=draw(st.floats(0.05, 5)),
        shape=draw(st.one_of(st.just(0.0), st.floats(-0.9, 0.9))),
        exceedance=draw(st.floats(0.001, 1)),
    )


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    soft = SoftFaces(
        **draw(real_scores()).arguments(),
        below=draw(st.floats(0, 1)),
        temperature=draw(st.floats(0.1, 10)),
        bias=0.5,
    )
    soft = draw(st.sampled_from([None, soft]))
    grainless = GrainlessFaces(
        **draw(real_scores()).arguments(), below=draw(st.floats(0, 1)), temperature=1.5, bias=-0.25
    )
    grainless = draw(st.sampled_from([None, grainless]))
    neighbours = AmongNeighbours(
        **draw(real_scores()).arguments(),
        temperature=2.0,
        bias=draw(st.floats(-5, 5)),
        ordinary=draw(st.floats(-5, 5)),
        soft=soft and FaceScores(**draw(real_scores()).arguments(), temperature=3.0, bias=-0.5),
        grainless=grainless and FaceScores(**draw(real_scores()).arguments(), temperature=2.5, bias=-0.5),
    )
    return Calibration(
        temperature=draw(st.floats(0.1, 10)),
        bias=draw(st.floats(-5, 5)),
        **draw(real_scores()).arguments(),
        alarm_rate=0.01,
        uncertain_rate=0.1,
        min_face=24.0,
        min_sharpness=0.02,
        soft=soft,
        grainless=grainless,
        neighbours=draw(st.sampled_from([None, neighbours])),
    )


@st.composite
def real_scores(draw: st.DrawFn) -> RealScores:
    scores = sorted(draw(st.lists(st.floats(-10, 10), min_size=1, max_size=40)))
    shares = sorted(draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores))))
    return RealScores(
        real_scores=tuple(scores),
        real_probabilities=tuple(shares),
        real_count=draw(st.integers(1, 100_000)),
        tail=draw(st.none() | tails()),
    )


def measured(scores: list[float], tail: GeneralisedPareto | None = None) -> Calibration:
    """A calibration that holds every score of the real faces, without compression."""
    ordered = sorted(scores)
    shares = tuple((position + 1) / len(ordered) for position in range(len(ordered)))
    return Calibration(
        temperature=1.0,
        bias=0.0,
        real_scores=tuple(ordered),
        real_probabilities=shares,
        real_count=len(ordered),
        tail=tail,
        alarm_rate=0.01,
        uncertain_rate=0.1,
        min_face=24.0,
        min_sharpness=0.02,
    )


SOFT = {
    "real_scores": [0.0, 1.0],
    "real_probabilities": [0.5, 1.0],
    "real_count": 2,
    "tail": None,
    "temperature": 2.0,
    "bias": 0.5,
    "below": 0.05,
}
SOFT_AMONG = {name: value for name, value in SOFT.items() if name != "below"}
NEIGHBOURS = {**SOFT_AMONG, "ordinary": -1.0, "soft": None}
GRAINLESS = GrainlessFaces(
    real_scores=(0.0,),
    real_probabilities=(1.0,),
    real_count=1,
    tail=None,
    temperature=1.0,
    bias=0.0,
    below=0.1,
)


def test_a_face_out_of_focus_is_not_asked_for_grain() -> None:
    values = {**measured([0.0, 1.0]).to_dict(), "soft": SOFT, "grainless": {**SOFT, "below": 0.1}}
    assert Calibration.from_dict(values).lack(Detail(0.04, 0.09)) == "soft"


@given(calibrations())
def test_to_dict_and_back_through_json(calibration: Calibration) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"bias": math.nan}, "bias"),
        ({"real_scores": []}, "real_scores"),
        ({"real_scores": 3.0}, "real_scores"),
        ({"real_scores": [1.0, 0.0]}, "ascending"),
        ({"real_scores": [0.0, math.inf]}, "real_scores"),
        ({"real_scores": [0.0, None]}, "real_scores"),
        ({"real_probabilities": [0.5]}, "real_probabilities"),
        ({"real_probabilities": [1.0, 0.5]}, "real_probabilities"),
        ({"real_probabilities": [0.5, 1.5]}, "real_probabilities"),
        ({"real_count": 0}, "real_count"),
        ({"real_count": 2.5}, "real_count"),
        ({"tail": {"threshold": 0.0}}, "tail"),
        ({"tail": 3}, "tail"),
        ({"tail": {"threshold": 0.0, "scale": 0.0, "shape": 0.0, "exceedance": 0.5}}, "scale"),
        ({"tail": {"threshold": 0.0, "scale": 1.0, "shape": 1.0, "exceedance": 0.5}}, "shape"),
        ({"tail": {"threshold": 0.0, "scale": 1.0, "shape": -1.0, "exceedance": 0.5}}, "shape"),
        ({"tail": {"threshold": 0.0, "scale": 1.0, "shape": 0.0, "exceedance": 0.0}}, "exceedance"),
        ({"tail": {"threshold": 0.0, "scale": 1.0, "shape": 0.0, "exceedance": 1.5}}, "exceedance"),
        ({"alarm_rate": 1.0, "uncertain_rate": 1.0}, "alarm_rate"),
        ({"uncertain_rate": 1.5}, "uncertain_rate"),
        ({"tail": {"threshold": None, "scale": 1.0, "shape": 0.0, "exceedance": 0.5}}, "threshold"),
        ({"alarm_rate": 0}, "alarm_rate"),
        ({"uncertain_rate": 0.001}, "uncertain_rate"),
        ({"min_face": -1}, "min_face"),
        ({"min_sharpness": None}, "min_sharpness"),
        ({"surprise": 1}, "surprise"),
        ({"soft": 3}, "soft"),
        ({"soft": {**SOFT, "surprise": 1}}, "surprise"),
        ({"soft": {**SOFT, "below": -0.1}}, "soft.below"),
        ({"soft": {**SOFT, "below": None}}, "soft.below"),
        ({"grainless": {**SOFT, "below": math.nan}}, "grainless.below"),
        ({"grainless": 3}, "grainless"),
        ({"soft": [0.05]}, "soft"),
        ({"soft": {**SOFT, "temperature": 0.0}}, "soft.temperature"),
        ({"soft": {**SOFT, "bias": math.nan}}, "soft.bias"),
        ({"soft": {**SOFT, "real_scores": [1.0, 0.0]}}, "ascending"),
        ({"soft": {**SOFT, "tail": {}}}, "tail"),
        ({"neighbours": 3}, "neighbours"),
        ({"neighbours": {**NEIGHBOURS, "surprise": 1}}, "surprise"),
        ({"neighbours": {**NEIGHBOURS, "temperature": 0.0}}, "neighbours.temperature"),
        ({"neighbours": {**NEIGHBOURS, "ordinary": None}}, "neighbours.ordinary"),
        ({"neighbours": {**NEIGHBOURS, "real_scores": [1.0, 0.0]}}, "ascending"),
        ({"neighbours": {**NEIGHBOURS, "soft": 3}}, "neighbours.soft"),
        # Where no face counts as soft there are none among neighbours either, and the other way round.
        (
            {"neighbours": {**NEIGHBOURS, "soft": SOFT_AMONG}},
            "neighbours.soft to be present exactly where soft is",
        ),
        ({"soft": SOFT, "neighbours": NEIGHBOURS}, "neighbours.soft to be present exactly where soft is"),
        ({"grainless": SOFT, "neighbours": NEIGHBOURS}, "neighbours.grainless to be present exactly"),
        ({"neighbours": {**NEIGHBOURS, "grainless": 3}}, "neighbours.grainless"),
    ],
)
def test_a_damaged_calibration_is_a_model_error_that_names_the_field(
    change: dict[str, Any], message: str
) -> None:
    values = measured([0.0, 1.0]).to_dict()
    assert Calibration.from_dict(values) == measured([0.0, 1.0])
    assert Calibration.from_dict({**values, "soft": SOFT}).soft is not None
    assert Calibration.from_dict({**values, "neighbours": NEIGHBOURS}).neighbours is not None
    with pytest.raises(ModelError, match=message):
        Calibration.from_dict({**values, **change})


@pytest.mark.parametrize(
    ("name", "value"),
    [("tail", {}), ("soft", GRAINLESS), ("grainless", measured([0.0])), ("neighbours", GRAINLESS)],
)
def test_one_group_does_not_pass_for_another(name: str, value: Any) -> None:
    with pytest.raises(ModelError, match=f"expected {name} to be .* or None, got"):
        replace(measured([0.0, 1.0]), **{name: value})


def test_a_calibration_from_before_soft_faces_or_neighbours_were_told_apart_is_read() -> None:
    values = measured([0.0, 1.0]).to_dict()
    del values["neighbours"]
    assert Calibration.from_dict(values) == measured([0.0, 1.0])
    del values["soft"]
    assert Calibration.from_dict(values) == measured([0.0, 1.0])


def test_a_missing_field_is_a_model_error() -> None:
    values = measured([0.0, 1.0]).to_dict()
    del values["temperature"]
    with pytest.raises(ModelError, match="temperature"):
        Calibration.from_dict(values)
