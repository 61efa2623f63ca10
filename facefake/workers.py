"""Worker processes for untrusted files, which may hang, exhaust or crash them: every task has an outcome all the same.

A worker is a fresh interpreter, because native libraries with threads of their own need one: a forked process inherits
their locks but not their threads. It is not started through `multiprocessing`, whose children run the caller's main
module again, so that every script would need a guard against that.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

from facefake.errors import FaceFakeError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_LONGEST_START = 300  # seconds within which a worker must have loaded its models
_PATIENCE = 5  # seconds within which a killed process is expected to be gone
_ACCIDENTS = 2  # workers in a row that may end before they are ready, as when the system runs out of memory


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of a task that got no answer.

    Attributes:
        kind: "timeout", "out_of_memory", or "crashed" if the worker ended in any other way.
        expected, got: for the error message.
    """

    kind: Literal["timeout", "out_of_memory", "crashed"]
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one task may take.

    Attributes:
        seconds: of wall-clock time.
        memory: bytes of private memory of the worker, its models included (what Linux counts for ``RLIMIT_DATA``); if
            this process has a lower hard limit, that holds instead.
    """

    seconds: float
    memory: int


def run(
    tasks: Iterable[Task | None],
    start: Callable[[], Callable[[Task], Answer]],
    workers: int,
    bounds: Bounds,
    patience: Callable[[Task], float] = lambda task: 1.0,
    cores: Sequence[int] = (),
) -> Generator[tuple[Task, Answer | Failure]]:
    """Each task with its answer, as answers come; a worker that dies loses only its current task, and is replaced.

    Workers are started when there is something for them to do, and end with this generator. While the caller does
    not ask for an answer, no new task is begun.

    Args:
        tasks: taken one by one, when a worker is free. None means that the next one is not there yet: it is asked for
            again once finished tasks have been yielded.
        start: called once in each worker; the function that it returns is called there for each task, and never returns
            None. `start` must be picklable, by names that a new interpreter can import; so must tasks and answers.
        workers: the largest number of them, at least 1.
        bounds: of each task.
        patience: by how much a task's time limit is multiplied.
        cores: numbers of the cores to keep workers on, each on one of its own, as many as there are workers; by default
            they run wherever the system puts them.

    Raises:
        FaceFakeError: a worker cannot be started, or a task raised such an error: others would as well. Once a worker has
            started, up to two in a row may end while starting.
        ValueError, TypeError: `start` raised it.
    """
    bounds = Bounds(bounds.seconds, _allowed(bounds.memory))
    waiting = iter(tasks)
    busy: dict[Connection, _Worker[Task]] = {}
    idle: list[_Worker[Task]] = []
    accidents = _ACCIDENTS  # if the very first worker ends before it is ready, that is no accident

    def hire() -> _Worker[Task]:
        taken = {worker.core for worker in [*busy.values(), *idle]}
        return _Worker(start, bounds, next((core for core in cores if core not in taken), None))

    try:
        while True:
            while len(busy) < workers:
                try:
                    task = next(waiting)
                except StopIteration:
                    workers = 0
                    break
                if task is None:
                    break
                worker = idle.pop() if idle else hire()
                seconds = bounds.seconds * patience(task)
                if not worker.give(task, seconds):  # the system may have killed it while it was idle
                    worker.kill()
                    worker = hire()
                    worker.give(task, seconds)
                busy[worker.connection] = worker
            if not busy and not workers:
                return
            heard = wait(list(busy), timeout=0 if len(busy) < workers else 1)
            late = [worker for worker in busy.values() if worker.late and worker.connection not in heard]
            for worker in [*(busy[connection] for connection in heard), *late]:  # type: ignore[index]
                try:
                    answer = worker.answer() if worker not in late else worker.timeout()
                except _Stillborn:
                    accidents += 1
                    if accidents > _ACCIDENTS:
                        raise
                    del busy[worker.connection]
                    successor = worker.successor()
                    busy[successor.connection] = successor
                    continue
                if answer is None:
                    accidents = 0
                    continue
                del busy[worker.connection]
                if isinstance(answer, Failure):
                    worker.kill()
                else:
                    idle.append(worker)
                yield worker.task, answer
    finally:
        for worker in [*busy.values(), *idle]:
            worker.kill()


def _allowed(memory: int) -> int:
    """This many bytes, or the hard limit of this process if that is lower: its workers cannot raise it."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    return memory if hard == resource.RLIM_INFINITY else min(memory, hard)


class _Stillborn(FaceFakeError):
    """A worker ended before it was ready."""


