"""Feeds damaged pictures to facefake: each must give an `ImageError` of a known kind or a valid record.

    python tests/fuzz/pictures.py 0 20000              decoding only, in 1 GiB of address space
    python tests/fuzz/pictures.py 0 2000 --verdicts    all the way to the record

Numbers are those of `mutations.mutant`. Prints one JSON object; the number in work goes to standard error first,
so that it is known when a native library dies.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
from mutations import mutant

from facefake.detector import FakeImageDetector
from facefake.errors import ImageError
from facefake.images import load_picture
from facefake.reading import ImageLimits
from facefake.refusal import ERROR_KINDS
from facefake.results import schema

_SECONDS = 5.0  # of processor time, which a busy machine does not lengthen
_SMALL = ImageLimits(max_pixels=1_000_000)  # for verdicts, whose time grows with the picture


def _decoded(data: bytes) -> str:
    picture = load_picture(data)
    assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == (picture.height, picture.width, 3)
    return "picture"


def _judged(detector: FakeImageDetector) -> Callable[[bytes], str]:
    validator = jsonschema.Draft202012Validator(schema())

    def judge(data: bytes) -> str:
        result = detector.analyze(data)
        validator.validate(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
        return result.verdict

    return judge


def run(numbers: range, feed: Callable[[bytes], str]) -> dict[str, Any]:
    """Outcomes with how many mutants had them, the slowest one's seconds, and all that must not be."""
    outcomes: Counter[str] = Counter()
    slowest, findings = 0.0, []
    for number in numbers:
        name, data = mutant(number)
        print(f"\r{number}", end="", file=sys.stderr, flush=True)
        started = time.process_time()
        try:
            outcome = feed(data)
        except ImageError as error:
            outcome = error.kind
            if error.kind not in ERROR_KINDS:
                findings.append(f"{number} {name}: unknown kind {error.kind}")
        except Exception as error:  # the very thing that is looked for
            outcome = "finding"
            findings.append(f"{number} {name}: {type(error).__name__}: {error}")
        seconds = time.process_time() - started
        slowest = max(slowest, seconds)
        if seconds > _SECONDS:
            findings.append(f"{number} {name}: {seconds:.1f} s")
        outcomes[outcome] += 1
    return {"outcomes": dict(outcomes), "slowest": round(slowest, 3), "findings": findings}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--verdicts", action="store_true")
    options = parser.parse_args()
    numbers = range(options.start, options.start + options.count)
    if options.verdicts:
        with FakeImageDetector(threads=1, limits=_SMALL) as detector:
            told = run(numbers, _judged(detector))
    else:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        told = run(numbers, _decoded)
    told["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(told))


if __name__ == "__main__":
    main()
