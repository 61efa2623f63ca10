from __future__ import annotations

import errno
import json
import os
from io import BytesIO
from pathlib import Path

import pytest

from facefake.actors import StoredAnalyst
from facefake.analyst import Analyst, Job
from facefake.reading import ImageLimits
from facefake.results import ErrorResult


def test_a_uri_of_what_is_no_file_gives_the_record_that_its_path_gives(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("frames", "actors"):
        monkeypatch.setattr(f"facefake.{module}.LARGEST_FILE", 1000)
    for suffix in ("jpg", "mp4"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        (tmp_path / f"large.{suffix}").write_bytes(bytes(1001))
    detector = {
        "model": tiny_bundle,
        "limits": ImageLimits(max_bytes=1000),
        "threads": 1,
        "runtime": "litert",
    }
    plain, stored = Analyst(detector, None), StoredAnalyst(detector, None)
    for path in sorted(tmp_path.iterdir()):
        expected = plain(Job(0, str(path))).record.to_dict()
        assert expected["error"]["kind"] == ("too_large" if path.stem == "large" else "not_a_file")
        by_uri = stored(Job(0, path.as_uri())).record.to_dict()
        assert json.dumps(by_uri) == json.dumps(expected).replace(str(path), path.as_uri())


def test_a_video_without_an_end_in_a_store_is_refused_in_time(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.taken += size or 0
            assert self.taken < 100 << 20, "still reading"
            return bytes(size or 0)

    endless = Endless()
    monkeypatch.setattr("facefake.actors.opened", lambda *_: endless)
    monkeypatch.setattr("facefake.actors.LARGEST_FILE", 3 << 20)
    detector = {"model": tiny_bundle, "limits": None, "threads": 1, "runtime": "litert"}
    record = StoredAnalyst(detector, None)(Job(0, "s3://bucket/clip.mp4")).record
    assert isinstance(record, ErrorResult)
    assert record.kind == "too_large"
    assert record.message == "s3://bucket/clip.mp4: expected at most 3,145,728 bytes, got more"
    assert endless.taken == 4 << 20


@pytest.mark.parametrize("path", ["s3://bucket/photo.jpg", "s3://bucket/clip.mp4"])
def test_a_store_that_breaks_off_is_told_of_by_the_files_uri(
    path: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr("facefake.actors.opened", lambda *_: Broken())
    detector = {"model": tiny_bundle, "limits": None, "threads": 1, "runtime": "litert"}
    record = StoredAnalyst(detector, None)(Job(0, path)).record
    assert isinstance(record, ErrorResult)
    assert record.kind == "unreadable"
    assert record.message.startswith(f"{path}: expected a readable ")
    assert record.message.endswith(", got Connection reset by peer")
