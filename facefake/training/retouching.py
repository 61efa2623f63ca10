"""The tools of a photo editor on one face: liquify brushes, skin smoothing, free transform, healing patch.

Each tool takes a crop uint8 (n, n, 3), its landmarks (468, 2) and a generator, and returns the new crop with the mask
float32 (n, n) of what it touched.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facefake.training.blending import (
    Brush,
    Hull,
    Mask,
    Pixels,
    Points,
    blend,
    face_size,
    hull_mask,
    liquify,
    soft_mask,
    warp,
)
from facefake.training.landmarks import FACE_OVAL, LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE

Tool = Callable[[Pixels, Points, np.random.Generator], tuple[Pixels, Mask]]

# Single points of the mesh; pairs are the subject's right side, then the left.
_UPPER_LIDS, _MOUTH_CORNERS, _NOSE_WINGS, _JAW_SIDES = (159, 386), (61, 291), (48, 278), (172, 397)
_LOWER_LIP, _NOSE_TIP, _CHIN = 17, 4, 152
_SKIN = (151, 108, 337, 50, 280, 205, 425, 118, 347, 199)
_FEATURES: tuple[Hull, ...] = (
    (*RIGHT_EYE, *RIGHT_BROW),
    (*LEFT_EYE, *LEFT_BROW),
    (*MOUTH,),
    (2, 97, 98, 326, 327, 64, 294),
)
_PARTS: tuple[tuple[Hull, ...], ...] = ((RIGHT_EYE,), (LEFT_EYE,), (RIGHT_EYE, LEFT_EYE), (NOSE,), (MOUTH,))


def expression(part: str, landmarks: Points, rng: np.random.Generator) -> list[Brush]:
    """Brushes that give one part of the face ("eyes", "mouth", "nose" or "lower face") another expression."""
    size = face_size(landmarks)
    brushes = []
    if part == "eyes":
        lids, gaze, growth = rng.uniform((-0.03, -0.02, -0.08), (0.035, 0.02, 0.12))
        brushes += [
            Brush(landmarks[lid], 0.13 * size, (gaze * size, lids * size), growth) for lid in _UPPER_LIDS
        ]
    if part in ("mouth", "lower face"):
        smile, width, opening = rng.uniform((-0.035, -0.02, -0.015), (0.035, 0.035, 0.05))
        brushes += [
            Brush(landmarks[corner], 0.17 * size, (outwards * width * size, -smile * size))
            for corner, outwards in zip(_MOUTH_CORNERS, (-1, 1), strict=True)
        ]
        brushes.append(Brush(landmarks[_LOWER_LIP], 0.16 * size, (0.0, opening * size)))
    if part == "lower face":
        across, down = rng.uniform((-0.03, -0.04), (0.03, 0.05))
        brushes.append(Brush(landmarks[_CHIN], 0.35 * size, (across * size, down * size)))
    if part == "nose":
        across, down, growth = rng.uniform((-0.03, -0.025, -0.12), (0.03, 0.025, 0.12))
        brushes.append(Brush(landmarks[_NOSE_TIP], 0.22 * size, (across * size, down * size), growth))
    return brushes


def _liquify_face(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Slim the jaw, enlarge the eyes, reshape nose, mouth or chin."""
    size = face_size(landmarks)
    centre = landmarks[list(FACE_OVAL)].mean(0)
    brushes: list[Brush] = []
    for edit in rng.choice(("jaw", "eyes", "nose", "mouth", "chin"), size=rng.integers(1, 4), replace=False):
        extent = rng.uniform(0.4, 1.0)
        if edit == "jaw":
            for side in _JAW_SIDES:
                inwards = (centre - landmarks[side]) / max(
                    float(np.linalg.norm(centre - landmarks[side])), 1.0
                )
                x, y = inwards * 0.045 * extent * size
                brushes.append(Brush(landmarks[side], 0.3 * size, (float(x), float(y))))
        elif edit == "eyes":
            for eye in (RIGHT_EYE, LEFT_EYE):
                brushes.append(Brush(landmarks[list(eye)].mean(0), 0.2 * size, growth=0.2 * extent))
        elif edit == "nose":
            slim = 0.025 * extent * size * rng.choice((1, 1, -1))
            for wing, inwards in zip(_NOSE_WINGS, (1, -1), strict=True):
                brushes.append(Brush(landmarks[wing], 0.13 * size, (inwards * slim, 0.0)))
        elif edit == "mouth":
            brushes += expression("mouth", landmarks, rng)
            brushes.append(Brush(landmarks[list(MOUTH)].mean(0), 0.25 * size, growth=0.12 * extent))
        else:
            brushes.append(
                Brush(landmarks[_CHIN], 0.3 * size, (0.0, 0.05 * extent * size * rng.choice((-1, 1))))
            )
    field, mask = liquify(len(crop), brushes)
    return warp(crop, field), mask


