"""How many cores there are to use."""

from __future__ import annotations

import os
from contextlib import suppress

from facefake.settings import whole_number

MOST_THREADS = 8
"""The most that one picture gets by default: each has interpreters of its own, and more gain little."""


def threads_of_one(threads: int | None) -> int:
    """How many threads one picture gets: as many as asked for; with None, one per core, at most `MOST_THREADS`.

    Raises:
        TypeError, ValueError: `threads` is not a whole number, or below 1.
    """
    return min(MOST_THREADS, usable_cores()) if threads is None else whole_number("threads", threads)


def usable_cores() -> int:
    """How many cores this process may use: those that it may run on, and no more than its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = map(int, file.read().split())  # "max 100000" where there is no quota
        cores = min(cores, -(-quota // period))
    return max(1, cores)


def cores_of_workers(workers: int) -> tuple[int, ...]:
    """The numbers of the cores to keep this many single-threaded processes on, one on each.

    Empty unless they keep all cores of this process busy: else the system knows better which ones are idle. It moves the
    threads of a process about, which wait for each other, and for caches, more often than where all are on one core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return cores if len(cores) == workers == usable_cores() else ()