class _Worker(Generic[Task]):
    """A process, and the one task that it is working on.

    Attributes:
        task: the one that it was given last.
        core: the only one that it runs on; None for any.
    """

    task: Task

    def __init__(self, start: Callable[[], Callable[[Task], Any]], bounds: Bounds, core: int | None) -> None:
        try:
            self._process, self.connection = self._launch()
        except (OSError, TypeError) as error:
            raise FaceFakeError(
                f"expected to start a worker process with {sys.executable!r}, got {type(error).__name__}: {error}"
            ) from error
        self._start = start
        self._bounds = bounds
        self.core = core
        self._ready = False
        self._send((start, bounds, core))

    @staticmethod
    def _launch() -> tuple[subprocess.Popen[bytes], Connection]:
        pair = socket.socketpair()
        with pair[0], pair[1]:
            # From descriptor 3 up: if standard streams are closed here, the sockets may have got their numbers, where the
            # worker has its own streams.
            ours, theirs = (socket.socket(fileno=fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3)) for end in pair)
        with ours, theirs:
            # The same modules as here, wherever they come from; like Python itself, without entries that are not strings.
            # No standard input: it may be the caller's list of paths.
            code = (
                f"import sys; sys.path[:] = {[place for place in sys.path if isinstance(place, str)]!r}; "
                f"from facefake.workers import serve; serve({theirs.fileno()})"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # or NumPy takes memory for every core
                process_group=0,  # Ctrl-C in the terminal is for the parent alone
            )
            return process, Connection(ours.detach())

    def _send(self, message: object) -> bool:
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def give(self, task: Task, seconds: float) -> bool:
        """Hand over a task that may take `seconds`; False if the process has ended."""
        self.task = task
        self._seconds = seconds
        self._begun = time.monotonic()
        return self._send((task, seconds))

    def successor(self) -> _Worker[Task]:
        """A new worker with the task of this one."""
        other: _Worker[Task] = _Worker(self._start, self._bounds, self.core)
        other.give(self.task, self._seconds)
        return other

    @property
    def late(self) -> bool:
        """Whether the process should have been ended by its own alarm long ago."""
        return self._taken > self._seconds + _PATIENCE + (0 if self._ready else _LONGEST_START)

    @property
    def _taken(self) -> float:
        """Seconds since it was given its task, or became ready for it if that was later."""
        return time.monotonic() - self._begun

    def answer(self) -> Any:
        """What has arrived: an answer, a `Failure` if the process is dead, or None if it has become ready for its task.

        Raises:
            Exception: what `start` raised, or a `FaceFakeError` of the task.
        """
        try:
            word, content = self.connection.recv()
        except (EOFError, OSError):
            return self._epitaph()
        if word == "fault":
            raise content
        if not self._ready:
            self._ready = True
            self._begun = time.monotonic()
        return content

    def _epitaph(self) -> Failure:
        with suppress(subprocess.TimeoutExpired):  # it is about to end, and its status says why
            self._process.wait(_PATIENCE)
        status = self.kill()
        if not self._ready:
            raise self._stillborn(_ending(status))
        # If the caller ignores SIGCHLD, the system keeps no status, and Popen makes it 0.
        if status == -signal.SIGALRM or (status == 0 and self._taken >= self._seconds):
            return self.timeout()
        return Failure("crashed", "an analysis", f"a worker process that {_ending(status)}")

    def _stillborn(self, ending: str) -> _Stillborn:
        return _Stillborn(
            f"expected a worker process that loads its models within {self._bounds.memory >> 20:,} MiB of memory "
            f"and {_LONGEST_START} seconds, got one that {ending}"
        )

    def timeout(self) -> Failure:
        """What a task comes to whose time is over.

        Raises:
            _Stillborn: the process is not even ready for it; it is ended.
        """
        if not self._ready:
            self.kill()
            raise self._stillborn("was not ready in that time")
        return Failure("timeout", f"an analysis within {self._seconds:g} seconds", "none in that time")

    def kill(self) -> int | None:
        """End the process, if it has not ended; returns its status, or None if even that takes too long."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # an unreachable file system can hold a process for ever
            self._process.wait(_PATIENCE)
        self.connection.close()
        return self._process.returncode


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    hint = ", as the system does when memory runs out" if status == -signal.SIGKILL else ""
    # Python has no names for the signals of real time.
    name = {each.value: each.name for each in signal.Signals}.get(-status, f"signal {-status}")
    return f"was ended by {name}{hint}"


def serve(handle: int) -> None:
    """The main function of a worker process.

    Args:
        handle: file descriptor of the socket to the process that started it.
    """
    # Its own alarm, because nobody else would end a hanging task if the parent has been killed; with the default action,
    # which needs no running interpreter.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # so that if memory runs out, the system ends this process rather than any other
    with suppress(EOFError, ConnectionError), Connection(handle) as connection:
        start, bounds, core = connection.recv()
        if core is not None:
            with suppress(OSError):  # it may have been taken from this process meanwhile
                os.sched_setaffinity(0, [core])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (bounds.memory, bounds.memory))
        signal.setitimer(signal.ITIMER_REAL, _LONGEST_START)
        try:
            function = start()
        except (FaceFakeError, ValueError, TypeError) as error:
            connection.send(("fault", error))
            return
        except (MemoryError, ImportError, OSError, RuntimeError) as error:
            # A lack of memory, too: libraries have to be mapped, and MediaPipe raises RuntimeError for anything it lacks.
            sys.exit(str(error) or "out of memory")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(("ready", None))
        _work(connection, function, bounds)


def _work(connection: Connection, function: Callable[[Any], Any], bounds: Bounds) -> None:
    while True:
        task, seconds = connection.recv()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            answer = function(task)
        except FaceFakeError as error:
            connection.send(("fault", error))
            return
        except MemoryError as error:
            # Native code that was refused memory may be in any state, so this process ends.
            expected = f"an analysis within {bounds.memory >> 20:,} MiB of memory"
            connection.send(
                ("answer", Failure("out_of_memory", expected, str(error) or "one that takes more"))
            )
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(("answer", answer))
