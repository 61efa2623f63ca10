from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from facefake.aggregator import (
    LARGEST_OUTSIDE,
    LEAST_DOUBT,
    Evidence,
    Judgement,
    chances,
    judge,
    relative_scores,
    usability,
    verdict_of,
    verdict_on,
    verdicts,
)
from facefake.calibration import (
    AmongNeighbours,
    Calibration,
    FaceScores,
    GeneralisedPareto,
    GrainlessFaces,
    SoftFaces,
)
from facefake.detail import FULL, Detail
from facefake.detection import Face
from facefake.errors import ModelError
from facefake.neighbours import FEWEST_COMPARED, among_neighbours
from facefake.rates import adjusted, false_alarm_rate, log_odds, probability, rate_of
from facefake.results import OUTLIER, ImageResult, schema
from facefake.wording import percent

VALIDATOR = Draft202012Validator(schema())
ROOT = Path(__file__).resolve().parents[1]
SCORES = tuple(step / 100 for step in range(-400, 400))


def scores_above(shift: float) -> dict[str, Any]:
    """Real faces' scores that are higher by so much."""
    return {
        "real_scores": tuple(score + shift for score in SCORES),
        "real_probabilities": tuple((position + 1) / len(SCORES) for position in range(len(SCORES))),
        "real_count": 2000,
        "tail": GeneralisedPareto(threshold=3.5 + shift, scale=0.4, shape=0.05, exceedance=0.06),
    }


CALIBRATION = Calibration(
    temperature=1.5,
    bias=-0.5,
    **scores_above(0),
    alarm_rate=0.01,
    uncertain_rate=0.1,
    min_face=24.0,
    min_sharpness=0.02,
    soft=SoftFaces(below=0.2, temperature=2.0, bias=-1.0, **scores_above(1)),
    grainless=GrainlessFaces(below=0.1, temperature=1.8, bias=-0.8, **scores_above(0.8)),
)  # soft real faces look faker, and so do those without grain
AMONG = replace(
    CALIBRATION,
    neighbours=AmongNeighbours(
        temperature=1.2,
        bias=-0.25,
        ordinary=-1.0,
        real_scores=tuple(score / 1.5 for score in SCORES),
        real_probabilities=CALIBRATION.real_probabilities,
        real_count=2000,
        tail=GeneralisedPareto(threshold=2.3, scale=0.4, shape=0.05, exceedance=0.06),
        soft=FaceScores(
            temperature=1.4,
            bias=-0.5,
            real_scores=tuple(score / 1.5 + 0.3 for score in SCORES),
            real_probabilities=CALIBRATION.real_probabilities,
            real_count=2000,
            tail=GeneralisedPareto(threshold=2.6, scale=0.4, shape=0.05, exceedance=0.06),
        ),
        grainless=FaceScores(
            temperature=1.3,
            bias=-0.4,
            real_scores=tuple(score / 1.5 + 0.2 for score in SCORES),
            real_probabilities=CALIBRATION.real_probabilities,
            real_count=2000,
            tail=GeneralisedPareto(threshold=2.5, scale=0.4, shape=0.05, exceedance=0.06),
        ),
    ),
)
LOGITS = st.floats(-8, 15)


def face(side: float = 100.0) -> Face:
    return Face(box=(10.0, 20.0, 10.0 + side, 20.0 + side), keypoints=((0.0, 0.0),) * 6, score=0.9)


def evidence(
    logit: float | None = 0.0,
    *,
    side: float = 100.0,
    sharp: float = 0.5,
    grain: float = 0.5,
    outside: float = 0.0,
) -> Evidence:
    return Evidence(face(side), Detail(sharp, grain), outside=outside, logit=logit)


@st.composite
def any_evidence(draw: st.DrawFn) -> Evidence:
    sharp, grain = draw(st.sampled_from([0.001, 0.1, 0.5])), draw(st.sampled_from([0.05, 0.5]))
    side, outside = draw(st.sampled_from([9.0, 100.0])), draw(st.sampled_from([0.0, 0.9]))
    return evidence(draw(LOGITS), side=side, sharp=sharp, grain=grain, outside=outside)


