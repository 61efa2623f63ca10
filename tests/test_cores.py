from __future__ import annotations

import os
import subprocess
import sys

import pytest

from facefake.cores import usable_cores
from facefake.detection import FaceDetector
from facefake.detector import FakeImageDetector


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from facefake.cores import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("threads", "error", "got"),
    [
        (0, ValueError, "got 0"),
        (-3, ValueError, "got -3"),
        (True, TypeError, "got True"),
        ("2", TypeError, "got '2'"),
    ],
)
def test_a_number_of_threads_that_is_none_is_refused(
    threads: object, error: type[Exception], got: str
) -> None:
    for maker in (FaceDetector, FakeImageDetector):
        with pytest.raises(error, match=f"expected threads to be .*, {got}"):
            maker(threads=threads)  # type: ignore[arg-type]
