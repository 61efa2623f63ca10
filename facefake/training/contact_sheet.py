"""A sheet of forgeries for a person to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facefake.errors import OutputError
from facefake.training.forgery import (
    Forgery,
    likeness,
    nearest_source,
    reconstruction,
    region_blend,
    retouch,
    self_blend,
    swap,
    upsampling,
)
from facefake.training.landmarks import FaceMesh
from facefake.training.reconstruction import reconstruct

if TYPE_CHECKING:
    import keras

_TILE = 160
_CAPTION = 16
_GAIN = 4


def contact_sheet(
    crops: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    path: str | os.PathLike[str],
    network: keras.Model | None = None,
) -> int:
    """Write a picture with one row per face: the crop, then each forgery with its mask and its difference, times four.

    The source of a swap is one of the other crops and is shown before it. Both tiles are empty where there is no other
    face, or where the most similar one is turned too far away. Crops without a face are left out.

    Args:
        crops: uint8 (n, n, 3) RGB aligned face crops of different people.
        rng: the only source of randomness.
        path: where the picture goes; its suffix sets the format.
        network: an auto-encoder of `facefake.training.reconstruction`, to add a reconstruction of every face.

    Returns:
        How many faces are on the sheet.

    Raises:
        ValueError: none of the crops shows a face.
        OutputError: the picture cannot be written.
    """
    mesh = FaceMesh()
    found = [(crop, mesh.landmarks(crop)) for crop in crops]
    faces = [(crop, landmarks) for crop, landmarks in found if landmarks is not None]
    if not faces:
        raise ValueError(f"expected a crop with a face, got none among {len(found)}")
    likenesses = np.stack([likeness(*face) for face in faces])
    rows = []
    for number, (crop, landmarks) in enumerate(faces):
        row = [("original", crop)]
        for forge in (self_blend, region_blend, retouch, upsampling):
            row += _tiles(crop, forge(crop, landmarks, rng))
        row += _swap_tiles(number, faces, likenesses, rng)
        if network is not None:
            row += _tiles(crop, reconstruction(crop, landmarks, reconstruct(network, crop), rng))
        rows.append(row)
    sheet = Image.new("RGB", (_TILE * len(rows[0]), (_TILE + _CAPTION) * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (caption, pixels) in enumerate(row):
            corner = (x * _TILE, y * (_TILE + _CAPTION))
            pen.text((corner[0] + 2, corner[1] + 2), caption, fill="black")
            tile = Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (corner[0], corner[1] + _CAPTION))
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"expected to write the contact sheet to {os.fspath(path)!r}, got: {error}"
        ) from error
    return len(rows)


def _swap_tiles(
    number: int,
    faces: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    likenesses: NDArray[np.float32],
    rng: np.random.Generator,
) -> list[tuple[str, NDArray[np.uint8]]]:
    crop, landmarks = faces[number]
    empty = np.full_like(crop, 255)
    others = [other for other in range(len(faces)) if other != number]
    if not others:
        return [("no other face to swap", empty), *[("", empty)] * 3]
    source = faces[others[nearest_source(likenesses[number], likenesses[others])]]
    try:
        swapped = _tiles(crop, swap(crop, landmarks, *source, rng))
    except ValueError:
        swapped = [("turned too far away", empty), *[("", empty)] * 2]
    return [("source", source[0]), *swapped]


def _tiles(crop: NDArray[np.uint8], forgery: Forgery) -> list[tuple[str, NDArray[np.uint8]]]:
    mask = np.rint(forgery.mask * 255).astype(np.uint8)
    difference = np.abs(forgery.pixels.astype(np.int16) - crop) * _GAIN
    return [
        # A long caption runs on over the mask's tile, which therefore has none.
        (forgery.name, forgery.pixels),
        ("", np.repeat(mask[..., None], 3, axis=2)),
        (f"{_GAIN} x difference", np.minimum(difference, 255).astype(np.uint8)),
    ]
