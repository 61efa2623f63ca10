"""How numbers and counts are written for people."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facefake.results import Verdict


def plain(number: float, digits: int) -> str:
    """A number with this many significant digits, without trailing zeros, and never in the form ``1.5e+03``."""
    return format(Decimal(f"{number:.{digits}g}"), "f")


def percent(share: float) -> str:
    """A share, 0 to 1, for people, such as ``"97 %"`` and ``"0.02 %"``; never rounded up to certainty."""
    return ">99 %" if 0.99 < share < 1 else f"{plain(100 * share, 2)} %"


def likely(probability: float) -> str:
    """A fake probability, 0 to 1, for people: as `percent`, but never rounded up to 50 %, where "real" ends.

    Nor is it ever rounded down to certainty.
    """
    if probability < 1e-6:
        return "<0.0001 %"
    return "<50 %" if 0.495 <= probability < 0.5 else percent(probability)


def at_most(share: float) -> str:
    """An upper bound, 0 to 1, for people: as `percent`, but above 99 % it is rounded up to 100 %."""
    return "100 %" if share > 0.99 else percent(share)


def pixels(length: float) -> str:
    """A length in pixels for people, such as ``"47"``, ``"47.3"`` or ``"1500"``."""
    return f"{length:.3g}" if length < 999.5 else f"{length:.0f}"


def clock(seconds: float, tenths: bool = False) -> str:
    """A time in a clip for people, such as ``"1:05"``, ``"1:05.5"`` or ``"1:02:03"``."""
    whole = round(10 * seconds) if tenths else 10 * round(seconds)
    minutes, rest = divmod(whole, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{text}:{rest // 10:02d}" + (f".{rest % 10}" if tenths and rest % 10 else "")


def counted(count: int, noun: str) -> str:
    """How many of what, such as ``"1 face"`` or ``"1,000 faces"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def none_looks_fake(counts: Mapping[Verdict, int], one: str, several: str) -> str:
    """The clause saying that none of several looks fake; it counts only those that were judged.

    Args:
        counts: how many got each verdict.
        one, several: what they are called, such as "face" and "faces".
    """
    judged = sum(counts.values()) - counts["not_applicable"]
    if judged == 1:
        return f"The only {one} judged {'is uncertain' if counts['uncertain'] else 'does not look fake'}"
    return f"None of {judged} {'judged ' if counts['not_applicable'] else ''}{several} looks fake"
