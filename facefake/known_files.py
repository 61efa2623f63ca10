"""What records say about files, small enough for millions of them, so that a resumed scan knows which are done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from facefake.record_values import valid_unicode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.results import FileState

_DIGEST = 16  # bytes
_NO_DIGESTS = np.empty(0, f"S{_DIGEST}")


class KnownFiles:
    """The files that have records, each in its state.

    Args:
        states: the `_state_digest` of each, sorted; 16 bytes per file.
        judged: the `path_digest` of those whose records are not failures, sorted.
        failed: the `path_digest` of those whose records are failures, to be tried again or not, sorted.
        empty: the `path_digest` of videos that show nobody, sorted.

    Attributes:
        resolved: the `path_digest` of folders and patterns whose failures are out of date.
    """

    def __init__(
        self,
        states: NDArray[np.bytes_] = _NO_DIGESTS,
        judged: NDArray[np.bytes_] = _NO_DIGESTS,
        failed: NDArray[np.bytes_] = _NO_DIGESTS,
        empty: NDArray[np.bytes_] = _NO_DIGESTS,
    ) -> None:
        self._states = states
        self._judged = judged
        self._failed = failed
        self._empty = empty
        self.resolved: list[bytes] = []

    def holds(self, path: str, file: FileState) -> bool:
        """Whether there is a record of that file in that state."""
        return _among(self._states, _state_digest(valid_unicode(path), asdict(file)))

    def knows(self, path: str) -> bool:
        """Whether the file at that path, in whatever state, has been judged."""
        return _among(self._judged, path_digest(valid_unicode(path)))

    def shows_nobody(self, path: str) -> bool:
        """Whether the file at that path is a video that shows nobody, so that there are no sheets of it."""
        return _among(self._empty, path_digest(valid_unicode(path)))

    def has_record(self, key: bytes) -> bool:
        """Whether there is a record, a failure or not, with that `path_digest`."""
        return _among(self._judged, key) or _among(self._failed, key)

    def looked_into(self, path: str) -> None:
        """Note that a folder or pattern, which may have a failure for holding no picture, now holds one."""
        key = path_digest(valid_unicode(path))
        if _among(self._failed, key):
            self.resolved.append(key)


class RecordIndex:
    """What the files of records are recognised by, in the order in which the records are added: 34 bytes per record."""

    def __init__(self) -> None:
        self._paths, self._states = bytearray(), bytearray()
        self._failures, self._empty = bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self._failures)

    def add(
        self, path: str | None, file: Mapping[str, Any] | None, *, failed: bool = False, empty: bool = False
    ) -> None:
        """Add a record.

        Args:
            path, file: as in the record.
            failed: whether it is a failure.
            empty: whether it is of a video that shows nobody.
        """
        self._paths += path_digest(path, file)
        self._states += _state_digest(path, file)
        self._failures.append(failed)
        self._empty.append(empty)

    def current(self, resolved: Sequence[bytes] = ()) -> NDArray[np.bool_]:
        """Which records have no later one of the same path and are not failures with one of these `path_digest`s."""
        paths = self._digests(self._paths)
        _, last = np.unique(paths[::-1], return_index=True)
        latest = np.isin(np.arange(len(paths)), len(paths) - 1 - last)
        outdated = np.isin(paths, np.array(resolved, f"S{_DIGEST}"))
        return latest & ~(np.frombuffer(self._failures, bool) & outdated)

    def known(self, keep: NDArray[np.bool_], retry_failures: bool) -> KnownFiles:
        """The files of the records that are kept; with `retry_failures`, those of failures do not count as done."""
        paths, states = self._digests(self._paths), self._digests(self._states)
        failed, empty = np.frombuffer(self._failures, bool), np.frombuffer(self._empty, bool)
        done = keep & ~failed if retry_failures else keep
        kinds = states[done], paths[keep & ~failed], paths[keep & failed], paths[keep & empty]
        return KnownFiles(*map(np.sort, kinds))

    @staticmethod
    def _digests(joined: bytearray) -> NDArray[np.bytes_]:
        return np.frombuffer(bytes(joined), f"S{_DIGEST}")


def path_digest(path: str | None, file: Mapping[str, Any] | None = None) -> bytes:
    """What a picture is recognised by, whatever its state; path and file are as in its record. No path matches None.

    For a picture that came as bytes the path is only a name, which others may share: its content counts, too.
    """
    if path is None:
        return os.urandom(_DIGEST)
    return _digest(path, file["sha256"]) if file and "sha256" in file else _digest(path)


def _state_digest(path: str | None, file: Mapping[str, Any] | None) -> bytes:
    """What a file is recognised by in the state that its record states."""
    return _digest(path, file["size"], file["modified_ns"], file.get("sha256")) if file else bytes(_DIGEST)


def _digest(*key: object) -> bytes:
    return blake2b(repr(key).encode("ascii", "backslashreplace"), digest_size=_DIGEST).digest()


def _among(digests: NDArray[np.bytes_], digest: bytes) -> bool:
    place = int(np.searchsorted(digests, np.array(digest, digests.dtype)))
    return digests[place : place + 1].tobytes() == digest
