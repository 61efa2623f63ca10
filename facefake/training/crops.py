"""Face crops, made once from a dataset by the pipeline's own detection and alignment, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facefake.alignment import align, native_side
from facefake.detection import FaceDetector
from facefake.errors import DatasetError, ImageError
from facefake.images import load_picture
from facefake.locks import alone_in
from facefake.saving import whole_file
from facefake.training.dataset import Example
from facefake.training.files import make_folder, write_text
from facefake.training.landmarks import LANDMARK_COUNT, FaceMesh

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORE_MARGIN = 1.35  # wider than any network's margin, so that crops can be shifted and turned in training
STORE_SIDE = 256
NO_FACE = "no face found"
"""Why a picture without a face is skipped."""

_FORMAT = 2  # raised whenever faces are found or cut differently than before
_PIXELS, _LANDMARKS = "pixels.bin", "landmarks.npy"


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """Where one crop lies in the store, and what it shows.

    Attributes:
        example: the picture that it was cut from.
        offset: of its first byte among all crops' pixels.
        side: pixels, at most `STORE_SIDE`.
        face_side: longer side of the face's box, pixels of the picture.
    """

    example: Example
    offset: int
    side: int
    face_side: float


class CropStore:
    """The crops of a dataset, memory-mapped.

    Attributes:
        crops: one `StoredCrop` per picture in which a face was found, in the dataset's order.
        fingerprint: of the dataset and of how it was cut.
        skipped: path and reason of every other picture.

    Raises:
        DatasetError: a file in the folder is missing or does not match the index, as after an incomplete copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "index.json"
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            self.crops = [
                StoredCrop(Example(Path(path), *rest), offset, side, face_side)
                for path, *rest, offset, side, face_side in index["crops"]
            ]
            self.fingerprint: str = index["fingerprint"]
            self.skipped: list[tuple[str, str]] = [tuple(row) for row in index["skipped"]]
            self._pixels = np.memmap(folder / _PIXELS, np.uint8, "r")
            self._landmarks = np.load(folder / _LANDMARKS, mmap_mode="r")
            size = sum(crop.side * crop.side * 3 for crop in self.crops)
            if self._pixels.size != size:
                raise ValueError(f"{_PIXELS} of {self._pixels.size:,} bytes in place of {size:,}")
            shape = (len(self.crops), LANDMARK_COUNT, 2)
            if self._landmarks.shape != shape:
                raise ValueError(f"{_LANDMARKS} of shape {self._landmarks.shape} in place of {shape}")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path}: expected the index of the crops beside it, got: {error}; delete this file to cut them anew"
            ) from error

    def __len__(self) -> int:
        return len(self.crops)

    def told_skipped(self) -> str | None:
        """A sentence for the user about the pictures that gave no crop; None if there are none."""
        if not self.skipped:
            return None
        faceless = sum(reason == NO_FACE for _, reason in self.skipped)
        return (
            f"{len(self.skipped):,} of {len(self) + len(self.skipped):,} pictures are left out: {faceless:,} without a "
            f"face, {len(self.skipped) - faceless:,} that cannot be read; the first: {_why(*self.skipped[0])}"
        )

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """Crop `number`, uint8 (side, side, 3), RGB, read-only; its margin is `STORE_MARGIN`."""
        crop = self.crops[number]
        flat = self._pixels[crop.offset : crop.offset + crop.side * crop.side * 3]
        return flat.reshape(crop.side, crop.side, 3)

    def landmarks(self, number: int) -> NDArray[np.float32] | None:
        """Landmarks of crop `number`, float32 (468, 2), pixels of the crop; None for a fake or where none were found."""
        points = np.asarray(self._landmarks[number], np.float32)
        return None if np.isnan(points[0, 0]) else points

    def thumbnails(self) -> NDArray[np.uint8]:
        """All crops in grey, uint8 (n, 32, 32); made on first use, and kept beside them.

        Raises:
            OutputError: they cannot be written.
        """
        import cv2

        # The name is of these crops: another run may have made another store in the folder meanwhile.
        path = self._folder / f"thumbnails-{self.fingerprint[:16]}.npy"
        shape = (len(self), 32, 32)
        with suppress(OSError, EOFError, ValueError):  # not there yet, or an incomplete copy
            kept = np.load(path)
            if kept.shape == shape:
                return np.asarray(kept, np.uint8)
        small = np.empty(shape, np.uint8)
        for number in range(len(self)):
            grey = cv2.cvtColor(self.pixels(number), cv2.COLOR_RGB2GRAY)
            cv2.resize(grey, (32, 32), small[number], interpolation=cv2.INTER_AREA)
        with whole_file(path, force=True) as file:
            np.save(file, small)
        return small


