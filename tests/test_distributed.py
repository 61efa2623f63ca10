from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from facefake import distributed
from facefake.actors import StoredAnalyst, StoredJob
from facefake.analyst import Analyst, Done, Job
from facefake.blocks import blocks_of
from facefake.cli import main
from facefake.errors import FaceFakeError, MissingLibraryError, ModelError, OutputError
from facefake.journal import JsonLines
from facefake.record_folder import RecordFolder
from facefake.records import read_records
from facefake.results import ErrorResult
from facefake.scanning import scan
from facefake.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
NAMES = ("astronaut", "grace-hopper", "self-blend", "ai-selfie")
SETTINGS = Settings("0123456789abcdef", "litert", 0.01, 32.0, 1000)


# Without Ray


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


def test_without_ray_it_is_said_what_to_install(without_ray: None, tmp_path: Path) -> None:
    with pytest.raises(MissingLibraryError, match=r"pip install 'facefake\[ray\]'"):
        distributed.scan(tmp_path, tmp_path / "out.jsonl")
    with pytest.raises(MissingLibraryError):
        distributed.records(tmp_path)
    answer = CliRunner().invoke(main, ["scan", "x.jpg", "--engine", "ray", "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2
    assert "Error: expected Ray Data" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_of_ray_is_imported_unasked() -> None:
    code = (
        "import sys, facefake.scanning, facefake.cli, facefake.distributed, facefake.actors, facefake.stores; "
        "import facefake.record_folder; list(facefake.scanning.scan('samples/README.md', workers=0)); "
        "print({'ray', 'pyarrow', 'fsspec', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout": 0.0}, {"worker_memory": 0}])
def test_arguments_out_of_range_are_refused(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"):
        distributed.scan("x.jpg", tmp_path / "out.jsonl", **wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"alarmrate": 0.5}, "alarm_rate.*, got alarmrate"),
        ({"workers": 1.5}, "a whole number"),
        ({"sampling": 5}, "expected sampling to be facefake.frames.Sampling or None, got 5"),
    ],
)
def test_options_that_there_are_not_are_refused(wrong: Any, told: str, tmp_path: Path) -> None:
    for begin in (
        distributed.records,
        lambda *given, **options: distributed.scan(*given, tmp_path / "out", **options),
    ):
        with pytest.raises(TypeError, match=told):
            begin("x.jpg", **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--output", "out"],
        ["--address", "auto"],
        ["--engine", "ray"],
        ["--engine", "ray", "--output", "out", "--jsonl", "out.jsonl"],
        ["--engine", "ray", "--output", "out", "--annotate", "copies"],
        ["--engine", "ray", "--output", "out", "--workers", "0"],
        ["--engine", "ray", "--jsonl", "out.json"],
        ["--engine", "ray", "--output", "out.jsonl"],
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str]) -> None:
    answer = CliRunner().invoke(main, ["scan", "x.jpg", *options])
    assert (answer.exit_code, "expected" in answer.stderr) == (2, True)


class Unready:
    """In the place of `_Job`: a cluster on which no worker can begin."""

    settings = SETTINGS

    def __init__(self, options: distributed.Options) -> None:
        pass

    def start(self, *_: object) -> Unready:
        return self

    def rows(self) -> Iterator[Any]:
        raise ModelError("expected a whole bundle, got half of one")
        yield


@pytest.mark.parametrize("name", ["out", "out.jsonl"])
def test_a_scan_that_cannot_begin_leaves_no_new_file_and_no_old_one_changed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="needs facefake[ray]")
    monkeypatch.setattr(distributed, "_Job", Unready)

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def cannot_begin(**options: Any) -> None:
        with pytest.raises(ModelError, match="got half of one"):
            distributed.scan("x.jpg", tmp_path / name, **options)

    for options in ({}, {"force": True}, {"resume": True}):
        cannot_begin(**options)
        assert contents() == {}
    before = Settings("0123456789abcdef", "litert", 0.5, 32.0, 1000)
    record = ErrorResult("a.jpg", "empty", "a.jpg: expected bytes, got none", None, before)
    into = JsonLines(tmp_path / name) if "." in name else RecordFolder(str(tmp_path / name), before)
    with into as file:
        file.write(record)
    old = contents()
    cannot_begin(force=True)
    assert contents() == old != {}


