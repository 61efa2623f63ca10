from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facefake import record_folder
from facefake.errors import OutputError
from facefake.frames import Sampling
from facefake.record_folder import RecordFolder
from facefake.results import ContentState, ErrorResult, FileState, ImageResult
from facefake.settings import Settings
from facefake.video import VideoResult

pq = pytest.importorskip("pyarrow.parquet", reason="needs facefake[ray]")
fsspec = pytest.importorskip("fsspec", reason="needs facefake[ray]")

SETTINGS = Settings("0123456789abcdef", "litert", 0.01, 24.0, 1000)
FILE = FileState(5, 1_234_567_890_123_456_789)


def good(path: str | None, file: FileState | None = FILE) -> ImageResult:
    return ImageResult(
        path,
        8,
        8,
        "not_applicable",
        None,
        None,
        "no face found",
        (),
        (),
        "test 1",
        file=file,
        settings=SETTINGS,
    )


def bad(path: str) -> ErrorResult:
    return ErrorResult(path, "empty", f"{path}: expected bytes, got none", FILE, SETTINGS)


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows, by file and within it."""
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def write(folder: Path, *records: Any, **options: Any) -> None:
    with RecordFolder(str(folder), SETTINGS, **options) as into:
        for record in records:
            into.write(record)


def test_a_row_tells_the_record(tmp_path: Path) -> None:
    write(tmp_path / "out", good("a.jpg"), bad("b.jpg"))
    told, failed = rows(tmp_path / "out")
    assert json.loads(told.pop("record")) == good("a.jpg").to_dict()
    assert told == {
        "path": "a.jpg",
        "verdict": "not_applicable",
        "error": None,
        "size": FILE.size,
        "modified_ns": FILE.modified_ns,
        "sha256": None,
    }
    assert (failed["verdict"], failed["error"]) == ("error", "empty")


def test_no_records_leave_no_file(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_records_are_written_by_and_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_folder, "_ROWS", 2)
    names = [f"{number}.jpg" for number in range(5)]
    with RecordFolder(str(tmp_path), SETTINGS) as into:
        for name in names:
            into.write(good(name))
        assert [row["path"] for row in rows(tmp_path)] == names[:4]
    assert [row["path"] for row in rows(tmp_path)] == names
    assert len(list(tmp_path.iterdir())) == 3


def test_records_wait_for_a_minute_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(record_folder.time, "monotonic", lambda: clock[0])
    written = []
    with RecordFolder(str(tmp_path), SETTINGS) as into:
        for number, seconds in enumerate((0.0, 61.0, 61.0, 120.0, 122.0)):
            clock[0] = seconds
            into.write(good(f"{number}.jpg"))
            written.append(len(rows(tmp_path)))
    assert written == [0, 2, 2, 2, 5]


def test_a_folder_with_records_is_not_written_to_unasked(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match="expected a folder without records"):
        write(tmp_path, good("b.jpg"))
    write(tmp_path, good("b.jpg"), force=True)
    assert [row["path"] for row in rows(tmp_path)] == ["b.jpg"]
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_records_to_be_replaced_stay_until_the_scan_has_begun(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    into = RecordFolder(str(tmp_path), replace(SETTINGS, alarm_rate=0.5), force=True)
    assert [row["path"] for row in rows(tmp_path)] == ["a.jpg"]
    into.close()
    assert [row["path"] for row in rows(tmp_path)] == ["a.jpg"]
    into.begin()
    assert rows(tmp_path) == []


def test_what_is_gone_on_with_knows_its_files_and_replaces_their_records(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"), good("b.jpg"), bad("c.jpg"), good("caf\udce9.jpg"))
    changed = FileState(6, 0)
    with RecordFolder(str(tmp_path), SETTINGS, resume=True) as into:
        assert [into.known.holds(name, FILE) for name in ("a.jpg", "c.jpg", "caf\udce9.jpg", "d.jpg")] == [
            True,
            True,
            True,
            False,
        ]
        assert not into.known.holds("b.jpg", changed)
        names = ("a.jpg", "b.jpg", "c.jpg", "caf\udce9.jpg", "d.jpg")
        assert [name for name in names if into.known.knows(name)] == ["a.jpg", "b.jpg", "caf\udce9.jpg"]
        into.write(good("b.jpg", changed))
    assert [(row["path"], row["size"]) for row in rows(tmp_path)] == [
        ("a.jpg", 5),
        ("c.jpg", 5),
        ("caf\\udce9.jpg", 5),
        ("b.jpg", 6),
    ]


def test_a_file_of_which_nothing_is_left_goes(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    write(tmp_path, good("a.jpg", FileState(6, 0)), resume=True)
    (file,) = tmp_path.iterdir()
    assert [row["size"] for row in pq.read_table(file).to_pylist()] == [6]


def test_a_failure_that_is_tried_again_stays_until_there_is_another_record(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    write(tmp_path, bad("b.jpg"), bad("c.jpg"), resume=True)
    with RecordFolder(str(tmp_path), SETTINGS, resume=True, retry_failures=True) as into:
        assert into.known.holds("a.jpg", FILE) and not into.known.holds("b.jpg", FILE)
        assert [row["path"] for row in rows(tmp_path)] == ["a.jpg", "b.jpg", "c.jpg"]
        into.write(good("b.jpg"))
    found = [(row["path"], row["verdict"] == "error") for row in rows(tmp_path)]
    assert found == [("a.jpg", False), ("c.jpg", True), ("b.jpg", False)]


def test_contents_of_one_name_replace_nothing_but_themselves(tmp_path: Path) -> None:
    one, other = (ContentState(5, 0, digit * 64) for digit in "12")
    write(tmp_path, good("image.jpg", one), good("image.jpg", other), good("image.jpg", one))
    assert [row["sha256"][0] for row in rows(tmp_path)] == ["2", "1"]
    with RecordFolder(str(tmp_path), SETTINGS, resume=True) as into:
        assert into.known.holds("image.jpg", one) and into.known.holds("image.jpg", other)
        assert not into.known.holds("image.jpg", ContentState(5, 0, "3" * 64))
        into.write(good("image.jpg", ContentState(5, 0, "3" * 64)))
    assert [row["sha256"][0] for row in rows(tmp_path)] == ["2", "1", "3"]


def test_files_of_before_without_a_sha256_are_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"), good("b.jpg"))
    (file,) = tmp_path.iterdir()
    pq.write_table(pq.read_table(file).drop_columns("sha256"), file)
    with RecordFolder(str(tmp_path), SETTINGS, resume=True) as into:
        assert into.known.holds("a.jpg", FILE)
        into.write(good("b.jpg", FileState(6, 0)))
    assert [(row["path"], row["size"]) for row in rows(tmp_path)] == [("a.jpg", 5), ("b.jpg", 6)]
    assert pq.read_table(tmp_path).num_rows == 2


def test_failures_of_folders_that_have_pictures_now_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, bad("in/"), bad("out/"), good("a.jpg"))
    with RecordFolder(str(tmp_path), SETTINGS, resume=True) as into:
        for path in ("in/", "a.jpg", "other/"):
            into.known.looked_into(path)
    assert [row["path"] for row in rows(tmp_path)] == ["out/", "a.jpg"]


def test_pictures_without_a_path_replace_nothing(tmp_path: Path) -> None:
    write(tmp_path, good(None), good(None))
    assert len(rows(tmp_path)) == 2


def test_records_with_other_settings_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    with pytest.raises(OutputError, match=r"alarm_rate 0\.5.*alarm_rate 0\.01"):
        RecordFolder(str(tmp_path), replace(SETTINGS, alarm_rate=0.5), resume=True)


def test_samplings_of_videos_are_not_mixed(
    tmp_path: Path, video_record: Callable[[Settings], VideoResult]
) -> None:
    denser = Sampling(frames_per_second=5.0)
    write(tmp_path, good("a.jpg"))
    clip = video_record(SETTINGS)
    write(tmp_path, clip, sampling=denser, resume=True)  # what was there is no video
    for sampling in (None, Sampling()):
        with pytest.raises(OutputError, match=r"frames_per_second 2\.0.*frames_per_second 5\.0"):
            RecordFolder(str(tmp_path), SETTINGS, sampling=sampling, resume=True)
    assert RecordFolder(str(tmp_path), SETTINGS, sampling=denser, resume=True).known.holds(
        "clip.mp4", FileState(7, 5)
    )


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, list[str]]] = []

    def fsync(fd: int) -> None:
        synced.append((os.fstat(fd).st_size, sorted(file.name for file in tmp_path.glob("part-*"))))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path, good("a.jpg"), good("b.jpg"))
    (first,) = tmp_path.iterdir()
    write(tmp_path, good("a.jpg", FileState(6, 7)), resume=True)
    second = max(tmp_path.iterdir())
    assert [names for _, names in synced] == [[], [first.name], [first.name, second.name]]
    assert [size for size, _ in synced[1:]] == [second.stat().st_size, first.stat().st_size]


def test_what_fails_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: object, stream: Any, **_: object) -> None:
        stream.write(b"PAR1")
        raise OSError(28, "No space left on device")

    into = RecordFolder(str(tmp_path), SETTINGS)
    into.write(good("a.jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(OutputError, match="No space left"):
            into.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file.txt/below", "nonsense://somewhere"])
def test_a_place_that_takes_no_folder_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(OutputError, match="expected a folder for records"):
        RecordFolder(place if "://" in place else str(tmp_path / place), SETTINGS)


def test_a_file_that_is_no_parquet_is_told_and_kept(tmp_path: Path) -> None:
    name = f"part-{1:020d}-0123abcd-000000.parquet"
    (tmp_path / name).write_text("text")
    with pytest.raises(OutputError, match=f"{name}: expected a file of records, got: "):
        RecordFolder(str(tmp_path), SETTINGS, resume=True)
    assert (tmp_path / name).read_text() == "text"


def test_a_file_that_was_cut_is_named_among_those_that_are_whole(tmp_path: Path) -> None:
    write(tmp_path, good("a.jpg"))
    write(tmp_path, good("b.jpg"), resume=True)
    first, cut = sorted(tmp_path.iterdir())
    cut.write_bytes(cut.read_bytes()[:-100])
    before = first.read_bytes(), cut.read_bytes()
    with pytest.raises(OutputError, match=f"^{cut}: expected a file of records, got: .*magic bytes"):
        RecordFolder(str(tmp_path), SETTINGS, resume=True)
    assert (first.read_bytes(), cut.read_bytes()) == before
    cut.unlink()
    assert RecordFolder(str(tmp_path), SETTINGS, resume=True).known.knows("a.jpg")


def test_parts_that_others_wrote_stay(tmp_path: Path) -> None:
    others = [tmp_path / "part-00000.parquet", tmp_path / "part-00000-0123abcd-c000.snappy.parquet"]
    for other in others:
        other.write_text("precious")
    write(tmp_path, good("a.jpg"))
    write(tmp_path, good("b.jpg"), force=True)
    write(tmp_path, good("c.jpg"), resume=True)
    assert [other.read_text() for other in others] == ["precious"] * 2
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_may_be_in_any_store(tmp_path: Path) -> None:
    try:
        for record, options in ((good("a.jpg"), {}), (good("b.jpg"), {"resume": True})):
            with RecordFolder("memory://facefake-records/deep", SETTINGS, **options) as into:
                into.write(record)
        files = fsspec.filesystem("memory").ls("/facefake-records/deep", detail=False)
        assert len(files) == 2 and all(name.endswith(".parquet") for name in files)
    finally:
        fsspec.filesystem("memory").rm("/facefake-records", recursive=True)
