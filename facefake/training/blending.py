"""What forgers do to pixels: masks, changes of statistics, warps, colour transfer and blending.

Crops are uint8 (n, n, 3) RGB, landmarks float32 (468, 2) in pixels of the crop, masks float32 (n, n) from 0 to 1, warp
fields float32 (n, n, 2): the offset from which each pixel is fetched. All randomness comes from the generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facefake.training.landmarks import FACE_OVAL, LANDMARK_COUNT

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
Mask = NDArray[np.float32]
Hull = Sequence[int]


class Brush(NamedTuple):
    """One dab of a liquify tool: what lies within `radius` of `centre` is shifted and enlarged, most in the middle."""

    centre: NDArray[np.floating[Any]]
    radius: float
    shift: tuple[float, float] = (0.0, 0.0)
    growth: float = 0.0


def check_face(crop: Pixels, landmarks: Points) -> None:
    """Raise ValueError unless this is a square crop of 32 pixels a side or more, with finite landmarks."""
    if crop.ndim != 3 or crop.shape[0] != crop.shape[1] or crop.shape[2] != 3 or crop.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (n, n, 3) crop, got {crop.dtype} {crop.shape}")
    if len(crop) < 32:
        raise ValueError(f"expected a crop of 32 pixels a side or more, got {len(crop)}")
    if landmarks.shape != (LANDMARK_COUNT, 2):
        raise ValueError(f"expected landmarks of shape ({LANDMARK_COUNT}, 2), got {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise ValueError("expected finite landmarks, got NaN or infinity among them")


def face_size(landmarks: Points) -> float:
    """The geometric mean of the face's width and height in pixels, which turning the head changes little."""
    width, height = np.ptp(landmarks[list(FACE_OVAL)], axis=0)
    return float(np.sqrt(width * height))


def hull_mask(side: int, landmarks: Points, hulls: Sequence[Hull]) -> Pixels:
    """uint8 (side, side): 255 inside the convex hull of any of the groups of landmarks, 0 elsewhere."""
    import cv2

    mask = np.zeros((side, side), np.uint8)
    for hull in hulls:
        cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(landmarks[list(hull)])).astype(np.int32), 255)
    return mask


