"""Evidence maps as pictures: which parts of a face point to a fake, as colours laid over the face."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from facefake.alignment import crop_corners, crop_matrix
from facefake.tiles import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facefake.results import FaceResult

FULL_SCALE = 6.0
"""The logit, on either side of 0, at which the colour scale ends. It is the same for every face, so that a colour means
the same in all pictures."""

OPACITY = 0.7  # of the colours of strong evidence, 0 to 1
OPAQUE_FROM = 3.0  # logits, on both sides of 0; below it the colours fade with the evidence
# The side, in pixels, that a map is enlarged to before it is warped: OpenCV warps in steps of 1/32 of a pixel.
_FINE = 96
_SOFT_EDGE = 0.08  # of the side


def colours(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Evidence as colours: dark blue for much less fake, grey for neither, yellow for much more fake.

    The colour map is cividis, which looks alike to people with and without a colour vision deficiency and whose
    lightness rises evenly (Nuñez, Anderton & Renslow 2018, "Optimizing colormaps with consideration for color vision
    deficiency to enable accurate interpretation of scientific data", PLoS ONE 13(7)).

    Args:
        logits: float32 (height, width); cut off at ± `FULL_SCALE`.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    import cv2

    share = np.clip(logits / (2 * FULL_SCALE) + 0.5, 0, 1)
    return np.asarray(
        cv2.applyColorMap(np.round(255 * share).astype(np.uint8), cv2.COLORMAP_CIVIDIS)[..., ::-1]
    )


def enlarged(evidence: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """An evidence map (h, w) as a smooth square of float32 (side, side)."""
    import cv2

    return np.asarray(cv2.resize(evidence, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def laid_over(pixels: NDArray[np.uint8], faces: Iterable[FaceResult], margin: float) -> NDArray[np.uint8]:
    """A copy of a picture with the evidence on every judged face drawn over it.

    Each map lies where its crop was cut out: rotated with the face, around its box. The weaker the evidence, the more
    transparent it is, and the picture below it is grey, so that all colour is evidence.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        faces: those without evidence are left out.
        margin: side of the crops as a multiple of the boxes' longer side.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    import cv2

    drawn = pixels.copy()
    ramp = np.clip((0.5 - np.abs((np.arange(_FINE) + 0.5) / _FINE - 0.5)) / _SOFT_EDGE, 0, 1)
    inside = np.minimum.outer(ramp, ramp).astype(np.float32)
    for face in faces:
        if face.evidence is None:
            continue
        where = Face(face.box, face.keypoints, face.detection_score)
        corners = crop_corners(where, margin)
        height, width = pixels.shape[:2]
        left, top = np.clip(np.floor(corners.min(0)), 0, [width, height]).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)), 0, [width, height]).astype(int)
        if right <= left or bottom <= top:
            continue
        # From coordinates in the part of the picture that begins at (left, top) to those of the enlarged map.
        matrix = crop_matrix(where, _FINE, margin)
        matrix[:, 2] += matrix[:, :2] @ [left + 0.5, top + 0.5] - 0.5
        extent = (int(right - left), int(bottom - top))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = enlarged(face.evidence, _FINE)
        values = np.asarray(
            cv2.warpAffine(fine, matrix, extent, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
        )
        weight = np.minimum(np.abs(values) / OPAQUE_FROM, 1)
        weight *= cv2.warpAffine(inside, matrix, extent, flags=flags)
        part = drawn[top:bottom, left:right]
        grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        painted = OPACITY * colours(values) + (1 - OPACITY) * grey
        part[:] = np.round(part + weight[..., None] * (painted - part)).astype(np.uint8)
    return drawn