@given(st.lists(any_evidence(), max_size=12), st.sampled_from([CALIBRATION, AMONG]))
@example(
    [evidence(logit) for logit in (2.2, *[-3.0] * 9)], CALIBRATION
)  # a real crowd with one uncertain face
def test_every_judgement_makes_a_valid_record(faces: list[Evidence], calibration: Calibration) -> None:
    judgement = judge(faces, calibration)
    result = ImageResult(
        path=None,
        width=200,
        height=200,
        verdict=judgement.verdict,
        fake_probability=judgement.fake_probability,
        false_alarm_rate=judgement.false_alarm_rate,
        reason=judgement.reason,
        faces=judgement.faces,
        warnings=(),
        model="some 1",
    )
    VALIDATOR.validate(result.to_dict())


@given(st.lists(any_evidence(), max_size=12), st.sampled_from([CALIBRATION, AMONG]))
def test_a_picture_is_what_its_faces_are(faces: list[Evidence], calibration: Calibration) -> None:
    judgement = judge(faces, calibration)
    verdicts = {result.verdict for result in judgement.faces}
    assert (judgement.verdict == "fake") == ("fake" in verdicts)
    assert (judgement.verdict == "not_applicable") == (verdicts <= {"not_applicable"})
    if judgement.verdict == "uncertain":
        assert "uncertain" in verdicts
    for judged in (judgement, *judgement.faces):
        if judged.verdict == "real":
            assert judged.fake_probability < LEAST_DOUBT
    for number, (result, given_face) in enumerate(zip(judgement.faces, faces, strict=True)):
        assert result.index == number
        assert result.box == given_face.face.box
        judged = usability(given_face, CALIBRATION) is None
        assert judged == (result.verdict != "not_applicable")
        assert judged == (result.fake_probability is not None) == (result.false_alarm_rate is not None)
        assert (result.reason is not None) == (result.verdict in ("uncertain", "not_applicable"))


def test_a_face_that_is_rather_fake_is_uncertain_even_where_many_real_faces_look_alike() -> None:
    alone = judge([evidence(1.0)], CALIBRATION)
    assert alone.false_alarm_rate > CALIBRATION.uncertain_rate
    assert alone.faces[0].verdict == alone.verdict == "uncertain"
    assert alone.reason.startswith("rather fake than real (54 %), but 38 % of real faces look")
    among_others = judge([evidence(1.0), *[evidence(-3.0)] * 9], CALIBRATION)
    assert among_others.faces[0].verdict == "uncertain"
    assert among_others.verdict == "real"


@given(st.lists(LOGITS, min_size=1, max_size=12))
def test_the_picture_is_judged_by_its_most_suspicious_faces(logits: list[float]) -> None:
    judgement = judge([evidence(logit) for logit in logits], CALIBRATION)
    rates = [false_alarm_rate(logit, CALIBRATION) for logit in logits]
    assert [face.false_alarm_rate for face in judgement.faces] == rates
    assert judgement.false_alarm_rate == min(adjusted(rates)).rate
    assert min(rates) <= judgement.false_alarm_rate <= min(max(rates), len(rates) * min(rates))
    chances = [probability(logit, CALIBRATION) for logit in logits]
    assert judgement.fake_probability is not None
    assert min(chances) - 1e-9 <= judgement.fake_probability <= max(chances) + 1e-9


@given(st.lists(LOGITS, min_size=1, max_size=12), st.lists(st.floats(-8, 0), min_size=1, max_size=30))
def test_more_real_looking_faces_never_make_the_rate_smaller(few: list[float], more: list[float]) -> None:
    """But for what neighbours say, which this calibration does not know."""
    fewest = min(few)
    before = judge([evidence(logit) for logit in few], CALIBRATION).false_alarm_rate
    after = judge([evidence(min(fewest, logit)) for logit in more] + [*map(evidence, few)], CALIBRATION)
    assert before is not None
    assert after.false_alarm_rate is not None
    assert after.false_alarm_rate >= before or after.false_alarm_rate > CALIBRATION.uncertain_rate


