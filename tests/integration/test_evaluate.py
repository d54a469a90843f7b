"""`blurd evaluate`, on a set that the test makes: faces at known places, pictures without any."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blurd.adapters.coco import read_annotations
from blurd.errors import EquipmentError
from blurd.records import Category
from media import astronaut

FACE = (177, 70, 270, 195)
"""The astronaut's face in the photo, by hand: left, top, right, bottom."""


def blurd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blurd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def annotation(image: int, box: tuple[int, int, int, int], **extra: object) -> dict[str, Any]:
    left, top, right, bottom = box
    return {"image_id": image, "category_id": 7, "bbox": [left, top, right - left, bottom - top], **extra}


@pytest.fixture(scope="module")
def face_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with one face each, one with an ignored face, one without."""
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    portrait = Image.fromarray(astronaut())
    portrait.save(root / "images" / "a.png")
    moved = Image.new("RGB", (700, 600), "grey")
    moved.paste(portrait, (100, 50))
    moved.save(root / "images" / "b.png")
    portrait.save(root / "images" / "ignored.png")
    Image.new("RGB", (300, 200), "navy").save(root / "images" / "empty.png")
    left, top, right, bottom = FACE
    document = {
        "images": [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("ab")]
        + [{"id": "i", "file_name": "ignored.png"}, {"id": "e", "file_name": "empty.png"}],
        "categories": [{"id": 7, "name": "face"}, {"id": 8, "name": "dog"}],
        "annotations": [
            annotation(0, FACE),
            annotation(1, (left + 100, top + 50, right + 100, bottom + 50)),
            annotation("i", FACE, ignore=1),  # type: ignore[arg-type]
        ],
    }
    (root / "set.json").write_text(json.dumps(document))
    return root


def test_the_figures_of_a_known_set(face_set: Path, tmp_path: Path) -> None:
    result = blurd(
        "evaluate", "--annotations", face_set / "set.json", "--images", face_set / "images",
        "--json", tmp_path / "out.json", "--report", tmp_path / "report",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    face = figures["classes"]["face"]
    assert list(figures)[:2] == ["classes", "images_per_second"]
    assert list(face)[:6] == ["precision", "recall", "f1", "ap50", "ap", "coverage"]
    assert face["objects"] == 2
    assert face["recall"] == 1.0
    assert face["coverage"] == {"overall": 1.0, "<16": None, "16-32": None, "32-96": 1.0, ">96": None}
    assert face["false_positive_rate"] == 0.0
    assert face["ap50"] >= 0.5
    assert 0 < face["latency_ms"]["median"] <= face["latency_ms"]["p95"]
    thresholds = [point["threshold"] for point in face["sweep"]]
    assert thresholds == sorted(thresholds)
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert page.count("<svg") == 4
    assert figures["data_sha256"] in page
    assert face["model_sha256"] in page
    for reference in ("<script", "<link", "src=", 'href="http'):
        assert reference not in page


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": [{"id": 1, "file_name": "absent.png"}]}, "absent.png"),
        ({"categories": [{"id": 7, "name": "dog"}]}, 'no category is called "face" or "plate"'),
        ({"annotations": [{"image_id": 99, "category_id": 7, "bbox": [0, 0, 1, 1]}]}, "there is no image 99"),
        ({"annotations": [{"image_id": 0, "category_id": 7, "bbox": [0, 0, 0, 1]}]}, "must be positive"),
        ({"annotations": "none"}, "annotations"),
        ({"images": [], "annotations": []}, "has no images"),
    ],
)
def test_a_wrong_set_is_explained(face_set: Path, tmp_path: Path, change: dict[str, Any], text: str) -> None:
    document = json.loads((face_set / "set.json").read_text()) | change
    if "images" in change:
        document["annotations"] = []
    (tmp_path / "set.json").write_text(json.dumps(document))
    result = blurd("evaluate", "--annotations", tmp_path / "set.json", "--images", face_set / "images")
    assert result.returncode == 18
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_only_our_categories_are_read(face_set: Path) -> None:
    annotated = read_annotations(face_set / "set.json")
    assert annotated.categories == {Category.FACE}
    assert [len(image.annotations) for image in annotated.images] == [1, 1, 1, 0]
    assert [item.ignored for image in annotated.images for item in image.annotations] == [False, False, True]


def test_a_missing_annotation_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(EquipmentError, match="can't be read"):
        read_annotations(tmp_path / "absent.json")
