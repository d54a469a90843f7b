"""Photos of cars come out with their plates blurred: the shipped model in the product's own way."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from blurd.config import Policy, Settings
from blurd.core.geometry import coverage, grow
from blurd.equipment import build_detector, mask_rules
from blurd.once import blur
from blurd.records import Box, Category

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "plates"
LARGE_PX = 90
"""Width of plates that fill a good part of the picture."""


def large_plates(count: int) -> list[tuple[Path, Box]]:
    """Photos with one large plate each, the same ones every time."""
    document = json.loads((PHOTOS / "annotations.json").read_text())
    boxes: dict[int, list[list[float]]] = {}
    for item in document["annotations"]:
        boxes.setdefault(item["image_id"], []).append(item["bbox"])
    found = []
    for image in sorted(document["images"], key=lambda image: str(image["file_name"])):
        of_image = boxes.get(image["id"], [])
        if len(of_image) == 1 and LARGE_PX <= of_image[0][2] <= 3 * LARGE_PX:
            left, top, width, height = of_image[0]
            found.append((PHOTOS / "images" / image["file_name"], Box(left, top, left + width, top + height)))
    return found[:: max(1, len(found) // count)][:count]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos are not here")
def test_photos_of_cars_come_out_with_blurred_plates(tmp_path: Path) -> None:
    """Of large plates nearly all lose their detail; nothing is refused."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    photos = large_plates(12)
    for photo, _ in photos:
        (source / photo.name).write_bytes(photo.read_bytes())
    settings = Settings.model_construct()
    tally = blur(settings, Policy(classes=(Category.PLATE,)), source, target, lambda *_: lambda _progress: None)
    assert len(tally.written) == len(photos)
    changed = 0
    for photo, box in photos:
        before, after = (cv2.imread(str(path)) for path in (photo, target / photo.name))
        assert before is not None
        assert after is not None
        part = np.s_[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
        sharpness = [
            float(cv2.Laplacian(cv2.cvtColor(one[part], cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
            for one in (before, after)
        ]
        changed += sharpness[1] < 0.35 * sharpness[0]
    assert changed >= 0.75 * len(photos)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos are not here")
def test_both_classes_are_found_in_one_run() -> None:
    """The default looks for faces and plates; a plate's hit is no face."""
    settings, policy = Settings.model_construct(), Policy()
    assert set(policy.classes) == {Category.FACE, Category.PLATE}
    detector = build_detector(settings, policy, policy.classes)
    rules = mask_rules(policy, detector)
    found = 0
    for photo, box in large_plates(8):
        picture = cv2.imread(str(photo))
        assert picture is not None
        hits = detector.detect(np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8))
        plates = [
            hit for hit in hits if hit.category is Category.PLATE and hit.score >= rules.start_threshold(hit.category)
        ]
        found += coverage(box, [grow(hit.box, 0.2) for hit in plates]) >= 0.9
    assert found >= 6