@given(st.lists(any_evidence(), max_size=12), st.sampled_from([CALIBRATION, AMONG]))
def test_a_face_is_compared_with_those_of_its_kind(faces: list[Evidence], calibration: Calibration) -> None:
    judged = [each for each in faces if usability(each, calibration) is None]
    odds = [log_odds(each.logit, calibration, each.detail) for each in judged]
    among = calibration.neighbours
    if among is None or len(judged) < FEWEST_COMPARED:
        expected = [false_alarm_rate(each.logit, calibration, each.detail) for each in judged]
    else:
        scores = among_neighbours(odds, among.ordinary).tolist()
        by_lack = {None: among, "soft": among.soft, "grainless": among.grainless}
        groups = [by_lack[calibration.lack(each.detail)] for each in judged]
        expected = [rate_of(score, group) for score, group in zip(scores, groups, strict=True)]
        odds = [score / group.temperature + group.bias for score, group in zip(scores, groups, strict=True)]
    results = [face for face in judge(faces, calibration).faces if face.verdict != "not_applicable"]
    assert [face.false_alarm_rate for face in results] == expected
    assert [face.fake_probability for face in results] == pytest.approx(
        [1 / (1 + math.exp(-x)) for x in odds]
    )


@given(st.lists(any_evidence(), max_size=12))
def test_every_face_tells_its_detail_and_a_judged_one_what_it_lacks(faces: list[Evidence]) -> None:
    for each, told in zip(faces, judge(faces, CALIBRATION).faces, strict=True):
        assert (told.sharpness, told.grain) == each.detail
        judged = told.verdict != "not_applicable"
        assert told.lack == (CALIBRATION.lack(each.detail) if judged else None)


def test_every_face_keeps_what_was_found_of_it() -> None:
    given_faces = [
        replace(
            evidence(logit), face=Face((left, 20.0, left + 99, 119.0), ((left, 25.0),) * 6, score), map=found
        )
        for logit, left, score, found in (
            (1.0, 5.0, 0.7, np.ones((2, 2), np.float32)),
            (-2.0, 300.0, 0.8, np.zeros((2, 2), np.float32)),
        )
    ]
    unusable = replace(given_faces[1], outside=0.9, logit=None, map=None)
    for faces in (given_faces, [given_faces[0], unusable]):
        for each, told in zip(faces, judge(faces, CALIBRATION).faces, strict=True):
            assert (told.box, told.keypoints) == (each.face.box, each.face.keypoints)
            assert told.detection_score == each.face.score
            assert told.evidence is each.map


def test_a_face_is_more_suspicious_the_more_real_its_neighbours_look() -> None:
    suspect = 4.1
    verdicts = {
        others: judge([evidence(suspect), *[evidence(others)] * 5], AMONG).faces[0].verdict
        for others in (-6.0, -3.0, 0.5, suspect)
    }
    assert verdicts == {-6.0: "fake", -3.0: "uncertain", 0.5: "uncertain", suspect: "uncertain"}
    rates = [
        judge([evidence(suspect), *[evidence(x)] * 5], AMONG).faces[0].false_alarm_rate
        for x in (-6, -3, 0.5, 5)
    ]
    assert rates[0] < rates[1] < rates[2] == rates[3]
    # Three faces are too few to tell how the others look.
    assert judge([evidence(suspect), *[evidence(-6.0)] * 2], AMONG).faces[0].verdict == "uncertain"


