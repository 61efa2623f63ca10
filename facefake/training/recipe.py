"""The settings of a training run: one TOML file, every number visible."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from facefake.bundle import LARGEST_SIDE, LEAST_SIDE, ONE_NETWORK_SHARE
from facefake.errors import DatasetError
from facefake.training.crops import STORE_MARGIN
from facefake.training.network import BACKBONES
from facefake.training.reconstruction import UPSAMPLERS
from facefake.training.restoration import RESTORERS

SELF_MADE = ("self-blend", "region-blend", "retouch", "swap", "reconstruction", "upsampling")
"""The fakes that are made from real faces; `forgery` describes them."""

# Settings by their ranges.
_ABOVE_0 = (
    *("batch", "steps", "steps_an_epoch", "learning_rate", "averaged"),
    *("reconstructed", "reconstruction_steps"),
)
_VIEW_UP_TO_1 = (
    *("degradation", "defocus", "smoothing", "distant", "styling", "masking"),
    *("jitter_scale", "jitter_shift"),
)
_UP_TO_1 = (
    *("dropout", "label_smoothing", "ema", "start_share", "mirror_share", "redrawn", "refit_self_made"),
    *_VIEW_UP_TO_1,
)
_FROM_0 = (
    *("consistency", "flatness", "other_kind_share", "weight_decay", "warmup_steps", "refit", "refit_drawn"),
    *("seed", "reconstruction_seed", "jitter_degrees"),
)
_SHARES_BY_NAME = ("kind_share", "self_made_share", "source_share")
# What cannot differ between stages.
_COMMON = (
    *("margin", "held_out", "seed", "stage", "mirror", "mirror_share", "mirror_stages"),
    *("refit", "refit_without", "refit_self_made", "refit_drawn", "refit_view"),
)
# What a drawn view may have of its own.
_OF_A_VIEW = (*_VIEW_UP_TO_1, "jitter_degrees")
_TYPES = {int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table"}
_LARGEST = 1e10  # of any number: above all seeds, and the sum of shares stays finite


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a training run; `models/facefake/recipe.toml` gives the reasons for the shipped model's.

    Attributes:
        side: side of the network's input, pixels. A stage may be trained at another one.
        margin: side of the crop as a multiple of the face box's longer side, at most `crops.STORE_MARGIN`.
        dropout: share of feature channels dropped before the head.
        batch: crops per step, half of them fake.
        steps: how many steps in all, rounded up to a multiple of the number of epochs.
        steps_an_epoch: the network is checkpointed and validated after at most this many steps.
        learning_rate: the peak, after the warm-up and before the cosine decay.
        warmup_steps: steps of linear warm-up, at most half of all.
        weight_decay: of AdamW.
        consistency: weight of the loss between two views of a face, which differ in quality, geometry and colours; above
            0, a batch holds half as many faces, each twice.
        flatness: radius of sharpness-aware minimization: the length, over all weights, of the step uphill before each
            gradient; 0 for none, above 0 a step takes twice as long (Foret et al., ICLR 2021).
        label_smoothing: how far the targets are moved from 0 and 1, 0 to 1.
        ema: momentum of the exponential moving average of the weights; the average is what is validated and kept. Reduced
            in runs so short that their initial weights would make up more than a twentieth of it.
        degradation: strength of the quality histories, 0 to 1; see `degrade.draw`.
        defocus: share of pairs, 0 to 1, put out of focus before that: both by one blur, with σ uniform from 0 to 4 pixels.
        smoothing: share of pairs, 0 to 1, of which both lose their grain; see `styling.smooth`.
        distant: share of pairs, 0 to 1, that are shrunk to faces of 40 to 128 pixels before they are saved, as in crowds.
        jitter_scale, jitter_degrees, jitter_shift: standard deviations of the crop's scale (logarithm, 0 to 1), roll and
            position (share of the side, 0 to 1).
        styling: share of pairs, 0 to 1, of which both get the same style; see `styling.style`.
        masking: the largest share, 0 to 1, of a crop's squares of 16 pixels that are blanked.
        kind_share: how often a kind of fake of the dataset is drawn, relative to the others.
        other_kind_share: the same for kinds that `kind_share` does not name.
        self_made_share: the same for the fakes that `forgery` makes from real faces; any left out are not made.
        upsamplers: networks that make reconstructions, out of `reconstruction.UPSAMPLERS`, which are trained first, and
            `restoration.RESTORERS`, which need packages of their own.
        reconstructed: how many real faces are reconstructed, before the training.
        redrawn: share of the swaps, 0 to 1, whose source is a reconstruction: what swappers put in comes out of a network.
        reconstruction_steps: of each auto-encoder's own training.
        reconstruction_seed: of the auto-encoders, so that stages share them.
        source_share: factor on how often a source of real faces is drawn, where it is not 1.
        held_out: sources that are never trained on: calibration and the model card's figures need unseen ones.
        counterpart: source of fakes → source of real faces that they are paired with, where both come from one place.
        seed: of everything random.
        stage: for training in stages, one table per stage with the settings that differ in it; each stage continues from
            the weights of the one before, with the next seed. A table within a stage replaces the whole one outside.
        averaged: what follows a stage continues from the mean weights of at most this many stages: this one and those of
            the same network before it (Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018).
        start_share: weight, 0 to 1, of what the stage began with in its result; the mean above has the rest (Wortsman et
            al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022).
        mirror: backbone, out of `network.BACKBONES`, of a second network: the first then scores a face's crop, and this one
            its mirror image. If empty, one network scores both.
        mirror_share: weight of that one's score in the mean of both, 0 to 1.
        mirror_stages: how many of the stages, the last ones, train that second network, starting from its backbone.
        refit: penalty with which the last layers are refitted after all stages, to faces that were not trained on; see
            `refit.fit_last_layers`. 0 for no refit.
        refit_without: sources that they are not fitted to, besides those that are held out.
        refit_self_made: share, 0 to 1, of the weight of all fakes that they are fitted to which fakes made from the real
            faces among them have.
        refit_drawn: in how many views that are drawn as in training each face is shown to them, besides six fixed ones.
        refit_view: the settings of such a view, where they differ; a table like that of a stage.
    """

    side: int = 160
    margin: float = 1.25
    dropout: float = 0.2
    batch: int = 32
    steps: int = 3000
    steps_an_epoch: int = 250
    learning_rate: float = 6e-4
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    consistency: float = 0.0
    flatness: float = 0.0
    label_smoothing: float = 0.05
    ema: float = 0.998
    degradation: float = 0.8
    defocus: float = 0.0
    smoothing: float = 0.0
    distant: float = 0.0
    jitter_scale: float = 0.03
    jitter_degrees: float = 3.0
    jitter_shift: float = 0.015
    styling: float = 0.0
    masking: float = 0.0
    kind_share: dict[str, float] = field(default_factory=dict)
    other_kind_share: float = 1.0
    self_made_share: dict[str, float] = field(
        default_factory=lambda: {"self-blend": 0.3, "region-blend": 0.15, "retouch": 0.15, "swap": 0.2}
    )
    upsamplers: list[str] = field(
        default_factory=lambda: ["nearest", "transposed-4", "transposed-3", "sub-pixel"]
    )
    reconstructed: int = 3000
    redrawn: float = 0.0
    reconstruction_steps: int = 600
    reconstruction_seed: int = 0
    source_share: dict[str, float] = field(default_factory=dict)
    held_out: list[str] = field(default_factory=list)
    counterpart: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    stage: list[dict[str, Any]] = field(default_factory=list)
    averaged: int = 1
    start_share: float = 0.0
    mirror: str = ""
    mirror_share: float = ONE_NETWORK_SHARE
    mirror_stages: int = 0
    refit: float = 0.0
    refit_without: list[str] = field(default_factory=list)
    refit_self_made: float = 0.0
    refit_drawn: int = 0
    refit_view: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_names()
        whole = 4 if self.consistency else 2
        if self.batch % whole:
            raise DatasetError(
                f"recipe: expected a batch of whole pairs, a multiple of {whole}, got {self.batch}"
            )
        most = max(0, len(self.stage) - 1)
        if bool(self.mirror) != bool(self.mirror_stages) or not 0 <= self.mirror_stages <= most:
            raise DatasetError(
                "recipe: expected mirror and mirror_stages together, the latter below the number of stages, got "
                f"{self.mirror!r} and {self.mirror_stages} of {len(self.stage)}"
            )
        # These raise if one is wrong.
        self.stages()
        self.for_drawn_views()

    def _check_numbers(self) -> None:
        """Check that every number lies in its range; NaN lies in none."""
        for setting in _ABOVE_0:
            if not 0 < getattr(self, setting) <= _LARGEST:
                raise DatasetError(
                    f"recipe: expected {setting} above 0, at most {_LARGEST:g}, got {getattr(self, setting)}"
                )
        ranges = (
            (0, 1, _UP_TO_1),
            (0, _LARGEST, _FROM_0),
            (1, STORE_MARGIN, ("margin",)),
            (LEAST_SIDE, LARGEST_SIDE, ("side",)),
        )
        for low, high, settings in ranges:
            for setting in settings:
                if not low <= getattr(self, setting) <= high:
                    raise DatasetError(
                        f"recipe: expected {setting} from {low} to {high:g}, got {getattr(self, setting)}"
                    )
        for setting in _SHARES_BY_NAME:
            for name, share in getattr(self, setting).items():
                if type(share) not in (int, float) or not 0 <= share <= _LARGEST:
                    raise DatasetError(
                        f"recipe: expected {setting} of {name} from 0 to {_LARGEST:g}, got {share!r}"
                    )
        if max(self.seed, self.reconstruction_seed) >= 2**32:
            raise DatasetError(
                f"recipe: expected seeds below 2^32, got {self.seed} and {self.reconstruction_seed}"
            )

    def _check_names(self) -> None:
        """Check that all names are known, or at least strings, and that what needs another setting has it."""
        for setting, known in (("upsamplers", (*UPSAMPLERS, *RESTORERS)), ("self_made_share", SELF_MADE)):
            if unknown := [name for name in getattr(self, setting) if name not in known]:
                raise DatasetError(
                    f"recipe: expected {setting} out of {', '.join(known)}, got {unknown[0]!r}"
                )
        if self.self_made_share.get("reconstruction") and not self.upsamplers:
            raise DatasetError("recipe: expected upsamplers, which reconstructions need; got none")
        if self.redrawn and not self.self_made_share.get("reconstruction"):
            raise DatasetError("recipe: expected a share of reconstructions, which redrawn needs; got none")
        for name in (*self.held_out, *self.counterpart.values(), *self.refit_without):
            if type(name) is not str:
                raise DatasetError(
                    f"recipe: expected names in held_out, counterpart and refit_without, got {name!r}"
                )
        if self.mirror not in ("", *BACKBONES):
            raise DatasetError(f"recipe: expected mirror out of {', '.join(BACKBONES)}, got {self.mirror!r}")

    def stages(self) -> list[Recipe]:
        """One recipe per stage, without stages of its own; only this one if it has none.

        Raises:
            DatasetError: a stage names a setting that does not exist, has another type or cannot differ.
        """
        if not self.stage:
            return [self]
        whole = replace(self, stage=[], mirror="", mirror_stages=0)
        stages = []
        for number, changes in enumerate(self.stage):
            where = f"recipe: stage {number + 1}"
            settings = _checked(changes, where)
            for name in _COMMON:
                if name in settings:
                    raise DatasetError(
                        f"{where}: expected {name} to be the same in all stages, got one of its own"
                    )
            stages.append(replace(whole, seed=self.seed + number, **settings))
        return stages

    def for_drawn_views(self) -> Recipe:
        """What the drawn views of the last layers' faces are drawn by.

        Raises:
            DatasetError: ``refit_view`` names a setting that a view does not have, or of another type.
        """
        if not self.refit_view:
            return self
        settings = _checked(self.refit_view, "recipe: refit_view")
        if other := [name for name in settings if name not in _OF_A_VIEW]:
            raise DatasetError(
                f"recipe: refit_view: expected settings out of {', '.join(_OF_A_VIEW)}; got {other[0]!r}"
            )
        return replace(self, refit_view={}, **settings)

    @property
    def epochs(self) -> int:
        """The number of epochs, all of the same length."""
        return -(-self.steps // self.steps_an_epoch)

    @property
    def whole_steps(self) -> int:
        """The steps of all epochs: `steps`, and less than one more in each epoch."""
        return self.epochs * -(-self.steps // self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; what it does not name keeps its default; a table or list replaces the default's whole.

    Raises:
        DatasetError: the file is not TOML, or names a setting that does not exist or has another type.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of TOML, and of Python's limits
        raise DatasetError(f"expected a TOML recipe at {path}, got: {error}") from error
    return Recipe(**_checked(settings, str(path)))


def _checked(settings: Any, where: str) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise DatasetError(f"{where}: expected a table of settings, got {settings!r}")
    defaults = Recipe()
    known = {setting.name: type(getattr(defaults, setting.name)) for setting in fields(Recipe)}
    checked = dict(settings)
    for name, value in settings.items():
        if name not in known:
            raise DatasetError(f"{where}: expected settings out of {', '.join(known)}; got {name!r}")
        if known[name] is float and type(value) is int:
            checked[name] = float(value) if abs(value) < 2**53 else math.inf
        elif type(value) is not known[name]:
            expected = "a list of tables, [[stage]]" if name == "stage" else _TYPES[known[name]]
            got = "a table" if isinstance(value, dict) else repr(value)
            raise DatasetError(f"{where}: expected {name} to be {expected}, got {got}")
    return checked
