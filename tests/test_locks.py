from __future__ import annotations

import os
from pathlib import Path

import pytest

from facefake.locks import alone_in


def test_a_lock_is_given_back_whatever_becomes_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    opened = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with alone_in(tmp_path, "training"):
            pass
    assert len(os.listdir("/proc/self/fd")) == opened
    with alone_in(tmp_path, "training"):  # the file is there still
        pass
    assert not list(tmp_path.iterdir())
