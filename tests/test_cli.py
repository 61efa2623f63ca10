from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from PIL import Image
from rich.console import Console

from facefake import __version__, about, terminal
from facefake.bundle import read_bundle
from facefake.cli import main
from facefake.errors import ImageError, ModelError, OutputError
from facefake.frames import Sampling
from facefake.images import load_picture
from facefake.journal import RecordFile
from facefake.paths import models_folder
from facefake.persons import PersonResult, Sighting
from facefake.reading import ImageLimits
from facefake.report import CsvTable
from facefake.results import FaceResult, ImageResult, Verdict, schema
from facefake.settings import read_settings
from facefake.training.figure_tables import Table
from facefake.training.recipe import Recipe
from facefake.video import VideoResult

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
POINTS = ((5.0, 5.0),) * 6
VALIDATOR = Draft202012Validator(schema())
needs_bundle = pytest.mark.skipif(
    not (models_folder() / "facefake" / "bundle.json").is_file(),
    reason="needs the trained model in models/facefake",
)


def face(index: int, verdict: Verdict) -> FaceResult:
    numbers = (None, None) if verdict == "not_applicable" else (0.876, 0.0034)
    reason = {"uncertain": "neither nor", "not_applicable": "too small: 9 pixels"}.get(verdict)
    return FaceResult(index, (2.0, 3.0, 22.0, 33.0), POINTS, 0.9, verdict, *numbers, reason)


def judged(path: str, *verdicts: Verdict) -> ImageResult:
    """A result for a picture whose pixels are read, with faces of the given verdicts."""
    picture = load_picture(path)
    whole = next((v for v in ("fake", "uncertain", "real") if v in verdicts), "not_applicable")
    numbers = (None, None) if whole == "not_applicable" else (0.876, 0.0034)
    return ImageResult(
        path,
        picture.width,
        picture.height,
        whole,  # type: ignore[arg-type]
        *numbers,
        None if whole in ("fake", "real") else "because",
        tuple(face(index, verdict) for index, verdict in enumerate(verdicts)),
        picture.warnings,
        "stand-in 1",
        picture=picture,
    )


