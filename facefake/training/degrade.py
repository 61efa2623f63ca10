"""The quality history of a picture on the web: resized, blurred, noisy, and saved once or twice.

Real and fake faces must go through histories drawn from one distribution, and a fake made from a real face through that
face's own. Otherwise a detector learns the file, not the face: `draw` knows nothing of the label, and `apply` is a pure
function of the pixels and the drawn history.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Codec = Literal["pillow-jpeg", "opencv-jpeg", "webp"]
Kernel = Literal["nearest", "bilinear", "bicubic", "area", "lanczos", "antialiased"]
Step = Literal["blur", "noise", "shrink", "restore", "save", "resave"]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

_CODECS: tuple[Codec, ...] = get_args(Codec)
_KERNELS: tuple[Kernel, ...] = get_args(Kernel)
_SUBSAMPLINGS: tuple[Subsampling, ...] = get_args(Subsampling)
_STEPS: tuple[Step, ...] = get_args(Step)
# WebP costs five times a JPEG and is rarer; nearest-neighbour scaling is rare too. Cameras and sites mostly save 4:2:0.
_CODEC_SHARES = (0.42, 0.42, 0.16)
_KERNEL_SHARES = (0.05, 0.2, 0.2, 0.2, 0.15, 0.2)
_SUBSAMPLING_SHARES = (0.3, 0.2, 0.5)
_CLEAN_SHARE = 0.28


@dataclass(frozen=True, slots=True)
class Compression:
    """One save to a lossy file: the codec, its quality (30 to 100) and, for JPEG, the chroma subsampling."""

    codec: Codec
    quality: int
    subsampling: Subsampling


@dataclass(frozen=True, slots=True)
class Degradation:
    """A drawn quality history; the default one leaves a picture as it is.

    Attributes:
        scale: the working size as a share of the original (0.25 to 1.5); the picture comes back to its own size.
        shrink_kernel: interpolation on the way to the working size.
        restore_kernel: interpolation on the way back.
        blur: standard deviation of the Gaussian blur in pixels, 0 or more.
        noise: standard deviation of the Gaussian noise in 8-bit levels, 0 to 5.
        noise_seed: seed of that noise, so that both pictures of a pair get the same.
        save: the first lossy file, or None.
        resave: the second one, or None.
        order: the steps in the order in which they happen; shrink comes before restore and save before resave.
    """

    scale: float = 1.0
    shrink_kernel: Kernel = "area"
    restore_kernel: Kernel = "bicubic"
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    save: Compression | None = None
    resave: Compression | None = None
    order: tuple[Step, ...] = _STEPS


def draw(rng: np.random.Generator, strength: float) -> Degradation:
    """Draw one history. At every strength at least 28 % of histories are clean or one save at quality 90 and above.

    Args:
        rng: the only source of randomness.
        strength: 0 (always clean) to 1 (the widest ranges: quality 30 to 100, scale 0.25 to 1.5, blur up to 3).

    Raises:
        ValueError: the strength is not in [0, 1].
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"expected a strength from 0 to 1, got {strength!r}")
    if strength == 0.0:
        return Degradation()
    if rng.random() < 1.0 - (1.0 - _CLEAN_SHARE) * strength:
        return Degradation(save=_draw_compression(rng, 90) if rng.random() < 0.5 else None)
    scale = 1.0
    if rng.random() < 0.7:
        # Uniform in the logarithm: from a quarter to a half is as far as from a half to the whole.
        lowest, highest = np.log(1.0 - 0.75 * strength), np.log(1.0 + 0.5 * strength)
        scale = float(np.exp(rng.uniform(lowest, highest)))
    lowest_quality = round(95 - 65 * strength)
    return Degradation(
        scale=scale,
        shrink_kernel=draw_kernel(rng),
        restore_kernel=draw_kernel(rng),
        # Powers of a uniform number: most blurs and noises are slight, few are strong.
        blur=3.0 * strength * float(rng.random()) ** 3 if rng.random() < 0.4 else 0.0,
        noise=5.0 * strength * float(rng.random()) ** 2 if rng.random() < 0.2 else 0.0,
        noise_seed=int(rng.integers(2**32)),
        save=_draw_compression(rng, lowest_quality) if rng.random() < 0.9 else None,
        resave=_draw_compression(rng, lowest_quality) if rng.random() < 0.25 else None,
        order=_draw_order(rng),
    )


