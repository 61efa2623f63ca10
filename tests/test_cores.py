from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from facefake.cores import cores_of_workers, threads_of_one, usable_cores
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
    ("quota", "cores", "threads"),
    [
        (None, 12, 8),
        ("max 100000\n", 12, 8),
        ("2000000 100000\n", 12, 8),
        ("300000 100000\n", 3, 3),
        ("150000 100000\n", 2, 2),
        ("20000 100000\n", 1, 1),
    ],
)
def test_a_container_gets_no_more_cores_than_are_paid_for(
    quota: str | None, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: str, encoding: str) -> io.StringIO:
        if quota is None or path != "/sys/fs/cgroup/cpu.max":
            raise FileNotFoundError(path)
        return io.StringIO(quota)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    monkeypatch.setattr("facefake.cores.open", opened, raising=False)
    assert (usable_cores(), threads_of_one(None), threads_of_one(20)) == (cores, threads, 20)


@pytest.mark.parametrize(
    ("workers", "quota", "cores"),
    [(3, 3, (1, 4, 6)), (2, 3, ()), (4, 3, ()), (2, 2, ()), (3, 2, ())],
)
def test_only_workers_that_fill_all_cores_are_kept_on_them(
    workers: int, quota: int, cores: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {6, 1, 4})
    monkeypatch.setattr("facefake.cores.usable_cores", lambda: quota)
    assert cores_of_workers(workers) == cores
    monkeypatch.delattr(os, "sched_getaffinity")  # as on other systems than Linux
    assert cores_of_workers(workers) == ()


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
