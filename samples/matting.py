"""Cuts people out of pictures with soft edges and without the old background's colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from numpy.typing import NDArray

_SIDE = 256  # of the segmenter's input


class Matting:
    """MediaPipe's selfie segmenter says where a person is, GrabCut where the edge is,
    and a guided filter softens it.

    Rother et al., "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts", 2004;
    He et al., "Guided Image Filtering", 2013.

    Args:
        model: `selfie_segmentation.tflite`.
        seed: of GrabCut's colour clusters.
    """

    def __init__(self, model: Path, seed: int) -> None:
        self._seed = seed
        self._segmenter: Any = Interpreter(str(model), num_threads=1)
        self._segmenter.allocate_tensors()
        self._input = self._segmenter.get_input_details()[0]["index"]
        self._output = self._segmenter.get_output_details()[0]["index"]

    def cut_out(self, pixels: NDArray[np.uint8], face_side: float) -> NDArray[np.float32]:
        """One person in a picture of them.

        Args:
            pixels: uint8 (h, w, 3) RGB.
            face_side: side of the person's face box, pixels; details much smaller than it are smoothed away.

        Returns:
            float32 (h, w, 4): the person's own colours, 0 to 255, multiplied by their share of each pixel,
            and that share, 0 to 1.
        """
        coarse = self._segment(pixels)
        inside = cv2.erode((coarse > 0.9).astype(np.uint8), _disc(0.07 * face_side))
        near = cv2.dilate((coarse > 0.1).astype(np.uint8), _disc(0.06 * face_side))
        labels = np.where(coarse > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        labels[inside == 1] = cv2.GC_FGD
        labels[near == 0] = cv2.GC_BGD
        cv2.setRNGSeed(self._seed)
        clusters = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(pixels, labels, (0, 0, 1, 1), *clusters, 4, cv2.GC_INIT_WITH_MASK)
        person = _parts(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)), face_side**2)
        # A small hole is an error; the gap between an arm and a body is larger.
        person = ~_parts(~person, (0.15 * face_side) ** 2)
        binary = cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_OPEN, _disc(0.03 * face_side))
        radius = max(2, round(0.03 * face_side))
        soft = cv2.ximgproc.guidedFilter(pixels, np.asarray(binary, np.float32), radius, (0.03 * 255) ** 2)
        share = np.asarray(np.clip((np.asarray(soft) - 0.3) / 0.6, 0, 1), np.float32)[..., None]
        colours = _own_colours(pixels.astype(np.float32), share, max(2, round(0.1 * face_side)))
        return np.concatenate([colours * share, share], axis=-1)

    def _segment(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = pixels.shape[:2]
        small = np.asarray(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
        self._segmenter.set_tensor(self._input, small[None] / 255)
        self._segmenter.invoke()
        answer = self._segmenter.get_tensor(self._output)[0, :, :, 0]
        return np.asarray(cv2.resize(answer, (width, height)), np.float32)


def _disc(diameter: float) -> NDArray[np.uint8]:
    size = max(3, round(diameter)) | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _parts(region: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """The connected parts of a region that are larger than an area, in pixels."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    kept = np.asarray(stats)[:, cv2.CC_STAT_AREA] > area
    kept[0] = False  # what is not in the region
    return np.asarray(kept[np.asarray(numbers)], np.bool_)


def _own_colours(
    picture: NDArray[np.float32], share: NDArray[np.float32], radius: int
) -> NDArray[np.float32]:
    """What the edge would look like without the background, float32 (h, w, 3).

    Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021 (arXiv:2006.14970).
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def around(weight: NDArray[np.float32]) -> NDArray[np.float32]:
        total = np.asarray(cv2.blur(weight, window), np.float32)[..., None]
        return np.asarray(cv2.blur(picture * weight, window), np.float32) / (total + np.float32(1e-5))

    person, background = around(share), around(1 - share)
    colours = person + share * (picture - share * person - (1 - share) * background)
    return np.asarray(np.clip(colours, 0, 255), np.float32)