def test_records_are_not_gone_on_with_and_written_over_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected force or resume, got both"):
        distributed.scan("x.jpg", tmp_path / "out.jsonl", force=True, resume=True)


def test_bytes_give_the_records_that_their_files_give(tmp_path: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs facefake[ray]")
    (tmp_path / "cut.jpg").write_bytes((SAMPLES / "astronaut.jpg").read_bytes()[:20_000])
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    clip(tmp_path / "clip.mp4")
    detector = {"model": tiny_bundle, "limits": None, "threads": 1, "runtime": "litert"}
    plain, stored = Analyst(detector, None), StoredAnalyst(detector, None)
    for path in (SAMPLES / "astronaut.jpg", *sorted(tmp_path.iterdir())):
        expected = plain(Job(0, str(path))).record.to_dict()
        assert stored(StoredJob(0, str(path), data=path.read_bytes())).record.to_dict() == expected
        uri = path.as_uri()
        by_uri = stored(Job(0, uri)).record.to_dict()
        assert json.dumps(by_uri) == json.dumps(expected).replace(str(path), uri)


def test_blocks_take_a_file_of_any_time(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs facefake[ray]")
    for year, seconds in ((2400, 13_569_465_600), (1970, 0)):
        (tmp_path / f"{year}.jpg").touch()
        os.utime(tmp_path / f"{year}.jpg", (seconds, seconds))
    rows = [row for block in blocks_of([tmp_path], SETTINGS, 1) for row in block.to_pylist()]
    assert [row["modified_ns"] for row in rows] == [0, (1 << 63) - 1]


def clip(path: Path) -> None:
    import cv2

    picture = cv2.imread(str(SAMPLES / "astronaut.jpg"))
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (picture.shape[1], picture.shape[0])
    )
    for _ in range(10):
        writer.write(picture)
    writer.release()


# On a cluster of three nodes, with a real but tiny model


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray.data", reason="needs facefake[ray]")
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # As on any cluster, what is done there must be importable there: the stand-ins below, too.
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (Path(__file__).parent, ROOT))))
        cluster = Cluster()
        for _ in range(3):
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False)
        cluster.wait_for_nodes()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def connected(cluster: Any) -> Any:
    """The same, connected with before datasets are made: on a cluster that Ray finds by itself it loses its actors."""
    import ray

    ray.init(cluster.address, ignore_reinit_error=True, log_to_driver=False)
    return cluster


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen small pictures, and some that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    for number in range(12):
        with Image.open(SAMPLES / f"{NAMES[number % 4]}.jpg") as picture:
            width, height = picture.size
            picture.crop((number, 0, width - number, height)).save(folder / "below" / f"{number:02d}.jpg")
    shutil.copy(folder / "below" / "00.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes((folder / "below" / "00.jpg").read_bytes()[:20_000])
    return folder


@pytest.fixture(scope="module")
def alone(pictures: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines that a scan on one machine writes, sorted."""
    file = tmp_path_factory.mktemp("alone") / "records.jsonl"
    with JsonLines(file) as into:
        for record in scan([pictures, "/no/such.jpg", "/nothing/*"], model=tiny_bundle, workers=1):
            into.write(record)
    return lines(file)


def lines(file: Path) -> list[bytes]:
    return sorted(file.read_bytes().splitlines())


def parquet_lines(folder: Path) -> list[bytes]:
    import pyarrow.parquet as pq

    return sorted(
        row.encode() for file in folder.glob("*.parquet") for row in pq.read_table(file)["record"].to_pylist()
    )


def test_records_are_those_of_one_machine_and_standard_output_is_clean(
    cluster: Any, pictures: Path, tiny_bundle: Path, alone: list[bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "facefake", "scan", "-", "/nothing/*", "--engine", "ray"]
    command += [
        "--address",
        cluster.address,
        "--model",
        str(tiny_bundle),
        "--jsonl",
        str(tmp_path / "out.jsonl"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, input=os.fsencode(f"{pictures}\n/no/such.jpg\n"), capture_output=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(tmp_path / "out.jsonl") == alone
    errors = sum(b'"verdict": "error"' in line for line in alone)
    told = done.stderr.decode().splitlines()
    assert sum(line.startswith("Error: ") for line in told) == errors == 4
    assert len([line for line in told if line.strip()]) < errors + 8, done.stderr


def test_a_lost_node_costs_no_record_and_gives_none_twice(
    cluster: Any, pictures: Path, tiny_bundle: Path, alone: list[bytes], tmp_path: Path
) -> None:
    paths = [pictures, "/no/such.jpg", "/nothing/*"]
    lost: list[int] = []
    hosts: set[str] = set()

    def lose_a_node(done: int, total: int | None) -> None:
        assert total == len(alone)
        hosts.update(busy_nodes())
        if not lost:
            victim = next((node for node in cluster.list_all_nodes()[1:] if node.node_id in hosts), None)
            if victim is not None:
                lost.append(done)
                cluster.remove_node(victim, allow_graceful=False)

    distributed.scan(
        paths, tmp_path / "out", address=cluster.address, model=tiny_bundle, progress=lose_a_node
    )
    assert lost and lost[0] < len(alone) - 3, "no node was lost in the middle"
    assert parquet_lines(tmp_path / "out") == alone
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    cluster.wait_for_nodes()


def busy_nodes() -> set[str]:
    """The nodes on which actors analyse."""
    from ray._private.state import actors

    return {
        actor["Address"]["NodeID"]
        for actor in actors().values()
        if "MapWorker" in actor["ActorClassName"] and actor["State"] == "ALIVE"
    }


def test_resuming_does_what_is_left(
    cluster: Any, pictures: Path, tiny_bundle: Path, alone: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder, ignore=shutil.ignore_patterns("0[2-9].jpg", "1*.jpg"))
    first = distributed.scan(
        folder / "below", tmp_path / "out", address=cluster.address, model=tiny_bundle, workers=1
    )
    assert first.total() == 2
    shutil.copy(SAMPLES / "astronaut.jpg", folder / "below" / "01.jpg")
    told: list[tuple[int, int | None]] = []
    seen: list[str] = []

    def scan_again(**options: Any) -> Counter[str]:
        seen.clear()
        return distributed.scan(
            folder,
            tmp_path / "out",
            model=tiny_bundle,
            workers=1,
            resume=True,
            recorded=lambda record: seen.append(os.path.basename(record["path"])),
            progress=lambda *numbers: told.append(numbers),
            **options,
        )

    assert scan_again().total() == 4
    assert sorted(seen) == ["01.jpg", "caf\\udce9.jpg", "cut.jpg", "empty.jpg"]
    assert told[-1] == (5, 5)
    assert scan_again(retry_failures=True) == {"error": 2}
    with JsonLines(tmp_path / "alone.jsonl") as into:
        for record in scan(folder, model=tiny_bundle, workers=1):
            into.write(record)
    assert parquet_lines(tmp_path / "out") == lines(tmp_path / "alone.jsonl")
    left_out: list[tuple[str, bool]] = []
    folder.rename(tmp_path / "elsewhere")
    pictures_now = [str(folder / "below" / "00.jpg"), str(tmp_path / "elsewhere" / "below")]
    again = distributed.scan(
        pictures_now,
        tmp_path / "out",
        model=tiny_bundle,
        workers=1,
        resume=True,
        left_out=lambda *picture: left_out.append(picture),
    )
    assert again.total() == 2
    assert left_out == [(pictures_now[0], False)]
    with pytest.raises(OutputError, match="expected a record made with"):
        scan_again(alarm_rate=0.5)


def test_datasets_and_stores_are_taken(
    cluster: Any, pictures: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import ray

    data = (pictures / "below" / "00.jpg").read_bytes()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("in/a.jpg", data)
    uri = f"zip://in::file://{tmp_path}/all.zip"
    distributed.scan(uri, tmp_path / "a.jsonl", address=cluster.address, model=tiny_bundle, workers=1)
    (stored,) = read_records(tmp_path / "a.jsonl")
    assert stored["path"] == f"zip://in/a.jpg::file://{tmp_path}/all.zip"
    table = pa.table(
        {
            "path": ["b.jpg", str(pictures / "below" / "00.jpg"), None],
            "bytes": [data, None, b"text"],
            "other": [1, 2, 3],
        }
    )
    rows = distributed.records(ray.data.from_arrow(table), model=tiny_bundle, workers=1).take_all()
    named, read, nameless = (json.loads(row["record"]) for row in rows)
    assert (
        [row["path"] for row in rows] == [named["path"], read["path"], None] == [*table["path"].to_pylist()]
    )
    for record in (named, read):
        assert {**record, "path": "", "file": None} == {**stored, "path": "", "file": None}
    assert named["file"] == {"size": len(data), "modified_ns": 0, "sha256": sha256(data).hexdigest()}
    assert (rows[2]["verdict"], nameless["error"]["kind"]) == ("error", "unsupported")
    assert nameless["error"]["message"].startswith("picture: expected ")
    for columns, resume in ((["other"], False), (["bytes"], True)):
        with pytest.raises(ValueError, match="expected a dataset with the column path"):
            distributed.scan(
                ray.data.from_arrow(table.select(columns)), tmp_path / "b", model=tiny_bundle, resume=resume
            )


def test_pictures_of_one_name_have_a_record_each(
    connected: Any, pictures: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    import ray

    contents = [(pictures / "below" / f"0{number}.jpg").read_bytes() for number in range(3)]
    dataset = ray.data.from_items([{"path": "image.jpg", "bytes": content} for content in contents])
    for place in ("out", "out.jsonl"):
        found = []
        for given, resume in ((dataset.limit(2), False), (dataset, True)):
            counts = distributed.scan(
                given,
                tmp_path / place,
                address=connected.address,
                model=tiny_bundle,
                workers=1,
                resume=resume,
            )
            found.append(counts.total())
        assert found == [2, 1]
    for told in (parquet_lines(tmp_path / "out"), lines(tmp_path / "out.jsonl")):
        digests = {json.loads(line)["file"]["sha256"] for line in told}
        assert (len(told), digests) == (3, {sha256(content).hexdigest() for content in contents})


def test_a_failure_of_a_folder_goes_when_it_has_pictures(
    cluster: Any, pictures: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    given = [str(tmp_path / "a"), f"file://{tmp_path}/b", f"file://{tmp_path}/c"]
    for place in ("out", "out.jsonl"):
        distributed.scan(
            given, tmp_path / place, address=cluster.address, model=tiny_bundle, workers=1, resume=True
        )
    for folder in ("a", "b"):
        shutil.copy(pictures / "below" / "00.jpg", tmp_path / folder)
    for place in ("out", "out.jsonl"):
        distributed.scan(given, tmp_path / place, model=tiny_bundle, workers=1, resume=True)
    for told in (parquet_lines(tmp_path / "out"), lines(tmp_path / "out.jsonl")):
        paths = sorted(json.loads(line)["path"] for line in told)
        assert paths == sorted([f"{given[0]}/00.jpg", f"{given[1]}/00.jpg", given[2]])


def test_other_columns_of_a_dataset_do_not_matter(
    connected: Any, pictures: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    import ray

    file = str(pictures / "below" / "00.jpg")
    rows = [{"path": file, "record": "no JSON", "size": "large", "modified_ns": 1.5}]
    (row,) = distributed.records(
        ray.data.from_items(rows), address=connected.address, model=tiny_bundle, workers=1
    ).take_all()
    assert json.loads(row["record"])["file"]["size"] == os.path.getsize(file)
    distributed.scan(file, tmp_path / "first", model=tiny_bundle, workers=1)
    distributed.scan(
        ray.data.read_parquet(str(tmp_path / "first")),
        tmp_path / "second",
        model=tiny_bundle,
        workers=1,
        alarm_rate=0.5,
    )
    (line,) = parquet_lines(tmp_path / "second")
    assert json.loads(line)["settings"]["alarm_rate"] == 0.5


def test_a_row_without_a_picture_costs_only_itself(
    connected: Any, pictures: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.chdir(tmp_path)
    shutil.copy(pictures / "below" / "00.jpg", "picture")
    numbers = ray.data.from_items([{"path": 5}, {"path": 6}])
    nothing = ray.data.from_items([{"path": None, "bytes": None}])
    text = ray.data.from_items([{"path": "a.jpg", "bytes": "text"}])
    for dataset, got, paths in (
        (numbers, ["5 for a path", "6 for a path"], [None, None]),
        (nothing, ["neither"], [None]),
        (text, ["'text' for bytes"], ["a.jpg"]),
    ):
        rows = distributed.records(
            dataset, address=connected.address, model=tiny_bundle, workers=1
        ).take_all()
        assert [row["path"] for row in rows] == paths
        errors = [json.loads(row["record"])["error"] for row in rows]
        assert {error["kind"] for error in errors} == {"unreadable"}
        # Ray promises no order.
        assert sorted(error["message"] for error in errors) == [
            f"{paths[0] or 'picture'}: expected a path or the bytes of a file, got {each}" for each in got
        ]


def test_a_name_that_is_no_unicode_costs_only_itself(connected: Any, tiny_bundle: Path) -> None:
    import ray

    def unnamed(batch: dict[str, Any]) -> dict[str, Any]:
        return {"path": np.array(["\ud800.jpg"], object)}

    dataset = ray.data.from_items([{"path": "a.jpg"}]).map_batches(unnamed)
    (row,) = distributed.records(dataset, address=connected.address, model=tiny_bundle, workers=1).take_all()
    assert (row["path"], row["verdict"]) == (r"\ud800.jpg", "error")
    assert json.loads(row["record"])["error"]["kind"] == "unreadable"


def test_equal_pictures_at_once_are_no_lost_attempts_but_those_of_one_actor_are() -> None:
    from facefake.actors import Attempts

    attempts = Attempts()
    assert [attempts.begin(b"same", actor) for actor in "abcd"] == [0, 0, 0, 0]
    assert attempts.begin(b"same", "a") == 1  # its machine was lost meanwhile
    attempts.begin(b"other", "b")
    assert attempts.begin(b"same", "a") == 3
    attempts.end(b"same", "c")
    attempts.end(b"same", "d")
    assert attempts.begin(b"same", "e") == 3
    attempts.end(b"same", "a")
    attempts.end(b"same", "e")
    assert attempts.begin(b"same", "f") == 1
    attempts.end(b"other", "b")
    assert attempts.begin(b"other", "b") == 0


def deadly(*_: Any) -> Callable[[Job], Done]:
    """In the place of `in_worker`: an analyst that some pictures make end its actor."""

    def analyse(job: Job) -> Done:
        if "poison" in job.path:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return Done(ErrorResult(job.path, "internal", "not looked at", job.file))

    return analyse


def test_a_picture_that_ends_its_actor_is_given_up(
    cluster: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "poison.jpg", "z.jpg"):
        (tmp_path / name).touch()
    monkeypatch.setattr("facefake.actors.in_worker", deadly)
    found = []
    distributed.scan(
        tmp_path,
        tmp_path / "out",
        address=cluster.address,
        model=tiny_bundle,
        workers=1,
        recorded=found.append,
    )
    kinds = {os.path.basename(record["path"]): record["error"]["kind"] for record in found}
    assert kinds == {"a.jpg": "internal", "poison.jpg": "crashed", "z.jpg": "internal"}
    (crashed,) = (record for record in found if record["error"]["kind"] == "crashed")
    assert crashed["error"]["message"].endswith(
        "expected an analysis, got 3 attempts that took down their actor or machine"
    )
    assert crashed["settings"] is not None


def faulty(*_: Any) -> Callable[[Job], Done]:
    """In the place of `in_worker`."""
    raise ModelError("expected a whole bundle, got half of one")


def test_faults_of_the_installation_end_the_scan(
    cluster: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facefake.actors.in_worker", faulty)
    with pytest.raises(ModelError, match=r"got half of one$"):
        distributed.scan("x.jpg", tmp_path / "out", address=cluster.address, model=tiny_bundle)


def test_a_cluster_that_is_not_there_is_one_clear_error(cluster: Any, tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    with pytest.raises(FaceFakeError, match="expected a Ray cluster at"):
        distributed.scan("x.jpg", tmp_path / "out", address="127.0.0.1:1")


@pytest.mark.parametrize(
    ("address", "host"), [("head.example:6379", "head.example"), ("[2001:db8::1]:6379", "2001:db8::1")]
)
def test_a_cluster_is_looked_for_by_whatever_kind_of_address(
    address: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs facefake[ray]")
    asked: list[tuple[str, int]] = []

    def refuse(place: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(place)
        raise ConnectionRefusedError("Connection refused")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(FaceFakeError, match=f"^expected a Ray cluster at {re.escape(address)}, got: "):
        distributed._connect(address)
    assert asked == [(host, 6379)]


def test_a_lost_cluster_is_one_clear_error_and_a_callers_own_fault_stays_its_own() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    with (
        pytest.raises(FaceFakeError, match="expected the Ray cluster to keep running, got: "),
        distributed._own_errors(),
    ):
        raise exceptions.LocalRayletDiedError
    fault = exceptions.RayTaskError("read", "a traceback", ValueError("the caller's"))
    with pytest.raises(exceptions.RayTaskError), distributed._own_errors():
        raise fault
