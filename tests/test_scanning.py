from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facefake
from facefake import analyst, records
from facefake.analyst import Job
from facefake.errors import ImageError, MissingLibraryError, ModelError, OutputError
from facefake.images import load_picture
from facefake.journal import JsonLines
from facefake.reading import ImageLimits
from facefake.results import ErrorResult, FileState, ImageResult
from facefake.saving import AnnotatedFolder
from facefake.scanning import checked_bounds, patience, scan
from facefake.sources import Pause
from facefake.workers import Bounds

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def touched(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


def result(path: str) -> ImageResult:
    return ImageResult(path, 8, 8, "not_applicable", None, None, "no face found", (), (), "test 1")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], object]], None]:
    """Puts a detector that analyses in the given way in the place of the real one, in this process."""

    def put(analyze: Callable[[str], object]) -> None:
        made = type(
            "StandIn", (), {"analyze": staticmethod(analyze), "__init__": lambda self, **settings: None}
        )
        monkeypatch.setattr("facefake.detector.FakeImageDetector", made)

    return put


def text(records: Iterator[Any]) -> list[str]:
    return sorted(json.dumps(record.to_dict()) for record in records)


# In this process, with a stand-in


@pytest.mark.parametrize("annotate", [None, "copies"])
@pytest.mark.parametrize("path", ["", "missing.jpg", "nul\0byte.jpg", "nul\0byte/a.jpg", "\ud800.jpg"])
def test_paths_that_lead_nowhere_become_error_records(
    path: str, annotate: str | None, tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a.jpg")
    stand_in(load_picture)
    for paths in ([path], [path, "a.jpg"]):
        record, *_ = scan(paths, workers=0, annotate=annotate)
        assert isinstance(record, ErrorResult)
        assert (record.path, record.file) == (path, None)
        assert record.kind in ("not_found", "unreadable")
        assert record.settings is not None


def test_one_bad_picture_loses_none_of_the_others(tmp_path: Path, stand_in: Any) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg", "c.jpg")

    def analyze(path: str) -> ImageResult:
        if path.endswith("b.jpg"):
            raise ImageError(path=path, kind="truncated", expected="a whole file", got="half of one")
        return result(path)

    stand_in(analyze)
    records = list(scan(tmp_path, workers=0))
    assert [record.path for record in records] == files
    assert isinstance(records[1], ErrorResult)
    assert (records[1].kind, records[1].message) == (
        "truncated",
        f"{files[1]}: expected a whole file, got half of one",
    )


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (ZeroDivisionError("oh"), "internal", "oh"),
        (MemoryError("oh"), "out_of_memory", "oh"),
        (MemoryError(), "out_of_memory", "too little"),
    ],
)
def test_what_nobody_foresaw_costs_one_picture(
    fault: Exception, kind: str, told: str, tmp_path: Path, stand_in: Any
) -> None:
    touched(tmp_path, "a.jpg", "b.jpg")

    def analyze(path: str) -> ImageResult:
        if path.endswith("a.jpg"):
            raise fault
        return result(path)

    stand_in(analyze)
    bad, good = scan(tmp_path, workers=0)
    assert isinstance(bad, ErrorResult)
    assert (bad.kind, good.verdict) == (kind, "not_applicable")
    assert bad.message.endswith(told)


@pytest.mark.parametrize("fault", [ModelError, MissingLibraryError])
def test_faults_of_the_installation_end_the_scan(
    fault: type[Exception], tmp_path: Path, stand_in: Any
) -> None:
    def analyze(path: str) -> ImageResult:
        raise fault("broken")

    stand_in(analyze)
    with pytest.raises(fault, match="broken"):
        next(scan(touched(tmp_path, "a.jpg", "b.jpg"), workers=0))


def test_a_scan_that_cannot_begin_counts_no_pictures(tiny_bundle: Path) -> None:
    class Slow(Sequence[str]):
        def __len__(self) -> int:
            return 500

        def __getitem__(self, place: Any) -> Any:
            time.sleep(0.01)
            return f"{range(500)[place]}.jpg"

    with pytest.raises(ValueError, match="expected alarm_rate to be between 0 and 1"):
        next(scan(Slow(), model=tiny_bundle, alarm_rate=2.0, workers=0))
    assert "facefake-count" not in [thread.name for thread in threading.enumerate()]


