"""Fakes made from real faces, each paired with the face that it was made from.

Every function takes an aligned face crop and its 468 landmarks (`facefake.training.landmarks`), changes the crop inside a
soft mask only, and leaves every other pixel as it was: a fake keeps the target's own quality. Crops are uint8 (n, n, 3)
RGB with n at least 32, landmarks float32 (468, 2) in pixels of the crop; anything else raises ValueError. All
randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facefake.training.blending import (
    Hull,
    Mask,
    Pixels,
    Points,
    affine_field,
    blend,
    check_face,
    hull_mask,
    liquify,
    move,
    piecewise_field,
    poisson_clone,
    resample,
    shift_statistics,
    soft_mask,
    transfer_colour,
    warp,
)
from facefake.training.landmarks import (
    FACE_OVAL,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    LOWER_FACE,
    MOUTH,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
)
from facefake.training.retouching import TOOLS, expression
from facefake.training.upsampling import redraw

_BLEND_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
_BROWS = (*RIGHT_BROW, *LEFT_BROW)
_EYES = (*RIGHT_EYE, *LEFT_EYE)
_FACE_HULLS: tuple[Hull, ...] = (
    FACE_OVAL,
    (*_BROWS, *JAW),
    (*_BROWS, *_EYES, *NOSE, *MOUTH),
    (*_EYES, *NOSE, *LOWER_FACE),
)
_SWAP_PARTS: dict[str, Hull] = {
    "right eye": (*RIGHT_EYE, *RIGHT_BROW),
    "left eye": (*LEFT_EYE, *LEFT_BROW),
    "nose": NOSE,
    "mouth": MOUTH,
    "lower face": LOWER_FACE,
}
_PART_HULLS: dict[str, tuple[Hull, ...]] = {
    "eyes": (RIGHT_EYE, LEFT_EYE),
    "mouth": (MOUTH,),
    "nose": (NOSE,),
    "lower face": (LOWER_FACE,),
}
# Enough of the mesh for its shape; all 468 points cost three times as much and look the same.
_ANCHORS = list(dict.fromkeys((*FACE_OVAL, *_BROWS, *_EYES, *NOSE, *MOUTH)))
_INNER_ANCHORS = [*_BROWS, *_EYES, *NOSE, *MOUTH]


@dataclass(frozen=True, slots=True, eq=False)
class Forgery:
    """A fake face.

    Attributes:
        pixels: uint8 (n, n, 3) RGB, equal to the crop wherever the mask is 0.
        mask: float32 (n, n), from 0 (untouched) to 1.
        name: which function made it, and how.
    """

    pixels: Pixels
    mask: Mask
    name: str


def self_blend(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> Forgery:
    """A self-blended image: the face pasted onto itself after a slight change of its statistics and place.

    Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022. Where the paper changes either copy,
    only the pasted one is changed here, so that the surroundings stay the target's.
    """
    check_face(crop, landmarks)
    hull = _FACE_HULLS[rng.integers(len(_FACE_HULLS))]
    mask = soft_mask(landmarks, [hull], hull_mask(len(crop), landmarks, [FACE_OVAL]), rng)
    mask *= np.float32(rng.choice(_BLEND_STRENGTHS))
    return Forgery(blend(crop, move(shift_statistics(crop, rng), rng), mask), mask, "self-blend")


def region_blend(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> Forgery:
    """A self-blended image of one part (eyes, mouth, nose or lower face) with another expression, as in re-enactment."""
    check_face(crop, landmarks)
    name = str(rng.choice(list(_PART_HULLS)))
    field, _ = liquify(len(crop), expression(name, landmarks, rng))
    # A generator that redraws one part matches its colours better than a pasted face does.
    source = shift_statistics(warp(crop, field), rng, extent=0.5)
    within = hull_mask(len(crop), landmarks, [FACE_OVAL])
    mask = soft_mask(landmarks, _PART_HULLS[name], within, rng, grow=rng.uniform(0.05, 0.1))
    # A change to a small part, blended at a quarter of its strength, could no longer be told from the real face.
    mask *= np.float32(rng.choice(_BLEND_STRENGTHS[1:]))
    return Forgery(blend(crop, source, mask), mask, f"region blend: {name}")


def retouch(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> Forgery:
    """A face as an image editor leaves it: liquified or with one part transformed, then perhaps smoothed or patched."""
    check_face(crop, landmarks)
    # Smoothing and patching alone are common in portraits of real people.
    names = [str(rng.choice(("liquify", "transform")))]
    names += [name for name, share in (("smooth", 0.35), ("patch", 0.25)) if rng.random() < share]
    pixels, untouched = crop, np.ones(crop.shape[:2], np.float32)
    for name in names:
        pixels, mask = TOOLS[name](pixels, landmarks, rng)
        untouched *= 1 - mask
    return Forgery(pixels, 1 - untouched, f"retouch: {', '.join(names)}")


def swap(
    crop: Pixels, landmarks: Points, source: Pixels, source_landmarks: Points, rng: np.random.Generator
) -> Forgery:
    """Another person's face, or some parts of it, on the head in the crop.

    The source, a crop of any size, is warped onto the landmarks (by a piecewise affine map, an affine map or a
    similarity), sometimes coarsened as face-swapping networks with an output of 64 to 128 pixels leave it, given the
    target's colours by statistics or by Poisson's equation (Pérez et al., "Poisson Image Editing", SIGGRAPH 2003), and
    blended by a soft mask. `nearest_source` chooses a source that fits.

    Raises:
        ValueError: as above, or the two heads are turned so far apart that nothing of the source covers the target.
    """
    check_face(crop, landmarks)
    check_face(source, source_landmarks)
    side = len(crop)
    method = str(rng.choice(("piecewise", "affine", "similarity"), p=(0.5, 0.2, 0.3)))
    if method == "piecewise":
        field = piecewise_field(side, landmarks[_ANCHORS], source_landmarks[_ANCHORS])
    else:
        inner = landmarks[_INNER_ANCHORS], source_landmarks[_INNER_ANCHORS]
        field = affine_field(side, *inner, similarity=method == "similarity")
    face = warp(source, field)
    # What lies outside the source's own face is its hair and its background.
    within = warp(hull_mask(len(source), source_landmarks, [FACE_OVAL]), field)
    within = np.minimum(within, hull_mask(side, landmarks, [FACE_OVAL]))
    if rng.random() < 0.6:
        names = ["face"]
        mask = soft_mask(landmarks, [_FACE_HULLS[rng.integers(len(_FACE_HULLS))]], within, rng)
    else:
        names = list(rng.choice(list(_SWAP_PARTS), size=rng.integers(1, 4), replace=False))
        parts = [_SWAP_PARTS[name] for name in names]
        mask = soft_mask(landmarks, parts, within, rng, grow=rng.uniform(0.04, 0.1))
    if not mask.any():
        raise ValueError("expected a source whose pose fits the target's, got one that covers nothing of it")
    if rng.random() < 0.6:
        face = resample(face, rng.uniform(1.5, 4), rng)
    region = np.uint8(255) * (mask > 0)
    if rng.random() < 0.3:
        face, colours = poisson_clone(face, crop, region), "Poisson"
    else:
        face, colours = transfer_colour(face, crop, region, rng)
    return Forgery(blend(crop, face, mask), mask, f"swap: {', '.join(names)}; {method}; {colours}")


def reconstruction(crop: Pixels, landmarks: Points, made: Pixels, rng: np.random.Generator) -> Forgery:
    """A face that a network has redrawn: the whole crop, or only the face within a soft mask.

    Args:
        crop: the face.
        landmarks: of it.
        made: the crop as a network of `facefake.training.reconstruction` redraws it, of the same size.
        rng: the only source of randomness.

    Raises:
        ValueError: as above, or the two have different sizes.
    """
    check_face(crop, landmarks)
    if made.shape != crop.shape:
        raise ValueError(f"expected a reconstruction of shape {crop.shape}, got {made.shape}")
    return _drawn_anew(crop, landmarks, made, "reconstruction", rng)


def upsampling(crop: Pixels, landmarks: Points, rng: np.random.Generator) -> Forgery:
    """A face, or the whole crop, with the trace of a randomly drawn up-sampler; see `upsampling.redraw`."""
    check_face(crop, landmarks)
    return _drawn_anew(crop, landmarks, redraw(crop, rng), "upsampling", rng)


def _drawn_anew(
    crop: Pixels, landmarks: Points, made: Pixels, name: str, rng: np.random.Generator
) -> Forgery:
    if rng.random() < 0.5:
        return Forgery(made, np.ones(crop.shape[:2], np.float32), f"{name}: whole")
    hull = _FACE_HULLS[rng.integers(len(_FACE_HULLS))]
    mask = soft_mask(landmarks, [hull], hull_mask(len(crop), landmarks, [FACE_OVAL]), rng)
    return Forgery(blend(crop, made, mask), mask, f"{name}: face")


def likeness(crop: Pixels, landmarks: Points) -> NDArray[np.float32]:
    """What a swapper looks for in a source, as float32 (939,): pose, expression and skin colour.

    The squared distance between two faces is the mean squared distance of their landmarks, once position and size are
    taken out, plus that of their mean CIELAB colours, ten units of which count as much as a tenth of the face's radius.
    """
    import cv2

    check_face(crop, landmarks)
    shape = landmarks - landmarks.mean(0)
    shape /= np.linalg.norm(shape)
    skin = cv2.mean(crop, mask=hull_mask(len(crop), landmarks, [FACE_OVAL]))[:3]
    colour = cv2.cvtColor(np.array([[skin]], np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return np.concatenate([shape.ravel(), np.float32(0.01) * colour.ravel()]).astype(np.float32)


def nearest_source(target: NDArray[np.float32], candidates: NDArray[np.float32]) -> int:
    """Which source swaps best onto a face.

    Args:
        target: the face's `likeness`, (939,).
        candidates: the likenesses of other people's faces, (m, 939), m at least 1.

    Returns:
        An index into `candidates`.

    Raises:
        ValueError: there is no candidate, or they are of another length.
    """
    if candidates.ndim != 2 or candidates.shape[1:] != target.shape or len(candidates) == 0:
        raise ValueError(f"expected candidates of shape (m, {len(target)}), got {candidates.shape}")
    return int(((candidates - target) ** 2).sum(-1).argmin())
