"""Things that do one thing at a time, shared by threads."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends each thread one of several equal things, and opens them as they are needed.

    Args:
        open_one: makes one; what it raises reaches whoever wanted it, and the next one tries again.
        most: how many there may be, at least 1; further threads wait.
    """

    def __init__(self, open_one: Callable[[], T], most: int) -> None:
        self._open = open_one
        self._idle: queue.LifoQueue[T | None] = queue.LifoQueue()
        for _ in range(most):
            self._idle.put(None)  # a place for one that is still to be opened

    @contextmanager
    def one(self) -> Iterator[T]:
        """One of them, for as long as the context lasts."""
        lent = self._idle.get()
        try:
            if lent is None:
                lent = self._open()
            yield lent
        finally:
            self._idle.put(lent)
