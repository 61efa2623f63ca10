from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from facefake import records
from facefake.errors import ModelError, OutputError, RecordError
from facefake.frames import Sampling
from facefake.journal import JsonLines, read_latest
from facefake.records import read_records
from facefake.report import CsvTable
from facefake.results import ContentState, ErrorResult, FaceResult, FileState, ImageResult, schema
from facefake.scanning import scan
from facefake.settings import Settings, read_settings
from facefake.video import VideoResult

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = Settings("0123456789abcdef", "litert", 0.01, 32.0, 1000)
FACE = FaceResult(0, (-3.5, 4.0, 20.0, 30.0), ((20.0, 20.0),) * 6, 0.9, "fake", 0.97, 0.0002, None)
RESULT = ImageResult(
    "a.jpg",
    64,
    48,
    "fake",
    0.97,
    0.0002,
    None,
    (FACE,),
    ("odd",),
    "test 1",
    file=FileState(9, 7),
    settings=SETTINGS,
)
OTHER = replace(RESULT, path="b \udce9\n.jpg", file=FileState(10, 8))
ERROR = ErrorResult(
    "c.jpg", "truncated", "c.jpg: expected a whole file, got half of one", FileState(3, 4), SETTINGS
)
GONE = ErrorResult("d.jpg", "not_found", "d.jpg: expected a file, got none", None, SETTINGS)
RECORDS = [RESULT, OTHER, ERROR, GONE]
WRITERS = [JsonLines, CsvTable]


