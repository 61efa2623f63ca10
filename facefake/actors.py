"""What runs on the machines of a Ray cluster: actors that analyse blocks of pictures, and one that counts attempts."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from io import BytesIO
from types import NoneType
from typing import TYPE_CHECKING, Any

from facefake.analyst import Analyst, Done, Job, failed
from facefake.blocks import ROWS
from facefake.errors import ImageError
from facefake.frames import LARGEST_FILE
from facefake.reading import EncodedFile, image_error, read_source
from facefake.record_values import valid_unicode
from facefake.refusal import Refusal, faults
from facefake.results import ContentState, ErrorResult, FileState
from facefake.scanning import patience
from facefake.sources import file_state
from facefake.stores import is_uri, opened, stored_state
from facefake.video import analyze_video
from facefake.workers import Bounds, Failure, run

if TYPE_CHECKING:
    import pyarrow as pa

    from facefake.known_files import KnownFiles
    from facefake.reading import Source
    from facefake.settings import Settings
    from facefake.video import VideoResult

ATTEMPTS = 3
"""How often a picture is attempted that takes down its actor or machine every time."""

NOT_FOUND = "not found"
"""The verdict in the row, without a record, of a known picture that no longer exists."""

_NAMELESS = "picture"
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class StoredJob(Job):
    """A job whose file may be anywhere.

    Attributes:
        data: the file's bytes where they came with the job; None where `path` is to be opened.
    """

    data: bytes | None = None


class StoredAnalyst(Analyst):
    """An `Analyst` that reads URIs, and bytes that come with the job, as others read paths."""

    def _source(self, job: Job) -> Source:
        stream = _stream(job, self._detector.limits.max_bytes)
        if stream is None:
            return job.path
        with stream as file, _told_of(job.path):
            read = read_source(file, self._detector.limits)
        return replace(read, path=job.path) if isinstance(read, EncodedFile) else read

    def _clip(self, job: Job) -> VideoResult:
        stream = _stream(job, LARGEST_FILE)
        if stream is None:
            return super()._clip(job)
        # Without a name, so that nothing is left behind when this process is killed.
        with tempfile.TemporaryFile() as copy, stream as file, _told_of(job.path):
            while piece := _piece_of(file):
                if copy.tell() + len(piece) > LARGEST_FILE:  # a store's file may be endless
                    raise Refusal("too_large", f"at most {LARGEST_FILE:,} bytes", "more")
                copy.write(piece)
            copy.flush()
            clip = analyze_video(self._detector, f"/proc/self/fd/{copy.fileno()}", self._sampling)
        return replace(clip, path=job.path)


@contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Raises faults of a stream, which has no name of its own, as faults of the path that it came from."""
    try:
        yield
    except Refusal as refusal:
        raise image_error(refusal, path) from refusal.__cause__
    except ImageError as error:
        fault = ImageError(path=path, kind=error.kind, expected=error.expected, got=error.got)
        raise fault from error.__cause__


def _piece_of(file: Any) -> bytes:
    with faults("unreadable", "a readable file"):
        piece: bytes = file.read(_PIECE)
        return piece


def in_worker(folder: str, *arguments: Any) -> StoredAnalyst:
    """An analyst as `Analyst.in_worker` makes it, which resolves relative paths as the scan's caller does."""
    with suppress(OSError):  # a machine without that folder has none of these files either
        os.chdir(folder)
    return StoredAnalyst.in_worker(*arguments)


class Attempts:
    """Counts how often each picture was begun but not finished, on any machine; one actor serves them all.

    An actor works on one picture at a time, and after its machine is lost it restarts under its old name. So what it
    had begun before is lost, while what others have begun may still be running: equal pictures are no sign of a crash.
    """

    def __init__(self) -> None:
        self._begun: dict[bytes, Counter[str]] = {}
        self._at: dict[str, bytes] = {}

    def begin(self, key: bytes, actor: str) -> int:
        """Count a new attempt at a picture, and return how many earlier ones will never finish."""
        begun = self._begun.setdefault(key, Counter())
        running = sum(self._at.get(other) == key for other in begun if other != actor)
        lost = begun.total() - running
        begun[actor] += 1
        self._at[actor] = key
        return lost

    def end(self, key: bytes, actor: str) -> None:
        """Note that the actor's attempt has finished."""
        del self._at[actor]
        del self._begun[key][actor]
        if not self._begun[key]:
            del self._begun[key]


