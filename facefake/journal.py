"""Files that grow record by record, survive however their process ends, and can be resumed."""

from __future__ import annotations

import os
import secrets
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from facefake.errors import OutputError, RecordError
from facefake.known_files import KnownFiles, RecordIndex, path_digest
from facefake.locks import locked
from facefake.records import line_of, read_lines, read_records
from facefake.saving import TAKEN_RECORDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facefake.frames import Sampling
    from facefake.settings import Settings


class Recorded(Protocol):
    """A result of any kind."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""


class RecordFile:
    """A file that grows at its end, by whole pieces, and belongs to one process at a time.

    The lock is the system's, on the file itself, and is released when the process ends, however that happens. A piece
    that cannot be written completely, as on a full disk, leaves nothing behind; nor does a ``with`` that ends in an
    error before anything was written to a new file.

    Args:
        path: the file, which must not exist yet.
        force: overwrite an existing file, from `begin` on.
        resume: continue at the end of an existing file.

    Raises:
        OutputError: the file exists, cannot be created or continued, or another process writes to it.
    """

    def __init__(self, path: str | os.PathLike[str], force: bool = False, resume: bool = False) -> None:
        self.path = path = Path(path)
        self._force = force
        self._is_new = not os.path.exists(path)
        if resume and not (self._is_new or os.path.isfile(path)):  # a pipe may block for ever
            raise OutputError(f"{path}: expected a regular file to resume, got a folder, a pipe or a device")
        try:
            self._fd = locked(path, 0 if force or resume else os.O_EXCL)
        except FileExistsError as error:
            raise OutputError(f"{path}: {TAKEN_RECORDS}") from error
        except BlockingIOError as error:
            raise OutputError(
                f"{path}: expected to be the only process that writes to it, got another process that does"
            ) from error
        except (OSError, ValueError) as error:
            got = error.strerror if isinstance(error, OSError) else error
            raise OutputError(f"{path}: expected a file that can be created, got: {got}") from error

    def begin(self) -> None:
        """Empty a file that is to be overwritten, once everything else is ready; entering a ``with`` does so."""
        if self._force:
            self._cut(0)

    def _append(self, piece: bytes) -> None:
        size = os.fstat(self._fd).st_size
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BaseException as error:  # Ctrl-C among them
            self._cut(size)
            if not isinstance(error, OSError):
                raise
            raise OutputError(f"{self.path}: expected to go on writing, got: {error.strerror}") from error

    def _cut(self, size: int) -> None:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):  # but a pipe or a terminal
            return
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise OutputError(
                f"{self.path}: expected to cut it to its first {size:,} bytes, got: {error.strerror}"
            ) from error

    def close(self) -> None:
        """Release the file to others."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind and self._is_new:
            self._remove_empty()
        self.close()

    def _remove_empty(self) -> None:
        """Remove the file if there is nothing in it: it would be in the way of the next scan."""
        with suppress(OSError):
            status = os.fstat(self._fd)
            # Another process may have put a file of its own in its place.
            if not status.st_size and os.path.samestat(status, os.stat(self.path)):
                os.unlink(os.path.realpath(self.path))


