"""The real-or-fake networks of a bundle, run by LiteRT or by Keras."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from facefake.bundle import ONE_NETWORK_SHARE, Bundle, checked_file, read_bundle
from facefake.errors import ModelError
from facefake.keras_archive import load_keras
from facefake.native import quiet
from facefake.paths import models_folder
from facefake.pool import Pool, spread

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

Runtime = Literal["litert", "keras"]
DEFAULT_BUNDLE = "facefake"
_MOST_VALUES = 1 << 30  # in all tensors of a LiteRT network; VGG16 has a third of that at 1024 pixels


class Scores(NamedTuple):
    """A network's output for n crops; `Classifier.predict` averages it over each crop and its mirror image.

    Attributes:
        logits: float32 (n,), positive for fake, not calibrated.
        maps: float32 (n, h, w), the evidence maps; ``logits = maps.mean((1, 2)) + bundle.bias``.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32]


class _Network(Protocol):
    def predict(self, crops: NDArray[np.uint8]) -> Scores: ...

    def close(self) -> None: ...


class Classifier:
    """Scores face crops. Safe to use from several threads.

    The bundle's checksums and its self-test are checked when it is loaded.

    Args:
        folder: a bundle; None for the one that comes with facefake.
        runtime: "litert" (fast, small) or "keras" (needs tensorflow, or another Keras backend).
        threads: how many crops LiteRT runs at once, at least 1; each takes memory of its own.

    Raises:
        ModelError: the bundle is missing, damaged or unsafe, or computes other numbers than when it was made.
        ValueError: the runtime is unknown.
    """

    def __init__(self, folder: Path | None = None, runtime: Runtime = "litert", threads: int = 1) -> None:
        self.bundle = read_bundle(models_folder() / DEFAULT_BUNDLE if folder is None else folder)
        self._network: _Network | None
        if runtime == "litert":
            contents = {
                str(self.bundle.folder / name): checked_file(self.bundle, name)
                for name in self.bundle.litert_files
            }
            self._network = LiteRTNetworks(contents, self.bundle.side, threads, self.bundle.mirror_share)
        elif runtime == "keras":
            self._network = _Keras(self.bundle)
        else:
            raise ValueError(f"expected the runtime 'litert' or 'keras', got {runtime!r}")
        self._self_test(runtime)

    def predict(self, crops: NDArray[np.uint8]) -> Scores:
        """Score crops.

        Args:
            crops: uint8 (n, side, side, 3), RGB, aligned with the bundle's side and margin.

        Raises:
            ValueError: the array has another type or shape, or the classifier was closed.
            ModelError: a score is not a finite number.
        """
        side = self.bundle.side
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (side, side, 3):
            raise ValueError(f"expected crops uint8 (n, {side}, {side}, 3), got {crops.dtype} {crops.shape}")
        if self._network is None:
            raise ValueError("expected an open classifier, got one that was closed")
        scores = self._network.predict(crops)
        if not np.isfinite(scores.logits).all():
            raise ModelError(f"{self.bundle.folder}: expected finite scores, got {scores.logits}")
        return scores

    def close(self) -> None:
        """Frees the networks. Not to be called while crops are being scored."""
        if self._network is not None:
            self._network.close()
            self._network = None

    def _self_test(self, runtime: str) -> None:
        test = self.bundle.self_test
        found = self.predict(test.inputs(self.bundle.side)).logits
        worst = float(np.abs(found - test.logits).max())
        if worst > test.tolerance:
            raise ModelError(
                f"{self.bundle.folder}: expected the self-test's logits within {test.tolerance}, got a difference of "
                f"{worst:.4g} under {runtime}: a dependency computes other numbers than those that were calibrated"
            )


class LiteRTNetworks:
    """The networks of a bundle, run by LiteRT crop by crop.

    Args:
        contents: name, for errors → LiteRT file, from ``crops`` float32 (1, side, side, 3) to ``logit`` and ``map``:
            the network that sees a crop, then the one that sees its mirror image, if that is another.
        side: of the input, pixels.
        threads: how many crops to run at once, at least 1.
        mirror_share: see `Bundle`.

    Raises:
        ModelError: a content is not such a network, or the maps of two have different shapes.
    """

    def __init__(
        self,
        contents: Mapping[str, bytes],
        side: int,
        threads: int,
        mirror_share: float = ONE_NETWORK_SHARE,
    ) -> None:
        self._mirror_share = mirror_share
        self._networks = [_Shared(content, side, threads, name) for name, content in contents.items()]
        _check_maps({network.name: network.map_shape for network in self._networks})
        # Never in the caller's thread: what a signal handler raises there must not cost the pool an interpreter.
        self._executor = ThreadPoolExecutor(threads, "facefake-classifier")
        self._threads = threads

    def predict(self, crops: NDArray[np.uint8]) -> Scores:
        """See `Classifier.predict`; nothing is checked here."""
        return both_ways(self._run, crops, self._mirror_share)

    def close(self) -> None:
        """Ends the threads. Not to be called while crops are being scored."""
        self._executor.shutdown()

    def _run(self, crops: NDArray[np.uint8], mirrored: NDArray[np.uint8]) -> tuple[Scores, Scores]:
        first, last = self._networks[0], self._networks[-1]
        runs = [partial(first.score, crop) for crop in crops] + [
            partial(last.score, crop) for crop in mirrored
        ]
        outputs = spread(self._executor, self._threads, lambda run: run(), runs)
        logits = np.concatenate([output["logit"].reshape(1) for output in outputs])
        maps = np.concatenate([output["map"] for output in outputs])
        half = len(crops)
        return Scores(logits[:half], maps[:half]), Scores(logits[half:], maps[half:])


