"""Standard output and standard error that may be full, broken or closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

from facefake.errors import OutputError


class NoReader(OutputError):
    """The process that read standard output has ended, as ``head`` does when it has enough."""


@contextmanager
def lasting() -> Iterator[None]:
    """Makes standard error fail silently, since nobody could read a message, and standard output with an `OutputError`.

    Left to themselves, click and rich end the process with status 1 when a pipe breaks.

    Raises:
        OutputError: writing to standard output, or flushing it, failed; `NoReader` if it is a pipe that nobody reads any
            more.
    """
    # Closed descriptors are opened, so that no file gets their numbers, to which native code may write. Standard output
    # is opened for reading only: writing to it then fails, so the loss of what is printed is reported.
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # gets the lowest free number
    given = sys.stdout, sys.stderr
    output, errors = _Output(given[0] or _opened(1)), _Stream(given[1] or _opened(2))
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = given
        output.end()


def _opened(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)


class _Stream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._broken(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._broken(error)

    def _broken(self, error: OSError) -> None:
        self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        # What is left in the buffer would raise again, at the latest when the process ends.
        with suppress(OSError):  # a stream without a descriptor
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Stream):
    def _broken(self, error: OSError) -> None:
        kind: type[OutputError] = OutputError
        if isinstance(error, BrokenPipeError):
            kind = NoReader
            self._lead_nowhere()  # nobody reads what is written from now on, and it must not fail a second time
        raise kind(f"expected to write to standard output, got: {error.strerror}") from error

    def end(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._lead_nowhere()
