"""What the README shows works as it is written there."""

from __future__ import annotations

import re
import shlex
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
    assert len(names["record"]["faces"]) == 14


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