@pytest.mark.parametrize("count", [4, 12, 60])
def test_where_everybody_is_fake_all_are_called_so(count: int) -> None:
    for calibration in (CALIBRATION, AMONG):

        def four(logit: float, calibration: Calibration = calibration) -> Judgement:
            return judge([evidence(logit)] * 4, calibration)

        logit = next(x / 100 for x in range(2000) if (four(x / 100).faces[0].false_alarm_rate or 1) <= 0.01)
        judgement = judge([evidence(logit)] * count, calibration)
        assert judgement.verdict == "fake"
        assert {face.verdict for face in judgement.faces} == {"fake"}
        assert judge([evidence(logit - 0.01)] * count, calibration).verdict == "uncertain"


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_pictures_of_real_faces_are_called_fake_as_seldom_as_promised(count: int, alike: float) -> None:
    """Also where the faces of a picture look fake together."""
    counted = replace(CALIBRATION, tail=None)
    rng = np.random.default_rng(count)
    shared, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, count))
    mixed = math.sqrt(alike) * shared + math.sqrt(1 - alike) * own
    places = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))(mixed)
    logits = np.interp(places, counted.real_probabilities, counted.real_scores)
    found = [chances(row, [FULL] * count, counted) for row in logits.tolist()]
    rates = np.array([min(adjusted([each.rate for each in faces])).rate for faces in found])
    for promised in (0.2, 0.1):
        share = (rates <= promised).mean()
        assert share <= promised + 3 * math.sqrt(promised / 2000)
        if not alike:
            assert share > 0.8 * promised


