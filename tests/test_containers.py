from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from facefake.containers import counts_frames, has_hole, is_container, outline

T = TypeVar("T")
HEADER, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
TIME, BLOCK = b"\xe7\x81\x00", b"\xa3"


@pytest.fixture
def told(tmp_path: Path) -> Callable[[Callable[[int], T], bytes], T]:
    """What a function of an open file says of one with this content."""

    def tell(function: Callable[[int], T], content: bytes) -> T:
        (tmp_path / "file").write_bytes(content)
        file = os.open(tmp_path / "file", os.O_RDONLY)
        try:
            return function(file)
        finally:
            os.close(file)

    return tell


def element(kind: bytes, content: bytes, width: int = 2) -> bytes:
    """One of Matroska's, its size in so many bytes."""
    return kind + (len(content) | 1 << 7 * width).to_bytes(width) + content


def cluster(size: int = 100) -> bytes:
    return element(CLUSTER, TIME + element(BLOCK, bytes(size)))


def matroska(content: bytes, width: int = 8) -> bytes:
    return element(HEADER, b"\x42\x86\x81\x01", 1) + element(SEGMENT, content, width)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_matroska_is_whole_to_the_end_that_it_tells(width: int, told: Callable[..., str]) -> None:
    whole = matroska(cluster(5000) + cluster(300), width)
    assert told(outline, whole) == "whole"
    assert told(outline, whole + b"and what follows") == "whole"
    for cut in (1, 200, len(cluster(300))):  # within an element, and where one ends
        assert told(outline, whole[:-cut]) == "cut"


def test_matroska_that_tells_no_end_is_whole_where_an_element_ends(told: Callable[..., str]) -> None:
    begin = element(HEADER, b"", 1) + SEGMENT + b"\x01" + b"\xff" * 7
    assert told(outline, begin + cluster() + CLUSTER + b"\xff" + TIME + element(BLOCK, bytes(9))) == "whole"
    assert told(outline, begin + cluster()[:-1]) == "cut"


@pytest.mark.parametrize("hole", range(20, 40))
def test_matroska_is_damaged_where_more_comes_behind(
    hole: int, told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facefake.containers._PIECE", 16)  # the next cluster may begin anywhere in one
    assert told(outline, matroska(cluster() + bytes(hole) + cluster())) == "damaged"
    assert told(outline, matroska(cluster() + bytes(hole))) == "cut"


def chunk(kind: bytes, content: bytes) -> bytes:
    """One of an AVI file's, without the byte that fills it up."""
    return kind + struct.pack("<I", len(content)) + content


def avi(*frames: bytes) -> bytes:
    moving = chunk(b"LIST", b"movi" + b"".join(frame + bytes(len(frame) % 2) for frame in frames))
    return chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56))) + moving)


FRAME, ODD = chunk(b"00dc", bytes(40)), chunk(b"00dc", bytes(41))


def test_an_avi_file_without_a_hole(told: Callable[..., bool]) -> None:
    whole = avi(FRAME, ODD, FRAME, ODD)
    assert not told(has_hole, whole)
    assert not told(has_hole, whole[:-1])  # the last one not filled up
    assert not told(has_hole, whole + b"\0\1 what follows")
    assert not told(has_hole, whole + avi(FRAME))  # as large files go on
    assert not told(has_hole, matroska(cluster()))


def test_an_avi_file_with_a_hole_or_cut(told: Callable[..., bool]) -> None:
    whole = avi(FRAME, ODD, FRAME, ODD)
    second = whole.index(ODD)
    assert told(has_hole, whole[:second] + bytes(len(ODD) + 1) + whole[second + len(ODD) + 1 :])
    assert told(has_hole, whole[:second] + whole[second + 10 :])
    for cut in (2, 30, 45):
        assert told(has_hole, whole[:-cut])


def test_containers_are_known_by_their_beginning(told: Callable[..., bool]) -> None:
    mp4 = b"\0\0\0\x18ftypmp42" + bytes(12)
    for content, counts in ((mp4, True), (matroska(cluster()), False), (avi(FRAME), False)):
        assert is_container(content[:12])
        assert told(counts_frames, content) is counts
    assert told(outline, mp4) == told(outline, avi(FRAME)) == "unknown"
    for content in (b"", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", b"#EXTM3U\nhttp:", b"RIFF\0\0\0\0WEBPVP8 "):
        assert not is_container(content)
