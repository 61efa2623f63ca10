"""How faces that training never saw score: what `rates` needs to turn scores into rates and probabilities."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

from facefake.detail import Detail
from facefake.errors import ModelError

Lack = Literal["soft", "grainless"]
"""What a face that lacks detail is called."""

_LACKS: tuple[Lack, ...] = get_args(Lack)


@dataclass(frozen=True, slots=True)
class GeneralisedPareto:
    """The tail of real faces' scores.

    P(score > x) = exceedance × (1 + shape × (x − threshold) / scale)^(−1 / shape).

    Excesses over a high threshold follow this law whatever the distribution (Balkema & de Haan 1974, Pickands
    1975; Coles 2001, "An Introduction to Statistical Modeling of Extreme Values", chapter 4). A shape of 0
    stands for the limit, the exponential; with a negative shape the tail ends, and the survival beyond that is 0.

    Attributes:
        threshold: logit above which the law holds.
        scale: in logits, above 0.
        shape: above −1 and below 1.
        exceedance: share of real faces with a score above the threshold, above 0 and at most 1.
    """

    threshold: float
    scale: float
    shape: float
    exceedance: float

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            _expect(f"tail.{item.name}", _is_finite(value), "a finite number", value)
        _expect("tail.scale", self.scale > 0, "above 0", self.scale)
        _expect("tail.shape", -1 < self.shape < 1, "between -1 and 1", self.shape)
        _expect("tail.exceedance", 0 < self.exceedance <= 1, "above 0 and at most 1", self.exceedance)

    def survival(self, logit: float) -> float:
        """P(score > logit | score > threshold), in [0, 1]; 1 up to the threshold."""
        excess = max(0.0, logit - self.threshold) / self.scale
        if abs(self.shape) < 1e-9:
            return math.exp(-excess)
        inner = self.shape * excess
        return 0.0 if inner <= -1 else math.exp(-math.log1p(inner) / self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealScores:
    """The scores of real faces that training never saw.

    Attributes:
        real_scores: their logits, ascending; some quantiles of them are enough.
        real_probabilities: for each of these, the share of real faces with a score at most as high;
            ascending.
        real_count: how many real faces were measured.
        tail: continues the scores above its threshold, or None: then no rate is below 1 / (real_count + 1).
    """

    real_scores: tuple[float, ...]
    real_probabilities: tuple[float, ...]
    real_count: int
    tail: GeneralisedPareto | None

    def __post_init__(self) -> None:
        for name in ("real_scores", "real_probabilities"):
            bad = [value for value in getattr(self, name) if not _is_finite(value)]
            _expect(name, not bad, "finite", bad[:1])
        is_tail = self.tail is None or isinstance(self.tail, GeneralisedPareto)
        _expect("tail", is_tail, "a GeneralisedPareto or None", self.tail)
        scores, probabilities = self.real_scores, self.real_probabilities
        _expect("real_scores", len(scores) > 0, "at least one score", len(scores))
        _expect("real_scores", _ascending(scores), "ascending", "one below the one before it")
        as_many = len(probabilities) == len(scores)
        _expect("real_probabilities", as_many, f"{len(scores)}, one per score", len(probabilities))
        in_range = _ascending((0.0, *probabilities, 1.0))
        _expect(
            "real_probabilities", in_range, "ascending from 0 to 1", (probabilities[0], probabilities[-1])
        )
        whole = isinstance(self.real_count, int) and _is_finite(self.real_count) and self.real_count >= 1
        _expect("real_count", whole, "a whole number from 1", self.real_count)

    def arguments(self) -> dict[str, Any]:
        """The attributes by name, to construct a subclass, which has more of them."""
        return {item.name: getattr(self, item.name) for item in fields(RealScores)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceScores(RealScores):
    """What turns the scores of one group of faces into rates and probabilities.

    Attributes:
        temperature: above 0; fake_probability = sigmoid(score / temperature + bias).
        bias: in logits, after the temperature.
    """

    temperature: float
    bias: float

    _WHERE: ClassVar[str] = ""  # precedes the attributes' names in errors

    def __post_init__(self) -> None:
        RealScores.__post_init__(self)
        for name in ("temperature", "bias"):
            value = getattr(self, name)
            _expect(self._WHERE + name, _is_finite(value), "finite", value)
        _expect(self._WHERE + "temperature", self.temperature > 0, "above 0", self.temperature)

    def arguments(self) -> dict[str, Any]:
        """The attributes by name, to construct a subclass, which has more of them."""
        return {item.name: getattr(self, item.name) for item in fields(FaceScores)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingFaces(FaceScores):
    """The scores of faces that lack one kind of detail.

    Attributes:
        below: a face with less of that detail, sharpness or grain, than this is one of them.
    """

    below: float

    def __post_init__(self) -> None:
        FaceScores.__post_init__(self)
        _expect(self._WHERE + "below", _is_finite(self.below) and self.below >= 0, "at least 0", self.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftFaces(LackingFaces):
    """The scores of soft faces, whose sharpness is below a limit: out of focus, but not too blurred to be judged."""

    _WHERE: ClassVar[str] = "soft."


@dataclass(frozen=True, slots=True, kw_only=True)
class GrainlessFaces(LackingFaces):
    """The scores of faces that are sharp but have less grain than a limit, as after denoising or a beauty filter."""

    _WHERE: ClassVar[str] = "grainless."


@dataclass(frozen=True, slots=True, kw_only=True)
class AmongNeighbours(FaceScores):
    """The scores, by `neighbours.among_neighbours`, of faces in pictures with several; of those that lack no detail.

    Attributes:
        ordinary: log-odds, as that function takes them.
        soft, grainless: the same for such faces, or None if the calibration has none for lone ones.
    """

    ordinary: float
    soft: FaceScores | None
    grainless: FaceScores | None = None

    _WHERE: ClassVar[str] = "neighbours."

    def __post_init__(self) -> None:
        FaceScores.__post_init__(self)
        _expect("neighbours.ordinary", _is_finite(self.ordinary), "finite", self.ordinary)
        for name in _LACKS:
            value = getattr(self, name)
            is_group = value is None or isinstance(value, FaceScores)
            _expect(f"neighbours.{name}", is_group, "FaceScores or None", value)

    def of(self, lack: Lack | None) -> FaceScores:
        """The scores of the faces with this lack."""
        return (getattr(self, lack) if lack else None) or self


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(FaceScores):
    """What turns a logit into numbers that can be defended; measured on faces that training never saw.

    Its own temperature, bias and real scores are for the logits of faces that lack no detail and have few neighbours or
    none.

    Attributes:
        alarm_rate: a picture is fake when its adjusted false-alarm rate is at most this.
        uncertain_rate: it is uncertain when the rate is at most this, and real above it.
        min_face: the smallest side of a face's box, in pixels, that is judged.
        min_sharpness: the smallest sharpness that is judged.
        soft: the same for soft faces, or None: then no face counts as soft.
        grainless: the same for faces without grain that are not soft, or None: then no face counts as grainless.
        neighbours: the same for faces in pictures with several, or None: then all are judged as if they were alone.
    """

    alarm_rate: float
    uncertain_rate: float
    min_face: float
    min_sharpness: float
    soft: SoftFaces | None = None
    grainless: GrainlessFaces | None = None
    neighbours: AmongNeighbours | None = None

    def __post_init__(self) -> None:
        FaceScores.__post_init__(self)
        for name in ("alarm_rate", "uncertain_rate", "min_face", "min_sharpness"):
            value = getattr(self, name)
            _expect(name, _is_finite(value), "finite", value)
        _expect("alarm_rate", 0 < self.alarm_rate < 1, "between 0 and 1", self.alarm_rate)
        ordered = self.alarm_rate <= self.uncertain_rate <= 1
        _expect("uncertain_rate", ordered, f"{self.alarm_rate} (alarm_rate) to 1", self.uncertain_rate)
        _expect("min_face", self.min_face >= 0, "at least 0", self.min_face)
        _expect("min_sharpness", self.min_sharpness >= 0, "at least 0", self.min_sharpness)
        is_soft = self.soft is None or isinstance(self.soft, SoftFaces)
        _expect("soft", is_soft, "SoftFaces or None", self.soft)
        is_grainless = self.grainless is None or isinstance(self.grainless, GrainlessFaces)
        _expect("grainless", is_grainless, "GrainlessFaces or None", self.grainless)
        among = self.neighbours
        _expect(
            "neighbours",
            among is None or isinstance(among, AmongNeighbours),
            "AmongNeighbours or None",
            among,
        )
        if among is not None:
            for name in _LACKS:
                both = (getattr(self, name) is None) == (getattr(among, name) is None)
                _expect(f"neighbours.{name}", both, f"present exactly where {name} is", getattr(among, name))

    def lack(self, detail: Detail) -> Lack | None:
        """What a face with this detail lacks, if anything."""
        return lack_of(detail, self.soft, self.grainless)

    def of(self, detail: Detail) -> FaceScores:
        """The scores of lone faces with this detail: `soft`, `grainless` or the calibration's own."""
        lack = self.lack(detail)
        return (getattr(self, lack) if lack else None) or self

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON-ready values, from which `from_dict` makes an equal one."""
        values: dict[str, Any] = _listed(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """A calibration from what `to_dict` wrote; an older one may lack `grainless`, `neighbours` or `soft`.

        Raises:
            ModelError: a field is missing, unknown, of another type, not finite, unsorted or out of range.
        """
        if isinstance(values, Mapping):
            values = {"soft": None, "grainless": None, "neighbours": None, **values}
        values = _scores_from(cls, values, "calibration")
        groups: dict[str, type[LackingFaces]] = {"soft": SoftFaces, "grainless": GrainlessFaces}
        for name, group in groups.items():
            if values[name] is not None:
                values[name] = group(**_scores_from(group, values[name], name))
        if values["neighbours"] is not None:
            told = values["neighbours"]
            if isinstance(told, Mapping):
                told = {"grainless": None, **told}
            among = _scores_from(AmongNeighbours, told, "neighbours")
            for name in _LACKS:
                if among[name] is not None:
                    among[name] = FaceScores(**_scores_from(FaceScores, among[name], f"neighbours.{name}"))
            values["neighbours"] = AmongNeighbours(**among)
        return cls(**values)


def lack_of(detail: Detail, soft: SoftFaces | None, grainless: GrainlessFaces | None) -> Lack | None:
    """What a face with this detail lacks, if anything; a group that is None is not told from the rest."""
    if soft is not None and detail.sharpness < soft.below:
        return "soft"
    if grainless is not None and detail.grain < grainless.below:
        return "grainless"
    return None


def _ascending(values: Sequence[float]) -> bool:
    return all(low <= high for low, high in pairwise(values))


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _expect(name: str, holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"calibration: expected {name} to be {expected}, got {reprlib.repr(got)}")


def _expect_fields(cls: type, values: object, name: str) -> dict[str, Any]:
    expected = [item.name for item in fields(cls)]
    if not isinstance(values, Mapping) or set(values) != set(expected):
        got = sorted(map(str, values)) if isinstance(values, Mapping) else values
        raise ModelError(
            f"calibration: expected {name} to have the fields {', '.join(expected)}, got {repr(got)[:400]}"
        )
    return dict(values)


def _listed(values: Any) -> Any:
    """The same with lists in place of tuples, as JSON has them."""
    if isinstance(values, dict):
        return {name: _listed(value) for name, value in values.items()}
    return list(values) if isinstance(values, tuple) else values


def _scores_from(cls: type[RealScores], values: object, name: str) -> dict[str, Any]:
    """The fields of some scores, each of the type that their class takes."""
    found = _expect_fields(cls, values, name)
    for item in ("real_scores", "real_probabilities"):
        _expect(item, isinstance(found[item], (list, tuple)), "a list", found[item])
        found[item] = tuple(found[item])
    if found["tail"] is not None:
        found["tail"] = GeneralisedPareto(**_expect_fields(GeneralisedPareto, found["tail"], "tail"))
    return found
