"""A folder of Parquet files with one row a record, in any store: it grows by whole files and is gone on with."""

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

_ROWS = 10_000  # of one file
_SECONDS = 60.0  # after which what has come is written, so that little is lost with this process
_STATE = ("size", "modified_ns", "sha256")  # of a record's file; folders of before have no sha256
_CONDITION = "facefake."  # before its name, in the metadata of a file
_PART = re.compile(r"part-\d{20}-[0-9a-f]{8}-\d{6,}\.parquet")  # other programs, too, write part-*.parquet
# There a file is seen when it is whole; elsewhere it is put in its place then.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class RecordFolder:
    """A folder of ``part-*.parquet`` with the columns path, verdict, error, size, modified_ns, sha256 and record.

    `error` is the kind of a failure, `sha256` that of what came as bytes, and `record` the JSON that a line of
    `JsonLines` holds. Every file is written whole or not at all. With `resume`, records that have a later one of the
    same path are dropped, at the beginning and at the end. Files of other names stay as they are. Of a million records
    it keeps 32 MB in memory. Only one process may write to a folder at a time.

    Args:
        folder: a path or a URI; is made if it does not exist.
        settings: of all the records.
        sampling: of those of videos; None for the usual one.
        force: remove the files of an earlier scan, in `begin`.
        resume: go on with them, if they have these settings, and if videos among them have this sampling.
        retry_failures: when resuming, let `known` not know the files of which there are failures; a new record replaces
            theirs.

    Attributes:
        known: the files that there were records of when this was opened, but for failures to try again.

    Raises:
        OutputError: the folder holds records, or records with other settings, or it cannot be read or written.
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
        # Names in the order of time, so that the later of two records of a path is known.
        self._run = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._written = 0
        self._waiting: list[dict[str, Any]] = []
        self._named: set[str] = set()  # the conditions that those tell
        self._since = time.monotonic()
        self._replaced: list[str] = []
        self.known = KnownFiles()
        with self._faults():
            self._system, root, _ = resolved(folder)
            self._root = root.rstrip("/") or root  # object stores take no empty name between two slashes
            self._system.create_dir(self._root, recursive=True)
            names = self._parts()
            if force:
                self._replaced = names
            elif names and not resume:
                raise OutputError(
                    f"{folder}: expected a folder without records, found {len(names)} files of them"
                )
            elif names:
                self.known = self._tidy(retry_failures)

    def begin(self) -> None:
        """Remove what is written over, once there are records to be had; a ``with`` does so.

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
        """Write what has come, and drop the records that were replaced by it.

        Raises:
            OutputError: it cannot be written.
        """
        self._flush()
        if not self._replaced:  # of which there are some, under whatever settings, where it was never begun
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
        """Rewrite the files that hold records which were replaced by later ones; what is not to be done again."""
        import pyarrow.parquet as pq

        names = self._parts()
        index, ends = RecordIndex(), []
        for name in names:
            with (
                self._faults(name, "a file of records"),  # of thousands one may be torn
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
                # Or the name may outlast a loss of power, and the content not.
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
        except (OSError, ValueError) as error:  # those of Arrow among them
            got = (isinstance(error, OSError) and error.strerror) or str(error)
            raise OutputError(f"{place or self._folder}: expected {expected}, got: {got}") from error


def _conditions_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The conditions of its records that a file tells."""
    found = {name.decode("utf-8", "replace"): value for name, value in metadata.items()}
    return {
        name.removeprefix(_CONDITION): json.loads(value)
        for name, value in found.items()
        if name.startswith(_CONDITION)
    }