def line(record: Any) -> str:
    return json.dumps(record.to_dict()) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with all of RECORDS."""
    with JsonLines(tmp_path / "r.jsonl") as file:
        for record in RECORDS:
            file.write(record)
    return tmp_path / "r.jsonl"


# Writing


def test_each_line_is_a_valid_record_that_is_read_back(path: Path) -> None:
    assert path.read_text(encoding="ascii") == "".join(map(line, RECORDS))
    records = list(read_records(path))
    assert records == [record.to_dict() for record in RECORDS]
    for record in records:
        Draft202012Validator(schema()).validate(record)


@pytest.mark.parametrize("writer", WRITERS)
def test_records_are_on_disk_before_the_file_is_closed(writer: Any, tmp_path: Path) -> None:
    with writer(tmp_path / "r") as file:
        before = (tmp_path / "r").stat().st_size
        file.write(RESULT)
        assert (tmp_path / "r").stat().st_size > before


@pytest.mark.parametrize("writer", WRITERS)
def test_an_existing_file_is_kept_unless_forced(writer: Any, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        writer(tmp_path / "r")
    assert (tmp_path / "r").read_text() == "precious"
    for file in (writer(tmp_path / "r", force=True), writer(tmp_path / "new")):
        with file:
            file.write(ERROR)
    assert (tmp_path / "r").read_bytes() == (tmp_path / "new").read_bytes()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["no/such/folder", "nul\0byte"])
def test_a_file_that_cannot_be_created_is_an_output_error(writer: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can be created"):
        writer(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error() -> None:
    file = JsonLines(Path("/dev/full"), force=True)
    with pytest.raises(OutputError, match="No space left"):
        file.write(RESULT)
    file.close()


@pytest.mark.parametrize("writer", WRITERS)
def test_what_does_not_fit_on_the_disk_leaves_the_rest_whole(writer: Any, tmp_path: Path) -> None:
    with writer(tmp_path / "whole") as file:
        file.write(RESULT)
    size = (tmp_path / "whole").stat().st_size
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writer(tmp_path / "r") as file:
        file.write(RESULT)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
        try:
            with pytest.raises(OutputError, match="expected to go on writing, got: File too large"):
                file.write(OTHER)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert (tmp_path / "r").read_bytes() == (tmp_path / "whole").read_bytes()
        file.write(ERROR)  # somebody made room
    assert b"c.jpg" in (tmp_path / "r").read_bytes()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_can_be_neither_written_nor_cut_is_an_output_error(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with writer(tmp_path / "r") as file:
        file.write(RESULT)
        told = (
            f"r: expected to cut it to its first {(tmp_path / 'r').stat().st_size:,} bytes, got: Input/output"
        )
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", broken)
            patch.setattr(os, "ftruncate", broken)
            with pytest.raises(OutputError, match=told):
                file.write(OTHER)


def test_ctrl_c_within_a_line_leaves_the_rest_whole_and_is_heeded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = path.read_bytes(), os.write

    def interrupted(fd: int, rest: memoryview) -> int:
        write(fd, rest[:5])
        raise KeyboardInterrupt

    with JsonLines(path, resume=SETTINGS) as file, monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.write(replace(RESULT, path="e.jpg"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("link", [False, True])
def test_a_new_file_goes_with_an_error_before_the_first_record(
    writer: Any, link: bool, tmp_path: Path
) -> None:
    if link:
        (tmp_path / "r").symlink_to("target")
    before = list(tmp_path.iterdir())
    with pytest.raises(ModelError), ExitStack() as stack:
        stack.push(writer(tmp_path / "r", force=True))
        raise ModelError
    assert list(tmp_path.iterdir()) == before
    (tmp_path / "r").touch()
    with pytest.raises(ModelError), ExitStack() as stack:
        stack.push(writer(tmp_path / "r", force=True))
        raise ModelError
    assert (tmp_path / "r").exists()


def test_the_new_file_of_another_process_stays(tmp_path: Path) -> None:
    with pytest.raises(ModelError), JsonLines(tmp_path / "r"):
        (tmp_path / "r").unlink()
        (tmp_path / "r").touch()
        raise ModelError
    assert (tmp_path / "r").exists()


# One writer at a time


@pytest.mark.parametrize("writer", WRITERS)
def test_two_writers_of_one_file_refuse_each_other(writer: Any, tmp_path: Path) -> None:
    with writer(tmp_path / "r") as file:
        file.write(RESULT)
        with pytest.raises(
            OutputError, match="only process that writes to it, got another process that does"
        ):
            writer(tmp_path / "r", force=True)
    writer(tmp_path / "r", force=True).close()


def test_resuming_waits_for_nobody_either(path: Path) -> None:
    with JsonLines(path, resume=SETTINGS), pytest.raises(OutputError, match="another process"):
        JsonLines(path, resume=SETTINGS)
    assert path.read_text() == "".join(map(line, RECORDS))


def test_a_rewritten_file_is_locked_as_the_first_was(path: Path) -> None:
    with path.open("a") as file:
        file.write(line(RESULT))  # again, so that the first of its records goes
    with JsonLines(path, resume=SETTINGS), path.open("rb") as file:
        assert file.read().decode() == "".join(map(line, [*RECORDS[1:], RESULT]))
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(OutputError, match="another process"):
            JsonLines(path, resume=SETTINGS)


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from facefake.journal import JsonLines\n"
        "file = JsonLines(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "r")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdin is not None
    with holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(OutputError, match="another process"):
            JsonLines(tmp_path / "r", resume=SETTINGS)
        holder.kill()
        holder.wait()
    JsonLines(tmp_path / "r", resume=SETTINGS).close()


# Going on


def test_what_there_is_a_record_of_is_known_by_path_size_and_time(path: Path) -> None:
    with JsonLines(path, resume=SETTINGS) as file:
        for record in (RESULT, OTHER, ERROR):
            assert record.path is not None and record.file is not None
            assert file.known.holds(record.path, record.file)
            assert not file.known.holds(record.path + "x", record.file)
            assert not file.known.holds(record.path, replace(record.file, size=11))
            assert not file.known.holds(record.path, replace(record.file, modified_ns=11))
        assert not file.known.holds("d.jpg", FileState(1, 1))
    assert path.read_text() == "".join(map(line, RECORDS))


def test_a_path_may_be_text(path: Path) -> None:
    with JsonLines(str(path), resume=SETTINGS) as file:
        assert file.path == path
        file.write(replace(RESULT, file=FileState(9, 8)))
    assert [record["path"] for record in read_records(str(path))][-1] == "a.jpg"


def test_a_video_of_nobody_is_known_as_one(
    path: Path, video_record: Callable[[Settings], VideoResult]
) -> None:
    values = video_record(SETTINGS).to_dict()
    with path.open("a") as lines:
        for name, persons in (("nobody.mp4", []), ("somebody.mp4", [{"index": 0}])):
            lines.write(json.dumps({**values, "path": name, "persons": persons}) + "\n")
    with JsonLines(path, resume=SETTINGS) as file:
        names = ("somebody.mp4", "nobody.mp4", "a.jpg", "c.jpg", "none.mp4")
        assert [name for name in names if file.known.shows_nobody(name)] == ["nobody.mp4"]


def test_a_file_that_is_not_there_yet_is_begun(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "r", resume=SETTINGS) as file:
        assert not file.known.holds("a.jpg", FileState(9, 7))
        file.write(RESULT)
    assert (tmp_path / "r").read_text() == line(RESULT)


def test_a_failure_that_is_tried_again_stays_until_there_is_another_record(path: Path) -> None:
    path.chmod(0o640)
    with JsonLines(path, resume=SETTINGS, retry_failures=True) as file:
        assert not file.known.holds("c.jpg", FileState(3, 4))
        assert not file.known.knows("c.jpg")
        assert file.known.holds("a.jpg", FileState(9, 7))
        assert file.known.knows("a.jpg")
        assert path.read_text() == "".join(map(line, RECORDS))
        file.write(replace(RESULT, path="c.jpg"))
    found = [(record["path"], record["verdict"]) for record in read_records(path)]
    assert found[2:] == [("d.jpg", "error"), ("c.jpg", RESULT.verdict)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["r.jsonl"]


def test_failures_that_are_not_tried_again_stay(path: Path) -> None:
    with JsonLines(path, resume=SETTINGS, retry_failures=True) as file:
        file.write(replace(RESULT, path="e.jpg"))
    assert path.read_text() == "".join(map(line, [*RECORDS, replace(RESULT, path="e.jpg")]))


def test_a_changed_picture_replaces_its_record(path: Path) -> None:
    changed = replace(RESULT, file=FileState(9, 8))
    with JsonLines(path, resume=SETTINGS) as file:
        assert not file.known.holds("a.jpg", FileState(9, 8))
        file.write(changed)
    assert path.read_text() == "".join(map(line, [OTHER, ERROR, GONE, changed]))


def test_contents_of_one_name_replace_nothing_but_themselves(tmp_path: Path) -> None:
    one, other, third = (replace(RESULT, file=ContentState(9, 0, digit * 64)) for digit in "123")
    with JsonLines(tmp_path / "r") as file:
        for record in (one, other):
            file.write(record)
    assert len(list(read_latest(tmp_path / "r")())) == 2
    with JsonLines(tmp_path / "r", resume=SETTINGS) as file:
        assert [file.known.holds("a.jpg", record.file) for record in (one, other, third)] == [
            True,
            True,
            False,
        ]
        file.write(third)
        file.write(one)
    assert (tmp_path / "r").read_text() == "".join(map(line, [other, third, one]))


def test_a_failure_of_a_folder_or_pattern_goes_when_it_has_pictures(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    folder, pattern = str(tmp_path / "in"), str(tmp_path / "*" / "[ab].png")
    (tmp_path / "in").mkdir()

    def scan_again() -> list[str]:
        settings = read_settings(tiny_bundle)
        with JsonLines(tmp_path / "r", resume=settings) as file:
            given = [folder, pattern, str(tmp_path / "gone.png")]
            found = scan(
                given, model=tiny_bundle, workers=0, skip=file.known.holds, looked_into=file.known.looked_into
            )
            for record in found:
                file.write(record)
        return [record["path"] for record in read_records(tmp_path / "r")]

    failures = [folder, pattern, str(tmp_path / "gone.png")]
    assert scan_again() == failures == scan_again()
    picture = tmp_path / "in" / "a.png"
    Image.new("RGB", (64, 64)).save(picture)
    for _ in range(2):
        assert sorted(scan_again()) == sorted([str(picture), failures[2]])


def test_what_a_link_leads_to_is_rewritten_and_the_link_stays(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)
    changed = replace(RESULT, file=FileState(9, 8))
    with JsonLines(link, resume=SETTINGS) as file:
        file.write(changed)
    assert link.is_symlink()
    assert path.read_text() == "".join(map(line, [OTHER, ERROR, GONE, changed]))


def test_a_file_that_cannot_be_rewritten_stays_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with path.open("a") as file:
        file.write(line(RESULT))  # again, so that the first of its records should go
    before = path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="expected to rewrite it, got: No space left"):
        JsonLines(path, resume=SETTINGS)
    assert path.read_text() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_scan_that_was_killed_before_it_did_so_is_tidied_up_after(path: Path) -> None:
    with path.open("a") as file:
        file.write(line(replace(RESULT, file=FileState(9, 8))))
    with JsonLines(path, resume=SETTINGS) as journal:
        assert journal.known.holds("a.jpg", FileState(9, 8))
        assert not journal.known.holds("a.jpg", FileState(9, 7))
    assert path.read_text() == "".join(map(line, [OTHER, ERROR, GONE, replace(RESULT, file=FileState(9, 8))]))


WHOLE = "".join(map(line, RECORDS)).encode()


@given(st.integers(0, len(WHOLE)))
def test_a_file_cut_anywhere_is_mended(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r.jsonl")
        path.write_bytes(WHOLE[:size])
        ends = itertools.accumulate(len(line(record)) for record in RECORDS)
        whole = [record for record, end in zip(RECORDS, ends, strict=True) if size >= end - 1]
        with JsonLines(path, resume=SETTINGS) as file:
            assert path.read_text() == "".join(map(line, whole))
            for record in RECORDS:
                if record.path and record.file:
                    assert file.known.holds(record.path, record.file) == (record in whole)
                if record not in whole:
                    file.write(record)
        assert path.read_bytes() == WHOLE


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": "fedcba9876543210"},
        {"runtime": "keras"},
        {"alarm_rate": 0.001},
        {"min_face": 24.0},
        {"max_faces": 5},
    ],
)
def test_settings_are_never_mixed_in_one_file(changes: dict[str, Any], path: Path) -> None:
    before = path.read_bytes()
    name, value = next(iter(changes.items()))
    with pytest.raises(
        OutputError, match=rf"line 1: expected a record made with .*{name} {value}.*, got one made with"
    ):
        JsonLines(path, resume=replace(SETTINGS, **changes))
    assert path.read_bytes() == before
    JsonLines(path, resume=SETTINGS).close()  # and it was freed


def test_what_is_no_regular_file_is_not_gone_on_with_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading, writing = os.pipe()
    for place in (tmp_path / "pipe", f"/dev/fd/{writing}", os.devnull):
        with pytest.raises(OutputError, match="expected a regular file to resume, got a folder, a pipe"):
            JsonLines(place, resume=SETTINGS)
    os.close(reading)
    os.close(writing)


def test_records_without_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    values = RESULT.to_dict()
    del values["settings"]
    (tmp_path / "r").write_text(json.dumps(values) + "\n")
    with pytest.raises(OutputError, match="got one made with unknown settings"):
        JsonLines(tmp_path / "r", resume=SETTINGS)


def test_samplings_of_videos_are_never_mixed_in_one_file(
    path: Path, video_record: Callable[[Settings], VideoResult]
) -> None:
    denser = Sampling(frames_per_second=5.0)
    JsonLines(path, resume=SETTINGS, sampling=denser).close()  # nothing but pictures so far
    clip = video_record(SETTINGS)
    with JsonLines(path, resume=SETTINGS) as file:
        file.write(clip)
    before = path.read_bytes()
    with pytest.raises(
        OutputError,
        match=r"line 5: .*made with frames_per_second 5\.0, .*got one made with frames_per_second 2\.0",
    ):
        JsonLines(path, resume=SETTINGS, sampling=denser)
    assert path.read_bytes() == before
    for same in (None, Sampling()):
        with JsonLines(path, resume=SETTINGS, sampling=same) as file:
            assert file.known.holds("clip.mp4", FileState(7, 5))


NO_RECORDS = {
    "text": b"precious text\n",
    "no line": b"precious text",
    "binary": bytes(range(256)),
    "list": b"[]\n",
    "object": b"{}\n",
    "future": b'{"schema_version": "2.0", "path": "a", "verdict": "real"}\n',
    "no faces": b'{"schema_version": "1.1", "path": "a", "verdict": "real"}\n',
    "no box": b'{"schema_version": "1.1", "path": "a", "verdict": "real", "warnings": [], "faces": [{"index": 0}]}\n',
    "no error": b'{"schema_version": "1.1", "path": "a", "verdict": "error", "error": 3}\n',
    "deep": b'{"schema_version": ' + b"[" * 100_000 + b"\n",
    "nan": b'{"schema_version": "1.1", "path": "a", "verdict": NaN}\n',
    "broken in the middle": line(RESULT).encode()[:50] + b"\n" + line(RESULT).encode(),
}


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_file_of_records_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(line(OTHER).encode() + content)
    for number, before in ((2, line(OTHER).encode()), (1, b"")):
        path.write_bytes(before + content)
        with pytest.raises(RecordError, match=f"line {number}: expected a record, got"):
            list(read_records(path))
        with pytest.raises(RecordError):
            JsonLines(path, resume=SETTINGS)
        assert path.read_bytes() == before + content


def test_a_line_longer_than_any_record_is_no_half_of_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(records, "LONGEST_LINE", 100)
    with pytest.raises(RecordError, match="line 1: expected a record"):
        JsonLines(path, resume=SETTINGS)
    assert path.read_bytes() == before


def test_a_half_written_last_line_is_told_of(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    told: list[str] = []
    assert [record["path"] for record in read_records(path, told.append)][-1] == "c.jpg"
    assert len(told) == 1
    assert "half-written" in told[0]


def test_the_last_record_of_a_path_counts_while_a_scan_runs(path: Path) -> None:
    changed = replace(RESULT, file=FileState(9, 8))
    nameless = replace(RESULT, path=None)
    expected = [record.to_dict() for record in (OTHER, ERROR, GONE, nameless, nameless, changed)]
    with JsonLines(path, resume=SETTINGS) as file:
        for record in (nameless, nameless, changed):
            file.write(record)
        read = read_latest(path)
        file.write(replace(OTHER, verdict="real"))  # comes too late
        assert list(read()) == list(read()) == expected
    with pytest.raises(RecordError, match="expected all records once more, got fewer"):
        list(read())


def test_a_pipe_cannot_be_read_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordError, match="got a pipe or a device"):
        read_latest(tmp_path / "pipe")


def test_a_file_that_cannot_be_read_is_a_record_error(tmp_path: Path) -> None:
    for name in ("none", ".", "nul\0byte"):
        with pytest.raises(RecordError, match="expected a file of records"):
            list(read_records(tmp_path / name))


# Real scans, killed


def test_a_scan_that_is_killed_at_any_moment_goes_on_where_it_was(tmp_path: Path, tiny_bundle: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random_pixels = np.random.default_rng(5)
    with Image.open(ROOT / "samples" / "astronaut.jpg") as image:
        for number in range(40):
            side = int(random_pixels.integers(200, 500))
            image.crop((0, 0, side, side)).save(pictures / f"{number:02}.jpg")
    (pictures / "empty.jpg").touch()
    expected = sorted(line(record) for record in scan(pictures, model=tiny_bundle, workers=0))
    results, log = tmp_path / "r.jsonl", tmp_path / "log"
    command = [sys.executable, "-m", "facefake", "scan", str(pictures), "--model", str(tiny_bundle)]
    command += ["--jsonl", str(results), "--resume", "--workers", "2", "--annotate", str(tmp_path / "out")]
    moments = random.Random(5)
    for lines in (0, moments.randrange(1, 10), moments.randrange(11, 20)):
        with log.open("w") as stderr:
            running = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
            deadline = time.monotonic() + 120
            while running.poll() is None and time.monotonic() < deadline:
                if results.exists() and results.read_bytes().count(b"\n") >= lines:
                    break
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.1))
            running.kill()
            assert running.wait() == -signal.SIGKILL, log.read_text()
        assert len(results.read_bytes().splitlines()) < len(expected), "killed too late to tell anything"
    with results.open("ab") as file:
        file.write(expected[0].encode()[:100])  # as if the last one had been killed while it wrote
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 1, finished.stderr
    assert sorted(results.read_text().splitlines(keepends=True)) == expected
    copies = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert copies == [f"{number:02}-annotated.jpg" for number in range(40)]
