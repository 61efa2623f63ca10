from __future__ import annotations

import functools

import numpy as np
import pytest

from facefake.training.blending import face_size, hull_mask
from facefake.training.forgery import (
    likeness,
    nearest_source,
    reconstruction,
    region_blend,
    retouch,
    self_blend,
    swap,
    upsampling,
)
from facefake.training.landmarks import FACE_OVAL, LEFT_EYE, LOWER_FACE, MOUTH, NOSE, RIGHT_EYE, FaceMesh
from facefake.training.upsampling import redraw

SEEDS = range(24)


@pytest.fixture(params=["self_blend", "region_blend", "retouch", "swap"])
def forge(request, face):
    if request.param == "swap":
        source, source_landmarks = face(100)
        return lambda crop, landmarks, rng: swap(crop, landmarks, source, source_landmarks, rng)
    return {"self_blend": self_blend, "region_blend": region_blend, "retouch": retouch}[request.param]


@functools.lru_cache(maxsize=1)
def real_faces(folder):
    """The first face of each source that the mesh finds, as a square crop of at most 256 pixels."""
    import cv2

    mesh, faces = FaceMesh(), []
    for source in sorted((folder / "faces" / "real").iterdir()):
        crop = cv2.imread(str(min(source.glob("*.jpg"))), cv2.IMREAD_COLOR_RGB)
        crop = np.ascontiguousarray(crop[: min(crop.shape[:2]), : min(crop.shape[:2])])
        landmarks = mesh.landmarks(crop)
        if landmarks is not None:
            faces.append((crop, landmarks))
    return faces


def grown_oval(crop, landmarks, share):
    import cv2

    size = 2 * round(share * face_size(landmarks)) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(hull_mask(len(crop), landmarks, [FACE_OVAL]), element) > 0


def test_a_seed_gives_one_forgery(forge, face):
    crop, landmarks = face(0)
    for seed in SEEDS:
        first, second = (forge(crop, landmarks, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first.pixels, second.pixels)
        np.testing.assert_array_equal(first.mask, second.mask)
        assert first.name == second.name


def test_seeds_give_different_forgeries(forge, face):
    crop, landmarks = face(0)
    seen = {forge(crop, landmarks, np.random.default_rng(seed)).pixels.tobytes() for seed in SEEDS}
    assert len(seen) == len(SEEDS)


def test_shape_and_range(forge, face):
    crop, landmarks = face(1)
    for seed in SEEDS:
        forgery = forge(crop, landmarks, np.random.default_rng(seed))
        assert forgery.pixels.shape == crop.shape
        assert forgery.pixels.dtype == np.uint8
        assert forgery.mask.shape == crop.shape[:2]
        assert forgery.mask.dtype == np.float32
        assert 0 <= forgery.mask.min() < forgery.mask.max() <= 1


def test_the_arguments_stay_as_they_are(forge, face):
    crop, landmarks = face(2)
    crop.setflags(write=False)
    landmarks.setflags(write=False)
    for seed in SEEDS:
        forge(crop, landmarks, np.random.default_rng(seed))


def test_something_changes_inside_the_mask_and_nothing_outside(forge, face):
    for seed in SEEDS:
        crop, landmarks = face(seed)
        forgery = forge(crop, landmarks, np.random.default_rng(seed))
        changed = (forgery.pixels != crop).any(axis=2)
        assert changed.sum() > 0.005 * hull_mask(len(crop), landmarks, [FACE_OVAL]).astype(bool).sum()
        assert not changed[forgery.mask == 0].any()


def test_the_smallest_crop_changes_too(forge, face):
    import cv2

    crop, landmarks = face(0)
    small = cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA)
    for seed in range(100):
        forgery = forge(small, landmarks / 4, np.random.default_rng(seed))
        assert (forgery.pixels != small).any(), forgery.name