@given(
    st.lists(any_evidence(), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
    st.sampled_from([CALIBRATION, AMONG]),
)
def test_the_order_of_the_faces_changes_nothing(
    faces: list[Evidence], random: Random, calibration: Calibration
) -> None:
    order = list(range(len(faces)))
    random.shuffle(order)
    straight, mixed = judge(faces, calibration), judge([faces[at] for at in order], calibration)
    back = tuple(replace(mixed.faces[order.index(at)], index=at) for at in range(len(faces)))
    assert replace(mixed, faces=back) == straight


@given(st.lists(any_evidence(), max_size=12))
def test_only_judged_faces_are_compared_with_one_another(faces: list[Evidence]) -> None:
    results = judge(faces, CALIBRATION).faces
    judged = [face for face in results if face.verdict != "not_applicable"]
    assert [face.logit for face in judged] == [
        given_face.logit for given_face in faces if usability(given_face, CALIBRATION) is None
    ]
    odds = [
        log_odds(each.logit, CALIBRATION, each.detail) for each in faces if not usability(each, CALIBRATION)
    ]
    expected = relative_scores(odds, CALIBRATION)
    assert [face.relative_score for face in judged] == expected
    assert all((score is not None) == (len(judged) >= FEWEST_COMPARED) for score in expected)
    assert all(face.logit is face.relative_score is None for face in results if face not in judged)


@given(
    st.lists(st.tuples(LOGITS, *[st.sampled_from([0.05, 0.5])] * 2), min_size=1, max_size=12), st.booleans()
)
def test_verdicts_without_reasons_are_those_of_the_judge(
    faces: list[tuple[float, float, float]], among: bool
) -> None:
    calibration = AMONG if among else CALIBRATION
    judgement = judge(
        [evidence(logit, sharp=sharp, grain=grain) for logit, sharp, grain in faces], calibration
    )
    logits, *details = zip(*faces, strict=True)
    found, whole = verdicts(logits, [Detail(*each) for each in zip(*details, strict=True)], calibration)
    assert (found, whole) == ([face.verdict for face in judgement.faces], judgement.verdict)


@given(st.lists(LOGITS, min_size=FEWEST_COMPARED, max_size=40), st.floats(-5, 5))
def test_relative_scores_have_the_order_and_the_middle_of_the_log_odds(
    odds: list[float], shift: float
) -> None:
    scores = relative_scores(odds, CALIBRATION)
    assert np.median(scores) == pytest.approx(0, abs=1e-9)
    assert [scores[at] for at in np.argsort(odds, kind="stable")] == sorted(scores)
    moved = relative_scores([each + shift for each in odds], CALIBRATION)
    assert moved == pytest.approx(scores, abs=1e-9)


def test_the_odd_one_stands_out_and_no_other_and_its_verdict_stays() -> None:
    logits = [-1.9, 2.0, -2.5, -1.0, -1.4, -1.6, -2.2]
    judgement = judge([evidence(logit) for logit in logits], CALIBRATION)
    # Median -1.6, median absolute deviation 0.6; but the floor is half of 4 / 1.349.
    assert judgement.faces[1].relative_score == pytest.approx(3.6 / (0.5 * 4 / 1.349), rel=1e-3)
    narrow = replace(CALIBRATION, real_scores=tuple(score / 4 for score in SCORES), tail=None)
    judgement = judge([evidence(logit) for logit in logits], narrow)
    assert judgement.faces[1].relative_score == pytest.approx(3.6 / (1.4826 * 0.6), rel=1e-3)
    assert [face.index for face in judgement.faces if face.stands_out] == [1]
    assert judgement.faces[1].false_alarm_rate == false_alarm_rate(2.0, narrow)


def test_of_ten_real_faces_one_seldom_stands_out() -> None:
    """Also where they are more alike than those of many pictures, as faces of one picture are."""
    rng = np.random.default_rng(11)
    for spread, most in ((0.5, 0.01), (0.7, 0.04), (1.0, 0.08)):
        pictures = rng.normal(0, spread * 4 / 1.349 / CALIBRATION.temperature, (1000, 10))
        outliers = [max(relative_scores(odds, CALIBRATION)) > OUTLIER for odds in pictures.tolist()]
        assert np.mean(outliers) < most


def test_a_soft_face_does_not_stand_out_for_its_softness() -> None:
    sharp = [-1.0, -0.8, -0.7, -0.5]
    logit = 2.0  # its log-odds are 0 where it is soft
    soft_one, sharp_one = (
        judge([*map(evidence, sharp), evidence(logit, sharp=focus)], CALIBRATION) for focus in (0.1, 0.5)
    )
    alike = (logit / 2.0 - 1.0 + 0.5) * 1.5  # the logit with which a sharp face has its log-odds
    as_fake = judge([*map(evidence, sharp), evidence(alike)], CALIBRATION)
    assert soft_one.faces[-1].relative_score == pytest.approx(as_fake.faces[-1].relative_score)
    assert soft_one.faces[-1].relative_score < sharp_one.faces[-1].relative_score


def test_faces_that_are_all_alike_are_at_the_middle() -> None:
    one_score = replace(CALIBRATION, real_scores=(0.0,), real_probabilities=(1.0,), tail=None)
    assert relative_scores([1.0] * 5, one_score) == [0.0] * 5
    assert relative_scores([1.0, 1.0, 1.0, 1.0, 2.0], one_score) == [0.0] * 5


def test_one_lone_fake_in_a_crowd_of_sixty_is_called() -> None:
    crowd = [evidence(-3.0 + 0.05 * number) for number in range(59)]
    judgement = judge([*crowd[:30], evidence(10.0), *crowd[30:]], CALIBRATION)
    assert judgement.verdict == "fake"
    assert [result.index for result in judgement.faces if result.verdict == "fake"] == [30]
    counted_only = judge([*crowd, evidence(10.0)], replace(CALIBRATION, tail=None, real_count=1000))
    assert counted_only.verdict != "fake"


def test_what_convicts_a_lone_face_does_not_convict_one_in_a_crowd() -> None:
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.009)
    assert judge([evidence(logit)], CALIBRATION).verdict == "fake"
    among_five = judge([evidence(logit), *[evidence(-3.0)] * 4], CALIBRATION)
    assert among_five.verdict == among_five.faces[0].verdict == "uncertain"
    assert judge([evidence(logit), *[evidence(-3.0)] * 59], CALIBRATION).verdict == "real"


