from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.aggregator import Evidence, judge
from facefake.calibration import Calibration
from facefake.detail import FULL
from facefake.persons import (
    WINDOW,
    ClipJudgement,
    PersonResult,
    Sighting,
    Span,
    judge_persons,
    majority,
    sentence,
)
from facefake.rates import any_fake_probability, corrected, false_alarm_rate, log_odds, probability
from facefake.tiles import Face

COUNT = 20_000
CALIBRATION = Calibration(
    temperature=1.0,
    bias=0.0,
    real_scores=tuple(np.linspace(-5, 5, 2_001).tolist()),
    real_probabilities=tuple(np.linspace(1 / 2_001, 1, 2_001).tolist()),
    real_count=COUNT,
    tail=None,
    alarm_rate=0.05,
    uncertain_rate=0.2,
    min_face=24.0,
    min_sharpness=0.0,
)  # real faces' logits are even from −5 to 5
LOGITS = st.lists(st.floats(-6, 6), min_size=1, max_size=40)


def track(*logits: float | None, start: float = 0.0) -> list[Sighting]:
    return [
        Sighting(
            time=start + number / 2,
            box=(10.0, 10.0, 50.0, 50.0),
            detection_score=0.9,
            logit=logit,
            fake_probability=None if logit is None else probability(logit, CALIBRATION),
            false_alarm_rate=None if logit is None else false_alarm_rate(logit, CALIBRATION),
            reason="too blurred: 0.1" if logit is None else None,
        )
        for number, logit in enumerate(logits)
    ]


def judged(*tracks: list[Sighting], frames: int = 20) -> ClipJudgement:
    return judge_persons(tracks, frames, CALIBRATION)


@given(LOGITS)
def test_the_score_is_what_more_than_half_of_the_faces_reach(logits: list[float]) -> None:
    score, chance, rate = majority(track(*logits))
    assert chance == probability(score, CALIBRATION)
    assert score in logits
    assert sum(logit >= score for logit in logits) > len(logits) / 2
    assert sum(logit > score for logit in logits) <= len(logits) / 2
    alone = false_alarm_rate(score, CALIBRATION)
    assert min(1, alone) <= rate <= min(1.0, 2 * alone)


@pytest.mark.parametrize("faces", [1, 2, 3, 4, 9, 30])
@pytest.mark.parametrize("dependence", ["one and the same", "independent", "adverse"])
def test_real_people_raise_no_more_alarms_than_promised(faces: int, dependence: str) -> None:
    """However the faces of a person hang together, as long as each is distributed like a real face in a still."""
    rng = np.random.default_rng(faces)
    people, alarm, least = 5_000, 0.05, faces // 2 + 1
    if dependence == "one and the same":
        logits = np.repeat(rng.uniform(-5, 5, (people, 1)), faces, axis=1)
    elif dependence == "independent":
        logits = rng.uniform(-5, 5, (people, faces))
    else:  # high logits come just as many at a time as make a majority
        logits = rng.uniform(-5, 4.5, (people, faces))
        for person in np.flatnonzero(rng.random(people) < alarm * faces / least):
            logits[person, rng.permutation(faces)[:least]] = rng.uniform(4.5, 5, least)
    noise = 3 * math.sqrt(alarm * (1 - alarm) / people)
    assert (logits >= 4.5).mean() == pytest.approx(alarm, abs=3 * noise)  # each face is like a real one
    found = [majority(track(*row)) for row in logits.tolist()]
    assert np.mean([rate <= alarm for _, _, rate in found]) <= alarm + noise
    if dependence == "adverse" and faces > 2:  # the factor is needed, or this test would prove nothing
        assert (
            np.mean([false_alarm_rate(score, CALIBRATION) <= alarm for score, _, _ in found]) > alarm + noise
        )


