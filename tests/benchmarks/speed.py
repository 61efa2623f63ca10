"""How fast facefake is, stage by stage, compared with the work that no program of this kind can avoid.

    python tests/benchmarks/speed.py [start] [picture] [folder] [memory] [growth] [--runs N] [--plot PICTURE.png]

Parts: `start`, one small picture in a process of its own; `picture`, group photos of 12 megapixels; `folder`,
500 portraits with one and two workers; `memory`, peak memory; `growth`, time against pixels, faces and pictures. All
of them by default. Whatever is compared runs in turn, and medians are given. Times mean little on another machine,
but ratios within one run do; on a machine that does other work at the same time, they mean little as well.

The pictures are composed from `samples/`. The group photos have a camera's grain; the smooth ones have none, so that
their files are smaller and faster to decode.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from facefake.alignment import align
from facefake.blazeface import FULL_RANGE, FULL_RANGE_SIDE
from facefake.bundle import KERAS_FILE, checked_file
from facefake.cores import usable_cores
from facefake.detector import FakeImageDetector
from facefake.images import load_picture
from facefake.mediapipe_faces import SHORT_RANGE, MediaPipeFaces, _open
from facefake.native import import_mediapipe
from facefake.paths import model_file
from facefake.tiles import Pyramid, View

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
PORTRAITS = {
    "grace-hopper.jpg": (120, 0, 420, 300),
    "astronaut.jpg": (60, 0, 400, 340),
    "ai-selfie.jpg": None,
}
WIDTH, HEIGHT = 4000, 3000
GRAIN = 4.0  # standard deviation in grey levels: gives files of some 3 MB at quality 90, like those of phones


def portrait(number: int) -> Image.Image:
    name, box = list(PORTRAITS.items())[number % len(PORTRAITS)]
    picture = Image.open(SAMPLES / name).convert("RGB").crop(box)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number // len(PORTRAITS) % 2 else picture


def backdrop(chance: np.random.Generator) -> Image.Image:
    """Blotches of all sizes, distributed as in photographs, so that no part is as flat as a wall."""
    frequency = np.hypot(np.fft.fftfreq(750)[:, None], np.fft.rfftfreq(1000))
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * chance.random(frequency.shape))
    grey = np.fft.irfft2(phases / frequency, (750, 1000))
    return Image.fromarray((128 + 40 * grey / grey.std()).clip(0, 255).astype(np.uint8)).convert("RGB")


def group(faces: int, width: int = WIDTH, height: int = HEIGHT, grain: float = GRAIN) -> bytes:
    """A JPEG of this many people in rows; with 0 faces, the backdrop alone."""
    chance = np.random.default_rng(faces)
    picture = backdrop(chance).resize((width, height), Image.Resampling.BICUBIC)
    columns = max(1, round((faces * width / height) ** 0.5))
    rows = max(1, -(-faces // columns))
    wide, high = width // columns, height // rows
    for number in range(faces):
        side = int(min(wide, high) * chance.uniform(0.6, 0.95))
        left = number % columns * wide + (wide - side) // 2
        top = number // columns * high + (high - side) // 2
        picture.paste(portrait(number).resize((side, side), Image.Resampling.LANCZOS), (left, top))
    if grain:
        pixels = np.asarray(picture, np.float32)
        pixels = pixels + chance.standard_normal(pixels.shape, np.float32) * np.float32(grain)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def folder_of_portraits(folder: Path, count: int) -> Path:
    """A folder of portraits of 600 to 900 pixels along a side, no two alike."""
    folder.mkdir()
    chance = np.random.default_rng(count)
    for number in range(count):
        side = int(chance.integers(600, 900))
        picture = portrait(number).resize((side, side), Image.Resampling.BICUBIC)
        picture = picture.rotate(float(chance.uniform(-5, 5)), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:04}.jpg", quality=88)
    return folder


def by_turns(runs: int, tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each task, in seconds, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(runs + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row(*cells: object) -> None:
    print(
        "|",
        " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells),
        "|",
        flush=True,
    )


def heading(*names: str) -> None:
    print()
    row(*names)
    row(*("---" for _ in names))


def python(*arguments: str) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True
    ).stdout


def start(runs: int) -> None:
    picture = str(SAMPLES / "astronaut.jpg")
    seconds = by_turns(
        runs,
        {
            "import tensorflow": lambda: python("-c", "import tensorflow"),
            "import facefake": lambda: python("-c", "import facefake"),
            "facefake scan of one small picture": lambda: python("-m", "facefake", "scan", picture),
            "the same with --workers 0": lambda: python("-m", "facefake", "scan", picture, "--workers", "0"),
        },
    )
    heading("process", "s", "of importing tensorflow")
    for name, value in seconds.items():
        row(name, value, value / seconds["import tensorflow"])


class Calls(NamedTuple):
    """The inputs of a detector's models: tiles for LiteRT, views for MediaPipe, and crops for LiteRT, each with the
    number of its network."""

    tiles: list[Any]
    views: list[Any]
    crops: list[tuple[int, Any]]


@contextmanager
def recording(detector: FakeImageDetector) -> Iterator[Calls]:
    """Records the detector's calls to its models within the context."""
    calls = Calls([], [], [])
    network, mediapipe = detector._faces._network, detector._faces._mediapipe
    classifiers = detector._classifier._network._networks  # type: ignore[attr-defined]
    run, find_again = network.run, mediapipe.find
    scores = [classifier.score for classifier in classifiers]

    def recorded_run(pixels: Any) -> Any:
        calls.tiles.append(pixels)
        return run(pixels)

    def recorded_find_again(pixels: Any) -> Any:
        calls.views.append(pixels)
        return find_again(pixels)

    def recorded_score(number: int, crop: Any) -> Any:
        calls.crops.append((number, crop))
        return scores[number](crop)

    network.run = recorded_run  # type: ignore[method-assign]
    mediapipe.find = recorded_find_again  # type: ignore[method-assign]
    for number, classifier in enumerate(classifiers):
        classifier.score = partial(recorded_score, number)
    try:
        yield calls
    finally:
        network.run = run  # type: ignore[method-assign]
        mediapipe.find = find_again  # type: ignore[method-assign]
        for classifier, score in zip(classifiers, scores, strict=True):
            classifier.score = score