class StandIn:
    """In the place of FakeImageDetector: a picture's name says what is in it, as "fake-real.png" does."""

    made_with: tuple[Any, dict[str, Any]]
    broken: BaseException | None = None

    def __init__(self, *, model: Path | None, **settings: Any) -> None:
        StandIn.made_with = model, settings
        judging = ("min_face", "alarm_rate", "runtime", "max_faces")
        self._settings = read_settings(model, **{name: settings[name] for name in judging})

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def analyze(self, path: str) -> ImageResult:
        if self.broken:
            raise self.broken
        verdicts = [v for v in get_args(Verdict) if v in Path(path).name.replace("-", "_")]
        return replace(judged(path, *verdicts), settings=self._settings)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Makes pictures of the given names in the current folder, where a stand-in judges them by their names."""
    monkeypatch.setattr("facefake.detector.FakeImageDetector", StandIn)
    monkeypatch.setattr(StandIn, "broken", None)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> Path:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(name)
        return tmp_path

    yield make


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    if arguments[0] == "scan":
        arguments += ("--workers", "0")  # the stand-in is in this process
    result = CliRunner().invoke(main, arguments, given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def plain(text: str) -> str:
    """A message on one line, however it was broken for the terminal."""
    return " ".join(text.split())


def commands() -> list[tuple[str, click.Command]]:
    return [("", main), *main.commands.items()]


# Help


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_option_has_help_and_is_in_an_example(name: str, command: click.Command) -> None:
    assert command.help
    assert command.epilog
    assert f"facefake {name}" in command.epilog
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.name} has no help"
            shown = any(re.search(rf"{flag}\b", command.epilog) for flag in option.opts)
            assert shown or option.name == "version", f"{name} {option.name} has no example"


@pytest.mark.parametrize(("name", "command"), commands()[1:])
def test_every_example_is_one(name: str, command: click.Command) -> None:
    assert command.epilog
    examples = [shlex.split(line) for line in command.epilog.splitlines() if line.startswith("  ")]
    assert examples
    for program, called, *arguments in examples:
        assert (program, called) == ("facefake", name)
        command.make_context(name, arguments)


def test_help_tells_people_what_to_distrust() -> None:
    text = " ".join(run("scan", "--help").output.split())
    for phrase in (
        "statistics, not proof",
        "not that the picture is authentic",
        "called fake at the alarm rate",
        "Small, blurred and cut-off faces are not judged",
        "models/README.md",
        "3 a fake was found",
    ):
        assert phrase in text


def test_help_tells_how_many_bytes_a_megabyte_of_a_file_has(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    run("scan", "real.png", "--max-megabytes", "1")
    of_one = StandIn.made_with[1]["limits"].max_bytes
    default = ImageLimits().max_bytes // of_one
    told = f"more than N times {of_one:,} bytes, except videos. [default: {default}]"
    assert told in plain(run("scan", "--help").output)


def test_help_is_clear_at_first_reading() -> None:
    text = " ".join(run("scan", "--help").output.split())
    for phrase in (
        "A name that begins with a dash is written ./-name",
        "default: what the model can judge, usually 48",
        "usually 0.01: one in a hundred",
        "0: in this process, without limits",
        "try again the pictures that failed",
    ):
        assert phrase in text
    assert "..." not in run("--help").output.partition("Commands:")[2]  # no command's sentence is cut off


def test_help_fits_a_terminal_of_eighty_columns() -> None:
    for name, _ in commands():
        text = run(*name.split(), "--help").output.partition("Examples:")[0]
        assert max(map(len, text.splitlines())) <= 80


def test_version() -> None:
    assert run("--version").output == f"facefake, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan"],
        ["scan", "x.png", "--alarm", "1"],
        ["scan", "x.png", "--min-face", "2"],
        ["scan", "x.png", "--jsonl", "r", "--csv", "r"],
        ["scan", "x.png", "--resume"],
        ["scan", "x.png", "--jsonl", "r", "--csv", "s", "--resume"],
        ["scan", "x.png", "--jsonl", "r", "--force", "--resume"],
        ["scan", "x.png", "--jsonl", "r", "--retry-failures"],
        ["scan", "x.png", "--null"],
        ["scan", "x.png", "--timeout", "0"],
        ["report", "r.jsonl"],
        ["scan", "x.png", "--no-such-option"],
        ["train", "data", "--out", "o", "--from", "b", "--backbone", "vgg16"],
        ["train", "data"],
        ["evaluate", "data", "--split", "some"],
        ["no-such-command"],
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str], pictures: Callable[..., Path]) -> None:
    pictures()
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_a_picture_in_a_commands_place_is_led_to_scan(pictures: Callable[..., Path]) -> None:
    pictures("my real.png", "red\x1b[31m.png")
    result = run("my real.png", "--annotate", "out")
    assert result.exit_code == 2
    assert "expected a command, got a file or folder: try facefake scan 'my real.png'" in result.stderr
    assert "\x1b" not in run("red\x1b[31m.png").stderr


# Scan


def test_a_path_is_never_broken_into_lines(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = "a folder with a long name/and one with another/fake.png"
    pictures(path)
    lines = run("scan", path).stdout.splitlines()
    assert lines[0] == f"{path}  64 × 48 pixels"
    assert max(map(len, lines[1:])) <= 40


def test_scan_shows_a_table_and_a_sentence(pictures: Callable[..., Path]) -> None:
    pictures("fake-real-uncertain-not-applicable.png")
    result = run("scan", "fake-real-uncertain-not-applicable.png")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "fake-real-uncertain-not-applicable.png 64 × 48 pixels"
    assert "1 20 × 30 ○ real 88 % 0.34 %" in lines
    assert "2 20 × 30 ▲ fake 88 % 0.34 %" in lines
    assert "3 20 × 30 ? uncertain 88 % 0.34 % neither nor" in lines
    assert "4 20 × 30 – not judged too small: 9 pixels" in lines
    assert any(line.startswith("▲ fake: 1 of 4 faces looks fake (false-alarm rate 0.34 %)") for line in lines)
    assert "numbered from left to right" in result.stderr


def test_narrow_terminals_get_the_reasons_below_the_table(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("fake-uncertain.png")
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("scan", "fake-uncertain.png").stdout.splitlines()
    assert "Reason" not in lines[1]
    assert any(re.match(r"Face 2: neither nor *$", line) for line in lines)
    pictures("real.png")
    without = run("scan", "real.png").stdout.splitlines()
    assert without[4].startswith("○ real: ")  # right below the table


def person(index: int, verdict: Verdict) -> PersonResult:
    """Somebody who is seen for an hour in a hundred frames, and judged in two less."""
    logits = [1.0] * 98 + [None] * 2
    sightings = [
        Sighting(40.0 * at, (2, 3, 22, 33), 0.9, logit, 0.9, 0.01, None) for at, logit in enumerate(logits)
    ]
    return PersonResult(index, verdict, 0.00034, 0.00012, "neither nor", 1.0, (), tuple(sightings))


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_table_of_a_scan_breaks_a_cell_or_a_word_of_a_heading(width: int, ascii_only: bool) -> None:
    far = replace(face(123, "uncertain"), box=(0.0, 0.0, 1234.0, 1300.0))
    picture = judged(str(SAMPLES / "astronaut.jpg"), "fake", "not_applicable")
    picture = replace(picture, faces=(*picture.faces, far))
    clip = VideoResult(
        "a.mp4",
        64,
        48,
        4e3,
        100,
        40.0,
        Sampling(),
        "fake",
        0.9,
        0.01,
        None,
        (person(11, "uncertain"),),
        (),
        "m 1",
    )
    judgement = ["Verdict", "? uncertain", "Fake", "probability", "False-alarm", "rate"]
    for show, result, told in (
        (terminal.picture, picture, ["Face", "124", "Size", "1234 × 1300", "– not judged", "88 %", "0.34 %"]),
        (
            terminal.video,
            clip,
            ["Person", "12", "Seen", "0:00 to 1:06:00", "98 of 100", "0.034 %", "≤ 0.012 %"],
        ),
    ):
        console = Console(file=StringIO(), width=width)
        console.print(show(result, "a", width, ascii_only), crop=False)
        assert isinstance(console.file, StringIO)
        shown = console.file.getvalue()
        for part in (*told, *judgement):
            assert (part.translate(terminal._ASCII) if ascii_only else part) in shown
        assert max(map(len, shown.splitlines()[1:])) <= width


def test_a_picture_without_faces_gets_a_sentence_only(pictures: Callable[..., Path]) -> None:
    pictures("empty.png")
    result = run("scan", "empty.png")
    assert re.search(r"– not judged: No face of \d+ pixels or more found, so there", result.stdout)
    assert "Face  " not in result.stdout
    assert result.stderr == ""


def test_several_pictures_are_counted(pictures: Callable[..., Path]) -> None:
    pictures("in/fake.png", "in/real.png", "in/more/real-uncertain.png")
    Path("in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run("scan", "in", "missing.png")
    assert result.exit_code == 1
    assert "5 pictures: 1 fake, 1 uncertain, 1 real, 2 failed." in result.stderr
    assert "2 of 5  in/fake.png" in result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [error.split(":")[1].strip() for error in errors] == ["in/broken.png", "missing.png"]


def test_a_missing_picture_is_told_once_even_if_its_folder_is_scanned(pictures: Callable[..., Path]) -> None:
    pictures("in/real.png")
    result = run("scan", "in", "in/missing.png", "in/missing.png", "--jsonl", "r.jsonl")
    assert (result.exit_code, result.stderr.count("in/missing.png: expected a file, got no file")) == (1, 1)
    verdicts = [json.loads(line)["verdict"] for line in Path("r.jsonl").read_text().splitlines()]
    assert verdicts == ["real", "error"]


@pytest.mark.parametrize("engine", [["--workers", "0"], ["--engine", "ray"]])
def test_progress_counts_pictures_and_videos_alike(
    engine: list[str], pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")
    counted: list[str] = []
    progress = terminal.progress

    def noted(what: str, *rest: Any, **more: Any) -> Any:
        counted.append(what)
        return progress(what, *rest, **more)

    monkeypatch.setattr(terminal, "progress", noted)
    monkeypatch.setattr("facefake.distributed.scan", lambda *rest, **more: None)
    result = CliRunner().invoke(main, ["scan", "real.png", *engine, "--jsonl", "r.jsonl"])
    assert (result.exit_code, counted) == (0, ["files"])


def test_videos_are_counted_as_such(pictures: Callable[..., Path]) -> None:
    pictures("in/fake.png", "in/real.png")
    for name in ("in/a.mp4", "in/b.MOV"):
        Path(name).write_bytes(b"nothing")
    told = run("scan", "in", "gone.mp4", "--jsonl", "r.jsonl").stderr
    assert told.endswith("2 pictures and 3 videos: 1 fake, 1 real, 3 failed.\n")
    told = run("scan", "in", "--jsonl", "r.jsonl", "--resume").stderr
    assert told == "2 pictures and 2 videos left out: recorded already.\n"
    assert run("scan", "in/a.mp4", "in/b.MOV").stderr.endswith("2 videos: 2 failed.\n")


def test_json_is_an_array_of_valid_records_and_nothing_else(pictures: Callable[..., Path]) -> None:
    pictures("fake.png", "real.png")
    result = run("scan", "fake.png", "missing.png", "real.png", "--json")
    records = json.loads(result.stdout)
    assert [record["verdict"] for record in records] == ["fake", "error", "real"]
    for record in records:
        VALIDATOR.validate(record)
    assert result.exit_code == 1


def test_files_take_the_place_of_tables(pictures: Callable[..., Path]) -> None:
    pictures("fake.png", "real.png")
    result = run("scan", "fake.png", "real.png", "--jsonl", "r.jsonl", "--csv", "r.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    records = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [record["path"] for record in records] == ["fake.png", "real.png"]
    assert len(Path("r.csv").read_text().splitlines()) == 3


def test_existing_results_are_kept_unless_forced(pictures: Callable[..., Path]) -> None:
    pictures("fake.png")
    Path("r.jsonl").write_text("precious")
    result = run("scan", "fake.png", "--jsonl", "r.jsonl")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: r.jsonl: expected a new file, found one of that name: force overwrites it, resume continues it\n"
    )
    assert Path("r.jsonl").read_text() == "precious"
    assert run("scan", "fake.png", "--jsonl", "r.jsonl", "--force").exit_code == 0
    assert json.loads(Path("r.jsonl").read_text())["verdict"] == "fake"


@pytest.mark.parametrize(
    ("names", "options", "status"),
    [
        (["real.png"], [], 0),
        (["fake.png"], [], 0),
        (["fake.png"], ["--fail-on-fake"], 3),
        (["real.png", "uncertain.png"], ["--fail-on-fake"], 0),
        (["real.png", "missing.png"], ["--fail-on-fake"], 1),
        (["fake.png", "missing.png"], ["--fail-on-fake"], 3),
    ],
)
def test_exit_status(
    names: list[str], options: list[str], status: int, pictures: Callable[..., Path]
) -> None:
    pictures(*(name for name in names if name != "missing.png"))
    assert run("scan", *names, *options).exit_code == status


def test_resumed_copies_follow_their_records(pictures: Callable[..., Path]) -> None:
    def scan(*names: str) -> tuple[Result, dict[Path, bytes]]:
        for name in names:
            Path(name).parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((48, 64, 3), rng.integers(256), np.uint8)).save(name)
        result = run("scan", "in", "--annotate", "out", "--jsonl", "r.jsonl", "--resume")
        assert result.exit_code == 0, result.stderr
        return result, {path: path.read_bytes() for path in Path("out").iterdir()}

    rng = np.random.default_rng(3)
    Path("in").mkdir()
    _, before = scan("in/b/fake.png", "in/c/fake.png")
    _, added = scan("in/a/fake.png")
    assert len(added) == 3
    assert added.items() > before.items()
    _, changed = scan("in/c/fake.png")
    assert changed.keys() == added.keys()
    assert len(changed.items() - added.items()) == 1
    assert changed[Path("out/fake-annotated.png")] == before[Path("out/fake-annotated.png")]
    assert scan()[1] == changed


def test_a_resumed_scan_takes_no_other_pictures_copy(pictures: Callable[..., Path]) -> None:
    def scan() -> set[str]:
        result = run("scan", "in", "--annotate", "out", "--jsonl", "r.jsonl", "--resume")
        assert result.exit_code == 0, result.stderr
        return {path.name for path in Path("out").iterdir()}

    pictures("in/real.jpg")
    assert scan() == {"real-annotated.jpg"}
    pictures("in/real.bmp")  # comes first, and its copy ends otherwise
    both = scan()
    assert both > {"real-annotated.jpg"}
    for name in ("in/real.bmp", "in/real.jpg"):
        os.utime(name, ns=(1, 1))
        assert scan() == both


def test_a_resumed_scan_touches_no_file_that_is_not_its_pictures_copy(pictures: Callable[..., Path]) -> None:
    def scan(folder: str, *options: str) -> Result:
        return run("scan", folder, "--jsonl", f"{folder}.jsonl", *options)

    pictures("a/real.png", "b/real.png", "c/real.png")
    scan("a", "--annotate", "out")
    Path("out/text-annotated.png").write_text("mine")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    scan("b")
    os.utime("b/real.png", ns=(1, 1))
    assert scan("b", "--resume", "--annotate", "out").exit_code == 0
    after = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert after.items() > before.items()
    Path("c/real.png").rename("c/text.png")
    scan("c")
    Path("c/text.png").write_text("broken")
    assert scan("c", "--resume", "--annotate", "out").exit_code == 1
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == after


def test_resuming_makes_each_copy_that_is_missing(pictures: Callable[..., Path]) -> None:
    def scan(*options: str) -> set[str]:
        result = run("scan", "in", "--jsonl", "r.jsonl", "--resume", *options)
        assert result.exit_code == 0, result.stderr
        return set(os.listdir("out"))

    pictures("in/a/real.png", "in/b/real.png", "in/c/real.png")
    Path("out").mkdir()
    Path("out/real-annotated.jpg").write_text("mine")
    assert scan() == {"real-annotated.jpg"}
    made = scan("--annotate", "out")
    assert len(made) == 4
    (Path("out") / min(made)).unlink()
    assert scan("--annotate", "out") == made
    assert Path("out/real-annotated.jpg").read_text() == "mine"


def test_the_copy_of_a_picture_that_cannot_be_judged_any_more_goes(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(*options: str) -> list[str]:
        run("scan", "in", "--annotate", "out", "--jsonl", "r.jsonl", "--resume", *options)
        return [path.name for path in Path("out").iterdir()]

    pictures("in/real.png")
    assert scan() == ["real-annotated.png"]
    os.utime("in/real.png", ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(
            StandIn, "broken", ImageError(path="in/real.png", kind="corrupt", expected="a", got="b")
        )
        assert scan() == []
    assert scan() == []
    assert scan("--retry-failures") == ["real-annotated.png"]


def test_a_copy_that_could_not_be_written_is_made_by_a_resumed_scan(pictures: Callable[..., Path]) -> None:
    def scan(*options: str) -> Result:
        return run("scan", "in", "--annotate", "out", "--jsonl", "r.jsonl", *options)

    pictures("in/real.png", "in/fake.png")
    Path("out/fake-annotated.png").mkdir(parents=True)
    assert scan().exit_code == 1
    Path("out/fake-annotated.png").rmdir()
    assert scan("--resume").exit_code == 0
    assert {path.name for path in Path("out").iterdir()} == {"fake-annotated.png", "real-annotated.png"}
    before = Path("r.jsonl").stat().st_mtime_ns
    assert scan("--resume").exit_code == 0
    assert Path("r.jsonl").stat().st_mtime_ns == before  # nothing was left to do


def test_failures_that_were_not_asked_for_again_stay(pictures: Callable[..., Path]) -> None:
    pictures("a/1-real.png", "b/2-real.png")
    StandIn.broken = ImageError(path="x", kind="empty", expected="a picture", got="none")
    run("scan", "a", "b", "--jsonl", "r.jsonl")
    StandIn.broken = None
    run("scan", "a", "--jsonl", "r.jsonl", "--resume", "--retry-failures")
    records = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [(record["path"], record["verdict"] == "error") for record in records] == [
        ("b/2-real.png", True),
        ("a/1-real.png", False),
    ]


def test_the_copies_are_no_pictures_of_the_next_scan(pictures: Callable[..., Path]) -> None:
    pictures("fake.png", "real.png")
    for _ in range(2):
        result = run("scan", ".", "--annotate", "out", "--json", "--force")
        assert [record["path"] for record in json.loads(result.stdout)] == ["./fake.png", "./real.png"]
    Path("link").symlink_to("out")
    for same in ("out", "./out/", "link"):
        named = run("scan", ".", same, "--annotate", "out", "--force")
        assert named.exit_code == 2
        assert "expected a folder for --annotate other than those to scan, got out" in plain(named.stderr)
    assert len(list(Path("out").iterdir())) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--timeout", "inf"),
        ("--timeout", "1e18"),
        ("--min-face", "nan"),
        ("--alarm", "nan"),
        ("--max-megabytes", "inf"),
        ("--max-megapixels", "nan"),
        ("--frames-per-second", "nan"),
        ("--frames-per-second", "1e-310"),
        ("--worker-memory", "99999999999999"),
    ],
)
def test_numbers_without_end_are_wrong_use(option: str, value: str, pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    result = run("scan", "real.png", option, value)
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a.png", "file:///nowhere/*.png", "zip://a.png::s3://bucket/b.zip"]
)
def test_a_uri_without_an_engine_for_it_is_wrong_use(uri: str, pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    result = run("scan", "real.png", uri, "--jsonl", "r.jsonl")
    assert result.exit_code == 2
    assert f"expected a file of that name, or --engine ray for a URI, got {uri}" in plain(result.stderr)
    assert not Path("r.jsonl").exists()


def test_a_file_may_be_named_like_a_uri(pictures: Callable[..., Path]) -> None:
    pictures("s3:/bucket/real.png")
    assert run("scan", "s3://bucket/real.png").exit_code == 0


def test_no_output_is_a_picture_or_the_records(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    before = Path("real.png").read_bytes()
    for option in ("--jsonl", "--csv"):
        assert run("scan", "real.png", option, "./real.png", "--force").exit_code == 2
    assert Path("real.png").read_bytes() == before
    assert run("scan", "real.png", "--jsonl", "r.jsonl").exit_code == 0
    records = Path("r.jsonl").read_bytes()
    Path("link.jsonl").symlink_to("r.jsonl")
    for option in ("--csv", "--html"):
        assert run("report", "r.jsonl", option, "link.jsonl", "--force").exit_code == 2
    assert Path("r.jsonl").read_bytes() == records
    Path("q").mkdir()
    assert run("scan", "real.png", "--csv", "s", "--jsonl", "q/../s").exit_code == 2


def test_nothing_is_begun_that_cannot_be_ended(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    assert run("scan", "real.png", "--jsonl", "r.jsonl", "--model", "missing").exit_code == 2
    Path("old.csv").touch()
    assert run("scan", "real.png", "--jsonl", "r.jsonl", "--csv", "old.csv").exit_code == 2
    assert not Path("r.jsonl").exists()
    assert run("scan", "real.png", "--jsonl", "r.jsonl").exit_code == 0
    assert run("report", "r.jsonl", "--csv", "new.csv", "--html", "old.csv").exit_code == 2
    assert not Path("new.csv").exists()


def test_a_folder_for_copies_that_cannot_be_written_is_told_before_the_scan(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(folder: str) -> Result:
        return run("scan", "real.png", "--jsonl", "r.jsonl", "--annotate", folder)

    pictures("real.png", "fake.png")
    Path("locked").mkdir()
    access = os.access

    def read_only(path: str | os.PathLike[str], mode: int) -> bool:  # nothing is forbidden to root
        return access(path, mode) and not (os.fspath(path) == "locked" and mode & os.W_OK)

    monkeypatch.setattr(os, "access", read_only)
    for folder, there in (("locked", "locked"), ("locked/new/out", "locked"), ("fake.png/out", "fake.png")):
        refused = scan(folder)
        assert (refused.exit_code, refused.stdout) == (2, "")
        told = f"Error: {folder}: expected a folder to write to, found none that is writable at {there}\n"
        assert refused.stderr == told
        assert not Path("r.jsonl").exists()
    assert scan("new/out").exit_code == 0
    assert os.listdir("new/out") == ["real-annotated.png"]


def test_no_results_go_before_all_files_can_be_written(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(table: CsvTable) -> None:
        raise OutputError(f"{table.path}: expected to go on writing, got: No space left on device")

    pictures("real.png")
    scan = ["scan", "real.png", "--jsonl", "r.jsonl", "--csv", "r.csv"]
    with monkeypatch.context() as patch:
        patch.setattr(CsvTable, "begin", full)
        assert run(*scan).exit_code == 2
    assert [path.name for path in Path().iterdir()] == ["real.png"]
    assert run(*scan).exit_code == 0
    before = [Path(name).read_bytes() for name in ("r.jsonl", "r.csv")]
    with monkeypatch.context() as patch:
        patch.setattr(CsvTable, "begin", full)
        assert run(*scan, "--force").exit_code == 2
    for name in ("r.jsonl", "r.csv"):
        held = RecordFile(name, resume=True)
        refused = run(*scan, "--force")
        held.close()
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"Error: {name}: expected to be the only process that writes to it")
        assert [Path(name).read_bytes() for name in ("r.jsonl", "r.csv")] == before
    assert run(*scan, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [(ModelError("expected a whole bundle, got half of one"), 2), (KeyboardInterrupt(), 130)],
)
def test_a_scan_that_cannot_begin_leaves_no_new_file_and_no_old_one_changed(
    fault: BaseException, status: int, pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")
    scan = ["scan", "real.png", "--jsonl", "r.jsonl"]
    ways = [[*scan, "--csv", "r.csv"], [*scan, "--csv", "r.csv", "--force"], [*scan, "--resume"]]
    monkeypatch.setattr(StandIn, "broken", fault)
    assert [run(*way).exit_code for way in ways] == [status] * 3
    assert [path.name for path in Path().iterdir()] == ["real.png"]
    monkeypatch.setattr(StandIn, "broken", None)
    assert run(*ways[0]).exit_code == 0
    before = [Path(name).read_bytes() for name in ("r.jsonl", "r.csv")]
    monkeypatch.setattr(StandIn, "broken", fault)
    assert [run(*way).exit_code for way in ways[:2]] == [2, status]
    assert [Path(name).read_bytes() for name in ("r.jsonl", "r.csv")] == before


def test_a_forced_scan_of_nothing_replaces_the_results(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    scan = ["scan", "-", "--jsonl", "r.jsonl", "--csv", "r.csv"]
    assert run(*scan, given="real.png").exit_code == 0
    assert run(*scan, "--force", given="").exit_code == 1
    assert Path("r.jsonl").read_bytes() == b""
    assert len(Path("r.csv").read_text().splitlines()) == 1


def broken(kind: str, number: int) -> None:
    """Makes a standard stream of this process one that cannot be written."""
    if kind == "closed":
        os.close(number)
        return
    if kind == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, end = os.pipe()
        os.close(reading)
    os.dup2(end, number)


def with_broken_output(arguments: list[str], kind: str) -> Iterator[subprocess.CompletedProcess[str]]:
    """A command whose standard output is broken, once with what it prints kept back and once without."""
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        yield subprocess.run(
            [sys.executable, "-m", "facefake", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
            preexec_fn=partial(broken, kind, 1),
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("full", "No space left on device"),
        ("closed", "Bad file descriptor"),
    ],
)
@pytest.mark.parametrize("arguments", [["--version"], ["info", "--model", "none"]])
def test_an_output_that_cannot_be_written_is_one_line_of_error(
    arguments: list[str], kind: str, got: str
) -> None:
    for done in with_broken_output(arguments, kind):
        assert done.returncode == 2
        assert done.stderr == f"Error: expected to write to standard output, got: {got}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["info", "--model", "none"],
        pytest.param(["scan", "samples/README.md", "samples/astronaut.jpg"], marks=needs_bundle),
    ],
)
def test_a_reader_that_has_enough_ends_a_command_without_a_word(arguments: list[str]) -> None:
    for done in with_broken_output(arguments, "pipe"):
        told = [line for line in done.stderr.splitlines() if "README.md" not in line]
        assert (done.returncode, told) == (141, [])


@needs_bundle
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", ["full", "pipe", "closed"])
def test_what_nobody_can_be_told_ends_no_scan(kind: str, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "facefake", "scan", "1.jpg", "samples/astronaut.jpg", "--jsonl", str(results)],
        cwd=ROOT,
        preexec_fn=partial(broken, kind, 2),
    )
    assert (done.returncode, len(results.read_text().splitlines())) == (1, 2)
    wrong = subprocess.run(
        [sys.executable, "-m", "facefake", "scan"], cwd=ROOT, preexec_fn=partial(broken, kind, 2)
    )
    assert wrong.returncode == 2


def test_annotated_copies_are_written_and_existing_ones_kept(pictures: Callable[..., Path]) -> None:
    pictures("a/fake.png", "b/fake.jpg", "b/fake.png")
    result = run("scan", "a", "b", "--annotate", "out")
    assert result.exit_code == 0
    written = sorted(path.name for path in Path("out").iterdir())
    assert [Path(name).suffix for name in written if name != "fake-annotated.png"] in (
        [".jpg", ".png"],
        [".png", ".jpg"],
    )
    assert all(f"Annotated: out/{name}" in result.stderr for name in written)
    Path("out/fake-annotated.png").write_text("precious")
    again = run("scan", "a", "real.png", "--annotate", "out", "--json")
    assert again.exit_code == 1
    assert "Error: out/fake-annotated.png: expected a new file" in again.stderr
    assert [record["verdict"] for record in json.loads(again.stdout)] == ["fake", "error"]


def test_settings_reach_the_detector(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    bundle = models_folder() / "facefake"
    flags = [
        "--min-face",
        "24",
        "--alarm",
        "0.001",
        "--max-faces",
        "7",
        "--max-megabytes",
        "2",
        "--max-megapixels",
        "3",
    ]
    run("scan", "real.png", "--model", str(bundle), *flags)
    limits = ImageLimits(max_bytes=2 << 20, max_pixels=3_000_000)
    settings = {"min_face": 24.0, "alarm_rate": 0.001, "runtime": "litert", "max_faces": 7, "limits": limits}
    assert StandIn.made_with == (str(bundle), settings)
    run("scan", "real.png")
    settings = {"min_face": None, "alarm_rate": None, "max_faces": 1000, "limits": ImageLimits()}
    assert StandIn.made_with == (None, {**settings, "runtime": "litert"})


def test_patterns_and_lists_stand_for_pictures(pictures: Callable[..., Path]) -> None:
    pictures("in/fake.png", "in/real.png", "in/more/uncertain.png", "fake\n2.png")
    assert "4 pictures: 2 fake, 1 uncertain, 1 real." in run("scan", "**/*.png").stderr
    listed = run("scan", "-", "in/real.png", "--json", given="in/fake.png\n\nin/more/uncertain.png\n*.png\n")
    paths = ["in/fake.png", "in/more/uncertain.png", "*.png", "in/real.png"]
    assert [record["path"] for record in json.loads(listed.stdout)] == paths
    picture = run("scan", "-", "--jsonl", "r.jsonl", given="\0PNG\n")
    assert picture.exit_code == 2
    assert (
        picture.stderr.strip()
        .splitlines()[-1]
        .startswith("Error: standard input: expected paths, one per line")
    )
    assert not Path("r.jsonl").exists()
    listed = run("scan", "-", "--null", "--json", given="fake\n2.png\0in/real.png\0")
    assert [record["verdict"] for record in json.loads(listed.stdout)] == ["fake", "real"]


def test_a_list_without_paths_is_told_of(pictures: Callable[..., Path]) -> None:
    pictures("real.png")
    for given in ("", "\n\n"):
        result = run("scan", "-", "--json", given=given)
        assert (result.exit_code, result.stdout) == (1, "[]\n")
        assert result.stderr == "Error: standard input: expected paths of pictures, got none\n"
    result = run("scan", "-", "real.png", "--json", given="")
    assert (result.exit_code, len(json.loads(result.stdout))) == (1, 1)


def test_resuming_leaves_out_what_is_recorded(pictures: Callable[..., Path]) -> None:
    pictures("in/fake.png", "in/real.png")
    Path("in/broken.png").write_text("broken")
    scan = ["scan", "in", "--jsonl", "r.jsonl", "--resume"]
    first = run(*scan)
    before = Path("r.jsonl").read_text()
    assert (first.exit_code, len(before.splitlines())) == (1, 3)
    again = run(*scan)
    assert (again.exit_code, Path("r.jsonl").read_text()) == (0, before)
    assert again.stderr == "3 pictures left out: recorded already.\n"
    pictures("in/uncertain.png")
    shutil.copy("in/uncertain.png", "in/broken.png")
    more = run(*scan)
    assert more.exit_code == 0
    assert more.stderr.splitlines() == [
        "2 pictures left out: recorded already.",
        "2 pictures: 1 uncertain, 1 not judged.",
    ]
    paths = [json.loads(line)["path"] for line in Path("r.jsonl").read_text().splitlines()]
    assert paths == ["in/fake.png", "in/real.png", "in/broken.png", "in/uncertain.png"]
    other = run(*scan, "--alarm", "0.1")
    assert (other.exit_code, other.stderr.count("\n")) == (2, 1)
    assert "r.jsonl, line 1: expected a record made with" in other.stderr


def test_resuming_without_the_disk_loses_no_record_and_no_copy(pictures: Callable[..., Path]) -> None:
    pictures("disk/fake.png", "disk/real.png")
    scan = ["scan", "disk/fake.png", "disk/real.png", "--jsonl", "r.jsonl", "--annotate", "out", "--resume"]
    assert run(*scan).exit_code == 0
    before = Path("r.jsonl").read_text()
    Path("disk").rename("elsewhere")
    again = run(*scan)
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "2 pictures left out: recorded before, but not found now.\n"
    assert Path("r.jsonl").read_text() == before
    assert len(list(Path("out").iterdir())) == 2


def test_failures_are_tried_again_where_that_is_asked_for(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")
    scan = ["scan", "real.png", "--jsonl", "r.jsonl", "--resume"]
    monkeypatch.setattr(StandIn, "broken", RuntimeError("for a moment"))
    assert run(*scan).exit_code == 1
    monkeypatch.setattr(StandIn, "broken", None)
    assert (run(*scan).exit_code, json.loads(Path("r.jsonl").read_text())["verdict"]) == (0, "error")
    run(*scan, "--retry-failures")
    assert json.loads(Path("r.jsonl").read_text())["verdict"] == "real"


def test_a_table_is_made_from_records(pictures: Callable[..., Path]) -> None:
    pictures("fake.png", "real.png")
    run("scan", "fake.png", "real.png", "--jsonl", "r.jsonl", "--csv", "scan.csv")
    assert run("report", "r.jsonl", "--csv", "report.csv").exit_code == 0
    assert Path("report.csv").read_bytes() == Path("scan.csv").read_bytes()
    with Path("r.jsonl").open("a") as file:
        file.write('{"schema_version": "1')
    again = run("report", "r.jsonl", "--csv", "report.csv")
    assert again.stderr == (
        "Error: report.csv: expected a new file, found one of that name: force overwrites it\n"
    )
    again = run("report", "r.jsonl", "--csv", "report.csv", "--force")
    assert (again.exit_code, again.stderr.startswith("Warning: r.jsonl: the last line is half-written")) == (
        0,
        True,
    )
    assert Path("report.csv").read_bytes() == Path("scan.csv").read_bytes()
    refused = run("report", "fake.png", "--csv", "no.csv")
    assert (refused.exit_code, Path("no.csv").exists()) == (2, False)
    assert "Error: fake.png, line 1: expected a record" in refused.stderr


def test_a_table_of_a_scan_that_still_runs_has_the_last_verdict_of_a_picture(
    pictures: Callable[..., Path],
) -> None:
    pictures("real.png")
    run("scan", "real.png", "--jsonl", "r.jsonl")
    before = json.loads(Path("r.jsonl").read_text())
    with Path("r.jsonl").open("a") as file:
        file.write(json.dumps({**before, "verdict": "fake", "file": {"size": 1, "modified_ns": 1}}) + "\n")
    run("report", "r.jsonl", "--csv", "r.csv")
    (row,) = Path("r.csv").read_text().splitlines()[1:]
    assert '"fake"' in row


def test_hostile_names_cannot_tamper_with_the_terminal(pictures: Callable[..., Path]) -> None:
    name = "[red]fake:smile:\x1b[31m\r\n\u202egnp\udce9.png"
    pictures("fake.png", "[bold]broken.png")
    Path("fake.png").rename(name)
    Path("[bold]broken.png").write_bytes(b"\x1b[2J")
    result = run("scan", name, "[bold]broken.png", "gone\x1b[2J.png", "--annotate", "out")
    shown = r"[red]fake:smile:\x1b[31m\r\n\u202egnp\udce9"
    assert f"{shown}.png  64 × 48" in result.stdout
    assert f"Annotated: out/{shown}-annotated.png" in result.stderr
    assert r"Error: [bold]broken.png: expected" in result.stderr
    assert r"Error: gone\x1b[2J.png: expected" in result.stderr
    for text in (result.stdout, result.stderr):
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "r.jsonl", "hostile"],
        ["scan", "fake.png", "--csv", "hostile"],
        ["scan", "hostile", "--jsonl", "hostile.", "--force"],
        ["train", "hostile", "--out", "o"],
    ],
)
def test_wrong_use_with_a_hostile_name_cannot_either(
    arguments: list[str], pictures: Callable[..., Path]
) -> None:
    pictures("fake.png")
    name = "\x1b]0;title\x07\u202e.png"
    Path("fake.png").rename(name)
    Path(f"{name}.").symlink_to(name)
    result = run(*[argument.replace("hostile", name) for argument in arguments])
    assert result.exit_code == 2
    assert r"\x1b]0;title\x07\u202e.png" in result.stderr
    assert all(character.isprintable() or character == "\n" for character in result.stderr)


def test_colour_is_never_the_only_carrier() -> None:
    looks = [terminal._LOOKS[verdict] for verdict in get_args(Verdict)]
    assert len({text[0] for text, _ in looks}) == len({style for _, style in looks}) == 4
    console = Console(record=True, force_terminal=True, color_system="standard", width=120, file=StringIO())
    console.print(terminal.picture(judged(str(SAMPLES / "astronaut.jpg"), "fake", "real"), "x", 120))
    coloured = console.export_text(styles=True, clear=False)
    assert "\x1b[1;31m▲ fake" in coloured
    assert "\x1b[36m○ real" in coloured


def test_progress_is_lines_ever_less_often_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    plain = Console(record=True, file=StringIO(), force_terminal=False, width=300)
    with terminal.progress("pictures", plain) as report:
        for done in range(101, 201):
            now += 6.0
            report(done, 200 if done > 105 else None, note="1 fake")
    assert plain.export_text().splitlines() == [
        "106 of 200 pictures, 0.14 a second, 0:11:17 left, 1 fake",
        "117 of 200 pictures, 0.16 a second, 0:08:49 left, 1 fake",
        "138 of 200 pictures, 0.16 a second, 0:06:22 left, 1 fake",
        "179 of 200 pictures, 0.16 a second, 0:02:08 left, 1 fake",
    ]


def test_progress_of_the_next_count_has_a_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    plain = Console(record=True, file=StringIO(), force_terminal=False, width=300)
    with terminal.progress("pictures cropped", plain) as report:
        report(1, 1000)
        now = 1000.0
        report(1000, 1000)
        for start in (2000.0, 3000.0):  # two stages of a training
            for done in (1, 499):
                now = start + done
                report(done, 500, "steps trained")
    assert plain.export_text().splitlines() == [
        "1000 of 1000 pictures cropped, 1 a second",
        "1 of 500 steps trained",
        "499 of 500 steps trained, 1 a second, 0:00:01 left",
        "1 of 500 steps trained",
        "499 of 500 steps trained, 1 a second, 0:00:01 left",
    ]


def test_progress_is_a_bar_with_rate_time_and_counts_on_a_terminal() -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=120)
    with terminal.progress("pictures", screen) as report:
        for done in range(1, 4):
            report(done, 1000, note="2 fake, 1 failed")
            time.sleep(0.15)
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    for part in ("pictures", "3/1000", "/s", "0:0", "2 fake, 1 failed"):
        assert part in shown


def test_ctrl_c_is_quiet(pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pictures("real.png")
    monkeypatch.setattr(StandIn, "broken", KeyboardInterrupt())
    result = run("scan", "real.png")
    assert (result.exit_code, result.output) == (130, "")


def test_ctrl_c_is_quiet_while_a_command_is_being_loaded(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")

    class BeingImported(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name == "printable":
                raise KeyboardInterrupt
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, "facefake.terminal", BeingImported("facefake.terminal"))
    result = run("scan", "real.png")
    assert (result.exit_code, result.output) == (130, "")


def test_a_broken_installation_is_one_line(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")
    monkeypatch.setattr(StandIn, "broken", ModelError("expected\na model \x1b[31m"))
    result = run("scan", "real.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: expected a model \\x1b[31m\n"


def test_text_that_the_encoding_lacks_does_not_stop_the_table(pictures: Callable[..., Path]) -> None:
    pictures("fake-é.png")
    result = CliRunner(charset="ascii").invoke(main, ["scan", "fake-é.png"])
    assert result.exit_code == 0
    assert r"fake-\xe9.png  64 x 48 pixels" in result.output
    assert "- not judged: " in result.output
    assert result.output.count("\\") == 1


# The other commands


def test_report_makes_a_page_and_a_table_and_keeps_what_is_there(pictures: Callable[..., Path]) -> None:
    pictures("fake-real.png")
    run("scan", "fake-real.png", "missing.png", "--jsonl", "r.jsonl")
    assert run("report", "r.jsonl", "--html", "r.html", "--csv", "r.csv").exit_code == 0
    page = Path("r.html").read_text()
    assert "1 picture with 2 faces. 1 face in 1 picture looks fake. 1 file or folder could not be" in page
    assert len(Path("r.csv").read_text().splitlines()) == 4
    refused = run("report", "r.jsonl", "--html", "r.html")
    assert refused.exit_code == 2
    assert "r.html: expected a new file" in refused.stderr
    Path("r.jsonl").write_text("nonsense\n")
    wrong = run("report", "r.jsonl", "--html", "r.html", "--force")
    assert wrong.exit_code == 2
    assert "r.jsonl, line 1: expected a record" in wrong.stderr
    assert Path("r.html").read_text() == page


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report", "r.jsonl"], "expected --html or --csv"),
        (["report", "r.jsonl", "--html", "x", "--csv", "x"], "expected two files"),
        (["scan", "x.png", "--evidence"], "expected --evidence together with --annotate"),
        (
            ["scan", "x.png", "--annotate", "out.jpg"],
            "expected a folder for --annotate, got the name of a picture",
        ),
        (["scan", "x.png", "--jsonl", "-"], "expected the name of a file, got -; for a file of that name"),
        (["scan", "x.png", "--csv", "-"], "expected the name of a file, got -; for a file of that name"),
        (["report", "-", "--csv", "x"], "expected the name of a file, got -; for a file of that name"),
        (
            ["scan", "photos", "--jsonl", "photos/x.JPG", "--force"],
            "expected a name that is not a picture's",
        ),
        (["scan", "--force", "--csv", "x.png", "y.png"], "expected a name that is not a picture's"),
        (
            ["report", "x.jsonl", "--html", "clip.mp4", "--force"],
            "expected a name that is not a picture's",
        ),
        (
            ["evaluate", "data", "--report", "photo.jpg", "--force"],
            "expected a name that is not a picture's",
        ),
    ],
)
def test_options_that_lead_nowhere_are_wrong_use(arguments: list[str], expected: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert expected in plain(result.stderr)


def test_a_face_that_stands_out_is_told_in_the_table(
    pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("fake-real.png")
    analyze = StandIn.analyze

    def with_an_outlier(self: StandIn, path: str) -> ImageResult:
        result = analyze(self, path)
        return replace(result, faces=(result.faces[0], replace(result.faces[1], relative_score=4.25)))

    monkeypatch.setattr(StandIn, "analyze", with_an_outlier)
    shown = " ".join(run("scan", "fake-real.png").stdout.split())
    assert "face 2 stands out from the others" in shown
    assert "(relative score 4.2)" in shown


def test_dependencies_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["heif"], *extras["c2pa"], *extras["ray"]]
    assert sorted(re.split(r"[^\w-]", need)[0] for need in needed) == sorted(about.DEPENDENCIES)


def test_versions_tell_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "DEPENDENCIES", ("click", "no-such-package"))
    known = about.versions()
    assert list(known) == ["facefake", "Python", "system", "click", "no-such-package"]
    assert (known["facefake"], known["no-such-package"]) == (__version__, "not installed")
    assert known["click"][0].isdecimal()


@needs_bundle
def test_a_bundle_is_described_without_the_scores_of_its_real_faces(tiny_bundle: Path) -> None:
    for folder in (tiny_bundle, ROOT / "models" / "facefake"):
        bundle = read_bundle(folder)
        known = about.describe(bundle)
        told = json.dumps(known)
        assert "real_scores" not in told and "real_probabilities" not in told
        assert (known["name"], known["version"]) == (bundle.name, bundle.version)
        assert (known["folder"], known["side"], known["margin"]) == (str(folder), bundle.side, bundle.margin)
        assert (known["networks"], known["mirror_share"]) == (list(bundle.litert_files), bundle.mirror_share)
        assert known["calibration"]["alarm_rate"] == bundle.calibration.alarm_rate
        assert known["weaknesses"] == about.weaknesses(bundle.card)


def test_weaknesses_are_the_worst_rows_of_the_card() -> None:
    def row(label: str, source: str, called_fake: float) -> dict[str, Any]:
        return {"label": label, "source": source, "tier": "web", "called_fake": called_fake}

    sources = [row("fake", f"f{n}", n / 10) for n in range(9, 0, -1)] + [
        row("real", "r", 0.02),
        row("real", "s", 0),
    ]
    told = about.weaknesses({"metrics": {"sources": sources}})
    assert told[0] == "finds 10 % of the fakes from f1 (web pictures)"
    assert told[5:] == ["calls 2 % of the real faces from r (web pictures) fake"]


def test_a_source_is_a_weakness_once_at_its_worst() -> None:
    sources = [
        {"label": "fake", "source": "f", "tier": tier, "called_fake": share}
        for tier, share in (("clean", 0.3), ("hard", 0.1), ("web", 0.2))
    ]
    told = about.weaknesses({"metrics": {"sources": sources}})
    assert told == ["finds 10 % of the fakes from f (hard pictures)"]


@needs_bundle
def test_what_was_not_looked_for_is_said(pictures: Callable[..., Path]) -> None:
    pictures("fake-real.png")
    said = r"Faces smaller than \d+ pixels were not looked for"
    assert re.search(said, run("scan", "fake-real.png").stderr)
    assert not re.search(said, run("scan", "fake-real.png", "--min-face", "24").stderr)
    assert not re.search(said, run("scan", "fake-real.png", "--json").stderr)


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"metrics": 3},
        {"metrics": {"sources": [3, {"label": "fake"}]}},
        {"metrics": {"sources": [{"label": "fake", "source": "f", "tier": "web", "called_fake": "most"}]}},
    ],
)
def test_a_card_may_lack_anything(card: dict[str, Any]) -> None:
    assert about.weaknesses(card) == []


def test_info_shows_versions_even_if_the_model_is_broken(tmp_path: Path) -> None:
    result = run("info", "--model", str(tmp_path))
    assert result.exit_code == 2
    assert re.search(rf"facefake +{re.escape(__version__)}", result.stdout)
    assert result.stderr.startswith("Error: expected a model bundle")
    assert run("info", "--model", str(tmp_path), "--json").stdout == ""


def test_train_hands_over_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    class Trained:
        label = "mine 1"

    def train(*arguments: Any, progress: Any, report: Any, tell: Any, **settings: Any) -> type[Trained]:
        called.append((arguments, settings))
        tell("1 of 9 pictures\x1b are left out")
        progress("steps trained", 1, 2)
        report({"epoch": 1, "loss": 0.41239, "sources": {"dfdc": 0.75}})
        return Trained

    monkeypatch.setattr("facefake.training.commands._import_keras", lambda: None)  # which takes seconds
    monkeypatch.setattr("facefake.training.run.train", train)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("steps = 7\nseed = 3\nbatch = 8\n")
    out = tmp_path / "my model"
    result = run("train", "data", "--out", str(out), "--recipe", str(recipe), "--steps", "9", "--cache", "c")
    ((data, folder, used), settings) = called[0]
    assert (result.exit_code, data, folder) == (0, Path("data"), out)
    assert (used.steps, used.seed, used.batch) == (9, 3, 8)
    assert settings == {
        "backbone": "efficientnet-lite0",
        "start": None,
        "cache": Path("c"),
        "name": "my-model",
    }
    told = "1 of 9 pictures\\x1b are left out\n"
    told += "epoch 1  loss 0.4124\n  AUC by source: dfdc 0.750\n"
    told += f"facefake scan PICTURE --model '{out}' uses it, and facefake info --model '{out}' says where it fails.\n"
    assert result.stderr == told
    assert result.stdout == f"mine 1 is in {out}\n"
    run("train", "data", "--out", str(out), "--from", "b", "--seed", "0")
    assert (called[1][0][2].seed, called[1][1]["start"]) == (0, Path("b"))


def test_ctrl_c_in_a_training_tells_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facefake.training.commands._import_keras", lambda: None)
    monkeypatch.setattr("facefake.training.run.train", interrupted)
    result = run("train", "data", "--out", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (130, "")
    assert re.fullmatch(
        r"Interrupted: the same command continues after the last complete epoch, .*\n", result.stderr
    )


class Evaluation:
    """What `evaluate` and `leave_one_source_out` give."""

    def tables(self) -> list[Table]:
        sources = [["[red]dfdc\x1b", "0.912"], ["photos", ""]]
        return [
            Table("By source", ["source", "AUC"], sources, names=1),
            Table("Tier", ["tier"], [["web"]], names=1),
            Table("Nothing", ["tier"], [], names=1),
        ]

    def to_dict(self) -> dict[str, Any]:
        return {"model": "facefake 1"}


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `evaluate` was called with."""
    called: list[Any] = []

    def evaluate(
        data: Path, bundle: Path | None, *, cache: Path, progress: Any, tell: Any, **settings: Any
    ) -> Any:
        called.append((data, bundle, cache.is_dir(), settings))
        tell("1 of 9 pictures\x1b are left out")
        return SimpleNamespace(evaluation=Evaluation())

    monkeypatch.setattr("facefake.training.evaluate.evaluate", evaluate)
    monkeypatch.setattr("facefake.training.figure_tables.evaluation_tables", lambda found: found.tables())
    monkeypatch.setattr(
        "facefake.training.evaluation_report.evaluation_page", lambda scored: "<!doctype html>"
    )
    return called


