"""A folder of Parquet files, one row per record, in any store: it grows by whole files, and a scan can resume with it."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from facefake.errors import OutputError
from facefake.journal import Recorded, check_conditions, conditions
from facefake.known_files import KnownFiles, RecordIndex
from facefake.stores import resolved

if TYPE_CHECKING:
    import pyarrow as pa

    from facefake.frames import Sampling
    from facefake.settings import Settings

_ROWS = 10_000  # in one file
_SECONDS = 60.0  # after which the records so far are written, so that little is lost if this process ends
_STATE = ("size", "modified_ns", "sha256")  # of a record's file; folders from earlier versions have no sha256
_CONDITION = "facefake."  # the prefix of a condition's name in a file's metadata
_PART = re.compile(r"part-\d{20}-[0-9a-f]{8}-\d{6,}\.parquet")  # other programs write part-*.parquet, too
# In these a file becomes visible only when it is whole; elsewhere it is moved into place then.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class RecordFolder:
    """A folder of ``part-*.parquet`` with the columns path, verdict, error, size, modified_ns, sha256 and record.

    `error` is the kind of a failure, `sha256` the digest of a picture that came as bytes, and `record` the same JSON as a
    line of `JsonLines`. Every file is written whole or not at all. With `resume`, records that are superseded by a later
    one for the same path are dropped, at the beginning and at the end. Files with other names are left alone. A million
    records take 32 MB of memory. Only one process may write to a folder at a time.

    Args:
        folder: a path or a URI; created if it does not exist.
        settings: of all the records.
        sampling: of the records of videos; None for the default.
        force: remove the files of an earlier scan, in `begin`.
        resume: continue them, provided that they have these settings, and any videos among them this sampling.
        retry_failures: when resuming, leave files with a failure out of `known`; new records replace the failures.

    Attributes:
        known: the files that had records when this was opened, except for failures to be retried.

    Raises:
        OutputError: the folder holds records (with other settings, when resuming), or cannot be read or written.
    """

    def __init__(
        self,
        folder: str,
        settings: Settings,
        *,
        sampling: Sampling | None = None,
        force: bool = False,
        resume: bool = False,
        retry_failures: bool = False,
    ) -> None:
        self._folder = folder
        self._conditions = conditions(settings, sampling)
        # File names sort by time, so that it is known which of a path's records is the latest.
        self._run = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._written = 0
        self._waiting: list[dict[str, Any]] = []
        self._named: set[str] = set()  # the conditions that the waiting records state
        self._since = time.monotonic()
        self._replaced: list[str] = []
        self.known = KnownFiles()
        with self._faults():
            self._system, root, _ = resolved(folder)
            self._root = root.rstrip("/") or root  # object stores accept no empty name between two slashes
            self._system.create_dir(self._root, recursive=True)
            names = self._parts()
            if force:
                self._replaced = names
            elif names and not resume:
                raise OutputError(
                    f"{folder}: expected a folder without records, found {len(names)} files of records"
                )
            elif names:
                self.known = self._tidy(retry_failures)

    def begin(self) -> None:
        """Remove the files to be replaced, once there are new records; entering a ``with`` block does this.

        Raises:
            OutputError: it cannot be removed.
        """
        with self._faults():
            for name in self._replaced:
                self._system.delete_file(name)
        self._replaced = []

    def write(self, record: Recorded) -> None:
        """Add a record.

        Raises:
            OutputError: it cannot be written.
        """
        values = record.to_dict()
        file = values["file"] or {}
        self._named |= self._conditions.keys() & values.keys()
        self._waiting.append(
            {
                "path": values["path"],
                "verdict": values["verdict"],
                "error": values.get("error", {}).get("kind"),
                "size": file.get("size"),
                "modified_ns": file.get("modified_ns"),
                "sha256": file.get("sha256"),
                "record": json.dumps(values, allow_nan=False),
            }
        )
        if len(self._waiting) >= _ROWS or time.monotonic() > self._since + _SECONDS:
            self._flush()

    def close(self) -> None:
        """Write the records that are still waiting, and drop those that were superseded.

        Raises:
            OutputError: it cannot be written.
        """
        self._flush()
        if (
            not self._replaced
        ):  # else `begin` was never called, and old files with any settings are still there
            with self._faults():
                self._tidy(False)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            schema = pa.schema(
                [(name, pa.string()) for name in ("path", "verdict", "error")]
                + [(name, pa.int64()) for name in ("size", "modified_ns")]
                + [(name, pa.string()) for name in ("sha256", "record")],
                {_CONDITION + name: json.dumps(self._conditions[name]) for name in sorted(self._named)},
            )
            with self._faults():
                self._put(
                    pa.Table.from_pylist(self._waiting, schema),
                    f"{self._root}/part-{self._run}-{self._written:06d}.parquet",
                )
            self._written += 1
            self._waiting, self._named = [], set()
        self._since = time.monotonic()

    def _parts(self) -> list[str]:
        from pyarrow.fs import FileSelector

        found = self._system.get_file_info(FileSelector(self._root, allow_not_found=True))
        return sorted(info.path for info in found if _PART.fullmatch(info.base_name))

    def _tidy(self, retry_failures: bool) -> KnownFiles:
        """Rewrite the files that hold superseded records; returns the files that need not be scanned again."""
        import pyarrow.parquet as pq

        names = self._parts()
        index, ends = RecordIndex(), []
        for name in names:
            with (
                self._faults(name, "a file of records"),  # naming it: one of thousands may be damaged
                self._system.open_input_file(name) as stream,
                pq.ParquetFile(stream) as file,
            ):
                check_conditions(name, self._conditions, _conditions_in(file.schema_arrow.metadata or {}))
                for row in file.read(["path", "verdict", *_STATE]).to_pylist():
                    state = {name: row[name] for name in _STATE if row.get(name) is not None}
                    index.add(row["path"], state, failed=row["verdict"] == "error")
            ends.append(len(index))
        keep = index.current(self.known.resolved)
        for name, kept in zip(names, np.split(keep, ends)[:-1], strict=True):
            if not kept.any():
                self._system.delete_file(name)
            elif not kept.all():
                with self._system.open_input_file(name) as stream:
                    table = pq.read_table(stream)
                self._put(table.filter(kept), name)
        return index.known(keep, retry_failures)

    def _put(self, table: pa.Table, path: str) -> None:
        import pyarrow.parquet as pq

        whole = self._system.type_name in _OBJECT_STORES
        target = path if whole else f"{self._root}/.facefake-{secrets.token_hex(8)}.partial"
        try:
            with self._system.open_output_stream(target) as stream:
                pq.write_table(table, stream, compression="zstd")
            if self._system.type_name == "local":
                # Or after a power failure the name may be there, and the content not.
                with open(target, "rb") as file:
                    os.fsync(file.fileno())
            if not whole:
                self._system.move(target, path)
        except BaseException:
            if not whole and self._system.get_file_info(target).type.name == "File":
                self._system.delete_file(target)
            raise

    @contextmanager
    def _faults(self, place: str | None = None, expected: str = "a folder for records") -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # Arrow's are among these
            got = (isinstance(error, OSError) and error.strerror) or str(error)
            raise OutputError(f"{place or self._folder}: expected {expected}, got: {got}") from error


def _conditions_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The conditions that a file states for its records."""
    found = {name.decode("utf-8", "replace"): value for name, value in metadata.items()}
    return {
        name.removeprefix(_CONDITION): json.loads(value)
        for name, value in found.items()
        if name.startswith(_CONDITION)
    }