@pytest.mark.parametrize(
    ("softer", "lack", "words"),
    [
        ({"sharp": 0.199}, "soft", "out of focus"),
        ({"sharp": 0.199, "grain": 0.099}, "soft", "out of focus"),
        ({"grain": 0.099}, "grainless", "without grain"),
    ],
)
def test_a_face_that_lacks_detail_must_look_faker(softer: dict[str, float], lack: str, words: str) -> None:
    group = getattr(CALIBRATION, lack)
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.009)
    at_limits = {"sharp": 0.2, "grain": 0.1}
    sharp, soft = (
        judge([evidence(logit, **each)], CALIBRATION) for each in (at_limits, {**at_limits, **softer})
    )
    for judgement, verdict in ((sharp, "fake"), (soft, "uncertain")):
        assert judgement.verdict == judgement.faces[0].verdict == verdict
        assert judgement.fake_probability == judgement.faces[0].fake_probability
    assert (sharp.faces[0].lack, soft.faces[0].lack) == (None, lack)
    assert sharp.fake_probability == pytest.approx(probability(logit, CALIBRATION))
    assert soft.fake_probability == pytest.approx(1 / (1 + math.exp(-logit / group.temperature - group.bias)))
    assert soft.reason is not None
    assert f"of real faces {words} look at least as fake" in soft.reason
    assert judge([evidence(logit + 1, **{**at_limits, **softer})], CALIBRATION).verdict == "fake"


def test_the_rarer_face_decides_where_a_soft_one_has_the_higher_logit() -> None:
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.004)
    judgement = judge([evidence(logit), evidence(logit + 0.1, sharp=0.1)], CALIBRATION)
    assert [face.verdict for face in judgement.faces] == ["fake", "uncertain"]
    assert judgement.verdict == "fake"
    assert judgement.false_alarm_rate == 2 * false_alarm_rate(logit, CALIBRATION)
    both = judge([evidence(logit, sharp=0.1), evidence(-2.0, sharp=0.1)], CALIBRATION)
    assert both.reason is not None
    assert both.reason.startswith("up to 7.9 %")
    assert "of pictures with 2 real faces out of focus hold one that looks at least as fake" in both.reason
    alike = judge([evidence(logit, sharp=0.1)] * 2, CALIBRATION)
    assert alike.reason is not None
    assert "of pictures with 2 real faces out of focus hold 2 that look at least as fake" in alike.reason


@pytest.mark.parametrize(
    ("softer", "words"), [({"sharp": 0.1}, " out of focus"), ({"grain": 0.05}, " without grain")]
)
def test_among_others_a_face_that_lacks_detail_is_still_told_of_such(
    softer: dict[str, float], words: str
) -> None:
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.02) + 0.5
    judgement = judge([evidence(logit, **softer), evidence(-2.0)], CALIBRATION)
    one = "hold one that looks at least as fake"
    assert f"of pictures with 2 real faces{words} {one}" in str(judgement.faces[0].reason)
    assert f"of pictures with 2 real faces {one}" in str(judgement.reason)
    # Of several, which need not lack the same, real ones of any kind are told.
    both = judge([evidence(logit, **softer), evidence(logit - 0.5)], CALIBRATION)
    assert "of pictures with 2 real faces hold 2 that look" in str(both.faces[0].reason)


def test_a_crowd_does_not_inflate_the_probability() -> None:
    alone = judge([evidence(0.0)], CALIBRATION).fake_probability
    crowd = judge([evidence(0.0)] * 60, CALIBRATION).fake_probability
    assert alone == pytest.approx(crowd) == pytest.approx(probability(0.0, CALIBRATION))


def test_uncertain_says_why_in_numbers() -> None:
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.05)
    alone = judge([evidence(logit)], CALIBRATION)
    assert alone.verdict == "uncertain"
    assert alone.reason == alone.faces[0].reason
    assert alone.reason is not None
    assert "of real faces look at least as fake" in alone.reason
    assert "at most 1 %" in alone.reason
    assert "more than 10 %" in alone.reason
    # Faces that are not judged are none of those that a picture like this holds.
    assert judge([evidence(logit), evidence(side=9.0)], CALIBRATION).reason == alone.reason