def test_a_person_is_as_rare_and_as_probably_fake_as_more_than_half_of_the_faces_are() -> None:
    """Soft faces have other rates and probabilities at the same logit."""
    faces = [
        replace(sighting, false_alarm_rate=rate, fake_probability=1 - 2 * rate)
        for sighting, rate in zip(track(4, 4, 4, 4, 4), (0.3, 0.01, 0.02, 0.5, 0.04), strict=True)
    ]
    assert majority(faces) == (4, pytest.approx(0.92), pytest.approx(0.04 * 5 / 3))


def test_one_odd_frame_changes_no_verdict() -> None:
    steady = judged(track(*[-3.0] * 9))
    odd = judged(track(*[-3.0] * 8, 5.9))
    assert odd.fake_probability == steady.fake_probability == probability(-3.0, CALIBRATION)
    assert odd.verdict == steady.verdict == "real"


def test_more_people_must_look_faker() -> None:
    suspect = track(*[4.8] * 9)
    alone = judged(suspect)
    crowd = judged(suspect, *[track(*[-2.0] * 9)] * 9)
    assert (alone.verdict, crowd.verdict) == ("fake", "uncertain")
    first = crowd.persons[0]
    assert first.false_alarm_rate == alone.persons[0].false_alarm_rate
    assert crowd.false_alarm_rate == pytest.approx(10 * (first.false_alarm_rate or 0))
    # The rate is an upper bound, and is told as one.
    assert first.reason == (
        "rather fake than real (>99 %), but up to 37 % of clips with 10 real people may show one who looks at least "
        "as fake"
    )


@given(st.lists(LOGITS, min_size=1, max_size=4))
def test_a_clip_is_what_its_people_are(logits: list[list[float]]) -> None:
    found = judged(*(track(*row) for row in logits))
    verdicts = [person.verdict for person in found.persons]
    assert (found.verdict == "fake") is ("fake" in verdicts)
    assert (found.verdict == "not_applicable") is (set(verdicts) == {"not_applicable"})
    if found.verdict == "real":
        assert not any(person.spans for person in found.persons)
    for person in found.persons:
        json.dumps(person.to_dict(), allow_nan=False)
        assert (person.reason is None) is (person.verdict in ("fake", "real"))
        assert all(person.seen.start <= span.start < span.end <= person.seen.end for span in person.spans)


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=12))
def test_a_clip_of_one_frame_is_judged_like_a_picture(logits: list[float]) -> None:
    face = Face((10.0, 10.0, 50.0, 50.0), ((0.0, 0.0),) * 6, 0.9)
    picture = judge([Evidence(face, FULL, 0.0, logit) for logit in logits], CALIBRATION)
    clip = judged(*(track(logit) for logit in logits), frames=1)
    assert clip.verdict == picture.verdict
    assert clip.fake_probability == pytest.approx(picture.fake_probability)
    assert clip.false_alarm_rate == pytest.approx(picture.false_alarm_rate)
    assert [person.verdict for person in clip.persons] == [face.verdict for face in picture.faces]


def test_one_doubtful_person_among_many_makes_no_clip_uncertain() -> None:
    crowd = judged(track(*[1.0] * 9), *[track(*[-2.0] * 9)] * 9)
    assert crowd.persons[0].verdict == "uncertain"
    assert (crowd.verdict, crowd.reason) == ("real", None)
    assert sentence(crowd.verdict, crowd.persons, crowd.false_alarm_rate) == (
        "None of 10 people looks fake; 1 is uncertain; that does not prove the clip authentic."
    )


def test_the_clips_probability_is_that_one_of_the_people_is_fake() -> None:
    scores = [2.0, -2.0]
    found = judged(*(track(*[score] * 5) for score in scores))
    odds = [log_odds(score, CALIBRATION) for score in scores]
    assert found.fake_probability == pytest.approx(any_fake_probability(odds))


def test_people_of_whom_the_model_is_as_good_as_certain_overflow_nothing() -> None:
    assert judged(track(*[900.0] * 5), track(*[-900.0] * 5)).fake_probability == pytest.approx(1)
    assert judged(track(*[-900.0] * 5)).fake_probability == pytest.approx(0, abs=1e-300)


