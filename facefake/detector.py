"""The whole way from a picture to its verdict; the only module that knows all stages."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from facefake.aggregator import Evidence, judge, usability
from facefake.alignment import align, native_side, outside_share
from facefake.classifier import Classifier, Runtime
from facefake.cores import threads_of_one
from facefake.detail import measured_detail
from facefake.detection import Face, FaceDetector
from facefake.images import load_picture
from facefake.pool import spread
from facefake.provenance import read_provenance
from facefake.reading import EncodedFile, ImageLimits, Source, read_source
from facefake.results import MORE_FACES, ImageResult
from facefake.settings import MAX_FACES, check_limits, checked_rate, settings_of, whole_number

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from facefake.bundle import Bundle
    from facefake.calibration import Calibration
    from facefake.images import Picture

_NO_SUSPICION = 0.5  # false-alarm rate above which nothing is suspicious: half of real pictures look as fake


class FakeImageDetector:
    """Finds every face in a picture and says which look fake, how surely, and what that makes of the picture.

    Safe to use from several threads at once; not in a process forked from the one that made it. Its models are opened
    one by one as the first faces need them: whatever a process that another thread starts at such a moment writes to
    standard error is lost. An exception that a signal handler raises during an analysis, as when time is up, leaves the
    detector in order. A TimeoutError, or one of a class of the caller's own, arrives as it is, unless a file is being
    read: then it is the ``__cause__`` of an `ImageError`.

    Args:
        model: folder of a model bundle, as ``facefake train`` writes it; None for the one that comes with facefake.
        min_face: smallest face to look for, in pixels of its longer side; None for the smallest that the model
            judges. With a smaller one, faces that are too small to judge are listed as not applicable.
        alarm_rate: largest false-alarm rate, between 0 and 1, at which a picture is called fake; None for the
            bundle's.
        runtime: "litert" or "keras".
        limits: how large a file and a picture may be.
        max_faces: the most faces of a picture that are judged, the largest first; a warning says if there are more.
        threads: how many threads look for faces and judge them, for all pictures analysed at the same time; None for one
            per CPU core, at most 8.

    Attributes:
        settings: how it judges, as its results say.

    Raises:
        ModelError: the bundle is missing, damaged, or computes other numbers than when it was made.
        TypeError, ValueError: an argument is not as described.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        min_face: float | None = None,
        alarm_rate: float | None = None,
        runtime: Runtime = "litert",
        limits: ImageLimits | None = None,
        max_faces: int = MAX_FACES,
        threads: int | None = None,
    ) -> None:
        max_faces = whole_number("max_faces", max_faces)
        check_limits(limits)
        if alarm_rate is not None:
            alarm_rate = checked_rate(alarm_rate)
        self._threads = threads = threads_of_one(threads)
        self._classifier = Classifier(None if model is None else Path(model), runtime, threads)
        calibration = self._classifier.bundle.calibration
        if alarm_rate is not None:
            factor = calibration.uncertain_rate / calibration.alarm_rate
            uncertain_rate = max(alarm_rate, min(_NO_SUSPICION, alarm_rate * factor))
            calibration = replace(calibration, alarm_rate=alarm_rate, uncertain_rate=uncertain_rate)
        self._calibration = calibration
        self._limits = ImageLimits() if limits is None else limits
        self.settings = settings_of(
            self.bundle, runtime=runtime, alarm_rate=alarm_rate, min_face=min_face, max_faces=max_faces
        )
        self._faces = FaceDetector(min_face=self.settings.min_face, threads=threads)
        self._executor = ThreadPoolExecutor(threads, "facefake-crops")

    @property
    def bundle(self) -> Bundle:
        """The model bundle in use."""
        return self._classifier.bundle

    @property
    def calibration(self) -> Calibration:
        """What turns scores into verdicts: the bundle's, with the alarm rate that was asked for."""
        return self._calibration

    @property
    def limits(self) -> ImageLimits:
        """How large a file and a picture may be."""
        return self._limits

    def detect_fake_image(self, source: Source) -> tuple[bool, float]:
        """The short form: whether a picture is called fake, and the probability, 0 to 1, that it holds a fake face.

        A picture without a face that can be judged gives ``(False, 0.0)``; `analyze` tells that apart from a
        picture of real faces.

        Raises:
            ImageError: the picture cannot be read.
        """
        result = self.analyze(source)
        return result.verdict == "fake", result.fake_probability or 0.0

    def analyze(self, source: Source) -> ImageResult:
        """Judge every face of a picture, and the picture.

        Args:
            source: a path, bytes (also a bytearray or memoryview), a binary file, a PIL image, which no other thread may
                use meanwhile, or uint8 (height, width, 3) RGB pixels.

        Raises:
            ImageError: the picture cannot be read.
            MissingLibraryError: a system library is missing.
            ModelError: a model file is missing, or a score is not a finite number.
            ValueError: the detector was closed, or made before this process was forked.
        """
        file = read_source(source, self._limits)
        picture = load_picture(file, self._limits)
        faces, more = self._faces.detect_largest(picture.pixels, self.settings.max_faces)
        judgement = judge(self._evidence(picture, faces), self._calibration)
        warnings = picture.warnings
        if more:
            which = "the largest" if len(faces) == 1 else f"the {len(faces)} largest"
            if len(faces) < self.settings.max_faces:
                which = f"{len(faces)} of the largest"
            warnings += (f"{MORE_FACES}: only {which} {'was' if len(faces) == 1 else 'were'} judged",)
        return ImageResult(
            path=picture.path,
            width=picture.width,
            height=picture.height,
            verdict=judgement.verdict,
            fake_probability=judgement.fake_probability,
            false_alarm_rate=judgement.false_alarm_rate,
            reason=judgement.reason,
            faces=judgement.faces,
            warnings=warnings,
            model=self.bundle.label,
            provenance=read_provenance(file, self._limits) if isinstance(file, EncodedFile) else None,
            crop_margin=self.bundle.margin,
            settings=self.settings,
            picture=picture,
        )

    def _evidence(self, picture: Picture, faces: list[Face]) -> list[Evidence]:
        found: list[Evidence] = []
        crops: dict[int, NDArray[np.uint8]] = {}
        for evidence, crop in spread(self._executor, self._threads, partial(self._cut, picture), faces):
            if usability(evidence, self._calibration) is None:
                crops[len(found)] = crop
            found.append(evidence)
        if not crops:
            return found
        scores = self._classifier.predict(np.stack(list(crops.values())))
        for at, logit, by_place in zip(crops, scores.logits, scores.maps, strict=True):
            found[at] = replace(found[at], logit=float(logit), map=by_place)
        return found

    def _cut(self, picture: Picture, face: Face) -> tuple[Evidence, NDArray[np.uint8]]:
        side, margin = self.bundle.side, self.bundle.margin
        crop = align(picture.pixels, face, side, margin)
        outside = outside_share(face, picture.width, picture.height, margin)
        return Evidence(face, measured_detail(crop, native_side(face, margin)), outside), crop

    def close(self) -> None:
        """Frees the models. Not to be called while a picture is being analysed.

        To put another detector in the place of one that threads may still use, let go of it instead: it frees its models
        by itself when the last of them is done.
        """
        self._executor.shutdown()
        self._faces.close()
        self._classifier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
