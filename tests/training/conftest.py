from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facefake.training import landmarks as mesh
from facefake.training.crops import CropStore

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]
_SIDE = 128


def _ellipse(
    numbers: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]
) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, len(numbers), endpoint=False) - np.pi / 2
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radii + centre


@pytest.fixture(scope="session")
def face() -> Callable[[int], Face]:
    """Makes a textured crop of 128 pixels a side and landmarks laid out like a face, another one for each seed."""

    def make(seed: int) -> Face:
        import cv2

        rng = np.random.default_rng(seed)
        points = rng.uniform((40, 45), (88, 100), (mesh.LANDMARK_COUNT, 2))
        layout = {
            mesh.FACE_OVAL: ((64, 68), (36, 46)),
            mesh.RIGHT_EYE: ((48, 58), (7, 3)),
            mesh.LEFT_EYE: ((80, 58), (7, 3)),
            mesh.RIGHT_BROW: ((48, 49), (10, 2)),
            mesh.LEFT_BROW: ((80, 49), (10, 2)),
            mesh.NOSE: ((64, 70), (8, 12)),
            mesh.MOUTH: ((64, 92), (13, 5)),
        }
        for numbers, (centre, radii) in layout.items():
            points[list(numbers)] = _ellipse(numbers, centre, radii)
        points = points * (1 + 0.04 * rng.uniform(-1, 1, 2)) + rng.uniform(-3, 3, 2)
        coarse = rng.integers(70, 190, (17, 17, 3)).astype(np.uint8)
        texture = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC).astype(int)
        crop = np.clip(texture + rng.integers(-12, 13, texture.shape), 0, 255).astype(np.uint8)
        return crop, points.astype(np.float32)

    return make


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CropStore]:
    """Makes a store out of (fields of the example, pixels, landmarks or None), without pictures or detection."""

    def make(crops: Sequence[tuple[dict[str, str], NDArray[np.uint8], Any]]) -> CropStore:
        folder: Path = tmp_path_factory.mktemp("store")
        rows, marks, offset = [], [], 0
        with (folder / "pixels.bin").open("wb") as file:
            for number, (fields, pixels, landmarks) in enumerate(crops):
                example = {
                    "path": f"{number}.jpg",
                    "label": "real",
                    "kind": "photo",
                    "source": "made",
                    "group": str(number),
                    "split": "train",
                    **fields,
                }
                rows.append([*example.values(), offset, len(pixels), float(len(pixels))])
                marks.append(np.full((mesh.LANDMARK_COUNT, 2), np.nan) if landmarks is None else landmarks)
                file.write(pixels.tobytes())
                offset += pixels.size
        np.save(folder / "landmarks.npy", np.stack(marks).astype(np.float16))
        (folder / "index.json").write_text(json.dumps({"fingerprint": "", "crops": rows, "skipped": []}))
        return CropStore(folder)

    return make


@pytest.fixture(scope="session")
def toy_store(store_of: Callable[..., CropStore], face: Callable[[int], Face]) -> CropStore:
    """Textured real faces, and fakes of two kinds that even a tiny network can tell: they are green."""

    def green(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.clip(pixels + np.array([-30, 50, -30]), 0, 255).astype(np.uint8)

    crops = []
    for number in range(48):
        split = "val" if number % 3 == 0 else "train"
        pixels, landmarks = face(number)
        source = ("one", "two")[number % 2]
        crops.append(({"source": source, "split": split, "group": f"g{number}"}, pixels, landmarks))
        kind = ("gan", "face-swap")[number % 2]
        fake = {"label": "fake", "kind": kind, "source": f"{kind}s", "split": split, "group": f"g{number}"}
        crops.append((fake, green(pixels), None))
    return store_of(crops)
