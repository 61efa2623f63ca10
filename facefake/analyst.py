"""What a scan's worker process does: one picture or video after the other, each with an outcome and its copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import numpy as np

from facefake.errors import FaceFakeError, ImageError, ModelError, OutputError
from facefake.records import LONGEST_LINE, line_of
from facefake.results import ErrorResult, FileState, ImageResult
from facefake.sources import is_video
from facefake.video import VideoResult, analyze_video, sheets, without_crops

if TYPE_CHECKING:
    from facefake.frames import Sampling
    from facefake.reading import Source
    from facefake.saving import AnnotatedFolder, CopyName
    from facefake.settings import Settings

Record: TypeAlias = ImageResult | VideoResult | ErrorResult

_Result = TypeVar("_Result", ImageResult, VideoResult)

_OPENCV_NO_MEMORY = -4  # cv::Error::StsNoMem
# The first is for want of memory for a thread's stack; the second comes from MediaPipe and LiteRT.
_NO_MEMORY = re.compile("can't start new thread|Failed to allocate tensors", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """One picture or video to be analysed.

    Attributes:
        number: in the order of the pictures, from 0.
        path: of the file, undecodable bytes as surrogates.
        file: the file's state when the picture's turn came, for its record.
        copy: name of its annotated copy, if there is to be one.
    """

    number: int
    path: str
    file: FileState | None = None
    copy: CopyName | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a picture.

    Attributes:
        record: without pixels.
        copies: the annotated copy, or the contact sheets of a video's people; for any that could not be written, why.
    """

    record: Record
    copies: tuple[Path | OutputError, ...] = ()


class Analyst:
    """Analyses pictures with a detector of its own.

    Args:
        detector: the arguments of `FakeImageDetector`.
        annotate: where annotated copies go.
        sampling: which frames of a video are looked at; None for the default.

    Raises:
        ModelError, TypeError, ValueError: as `FakeImageDetector` does.
    """

    def __init__(
        self, detector: dict[str, Any], annotate: AnnotatedFolder | None, sampling: Sampling | None = None
    ) -> None:
        from facefake.detector import FakeImageDetector

        self._detector = FakeImageDetector(**detector)
        self._annotate = annotate
        self._sampling = sampling

    @classmethod
    def in_worker(
        cls,
        detector: dict[str, Any],
        annotate: AnnotatedFolder | None,
        sampling: Sampling | None,
        settings: Settings,
    ) -> Self:
        """An analyst with all models loaded, so that loading them takes none of a picture's time.

        Raises:
            ModelError: the settings are not those of the scan: the bundle has been changed since.
        """
        import cv2

        cv2.setNumThreads(detector["threads"])  # otherwise each worker would use all cores
        with _memory_errors():
            analyst = cls(detector, annotate, sampling)
            analyst._detector.analyze(np.zeros((1, 1, 3), np.uint8))  # which any limits allow
        if analyst._detector.settings != settings:
            raise ModelError(
                f"expected the bundle that the scan began with, {settings.bundle}, got "
                f"{analyst._detector.settings.bundle}: it was changed meanwhile"
            )
        return analyst

    def __call__(self, job: Job) -> Done:
        """Analyse a picture.

        Raises:
            MemoryError: memory ran out; native code may be left in any state.
            FaceFakeError: the installation is at fault.
        """
        try:
            with _memory_errors():
                if is_video(job.path):
                    clip = self._clip(job)
                    return Done(_checked(without_crops(clip), job), self._sheets(clip, job))
                result = self._detector.analyze(self._source(job))
                return Done(_checked(replace(result, picture=None), job), self._copy(result, job))
        except ImageError as error:
            if isinstance(error.__cause__, MemoryError):
                raise MemoryError(error.got) from error
            # A file that has vanished, as with an unplugged disk, may come back unchanged: it does not count as judged.
            file = None if error.kind == "not_found" else job.file
            return Done(ErrorResult(job.path, error.kind, str(error), file))
        except (FaceFakeError, MemoryError):
            raise
        except Exception as error:
            # Nobody knows all that libraries raise on strangers' files, and one picture must not end the scan.
            return Done(failed(job, "internal", "an analysis", f"{type(error).__name__}: {error}"))

    def _source(self, job: Job) -> Source:
        return job.path

    def _clip(self, job: Job) -> VideoResult:
        return analyze_video(self._detector, job.path, self._sampling)

    def _copy(self, result: ImageResult, job: Job) -> tuple[Path | OutputError, ...]:
        return () if self._annotate is None or job.copy is None else self._annotate.save(result, job.copy)

    def _sheets(self, result: VideoResult, job: Job) -> tuple[Path | OutputError, ...]:
        if self._annotate is None or job.copy is None:
            return ()
        numbered = ((person.number, sheet) for person, sheet in sheets(result))
        return self._annotate.save_sheets(numbered, job.copy)


def _checked(record: _Result, job: Job) -> _Result:
    """The record with its file's state.

    Raises:
        ImageError: it is longer than a line of records may be.
    """
    record = replace(record, file=job.file)
    size = len(line_of(record.to_dict()))
    if size > LONGEST_LINE:
        raise ImageError(
            path=job.path,
            kind="too_large",
            expected=f"a record of at most {LONGEST_LINE:,} bytes",
            got=f"one of {size:,} bytes: look at fewer frames or faces",
        )
    return record


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raises what libraries raise when memory runs out as `MemoryError`."""
    try:
        yield
    except Exception as error:
        said = _NO_MEMORY.search(str(error)) if isinstance(error, RuntimeError) else None
        if said or getattr(error, "code", None) == _OPENCV_NO_MEMORY:
            raise MemoryError(said[0] if said else str(error)) from error
        raise


def failed(job: Job, kind: str, expected: str, got: str) -> ErrorResult:
    """The record of a picture that could not be analysed, with a message like an `ImageError`'s."""
    fault = ImageError(path=job.path, kind=kind, expected=expected, got=got)
    return ErrorResult(job.path, kind, str(fault), job.file)