class Analysts:
    """A Ray actor with a worker process of its own, of the kind that a scan on one machine uses.

    Args:
        start: makes the analyst in the worker process.
        bounds: for one picture.
        settings: for the records of failures.
        attempts: the handle of the `Attempts` actor.
        known: a reference to the `KnownFiles` to leave out; None for none.
        folder: the folder that relative paths are relative to.
        columns: which columns of the blocks to read, of those that `__call__` knows; all others are the caller's own.
    """

    def __init__(
        self,
        start: Callable[[], Callable[[Job], Done]],
        bounds: Bounds,
        settings: Settings,
        attempts: Any,
        known: Any,
        folder: str,
        columns: Sequence[str],
    ) -> None:
        import ray

        self._folder = folder
        self._columns = columns
        self._name = str(ray.get_runtime_context().get_actor_id())
        self._settings = settings
        self._attempts = attempts
        self._known: KnownFiles | None = known and ray.get(known)
        self._waiting: deque[Job] = deque()
        # Takes a job only when it is asked for an answer.
        self._answers = run(iter(self._waiting.popleft, None), start, 1, bounds, patience)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Rows of path, verdict and record, in the block's order.

        Args:
            block: with the columns `path` (as text, or bytes of a file's name), `bytes`, `size` and `modified_ns`
                (a file's state), and `record` (the JSON of what is not a picture, passed through), each of which may
                be missing or null.

        Raises:
            FaceFakeError: the installation is at fault.
        """
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in ("path", "verdict", "record")])
        wanted = [name for name in self._columns if name in block.column_names]
        for batch in block.select(wanted).to_batches(max_chunksize=ROWS):
            yield pa.Table.from_pylist([self._row(row) for row in batch.to_pylist()], schema)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A picture's row; that of a known one has no record."""
        if row.get("record"):
            values = json.loads(row["record"])
        else:
            name, data = row.get("path"), row.get("bytes")
            path = os.fsdecode(name) if isinstance(name, (str, bytes)) else _NAMELESS
            if (fault := _fault(name, data)) is not None:
                record = failed(Job(0, path), "unreadable", "a path or the bytes of a file", fault)
                values = replace(record, settings=self._settings).to_dict()
            else:
                file = _state(path, data, row, self._folder)
                if (
                    name
                    and self._known
                    and (self._known.holds(path, file) if file else self._known.knows(path))
                ):
                    verdict = None if file else NOT_FOUND
                    return {"path": valid_unicode(path), "verdict": verdict, "record": None}
                values = self._values(StoredJob(0, path, file, data=data))
            if not isinstance(name, (str, bytes)):
                values["path"] = None
        return {
            "path": values["path"],
            "verdict": values["verdict"],
            "record": json.dumps(values, allow_nan=False),
        }

    def _values(self, job: StoredJob) -> dict[str, Any]:
        import ray

        key = blake2b(job.data or job.path.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        before = ray.get(self._attempts.begin.remote(key, self._name))
        if before >= ATTEMPTS:
            answer: Done | Failure = Failure(
                "crashed", "an analysis", f"{before} attempts that took down their actor or machine"
            )
        else:
            self._waiting.append(job)
            _, answer = next(self._answers)
        self._attempts.end.remote(key, self._name)
        record = (
            failed(job, answer.kind, answer.expected, answer.got)
            if isinstance(answer, Failure)
            else answer.record
        )
        if isinstance(record, ErrorResult):
            record = replace(record, settings=self._settings)
        return record.to_dict()


def _fault(name: object, data: object) -> str | None:
    """What a row has instead of a path or bytes; None if it has either."""
    if name is None and data is None:
        return "neither"
    if not isinstance(name, (str, bytes, NoneType)):
        return f"{name!r:.80} for a path"
    return None if isinstance(data, (bytes, NoneType)) else f"{data!r:.80} for bytes"


def _state(path: str, data: bytes | None, row: dict[str, Any], folder: str) -> FileState | None:
    if data is not None:
        return ContentState(len(data), 0, sha256(data).hexdigest())
    if row.get("size") is not None:
        return FileState(row["size"], row.get("modified_ns") or 0)
    return stored_state(path) if is_uri(path) else file_state(os.path.join(folder, path))


def _stream(job: Job, max_bytes: int) -> Any:
    """The job's file as a context manager; None where it is an ordinary path."""
    if isinstance(job, StoredJob) and job.data is not None:
        return BytesIO(job.data)
    return opened(job.path, max_bytes) if is_uri(job.path) else None
