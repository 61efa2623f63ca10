"""One picture in many files: how it is stored must not change which faces are found and what is said of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_images import ADOBE_RGB, EXIF_ORIENTATION, difference, encode, matrix_profile, stored

from facefake.alignment import align
from facefake.classifier import Classifier
from facefake.detection import FaceDetector
from facefake.images import load_picture
from facefake.paths import models_folder

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
# https://www.color.org/chardata/rgb/DisplayP3.xalter: the primaries as XYZ, adapted to D50.
P3_PRIMARIES = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    image = Image.open(SAMPLES / "grace-hopper.jpg").convert("RGB")
    # Whole blocks of 16 pixels, or a turned picture would be compressed in other blocks and not be the same.
    return image.resize((image.width // 2, image.height // 2)).crop((0, 0, 256, 288))


def test_all_eight_orientations_give_the_same_faces(portrait: Image.Image) -> None:
    found = []
    with FaceDetector(min_face=24) as faces:
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[EXIF_ORIENTATION] = orientation
            pixels = stored(np.asarray(portrait), orientation)
            data = encode(pixels, "JPEG", quality=95, subsampling=0, exif=exif)
            found.append(faces.detect(load_picture(data).pixels))
    assert [len(faces) for faces in found] == [1] * 8
    boxes = np.array([faces[0].box for faces in found])
    points = np.array([faces[0].keypoints for faces in found])
    # A picture that lies on its side is decoded a little differently, which may move the view of the second look.
    tolerance = 0.02 * (boxes[0, 2] - boxes[0, 0])
    assert np.abs(boxes - boxes[0]).max() <= tolerance
    assert np.abs(points - points[0]).max() <= tolerance


@pytest.mark.skipif(
    not (models_folder() / "facefake" / "bundle.json").is_file(),
    reason="models/facefake holds no trained bundle yet",
)
@pytest.mark.parametrize(
    "profile", [ADOBE_RGB, matrix_profile(*P3_PRIMARIES)], ids=["Adobe RGB", "Display P3"]
)
def test_a_wide_gamut_portrait_scores_like_its_srgb_twin(portrait: Image.Image, profile: bytes) -> None:
    wide = ImageCms.profileToProfile(
        portrait, ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    )
    assert wide is not None
    plain, twin = [load_picture(encode(image, "PNG")).pixels for image in (portrait, wide)]
    wide.info.clear()
    misread = load_picture(encode(wide, "PNG")).pixels
    # Eight bits hold a wider gamut in coarser steps, which a face's box and score may feel a little.
    assert difference(twin, plain) < 0.5 and difference(misread, plain) > 4
    with FaceDetector(min_face=24) as faces:
        ((face,), (again,)) = faces.detect(plain), faces.detect(twin)
    assert np.abs(np.subtract(again.box, face.box)).max() <= 1
    classifier = Classifier()
    side, margin = classifier.bundle.side, classifier.bundle.margin
    crops = [align(pixels, face, side, margin) for pixels in (plain, twin)]
    scores = classifier.predict(np.stack(crops)).logits
    assert abs(scores[1] - scores[0]) < 0.3