def test_the_mask_lies_in_the_face(forge, face):
    for seed in SEEDS:
        crop, landmarks = face(seed)
        forgery = forge(crop, landmarks, np.random.default_rng(seed))
        # A liquify brush on the jaw pulls some of its surroundings along.
        reach = 0.35 if forgery.name.startswith("retouch") else 0.01
        assert not forgery.mask[~grown_oval(crop, landmarks, reach)].any()


@pytest.mark.parametrize("name", ["reconstruction", "upsampling"])
def test_what_is_drawn_anew_is_the_whole_crop_or_the_face_alone(name, face):
    names = set()
    for seed in SEEDS:
        crop, landmarks = face(seed)
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        if name == "upsampling":
            made = redraw(crop, np.random.default_rng(seed))
            forgery, again = (upsampling(crop, landmarks, rng) for rng in (first, second))
        else:
            made = crop ^ 31
            forgery, again = (reconstruction(crop, landmarks, made, rng) for rng in (first, second))
        np.testing.assert_array_equal(forgery.pixels, again.pixels)
        names.add(forgery.name)
        if forgery.name == f"{name}: whole":
            np.testing.assert_array_equal(forgery.pixels, made)
            assert (forgery.mask == 1).all()
        else:
            np.testing.assert_array_equal(forgery.pixels[forgery.mask == 0], crop[forgery.mask == 0])
            assert not forgery.mask[~grown_oval(crop, landmarks, 0.01)].any()
            assert (forgery.pixels != crop).any()
    assert names == {f"{name}: whole", f"{name}: face"}


def test_a_reconstruction_of_another_size_is_refused(face):
    crop, landmarks = face(0)
    with pytest.raises(ValueError, match=r"expected a reconstruction of shape \(128, 128, 3\), got"):
        reconstruction(crop, landmarks, crop[:64], np.random.default_rng(0))


def test_self_blend_uses_every_strength_of_the_paper(face):
    crop, landmarks = face(3)
    strengths = {
        float(self_blend(crop, landmarks, np.random.default_rng(seed)).mask.max()) for seed in range(80)
    }
    assert {round(strength, 2) for strength in strengths} == {0.25, 0.5, 0.75, 1.0}


def test_region_blend_touches_the_part_that_it_names(face):
    crop, landmarks = face(4)
    parts = {"eyes": (RIGHT_EYE, LEFT_EYE), "mouth": (MOUTH,), "nose": (NOSE,), "lower face": (LOWER_FACE,)}
    seen = set()
    for seed in range(40):
        forgery = region_blend(crop, landmarks, np.random.default_rng(seed))
        part = forgery.name.removeprefix("region blend: ")
        core = hull_mask(len(crop), landmarks, parts[part]) > 0
        assert forgery.mask[core].mean() > 2 * forgery.mask[~core].mean()
        seen.add(part)
    assert seen == set(parts)


def test_retouch_always_reshapes_something(face):
    crop, landmarks = face(5)
    names = [retouch(crop, landmarks, np.random.default_rng(seed)).name for seed in range(60)]
    tools = [name.removeprefix("retouch: ").split(", ") for name in names]
    assert all(used[0] in ("liquify", "transform") for used in tools)
    assert {tool for used in tools for tool in used} == {"liquify", "transform", "smooth", "patch"}


def test_swap_brings_the_other_face(face):
    """A whole face swapped onto a flat one has texture where the mask is, and the target's mean colour."""
    crop, landmarks = face(6)
    flat = np.full_like(crop, (150, 110, 90))
    source, source_landmarks = face(7)
    whole = 0
    for seed in SEEDS:
        forgery = swap(flat, landmarks, source, source_landmarks, np.random.default_rng(seed))
        inside = forgery.mask > 0.9
        if not forgery.name.startswith("swap: face") or not inside.any():
            continue
        whole += 1
        assert forgery.pixels[inside].std(axis=0).min() > 2
        assert np.abs(forgery.pixels[inside].mean(axis=0) - (150, 110, 90)).max() < 40
    assert whole > 5