def test_evaluate_renders_what_it_is_given(tmp_path: Path, evaluated: list[Any]) -> None:
    result = run("evaluate", "data", "--split", "val")
    shown = result.stdout
    assert r"1 of 9 pictures\x1b are left out" in result.stderr
    assert r"[red]dfdc\x1b  0.912" in shown
    assert "By source" in shown and "web" in shown
    assert "Nothing" not in shown
    assert evaluated == [(Path("data"), None, True, {"split": "val"})]
    kept = str(tmp_path / "crops")
    assert json.loads(run("evaluate", "data", "--cache", kept, "--json").stdout) == {"model": "facefake 1"}


def test_evaluate_breaks_no_number_in_a_file(evaluated: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["a source of fakes with a long name", *["0.123"] * 14]]
    wide = [Table("By source", ["source", *["calibration error"] * 14], rows, names=1)]
    monkeypatch.setattr(Evaluation, "tables", lambda self: wide)
    assert run("evaluate", "data").stdout.count("0.123") == 14


@pytest.mark.parametrize("width", [80, 60, 30])
def test_evaluate_breaks_no_number_and_no_heading_s_word_on_a_screen(
    evaluated: list[Any], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    names = {"kind": "face-swap", "source": "a-source-of-fakes-with-a-long-name", "tier": "clean"}
    figures = {"faces": "176", "AUC": "0.912", "found at 1 %": "93%", "called fake": "100.0%"}
    figures |= {"uncertain": "12.3%", "balanced accuracy": "74.5%", "calibration error": "0.032"}
    headers, row = [*names, *figures], [*names.values(), *figures.values()]
    monkeypatch.setattr(Evaluation, "tables", lambda self: [Table("Figures", headers, [row], len(names))])
    screens = {
        stderr: Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
        for stderr in (False, True)
    }
    monkeypatch.setattr(terminal, "console", lambda stderr=False: screens[stderr])
    assert run("evaluate", "data").exit_code == 0
    shown = screens[False].file.getvalue()
    for word in (*figures.values(), *" ".join(figures).split()):
        assert shown.split().count(word) == 1
    if width >= 60:  # there a name and any of these have room
        assert max(map(len, shown.splitlines())) <= width


def test_evaluate_writes_a_report_but_not_over_another(tmp_path: Path, evaluated: list[Any]) -> None:
    report = tmp_path / "report.html"
    run("evaluate", "data", "--report", str(report))
    assert report.read_text() == "<!doctype html>"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    report.write_text("mine")
    refused = run("evaluate", "data", "--report", str(report))
    assert (refused.exit_code, "expected a new file" in refused.stderr) == (2, True)
    assert (len(evaluated), report.read_text()) == (1, "mine")
    run("evaluate", "data", "--report", str(report), "--force")
    assert report.read_text() == "<!doctype html>"
    nowhere = run("evaluate", "data", "--report", str(tmp_path / "none" / "report.html"))
    assert (nowhere.exit_code, "expected a folder" in nowhere.stderr) == (2, True)


def test_a_folder_for_a_page_that_cannot_be_written_is_told_before_the_work(
    pictures: Callable[..., Path], evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("real.png")
    assert run("scan", "real.png", "--jsonl", "r.jsonl").exit_code == 0
    Path("locked").mkdir()
    access = os.access

    def read_only(path: str | os.PathLike[str], mode: int) -> bool:  # nothing is forbidden to root
        return access(path, mode) and not (os.path.basename(path) == "locked" and mode & os.W_OK)

    def refused(*arguments: str) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stdout, evaluated) == (2, "", [])
        assert "locked: expected a folder to write to, found none that is writable" in result.stderr

    monkeypatch.setattr(os, "access", read_only)
    monkeypatch.setattr("facefake.html_report.write_html", lambda *rest, **more: pytest.fail("it began"))
    measure, page = ["evaluate", "data", "--report"], ["report", "r.jsonl", "--html"]
    for command in (measure, page):
        refused(*command, "locked/page")
    Path("locked/page").touch()
    for command in (measure, page):
        refused(*command, "locked/page", "--force")
    Path("link").symlink_to("locked/page")
    refused(*page, "link", "--force")  # a page of records goes where a link leads
    assert run(*measure, "link", "--force").exit_code == 0  # and that of an evaluation in its place
    assert run(*measure, "/dev/null", "--force").exit_code == 0


def test_evaluate_needs_no_temporary_folder_where_it_is_given_another(
    tmp_path: Path, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    refused = run("evaluate", "data")
    assert (refused.exit_code, refused.stdout, evaluated) == (2, "", [])
    assert "expected a temporary folder for face crops, got: No such file or directory" in refused.stderr
    assert run("evaluate", "data", "--cache", str(tmp_path)).exit_code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that takes nothing")
def test_evaluate_tells_its_figures_even_if_the_report_cannot_be_written(evaluated: list[Any]) -> None:
    failed = run("evaluate", "data", "--json", "--report", "/dev/full", "--force")
    assert (failed.exit_code, json.loads(failed.stdout)) == (2, {"model": "facefake 1"})
    assert "/dev/full: expected a file that can be written" in failed.stderr


def test_evaluate_leaves_sources_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def leave_one_source_out(*args: Any, progress: Any, report: Any, **settings: Any) -> Evaluation:
        called.append((args, settings))
        report(SimpleNamespace(name="flux\x1b", auc={"clean": 0.95, "web": 0.9}))
        return Evaluation()

    monkeypatch.setattr("facefake.training.leave_out.leave_one_source_out", leave_one_source_out)
    out = str(tmp_path / "runs")
    flags = ["--leave-one-source-out", "--out", out, "--leave-out", "sdxl", "--leave-out", "flux1-*"]
    told = run("evaluate", "data", *flags, "--steps", "40", "--json")
    assert json.loads(told.stdout) == {"model": "facefake 1"}
    assert r"without flux\x1b: AUC 0.950 clean, 0.900 web" in told.stderr
    ((args, settings),) = called
    assert args[:2] == (Path("data"), Path(out))
    assert args[2] == replace(Recipe(), steps=40)  # fit makes the epochs no longer than that
    assert (settings["patterns"], settings["cache"]) == (("sdxl", "flux1-*"), None)


def test_ctrl_c_among_runs_tells_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, report: Any, **settings: Any) -> None:
        report(SimpleNamespace(name="flux", auc={"clean": 0.95, "web": 0.9}))
        raise KeyboardInterrupt

    monkeypatch.setattr("facefake.training.commands._import_keras", lambda: None)
    monkeypatch.setattr("facefake.training.leave_out.leave_one_source_out", interrupted)
    result = run("evaluate", "data", "--leave-one-source-out", "--out", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (130, "")
    row, told = result.stderr.splitlines()
    assert row == "without flux: AUC 0.950 clean, 0.900 web"
    assert told.startswith("Interrupted with 1 run finished: the same command repeats none of these")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--leave-one-source-out"], "expected --out DIR"),
        (["--leave-one-source-out", "--out", "o", "--split", "val"], "expected no --model"),
        (["--leave-one-source-out", "--out", "o", "--report", "r.html"], "expected no --model"),
        (["--leave-out", "sdxl"], "expected --leave-one-source-out beside"),
        (["--steps", "4"], "expected --leave-one-source-out beside"),
    ],
)
def test_evaluate_wants_the_options_of_one_task(flags: list[str], message: str) -> None:
    result = run("evaluate", "data", *flags)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_splits_are_those_of_the_evaluation() -> None:
    from facefake.training.evaluate import Split

    (option,) = (option for option in main.commands["evaluate"].params if option.name == "split")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Split)