class _Shared:
    """One network, shared by threads. Its first interpreter is opened at once, to see what the file holds."""

    def __init__(self, content: bytes, side: int, threads: int, name: str) -> None:
        self.name = name
        # Not a method: the pool would keep this object alive until the next garbage collection.
        self._interpreters = Pool(partial(_open, content, side, name), threads)
        with self._interpreters.one() as first:
            self.map_shape = first.map_shape

    def score(self, crop: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """``logit`` and ``map`` of one crop."""
        with self._interpreters.one() as interpreter:
            return interpreter(crop[None].astype(np.float32))


def _open(content: bytes, side: int, name: str) -> _Interpreter:
    shape = (1, side, side, 3)
    try:
        with quiet():
            interpreter = _Interpreter(content)
            outputs = interpreter(np.zeros(shape, np.float32))
    except (ValueError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        raise ModelError(f"{name}: expected a network that takes crops {shape}, got: {error}") from error
    if set(outputs) != {"logit", "map"} or outputs["logit"].size != 1 or outputs["map"].ndim != 3:
        shapes = {key: value.shape for key, value in outputs.items()}
        raise ModelError(f"{name}: expected a network with one logit and a map (1, h, w), got {shapes}")
    interpreter.map_shape = outputs["map"].shape[1:]
    return interpreter


class _Interpreter:
    """A LiteRT interpreter with a single thread."""

    map_shape: tuple[int, ...]

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        _check_sizes(self._interpreter)  # as the file states them
        self._interpreter.allocate_tensors()  # takes up no memory until it is written to
        _check_sizes(self._interpreter)  # as they really are
        # Only for the names: running the network through it would take a tenth longer.
        signature = self._interpreter.get_signature_runner()
        self._input: int = signature.get_input_details()["crops"]["index"]
        self._outputs: dict[str, int] = {
            name: details["index"] for name, details in signature.get_output_details().items()
        }

    def __call__(self, crops: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        self._interpreter.set_tensor(self._input, crops)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def both_ways(
    run: Callable[[NDArray[np.uint8], NDArray[np.uint8]], tuple[Scores, Scores]],
    crops: NDArray[np.uint8],
    mirror_share: float,
) -> Scores:
    """The mean scores of crops and their mirror images, which are less noisy than those of either alone.

    Args:
        run: from crops and as many mirror images to one network's scores of the former, and the scores that the same
            or another network gives the latter.
        crops: uint8 (n, side, side, 3), RGB.
        mirror_share: weight of the mirror images in the mean.
    """
    if not len(crops):
        return Scores(np.empty(0, np.float32), np.empty((0, 0, 0), np.float32))
    scores, mirrored = run(crops, crops[:, :, ::-1])
    shares = (1 - mirror_share, mirror_share)
    return Scores(
        np.asarray(shares[0] * scores.logits + shares[1] * mirrored.logits, np.float32),
        np.asarray(shares[0] * scores.maps + shares[1] * mirrored.maps[:, :, ::-1], np.float32),
    )


def _check_maps(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse maps (h, w), by name of the network, that cannot be averaged."""
    if len(set(shapes.values())) > 1:
        raise ModelError(f"expected networks with maps of one shape, got {shapes}")


def _check_sizes(interpreter: Any) -> None:
    values = sum(math.prod(map(int, tensor["shape"])) for tensor in interpreter.get_tensor_details())
    if values > _MOST_VALUES:
        raise ValueError(f"tensors of {values:,} values in all, above {_MOST_VALUES:,}")


class _Keras:
    def __init__(self, bundle: Bundle) -> None:
        contents = {str(bundle.folder / name): checked_file(bundle, name) for name in bundle.keras_files}
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it on import
        with quiet():  # and is chatty then, whatever its log level
            import keras  # noqa: F401
        self._models = {name: load_keras(content, name) for name, content in contents.items()}
        self._mirror_share = bundle.mirror_share
        self._lock = threading.Lock()
        _check_maps({name: _map_shape(model, bundle.side, name) for name, model in self._models.items()})

    def predict(self, crops: NDArray[np.uint8]) -> Scores:
        return both_ways(self._run, crops, self._mirror_share)

    def close(self) -> None:
        """Nothing to do: Keras frees a model by itself."""

    def _run(self, crops: NDArray[np.uint8], mirrored: NDArray[np.uint8]) -> tuple[Scores, Scores]:
        models = list(self._models.values())
        with self._lock:
            return run_keras(models[0], crops), run_keras(models[-1], mirrored)


def run_keras(model: keras.Model, crops: NDArray[np.uint8]) -> Scores:
    """A Keras network's scores of crops, uint8 (n, side, side, 3), RGB, not mirrored."""
    outputs = model.predict(crops.astype(np.float32), batch_size=32, verbose=0)
    return Scores(np.asarray(outputs["logit"], np.float32), np.asarray(outputs["map"], np.float32))


def _map_shape(model: keras.Model, side: int, name: str) -> tuple[int, ...]:
    """The shape (h, w) of a network's map, after a check of its input and outputs."""
    shape, outputs = getattr(model, "input_shape", None), getattr(model, "output", None)
    shapes: Any = (
        {key: tuple(x.shape) for key, x in outputs.items()} if isinstance(outputs, dict) else outputs
    )
    if (
        shape != (None, side, side, 3)
        or not isinstance(shapes, dict)
        or set(shapes) != {"logit", "map"}
        or (len(shapes["logit"]), len(shapes["map"])) != (1, 3)
    ):
        raise ModelError(
            f"{name}: expected a network from (n, {side}, {side}, 3) to logits (n,) and maps (n, h, w), got one "
            f"from {shape} to {shapes}"
        )
    height, width = shapes["map"][1:]
    return height, width
