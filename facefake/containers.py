"""What a video file looks like from outside: which container it is, and whether its parts follow each other to its end.

FFmpeg skips whatever is missing or damaged without saying so.
"""

from __future__ import annotations

import os
import re
from typing import Literal

Outline = Literal["whole", "cut", "damaged", "unknown"]

_COUNTING = re.compile(rb".{4}(?:ftyp|moov|mdat|free|skip|wide)", re.DOTALL)  # QuickTime and MP4
_MATROSKA = re.compile(rb"\x1a\x45\xdf\xa3")  # and WebM
_AVI = re.compile(rb"RIFF.{4}AVI ", re.DOTALL)
_KINDS = (_COUNTING, _MATROSKA, _AVI)
_CHUNK = re.compile(rb"[ -~]{4}.{4}", re.DOTALL)  # of an AVI file: its name and size
# Matroska's elements (RFC 9559): its segment, clusters, and whatever may be in either or before them; then the first
# byte of the size.
_ELEMENT = re.compile(
    rb"(?:(?P<segment>\x18\x53\x80\x67)|(?P<cluster>\x1f\x43\xb6\x75)|\x1a\x45\xdf\xa3|\x11\x4d\x9b\x74"
    rb"|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1c\x53\xbb\x6b|\x12\x54\xc3\x67|\x19\x41\xa4\x69|\x10\x43\xa7\x70"
    rb"|\x58\x54|[\xa0\xa3\xa7\xab\xaf\xbf\xe7\xec])(?P<size>[^\0])",
    re.DOTALL,
)
_CLUSTER = b"\x1f\x43\xb6\x75"
_HEAD = 12  # bytes: the most that any of these begins with
_PIECE = 1 << 20  # bytes
_MOST_ELEMENTS = 4 * 12 * 3600 * 60  # as many as in 12 hours at 60 frames a second, with sound and subtitles


def is_container(head: bytes) -> bool:
    """Whether a file with these first bytes, 12 or all that it has, is MP4, QuickTime, Matroska, WebM or AVI."""
    return any(kind.match(head) for kind in _KINDS)


def counts_frames(file: int) -> bool:
    """Whether an open file is of a kind, MP4 or QuickTime, that states its number of frames.

    Args:
        file: its descriptor.
    """
    return _COUNTING.match(os.pread(file, _HEAD, 0)) is not None


def outline(file: int) -> Outline:
    """Whether the elements of a Matroska file follow each other to its end; "unknown" for other files.

    Args:
        file: its descriptor.
    """
    length = end = os.fstat(file).st_size
    at = 0
    if not _MATROSKA.match(os.pread(file, _HEAD, 0)):
        return "unknown"
    for _ in range(_MOST_ELEMENTS):
        if at >= min(end, length):
            return "whole" if at == end <= length else "cut"
        head = os.pread(file, _HEAD, at)
        element = _ELEMENT.match(head)
        if element is None:
            return "damaged" if _has_cluster_behind(file, at) else "cut"
        start, width = element.start("size"), 9 - element["size"][0].bit_length()  # in bytes
        size = int.from_bytes(head[start : start + width].ljust(width)) - (1 << 7 * width)
        at += start + width
        known = size < (1 << 7 * width) - 1  # all ones stand for an unknown size
        if element["segment"] and known:
            end = at + size
        elif not element["segment"] and not element["cluster"]:
            at += size
    return "unknown"


def has_hole(file: int) -> bool:
    """Whether the chunks of an AVI file do not follow each other to its end; False for other files.

    Its frames have no timestamps, but are counted. A seek into the hole gives the first frame after it, as if that were
    at the time sought; read in order, the loss only shows at the end.

    Args:
        file: its descriptor.
    """
    length = end = os.fstat(file).st_size
    at = 0
    for _ in range(_MOST_ELEMENTS):
        head = os.pread(file, _HEAD, at)
        if at == 0 and not _AVI.match(head):
            return False
        if at >= length:
            return at > length + 1  # the last byte may be padding, and left out
        if not _CHUNK.match(head):
            return at < end
        size = int.from_bytes(head[4:8], "little")
        if head.startswith(b"RIFF"):
            end = min(length, at + 8 + size)
        at += 12 if head[:4] in (b"RIFF", b"LIST") else 8 + size + size % 2
    return True


def _has_cluster_behind(file: int, at: int) -> bool:
    while piece := os.pread(file, _PIECE, at):
        if _CLUSTER in piece:
            return True
        at += max(1, len(piece) - len(_CLUSTER) + 1)
    return False