class Bare:
    """LiteRT interpreters, one per network, called with nothing around them."""

    def __init__(self, contents: dict[Any, bytes]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreters = {}
        for key, content in contents.items():
            self._interpreters[key] = Interpreter(model_content=content, num_threads=1)
            self._interpreters[key].allocate_tensors()
        self._inputs = {key: each.get_input_details()[0]["index"] for key, each in self._interpreters.items()}

    def __call__(self, key: Any, pixels: Any) -> None:
        self._interpreters[key].set_tensor(self._inputs[key], pixels)
        self._interpreters[key].invoke()


class Floor:
    """The bare calls that a picture's result needs, on the same number of threads, with nothing in between."""

    def __init__(self, calls: Calls, contents: list[bytes], threads: int) -> None:
        mediapipe = import_mediapipe()
        self._tiles = [(FULL_RANGE, pixels[None].astype(np.float32)) for pixels in calls.tiles]
        self._crops = [(number, crop[None].astype(np.float32)) for number, crop in calls.crops]
        self._views = [
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels) for pixels in calls.views
        ]
        # As many of each as the detector has: two of MediaPipe's per thread, if there are several threads.
        at_once = 2 * threads if threads > 1 else 1
        self._opened = [_open(SHORT_RANGE, []) for _ in range(at_once)]
        networks: dict[Any, bytes] = dict(enumerate(contents))
        networks[FULL_RANGE] = model_file(FULL_RANGE).read_bytes()
        self._bare = [Bare(networks) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(at_once)

    def detection(self) -> None:
        self._shared(self._bare, self._tiles)
        shared = iter(self._views)  # each thread takes the next one, as the detector's do
        list(self._pool.map(lambda opened: [opened.detect(view) for view in shared], self._opened))

    def classification(self) -> None:
        self._shared(self._bare, self._crops)

    def _shared(self, bare: list[Bare], work: list[tuple[Any, Any]]) -> None:
        shared = iter(work)
        list(self._pool.map(lambda each: [each(*item) for item in shared], bare))

    def close(self) -> None:
        for opened in self._opened:
            opened.close()


def plain_way(data: bytes, detector: FakeImageDetector) -> Callable[[], int]:
    """What a script of twenty lines would do: decode, one pass of MediaPipe, `keras.predict` for each face."""
    from facefake.keras_archive import load_keras

    bundle = detector.bundle
    network = load_keras(checked_file(bundle, KERAS_FILE), KERAS_FILE)
    mediapipe = MediaPipeFaces(FULL_RANGE, 1)

    def run() -> int:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        height, width = pixels.shape[:2]
        view = View(width / 2, height / 2, max(width, height))
        found = mediapipe.find(Pyramid(pixels).render(view, FULL_RANGE_SIDE))
        for face in found:
            crop = align(pixels, view.place(face), bundle.side, bundle.margin)
            network.predict(crop[None].astype(np.float32), verbose=0)
        return len(found)

    return run


def stages(runs: int, data: bytes, threads: int) -> tuple[dict[str, float], int, int]:
    """Median seconds of a picture's stages and of their bare calls; how many faces it has, and how many looks (tiles
    and views) detection took."""
    with FakeImageDetector(threads=threads) as detector:
        with recording(detector) as calls:
            judged = len(detector.analyze(data).faces)
        contents = [checked_file(detector.bundle, name) for name in detector.bundle.litert_files]
        floor = Floor(calls, contents, threads)
        loaded = load_picture(data)
        found = detector._faces.detect(loaded.pixels)
        tasks: dict[str, Callable[[], object]] = {
            "whole": lambda: detector.analyze(data),
            "bare decode": lambda: Image.open(io.BytesIO(data)).load(),
            "bare detect": floor.detection,
            "bare classify": floor.classification,
            "decode": lambda: load_picture(data),
            "detect": lambda: detector._faces.detect(loaded.pixels),
            "classify": lambda: detector._evidence(loaded, found),
        }
        seconds = by_turns(runs, tasks)
        floor.close()
    return seconds, judged, len(calls.tiles) + len(calls.views)


# In a process that does nothing else: in one that did other work, Pillow may decode into memory that the allocator kept,
# whose pages need not be mapped anew, which takes two thirds of the time. Luck decides which of the two it is.
ALONE = """
import statistics, sys, time
{prepare}
seconds = []
for _ in range(6):
    started = time.perf_counter()
    {task}
    seconds.append(time.perf_counter() - started)
print(statistics.median(seconds[1:]))
"""
WHOLE_ALONE = ALONE.format(
    prepare="from facefake import FakeImageDetector; detector = FakeImageDetector()",
    task="detector.analyze(sys.argv[1])",
)
DECODE_ALONE = ALONE.format(prepare="from PIL import Image", task="Image.open(sys.argv[1]).load()")


def alone(runs: int) -> None:
    """A picture, default settings, against Pillow's bare decode of it."""
    heading(
        "12 megapixels, default settings, a process for each",
        "whole, s",
        "bare decode, s",
        "whole / bare decode",
    )
    with tempfile.TemporaryDirectory() as place:
        for faces, grain in product((20, 60), (GRAIN, 0.0)):
            path = Path(place) / "group.jpg"
            path.write_bytes(group(faces, grain=grain))
            turns = [
                [float(python("-c", code, str(path))) for code in (WHOLE_ALONE, DECODE_ALONE)]
                for _ in range(runs)
            ]
            whole, decode = (statistics.median(each) for each in zip(*turns, strict=True))
            row(f"{faces} faces, {'grain' if grain else 'smooth'}", whole, f"{decode:.3f}", whole / decode)


def picture(runs: int) -> None:
    parts = ("decode", "detect", "classify")
    columns = ("threads", "MB", "faces", "looks", *parts, "whole, s", "floor, s", "whole / floor")
    heading("12 megapixels", *columns)
    for faces, grain, threads in product((20, 60), (GRAIN, 0.0), sorted({1, usable_cores()})):
        data = group(faces, grain=grain)
        seconds, judged, looks = stages(runs, data, threads)
        floor = sum(seconds[f"bare {part}"] for part in parts)
        name = f"{faces} faces, {'grain' if grain else 'smooth'}"
        each = (f"{seconds[part]:.3f} ({seconds[f'bare {part}']:.3f})" for part in parts)
        whole = seconds["whole"]
        row(name, threads, len(data) / 1e6, judged, looks, *each, whole, floor, whole / floor)
    print("\nIn brackets: the bare calls of Pillow, MediaPipe and LiteRT, of which the floor is the sum.")
    alone(runs)
    heading("60 faces against the plain way", "faces found", "s", "s a face", "plain / facefake, a face")
    data = group(60)
    with FakeImageDetector() as detector:
        plain = plain_way(data, detector)
        counts = {"facefake": len(detector.analyze(data).faces), "plain": plain()}
        seconds = by_turns(runs, {"facefake": lambda: detector.analyze(data), "plain": plain})
    a_face = {name: seconds[name] / max(1, counts[name]) for name in seconds}
    for name in seconds:
        row(name, counts[name], seconds[name], f"{a_face[name]:.4f}", a_face["plain"] / a_face[name])


def folder(runs: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        portraits = str(folder_of_portraits(Path(place) / "portraits", 500))
        halves = [str(folder_of_portraits(Path(place) / f"half-{number}", 250)) for number in range(2)]

        def scan(path: str, workers: int) -> None:
            python("-m", "facefake", "scan", path, "--workers", str(workers), "--json")

        def two_alone() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda half: scan(half, 1), halves))

        seconds = by_turns(
            runs,
            {
                "1 worker": lambda: scan(portraits, 1),
                "2 workers": lambda: scan(portraits, 2),
                "two scans of 250 at once": two_alone,
            },
        )
    heading("500 portraits", "s", "pictures a second", "times as fast as 1 worker")
    for name, value in seconds.items():
        row(name, value, 500 / value, seconds["1 worker"] / value)


