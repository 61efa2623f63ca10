"""How records hold numbers and texts: with few digits, and as valid Unicode."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\ud[89a-f][0-9a-f]{2}")
_LONGEST_PATH = 4096  # characters: what is longer is something else, and may be megabytes
_SHOWN = 100


def six_digits(value: float | None) -> float | None:
    """A number as records hold it."""
    return None if value is None else float(f"{float(value):.6g}")


def message_text(text: str) -> str:
    """A message as errors and records hold it, on one line.

    Characters that are invisible, move the cursor or change colours become escapes, lone surrogates, as in undecodable file
    names, among them.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def path_text(path: str) -> str:
    """A path in a message; of what is too long for one, only the beginning."""
    return message_text(path if len(path) <= _LONGEST_PATH else f"{path[:_SHOWN]}…")


def valid_unicode(text: str) -> str:
    """A path as records hold it: lone surrogates become escapes, but so that no two paths become the same text.

    To that end backslashes are doubled where there are surrogates, or anything that looks like their escapes.
    """
    if _SURROGATE.search(text) or _ESCAPE.search(text):
        text = text.replace("\\", "\\\\")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def without_escapes(text: str) -> str:
    """The path that `valid_unicode` made this text from."""
    if not _ESCAPE.search(text):
        return text
    spelled = re.compile(rf"\\\\|{_ESCAPE.pattern}")
    return spelled.sub(lambda found: "\\" if found[0] == r"\\" else chr(int(found[0][2:], 16)), text)