def test_swap_takes_a_source_of_another_size(face):
    import cv2

    crop, landmarks = face(8)
    source, source_landmarks = face(9)
    large = cv2.resize(source, (256, 256), interpolation=cv2.INTER_LINEAR)
    for seed in SEEDS:
        small, big = (
            swap(crop, landmarks, pixels, points, np.random.default_rng(seed))
            for pixels, points in ((source, source_landmarks), (large, source_landmarks * 2))
        )
        assert np.abs(small.pixels.astype(int) - big.pixels).mean() < 3


def test_swap_refuses_a_source_that_covers_nothing(face):
    crop, landmarks = face(10)
    folded = landmarks.copy()
    folded[:, 0] = 64
    with pytest.raises(ValueError, match="expected a source whose pose fits"):
        for seed in SEEDS:
            swap(crop, landmarks, crop, folded, np.random.default_rng(seed))


def test_the_nearest_source_has_the_same_pose_and_skin(face):
    crop, landmarks = face(11)
    turned = (landmarks - 64) * np.float32([0.6, 1.0]) + 64
    smaller = (landmarks - 64) * np.float32(0.8) + 60
    dark = (crop * 0.4).astype(np.uint8)
    candidates = [
        likeness(crop, turned),
        likeness(dark, landmarks),
        likeness(crop, smaller),
        likeness(dark, turned),
    ]
    assert nearest_source(likeness(crop, landmarks), np.stack(candidates)) == 2
    assert nearest_source(likeness(crop, turned), np.stack(candidates[1:])) != 0
    assert nearest_source(likeness(dark, turned), np.stack(candidates)) == 3


def test_no_candidate_is_refused(face):
    with pytest.raises(ValueError, match=r"expected candidates of shape \(m, 939\), got \(0, 939\)"):
        nearest_source(likeness(*face(0)), np.zeros((0, 939), np.float32))


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        (np.zeros((64, 60, 3), np.uint8), r"expected a uint8 \(n, n, 3\) crop, got uint8 \(64, 60, 3\)"),
        (np.zeros((64, 64, 3), np.float32), r"got float32 \(64, 64, 3\)"),
        (np.zeros((64, 64), np.uint8), r"got uint8 \(64, 64\)"),
        (np.zeros((31, 31, 3), np.uint8), "32 pixels a side or more, got 31"),
    ],
)
def test_what_is_no_crop_is_refused(forge, face, crop, message):
    with pytest.raises(ValueError, match=message):
        forge(crop, face(0)[1], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((68, 2), np.float32), r"landmarks of shape \(468, 2\), got \(68, 2\)"),
        (np.full((468, 2), np.nan, np.float32), "finite landmarks, got NaN or infinity"),
    ],
)
def test_what_are_no_landmarks_is_refused(forge, face, landmarks, message):
    with pytest.raises(ValueError, match=message):
        forge(face(0)[0], landmarks, np.random.default_rng(0))


def test_real_faces_stay_themselves_outside_the_mask(shared):
    faces = real_faces(shared)
    assert len(faces) >= 15
    table = np.stack([likeness(*one) for one in faces])
    for number, (crop, landmarks) in enumerate(faces):
        rng = np.random.default_rng(number)
        others = [other for other in range(len(faces)) if other != number]
        source = faces[others[nearest_source(table[number], table[others])]]
        forgeries = [made(crop, landmarks, rng) for made in (self_blend, region_blend, retouch)]
        forgeries.append(swap(crop, landmarks, *source, rng))
        for forgery in forgeries:
            changed = (forgery.pixels != crop).any(axis=2)
            assert changed.any(), forgery.name
            assert not changed[forgery.mask == 0].any(), forgery.name


def test_forgeries_of_real_faces_stay_subtle(shared):
    """No black border and no absurd colour: a self-blend keeps the face's colours within the paper's shifts."""
    for number, (crop, landmarks) in enumerate(real_faces(shared)):
        for made in (self_blend, region_blend, retouch):
            forgery = made(crop, landmarks, np.random.default_rng(number))
            difference = np.abs(forgery.pixels.astype(int) - crop)[forgery.mask > 0]
            assert difference.mean() < 40, forgery.name