def make_crops(
    examples: Sequence[Example], folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> CropStore:
    """Cut the largest face out of every picture, or take the crops that an earlier call left in `folder`.

    Args:
        examples: the dataset.
        folder: where the store lies or will lie.
        progress: called with the number of pictures done and their total.

    Raises:
        DatasetError: no face was found in any picture, or `folder` holds something else.
        OutputError: `folder` cannot be written to, or another process is cutting crops there.
    """
    fingerprint = fingerprint_of(examples)
    index = folder / "index.json"
    if index.is_file() and _kept_fingerprint(index) == fingerprint:
        return CropStore(folder)
    make_folder(folder)
    # The unfinished files of another run would be taken for the remains of one that was killed.
    with alone_in(folder, "cutting"):
        index.unlink(missing_ok=True)
        # Thumbnails of other crops, and half-written files of a killed run, which may be gigabytes.
        for outdated in (*folder.glob("thumbnails-*.npy"), *folder.glob(".facefake-*.partial")):
            outdated.unlink()
        rows: list[list[object]] = []
        skipped: list[tuple[str, str]] = []
        landmarks = []
        offset = 0
        with (
            FaceDetector() as detector,
            ThreadPoolExecutor() as pool,
            # A process that has mapped the old file keeps it.
            whole_file(folder / _PIXELS, force=True) as pixels,
        ):
            cutter = _Cutter(detector, FaceMesh())
            for done, (example, cut) in enumerate(zip(examples, pool.map(cutter, examples), strict=True), 1):
                progress(done, len(examples))
                if isinstance(cut, str):
                    skipped.append((str(example.path), cut))
                    continue
                crop, points, face_side = cut
                pixels.write(crop.tobytes())
                landmarks.append(points)
                rows.append(
                    [
                        *({**asdict(example), "path": str(example.path)}).values(),
                        offset,
                        len(crop),
                        round(face_side, 1),
                    ]
                )
                offset += crop.size
        if not rows:
            first = f"; the first: {_why(*skipped[0])}" if skipped else ""
            raise DatasetError(f"expected faces in the {len(examples)} pictures, found none{first}")
        with whole_file(folder / _LANDMARKS, force=True) as file:
            np.save(file, np.stack(landmarks))
        # Last, so that a run that is interrupted here leaves no index.
        write_text(index, json.dumps({"fingerprint": fingerprint, "crops": rows, "skipped": skipped}))
    return CropStore(folder)


def _why(path: str, reason: str) -> str:
    """Why a picture was skipped, with its path; errors about unreadable pictures already begin with it."""
    return f"{path}: {reason}" if reason == NO_FACE else reason


def _kept_fingerprint(index: Path) -> str:
    """The fingerprint of the crops in a folder; another program's index must not be replaced."""
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{index}: expected the index of face crops, got another file") from error


class _Cutter:
    def __init__(self, detector: FaceDetector, mesh: FaceMesh) -> None:
        self._detector = detector
        self._mesh = mesh

    def __call__(self, example: Example) -> tuple[NDArray[np.uint8], NDArray[np.float16], float] | str:
        try:
            picture = load_picture(example.path)
        except ImageError as error:
            return str(error)
        faces = self._detector.detect(picture.pixels)
        if not faces:
            return NO_FACE
        face = max(faces, key=lambda face: face.side)
        crop = align(picture.pixels, face, min(STORE_SIDE, native_side(face, STORE_MARGIN)), STORE_MARGIN)
        points = self._mesh.landmarks(crop) if example.label == "real" else None
        if points is None:
            points = np.full((LANDMARK_COUNT, 2), np.nan)
        return crop, points.astype(np.float16), face.side


def fingerprint_of(examples: Sequence[Example]) -> str:
    """The fingerprint of a dataset, its files' sizes and modification times included, and of how it is cut."""
    digest = hashlib.sha256(f"{_FORMAT} {STORE_MARGIN} {STORE_SIDE}".encode())
    for example in examples:
        try:
            stat = example.path.stat()
            state = f"{stat.st_size}{stat.st_mtime_ns}"
        except OSError:  # it will be skipped when crops are cut
            state = "gone"
        digest.update(f"{example}{state}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
