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
"""Of a face's thumbnail, in pixels; one with much grain is smaller."""

MOST_BYTES = 3_000
"""That a face's thumbnail takes, about as many as a sharp face without grain."""

_QUALITY = 65  # of the thumbnails, as WebP counts it
_PICTURE_QUALITY = 55
_PICTURE_SIDES = (960, 160)  # the most and the least pixels of a picture's longer side
_BYTES_A_PIXEL = 0.16  # that a picture of that quality seldom takes more of


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The small pictures, as WebP without metadata.

    Attributes:
        faces: by the face's index.
        picture: the whole picture, or None.
        size: of that, width and height in pixels.
        gone: why there are none, for a person; None otherwise.
    """

    faces: Mapping[int, bytes] = field(default_factory=dict)
    picture: bytes | None = None
    size: tuple[int, int] = (0, 0)
    gone: str | None = None


def make_thumbnails(
    record: Mapping[str, Any], faces: Iterable[FaceResult], margin: float, room: int
) -> Thumbnails:
    """Read a record's picture again and make it small, unless it is not the one that was judged.

    Args:
        record: as `ImageResult.to_dict` gave it.
        faces: whose thumbnails are wanted.
        margin: side of a crop as a multiple of the face box's longer side.
        room: how many bytes the whole picture may take.
    """
    if record["path"] is None or "sha256" in (record.get("file") or {}):  # then the path is but a name
        return Thumbnails(gone="The picture was no file.")
    if is_uri(record["path"]):
        return Thumbnails(
            gone="The picture lies in a store; small copies are made of this machine's files alone."
        )
    path = without_escapes(record["path"])
    limits = ImageLimits()
    try:
        status = os.stat(path)
        state = asdict(state_of(status))
        if record.get("file") not in (None, state):
            return Thumbnails(gone="The file was changed since it was judged.")
        if record.get("file") == state:  # a scan may allow more than is usual, and this one did
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
        return Thumbnails(gone="The file holds another picture than was judged.")
    crops = {face.index: _face(picture, face, margin) for face in faces if _is_somewhere(face)}
    small, whole = _fitted(picture, room)
    return Thumbnails(crops, whole, small)


def _is_somewhere(face: FaceResult) -> bool:
    """Whether a box can be cut out at all, wherever the record comes from."""
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
