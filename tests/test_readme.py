"""What the README shows works as it is written there."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

from facefake.cli import main

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [code for language, code in BLOCKS if language == "python"]
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert (tmp_path / "annotated.png").stat().st_size > 0
    assert names["is_fake"] is (names["result"].verdict == "fake")
    assert names["confidence"] == names["result"].fake_probability
    assert len(names["record"]["faces"]) == len(names["result"].faces) > 10


SESSIONS = [block for _, block in BLOCKS if block.startswith("$ ")]
DOCTESTS = [block for _, block in BLOCKS if block.startswith(">>> ")]


def commands_of(session: str) -> list[tuple[str, str]]:
    """Each command of a block, which may be of several lines, with the output that follows it."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        length = 1
        while True:
            try:
                shlex.split("".join(lines[:length]))
                break
            except ValueError:  # a quotation that is still open
                length += 1
        found.append(("".join(lines[:length]), "".join(lines[length:])))
    return found


# Processors add up in different orders, so a figure may be rounded another way.
POINTS, PIXELS = 1.0, 1
TOKEN = re.compile(
    r"[<>≤]? ?(?P<percent>\d+(\.\d+)?) %|(?P<share>[01]\.\d{4,})|(?P<high>\d+) × (?P<wide>\d+)|\S+?(?=[\s,(]|$)|\S"
)


def alike(found: str, shown: str) -> bool:
    """Whether two outputs say the same, but for spaces and for what differs between processors."""
    pairs = list(zip_longest(*(TOKEN.finditer(text) for text in (found, shown))))
    return bool(pairs) and all(one and other and same(one, other) for one, other in pairs)


def same(one: re.Match[str], other: re.Match[str]) -> bool:
    for names, most in ((("percent",), POINTS), (("share",), POINTS / 100), (("high", "wide"), PIXELS)):
        if one[names[0]] and other[names[0]]:
            return all(abs(float(one[name]) - float(other[name])) <= most for name in names)
    return one[0] == other[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder but for the samples."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    return tmp_path


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.splitlines()[0])
def test_what_a_command_prints_is_what_stands_there(session: str, place: Path) -> None:
    if "--engine ray" in session:
        pytest.importorskip("ray", reason="needs facefake[ray]")
    python = shlex.quote(sys.executable)
    setup = f'facefake() {{ {python} -m facefake "$@"; }}; python() {{ {python} "$@"; }}\n'
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    for command, output in commands_of(session):
        done = subprocess.run(
            ["bash", "-c", setup + command],
            cwd=place,
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=120,
        )
        assert done.stdout.strip() == output.strip() or alike(done.stdout, output), done.stdout


def test_what_processors_may_differ_in_is_no_more() -> None:
    (shown,) = [session for session in SESSIONS if "group.jpg\n" in session.splitlines()[0] + "\n"]
    assert alike(shown, shown)
    row = re.search(
        r"^ +1 .* (?P<verdict>real|uncertain|fake) +(?P<percent>[\d.]+) %.*\n", shown, re.MULTILINE
    )
    assert row
    for more, expected in ((0.9 * POINTS, True), (1.1 * POINTS, False)):
        moved = row[0].replace(f"{row['percent']} %", f"{float(row['percent']) + more:g} %", 1)
        assert alike(shown.replace(row[0], moved), shown) is expected
    assert not alike(shown.replace(row[0], ""), shown)
    assert not alike(shown.replace("None of", "All of"), shown)
    assert not alike(shown.replace(row[0], row[0].replace(row["verdict"], "unlike")), shown)
    count = re.search(r"(\d+) are uncertain", shown)
    assert count
    assert not alike(shown.replace(count[0], f"{int(count[1]) + 1} are uncertain"), shown)


@pytest.mark.parametrize("block", DOCTESTS, ids=lambda block: block.splitlines()[-1][:40])
def test_what_python_prints_is_what_stands_there(
    block: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", None, None)
    results = doctest.DocTestRunner().run(test)
    assert results.failed == 0
    assert results.attempted


def test_there_are_outputs_to_check() -> None:
    shown = [command for session in SESSIONS for command, _ in commands_of(session)]
    assert any(command.startswith("facefake scan samples/group.jpg") for command in shown)
    assert DOCTESTS


def test_every_command_of_the_examples_parses() -> None:
    lines = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("facefake ")]
    shown = set()
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)[1:]
        main.commands[name].make_context(name, arguments, resilient_parsing=False)
        shown.add(name)
    assert shown == set(main.commands)


def test_every_linked_file_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
