"""Things that do one thing at a time, shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
        self._places = threading.Semaphore(most)
        self._idle: list[T] = []

    @contextmanager
    def one(self) -> Iterator[T]:
        """One of them, for as long as the context lasts."""
        with self._places:
            lent = None
            with suppress(IndexError):  # to look and then take would be two steps
                lent = self._idle.pop()
            if lent is None:
                lent = self._open()
            try:
                yield lent
            finally:
                self._idle.append(lent)

    def clear(self) -> None:
        """Lets go of those that are not lent."""
        self._idle.clear()
