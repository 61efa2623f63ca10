from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from facefake.errors import OutputError
from facefake.locks import alone_in, locked


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_lock_is_given_back_whatever_becomes_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    opened = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with alone_in(tmp_path, "training"):
            pass
    assert descriptors() == opened
    with alone_in(tmp_path, "training"):  # the file is there still
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_is_given_back_after_a_failure(tmp_path: Path) -> None:
    opened = descriptors()
    with pytest.raises(KeyboardInterrupt), alone_in(tmp_path, "training"):
        raise KeyboardInterrupt
    assert (descriptors(), list(tmp_path.iterdir())) == (opened, [])


def test_the_same_work_is_refused_at_once_and_another_is_not(tmp_path: Path) -> None:
    with alone_in(tmp_path, "training"):
        opened = descriptors()
        with (
            pytest.raises(OutputError, match="expected to be the only process training there"),
            alone_in(tmp_path, "training"),
        ):
            pass
        assert descriptors() == opened
        with alone_in(tmp_path, "cutting"):
            pass


def test_a_folder_that_takes_no_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, got in (("none", "No such file or directory"), ("file", "Not a directory")):
        with (
            pytest.raises(OutputError, match=f"expected a file that can be locked, got: {got}"),
            alone_in(tmp_path / folder, "training"),
        ):
            pass


@pytest.mark.parametrize("becomes", ["another", "gone"])
def test_a_lock_is_on_the_file_that_the_path_names(
    becomes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the holder removes or replaces the file just before its lock is free."""
    path, lock = tmp_path / "file", fcntl.flock

    def late(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        if becomes == "another":
            path.touch()
        lock(fd, operation)

    opened = descriptors()
    monkeypatch.setattr(fcntl, "flock", late)
    fd = locked(path)
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(path))
        assert descriptors() == opened + 1
    finally:
        os.close(fd)


def test_a_device_is_everybodys() -> None:
    first, second = (locked(Path(os.devnull)) for _ in range(2))
    os.close(first)
    os.close(second)