def _smooth_skin(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Smooth the skin and keep its edges (bilateral filter), sparing eyes, brows, nostrils and mouth."""
    import cv2

    side, size = len(crop), face_size(landmarks)
    diameter = 2 * max(1, round(0.02 * size)) + 1
    smooth = cv2.bilateralFilter(crop, diameter, rng.uniform(20, 50), diameter / 2)
    reach = 2 * round(0.04 * size) + 1
    spared = cv2.blur(
        cv2.dilate(hull_mask(side, landmarks, _FEATURES), np.ones((reach, reach))), (reach, reach)
    )
    mask = soft_mask(landmarks, [FACE_OVAL], hull_mask(side, landmarks, [FACE_OVAL]), rng)
    mask *= (1 - spared.astype(np.float32) / np.float32(255)) * np.float32(rng.uniform(0.5, 1.0))
    return blend(crop, np.asarray(smooth, np.uint8), mask), mask


def _transform_part(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Scale, turn and shift a copy of one part of the face, and paste it over itself."""
    side, size = len(crop), face_size(landmarks)
    part = _PARTS[rng.integers(len(_PARTS))]
    centre = landmarks[[number for hull in part for number in hull]].mean(0)
    scale = rng.choice((rng.uniform(0.85, 0.94), rng.uniform(1.06, 1.2)))
    turn = np.exp(1j * np.radians(rng.uniform(-5, 5))) / scale - 1
    shift = rng.uniform(-0.025, 0.025, 2) * size
    across, down = (np.arange(side) - centre[axis] - shift[axis] for axis in (0, 1))
    plane = turn * (across[None, :] + 1j * down[:, None])
    field = np.stack([plane.real - shift[0], plane.imag - shift[1]], axis=-1).astype(np.float32)
    within = hull_mask(side, landmarks, [FACE_OVAL])
    mask = soft_mask(landmarks, part, within, rng, grow=rng.uniform(0.05, 0.09))
    return blend(crop, warp(crop, field), mask), mask


def _patch_skin(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Cover a patch of skin with a neighbouring one of the same mean colour, as a healing brush does."""
    side, size = len(crop), face_size(landmarks)
    places = landmarks[list(_SKIN)]
    place = places[rng.integers(len(places))]
    nearest = np.argsort(((places - place) ** 2).sum(-1))[1:4]
    _, weight = liquify(side, [Brush(place, rng.uniform(0.08, 0.15) * size)])
    mask = np.minimum(2 * weight, 1) * (hull_mask(side, landmarks, [FACE_OVAL]) > 0)
    offset = places[rng.choice(nearest)] - place
    source = warp(crop, np.broadcast_to(offset, (side, side, 2))).astype(np.float32)
    share = mask[..., None] / max(float(mask.sum()), 1e-6)
    source += ((crop - source) * share).sum((0, 1))
    return blend(crop, np.rint(np.clip(source, 0, 255)).astype(np.uint8), mask), mask


TOOLS: dict[str, Tool] = {
    "liquify": _liquify_face,
    "transform": _transform_part,
    "smooth": _smooth_skin,
    "patch": _patch_skin,
}