def memory(runs: int) -> None:
    """`runs` is ignored: a peak hardly varies."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "group.jpg"
        path.write_bytes(group(60))
        command = [sys.executable, "-m", "facefake", "scan", str(path), "--workers", "1", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peaks: dict[int, int] = {}
        while process.poll() is None:
            for pid in [process.pid, *children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))
            time.sleep(0.002)
    heading("scan of 12 megapixels and 60 faces, one worker", "peak, MiB")
    for pid, kib in sorted(peaks.items()):
        row("parent" if pid == process.pid else "worker", kib >> 10)
    row("both", sum(peaks.values()) >> 10)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def peak(pid: int) -> int:
    """A process's peak resident memory in KiB, as counted by the kernel."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def growth(runs: int, plot: Path | None) -> None:
    series: dict[str, list[tuple[float, float]]] = {}
    with FakeImageDetector() as detector:
        tasks = {}
        for megapixels in (1, 3, 6, 12, 24, 48):
            scale = (megapixels * 1e6 / (WIDTH * HEIGHT)) ** 0.5
            tasks["megapixels", megapixels] = group(10, round(WIDTH * scale), round(HEIGHT * scale))
        for faces in (0, 15, 30, 60, 90, 120):
            tasks["faces", faces] = group(faces)
        found = {key: len(detector.analyze(data).faces) for key, data in tasks.items()}
        seconds = by_turns(
            runs,
            {str(key): (lambda data=data: detector.analyze(data)) for key, data in tasks.items()},  # type: ignore[misc]
        )
        for (what, value), count in found.items():
            across = float(count) if what == "faces" else float(value)
            series.setdefault(what, []).append((across, seconds[str((what, value))]))
    with tempfile.TemporaryDirectory() as place:
        folders = {n: str(folder_of_portraits(Path(place) / str(n), n)) for n in (25, 50, 100, 200, 400)}
        timed = by_turns(
            1,
            {
                str(n): (lambda path=path: python("-m", "facefake", "scan", path, "--json"))  # type: ignore[misc]
                for n, path in folders.items()
            },
        )
        series["pictures"] = [(float(n), timed[str(n)]) for n in folders]
    heading("growth", "from", "to", "seconds", "a line's: at 0", "each", "R²")
    lines = {}
    for what, points in series.items():
        x, y = np.array(points).T
        slope, offset = np.polyfit(x, y, 1)
        fit = 1 - ((y - offset - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        lines[what] = (slope, offset)
        span = " ".join(f"{value:.2f}" for value in y)
        row(what, f"{x[0]:g}", f"{x[-1]:g}", span, f"{offset:.2f}", f"{slope:.4f}", f"{fit:.4f}")
    if plot is not None:
        draw(series, lines, plot)


def draw(
    series: dict[str, list[tuple[float, float]]], lines: dict[str, tuple[float, float]], target: Path
) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    titles = {
        "megapixels": "megapixels, 10 faces",
        "faces": "faces, 12 megapixels",
        "pictures": "portraits in a folder",
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (what, points) in zip(axes, series.items(), strict=True):
        x, y = np.array(points).T
        slope, offset = lines[what]
        axis.plot(x, offset + slope * x, color="#9aa5b1", linewidth=1.5, zorder=1)
        axis.scatter(x, y, color="#1f5fa8", zorder=2)
        axis.set(xlabel=titles[what], ylabel="seconds", xlim=(0, None), ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="where the picture of the growth goes")
    options = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "start": lambda: start(options.runs),
        "picture": lambda: picture(options.runs),
        "folder": lambda: folder(max(1, options.runs // 3)),
        "memory": lambda: memory(options.runs),
        "growth": lambda: growth(options.runs, options.plot),
    }
    unknown = set(options.parts) - set(parts)
    if unknown:
        parser.error(f"expected parts out of {', '.join(parts)}, got {', '.join(sorted(unknown))}")
    print(f"{usable_cores()} cores, {FULL_RANGE}, bundle {FakeImageDetector().bundle.label}")
    for name, part in parts.items():
        if name in options.parts or not options.parts:
            part()


if __name__ == "__main__":
    main()
