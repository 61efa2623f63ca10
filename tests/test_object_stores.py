"""A bucket of S3, as moto serves it on this machine: what is said of `s3://` in the README, over the wire."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from facefake import distributed
from facefake.errors import ImageError, OutputError
from facefake.record_folder import RecordFolder
from facefake.results import ErrorResult, FileState
from facefake.scanning import scan
from facefake.settings import Settings
from facefake.stores import Stored, find_stored, opened

fs = pytest.importorskip("pyarrow.fs", reason="needs facefake[ray]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs facefake[ray]")
moto = pytest.importorskip("moto.server", reason="needs facefake[stores]")

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("a.jpg", "b c%20é.PNG", "deep/er/d.webp", "deep/notes.txt", ".hidden.jpg", "clip.mp4")
SETTINGS = Settings("0123456789abcdef", "litert", 0.01, 24.0, 1000)


class Bucket:
    """A bucket of its own on the server.

    Attributes:
        system: as pyarrow sees it.
        name: of the bucket.
    """

    def __init__(self, system: Any, name: str, query: str) -> None:
        self.system, self.name, self._query = system, name, query
        system.create_dir(name)

    def uri(self, key: str) -> str:
        """Of a key, or of the bucket where it is empty; percent signs in it are escapes."""
        return f"s3://{self.name}/{key}{self._query}"

    def put(self, key: str, content: bytes) -> None:
        with self.system.open_output_stream(f"{self.name}/{key}") as stream:
            stream.write(content)

    def rows(self, folder: str) -> list[dict[str, Any]]:
        """All rows of all Parquet files of a folder."""
        found = self.system.get_file_info(fs.FileSelector(f"{self.name}/{folder}"))
        rows = []
        for info in sorted(found, key=lambda info: info.path):
            if info.path.endswith(".parquet"):
                with self.system.open_input_file(info.path) as stream:
                    rows += pq.read_table(stream).to_pylist()
        return rows


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its host and port; the environment holds keys for it, for the processes that the tests start, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        serving.start()
        yield "{}:{}".format(*serving.get_host_and_port())
        serving.stop()


@pytest.fixture
def bucket(server: str) -> Bucket:
    system = fs.S3FileSystem(endpoint_override=server, scheme="http", allow_bucket_creation=True)
    return Bucket(system, f"bucket-{secrets.token_hex(4)}", f"?endpoint_override={server}&scheme=http")


@pytest.fixture
def full(bucket: Bucket) -> Bucket:
    for name in NAMES:
        bucket.put(f"in/{name}", name.encode())
    bucket.system.create_dir(f"{bucket.name}/in/empty")  # an object of no bytes, as S3's console makes it
    return bucket


def texts(uri: str) -> list[str]:
    found = list(find_stored(uri))
    assert all(isinstance(entry, Stored) and entry.file and entry.file.modified_ns > 0 for entry in found)
    contents = []
    for entry in found:
        with opened(entry.uri, 1000) as file:  # type: ignore[union-attr]
            contents.append(file.read().decode())
    return contents


@pytest.mark.parametrize("folder", ["in/", "in", ""])
def test_a_folder_stands_for_the_pictures_below_it_by_name(folder: str, full: Bucket) -> None:
    assert texts(full.uri(folder)) == ["a.jpg", "b c%20é.PNG", "clip.mp4", "deep/er/d.webp"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in/*.jpg", ["a.jpg"]),
        ("**/*.webp", ["deep/er/d.webp"]),
        ("in/deep/n*", ["deep/notes.txt"]),
        ("in/de*", ["deep/er/d.webp"]),
        ("i*/d%65ep/*/", ["deep/er/d.webp"]),
        ("*/b%20c%2520*", ["b c%20é.PNG"]),
    ],
)
def test_patterns_match_as_in_the_shell(pattern: str, names: list[str], full: Bucket) -> None:
    assert texts(full.uri(pattern)) == names


def test_a_key_stands_for_itself(full: Bucket) -> None:
    assert texts(full.uri("in/" + quote("b c%20é.PNG"))) == ["b c%20é.PNG"]


@pytest.mark.parametrize("key", ["in/none.jpg", "none/"])
def test_what_is_not_there_is_an_error_of_its_own(key: str, full: Bucket) -> None:
    (found,) = find_stored(full.uri(key))
    assert isinstance(found, Stored)
    assert found.file is None
    with pytest.raises(ImageError, match="expected a"), opened(found.uri, 1000) as file:
        file.read()


@pytest.mark.parametrize("folder", ["records", "records/", "deep/er/records/"])
def test_records_are_kept_in_a_bucket(folder: str, bucket: Bucket) -> None:
    def write(*paths: str, size: int = 5, **options: bool) -> None:
        with RecordFolder(bucket.uri(folder), SETTINGS, **options) as into:
            for path in paths:
                into.write(ErrorResult(path, "empty", "expected bytes", FileState(size, 1), SETTINGS))

    def kept() -> list[tuple[str, int]]:
        return sorted((row["path"], row["size"]) for row in bucket.rows(folder.rstrip("/")))

    write("a.jpg", "b.jpg")
    with pytest.raises(OutputError, match="found 1 files"):
        write("c.jpg")
    assert kept() == [("a.jpg", 5), ("b.jpg", 5)]
    write("b.jpg", "c.jpg", size=6, resume=True)
    assert kept() == [("a.jpg", 5), ("b.jpg", 6), ("c.jpg", 6)]
    write("d.jpg", force=True)
    assert kept() == [("d.jpg", 5)]


@pytest.fixture
def ray_here(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="needs facefake[ray]")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (Path(__file__).parent, ROOT))))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def test_a_scan_from_bucket_to_bucket_gives_the_records_of_the_files(
    ray_here: None, bucket: Bucket, tmp_path: Path, tiny_bundle: Path
) -> None:
    picture = (ROOT / "samples" / "astronaut.jpg").read_bytes()
    contents = {"whole.jpg": picture, "deep/cut.jpg": picture[:20_000], "deep/empty.png": b""}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        bucket.put(f"photos/{name}", content)

    def go_on() -> Counter[str]:
        return distributed.scan(bucket.uri("photos/"), bucket.uri("records/"), model=tiny_bundle, resume=True)

    def told(record: dict[str, Any]) -> dict[str, Any]:
        del record["file"]["modified_ns"]  # when each was uploaded
        return record

    assert go_on().total() == len(contents)
    expected = {
        bucket.uri(f"photos/{name}"): json.loads(
            json.dumps(
                told(next(scan(str(tmp_path / name), model=tiny_bundle, workers=0)).to_dict())
            ).replace(str(tmp_path / name), bucket.uri(f"photos/{name}"))
        )
        for name in contents
    }
    assert {row["path"]: told(json.loads(row["record"])) for row in bucket.rows("records")} == expected
    assert go_on().total() == 0
    bucket.put("photos/deep/empty.png", picture)
    assert go_on() == Counter({expected[bucket.uri("photos/whole.jpg")]["verdict"]: 1})
    assert len(bucket.rows("records")) == len(contents)