def test_a_face_that_is_rather_fake_is_compared_with_real_faces_and_not_with_its_neighbours() -> None:
    """That all of twelve real faces look as fake as the least suspicious here would be no reason."""
    logit = next(x / 100 for x in range(-1000, 2000) if probability(x / 100, CALIBRATION) >= LEAST_DOUBT)
    own = false_alarm_rate(logit, CALIBRATION)
    assert own > CALIBRATION.uncertain_rate
    judgement = judge([evidence(logit), *[evidence(-4.0)] * 2], CALIBRATION)
    face = judgement.faces[0]
    assert face.verdict == "uncertain"
    assert face.reason is not None
    assert face.reason.endswith(f", but {percent(own)} of real faces look at least as fake")


def test_a_rate_just_above_a_limit_is_told_apart_from_it() -> None:
    _, reason = verdict_on(0.1002, 0.7, "{} of real faces look", CALIBRATION)
    assert reason == "rather fake than real (70 %), but 10.02 % of real faces look at least as fake"


def test_a_common_rate_is_told_of_one_face() -> None:
    logit = next(x / 100 for x in range(2000) if false_alarm_rate(x / 100, CALIBRATION) <= 0.09)
    judgement = judge([evidence(logit), evidence(logit), evidence(-4.0)], CALIBRATION)
    assert "up to 13 % of pictures with 3 real faces hold 2 that look" in str(judgement.faces[0].reason)
    ordinary = judge([evidence(logit), *[evidence(-4.0)] * 29], CALIBRATION)
    assert ordinary.false_alarm_rate is not None and ordinary.false_alarm_rate > 0.5
    assert ordinary.faces[0].reason is not None
    told = "up to 100 % of pictures with 30 real faces hold one that looks at least as fake"
    assert ordinary.faces[0].reason.endswith(told)
    rarer = judge([evidence(logit) for logit in (2.4, 1.76, 0.4)], CALIBRATION)
    assert "up to 42 % of pictures with 3 real faces hold 2 that look" in str(rarer.reason)
    # Of the picture likewise: half of pictures with three real faces hold three that look as fake as these.
    several = judge([evidence(logit) for logit in (1.76, 0.8, -0.16)], CALIBRATION)
    assert several.false_alarm_rate == false_alarm_rate(-0.16, CALIBRATION) > 0.5
    told = "up to 84 % of pictures with 3 real faces hold one that looks at least as fake"
    assert several.reason == f"rather fake than real (54 %), but {told}"


@pytest.mark.parametrize("alarm_rate", [0.01, 0.3, 0.6, 0.9])
def test_what_is_told_makes_the_same_verdict(alarm_rate: float) -> None:
    calibration = replace(CALIBRATION, alarm_rate=alarm_rate, uncertain_rate=max(0.1, alarm_rate))
    rng = np.random.default_rng(5)
    for _ in range(100):
        logits = rng.normal(0, 3, rng.integers(1, 20))
        judgement = judge([evidence(logit) for logit in logits], calibration)
        rates = adjusted([face.false_alarm_rate for face in judgement.faces if face.false_alarm_rate])
        for face, rate in zip(judgement.faces, rates, strict=True):
            assert face.fake_probability is not None
            assert face.verdict == verdict_of(rate.rate, face.fake_probability, calibration)