def test_who_is_seen_briefly_or_badly_is_not_judged() -> None:
    brief, blurred, good = track(5.9), track(*[None] * 6, 5.9), track(-1.0, -1.0, -1.0)
    found = judged(brief, blurred, good)
    assert [person.verdict for person in found.persons] == ["not_applicable", "not_applicable", "real"]
    assert found.persons[0].reason == "seen too briefly: judged in 1 frame, at least 3 are needed"
    assert found.persons[1].reason == "too blurred: in 6 of 7 frames"
    assert found.false_alarm_rate == found.persons[2].false_alarm_rate  # they do not count
    smaller = [replace(sighting, reason="too small: 9 pixels") for sighting in track(None, None)]
    (often,) = judged([*smaller, *track(None, None, None)]).persons
    assert often.reason == "too blurred: in 3 of 5 frames"
    # In a clip of one frame that one is all there is.
    assert judged(brief, frames=1).verdict == "fake"


def test_a_clip_without_people_or_without_anybody_to_judge() -> None:
    assert judged() == ClipJudgement("not_applicable", None, None, "no face found", ())
    assert judged(track(1.0)).reason == judged(track(1.0)).persons[0].reason
    assert judged(track(1.0), track(None)).reason == "none of 2 people can be judged"


def test_a_part_that_looks_fake_is_found_and_makes_the_person_uncertain() -> None:
    part = track(*[-3.0] * 20, *[9.0] * 9, *[-3.0] * 20)
    found = judged(part)
    (person,) = found.persons
    assert (person.verdict, found.verdict) == ("uncertain", "uncertain")
    assert person.reason == "looks fake only part of the time"
    ((start, end),) = person.spans
    # A window is fake as soon as more than half of it is.
    assert start == pytest.approx(10, abs=1) and end == pytest.approx(14, abs=1)
    assert judged(track(*[-3.0] * 49)).persons[0].spans == ()


def test_a_part_is_as_rare_as_there_are_times_at_which_it_could_have_been() -> None:
    part, brief = track(*[-3.0] * 20, *[4.99] * 9, *[-3.0] * 20), track(*[-3.0] * 4)
    windows = 49 - (WINDOW - 1) + 1
    limit = corrected(majority(track(*[4.99] * WINDOW)).rate, windows)
    for alarm_rate, verdict in ((limit * 1.0001, "uncertain"), (limit / 1.0001, "real")):
        found = judge_persons([brief, part], 20, replace(CALIBRATION, alarm_rate=alarm_rate))
        assert [person.verdict for person in found.persons] == ["real", verdict]
        assert (found.verdict, bool(found.persons[1].spans)) == (verdict, verdict == "uncertain")
        why = "person 2: looks fake only part of the time" if verdict == "uncertain" else None
        assert found.reason == why


def test_faces_that_cannot_be_judged_do_not_count_for_a_person() -> None:
    clear, hidden = track(*[4.8] * 9), track(*[None, 4.8, None] * 9)
    assert majority(hidden) == majority(clear)
    (person,) = judged(hidden).persons
    assert (person.verdict, person.judged, len(person.sightings)) == ("fake", 9, 27)
    assert person.spans == (Span(0.5, 12.5),)
    assert person.seen == Span(0.0, 13.0)


