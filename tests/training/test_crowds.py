from __future__ import annotations

import numpy as np
import pytest

from facefake.calibration import Calibration
from facefake.training.crowds import SIZES, crowd_rows
from facefake.training.evaluate import Judged

CALIBRATION = Calibration(
    temperature=1.0,
    bias=0.0,
    real_scores=tuple(np.linspace(-5, 5, 20_001).tolist()),
    real_probabilities=tuple(((np.arange(20_001) + 1) / 20_001).tolist()),
    real_count=20_001,
    tail=None,
    alarm_rate=0.01,
    uncertain_rate=0.1,
    min_face=32.0,
    min_sharpness=0.0,
)


def judged(logits: dict[tuple[str, bool], list[float]]) -> Judged:
    places = [(source, fake, logit) for (source, fake), row in logits.items() for logit in row]
    count = len(places)
    return Judged(
        fake=np.array([fake for _, fake, _ in places]),
        kind=np.array(["photo"] * count),
        source=np.array([source for source, _, _ in places]),
        logits=np.array([logit for *_, logit in places], np.float32),
        details=np.ones((count, 2)),
        stated=np.zeros(count),
        called_fake=np.zeros(count, bool),
        called_uncertain=np.zeros(count, bool),
    )


def test_pictures_are_judged_as_the_scan_would_judge_them() -> None:
    real, clear, faint = [-4.0] * 25, [20.0] * 20, [4.93] * 20
    found = judged({("a", False): real, ("clear", True): clear, ("faint", True): faint})
    rows = crowd_rows({"clean": found}, CALIBRATION)
    by_key = {(row.faces, row.fakes): row for row in rows}
    assert list(by_key) == [(n, k) for n in SIZES for k in sorted({0, 1, n // 2, n})]
    for (faces, fakes), row in by_key.items():
        assert row.tier == "clean"
        assert row.real_called_fake == (None if fakes == faces else 0.0)
        if not fakes:
            assert (row.called_fake, row.called_uncertain, row.fakes_called_fake) == (0, 0, None)
        else:
            # A face of the faint source is as rare as 1 in 133: enough alone or where all are, not among real ones.
            share = 1.0 if fakes == faces else 0.5
            assert row.called_fake == row.fakes_called_fake == share
    assert by_key[2, 1].called_uncertain == 0.5


def test_fakes_are_put_among_real_faces_of_their_own_source() -> None:
    """Those of the other source look fake."""
    found = judged({("own", False): [-4.0] * 20, ("other", False): [5.0] * 20, ("own", True): [4.0] * 20})
    rows = {(row.faces, row.fakes): row for row in crowd_rows({"web": found}, CALIBRATION)}
    assert rows[8, 4].real_called_fake == 0
    assert rows[8, 0].real_called_fake == pytest.approx(0.5)


def test_small_sources_take_no_part() -> None:
    few = judged({("a", False): [0.0] * 19, ("gan", True): [0.0] * 40})
    assert crowd_rows({"clean": few}, CALIBRATION) == []
    few = judged({("a", False): [0.0] * 40, ("gan", True): [0.0] * 19})
    assert crowd_rows({"clean": few}, CALIBRATION) == []
