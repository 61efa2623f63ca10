"""Sharing among threads: objects that serve one thread at a time, and work of many small pieces."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pool(Generic[T]):
    """Lends each thread one of several interchangeable objects, which are created as they are needed.

    Args:
        open_one: creates one; what it raises reaches the thread that asked, and the next request tries again.
        most: how many there may be, at least 1; further threads wait.
    """

    def __init__(self, open_one: Callable[[], T], most: int) -> None:
        self._open = open_one
        self._places = threading.Semaphore(most)
        self._idle: list[T] = []

    @contextmanager
    def one(self) -> Iterator[T]:
        """One of the objects, lent for as long as the context lasts."""
        with self._places:
            lent = None
            with suppress(IndexError):  # checking first and then popping would not be atomic
                lent = self._idle.pop()
            if lent is None:
                lent = self._open()
            try:
                yield lent
            finally:
                self._idle.append(lent)

    def clear(self) -> None:
        """Drops the objects that are not lent at the moment."""
        self._idle.clear()


def spread(executor: Executor, threads: int, function: Callable[[T], R], pieces: Sequence[T]) -> list[R]:
    """What a function makes of each piece, in their order, as `Executor.map` gives it.

    Each thread takes the next piece by itself. With a future for each piece, the caller wakes up for each, on a core that a
    thread keeps busy.

    Args:
        executor: runs the threads.
        threads: how many to use, at least 1.
        function: what it raises is raised here, and the pieces that no thread has begun are left.
        pieces: of work.
    """
    made: dict[int, R] = {}
    numbered = enumerate(pieces)

    def work() -> None:
        for number, piece in numbered:
            made[number] = function(piece)

    try:
        running = [executor.submit(work) for _ in range(min(threads, len(pieces)))]
        wait(running, return_when=FIRST_EXCEPTION)
    finally:  # also when a signal handler raises: the threads stop after their piece
        deque(numbered, maxlen=0)
    for each in running:
        each.result()
    return [made[number] for number in range(len(pieces))]
