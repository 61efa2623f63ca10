from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from facefake.errors import FaceFakeError, ModelError
from facefake.workers import Bounds, Failure, run

BOUNDS = Bounds(seconds=20, memory=2 << 30)
FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
SHORT = Bounds(seconds=0.5, memory=256 << 20)

# What the workers do: each function is found by its name in a process of its own, and does what it says.


def misbehave(task: str) -> str:
    parent = os.getppid()
    deeds: dict[str, Callable[[], Any]] = {
        "sleep": lambda: time.sleep(600),
        "nap": lambda: time.sleep(1),
        "spin": lambda: max(iter(int, 1)),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "exit": lambda: os._exit(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "segfault": lambda: ctypes.string_at(1),
        "abort": os.abort,
        "raise": lambda: 1 / 0,
        "chat": lambda: os.write(1, b"chat"),
        "allocate": lambda: bytearray(1 << 40),
        "grow": lambda: [bytearray(1 << 24) for _ in range(1 << 20)],
        "fault": lambda: (_ for _ in ()).throw(ModelError("broken")),
        "signal": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 1),
        "orphan": lambda: all(os.getppid() == parent for _ in iter(int, 1)),
    }
    if task == "where":
        return str(sorted(os.sched_getaffinity(0)))
    if task in deeds:
        deeds[task]()
    return f"{task}: {os.getpid()}"


def start() -> Callable[[str], str]:
    return misbehave


def start_slowly(seconds: float) -> Callable[[str], str]:
    time.sleep(seconds)
    return misbehave


def start_but_not_each_time(log: str, fatal: range) -> Callable[[str], str]:
    """The workers of these numbers, from 0, end before they are ready."""
    with open(log, "ab") as file:
        number = file.tell()
        file.write(b".")
    if number in fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return misbehave


def stop_as_it_starts() -> Callable[[str], str]:
    os.kill(os.getpid(), signal.SIGSTOP)
    return misbehave


def look_around() -> Callable[[str], dict[str, Any]]:
    """What the process is allowed, and how many seconds it has to start."""
    seconds = signal.getitimer(signal.ITIMER_REAL)[0]
    return lambda task: {
        "seconds": seconds,
        "out of memory": Path("/proc/self/oom_score_adj").read_text(),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "threads": os.environ["OPENBLAS_NUM_THREADS"],
    }


def fail_to_start(how: str) -> Callable[[str], str]:
    if how == "model":
        raise ModelError("no model")
    if how == "value":
        raise ValueError("out of range")
    if how == "type":
        raise TypeError("of another kind")
    if how == "memory":
        bytearray(1 << 40)
    if how == "native":
        raise RuntimeError("CalculatorGraph::Run() failed")
    if how == "library":
        raise ImportError("failed to map segment from shared object")
    if how == "file":
        raise OSError("no such library")
    os._exit(3)


def answers(tasks: list[str], workers: int = 2, bounds: Bounds = BOUNDS) -> dict[str, Any]:
    return dict(run(tasks, start, workers, bounds))


def processes(found: dict[str, Any]) -> set[str]:
    return {answer.split(": ")[1] for answer in found.values() if isinstance(answer, str)}


def after_one(deed: str, bounds: Bounds) -> tuple[Any, float]:
    """What becomes of a deed, and the seconds it took, in a process that has done something before."""
    found = run(["a", deed], start, 1, bounds)
    assert isinstance(next(found)[1], str)
    begun = time.monotonic()
    answer = next(found)[1]
    seconds = time.monotonic() - begun
    found.close()
    return answer, seconds