def test_library_errors_are_one_line(tmp_path: Path) -> None:
    result = run(
        "train", str(tmp_path), "--out", str(tmp_path / "o"), "--recipe", str(tmp_path / "none.toml")
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: expected a TOML recipe")
    assert result.stderr.count("\n") == 1


# Real processes and the real model


def process(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **settings,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom facefake.cli import main\n"
        "for command in ([], ['scan'], ['info'], ['train'], ['evaluate']):\n"
        "    main([*command, '--help'], standalone_mode=False)\n"
        "print({'numpy', 'cv2', 'mediapipe', 'keras', 'tensorflow', 'ai_edge_litert'} & set(sys.modules))"
    )
    finished = process("-c", code)
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "set()"


def test_keras_is_imported_quietly() -> None:
    code = (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "from facefake.training.commands import _import_keras; _import_keras()\n"
        "import sys; print('keras' in sys.modules)"
    )
    finished = process("-c", code)
    assert (finished.stdout, finished.stderr) == ("True\n", "")


@needs_bundle
def test_scan_of_the_group_finds_and_draws_every_face(tmp_path: Path) -> None:
    truth = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))["group.jpg"]
    result = run(
        "scan", str(SAMPLES / "group.jpg"), "--json", "--min-face", "24", "--annotate", str(tmp_path)
    )
    assert result.exit_code == 0
    (record,) = json.loads(result.stdout)
    VALIDATOR.validate(record)
    assert len(record["faces"]) == len(truth)
    with Image.open(tmp_path / "group-annotated.jpg") as image:
        assert image.width == record["width"]


