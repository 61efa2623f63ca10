"""The same picture and the same bundle give the same bytes, whatever else differs; memory stays what it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facefake.paths import models_folder

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (models_folder() / "facefake" / "bundle.json").is_file(),
    reason="models/facefake holds no trained bundle yet",
)

RECORDS = """
import json, os, sys
if sys.argv[1] == "one core":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from facefake import FakeImageDetector
threads = None if sys.argv[2] == "None" else int(sys.argv[2])
with FakeImageDetector(threads=threads) as detector:
    records = {name: detector.analyze(f"samples/{name}").to_dict() for name in sys.argv[3:]}
for name in sorted(records):
    print(json.dumps(records[name], allow_nan=False))
"""


def records(cores: str, threads: str, names: list[str], **environment: str) -> bytes:
    command = [sys.executable, "-c", RECORDS, cores, threads, *names]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, env={**os.environ, **environment}, timeout=600, check=True
    )
    return done.stdout


def test_records_are_the_same_bytes_on_one_core_or_many_in_any_order() -> None:
    names = ["astronaut.jpg", "group.jpg"]
    first = records("one core", "1", names, PYTHONHASHSEED="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert first.count(b'"logit"') > 10
    others = [
        records("all cores", "None", names[::-1], PYTHONHASHSEED="2"),
        records("all cores", "5", ["group.jpg", *names], PYTHONHASHSEED="3", OMP_NUM_THREADS="7"),
    ]
    assert [other == first for other in others] == [True, True]


def test_memory_does_not_grow_from_picture_to_picture() -> None:
    """`tests/benchmarks/memory.py 2000` does this at length."""
    command = [sys.executable, "tests/benchmarks/memory.py", "200"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=900, check=True)
    told = json.loads(done.stdout)
    assert (told["faces"], told["failed"]) == (180, 20)
    held = told["MiB"]
    assert held["200"] - held["60"] < 8
