from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facefake.native import quiet

ROOT = Path(__file__).resolve().parents[1]


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_chatter_is_held_back_and_errors_pass(capfd: pytest.CaptureFixture[str]) -> None:
    chatter = b"W0000 00:00:1.5 12 inference.cc:3] as usual\nINFO: Created TensorFlow Lite delegate\n"
    error = b"E0000 00:00:1.5 12 inference.cc:3] a fault\nanother library's line\n"
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with quiet() as held:
            os.write(2, chatter + error)
            assert held() == chatter + error
            assert capfd.readouterr().err == ""
        assert capfd.readouterr().err == error.decode()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_chatter_is_held_back_where_there_is_no_temporary_folder() -> None:
    run("""
import os, tempfile
from facefake.native import quiet
tempfile._candidate_tempdir_list = lambda: []
with quiet() as held:
    os.write(2, b"INFO: Created TensorFlow Lite delegate\\n")
    assert held()
""")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_is_held_back_may_be_lost_where_it_cannot_be_written() -> None:
    run("""
import os
from facefake.native import quiet
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
with quiet():
    os.write(2, b"E0000 an error\\n")
""")


def test_mediapipe_leaves_matplotlib_alone_until_somebody_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run("""
import sys
from facefake.native import import_mediapipe
mediapipe = import_mediapipe()
assert not [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
from mediapipe.tasks.python.vision import drawing_utils
assert drawing_utils.plt.figure.__module__ == "matplotlib.pyplot"
assert "matplotlib.pyplot" in sys.modules
""")


def test_other_threads_import_what_they_like_while_mediapipe_is_imported(tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    for name in ("matplotlib/__init__.py", "matplotlib/pyplot.py", "sounddevice.py", "tensorflow.py"):
        (tmp_path / name).write_text("mine = True\n")
    run(f"""
import builtins, sys, threading
usual, found, threads = builtins.__import__, [], []
def other():
    import matplotlib.pyplot, sounddevice, tensorflow
    found.append(matplotlib.pyplot.mine and sounddevice.mine and tensorflow.mine)
def meanwhile(name, names=None, *rest):
    if not threads and str(names and names["__name__"]).startswith("mediapipe."):
        threads.append(threading.Thread(target=other))
        threads[0].start()
        threads[0].join()
    return usual(name, names, *rest)
sys.path.insert(0, {str(tmp_path)!r})
builtins.__import__ = meanwhile
from facefake.native import import_mediapipe
import_mediapipe()
assert found == [True]
assert builtins.__import__ is meanwhile
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    run("""
import os, signal, threading, time
from facefake.native import quiet
begun = threading.Event()
def open_slowly():
    with quiet():
        begun.set()
        time.sleep(0.3)
threading.Thread(target=open_slowly).start()
begun.wait()
if not (child := os.fork()):
    signal.alarm(10)
    with quiet():
        os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""")


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
