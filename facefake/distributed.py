"""Many pictures on many machines: a scan as `facefake.scan` does it, on Ray Data (needs ``facefake[ray]``).

The same worker processes do the work, within the same bounds, so a picture's record is the same either way. Ray Data
hands blocks of pictures to actors, repeats what is lost with a machine, and brings the records home.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Union, Unpack

from facefake.actors import NOT_FOUND
from facefake.errors import FaceFakeError, MissingLibraryError, ModelError
from facefake.journal import JsonLines
from facefake.known_files import KnownFiles
from facefake.native import quiet
from facefake.scanning import AnyPath, checked_bounds
from facefake.settings import (
    MAX_FACES,
    TIMEOUT,
    WORKER_MEMORY,
    check_sampling,
    read_settings,
    whole_number,
)

if TYPE_CHECKING:
    import ray.data

    from facefake.classifier import Runtime
    from facefake.frames import Sampling
    from facefake.reading import ImageLimits
    from facefake.settings import Settings

Pictures: TypeAlias = Union[AnyPath, Iterable[AnyPath], "ray.data.Dataset"]

_LONGEST_CONNECT = 10  # seconds
_OWN = (FaceFakeError, ModelError, MissingLibraryError)  # what ends a scan


class Options(TypedDict, total=False):
    """How pictures are analysed.

    Attributes:
        model, min_face, alarm_rate, runtime, limits, max_faces, sampling, timeout, worker_memory: as for
            `facefake.scan`.
        workers: how many actors, with one core each; by default as many as the cluster has room for.
        address: of the cluster, as `ray.init` takes it, if Ray is not connected to one yet. The default is the
            environment variable RAY_ADDRESS or, without it, a new cluster of this machine alone.
    """

    model: AnyPath | None
    min_face: float | None
    alarm_rate: float | None
    runtime: Runtime
    limits: ImageLimits | None
    max_faces: int
    sampling: Sampling | None
    timeout: float
    worker_memory: int
    workers: int | None
    address: str | None


def records(pictures: Pictures, **options: Unpack[Options]) -> ray.data.Dataset:
    """A dataset of the pictures' records, which are made on demand.

    Args:
        pictures: files, folders and patterns as `facefake.scan` takes them, which every machine must reach by the
            same path; or their URIs, in any store that pyarrow or fsspec can open, such as ``s3://bucket/photos/``
            and ``gs://bucket/**/*.jpg``. Or a dataset with a column `path`, of paths or URIs of files, or `bytes`,
            of the contents of files, or both, in which case the path is only a name; other columns are ignored. A
            dataset's blocks should have few rows (`repartition`): each is analysed by one actor, and again if that is
            lost.
        options: see `Options`.

    Returns:
        One row per picture, with its `path` and `verdict` ("error" if it could not be analysed) and, as JSON, its
        `record`.

    Raises:
        FaceFakeError: `MissingLibraryError` if Ray is not installed, `ModelError`, or there is no such cluster.
        TypeError: an option is unknown or of the wrong type.
        ValueError: an argument is out of range.
    """
    return _Job(options).start(pictures).dataset


def scan(
    pictures: Pictures,
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    resume: bool = False,
    retry_failures: bool = False,
    recorded: Callable[[dict[str, Any]], None] = lambda record: None,
    left_out: Callable[[str, bool], None] = lambda path, found: None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    **options: Unpack[Options],
) -> Counter[str]:
    """Write the records of pictures, one for each, even if machines are lost meanwhile.

    A picture whose machine is lost is analysed again on another. One that takes down its actor or machine three
    times is recorded as "crashed".

    Args:
        pictures: as for `records`. Rows with bytes are the same picture if they have the same name and content.
        output: a file that ends with .jsonl, as ``facefake scan --jsonl`` writes it; or a folder or its URI for
            Parquet files, see `RecordFolder`.
        force: overwrite what is there already.
        resume: continue what is there already: leave out the pictures that it has a record of, failures included,
            unless their size or modification time has changed, and those that it has judged and that no longer exist.
        retry_failures: with `resume`, try pictures that failed again.
        recorded: called with each new record, as JSON values.
        left_out: called with the path of each picture that is left out, and whether the file exists.
        progress: called with how many pictures are done, including those left out, and how many there are, or None
            if that is not known.
        options: see `Options`.

    Returns:
        How many new records have each verdict.

    Raises:
        FaceFakeError: as `records` and `facefake.scan` do; `OutputError` where the records cannot be written.
        TypeError: an option is unknown or of the wrong type.
        ValueError: an argument is out of range, `force` and `resume` are both given, or a dataset without paths is to be
            resumed.
    """
    if force and resume:
        raise ValueError("expected force or resume, got both: what is to be resumed would be overwritten")
    job = _Job(options)
    verdicts: Counter[str] = Counter()
    with ExitStack() as stack:
        place = os.fspath(output)
        into: Any
        if place.endswith(".jsonl"):
            into = JsonLines(
                Path(place),
                force,
                resume=job.settings if resume else None,
                sampling=options.get("sampling"),
                retry_failures=retry_failures,
            )
        else:
            from facefake.record_folder import RecordFolder

            into = RecordFolder(
                place,
                job.settings,
                sampling=options.get("sampling"),
                force=force,
                resume=resume,
                retry_failures=retry_failures,
            )
        stack.push(into)
        run = job.start(pictures, into.known if resume else None)
        rows = run.rows()
        first = list(islice(rows, 1))  # if the scan cannot begin, this raises, and old records stay
        into.begin()
        for done, (path, verdict, text) in enumerate(chain(first, rows), 1):
            if text is None:
                left_out(path, verdict != NOT_FOUND)
            else:
                record = json.loads(text)
                into.write(_Read(record))
                verdicts[verdict] += 1
                recorded(record)
            progress(done, run.count)
    return verdicts


@dataclass(frozen=True, slots=True)
class _Read:
    """A record that has come as JSON."""

    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.values


@dataclass(frozen=True, slots=True)
class _Run:
    """Records that are made on demand, and the number of pictures, if that is known."""

    dataset: ray.data.Dataset
    count: int | None

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Path, verdict and record as they are done; the record is None for each picture that was left out."""
        with _own_errors():
            for table in self.dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from zip(
                    *(table[name].to_pylist() for name in ("path", "verdict", "record")), strict=True
                )


