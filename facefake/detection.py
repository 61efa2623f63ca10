"""Finds every face in a picture, whatever its size: a pyramid of tiles, then a second look at each candidate."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from facefake.blazeface import FULL_RANGE_SIDE, BlazeFace, faces_of
from facefake.cores import threads_of_one
from facefake.mediapipe_faces import SHORT_RANGE, SHORT_RANGE_SIDE, MediaPipeFaces
from facefake.pool import spread
from facefake.reading import LONGEST_SIDE
from facefake.settings import checked_min_face
from facefake.tiles import Face, Pyramid, View, merge, overlap, tile

__all__ = ["Face", "FaceDetector"]

# Each of these was chosen on the pictures of tests/benchmarks/detection.py; run it after a change.
_SMALLEST_SHARE = 0.1  # of a tile's side: the smallest face that the full-range model sees well
_COARSEST_TILE = 0.8  # of the picture's longer side: a larger one shows no more than the whole picture
_FLAT = 3.0  # grey levels: a tile of less contrast holds no face; the flattest of 246 faces in groups has 14
_PADDED = 1.5  # sides of the picture: the short-range model needs room around a face that fills the frame
_CANDIDATE = 0.5  # score at first sight that earns a second look
_SECOND_LOOK = 2.0  # side of the view of a second look, in sides of the candidate
_UPRIGHT = 0.8  # score of a second look: a tenth of 496 upright candidates has less, all of 341 inverted ones
_BELIEVED = 0.68  # score after the second look
_DOUBTFUL = 0.5  # score that is enough for a large face, or in a crowd
_SURE = 0.8  # score of the faces that make up a crowd
_CROWD = 3  # how many there must be, of half to double the candidate's size
_LARGE = 0.25  # of the picture's longer side
_BLOCK = 128  # views, at most 25 MB, that are drawn before any is looked at: what has just run runs faster
_SPARE = 50  # candidates beyond twice the wanted faces: sizes at first sight are rough, some are not faces


class FaceDetector:
    """Finds faces of `min_face` pixels and more, rotated by up to 45 degrees, filling the frame, or in a crowd.

    Most large ones are found at any rotation. Often missed: small ones lying on their side or upside down, and any
    that lie largely beyond the picture's edge.

    Tiles of the picture, except blank ones such as a plain backdrop, go through MediaPipe's full-range network: in the
    smallest tiles a face of `min_face` pixels is just large enough to be seen, and each further layer has tiles twice
    as large, up to the whole picture. LiteRT runs it directly, since most tiles hold nothing and MediaPipe's own graph
    costs half as much again. MediaPipe's short-range face detector sees the whole picture with a margin, for faces that
    fill it, and looks again at each candidate, enlarged and upright: hands, knees and buttons are rejected, and faces
    are measured more precisely. A candidate that does not look upright then is also looked at upside down. In a crowd a
    doubtful candidate is accepted more readily, if it is about as large as the other faces.

    The same picture gives the same faces, however many threads there are. Safe to use from several threads at
    once, but not in a process forked from the one that made it. The models are opened when first needed.

    Args:
        min_face: the smallest face to report, in pixels of its longer side, at least 8. Halving it costs four
            times as much.
        threads: how many cores to keep busy with tiles; None for as many as this process may use, at most 8.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """

    def __init__(self, *, min_face: float = 32.0, threads: int | None = None) -> None:
        self._threads = threads = threads_of_one(threads)
        self._process = os.getpid()
        self.min_face = checked_min_face(min_face)
        self._network = BlazeFace(threads)
        # MediaPipe passes each look from thread to thread: with two looks per core, no core waits.
        self._at_once = at_once = 2 * threads if threads > 1 else 1
        self._mediapipe = MediaPipeFaces(SHORT_RANGE, at_once)
        # Never in the caller's thread: what a signal handler raises there must not interrupt a look.
        self._first = ThreadPoolExecutor(threads, "facefake-first-look")
        self._second = ThreadPoolExecutor(at_once, "facefake-second-look")

    def close(self) -> None:
        """Frees the models. Not to be called while a picture is being looked at."""
        self._first.shutdown()
        self._second.shutdown()
        self._network.close()
        self._mediapipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def detect(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture, sorted from left to right, then from top to bottom.

        Args:
            pixels: uint8 (height, width, 3), RGB, upright.

        Raises:
            TypeError, ValueError: `pixels` is not as described, or the detector was closed, or made before this process
                was forked.
            MissingLibraryError: a system library that MediaPipe needs is not installed.
            ModelError: a model file is missing.
        """
        return self.detect_largest(pixels, None)[0]

    def detect_largest(self, pixels: NDArray[np.uint8], most: int | None) -> tuple[list[Face], bool]:
        """The largest faces in a picture, sorted as by `detect`, and whether there may be more.

        The second look, whose time grows with each face, is limited to twice as many candidates and some more.

        Args:
            pixels: as for `detect`.
            most: how many faces at most, at least 1; None for all.

        Raises:
            TypeError, ValueError, MissingLibraryError, ModelError: as `detect` does.
        """
        _check(pixels)
        if not self._mediapipe.close.alive:
            raise ValueError("expected an open face detector, got one that was closed")
        if os.getpid() != self._process:  # its threads do not survive a fork: no look would ever end
            raise ValueError(
                "expected a face detector that this process made, got one from before it was forked"
            )
        pyramid = Pyramid(pixels)
        found = merge(self._first_look(pyramid))
        # Sizes at first sight are rough.
        candidates = [face for face in found if face.score >= _CANDIDATE and face.side >= 0.7 * self.min_face]
        candidates, more = _largest(candidates, None if most is None else 2 * most + _SPARE)
        faces = merge(_believe(self._second_look(pyramid, candidates), max(pyramid.width, pyramid.height)))
        faces, still_more = _largest([face for face in faces if face.side >= self.min_face], most)
        return sorted(faces, key=lambda face: face.box), more or still_more

    def _first_look(self, pyramid: Pyramid) -> list[Face]:
        width, height = pyramid.width, pyramid.height
        longest = max(width, height)
        views = [View(width / 2, height / 2, longest)]
        side = smallest = self.min_face / _SMALLEST_SHARE
        coarse = longest * _COARSEST_TILE
        while side < (longest if side == smallest else coarse):
            tiles = tile(width, height, side)
            views += [each for each in tiles if pyramid.contrast(each, side * _SMALLEST_SHARE) >= _FLAT]
            side *= 2
        close_up = View(width / 2, height / 2, longest * _PADDED)
        seen_whole = self._second.submit(
            lambda: self._mediapipe.find(pyramid.render(close_up, SHORT_RANGE_SIDE))
        )

        def counts(view: View, face: Face) -> bool:
            # From a tile nearly as large as the picture, only what the whole picture shows too small counts.
            nearly_whole = coarse <= view.side < longest
            if nearly_whole and face.side >= longest * _SMALLEST_SHARE / _COARSEST_TILE:
                return False
            return not view.cuts(face, width, height)

        seen = self._look(
            pyramid,
            views,
            FULL_RANGE_SIDE,
            lambda tiles: [*map(faces_of, spread(self._first, self._threads, self._network.run, tiles))],
        )
        found = [
            face for view, faces in zip(views, seen, strict=True) for face in faces if counts(view, face)
        ]
        return [*map(close_up.place, seen_whole.result()), *found]

    def _second_look(self, pyramid: Pyramid, candidates: Sequence[Face]) -> list[Face]:
        """The candidates scored by both looks and measured by the second."""
        views = [View.around(face, _SECOND_LOOK) for face in candidates]
        again = list(map(_same, candidates, self._measure(pyramid, views)))
        # At first sight an upside-down head passes for an upright one, with its forehead for a chin.
        doubtful = [at for at, (face, iou) in enumerate(again) if iou <= 0.3 or face.score < _UPRIGHT]
        other_way = [replace(views[at], roll=views[at].roll + 180) for at in doubtful]
        turned = dict(zip(doubtful, self._measure(pyramid, other_way), strict=True))
        return [
            _settled(face, *again[at], _same(face, turned.get(at, []))) for at, face in enumerate(candidates)
        ]

    def _measure(self, pyramid: Pyramid, views: Sequence[View]) -> list[list[Face]]:
        return self._look(
            pyramid,
            views,
            SHORT_RANGE_SIDE,
            lambda pictures: spread(self._second, self._at_once, self._mediapipe.find, pictures),
        )

    def _look(
        self,
        pyramid: Pyramid,
        views: Sequence[View],
        side: int,
        find: Callable[[Sequence[NDArray[np.uint8]]], list[list[Face]]],
    ) -> list[list[Face]]:
        """The faces that `find` sees in each view, drawn with this side, in pixels of the picture."""
        found: list[list[Face]] = []
        for start in range(0, len(views), _BLOCK):
            block = views[start : start + _BLOCK]
            drawn = spread(self._first, self._threads, lambda view: pyramid.render(view, side), block)
            found += [list(map(view.place, faces)) for view, faces in zip(block, find(drawn), strict=True)]
        return found


