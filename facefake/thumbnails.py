"""What an HTML report shows of a picture: the picture made small, and the aligned crop of each face."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from facefake.alignment import align
from facefake.errors import ImageError
from facefake.images import load_picture
from facefake.reading import LONGEST_SIDE, ImageLimits
from facefake.record_values import without_escapes
from facefake.sources import state_of
from facefake.stores import is_uri
from facefake.tiles import Face

if TYPE_CHECKING:
    from facefake.images import Picture
    from facefake.results import FaceResult

SIDE = 144
"""The side of a face's thumbnail, in pixels; one with much grain is smaller."""

MOST_BYTES = 3_000
"""The most bytes that a face's thumbnail may take: about as many as a sharp face without grain needs."""

_QUALITY = 65  # WebP quality of the thumbnails
_PICTURE_QUALITY = 55
_PICTURE_SIDES = (960, 160)  # the largest and the smallest longer side of a picture, in pixels
_BYTES_A_PIXEL = 0.16  # a picture of that quality seldom takes more


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The small pictures, as WebP without metadata.

    Attributes:
        faces: by the face's index.
        picture: the whole picture, or None.
        size: width and height of that, in pixels.
        gone: why there are none, for a person; None otherwise.
    """

    faces: Mapping[int, bytes] = field(default_factory=dict)
    picture: bytes | None = None
    size: tuple[int, int] = (0, 0)
    gone: str | None = None


def make_thumbnails(
    record: Mapping[str, Any], faces: Iterable[FaceResult], margin: float, room: int
) -> Thumbnails:
    """Read a record's picture again and make small copies, unless it is no longer the picture that was judged.

    Args:
        record: as `ImageResult.to_dict` gave it.
        faces: those that need thumbnails.
        margin: side of a crop as a multiple of the face box's longer side.
        room: how many bytes the copy of the whole picture may take.
    """
    if record["path"] is None or "sha256" in (record.get("file") or {}):  # then the path is only a name
        return Thumbnails(gone="The picture did not come from a file.")
    if is_uri(record["path"]):
        return Thumbnails(gone="The picture was given by a URI; small copies are made only from paths.")
    path = without_escapes(record["path"])
    limits = ImageLimits()
    try:
        status = os.stat(path)
        state = asdict(state_of(status))
        if record.get("file") not in (None, state):
            return Thumbnails(gone="The file has changed since it was judged.")
        if record.get("file") == state:  # the scan may have allowed more than the default limits
            limits = ImageLimits(
                max_bytes=max(limits.max_bytes, status.st_size),
                max_pixels=max(limits.max_pixels, record["width"] * record["height"]),
                max_side=min(LONGEST_SIDE, max(limits.max_side, record["width"], record["height"])),
            )
        picture = load_picture(path, limits)
    except (OSError, ValueError) as error:
        return Thumbnails(gone=f"The file cannot be read any more: {getattr(error, 'strerror', error)}.")
    except ImageError as error:
        return Thumbnails(
            gone=f"The picture cannot be read any more: expected {error.expected}, got {error.got}."
        )
    if (picture.width, picture.height) != (record["width"], record["height"]):
        return Thumbnails(gone="The file does not hold the picture that was judged.")
    crops = {face.index: _face(picture, face, margin) for face in faces if _is_somewhere(face)}
    small, whole = _fitted(picture, room)
    return Thumbnails(crops, whole, small)


def _is_somewhere(face: FaceResult) -> bool:
    """Whether the face's box can be cut out at all: the record may come from anywhere."""
    left, top, right, bottom = face.box
    sizes = (right - left, bottom - top)
    return (
        all(map(math.isfinite, face.box))
        and min(sizes) >= 1
        and max(sizes) < 1e6
        and max(map(abs, face.box)) < 1e6
    )


def _face(picture: Picture, face: FaceResult, margin: float) -> bytes:
    crop = align(picture.pixels, Face(face.box, face.keypoints, face.detection_score), SIDE, margin)
    image, side = Image.fromarray(crop), SIDE
    while len(content := _webp(image, _QUALITY)) > MOST_BYTES:
        side = round(0.9 * side)
        image = Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS)
    return content


def _fitted(picture: Picture, room: int) -> tuple[tuple[int, int], bytes | None]:
    most, least = _PICTURE_SIDES
    longer = max(picture.width, picture.height)
    shape = min(picture.width, picture.height) / longer
    side = min(longer, most, max(least, math.sqrt(room / _BYTES_A_PIXEL / shape)))
    image = Image.fromarray(picture.pixels)
    while True:
        size = max(1, round(picture.width * side / longer)), max(1, round(picture.height * side / longer))
        content = _webp(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), _PICTURE_QUALITY)
        if len(content) <= room:
            return size, content
        if side < least / 2:
            return (0, 0), None
        side *= 0.8


def _webp(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=2)
    return content.getvalue()