def children() -> str:
    """The processes that this thread has started and that have not ended, or that nobody has asked how."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def test_some_tasks_may_take_longer_than_others() -> None:
    def patience(task: str) -> float:
        return 20 if task == "nap" else 1

    found = dict(run(["nap", "sleep"], start, 1, SHORT, patience))
    assert found["nap"].startswith("nap: ")
    assert found["sleep"] == Failure("timeout", "an analysis within 0.5 seconds", "none in that time")


def test_every_task_is_answered_once_by_processes_that_serve_many() -> None:
    tasks = [f"task {number}" for number in range(40)]
    found = list(run(tasks, start, 3, BOUNDS))
    assert sorted(task for task, _ in found) == sorted(tasks)
    assert all(answer.startswith(f"{task}: ") for task, answer in found)
    assert 1 <= len(processes(dict(found))) <= 3
    assert str(os.getpid()) not in processes(dict(found))


def test_no_more_processes_than_tasks_are_started() -> None:
    assert len(processes(answers(["one"], workers=16))) == 1
    assert answers([], workers=16) == {}


def test_tasks_are_taken_when_somebody_is_free_for_them() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield f"task {number}"

    found = run(tasks(), start, 2, BOUNDS)
    for _ in range(5):
        next(found)
    assert len(taken) <= 7
    found.close()


def test_who_waits_for_a_task_waits_for_no_answer() -> None:
    answered: list[str] = []

    def tasks() -> Iterator[str | None]:
        yield None
        yield "a"
        while not answered:
            time.sleep(0.01)
            yield None
        yield "b"

    for task, _ in run(tasks(), start, 2, BOUNDS):
        answered.append(task)
    assert answered == ["a", "b"]


@pytest.mark.parametrize("deed", ["sleep", "spin"])
def test_a_hanging_worker_is_replaced(deed: str) -> None:
    begun = time.monotonic()
    found = answers(["a", deed, "b", "c"], bounds=SHORT)
    assert found.pop(deed) == Failure("timeout", "an analysis within 0.5 seconds", "none in that time")
    assert len(processes(found)) >= 1
    assert time.monotonic() - begun < 15


@contextmanager
def alarms_blocked() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def alarms_ignored() -> Iterator[None]:
    handler = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("deaf", [alarms_blocked, alarms_ignored])
def test_an_alarm_that_the_caller_does_not_hear_ends_a_task_all_the_same(deaf) -> None:
    with deaf():
        answer, seconds = after_one("sleep", SHORT)
    assert answer.kind == "timeout"
    assert seconds < 4, "given up, rather than ended"


@pytest.mark.parametrize(("deed", "kind"), [("sleep", "timeout"), ("kill", "crashed")])
def test_what_took_too_long_is_known_even_where_children_s_ends_are_ignored(deed: str, kind: str) -> None:
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        answer, _ = after_one(deed, SHORT)
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert answer.kind == kind


def test_the_time_between_tasks_is_nobody_s() -> None:
    found = run(["a", "b"], start, 1, SHORT)
    first = next(found)[1]
    time.sleep(1)
    second = next(found)[1]
    assert processes({"a": first}) == processes({"b": second})
    found.close()


def test_what_ends_the_caller_s_group_of_processes_ends_no_worker() -> None:
    found = run(["a", "b"], start, 1, BOUNDS)
    answer = next(found)[1]
    assert isinstance(answer, str)
    assert os.getpgid(int(answer.split(": ")[1])) != os.getpgrp()
    found.close()


def test_what_a_library_prints_is_not_the_caller_s_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(answers(["chat"])["chat"], str)
    assert capfd.readouterr().out == ""


def test_one_that_not_even_its_alarm_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefake.workers._PATIENCE", 1)
    found = answers(["stop", "a"], workers=1, bounds=SHORT)
    assert found["stop"].kind == "timeout"
    assert isinstance(found["a"], str)
    assert children() == ""


def test_one_that_hangs_before_it_is_ready_is_no_task_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefake.workers._LONGEST_START", 0)
    monkeypatch.setattr("facefake.workers._PATIENCE", 0.5)
    with pytest.raises(FaceFakeError, match="got one that was not ready in that time"):
        list(run(["a"], stop_as_it_starts, 1, SHORT))
    assert children() == ""


def test_what_was_answered_while_the_caller_was_elsewhere_is_not_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "facefake.workers.wait", lambda busy, timeout: [each for each in busy if each.poll(20)]
    )
    monkeypatch.setattr("facefake.workers._PATIENCE", -1000)
    found = answers(["a", "b"])
    assert [answer.split(": ")[0] for answer in found.values()] == list(found)


@pytest.mark.parametrize(
    ("deed", "got"),
    [
        ("exit", "ended with status 0"),
        ("kill", "was ended by SIGKILL, as the system does when memory runs out"),
        ("segfault", "was ended by SIGSEGV"),
        ("abort", "was ended by SIGABRT"),
        ("signal", f"was ended by signal {signal.SIGRTMIN + 1}"),
        ("raise", "ended with status 1"),
    ],
)
def test_a_crashing_worker_is_replaced(deed: str, got: str) -> None:
    found = answers(["a", deed, deed + " not", "b"])
    failure = found.pop(deed)
    assert failure == Failure("crashed", "an analysis", f"a worker process that {got}")
    assert set(found) == {"a", "b", deed + " not"}
    assert processes(found)


@pytest.mark.parametrize("deed", ["allocate", "grow"])
def test_memory_is_bounded(deed: str) -> None:
    found = answers(["a", deed, "b"], workers=1, bounds=Bounds(20, 256 << 20))
    assert found[deed].kind == "out_of_memory"
    assert "256 MiB" in found[deed].expected
    assert found[deed].got == "one that takes more"
    assert len(processes(found)) == 2  # what was refused memory does not go on


def test_a_lower_limit_of_the_caller_s_own_holds() -> None:
    code = textwrap.dedent(f"""
        import resource, sys; sys.path[:0] = {FOLDERS!r}
        resource.setrlimit(resource.RLIMIT_DATA, (512 << 20, 512 << 20))
        from test_workers import BOUNDS, answers
        found = answers(["a", "allocate"], workers=1)
        assert isinstance(found["a"], str)
        print(found["allocate"].expected)
    """)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (finished.stdout, finished.stderr) == ("an analysis within 512 MiB of memory\n", "")


@pytest.mark.parametrize("executable", ["/nowhere/python", "", None])
def test_no_interpreter_to_start_is_a_fault_of_the_installation(
    executable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(FaceFakeError, match=f"expected to start a worker process with {executable!r}, got "):
        answers(["a"])


def test_a_search_path_may_hold_what_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    assert isinstance(answers(["a"])["a"], str)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("library", "failed to map segment from shared object"),
        ("native", "CalculatorGraph::Run() failed"),
        ("file", "no such library"),
        ("memory", "out of memory"),
    ],
)
def test_a_library_that_does_not_fit_into_memory_is_told_in_a_line(
    how: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FaceFakeError, match="ended with status 1"):
        list(run(["a"], partial(fail_to_start, how), 1, BOUNDS))
    assert capfd.readouterr().err == f"{told}\n"


def test_a_fault_of_the_installation_is_raised() -> None:
    with pytest.raises(ModelError, match="broken"):
        answers(["a", "fault", "b"])


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("model", ModelError, "no model"),
        ("value", ValueError, "out of range"),
        ("type", TypeError, "of another kind"),
        ("memory", FaceFakeError, "2,048 MiB of memory and .* ended with status 1"),
        ("exit", FaceFakeError, "expected a worker process that loads .* ended with status 3"),
    ],
)
def test_one_that_cannot_start_ends_it_all(how: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        list(run(["a", "b"], partial(fail_to_start, how), 2, BOUNDS))


def test_what_ends_the_first_worker_as_it_starts_is_no_accident(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(FaceFakeError, match="ended by SIGKILL"):
        list(run(["a"], partial(start_but_not_each_time, str(log), range(99)), 1, BOUNDS))
    assert log.stat().st_size == 1


def test_a_worker_goes_before_others_leaves_no_core_and_starts_in_bounded_time_and_memory() -> None:
    ((_, told),) = run(["a"], look_around, 1, BOUNDS)
    assert isinstance(told, dict)
    assert 0 < told.pop("seconds") <= 300
    # NumPy's library takes memory for each thread.
    assert told == {"out of memory": "500\n", "core": (0, 0), "threads": "1"}


def test_a_worker_that_the_system_ends_as_it_starts_costs_nothing(tmp_path: Path) -> None:
    some = partial(start_but_not_each_time, str(tmp_path / "log"), range(1, 3))
    found = dict(run(["a", "exit", "b"], some, 1, BOUNDS))
    assert len(processes(found)) == 2
    assert isinstance(found["exit"], Failure)


def test_each_worker_has_a_core_of_its_own_if_told_so() -> None:
    available = sorted(os.sched_getaffinity(0))
    cores = available[:2]
    # Each worker gets a task before any answers.
    for kept_on, expected in (([], [available] * len(cores)), (cores, [[core] for core in cores])):
        found = run(["where"] * len(cores), start, len(cores), BOUNDS, cores=kept_on)
        assert sorted(str(answer) for _, answer in found) == [str(each) for each in expected]


def test_who_takes_the_place_of_a_worker_gets_its_core(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    some = partial(start_but_not_each_time, str(tmp_path / "log"), range(1, 3))
    found = [answer for _, answer in run(["where", "exit", "where"], some, 1, BOUNDS, cores=[core])]
    assert isinstance(found.pop(1), Failure)
    assert found == [f"[{core}]"] * 2


def test_a_core_that_is_not_there_is_done_without() -> None:
    everywhere = str(sorted(os.sched_getaffinity(0)))
    assert list(run(["where"], start, 1, BOUNDS, cores=[1 << 16])) == [("where", everywhere)]


def test_workers_that_end_one_after_the_other_as_they_start_end_it_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = run(["a", "exit", "b"], partial(start_but_not_each_time, str(log), range(1, 99)), 1, BOUNDS)
    assert [next(found)[0], next(found)[0]] == ["a", "exit"]
    with pytest.raises(FaceFakeError, match=r"expected a worker process that loads .* ended by SIGKILL"):
        next(found)
    assert log.stat().st_size == 4


def test_starting_takes_nothing_from_a_tasks_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefake.workers._PATIENCE", 0.1)
    assert isinstance(dict(run(["a"], partial(start_slowly, 1.0), 1, SHORT))["a"], str)


def test_what_a_process_that_rests_dies_of_costs_no_task() -> None:
    found = run(["a", "b"], start, 1, BOUNDS)
    _, answer = next(found)
    assert isinstance(answer, str)
    pid = int(answer.split(": ")[1])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while _state(pid) not in "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert isinstance(next(found)[1], str)
    found.close()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.parametrize("deed", ["b", "sleep"])
def test_closing_leaves_no_process_behind(deed: str) -> None:
    found = run(["a", deed, deed], start, 2, BOUNDS)
    _, answer = next(found)
    assert isinstance(answer, str)
    found.close()
    assert not Path(f"/proc/{answer.split(': ')[1]}").exists()


def test_workers_end_soon_after_a_parent_that_was_killed() -> None:
    code = textwrap.dedent(f"""
        import os, sys; sys.path[:0] = {FOLDERS!r}
        from test_workers import BOUNDS, SHORT, run, start
        found = run(["a", "spin", "spin"], start, 1, SHORT)
        print(next(found)[1], flush=True)
        from multiprocessing.connection import wait
        from facefake import workers
        workers.wait = lambda busy, timeout: os.kill(os.getpid(), 9)
        next(found)
    """)
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    pid = int(finished.stdout.split(": ")[1])
    deadline = time.monotonic() + 10
    while _state(pid) != "Z" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _state(pid) == "Z"


@pytest.mark.parametrize("deed", [None, "orphan"])
def test_the_workers_of_one_that_was_killed_end_without_a_word(deed: str | None) -> None:
    code = textwrap.dedent(f"""
        import os, sys; sys.path[:0] = {FOLDERS!r}
        from test_workers import BOUNDS, run, start
        def tasks():
            yield "b"
            yield {deed!r}
            while True:
                yield None
        found = run(tasks(), start, 1, BOUNDS)
        print(next(found)[1], flush=True)
        from facefake import workers
        workers.wait = lambda busy, timeout: os.kill(os.getpid(), 9)
        next(found)
    """)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (-signal.SIGKILL, "")


def test_scripts_need_no_guard_and_standard_input_is_left_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {FOLDERS!r}\n"
        "from test_workers import BOUNDS, run, start\n"
        "print(sum(isinstance(answer, str) for _, answer in run(sys.stdin, start, 2, BOUNDS)))\n"
    )
    finished = subprocess.run(
        [sys.executable, str(script)], input="one\ntwo\nthree\n", capture_output=True, text=True, timeout=60
    )
    assert (finished.stdout, finished.stderr) == ("3\n", "")


@pytest.mark.parametrize("closed", [(0, 1), (2,), (0, 1, 2)])
def test_a_caller_without_standard_streams_has_workers_all_the_same(closed: tuple[int, ...]) -> None:
    code = textwrap.dedent(f"""
        import os, sys; sys.path[:0] = {FOLDERS!r}
        from test_workers import answers
        for number in {closed!r}:
            os.close(number)
        found = answers(["one", "two"])
        os._exit(not all(answer.startswith(task) for task, answer in found.items()))
    """)
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