def soft_mask(
    landmarks: Points, hulls: Sequence[Hull], within: Pixels, rng: np.random.Generator, grow: float = 0.0
) -> Mask:
    """Hulls bent elastically, eroded and softened, never reaching beyond `within`.

    Args:
        landmarks: of the face to be changed.
        hulls: groups of landmarks whose convex hulls are joined.
        within: uint8 (n, n), 255 where the mask may be, such as the face oval.
        rng: the only source of randomness.
        grow: how far the hulls are grown first, as a share of the face's size; for parts of a face.
    """
    import cv2

    side, size = len(within), face_size(landmarks)
    mask = hull_mask(side, landmarks, hulls)
    if grow > 0:
        mask = _morph(cv2.dilate, mask, 2 * grow * size)
    cells = int(rng.integers(3, 7))
    bend = rng.normal(0.0, rng.uniform(0.01, 0.04) * size, (cells, cells, 2)).astype(np.float32)
    bend = np.asarray(cv2.resize(bend, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    mask = np.minimum(warp(mask, bend), within)
    # Eroding by at least the reach of the blur that follows keeps the soft edge inside; only at corners does it leak.
    edge = size * rng.uniform(0.015, 0.075 if grow > 0 else 0.15)
    mask = _morph(cv2.erode, mask, edge)
    reach = 2 * int(edge * rng.uniform(0.2, 1.0) / 2) + 1
    mask = np.minimum(cv2.GaussianBlur(mask, (reach, reach), 0), within)
    return mask.astype(np.float32) / np.float32(255)


def shift_statistics(pixels: Pixels, rng: np.random.Generator, extent: float = 1.0) -> Pixels:
    """A different colour balance, contrast, sharpness or resolution, as another camera or a generator would give.

    At an extent of 1, colours shift by up to 20 levels per channel; a smaller extent scales this down.
    """
    recolour = rng.random() < 0.85
    # Squared, since forgers match colours: most shifts are slight, few reach the full extent.
    result = _shift_colours(pixels, rng, extent * rng.uniform(0.3, 1.0) ** 2) if recolour else pixels
    if not recolour or rng.random() < 0.6:
        result = resample(result, rng.uniform(2, 4), rng) if rng.random() < 0.6 else _sharpen(result, rng)
    return result


def resample(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Scaled down by a factor and up again: what is left of a face that was generated small."""
    import cv2

    small = max(8, round(len(pixels) / factor))
    down = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA))
    up = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4))
    shrunk = cv2.resize(pixels, (small, small), interpolation=int(down))
    return np.asarray(cv2.resize(shrunk, pixels.shape[1::-1], interpolation=int(up)), np.uint8)


def move(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Shift by up to 3 % horizontally and 1.5 % vertically, and scale by up to 5 %."""
    import cv2

    side = len(pixels)
    scale = rng.uniform(0.95, 1.05)
    shift = rng.uniform(-1, 1, 2) * (0.03 * side, 0.015 * side)
    matrix = np.column_stack([np.eye(2) * scale, (1 - scale) * (side - 1) / 2 + shift])
    # Lanczos in warpAffine costs five times the cubic kernel and looks the same.
    kernel = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    moved = cv2.warpAffine(pixels, matrix, (side, side), flags=kernel, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def liquify(side: int, brushes: Sequence[Brush]) -> tuple[NDArray[np.float32], Mask]:
    """The warp field of these brushes, and the mask of what they touch; where the mask is 0, so is the field."""
    field = np.zeros((side, side, 2), np.float32)
    mask = np.zeros((side, side), np.float32)
    for centre, radius, shift, growth in brushes:
        left, top = np.clip(np.floor(centre - radius).astype(int), 0, side)
        right, bottom = np.clip(np.ceil(centre + radius).astype(int) + 1, 0, side)
        across = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(centre[0])
        down = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(centre[1])
        weight = np.maximum(1 - (across**2 + down**2) / np.float32(radius) ** 2, 0) ** 2
        part = np.s_[top:bottom, left:right]
        field[part][..., 0] -= weight * (np.float32(shift[0]) + np.float32(growth) * across)
        field[part][..., 1] -= weight * (np.float32(shift[1]) + np.float32(growth) * down)
        np.maximum(mask[part], weight, out=mask[part])
    return field, mask


def warp(pixels: Pixels, field: NDArray[np.float32]) -> Pixels:
    """A picture of the size of the field, each pixel fetched from where the field says; the edges are mirrored."""
    import cv2

    axis = np.arange(len(field), dtype=np.float32)
    kernel = cv2.INTER_CUBIC if pixels.ndim == 3 else cv2.INTER_LINEAR
    x, y = field[..., 0] + axis[None, :], field[..., 1] + axis[:, None]
    return np.asarray(cv2.remap(pixels, x, y, kernel, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def piecewise_field(side: int, points: Points, source_points: Points) -> NDArray[np.float32]:
    """The field that maps source points onto a target's, affine on each Delaunay triangle; 0 outside their hull."""
    import cv2

    low, high = np.floor(points.min(0)).astype(int) - 2, np.ceil(points.max(0)).astype(int) + 3
    plane = cv2.Subdiv2D((int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])))
    plane.insert([(float(x), float(y)) for x, y in points])
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    # The subdivision returns coordinates, not indices: look up the nearest point.
    triangles = ((corners[:, :, None] - points) ** 2).sum(-1).argmin(-1)
    homogeneous = np.concatenate([points[triangles], np.ones((*triangles.shape, 1), np.float32)], axis=-1)
    whole = np.abs(np.linalg.det(homogeneous)) > 0.1
    triangles, homogeneous = triangles[whole], homogeneous[whole].astype(np.float64)
    displacements = (source_points - points)[triangles].astype(np.float64)
    coefficients = np.linalg.solve(homogeneous, displacements).astype(np.float32)
    labels = np.zeros((side, side), np.int32)
    for label, triangle in enumerate(triangles, start=1):
        cv2.fillConvexPoly(labels, np.rint(points[triangle]).astype(np.int32), label)
    table = np.concatenate([np.zeros((1, 3, 2), np.float32), coefficients])
    axis = np.arange(side, dtype=np.float32)
    across, down, constant = (table[:, row][labels] for row in range(3))
    field: NDArray[np.float32] = across * axis[None, :, None] + down * axis[:, None, None] + constant
    return field


def affine_field(side: int, points: Points, source_points: Points, similarity: bool) -> NDArray[np.float32]:
    """The field of the affine map, or of the similarity, that best maps source points onto a target's."""
    centre, source_centre = points.mean(0), source_points.mean(0)
    offsets, source_offsets = points - centre, source_points - source_centre
    if similarity:
        # In complex numbers, a similarity is multiplication by one factor.
        plane, source_plane = offsets @ (1, 1j), source_offsets @ (1, 1j)
        factor = (plane.conj() @ source_plane) / (plane.conj() @ plane).real
        matrix = np.array([[factor.real, factor.imag], [-factor.imag, factor.real]])
    else:
        matrix = np.linalg.lstsq(offsets, source_offsets, rcond=None)[0]
    axis = np.arange(side, dtype=np.float32)
    linear = (matrix - np.eye(2)).astype(np.float32)
    constant = (source_centre - centre @ matrix).astype(np.float32)
    field: NDArray[np.float32] = axis[None, :, None] * linear[0] + axis[:, None, None] * linear[1] + constant
    return field


def transfer_colour(
    source: Pixels, target: Pixels, region: Pixels, rng: np.random.Generator
) -> tuple[Pixels, str]:
    """Give the source the target's colours, measured in a region (uint8, not 0 inside; not empty), by a random method.

    The methods match mean and deviation in CIELAB (Reinhard et al., "Color Transfer between Images", 2001), the means
    alone, or the histogram of each channel.

    Returns:
        The source recoloured, and the method's name.
    """
    import cv2

    method = str(rng.choice(("Reinhard", "means", "histograms"), p=(0.6, 0.15, 0.25)))
    inside = region > 0
    if method == "histograms":
        levels = np.arange(256)
        curves = np.empty((256, 1, 3), np.uint8)
        for channel in range(3):
            values, wanted_values = source[inside, channel], target[inside, channel]
            shares = np.searchsorted(np.sort(values), levels, side="right") / values.size
            curve = np.quantile(wanted_values, shares)
            shift = wanted_values.mean() - values.mean()
            # A beard matched to a shaved chin would otherwise glow.
            curve = np.clip(curve, levels + shift - 25, levels + shift + 25)
            curves[:, 0, channel] = np.rint(np.clip(curve, 0, 255))
        return np.asarray(cv2.LUT(source, curves), np.uint8), method
    labs = [cv2.cvtColor(p.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB) for p in (source, target)]
    (mean, deviation), (wanted, wanted_deviation) = (cv2.meanStdDev(lab, mask=region) for lab in labs)
    # A flat source stretched to a rough target's deviation shows its noise in absurd colours.
    gain = np.clip(wanted_deviation / np.maximum(deviation, 1e-3), 0.7, 1.4)
    if method == "means":
        gain = np.ones_like(gain)
    matched = (labs[0] - mean.T) * gain.T + wanted.T
    rgb = cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.rint(np.clip(rgb, 0, 1) * np.float32(255)).astype(np.uint8), method


def blend(target: Pixels, source: Pixels, mask: Mask) -> Pixels:
    """The source where the mask is 1, the target where it is 0, and a linear mix in between."""
    difference = source.astype(np.float32) - target
    return np.rint(target + difference * mask[..., None]).astype(np.uint8)


def poisson_clone(source: Pixels, target: Pixels, region: Pixels) -> Pixels:
    """The source's gradients with the target's colours along the edge of a region (uint8, not 0 inside; not empty)."""
    import cv2

    # OpenCV erodes the mask that it is given, in place: unless dilated, a thin region would vanish.
    region = np.asarray(cv2.dilate(region, np.ones((5, 5), np.uint8)), np.uint8)
    left, top, width, height = cv2.boundingRect(region)
    centre = (left + width // 2, top + height // 2)
    return np.asarray(cv2.seamlessClone(source, target, region, centre, cv2.NORMAL_CLONE), np.uint8)


def _morph(operation: Any, mask: Pixels, diameter: float) -> Pixels:
    import cv2

    size = 2 * int(diameter / 2) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(operation(mask, element, borderValue=0), np.uint8)


def _shift_colours(pixels: Pixels, rng: np.random.Generator, extent: float) -> Pixels:
    """Shift red, green and blue, contrast, and at times hue, saturation and value."""
    import cv2

    levels = np.arange(256, dtype=np.float64)
    contrast = 1 + 0.1 * extent * rng.uniform(-1, 1)
    shifts = 20 * extent * rng.uniform(-1, 1, 3)
    curves = (levels[:, None] - 128) * contrast + 128 + shifts
    result = cv2.LUT(pixels, np.clip(np.rint(curves), 0, 255).astype(np.uint8)[:, None, :])
    if rng.random() < 0.5:
        hue, saturation, value = extent * rng.uniform(-1, 1, 3)
        # OpenCV counts hue in steps of two degrees.
        curves = np.stack(
            [(levels + 3 * hue) % 180, levels * (1 + 0.15 * saturation), levels + 15 * value], -1
        )
        curves = np.clip(np.rint(curves), 0, (179, 255, 255))
        hsv = cv2.LUT(cv2.cvtColor(result, cv2.COLOR_RGB2HSV), curves.astype(np.uint8)[:, None, :])
        result = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(result, np.uint8)


def _sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    import cv2

    amount = rng.uniform(0.3, 1.2)
    blurred = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 2.0))
    return np.asarray(cv2.addWeighted(pixels, 1 + amount, blurred, -amount, 0), np.uint8)
