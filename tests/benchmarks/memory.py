"""Whether memory grows from picture to picture.

    python tests/benchmarks/memory.py 2000

Judges small pictures of several formats and sizes one after the other, every tenth of them truncated, and prints how
many MiB this process held after each tenth of the run. Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from facefake.detector import FakeImageDetector
from facefake.errors import ImageError

_PORTRAIT = Path(__file__).resolve().parents[2] / "samples" / "grace-hopper.jpg"
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


def _pictures() -> Iterator[bytes]:
    """An endless series of pictures of one face, 50 to 120 pixels in size, in all formats in turn."""
    face = Image.open(_PORTRAIT).convert("RGB").crop((120, 0, 420, 300))
    encoded = []
    for number, side in enumerate(range(90, 210, 5)):
        stream = io.BytesIO()
        face.resize((side, side + number)).save(stream, _FORMATS[number % len(_FORMATS)])
        encoded.append(stream.getvalue())
    for number, data in enumerate(cycle(encoded)):
        yield data[: len(data) // 2] if number % 10 == 9 else data


def _held() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int)
    count = parser.parse_args().count
    held, judged, failed = {}, 0, 0
    with FakeImageDetector() as detector:
        for number, data in enumerate(islice(_pictures(), count), 1):
            try:
                judged += len(detector.analyze(data).faces)
            except ImageError:
                failed += 1
            if number % max(1, count // 10) == 0:
                held[number] = round(_held(), 1)
    print(json.dumps({"faces": judged, "failed": failed, "MiB": held}))


if __name__ == "__main__":
    main()
