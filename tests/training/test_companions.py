from __future__ import annotations

import math

import numpy as np
import pytest

from facefake.neighbours import among_neighbours
from facefake.rates import rate_of
from facefake.training.companions import (
    Seen,
    companions,
    fit_neighbours,
    scored_among,
    sources_with_companions,
)

COLLECTIONS = np.array(["a"] * 30 + ["b"] * 25 + ["few"] * 5 + ["b"] * 20 + ["gan"] * 20 + ["lone"])
FAKE = np.arange(len(COLLECTIONS)) >= 60


def counting_all(odds: np.ndarray) -> Seen:
    return Seen(odds, np.ones(odds.size, bool))


def test_companions_are_of_one_source_and_of_the_label_asked_for() -> None:
    assert sources_with_companions(COLLECTIONS, FAKE) == ["a", "b"]
    for real in (True, False):
        found = companions(np.random.default_rng(0), COLLECTIONS, FAKE, 15, real=real)
        assert found.shape == (len(COLLECTIONS), 15)
        for at, others in enumerate(found):
            assert FAKE[others].tolist() == [bool(FAKE[at]) and not real] * 15
            assert len(set(COLLECTIONS[others])) == 1
            assert at not in others or COLLECTIONS[at] == "lone"
            if COLLECTIONS[at] in ("a", "b") or not (FAKE[at] and real):
                assert COLLECTIONS[others[0]] == COLLECTIONS[at]
        hosts = {COLLECTIONS[others[0]] for at, others in enumerate(found) if COLLECTIONS[at] == "gan"}
        assert hosts == ({"a", "b"} if real else {"gan"})


def test_each_face_is_scored_among_its_companions() -> None:
    rng = np.random.default_rng(0)
    found = companions(rng, COLLECTIONS, FAKE, 4, real=True)
    own, others = rng.normal(-2, 2, (2, len(COLLECTIONS)))
    expected = [among_neighbours([own[at], *others[places]], -1.0)[0] for at, places in enumerate(found)]
    np.testing.assert_array_equal(scored_among(own, others, found, -1.0), expected)


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of faces of twelve sources of real ones that differ more than their faces do, and of one of fakes."""
    rng = np.random.default_rng(3)
    sources = np.array([f"real {number}" for number in range(12) for _ in range(60)] + ["gan"] * 200)
    middles = np.repeat(rng.normal(-4, 1.5, 12), 60)
    odds = np.concatenate([middles + rng.normal(0, 1, 720), rng.normal(1.5, 1.5, 200)])
    return odds, sources, np.arange(920) >= 720


def test_the_rates_hold_among_neighbours_and_find_more_than_alone(measured) -> None:
    odds, sources, fake = measured
    fitted = fit_neighbours([counting_all(odds)], [], {}, fake, sources, sources)
    assert fitted is not None
    assert fitted.soft is fitted.grainless is None
    assert np.mean(odds[~fake] < fitted.ordinary) == pytest.approx(0.5, abs=0.01)
    assert fitted.real_count == 720  # not as many as draws
    rng = np.random.default_rng(4)
    alone = np.quantile(odds[~fake], 0.99)  # of what a face alone must have at a rate of 1 %
    called = {"real": [], "fake": [], "fake, as if alone": []}
    for _ in range(400):
        real = rng.normal(-4, 1.5) + rng.normal(0, 1, 8)  # of a source that nobody has measured
        suspect = rng.normal(1.5, 1.5)
        for what, faces in (("real", real), ("fake", [suspect, *real[1:]])):
            called[what].append(rate_of(float(among_neighbours(faces, fitted.ordinary)[0]), fitted) <= 0.01)
        called["fake, as if alone"].append(suspect >= alone)
    shares = {what: np.mean(found) for what, found in called.items()}
    assert shares["real"] <= 0.01 + 3 * math.sqrt(0.01 / 400)
    assert shares["fake"] > shares["fake, as if alone"] + 0.05


def test_soft_and_small_faces_have_their_say(measured) -> None:
    odds, sources, fake = measured
    plain = fit_neighbours([counting_all(odds)], [], {}, fake, sources, sources)
    harder = fit_neighbours(
        [counting_all(odds)],
        [counting_all(odds[~fake] + 1)],
        {"soft": [counting_all(odds + 2)], "grainless": [counting_all(odds + 1.5)]},
        fake,
        sources,
        sources,
    )
    assert plain is not None and harder is not None and harder.soft is not None
    assert harder.grainless is not None
    assert rate_of(3.0, plain) < rate_of(3.0, harder) < rate_of(3.0, harder.grainless)
    assert rate_of(3.0, harder.grainless) < rate_of(3.0, harder.soft)


def test_faces_that_do_not_count_are_neighbours_all_the_same(measured) -> None:
    """A third of each source's real faces looks most fake and does not count, on a tier and in a fainter view."""
    odds, sources, fake = measured
    odd = np.arange(odds.size) % 3 == 0
    seen = Seen(np.where(odd & ~fake, 30, odds), ~odd | fake)
    faint = Seen(np.full(720, 40.0), np.zeros(720, bool))
    faint.counted[1::3], faint.odds[1::3] = True, odds[:720][1::3]
    found, whole = (
        fit_neighbours([seen._replace(counted=counted)], [faint], {}, fake, sources, sources)
        for counted in (seen.counted, np.ones(odds.size, bool))
    )
    assert found is not None and whole is not None
    assert found.real_count == 240  # of 720 those that count in the fainter view
    assert found.real_scores[-1] < 20 < 30 <= whole.real_scores[-1]
    real_looking = Seen(np.where(seen.odds == 30, -30, odds), seen.counted)
    among_those = fit_neighbours([real_looking], [], {}, fake, sources, sources)
    assert among_those is not None
    assert among_those.real_scores[-1] > found.real_scores[-1] + 5  # for what their neighbours say


@pytest.mark.parametrize("counting", [0, 19, 20])
def test_all_faces_count_where_too_few_of_the_large_sources_do(counting: int) -> None:
    """Faces of many small sources, which stand for no picture, are enough for rates of faces alone."""
    collections = np.array([f"small {number % 15}" for number in range(225)] + ["large"] * 30 + ["gan"] * 30)
    fake = collections == "gan"
    odds = np.random.default_rng(0).normal(np.where(fake, 2, -2), 1)
    own = np.ones(fake.size, bool)
    own[225 + counting : 255] = False
    sharp, soft = Seen(odds, own), [counting_all(odds)]
    for tiers, faint in (([sharp], []), ([counting_all(odds)], [Seen(odds[~fake], own[~fake])])):
        found = fit_neighbours(tiers, faint, {"soft": soft}, fake, collections, collections)
        assert found is not None
        assert found.real_count == (20 if counting == 20 else 30)


def test_without_a_source_that_is_large_enough_there_are_no_neighbours() -> None:
    few = np.array([f"s{number % 3}" for number in range(57)] + ["gan"] * 30)
    assert fit_neighbours([counting_all(np.zeros(87))], [], {}, np.arange(87) >= 57, few, few) is None