def draw_kernel(rng: np.random.Generator) -> Kernel:
    """Draw an interpolation kernel; nearest-neighbour is rare."""
    return _KERNELS[rng.choice(len(_KERNELS), p=_KERNEL_SHARES)]


def apply(pixels: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    """Put a picture through a history.

    Args:
        pixels: uint8 (height, width, 3) RGB, at least 8 pixels a side.
        degradation: the history, from `draw`.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: the array is not such a picture.
    """
    import cv2

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or min(pixels.shape[:2]) < 8:
        raise ValueError(
            f"expected uint8 (height, width, 3), 8 pixels a side or more, got {pixels.dtype} {pixels.shape}"
        )
    height, width = pixels.shape[:2]
    working_size = (max(8, round(width * degradation.scale)), max(8, round(height * degradation.scale)))
    result = pixels.copy()
    for step in degradation.order:
        if step == "shrink":
            result = resize(result, working_size, degradation.shrink_kernel)
        elif step == "restore":
            result = resize(result, (width, height), degradation.restore_kernel)
        elif step == "blur" and degradation.blur > 0:
            result = np.asarray(cv2.GaussianBlur(result, (0, 0), degradation.blur), dtype=np.uint8)
        elif step == "noise" and degradation.noise > 0:
            result = _add_noise(result, degradation.noise, degradation.noise_seed)
        elif step == "save" and degradation.save is not None:
            result = _compress(result, degradation.save)
        elif step == "resave" and degradation.resave is not None:
            result = _compress(result, degradation.resave)
    return result


def resize(pixels: NDArray[np.uint8], size: tuple[int, int], kernel: Kernel) -> NDArray[np.uint8]:
    """A picture, uint8 (height, width, 3), at another size, (width, height)."""
    if pixels.shape[1::-1] == size:
        return pixels
    if kernel == "antialiased":
        # Pillow widens its kernel with the shrinking factor; OpenCV's kernels, area aside, alias instead.
        from PIL import Image

        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    import cv2

    flags = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    }
    return np.asarray(cv2.resize(pixels, size, interpolation=flags[kernel]), dtype=np.uint8)


def _draw_compression(rng: np.random.Generator, lowest_quality: int) -> Compression:
    return Compression(
        codec=_CODECS[rng.choice(len(_CODECS), p=_CODEC_SHARES)],
        quality=int(rng.integers(lowest_quality, 101)),
        subsampling=_SUBSAMPLINGS[rng.choice(len(_SUBSAMPLINGS), p=_SUBSAMPLING_SHARES)],
    )


def _draw_order(rng: np.random.Generator) -> tuple[Step, ...]:
    order = [_STEPS[index] for index in rng.permutation(len(_STEPS))]
    pairs: tuple[tuple[Step, Step], ...] = (("shrink", "restore"), ("save", "resave"))
    for earlier, later in pairs:
        first, second = order.index(earlier), order.index(later)
        if first > second:
            order[first], order[second] = later, earlier
    return tuple(order)


def _add_noise(pixels: NDArray[np.uint8], sigma: float, seed: int) -> NDArray[np.uint8]:
    noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(pixels + noise * np.float32(sigma) + 0.5, 0, 255).astype(np.uint8)


def _compress(pixels: NDArray[np.uint8], compression: Compression) -> NDArray[np.uint8]:
    import cv2

    if compression.codec == "pillow-jpeg":
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(
            buffer, "JPEG", quality=compression.quality, subsampling=compression.subsampling
        )
        with Image.open(buffer) as decoded:
            return np.array(decoded)
    if compression.codec == "opencv-jpeg":
        factors = {
            "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
            "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
            "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        }
        suffix = ".jpg"
        parameters = [cv2.IMWRITE_JPEG_QUALITY, compression.quality]
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors[compression.subsampling]]
    else:
        suffix, parameters = ".webp", [cv2.IMWRITE_WEBP_QUALITY, compression.quality]
    encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters)[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