class JsonLines(RecordFile):
    """A file with one record per line, each the JSON of its ``to_dict()``, in ASCII.

    With `resume` an existing file is repaired first: a half-written last line goes, and so do records that a later one
    of the same path has superseded, which an interrupted scan of changed pictures may leave behind. For a million
    records it keeps 32 MB in memory.

    Args:
        path: the file, which must not exist yet.
        force: overwrite an existing file.
        resume: continue an existing file, if its records have these settings; None for a new file.
        sampling: what videos' records must have for that; None for the default.
        retry_failures: when resuming, treat files that failed as unknown; a new record replaces the failure.

    Attributes:
        known: the files that had records when this was opened, except failures to retry.

    Raises:
        OutputError: the file exists, cannot be created or continued, or another process writes to it; or it holds
            records with other settings, or of videos with another sampling. `write` raises it when the disk is full.
        RecordError: the file to be resumed holds something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        force: bool = False,
        *,
        resume: Settings | None = None,
        sampling: Sampling | None = None,
        retry_failures: bool = False,
    ) -> None:
        super().__init__(path, force, resume is not None)
        self._outdated = False
        self.known = KnownFiles()
        if resume is None:
            return
        try:
            self._tidy(conditions(resume, sampling), retry_failures)
        except BaseException:
            self.close()
            raise

    def write(self, record: Recorded) -> None:
        """Add a record."""
        values = record.to_dict()
        self._append(line_of(values))
        key = path_digest(values["path"], values["file"])
        self._outdated = self._outdated or self.known.has_record(key)

    def close(self) -> None:
        """Drop the records that later ones have superseded or that are resolved, and release the file to others."""
        try:
            if self._outdated or self.known.resolved:
                self._tidy({}, False)
        finally:
            super().close()

    def _tidy(self, expected: Mapping[str, Any], retry_failures: bool) -> None:
        """Repair the file's end, index it, and rewrite it if it holds superseded or resolved records."""
        index, size, line = RecordIndex(), 0, b"\n"
        for number, (line, record) in enumerate(read_lines(self.path), 1):
            if record is None:
                self._cut(size)
                break
            size += len(line)
            check_conditions(f"{self.path}, line {number}", expected, record)
            failed, empty = record["verdict"] == "error", record.get("persons") == []
            index.add(record["path"], record.get("file"), failed=failed, empty=empty)
        else:
            if not line.endswith(b"\n"):
                self._append(b"\n")
        keep = index.current(self.known.resolved)
        if not keep.all():
            self._rewrite(keep)
        self.known = index.known(keep, retry_failures)

    def _rewrite(self, keep: NDArray[np.bool_]) -> None:
        target = Path(os.path.realpath(self.path))
        partial = target.with_name(f".facefake-{secrets.token_hex(8)}.partial")
        try:
            fd = locked(partial, os.O_EXCL)
            try:
                os.fchmod(fd, stat.S_IMODE(os.fstat(self._fd).st_mode))
                with open(fd, "wb", closefd=False) as file:
                    lines = zip(read_lines(self.path), keep, strict=True)
                    file.writelines(line for (line, _), kept in lines if kept)
                os.fsync(fd)
                partial.replace(target)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise OutputError(f"{self.path}: expected to rewrite it, got: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = fd


def read_latest(
    path: str | os.PathLike[str], warn: Callable[[str], object] = warnings.warn
) -> Callable[[], Iterator[dict[str, Any]]]:
    """Like `read_records`, without the records that a later one of the same path has superseded.

    A resumed scan leaves such records behind until it ends. For a million records this takes 34 MB of memory.

    Args:
        path: the file, to which a scan may still be writing. It is read several times, so it cannot be a pipe.
        warn: called with a message if the last line is half-written; it is not yielded.

    Returns:
        A function that gives the records, each time those that the file held at first.

    Raises:
        RecordError: as `read_records` raises it, or the file cannot be read again, or is shorter then.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise RecordError(f"{path}: expected a file that can be read again, got a pipe or a device")
    index = RecordIndex()
    for record in read_records(path, warn):
        index.add(record["path"], record.get("file"))
    keep = index.current()

    def read() -> Iterator[dict[str, Any]]:
        records = read_records(path, lambda message: None)
        for kept in keep:
            record = next(records, None)
            if record is None:
                raise RecordError(
                    f"{path}: expected all records once more, got fewer: it was rewritten meanwhile"
                )
            if kept:
                yield record

    return read


def conditions(settings: Settings, sampling: Sampling | None) -> dict[str, Any]:
    """What old records must have in common with new ones in the same place, by field; None is the default sampling."""
    from facefake.frames import Sampling

    return {"settings": asdict(settings), "sampling": asdict(sampling or Sampling())}


def check_conditions(where: str, expected: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Refuse a record made under other conditions; only a video's has a sampling.

    Raises:
        OutputError: it was made with other settings, or with another sampling.
    """
    for field, value in expected.items():
        if (field in record or field != "sampling") and record.get(field) != value:
            raise OutputError(
                f"{where}: expected a record made with {_told(value)}, got one made with {_told(record.get(field))}: "
                "write the new records somewhere else"
            )


def _told(settings: object) -> str:
    if not isinstance(settings, Mapping):
        return "unknown settings"
    return ", ".join(f"{name} {value}" for name, value in settings.items())
