"""Sharing objects between threads where each object can serve only one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


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