@pytest.mark.parametrize(
    ("rate", "chance", "verdict"),
    [
        (0.01, 0.1, "fake"),
        (0.0101, 0.9, "uncertain"),
        (0.1, 0.1, "uncertain"),
        (0.101, 0.49, "real"),
        (0.101, 0.5, "uncertain"),
        (1.0, 0.9, "uncertain"),
    ],
)
def test_a_verdict_follows_from_a_rate_and_a_probability(rate: float, chance: float, verdict: str) -> None:
    assert verdict_of(rate, chance, CALIBRATION) == verdict
    told, reason = verdict_on(rate, chance, "{} of real faces look", CALIBRATION)
    assert told == verdict
    assert (reason is not None) is (verdict == "uncertain")


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (0.01024, "1.02 % of real faces look at least as fake: too many to call it fake (at most 1 %)"),
        (0.01000004, "1.000004 % of real"),
        (
            0.0998,
            "9.98 % of real faces look at least as fake: too many to call it fake (at most 1 %), too few",
        ),
        (0.05, "5 % of real"),
        (0.1, "10 % of real"),
    ],
)
def test_a_number_beside_its_limit_is_told_apart_from_it(rate: float, told: str) -> None:
    verdict, reason = verdict_on(rate, 0.3, "{} of real faces look", CALIBRATION)
    assert verdict == "uncertain"
    assert reason is not None and reason.startswith(told)


def test_a_face_just_beyond_a_limit_is_told_apart_from_it() -> None:
    told = [
        usability(unusable, CALIBRATION)
        for unusable in (evidence(side=23.96), evidence(outside=0.403), evidence(sharp=0.01996))
    ]
    assert told[0] == "too small: 23.96 pixels, at least 24 are needed"
    large = replace(CALIBRATION, min_face=1500.0)
    assert usability(evidence(side=1499.7), large) == "too small: 1499.7 pixels, at least 1500 are needed"
    assert told[1] is not None and told[1].startswith("cut off: 40.3 % of the area")
    assert told[2] == "too blurred: sharpness 0.01996, at least 0.02 is needed"


def test_no_face_is_not_applicable() -> None:
    judgement = judge([], CALIBRATION)
    assert (judgement.verdict, judgement.reason, judgement.faces) == ("not_applicable", "no face found", ())
    assert judgement.fake_probability is None
    assert judgement.false_alarm_rate is None


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (evidence(side=18.0), "too small: 18 pixels, at least 24 are needed"),
        (evidence(sharp=0.0042), "too blurred: sharpness 0.0042, at least 0.02 is needed"),
        (
            evidence(outside=0.62),
            "cut off: 62 % of the area around the face lies outside the picture, at most 40 % may",
        ),
    ],
)
def test_a_face_that_cannot_be_judged_says_why(unusable: Evidence, reason: str) -> None:
    assert usability(unusable, CALIBRATION) == reason
    judgement = judge([unusable], CALIBRATION)
    assert judgement.faces[0].reason == reason
    assert judgement.reason == f"1 face found, which is {reason}"
    with_another = judge([unusable, evidence(-3.0)], CALIBRATION)
    alone = judge([evidence(-3.0)], CALIBRATION)
    assert with_another.verdict == "real"
    assert with_another.false_alarm_rate == alone.false_alarm_rate


def test_faces_at_the_limits_are_judged() -> None:
    at_limits = evidence(side=24.0, sharp=0.02, outside=LARGEST_OUTSIDE)
    assert usability(at_limits, CALIBRATION) is None


def test_several_unusable_faces_are_counted_by_fault() -> None:
    faces = [evidence(None, side=9.0), evidence(None, sharp=0.0), evidence(None, side=12.0)]
    assert judge(faces, CALIBRATION).reason == "3 faces found, none can be judged: 1 too blurred, 2 too small"


def test_a_usable_face_needs_a_logit() -> None:
    with pytest.raises(ValueError, match="expected 2 logits"):
        judge([evidence(None), evidence(1.0)], CALIBRATION)


def test_a_logit_that_is_no_number_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="nan"):
        judge([evidence(float("nan"))], CALIBRATION)


def test_judging_imports_nothing_heavy() -> None:
    heavy = "{'cv2', 'mediapipe', 'tensorflow', 'keras', 'PIL', 'ai_edge_litert'}"
    code = f"import sys, facefake.aggregator; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