def _settled(face: Face, again: Face, iou: float, other_way: tuple[Face, float]) -> Face:
    """A candidate after its second look.

    Args:
        face: as it was at first sight.
        again, iou: what the second look shows of it, as from `_same`.
        other_way: what one that is upside down shows of it.
    """
    turned, common = other_way
    if common > 0.3 and turned.score >= _UPRIGHT:
        return replace(turned, score=(face.score + turned.score) / 2)
    score = (face.score + (again.score if iou > 0.3 else 0.0)) / 2
    # A look that settled on another size, or on two faces at once, shows that there is a face, but not where.
    return replace(again if iou > 0.5 else face, score=score)


def _same(face: Face, found: Sequence[Face]) -> tuple[Face, float]:
    """The face found that overlaps this one most, and the intersection over union of their boxes; 0 if none does."""
    ious = [(other, overlap(face.box, other.box)[0]) for other in found]
    return max(ious, key=lambda pair: pair[1], default=(face, 0.0))


def _believe(seen: Sequence[Face], longest: int) -> list[Face]:
    """The candidates that count as faces, in a picture with this longer side."""
    sure = [face.side for face in seen if face.score >= _SURE]

    def believed(face: Face) -> bool:
        if face.score >= _BELIEVED:
            return True
        in_crowd = sum(side / 2 <= face.side <= side * 2 for side in sure) >= _CROWD
        return face.score >= _DOUBTFUL and (in_crowd or face.side > _LARGE * longest)

    return [face for face in seen if believed(face)]


def _largest(faces: list[Face], most: int | None) -> tuple[list[Face], bool]:
    if most is None or len(faces) <= most:
        return faces, False
    return sorted(faces, key=lambda face: (-face.side, face.box))[:most], True


def _check(pixels: object) -> None:
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"expected pixels to be a numpy array, got {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        raise TypeError(f"expected pixels of type uint8, got {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0 or max(pixels.shape) > LONGEST_SIDE:
        raise ValueError(
            f"expected pixels of shape (height, width, 3), sides up to {LONGEST_SIDE}, got {pixels.shape}"
        )