def test_two_parts_are_two_spans_and_a_fake_person_has_one_all_over() -> None:
    two = judged(track(*[9.0] * 9, *[-3.0] * 30, *[9.0] * 9)).persons[0]
    assert len(two.spans) == 2
    whole = judged(track(*[9.0] * 20)).persons[0]
    assert (whole.verdict, whole.spans) == ("fake", (Span(0.0, 9.5),))
    # So it is with two who are fake only because both look so.
    both = judged(*[track(*[4.8] * 20)] * 2)
    assert judged(track(*[4.8] * 20), track(*[-3.0] * 20)).verdict == "uncertain"
    assert [(person.verdict, person.spans) for person in both.persons] == [("fake", (Span(0.0, 9.5),))] * 2
    two_of_three = judged(*[track(*[4.85] * 20)] * 2, track(*[-3.0] * 20)).persons[:2]
    assert [(person.verdict, person.spans) for person in two_of_three] == [("fake", (Span(0.0, 9.5),))] * 2
    # Who is called fake is shown when, without a correction for the many windows.
    just = judged(track(*[4.8] * 20)).persons[0]
    assert (just.verdict, just.spans) == ("fake", (Span(0.0, 9.5),))


def test_spans_of_real_people_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(8)
    clips = [track(*rng.uniform(-5, 5, 40).tolist()) for _ in range(300)]
    steady = [track(*np.repeat(rng.uniform(-5, 5, 8), WINDOW).tolist()) for _ in range(300)]
    for tracks in (clips, steady):
        share = np.mean([bool(judged(each).persons[0].spans) for each in tracks])
        assert share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def person(verdict: str, **changes: object) -> PersonResult:
    made = judged(track(-3.0, -3.0, -3.0)).persons[0]
    return replace(made, verdict=verdict, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "verdicts", "told"),
    [
        ("not_applicable", (), "No face found, so there is nothing to judge."),
        ("not_applicable", ("not_applicable",), "The one person found cannot be judged: because."),
        ("not_applicable", ("not_applicable",) * 2, "2 people found, none of whom can be judged."),
        ("fake", ("fake",), "The one person found looks fake (false-alarm rate at most 0.2 %)."),
        ("uncertain", ("uncertain",), "The one person found is uncertain."),
        ("real", ("real",), "The one person found does not look fake; that does not prove the clip authentic."),
        ("real", ("real",) * 2, "None of 2 people looks fake; that does not prove the clip authentic."),
        ("fake", ("fake", "real", "uncertain"),
         "1 of 3 people looks fake (false-alarm rate at most 0.2 %); 1 is uncertain."),
        ("fake", ("fake", "fake", "real"), "2 of 3 people look fake (false-alarm rate at most 0.2 %)."),
        ("uncertain", ("uncertain",) * 2, "None of 2 people looks fake; 2 are uncertain."),
        ("real", ("real",) + ("not_applicable",) * 6,
         "The only person judged does not look fake; 6 cannot be judged; that does not prove the clip authentic."),
        ("uncertain", ("uncertain", "not_applicable"), "The only person judged is uncertain; 1 cannot be judged."),
        ("uncertain", ("uncertain", "real", "not_applicable"),
         "None of 2 judged people looks fake; 1 is uncertain; 1 cannot be judged."),
        ("fake", ("fake", "uncertain", "not_applicable"),
         "1 of 3 people looks fake (false-alarm rate at most 0.2 %); 1 is uncertain; 1 cannot be judged."),
    ],
)  # fmt: skip
def test_the_sentence(verdict: str, verdicts: tuple[str, ...], told: str) -> None:
    people = [person(each, reason="because") for each in verdicts]
    assert sentence(verdict, people, 0.002) == told  # type: ignore[arg-type]


def test_the_rate_in_a_reason_is_told_as_an_upper_bound() -> None:
    (alone,) = judged(track(*[4.4] * 3)).persons
    assert str(alone.reason).startswith(
        "up to 9.1 % of real people may look at least as fake: too many to call"
    )
    crowd = judged(track(*[1.0] * 9), *[track(*[-2.0] * 9)] * 9).persons[0]
    assert "up to 72 % of real people may look" in str(crowd.reason)
    crowd = judged(track(*[4.4] * 3), *[track(*[-2.0] * 9)] * 19).persons[0]
    assert "up to 100 % of clips with 20 real people may show one who looks" in str(crowd.reason)
