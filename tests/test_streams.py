from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from facefake.errors import OutputError
from facefake.streams import NoReader, lasting

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def standard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, TextIO], TextIO]]:
    """Makes a file a standard stream of this process; at the end it is closed, which must not raise."""
    files: list[TextIO] = []

    def replaced(name: str, file: TextIO) -> TextIO:
        monkeypatch.setattr(sys, name, file)
        files.append(file)
        return file

    yield replaced
    for file in files:
        file.close()


def without_reader() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w")


def full(buffering: int) -> TextIO:
    return open("/dev/full", "w", buffering=buffering)


def test_streams_are_given_back(standard: Callable[[str, TextIO], TextIO], tmp_path: Path) -> None:
    given = [standard(name, (tmp_path / name).open("w")) for name in ("stdout", "stderr")]
    with pytest.raises(KeyError), lasting():
        print("told")
        raise KeyError
    assert [sys.stdout, sys.stderr] == given
    assert (tmp_path / "stdout").read_text() == "told\n"


def test_names_that_are_no_text_are_told_all_the_same(
    standard: Callable[[str, TextIO], TextIO], tmp_path: Path
) -> None:
    standard("stdout", (tmp_path / "out").open("w", encoding="ascii"))
    with lasting():
        print("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \udcff.png")
    assert (tmp_path / "out").read_text() == "gr\\xfcn \\udcff.png\n"


def test_a_reader_that_has_ended_is_told_from_other_faults(standard: Callable[[str, TextIO], TextIO]) -> None:
    file = standard("stdout", without_reader())
    opened = len(os.listdir("/proc/self/fd"))
    with lasting():
        print("told")
        with pytest.raises(NoReader, match="expected to write to standard output, got: Broken pipe"):
            sys.stdout.flush()
        print("told to nobody", flush=True)
    assert len(os.listdir("/proc/self/fd")) == opened
    assert not file.closed


@needs_full
@pytest.mark.parametrize("buffering", [-1, 1])
def test_a_full_disk_loses_nothing_unnoticed(
    buffering: int, standard: Callable[[str, TextIO], TextIO]
) -> None:
    standard("stdout", full(buffering))
    with lasting():
        for _ in range(2):
            with pytest.raises(OutputError, match="got: No space left on device") as raised:
                print("told", flush=buffering != 1)
            assert not isinstance(raised.value, NoReader)


@needs_full
@pytest.mark.parametrize("is_full", [True, False])
def test_messages_that_nobody_can_read_are_no_fault(
    is_full: bool, standard: Callable[[str, TextIO], TextIO]
) -> None:
    standard("stderr", full(1) if is_full else without_reader())
    with lasting():
        sys.stderr.writelines(["one\n", "two\n"])
        print("three", file=sys.stderr, flush=True)
