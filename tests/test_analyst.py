from __future__ import annotations

from typing import Any

import cv2
import pytest

from facefake.analyst import Analyst, Job
from facefake.results import ErrorResult

ARGUMENTS = {"runtime": "litert", "limits": None, "threads": cv2.getNumThreads()}


class OpenCVError(Exception):
    code = -4


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    class Detector:
        settings: Any = None

        def __init__(self, **arguments: Any) -> None:
            pass

        def analyze(self, source: object) -> None:
            raise fault

    monkeypatch.setattr("facefake.detector.FakeImageDetector", Detector)


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (OpenCVError("no memory"), "no memory"),
        (
            RuntimeError("CalculatorGraph::Run() failed:\n└ Failed to allocate tensors\n"),
            "Failed to allocate tensors",
        ),
    ],
)
def test_a_want_of_memory_goes_by_its_name(fault: Exception, told: str) -> None:
    with pytest.raises(MemoryError, match=f"^{told}$"):
        Analyst(ARGUMENTS, None)(Job(0, "a.jpg"))
    with pytest.raises(MemoryError, match=f"^{told}$"):
        Analyst.in_worker(ARGUMENTS, None, None, None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("fault", [RuntimeError("something else")])
def test_any_other_fault_is_the_picture_s_own(fault: Exception) -> None:
    record = Analyst(ARGUMENTS, None)(Job(0, "a.jpg")).record
    assert isinstance(record, ErrorResult)
    assert (record.kind, record.message) == (
        "internal",
        "a.jpg: expected an analysis, got RuntimeError: something else",
    )