def test_who_leaves_early_or_for_good_waits_for_no_count(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Sequence[str]):
        def __len__(self) -> int:
            return 10_000

        def __getitem__(self, place: Any) -> Any:
            time.sleep(0.01)
            return f"{range(10_000)[place]}.jpg"

    def counting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "facefake-count"]

    stand_in(result)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facefake.scanning._COUNTING", 0)
    records = scan(Slow(), workers=0)
    next(records)
    (thread,) = counting()
    assert thread.daemon  # the process does not wait for it either
    records.close()
    thread.join(10)
    assert counting() == []


@pytest.mark.parametrize(
    ("cores", "pictures", "workers", "processes", "threads"),
    [
        (8, 2, None, 2, 4),
        (3, 2, None, 2, 1),
        (2, 3, None, 2, 1),
        (64, 1, None, 1, 8),
        (8, 0, None, 1, 8),
        (8, 2, 5, 2, 1),
        (8, iter([]), None, 8, 1),
    ],
)
def test_a_picture_has_several_cores_where_there_are_more_of_them_than_pictures(
    cores: int,
    pictures: Any,
    workers: int | None,
    processes: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[tuple[int, int]] = []

    def run(tasks: object, start: Any, workers: int, *bounds: object) -> Iterator[Any]:
        begun.append((workers, start.args[0]["threads"]))
        yield from ()

    monkeypatch.setattr("facefake.scanning.run", run)
    monkeypatch.setattr("facefake.scanning.usable_cores", lambda: cores)
    paths = [f"{number}.jpg" for number in range(pictures)] if isinstance(pictures, int) else pictures
    assert list(scan(paths, workers=workers)) == []
    assert begun == [(processes, threads)]


@pytest.mark.parametrize(
    ("cores", "workers", "own"),
    [(2, None, (0, 1)), (2, 2, (0, 1)), (2, 1, ()), (4, None, ()), (4, 2, ())],
)
def test_workers_of_one_thread_that_fill_all_cores_are_kept_on_them(
    cores: int, workers: int | None, own: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []

    def run(*arguments: object) -> Iterator[Any]:
        begun.append(arguments[-1])
        yield from ()

    monkeypatch.setattr("facefake.scanning.run", run)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    for module in ("cores", "scanning"):
        monkeypatch.setattr(f"facefake.{module}.usable_cores", lambda: cores)
    assert list(scan(["a.jpg", "b.jpg"], workers=workers)) == []
    assert begun == [own]


def test_a_video_may_take_ten_times_as_long_as_a_picture() -> None:
    assert [patience(Job(0, path)) for path in ("a.jpg", "a.mp4")] == [1, 10]


def test_pictures_are_analysed_as_they_are_asked_for_and_progress_is_told(
    tmp_path: Path, stand_in: Any
) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg")
    seen: list[str] = []
    told: list[tuple[int, int | None]] = []

    def analyze(path: str) -> ImageResult:
        seen.append(path)
        return result(path)

    stand_in(analyze)
    records = scan(files, workers=0, progress=lambda done, total: told.append((done, total)))
    next(records)
    assert (seen, told) == (files[:1], [(1, 2)])
    assert len(list(records)) == 1
    assert told == [(1, 2), (2, 2), (2, 2)]


def test_a_list_that_is_still_being_written_has_no_total_until_its_end(tmp_path: Path, stand_in: Any) -> None:
    stand_in(result)
    told: list[tuple[int, int | None]] = []
    files = iter(touched(tmp_path, "a.jpg", "b.jpg"))
    assert len(list(scan(files, workers=0, progress=lambda *numbers: told.append(numbers)))) == 2
    assert told == [(1, None), (2, None), (2, 2)]


def test_what_gives_each_path_once_loses_none_to_the_count(tmp_path: Path, stand_in: Any) -> None:
    class Inbox:
        def __init__(self, *paths: str) -> None:
            self._waiting = list(paths)

        def __iter__(self) -> Iterator[str]:
            while self._waiting:
                yield self._waiting.pop(0)

    class WithProgress(Inbox):  # such as tqdm, whose methods look like those of a collection
        def __len__(self) -> int:
            return len(self._waiting)

        def __contains__(self, path: object) -> bool:
            return path in self._waiting

    stand_in(result)
    files = touched(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for inbox in (Inbox(*files), WithProgress(*files)):
        assert [record.path for record in scan(inbox, workers=0)] == files


@pytest.mark.parametrize("kind", [list, tuple, set, dict.fromkeys, lambda files: dict.fromkeys(files).keys()])
def test_what_can_be_gone_through_twice_is_counted(
    kind: Callable[[list[str]], Any], tmp_path: Path, stand_in: Any
) -> None:
    stand_in(result)
    told: list[tuple[int, int | None]] = []
    paths = kind(touched(tmp_path, "a.jpg", "b.jpg"))
    list(scan(paths, workers=0, progress=lambda *numbers: told.append(numbers)))
    assert told == [(1, 2), (2, 2), (2, 2)]


def test_paths_that_cannot_be_counted_are_told_of_once(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(list[str]):
        def __iter__(self) -> Iterator[str]:
            yield str(tmp_path / "a.jpg")
            raise KeyError("no such table")

    stand_in(result)
    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    records = scan(Broken(), workers=0)
    next(records)
    with pytest.raises(KeyError, match="no such table"):
        next(records)
    assert printed == []


@pytest.mark.parametrize("workers", [0, 2])
def test_records_do_not_wait_for_a_path_that_is_not_there_yet(
    workers: int, tmp_path: Path, tiny_bundle: Path
) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg")
    recorded: list[str | None] = []

    def paths() -> Iterator[str | Pause]:
        for file in files:
            yield file
            while recorded[-1:] != [file]:
                yield Pause()

    for record in scan(paths(), model=tiny_bundle, workers=workers):
        recorded.append(record.path)
    assert recorded == files


def test_a_single_path_is_taken_for_one(tmp_path: Path, stand_in: Any) -> None:
    stand_in(result)
    (file,) = touched(tmp_path, "a.jpg")
    assert [record.path for record in scan(file, workers=0)] == [file]


def test_records_tell_the_state_of_their_file(tmp_path: Path, stand_in: Any) -> None:
    stand_in(result)
    file = tmp_path / "a.jpg"
    file.write_bytes(b"12345")
    os.utime(file, ns=(0, 1_234_567_890_123_456_789))
    (record,) = scan(file, workers=0)
    assert record.file == FileState(5, 1_234_567_890_123_456_789)


def test_a_file_that_goes_as_its_turn_comes_is_looked_for_again_as_it_was(
    tmp_path: Path, stand_in: Any
) -> None:
    (file,) = touched(tmp_path, "a.jpg")
    state = FileState(0, os.stat(file).st_mtime_ns)

    def analyze(path: str) -> object:
        os.rename(file, f"{file}.away")
        return load_picture(path)

    stand_in(analyze)
    (record,) = scan(file, workers=0)
    assert isinstance(record, ErrorResult)
    assert (record.kind, record.file) == ("not_found", None)
    with JsonLines(tmp_path / "r.jsonl") as journal:
        journal.write(record)
    os.rename(f"{file}.away", file)
    with JsonLines(tmp_path / "r.jsonl", resume=record.settings) as journal:
        assert not journal.known.holds(file, state)


def test_what_is_skipped_is_not_analysed_but_counted(tmp_path: Path, stand_in: Any) -> None:
    stand_in(result)
    files = touched(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    asked: list[tuple[str, FileState]] = []
    told: list[tuple[int, int | None]] = []

    def skip(path: str, file: FileState) -> bool:
        asked.append((path, file))
        return path.endswith("b.jpg")

    records = scan(
        tmp_path, workers=0, skip=skip, progress=lambda *numbers: told.append(numbers), ordered=True
    )
    assert [record.path for record in records] == [files[0], files[2]]
    assert [path for path, _ in asked] == files
    assert told == [(1, 3), (3, 3), (3, 3)]


def test_a_video_of_nobody_is_not_looked_at_again_for_its_copy(tmp_path: Path, stand_in: Any) -> None:
    stand_in(load_picture)
    files = touched(tmp_path, "a.jpg", "a.mp4", "nobody.mp4")
    told: list[str] = []
    records = scan(
        files,
        workers=0,
        annotate=AnnotatedFolder(tmp_path / "out"),
        skip=lambda path, file: True,
        known=lambda path: True,
        shows_nobody=lambda path: path.endswith("nobody.mp4"),
        left_out=lambda path, found: told.append(path),
    )
    assert [record.path for record in records] == files[:2]
    assert told == files[2:]


@pytest.mark.parametrize("known", [None, lambda path: False])
def test_what_is_skipped_and_was_never_judged_needs_no_copy(
    known: Any, tmp_path: Path, stand_in: Any
) -> None:
    stand_in(load_picture)
    files = touched(tmp_path, "a.jpg")
    skip = [*files].__contains__
    records = scan(
        files, workers=0, annotate=tmp_path / "out", known=known, skip=lambda path, file: skip(path)
    )
    assert list(records) == []


def test_a_copy_that_cannot_be_removed_is_told_and_costs_no_record(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = OutputError("busy")

    def drop(self: object, *args: object, **options: object) -> None:
        raise fault

    stand_in(load_picture)
    monkeypatch.setattr(AnnotatedFolder, "drop", drop)
    told: list[object] = []
    (file,) = touched(tmp_path, "a.jpg")
    (record,) = scan(file, workers=0, annotate=tmp_path / "out", copied=told.append)
    assert (record.path, record.verdict, told) == (file, "error", [fault])


def test_what_is_known_and_not_there_any_more_is_left_out_and_keeps_its_copy(
    tmp_path: Path, stand_in: Any
) -> None:
    stand_in(load_picture)
    (new,) = touched(tmp_path, "new.jpg")
    gone, other = str(tmp_path / "gone.jpg"), str(tmp_path / "other.jpg")
    (copy,) = touched(tmp_path, "out/gone-annotated.jpg")
    told: list[tuple[str, bool]] = []
    records = scan(
        [gone, other, new],
        workers=0,
        annotate=AnnotatedFolder(tmp_path / "out"),
        known=[gone].__contains__,
        left_out=lambda *picture: told.append(picture),
    )
    assert [record.path for record in records] == [other, new]
    assert told == [(gone, False)]
    assert os.path.exists(copy)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"workers": -1}, "expected workers to be at least 0, got -1"),
        ({"timeout": 0}, "expected a timeout above 0 and at most 1,000,000 seconds, got 0"),
        ({"timeout": 1_000_001}, "expected a timeout above 0 and at most 1,000,000 seconds, got 1000001"),
        ({"timeout": float("nan")}, "expected a timeout above 0 and at most 1,000,000 seconds, got nan"),
        ({"worker_memory": 0}, "expected worker_memory to be at least 1, got 0"),
        (
            {"worker_memory": (1 << 50) + 1},
            "expected worker_memory above 0 and at most 1,125,899,906,842,624 bytes",
        ),
        ({"max_faces": 0}, "expected max_faces to be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        next(scan("x.jpg", **wrong))


def test_limits_of_another_kind_are_refused_before_a_worker_is_started() -> None:
    with pytest.raises(TypeError, match="expected limits to be ImageLimits or None, got 5"):
        checked_bounds(120, 4 << 30, 5)  # type: ignore[arg-type]


def test_a_worker_may_have_as_much_as_is_told() -> None:
    assert checked_bounds(1_000_000, 1 << 50, None) == Bounds(1_000_000, 1 << 50)


@pytest.mark.parametrize("workers", ["2", 1.5, float("nan"), True, False, 0.0])
def test_workers_are_a_whole_number(workers: Any) -> None:
    with pytest.raises(TypeError, match="expected workers to be a whole number"):
        next(scan("x.jpg", workers=workers))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"annotate": 5}, "expected annotate to be a path, facefake.saving.AnnotatedFolder or None, got 5"),
        ({"sampling": 5}, "expected sampling to be facefake.frames.Sampling or None, got 5"),
        ({"timeout": "5"}, "expected timeout to be a number, got '5'"),
        ({"timeout": True}, "expected timeout to be a number, got True"),
        ({"min_face": "48"}, "expected min_face to be a number, got '48'"),
        ({"max_faces": np.array([3])}, r"expected max_faces to be a whole number, got array\(\[3\]\)"),
        ({"worker_memory": int}, "expected worker_memory to be a whole number, got <class 'int'>"),
    ],
)
def test_arguments_of_another_kind_are_refused(wrong: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        next(scan("x.jpg", **wrong))


def test_numpys_numbers_bound_a_worker(tiny_bundle: Path) -> None:
    bounds = {"timeout": np.float32(60), "worker_memory": np.int64(2 << 30), "workers": np.int8(1)}
    (record,) = scan(SAMPLES / "ai-selfie.jpg", model=tiny_bundle, min_face=np.float32(48), **bounds)  # type: ignore[arg-type]
    assert record.verdict != "error" and record.settings is not None
    assert record.settings.min_face == 48


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_the_folder_of_copies_may_be_a_path(
    kind: Callable[[Path], Any], tmp_path: Path, stand_in: Any
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    stand_in(lambda path: replace(result(path), picture=load_picture(path)))
    told: list[Any] = []
    (_,) = scan(tmp_path / "a.png", workers=0, annotate=kind(tmp_path / "out"), copied=told.append)
    assert told == [tmp_path / "out" / "a-annotated.png"]
    assert told[0].is_file()


def test_a_record_that_could_not_be_read_again_is_a_failure_of_its_own(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = touched(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    stand_in(lambda path: replace(result(path), warnings=("odd",) * (200 if path.endswith("b.jpg") else 0)))
    size = len(records.line_of(next(scan(files[1], workers=0)).to_dict()))

    def recorded(longest: int) -> list[dict[str, Any]]:
        for module in (analyst, records):
            monkeypatch.setattr(module, "LONGEST_LINE", longest)
        with JsonLines(tmp_path / "r.jsonl", force=True) as file:
            for record in scan(files, workers=0):
                file.write(record)
        return list(records.read_records(tmp_path / "r.jsonl"))

    assert [record["verdict"] for record in recorded(size)] == ["not_applicable"] * 3
    whole, refused, other = recorded(size - 1)
    assert whole["verdict"] == other["verdict"] == "not_applicable"
    assert refused["error"]["kind"] == "too_large"
    assert refused["error"]["message"].startswith(
        f"{files[1]}: expected a record of at most {size - 1:,} bytes, got one of {size:,} bytes"
    )
    assert refused["file"] is not None


def test_a_bundle_that_is_none_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        next(scan("x.jpg", model=tmp_path))


# With real workers, and a real but tiny model


def test_a_bundle_that_changes_meanwhile_ends_the_scan(tmp_path: Path, tiny_bundle: Path) -> None:
    model = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, model)
    for name in "ab":
        shutil.copy(SAMPLES / "astronaut.jpg", tmp_path / f"{name}.jpg")

    def paths() -> Iterator[str]:
        description = json.loads((model / "bundle.json").read_text())
        (model / "bundle.json").write_text(json.dumps(description, indent=3))
        yield from map(str, sorted(tmp_path.glob("*.jpg")))

    with pytest.raises(ModelError, match="it was changed meanwhile"):
        next(scan(paths(), model=model, workers=1))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pictures, and much that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut.jpg", "grace-hopper.jpg", "self-blend.jpg"):
        shutil.copy(SAMPLES / name, folder / name)
    shutil.copy(SAMPLES / "astronaut.jpg", folder / "line\nbreak \N{GRINNING FACE}.jpg")
    shutil.copy(SAMPLES / "astronaut.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes((SAMPLES / "astronaut.jpg").read_bytes()[:20_000])
    (folder / "text.png").write_text("text")
    os.mkfifo(folder / "fifo.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    (folder / "round").symlink_to(folder, target_is_directory=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "socket.jpg"))
    return folder


KINDS = {
    "empty.jpg": "empty",
    "cut.jpg": "truncated",
    "text.png": "unsupported",
    "fifo.jpg": "not_a_file",
    "loop.jpg": "unreadable",
    "gone.jpg": "not_found",
    "zero.jpg": "not_a_file",
    "socket.jpg": "not_a_file",
}


@pytest.fixture(scope="module")
def alone(pictures: Path, tiny_bundle: Path) -> list[Any]:
    return list(scan([pictures, "/no/such.jpg"], model=tiny_bundle, workers=0))


def test_everything_gets_one_record_and_stops_nothing(pictures: Path, alone: list[Any]) -> None:
    names = sorted(name for name in os.listdir(pictures) if name not in ("folder.jpg", "round"))
    assert [os.path.basename(record.path) for record in alone] == [*names, "such.jpg"]
    kinds = {
        os.path.basename(record.path): record.kind for record in alone if isinstance(record, ErrorResult)
    }
    assert kinds == {**KINDS, "such.jpg": "not_found"}
    assert all(len(record.faces) == 1 for record in alone if isinstance(record, ImageResult))


@pytest.mark.parametrize("workers", [1, 3])
def test_records_are_the_same_whatever_the_workers_and_the_order(
    workers: int, pictures: Path, tiny_bundle: Path, alone: list[Any]
) -> None:
    found = list(scan([pictures, "/no/such.jpg"], model=tiny_bundle, workers=workers))
    assert text(iter(found)) == text(iter(alone))
    assert all(getattr(record, "picture", None) is None for record in found)


def test_order_is_kept_where_it_is_asked_for(pictures: Path, tiny_bundle: Path, alone: list[Any]) -> None:
    paths = [record.path for record in reversed(alone)]
    found = scan(map(os.fsencode, paths), model=tiny_bundle, workers=3, ordered=True)
    assert [record.path for record in found] == paths


def test_sixteen_threads_may_share_one_detector(pictures: Path, tiny_bundle: Path, alone: list[Any]) -> None:
    by_path = {record.path: record for record in alone if isinstance(record, ImageResult)}
    with facefake.FakeImageDetector(tiny_bundle) as detector, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(detector.analyze, list(by_path) * 8))
    assert len(found) == 40
    for record in found:
        assert {**record.to_dict(), "file": None} == {**by_path[record.path].to_dict(), "file": None}


def test_annotated_copies_are_the_same_whatever_the_workers(tmp_path: Path, tiny_bundle: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        shutil.copy(
            SAMPLES / ("astronaut.jpg" if folder == "b" else "self-blend.jpg"), tmp_path / folder / "x.jpg"
        )
    (tmp_path / "b" / "broken.jpg").touch()
    sources = [tmp_path / folder for folder in ("a", "b", "c")]
    contents = []
    for workers in (0, 2):
        copies: list[Any] = []
        album = AnnotatedFolder(str(tmp_path / f"out {workers}"))
        assert (
            len(list(scan(sources, model=tiny_bundle, workers=workers, annotate=album, copied=copies.append)))
            == 4
        )
        names = sorted(copy.name for copy in copies)
        assert names == sorted(os.listdir(album.folder))
        assert len(names) == 3
        contents.append([(album.folder / name).read_bytes() for name in names])
    assert contents[0] == contents[1]


def test_a_copy_that_cannot_be_written_costs_no_record(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "astronaut-annotated.jpg").write_text("precious")
    copies: list[Any] = []
    album = AnnotatedFolder(tmp_path)
    (record,) = scan(
        SAMPLES / "astronaut.jpg", model=tiny_bundle, workers=1, annotate=album, copied=copies.append
    )
    assert isinstance(record, ImageResult)
    assert isinstance(copies[0], OutputError)
    assert (tmp_path / "astronaut-annotated.jpg").read_text() == "precious"


def flat() -> Image.Image:
    return Image.new("1", (20_000, 20_000))


def busy() -> Image.Image:
    """A picture with something in each of its thousands of tiles."""
    return Image.effect_noise((4000, 4000), 90)


@pytest.mark.parametrize("limits", [ImageLimits(max_pixels=4000), ImageLimits(max_pixels=1, max_side=1)])
def test_limits_however_small_cost_only_the_pictures_beyond_them(
    limits: ImageLimits, tmp_path: Path, tiny_bundle: Path
) -> None:
    for side in (1, 64):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    small, large = scan(tmp_path, model=tiny_bundle, limits=limits, workers=1, ordered=True)
    assert small.verdict == "not_applicable"
    assert isinstance(large, ErrorResult)
    assert large.kind == "too_large"
    assert large.message.startswith(f"{tmp_path / '64.png'}: expected at most ")


@pytest.mark.parametrize(
    ("draw", "bounds", "kind"),
    [(flat, {"worker_memory": 1 << 30}, "out_of_memory"), (busy, {"timeout": 5}, "timeout")],
)
def test_a_picture_that_takes_too_much_or_too_long_is_given_up(
    draw: Callable[[], Image.Image], bounds: dict[str, Any], kind: str, tmp_path: Path, tiny_bundle: Path
) -> None:
    draw().save(tmp_path / "a.png")
    shutil.copy(SAMPLES / "astronaut.jpg", tmp_path / "b.jpg")
    limits = ImageLimits(max_pixels=10**9)
    bad, good = scan(
        tmp_path, model=tiny_bundle, min_face=8, limits=limits, workers=1, ordered=True, **bounds
    )
    assert isinstance(bad, ErrorResult)
    assert (bad.kind, good.verdict != "error") == (kind, True)
    assert bad.file is not None and bad.settings is not None
    assert bad.message.startswith(f"{tmp_path / 'a.png'}: expected an analysis within ")


def test_files_that_vanish_or_grow_meanwhile_cost_only_themselves(tmp_path: Path, tiny_bundle: Path) -> None:
    for number in range(4):
        shutil.copy(SAMPLES / "astronaut.jpg", tmp_path / f"{number}.jpg")
    records = scan(tmp_path, model=tiny_bundle, workers=1, ordered=True)
    next(records)
    (tmp_path / "2.jpg").unlink()
    with (tmp_path / "3.jpg").open("ab") as file:
        file.write(b"more")
    _, gone, grown = records
    assert isinstance(gone, ErrorResult)
    assert gone.kind == "not_found"
    assert grown.file == FileState(*((status := os.stat(tmp_path / "3.jpg")).st_size, status.st_mtime_ns))


def test_many_faces_are_bounded_and_the_record_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    face = np.asarray(
        Image.open(SAMPLES / "astronaut.jpg").convert("RGB").crop((130, 0, 330, 200)).resize((80, 80))
    )
    large = np.asarray(Image.fromarray(face).resize((160, 160)))
    wall = np.tile(face, (8, 8, 1))
    wall[:160, :160] = large
    with (
        facefake.FakeImageDetector(tiny_bundle, max_faces=5) as few,
        facefake.FakeImageDetector(tiny_bundle) as all_,
    ):
        bounded, whole = few.analyze(wall), all_.analyze(wall)
    assert len(whole.faces) > 20
    assert len(bounded.faces) == 5
    assert bounded.warnings == ("holds more faces: only the 5 largest were judged",)
    assert whole.warnings == ()

    def side(face: facefake.FaceResult) -> float:
        return max(face.box[2] - face.box[0], face.box[3] - face.box[1])

    assert max(map(side, bounded.faces)) == max(map(side, whole.faces))


def test_leaving_early_leaves_no_process_and_no_thread(pictures: Path, tiny_bundle: Path) -> None:
    before = threading.active_count()
    records = scan(pictures, model=tiny_bundle, workers=2)
    next(records)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    assert children.read_text() != ""
    records.close()
    deadline = time.monotonic() + 5
    while (children.read_text() or threading.active_count() > before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (children.read_text(), threading.active_count()) == ("", before)


def test_the_function_is_not_hidden_by_a_module_of_its_name() -> None:
    import facefake
    import facefake.scanning

    assert facefake.scan is scan


def test_the_model_may_be_bytes(tiny_bundle: Path) -> None:
    (record,) = facefake.scan(SAMPLES / "astronaut.jpg", model=os.fsencode(tiny_bundle), workers=0)
    assert isinstance(record, ImageResult)


def test_memory_is_a_whole_number_of_bytes(tiny_bundle: Path) -> None:
    with pytest.raises(TypeError, match="worker_memory to be a whole number"):
        next(facefake.scan("x.jpg", model=tiny_bundle, worker_memory=2e9))  # type: ignore[arg-type]
