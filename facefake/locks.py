"""Files that belong to one process at a time. The lock is the system's, released when the process ends in any way."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facefake.errors import OutputError


def locked(path: Path, flags: int = 0) -> int:
    """Open a file for appending, create it if it is missing, and lock it if it is a regular file.

    Args:
        path: the file.
        flags: additional flags for `os.open`.

    Returns:
        The file's descriptor; closing it releases the lock.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file cannot be opened.
    """
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | flags, 0o666)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return fd
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have put a new file in its place between the two calls.
            if os.path.samestat(status, os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def alone_in(folder: Path, work: str) -> Iterator[None]:
    """While this lasts, no other process can do the same work in a folder.

    Args:
        folder: an existing folder; it gets a lock file, which is removed at the end if it can be.
        work: what is done, in a word.

    Raises:
        OutputError: another process is doing it, or the lock cannot be taken.
    """
    path = folder / f".facefake-{work}.lock"
    try:
        fd = locked(path)
    except BlockingIOError as error:
        raise OutputError(
            f"{folder}: expected to be the only process {work} there, got another one: wait for it, or use another folder"
        ) from error
    except OSError as error:
        raise OutputError(f"{path}: expected a file that can be locked, got: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays is in nobody's way: the lock goes with the descriptor
            path.unlink()
        os.close(fd)
