"""A fixed part of what `tests/fuzz/pictures.py` can do, and the faults that more of it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from mutations import mutant, seeds, with_checksums
from PIL import ImageFile

from facefake.errors import ImageError
from facefake.images import load_picture

HERE = Path(__file__).parent


def fed(*arguments: str) -> tuple[dict[str, Any], list[str]]:
    """What the program tells, and what native libraries said meanwhile."""
    command = [sys.executable, str(HERE / "pictures.py"), *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    said = [line for line in done.stderr.replace("\r", "\n").splitlines() if not line.isdigit()]
    assert done.returncode == 0, f"ended with {done.returncode} at {done.stderr[-300:]!r}"
    return json.loads(done.stdout), [line for line in said if line]


def test_the_seeds_are_whole_pictures_of_every_format() -> None:
    formats = {load_picture(data).format for data in seeds().values()}
    assert formats >= {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"}
    assert {load_picture(data).pixels.shape for data in seeds().values()} == {(96, 96, 3)}
    assert seeds()["PNG"] == with_checksums(seeds()["PNG"])
    assert mutant(7) == mutant(7) != mutant(7 + len(seeds()))


def test_damage_is_told_the_same_where_a_caller_lets_pillow_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcomes() -> list[object]:
        return [_outcome(mutant(number)[1]) for number in range(400)]

    strict = outcomes()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert outcomes() == strict


def _outcome(data: bytes) -> object:
    try:
        picture = load_picture(data)
    except ImageError as error:
        return error.kind, str(error)
    return zlib.crc32(picture.pixels), picture.warnings


def test_damaged_pictures_are_decoded_or_refused_within_a_gibibyte_and_quietly() -> None:
    told, said = fed("0", "1500")
    assert (told["findings"], said) == ([], [])
    outcomes = told["outcomes"]
    assert sum(outcomes.values()) == 1500
    assert outcomes["picture"] > 300 and outcomes["corrupt"] > 300 and outcomes["truncated"] > 100


def test_damaged_pictures_get_a_valid_record_or_an_error() -> None:
    told, said = fed("30000", "150", "--verdicts")
    assert (told["findings"], said) == ([], [])
    assert told["peak_mib"] < 1024
    assert {"real", "corrupt", "truncated"} <= set(told["outcomes"])