class _Job:
    """The analysis that the options ask for, on the cluster that they name."""

    def __init__(self, options: Options) -> None:
        if unknown := options.keys() - Options.__annotations__.keys():
            raise TypeError(
                f"expected the options {', '.join(Options.__annotations__)}, got {', '.join(sorted(unknown))}"
            )
        workers = options.get("workers")
        self._workers = None if workers is None else whole_number("workers", workers)
        self._bounds = checked_bounds(
            options.get("timeout", TIMEOUT),
            options.get("worker_memory", WORKER_MEMORY),
            options.get("limits"),
        )
        check_sampling(options.get("sampling"))
        model = options.get("model")
        judging: dict[str, Any] = {
            "min_face": options.get("min_face"),
            "alarm_rate": options.get("alarm_rate"),
            "runtime": options.get("runtime", "litert"),
            "max_faces": options.get("max_faces", MAX_FACES),
        }
        self.settings: Settings = read_settings(model, **judging)
        _connect(options.get("address"))
        from facefake.actors import in_worker

        if model is not None:
            model = os.path.abspath(os.fsdecode(model))
        detector = {"model": model, "limits": options.get("limits"), "threads": 1, **judging}
        self._start = partial(in_worker, os.getcwd(), detector, None, options.get("sampling"), self.settings)

    def start(self, pictures: Pictures, known: KnownFiles | None = None) -> _Run:
        """Set up the work; known files, if there are any to leave out, become rows without a record."""
        import ray
        import ray.data
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from facefake.actors import Analysts, Attempts
        from facefake.blocks import COLUMNS, blocks_of

        cores = int(ray.cluster_resources().get("CPU", 1)) or 1
        if isinstance(pictures, ray.data.Dataset):
            columns = set(pictures.columns() or ())
            if not columns & ({"path"} if known else {"path", "bytes"}):
                raise ValueError(
                    f"expected a dataset with the column path{'' if known else ' or bytes'}, got "
                    f"{', '.join(sorted(columns)) or 'none'}"
                )
            given, count, useful = pictures, None, cores
            looked_at: tuple[str, ...] = ("path", "bytes")
        else:
            if isinstance(pictures, (str, bytes, os.PathLike)):
                pictures = [pictures]
            looked_into = known.looked_into if known else lambda path: None
            blocks = list(blocks_of(pictures, self.settings, cores, looked_into))
            count = sum(block.num_rows for block in blocks)
            given, useful, looked_at = ray.data.from_arrow(blocks), min(cores, len(blocks)), COLUMNS
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        attempts = ray.remote(num_cpus=0, scheduling_strategy=here)(Attempts).remote()
        # Ray Data restarts a lost actor, and what it was working on, without limit; Attempts sets one.
        dataset = given.map_batches(
            Analysts,
            fn_constructor_args=(
                self._start,
                self._bounds,
                self.settings,
                attempts,
                known and ray.put(known),
                os.getcwd(),
                looked_at,
            ),
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=self._workers,
                initial_size=useful if self._workers is None else min(useful, self._workers),
            ),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
        )
        dataset.context.enable_progress_bars = False
        dataset.context.print_on_execution_start = False
        return _Run(dataset, count)


def _connect(address: str | None) -> None:
    # Before the import, which reads them: no usage statistics, and no chatter of native code on standard error.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingLibraryError(
            f"expected Ray Data, got: {error}: install it with pip install 'facefake[ray]'"
        ) from error
    if ray.is_initialized():
        return
    try:
        if address and (found := re.fullmatch(r"([^/]+):(\d+)", address)):
            # Ray itself would try for minutes.
            host = found[1].strip("[]")  # around an IPv6 address before a port
            socket.create_connection((host, int(found[2])), _LONGEST_CONNECT).close()
        with quiet():  # it prints a notice about the variable above
            # With no address at all Ray would join any cluster that somebody has started on this machine.
            ray.init(
                address or os.environ.get("RAY_ADDRESS") or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        at = f" at {address}" if address else ""
        raise FaceFakeError(f"expected a Ray cluster{at}, got: {error}") from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raises what facefake raised on any machine as if it were raised here, without Ray's wrapping."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayError as error:
        inner: BaseException | None = error
        while inner is not None and type(inner) not in _OWN:
            inner = getattr(inner, "cause", None) or inner.__cause__
        if inner is None:
            if isinstance(error, RayTaskError):  # from an earlier step of the caller's dataset
                raise
            told = str(error).strip().splitlines()
            raise FaceFakeError(
                f"expected the Ray cluster to keep running, got: {told[0] if told else type(error).__name__}"
            ) from error
        # Without the advice that Ray has added.
        raise type(inner)(str(inner).partition("Failed to apply UDF")[0].rstrip()) from error
