from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facefake.known_files import KnownFiles, RecordIndex, path_digest
from facefake.results import FileState

STATE = {"size": 3, "modified_ns": 4}


def index_of(*records: tuple[str | None, dict[str, Any] | None, bool]) -> RecordIndex:
    index = RecordIndex()
    for path, file, failed in records:
        index.add(path, file, failed=failed)
    return index


@given(st.lists(st.sampled_from(["a.jpg", "b.jpg", "c.jpg", None]), max_size=12))
def test_the_last_record_of_each_path_is_current_and_each_without_one(paths: list[str | None]) -> None:
    index = index_of(*((path, STATE, False) for path in paths))
    kept = index.current().tolist()
    assert len(index) == len(paths)
    assert kept == [path is None or path not in paths[at + 1 :] for at, path in enumerate(paths)]


def test_contents_of_one_name_are_told_apart() -> None:
    one, other = ({**STATE, "sha256": digit * 64} for digit in "12")
    assert index_of(("x", one, False), ("x", other, False), ("x", one, False)).current().tolist() == [
        False,
        True,
        True,
    ]


def test_only_failures_are_resolved() -> None:
    index = index_of(("in", None, True), ("out", None, True), ("a.jpg", STATE, False))
    keys = [path_digest("in"), path_digest("a.jpg")]
    assert index.current(keys).tolist() == [False, True, True]


def test_what_is_not_kept_is_not_known() -> None:
    index = index_of(("a.jpg", STATE, False), ("b.jpg", STATE, True), ("c.jpg", STATE, False))
    index.add("d.mp4", STATE, empty=True)
    keep = np.array([True, True, False, True])
    for retry_failures in (False, True):
        known = index.known(keep, retry_failures)
        held = [known.holds(path, FileState(3, 4)) for path in ("a.jpg", "b.jpg", "c.jpg", "d.mp4")]
        assert held == [True, not retry_failures, False, True]
        assert not known.holds("a.jpg", FileState(3, 5))
        assert [known.knows(path) for path in ("a.jpg", "b.jpg", "c.jpg")] == [True, False, False]
        assert [known.has_record(path_digest(path)) for path in ("b.jpg", "c.jpg")] == [True, False]
        assert [known.shows_nobody(path) for path in ("a.jpg", "d.mp4")] == [False, True]
        known.looked_into("a.jpg")
        known.looked_into("b.jpg")
        assert known.resolved == [path_digest("b.jpg")]


def test_nothing_is_known_at_first() -> None:
    assert not KnownFiles().holds("a.jpg", FileState(3, 4))
    assert not KnownFiles().knows("a.jpg")
    assert not RecordIndex().current().size
