"""What a type checker makes of code that uses facefake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# An ignored error that is none is an error as well.
USE = """
import io
import tempfile
import zipfile
from pathlib import Path

import facefake
from facefake import FakeImageDetector
from facefake import FakeImgDetector  # type: ignore[attr-defined]
from facefake.saving import AnnotatedFolder

facefake.nonsense()  # type: ignore[attr-defined]
detector = FakeImageDetector()
for source in ("a.jpg", Path("a.jpg"), b"\\xff\\xd8\\xff", bytearray(9), memoryview(b"")):
    detector.analyze(source)
detector.analyze(io.BytesIO())
with open("a.jpg", "rb") as file, zipfile.ZipFile("a.zip") as archive, archive.open("a.jpg") as member:
    detector.analyze(file)
    detector.analyze(member)
with tempfile.SpooledTemporaryFile() as spooled:
    detector.analyze(spooled)
with open("a.jpg") as text:
    detector.analyze(text)  # type: ignore[arg-type]
detector.analyze(3)  # type: ignore[arg-type]
for folder in ("out", Path("out")):
    copies: Path = AnnotatedFolder(folder, force=True).folder
AnnotatedFolder(3)  # type: ignore[arg-type]
"""


def test_a_type_checker_finds_wrong_names_and_takes_every_binary_file(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy, of the extra lint")
    (tmp_path / "use.py").write_text(USE)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir=cache",
        "use.py",
    ]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n"), done.stderr
