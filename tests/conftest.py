from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from facefake.frames import Sampling
from facefake.results import FileState
from facefake.settings import Settings
from facefake.video import VideoResult

# A deadline for each example would only measure how busy the machine is.
settings.register_profile("facefake", deadline=None)
settings.load_profile("facefake")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the checkout, which users who clone the project do not have."""
    folder = ROOT.parent / "shared"
    if not (folder / "groups").is_dir():
        pytest.skip("needs the development pictures in ../shared, which are not part of the project")
    return folder


@pytest.fixture
def video_record() -> Callable[[Settings], VideoResult]:
    """A clip without faces, ``clip.mp4``, with the default sampling, judged with the given settings."""

    def record(settings: Settings) -> VideoResult:
        return VideoResult(
            path="clip.mp4",
            width=64,
            height=48,
            duration=3.0,
            frames=6,
            interval=0.5,
            sampling=Sampling(),
            verdict="not_applicable",
            fake_probability=None,
            false_alarm_rate=None,
            reason="no face found",
            persons=(),
            warnings=(),
            model="test 1",
            file=FileState(7, 5),
            settings=settings,
        )

    return record


def _two_convolutions(name: str, side: int) -> Any:
    import keras

    inputs = keras.Input((side, side, 3), name="crops")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu", name="first")(x)
    x = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu", name="second")(x)
    return keras.Model(inputs, x, name=name)


@pytest.fixture(scope="session")
def tiny_backbone() -> Callable[[str, int], Any]:
    """Two convolutions, as a replacement for `network.backbone` with its ImageNet networks."""
    return _two_convolutions


@pytest.fixture(scope="session")
def tiny_network(tiny_backbone: Callable[[str, int], Any]) -> Any:
    """A network from `network.build`, with input side 32 and random weights."""
    return _tiny(tiny_backbone, seed=3, scale=4.0, bias=0.25)


@pytest.fixture(scope="session")
def tiny_mirror(tiny_backbone: Callable[[str, int], Any]) -> Any:
    """Another such network, with different weights."""
    return _tiny(tiny_backbone, seed=4, scale=-3.0, bias=-1.0)


def _tiny(backbone: Callable[[str, int], Any], seed: int, scale: float, bias: float) -> Any:
    import keras
    import numpy as np

    from facefake.training import network

    keras.utils.set_random_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "backbone", backbone)
        model = network.build("tiny", 32, 0.1)
    model.get_layer("bias").set_weights([np.array([[scale]]), np.array([bias])])
    network.fold_scale(model)
    return model


@pytest.fixture(scope="session")
def tiny_bundle(tiny_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete bundle with `tiny_network`; tests must not change it."""
    return _bundle(tmp_path_factory.mktemp("bundle") / "tiny", [tiny_network])


@pytest.fixture(scope="session")
def tiny_pair(tiny_network: Any, tiny_mirror: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with `tiny_network` for crops and `tiny_mirror` for their mirror images."""
    return _bundle(tmp_path_factory.mktemp("bundle") / "pair", [tiny_network, tiny_mirror])


def _bundle(folder: Path, networks: list[Any]) -> Path:
    from facefake.calibration import Calibration
    from facefake.training.export import write_description, write_networks

    write_networks(networks, folder)
    scores = tuple(-3 + 0.05 * step for step in range(101))
    write_description(
        folder,
        name="tiny",
        version="0.1",
        margin=1.25,
        networks=networks,
        mirror_share=0.5 if len(networks) == 1 else 0.25,
        calibration=Calibration(
            temperature=1.5,
            bias=-0.5,
            real_scores=scores,
            real_probabilities=tuple((step + 1) / 101 for step in range(101)),
            real_count=500,
            tail=None,
            alarm_rate=0.01,
            uncertain_rate=0.1,
            min_face=24.0,
            min_sharpness=0.0,
        ),
        card={"made": "for tests"},
    )
    return folder