@needs_bundle
def test_a_real_process_says_nothing_but_its_own() -> None:
    finished = process("-m", "facefake", "scan", "samples/astronaut.jpg", "samples/ai-selfie.jpg", "--json")
    assert finished.returncode == 0
    assert len(json.loads(finished.stdout)) == 2
    assert re.fullmatch(r"2 pictures: .*\.\n", finished.stderr)


@needs_bundle
def test_scan_imports_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys\nfrom facefake.cli import main\n"
        "main(['scan', 'samples/astronaut.jpg', '--workers', '0'], standalone_mode=False)\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    finished = process("-c", code)
    assert finished.stdout.splitlines()[-1] == "set()", finished.stderr


@needs_bundle
def test_info_passes_the_self_test() -> None:
    known = json.loads(run("info", "--json").stdout)
    assert known["model"]["self_test"] == "passed"
    assert known["model"]["name"] == "facefake"
    assert known["model"]["networks"] == ["model.tflite", "mirror.tflite"]
    assert set(about.DEPENDENCIES) <= set(known["versions"])
    text = run("info").stdout
    assert re.search(r"self test +passed", text)
    assert "web: at most 768 pixels, JPEG quality 60" in " ".join(text.split())


@needs_bundle
def test_ctrl_c_ends_a_real_process_with_130(tmp_path: Path) -> None:
    for number in range(200):
        shutil.copy(SAMPLES / "group.jpg", tmp_path / f"{number}.jpg")
    results = tmp_path / "r.jsonl"
    arguments = [sys.executable, "-m", "facefake", "scan", str(tmp_path), "--jsonl", str(results)]
    # A shell without job control hands on an ignored SIGINT to what it runs in the background.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    deadline = time.monotonic() + 60
    while not (results.exists() and results.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (130, "")
    assert all(json.loads(line) for line in results.read_text().splitlines())
