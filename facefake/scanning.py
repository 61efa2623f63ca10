"""Many pictures: files and folders in, one record per picture out, even if some of them are faulty."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MappingView, Sequence, Set
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from facefake.analyst import Analyst, Done, Job, Record, failed
from facefake.cores import MOST_THREADS, cores_of_workers, usable_cores
from facefake.errors import OutputError
from facefake.results import ErrorResult, FileState
from facefake.saving import AnnotatedFolder, CopyNames
from facefake.settings import (
    LONGEST_TIMEOUT,
    MAX_FACES,
    MOST_WORKER_MEMORY,
    TIMEOUT,
    WORKER_MEMORY,
    Settings,
    check_limits,
    check_sampling,
    read_settings,
    real_number,
    whole_number,
)
from facefake.sources import Pause, file_state, find_pictures, is_video
from facefake.workers import Bounds, Failure, run

if TYPE_CHECKING:
    from facefake.classifier import Runtime
    from facefake.frames import Sampling
    from facefake.reading import ImageLimits

AnyPath: TypeAlias = Union[str, bytes, "os.PathLike[str]"]

_VIDEO_PATIENCE = 10  # how many times as long as a picture a video may take
_COUNTING = 1.0  # seconds to wait for the count before a scan begins; enough for short ones


def scan(
    paths: AnyPath | Iterable[AnyPath | Pause],
    *,
    model: AnyPath | None = None,
    min_face: float | None = None,
    alarm_rate: float | None = None,
    runtime: Runtime = "litert",
    limits: ImageLimits | None = None,
    max_faces: int = MAX_FACES,
    workers: int | None = None,
    timeout: float = TIMEOUT,
    worker_memory: int = WORKER_MEMORY,
    annotate: AnnotatedFolder | AnyPath | None = None,
    sampling: Sampling | None = None,
    ordered: bool = False,
    skip: Callable[[str, FileState], bool] = lambda path, file: False,
    known: Callable[[str], bool] | None = None,
    shows_nobody: Callable[[str], bool] = lambda path: False,
    left_out: Callable[[str, bool], None] = lambda path, found: None,
    looked_into: Callable[[str], object] = lambda path: None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    copied: Callable[[Path | OutputError], None] = lambda copy: None,
) -> Generator[Record]:
    """Analyse pictures in worker processes; one that cannot be analysed becomes an `ErrorResult` and stops nothing.

    A picture's record depends neither on the number of workers nor on the other pictures. Apart from the kinds of an
    `ImageError`, an `ErrorResult` can have these: "timeout", "out_of_memory", "crashed" (the worker process died; it is
    replaced) and "internal" (facefake or a library failed in an unforeseen way). It is also "too_large" if the record
    itself would be, as for a clip with hundreds of thousands of faces.

    Args:
        paths: files, folders and patterns, as `find_pictures` takes them, or a single one. An iterable that is not a
            sequence, set, mapping or view of one, such as a generator, is asked for the next path when a worker is
            free; if it has to wait for that path, it should yield `facefake.sources.Pause()` now and then, since no
            records are yielded meanwhile.
        model, min_face, alarm_rate, runtime, limits, max_faces: as for `FakeImageDetector`.
        workers: the largest number of processes, each of which keeps one core busy; None for all cores, with several
            cores for each picture if there are more cores than pictures. Processes that fill all cores stay on one each.
            With 0 this process does the work alone, one picture after the other, for debuggers and for places where no
            process can be started: `timeout` and `worker_memory` are then not enforced, and a crash ends the scan.
        timeout: seconds that one picture may take; a video may take ten times as long.
        worker_memory: bytes of private memory that a worker may use; its models take half a GiB of it.
        annotate: where annotated copies go, as a folder or, with options, a `facefake.saving.AnnotatedFolder`; None for
            no copies.
        sampling: which frames of videos are looked at, a `facefake.frames.Sampling`; None for two a second, at most
            300 per clip.
        ordered: yield in the order of `find_pictures`; records that overtake others are held back.
        skip: called with the path and state of each file; if it returns True, the picture is left out, unless `known`
            knows it, copies are wanted and it has none.
        known: when resuming an earlier scan, says whether that has judged the picture at a path. Such a picture is left
            out if its file is missing, as when a disk is not mounted; otherwise its annotated copy is replaced, or
            removed if the picture cannot be judged any more. None for a scan that resumes nothing.
        shows_nobody: says whether the video at a path, which `known` knows, has no copies because it shows nobody.
        left_out: called with the path of each picture that is left out, and whether there is a file.
        looked_into: called with each folder and pattern that yields a picture, so that an earlier failure of it is void.
        progress: called before each record and at the end with how many pictures are done, including those left out,
            and how many there are, or None while they are being counted.
        copied: called, before the picture's record, with each annotated copy, or the reason why it could not be written.

    Yields:
        One record per picture or video, without its pixels; in the order of completion, unless `ordered`.

    Raises:
        FaceFakeError: the fault lies not with the picture but with the installation, so that every other picture
            would fail as well: `MissingLibraryError`, `ModelError`, or no worker process can be started.
        TypeError, ValueError: an argument has the wrong type, or is out of range.
    """
    if workers is not None:
        workers = whole_number("workers", workers, least=0)
    bounds = checked_bounds(timeout, worker_memory, limits)
    check_sampling(sampling)
    if isinstance(annotate, (str, bytes, os.PathLike)):
        annotate = AnnotatedFolder(os.fsdecode(annotate))
    elif annotate is not None and not isinstance(annotate, AnnotatedFolder):
        raise TypeError(
            f"expected annotate to be a path, facefake.saving.AnnotatedFolder or None, got {annotate!r}"
        )
    model = None if model is None else os.fsdecode(model)
    judging: dict[str, Any] = {"min_face": min_face, "alarm_rate": alarm_rate, "runtime": runtime}
    judging["max_faces"] = max_faces
    settings = read_settings(model, **judging)
    given: Iterable[AnyPath | Pause] = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else paths
    copies = None if annotate is None else annotate.folder
    detector = {"model": model, "limits": limits, **judging}
    # Made before anything is counted, since it may raise.
    analyst = Analyst(detector, annotate, sampling) if workers == 0 else None
    count = _Count(given, copies)
    names = None if copies is None else CopyNames(copies, resume=known is not None)
    jobs = _Jobs(given, copies, skip, names, known, shows_nobody, left_out, looked_into)
    cores = usable_cores()
    most = cores if workers is None else workers
    if count.total is not None:
        most = min(most, max(1, count.total))
    answers: Generator[tuple[Job, Done | Failure]]
    if analyst is not None:
        answers = _alone(jobs, analyst)
    else:
        spare = workers is None and count.total is not None  # fewer pictures than cores
        detector["threads"] = min(MOST_THREADS, cores // most) if spare else 1
        start = partial(Analyst.in_worker, detector, annotate, sampling, settings)
        own_cores = cores_of_workers(most) if detector["threads"] == 1 else ()
        answers = run(jobs, start, most, bounds, patience, own_cores)
    with closing(count), closing(answers):
        numbered = _records(jobs, answers, settings, annotate, copied)
        records = _in_order(numbered) if ordered else (record for _, record in numbered)
        for done, record in enumerate(records, 1):
            progress(jobs.left_out + done, count.total)
            yield record
        progress(jobs.found, jobs.found)


class _Count(threading.Thread):
    """Counts the pictures among paths while the first of them are analysed; `total` is None until that is done.

    Only a `Sequence`, `Set`, `Mapping` or `MappingView` is counted: iterating over anything else, whatever methods it has,
    may use up what the scan should get.
    """

    total: int | None = None

    def __init__(self, paths: Iterable[AnyPath | Pause], copies: Path | None) -> None:
        super().__init__(name="facefake-count", daemon=True)
        self._paths = paths
        self._copies = copies
        self._closed = False
        if isinstance(paths, (Sequence, Set, Mapping, MappingView)):
            self.start()
            self.join(_COUNTING)

    def run(self) -> None:
        counted = 0
        with suppress(Exception):  # the scan itself will report what is wrong with the paths
            for _ in find_pictures(self._paths, self._copies):
                if self._closed:
                    return
                counted += 1
            self.total = counted

    def close(self) -> None:
        """Stop counting."""
        self._closed = True


class _Jobs:
    """The pictures to be analysed, numbered from 0, and the errors met on the way to them."""

    def __init__(
        self,
        paths: Iterable[AnyPath | Pause],
        copies: Path | None,
        skip: Callable[[str, FileState], bool],
        names: CopyNames | None,
        known: Callable[[str], bool] | None,
        shows_nobody: Callable[[str], bool],
        tell: Callable[[str, bool], None],
        looked_into: Callable[[str], object],
    ) -> None:
        self.found = 0
        self.left_out = 0
        self._paths = paths
        self._copies = copies
        self._skip = skip
        self._names = names
        self._known = known
        self._shows_nobody = shows_nobody
        self._tell = tell
        self._looked_into = looked_into
        self._aside: deque[tuple[int, ErrorResult]] = deque()

    def __iter__(self) -> Iterator[Job | None]:
        for found in find_pictures(self._paths, self._copies, self._looked_into):
            if isinstance(found, Pause):
                yield None
                continue
            self.found += 1
            number = self.found - self.left_out - 1
            if isinstance(found, ErrorResult):
                self._aside.append((number, found))
                continue
            file = file_state(found)
            if file is None:  # an existing record says more than a failure would
                left_out = self._known is not None and self._known(found)
            else:
                left_out = self._skip(found, file) and not self._lacks_copy(found)
            # Named even if left out, so that the names of later copies do not depend on it.
            copy = self._names.name(found) if self._names else None
            if left_out:
                self.left_out += 1
                self._tell(found, file is not None)
            else:
                yield Job(number, found, file, copy)

    def _lacks_copy(self, path: str) -> bool:
        """Whether a picture was judged, but its copy is missing. A video that shows nobody has none to miss."""
        if self._names is None or self._known is None or not self._known(path):
            return False
        return not self._shows_nobody(path) and not self._names.has_copy(path)

    def errors(self) -> Iterator[tuple[int, ErrorResult]]:
        """The records of paths that lead to no picture, each once."""
        while self._aside:
            yield self._aside.popleft()


def checked_bounds(timeout: float, worker_memory: int, limits: ImageLimits | None) -> Bounds:
    """The bounds that a worker is held to, if all of these are valid.

    Raises:
        TypeError, ValueError: one has the wrong type, is not above 0, or is larger than the system can handle.
    """
    check_limits(limits)
    # As Python's own numbers: the system's timers accept no others.
    bounds = Bounds(real_number("timeout", timeout), whole_number("worker_memory", worker_memory))
    if not 0 < bounds.seconds <= LONGEST_TIMEOUT:
        raise ValueError(
            f"expected a timeout above 0 and at most {LONGEST_TIMEOUT:,} seconds, got {timeout!r}"
        )
    if bounds.memory > MOST_WORKER_MEMORY:
        raise ValueError(
            f"expected worker_memory above 0 and at most {MOST_WORKER_MEMORY:,} bytes, got {worker_memory!r}"
        )
    return bounds


def patience(job: Job) -> float:
    """How many times as long as a picture this job may take."""
    return _VIDEO_PATIENCE if is_video(job.path) else 1


def _records(
    jobs: _Jobs,
    answers: Iterator[tuple[Job, Done | Failure]],
    settings: Settings,
    annotate: AnnotatedFolder | None,
    copied: Callable[[Path | OutputError], None],
) -> Iterator[tuple[int, Record]]:
    def complete(record: ErrorResult) -> ErrorResult:
        return replace(record, settings=settings)

    for job, answer in answers:
        for number, error in jobs.errors():
            yield number, complete(error)
        if annotate and job.copy and (isinstance(answer, Failure) or isinstance(answer.record, ErrorResult)):
            try:
                annotate.drop(job.copy, but=())  # an existing copy shows the picture as it was
            except OutputError as fault:
                copied(fault)
        if isinstance(answer, Failure):
            yield job.number, complete(failed(job, answer.kind, answer.expected, answer.got))
            continue
        for copy in answer.copies:
            copied(copy)
        record = answer.record
        yield job.number, complete(record) if isinstance(record, ErrorResult) else record
    for number, error in jobs.errors():
        yield number, complete(error)


def _in_order(numbered: Iterator[tuple[int, Record]]) -> Iterator[Record]:
    early: dict[int, Record] = {}
    following = 0
    for number, record in numbered:
        early[number] = record
        while following in early:
            yield early.pop(following)
            following += 1


def _alone(
    jobs: Iterable[Job | None], analyse: Callable[[Job], Done]
) -> Generator[tuple[Job, Done | Failure]]:
    for job in filter(None, jobs):
        try:
            yield job, analyse(job)
        except MemoryError as error:
            got = str(error) or "too little"
            yield job, Failure("out_of_memory", "an analysis within the available memory", got)
