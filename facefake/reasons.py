"""Why a verdict is uncertain, or there is none, in plain English: which numbers are given, and in which words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from facefake.calibration import Calibration, Lack
from facefake.rates import Adjusted
from facefake.wording import percent, plain

COMMON = 0.5
"""If more than this share of pictures of real faces hold several that look at least as fake as several of a picture's do,
those are so ordinary that the reason for a verdict speaks of a single face instead."""

_LACKING: Mapping[Lack, str] = {"soft": " out of focus", "grainless": " without grain"}


@dataclass(frozen=True, slots=True)
class Alike:
    """Words for what looks as fake: real faces, or pictures with the same number of them, and the detail that all lack.

    Attributes:
        count: how many of a picture's faces are judged.
        lack: the kind of detail that all of them lack, or None.
    """

    count: int
    lack: Lack | None

    def told(self, rate: Adjusted, lack: Lack | None = None) -> str:
        """The words for `why_uncertain`; a face that lacks detail, if it alone is meant, is compared with its like."""
        which = "real faces"
        if shared := self.lack or (lack if rate.among == 1 else None):
            which += _LACKING[shared]
        if self.count == 1:
            return f"{{}} of {which} look"
        held = "one that looks" if rate.among == 1 else f"{rate.among} that look"
        return f"up to {{}} of pictures with {self.count} {which} hold {held}"


def told_rate(alone: float, rate: Adjusted, count: int, calibration: Calibration) -> Adjusted:
    """The adjusted rate that a reason gives; it leads to the same verdict as `rate`.

    Beyond `COMMON` it is Bonferroni's for one face: for the least suspicious of forty-eight faces, say, "up to 100 % of
    pictures with 48 real faces hold 48 that look at least as fake" would tell nobody anything.

    Args:
        alone: the rate of one face or person.
        rate: the same, adjusted for how many there are.
        count: how many.
        calibration: has the limits of verdicts.
    """
    if rate.rate <= max(COMMON, calibration.uncertain_rate):
        return rate
    return Adjusted(min(1.0, count * alone), 1)


def suspicious_alone(alone: float, calibration: Calibration) -> bool:
    """Whether a face's or person's own rate is low enough for the number of others to matter to its verdict."""
    return alone <= calibration.uncertain_rate


def why_uncertain(
    rate: float,
    fake_probability: float,
    alike: str,
    calibration: Calibration,
    told: Callable[[float], str] = percent,
) -> str:
    """The reason for the verdict "uncertain".

    Args:
        rate: the false-alarm rate, adjusted for how many chances of a false alarm there were.
        fake_probability: of what is judged.
        alike: what looks as fake how often, with ``{}`` for the rate, such as "{} of real faces look".
        calibration: has the thresholds.
        told: formats a rate for people.
    """
    who = alike.format(told_apart(rate, [calibration.alarm_rate, calibration.uncertain_rate], told, " %"))
    if rate > calibration.uncertain_rate:
        return f"rather fake than real ({percent(fake_probability)}), but {who} at least as fake"
    return (
        f"{who} at least as fake: too many to call it fake (at most "
        f"{percent(calibration.alarm_rate)}), too few to call it real "
        f"(more than {percent(calibration.uncertain_rate)})"
    )


def told_apart(value: float, limits: Sequence[float], told: Callable[[float], str], unit: str = "") -> str:
    """A number for people, with as many digits as it takes to tell it from its limits.

    Args:
        value, limits: the number, and what it is compared with.
        told: formats a number as people usually read it.
        unit: " %" if `told` formats a share as a percentage.
    """
    text = told(value)
    for digits in range(3, 9):
        if all(text != told(limit) or value == limit for limit in limits):
            break
        text = f"{plain(100 * value if unit else value, digits)}{unit}"
    return text


def why_none(reasons: Sequence[str]) -> str:
    """Why a picture has no verdict, given why each of its faces has none, as "fault: the numbers behind it"."""
    if not reasons:
        return "no face found"
    if len(reasons) == 1:
        return f"1 face found, which is {reasons[0]}"
    faults = Counter(reason.partition(":")[0] for reason in reasons)
    told = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    return f"{len(reasons)} faces found, none can be judged: {told}"
