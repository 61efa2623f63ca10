from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_mediapipe_leaves_matplotlib_alone_until_somebody_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code = """
import sys
from facefake.native import import_mediapipe
mediapipe = import_mediapipe()
assert not [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
from mediapipe.tasks.python.vision import drawing_utils
assert drawing_utils.plt.figure.__module__ == "matplotlib.pyplot"
assert "matplotlib.pyplot" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_home_that_cannot_be_written_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/proc/nowhere",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    code = "from facefake.native import import_mediapipe; import_mediapipe(); import os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
