"""Fakes without a generator: a face shrunk and enlarged again by up-samplers with randomly drawn kernels.

An auto-encoder leaves the trace of the one up-sampler that it was trained with (`facefake.training.reconstruction`);
here each fake has a different one. It simulates the replicas of the spectrum that remain when a map is enlarged by
inserting zeros between its values and filtering with a kernel that does not quite remove them. (Zhang et al., "Detecting
and Simulating Artifacts in GAN Fake Images", WIFS 2019; the grid that unequal sums of such a kernel leave: Odena et al.,
"Deconvolution and Checkerboard Artifacts", Distill 2016.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One row of each: nearest neighbour, linear, linear between pixel centres, B-spline.
_KERNELS = ((1.0, 1.0), (0.5, 1.0, 0.5), (0.25, 0.75, 0.75, 0.25), (0.125, 0.5, 0.75, 0.5, 0.125))
_DOUBLINGS = (1, 2, 3)
_DOUBLINGS_SHARE = (0.5, 0.35, 0.15)
_NOISE = (0.03, 0.25)  # of a kernel's values, relative
_EVENED = 0.7  # share of the kernels whose four sums are made nearly equal, as training makes them
_LEFT_UNEVEN = 0.15  # share of their difference that remains
_FAINTEST = 4.0  # grey levels: a trace that changes no pixel by as much is lost when the fake is saved
_TRIES = 8


def redraw(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop with the trace of one to three doublings, and with all or some of the detail that they lost.

    After more than one doubling, most of it is kept: otherwise the fake could be told by its blur.

    Args:
        crop: uint8 (n, n, 3), RGB.
        rng: the only source of randomness.

    Returns:
        uint8 (n, n, 3).
    """
    side = len(crop)
    doublings = int(rng.choice(_DOUBLINGS, p=_DOUBLINGS_SHARE))
    step = 2**doublings
    padded = np.pad(crop, ((0, -side % step), (0, -side % step), (0, 0)), "reflect").astype(np.float32)
    kernels = [_kernel(rng) for _ in range(doublings)]
    small = padded
    for kernel in reversed(kernels):
        small = _halved(small, kernel)
    smooth = small
    for kernel in kernels:
        smooth = _doubled(smooth, kernel)
    for _ in range(_TRIES):
        traced = small
        for kernel in kernels:
            traced = _doubled(traced, _noisy(kernel, rng))
        if np.abs(traced - smooth).max() >= _FAINTEST:
            break
    kept = 1.0 if rng.random() < 0.4 else rng.uniform(0.0 if doublings == 1 else 0.6, 1.0)
    pixels = traced + np.float32(kept) * (padded - smooth)
    return np.asarray(np.clip(pixels[:side, :side].round(), 0, 255), np.uint8)


def _kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    row = np.array(_KERNELS[rng.integers(len(_KERNELS))], np.float32)
    return np.outer(row, row)


def _noisy(kernel: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The kernel with perturbed values and the same sum."""
    noise = rng.normal(0, rng.uniform(*_NOISE), kernel.shape)
    changed = kernel * np.maximum(1 + noise, 0.1)
    if rng.random() < _EVENED:
        for across in (0, 1):
            for down in (0, 1):
                # Those that contribute to one in four pixels.
                values = changed[down::2, across::2]
                values *= (1 / values.sum()) ** (1 - _LEFT_UNEVEN)
    return np.asarray(changed * (kernel.sum() / changed.sum()), np.float32)


def _halved(picture: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture of half the side, sampled where the kernel will put its values: on pixels if its length is odd, between
    them if it is even.
    """
    import cv2

    if len(kernel) % 2:
        row = np.array([0.25, 0.5, 0.25], np.float32)
        return np.asarray(cv2.sepFilter2D(picture, -1, row, row)[::2, ::2], np.float32)
    height, width = picture.shape[:2]
    return np.asarray(
        cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.float32
    )


def _doubled(picture: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture of twice the side: zeros between the values, filtered by the kernel, whose four sums are near 1."""
    import cv2

    height, width = picture.shape[:2]
    # Two more values on every side, so that the edges are enlarged like the rest.
    around = np.pad(picture, ((2, 2), (2, 2), (0, 0)), "symmetric")
    sparse = np.zeros((2 * len(around), 2 * around.shape[1], 3), np.float32)
    sparse[::2, ::2] = around
    filled = np.asarray(cv2.filter2D(sparse, -1, kernel), np.float32)
    return filled[4 : 4 + 2 * height, 4 : 4 + 2 * width]
