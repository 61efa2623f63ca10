"""How many faces the detector finds, how many boxes hold none, and how long it takes, against a single pass.

    python tests/benchmarks/detection.py --shared ../shared --portraits PICTURE... --draw boxes/

The development pictures in `--shared` are not part of the project. `--portraits` are pictures of one person
each: every further box on them counts as false. `--draw` writes the pictures with their boxes, for inspection:
a box that counts as false may hold a face that is missing from the ground truth, and where the ground truth is
only a number of faces, a box that counts as found may hold none.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from facefake.blazeface import FULL_RANGE, FULL_RANGE_SIDE
from facefake.detection import Face, FaceDetector
from facefake.mediapipe_faces import MediaPipeFaces
from facefake.tiles import Box, Pyramid, View, overlap

Pixels = NDArray[np.uint8]
Detect = Callable[[Pixels], list[Face]]

# Faces counted by eye, including half-hidden ones.
COUNTED = {
    "pif-group.jpg": 67,
    "pif-reunion-19.jpg": 43,
    "bechdel-team.jpg": 56,
    "ca-team.jpg": 41,
    "field-team.jpg": 3,
}
BASELINE_SCORE = 0.5  # MediaPipe's default


@dataclass
class Scene:
    """One picture with its ground truth: boxes, or only the number of faces."""

    name: str
    pixels: Pixels
    boxes: list[Box] | None = None
    count: int = 1


@dataclass
class Tally:
    faces: int = 0
    found: int = 0
    false: int = 0
    twice: int = 0
    seconds: float = 0.0
    pictures: int = 0
    seen: list[tuple[Scene, list[Face]]] = field(default_factory=list)


def read(path: Path) -> Pixels:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def turned(scene: Scene, angle: int) -> Scene:
    """The scene rotated counterclockwise about its middle, its boxes moved along without being rotated."""
    image = Image.fromarray(scene.pixels).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    height, width = scene.pixels.shape[:2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    boxes = []
    for left, top, right, bottom in scene.boxes or []:
        x, y = (left + right - width) / 2, (top + bottom - height) / 2
        u, v = x * cos + y * sin + image.width / 2, -x * sin + y * cos + image.height / 2
        boxes.append(
            (u - (right - left) / 2, v - (bottom - top) / 2, u + (right - left) / 2, v + (bottom - top) / 2)
        )
    return Scene(f"{scene.name} {angle}", np.asarray(image), boxes)


def measure(detect: Detect, scenes: list[Scene]) -> Tally:
    tally = Tally(pictures=len(scenes))
    for scene in scenes:
        start = time.perf_counter()
        found = detect(scene.pixels)
        tally.seconds += time.perf_counter() - start
        tally.seen.append((scene, found))
        tally.twice += sum(
            overlap(one.box, other.box)[0] > 0.3 for index, one in enumerate(found) for other in found[:index]
        )
        if scene.boxes is None:
            hits, faces = min(len(found), scene.count), scene.count
        else:
            hits = sum(any(overlap(one.box, box)[0] > 0.3 for one in found) for box in scene.boxes)
            faces = len(scene.boxes)
        tally.faces += faces
        tally.found += hits
        tally.false += max(0, len(found) - hits)
    return tally


def draw(folder: Path, title: str, tally: Tally) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, (scene, found) in enumerate(tally.seen):
        image = Image.fromarray(scene.pixels)
        pen = ImageDraw.Draw(image)
        thick = max(1, image.width // 700)
        for face in found:
            pen.rectangle(face.box, outline="lime", width=thick)
            for x, y in face.keypoints:
                pen.ellipse((x - thick, y - thick, x + thick, y + thick), fill="red")
            pen.text(
                (face.box[0], face.box[3]), f"{face.score:.2f}", "yellow", font_size=max(9, face.side / 4)
            )
        image.save(folder / f"{title} {index} {scene.name}.png".replace(" ", "-"))


def scenes(shared: Path, portraits: list[Path], seed: int) -> dict[str, list[Scene]]:
    groups = shared / "groups"
    boxed = []
    for name, truth in json.loads((groups / "boxes.json").read_text()).items():
        boxes = [(left, top, left + wide, top + high) for left, top, wide, high in truth["boxes"]]
        boxed.append(Scene(Path(name).stem, read(groups / name), boxes))
    rows = {"boxes.json": boxed}
    for angle in (-45, -30, 30, 45):
        rows[f"  turned by {angle}"] = [turned(scene, angle) for scene in boxed]
    for name, count in COUNTED.items():
        rows[name] = [Scene(Path(name).stem, read(groups / name), count=count)]
    if portraits:
        rows["portraits"] = [Scene(path.stem, read(path)) for path in portraits]
    with (shared / "faces" / "manifest.csv").open(newline="") as lines:
        close = sorted(row["path"] for row in csv.DictReader(lines) if row["source"] in ("dfdc", "ffhq-1024"))
    chosen = random.Random(seed).sample(close, 200)
    rows["face fills frame"] = [Scene(Path(path).stem, read(shared / "faces" / path)) for path in chosen]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[3] / "shared")
    parser.add_argument("--portraits", type=Path, nargs="*", default=[])
    parser.add_argument("--min-face", type=float, default=16)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    mediapipe = MediaPipeFaces(FULL_RANGE, threads=1)

    def single_pass(pixels: Pixels) -> list[Face]:
        height, width = pixels.shape[:2]
        view = View(width / 2, height / 2, max(width, height))
        found = mediapipe.find(Pyramid(pixels).render(view, FULL_RANGE_SIDE))
        return [view.place(face) for face in found if face.score >= BASELINE_SCORE]

    rows = scenes(options.shared, options.portraits, options.seed)
    heads = (
        "pictures",
        "faces",
        "found",
        "recall",
        "false/pic",
        "twice",
        "ms/pic",
        "1 thread",
        "one pass",
        "false/pic",
        "time",
    )
    print(f"{'min_face ' + str(options.min_face):18}", *(f"{head:>9}" for head in heads))
    with (
        FaceDetector(min_face=options.min_face) as all_cores,
        FaceDetector(min_face=options.min_face, threads=1) as one_core,
    ):
        for detect in (single_pass, all_cores.detect, one_core.detect):
            detect(np.zeros((640, 640, 3), np.uint8))  # opens the models
        for title, pictures in rows.items():
            plain, alone, ours = (
                measure(each, pictures) for each in (single_pass, one_core.detect, all_cores.detect)
            )
            assert [found for _, found in ours.seen] == [found for _, found in alone.seen], (
                "threads change the result"
            )
            cells = (
                ours.pictures,
                ours.faces,
                ours.found,
                f"{ours.found / ours.faces:.3f}",
                f"{ours.false / ours.pictures:.2f}",
                ours.twice,
                f"{1e3 * ours.seconds / ours.pictures:.0f}",
                f"{1e3 * alone.seconds / ours.pictures:.0f}",
                f"{plain.found / plain.faces:.3f}",
                f"{plain.false / plain.pictures:.2f}",
                f"{ours.seconds / plain.seconds:.1f}x",
            )
            print(f"{title:18}", *(f"{cell:>9}" for cell in cells), flush=True)
            if options.draw:
                draw(options.draw, title.strip(), ours)


if __name__ == "__main__":
    main()
