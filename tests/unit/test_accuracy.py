"""The measures, against pycocotools and against figures worked out by hand."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from blurd.core.accuracy import (
    IOU_THRESHOLDS,
    Scene,
    average_precision,
    coverage_by_width,
    match,
    operating_point,
    over_blur,
)


def scene(truth: Any, found: Any, scores: Any, ignored: Any = None, crowd: Any = None) -> Scene:
    truth = np.array(truth, np.float64).reshape(-1, 4)
    none = np.zeros(len(truth), np.bool_)
    return Scene(
        100,
        100,
        truth,
        none if ignored is None else np.array(ignored, np.bool_),
        none if crowd is None else np.array(crowd, np.bool_),
        np.array(found, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
    )


def random_scenes(seed: int) -> list[Scene]:
    """Objects, and detections that are near them, twice on them, or somewhere else; some objects are crowds."""
    random = np.random.default_rng(seed)
    scenes = []
    for _ in range(12):
        count = int(random.integers(0, 6))
        corner = random.uniform(0, 70, (count, 2))
        truth = np.concatenate([corner, corner + random.uniform(4, 30, (count, 2))], axis=1)
        near = truth.repeat(2, axis=0) + random.normal(0, 2.0, (2 * count, 4))
        other = random.uniform(0, 70, (3, 2))
        found = np.concatenate([near, np.concatenate([other, other + random.uniform(4, 30, (3, 2))], axis=1)])
        found = found[(found[:, 0] < found[:, 2]) & (found[:, 1] < found[:, 3])]
        scores = np.sort(random.uniform(0.05, 1.0, len(found)))[::-1]
        random.shuffle(found)
        crowd = random.random(count) < 0.15
        scenes.append(scene(truth, found, scores, ignored=crowd, crowd=crowd))
    return scenes


def coco_ap(scenes: list[Scene]) -> tuple[float, float]:
    """AP at IoU 0.5 and AP by the reference implementation."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, item in enumerate(scenes, start=1):
        for box, crowd in zip(item.truth, item.crowd, strict=True):
            x, y, right, bottom = box
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": int(crowd),
                 "bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y)}
            )  # fmt: skip
        for box, score in zip(item.found, item.scores, strict=True):
            x, y, right, bottom = box
            results.append(
                {"image_id": number, "category_id": 1, "score": score, "bbox": [x, y, right - x, bottom - y]}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": number + 1, "width": 100, "height": 100} for number in range(len(scenes))],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "face"}],
        }
        reference.createIndex()
        judge = COCOeval(reference, reference.loadRes(results), "bbox")
        judge.params.maxDets = [1, 10, 100_000]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, 2]  # IoU, recall; all areas, most detections
    return float(precision[0].mean()), float(precision.mean())


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_cocos(seed: int) -> None:
    scenes = random_scenes(seed)
    ap50, ap = coco_ap(scenes)
    assert average_precision(scenes, 0.5) == pytest.approx(ap50, abs=1e-9)
    assert np.mean([average_precision(scenes, level) for level in IOU_THRESHOLDS]) == pytest.approx(ap, abs=1e-9)


def test_the_figures_of_a_small_example() -> None:
    """Two objects; one found well, one missed; one false box. Worked out by hand."""
    example = scene([[10, 10, 30, 30], [60, 60, 80, 80]], [[10, 10, 30, 28], [0, 80, 10, 90]], [0.9, 0.5])
    point = operating_point([example], 0.4, 0.3)
    assert (point.precision, point.recall, point.f1) == (0.5, 0.5, 0.5)
    assert point.mean_iou == pytest.approx(0.9)
    assert point.false_boxes_per_image == 1.0
    assert point.coverage == 0.5
    higher = operating_point([example], 0.6, 0.3)
    assert (higher.precision, higher.recall, higher.false_boxes_per_image) == (1.0, 0.5, 0.0)


def test_the_false_positive_rate_counts_pictures_without_objects() -> None:
    scenes = [scene([], [[1, 1, 5, 5], [7, 7, 9, 9]], [0.9, 0.8]), scene([], [], []), scene([[0, 0, 9, 9]], [], [])]
    point = operating_point(scenes, 0.5, 0.3)
    assert point.false_positive_rate == 0.5
    assert point.false_boxes_per_image == pytest.approx(2 / 3)
    assert np.isnan(operating_point(scenes[2:], 0.5, 0.3).false_positive_rate)


def test_ignored_objects_count_neither_way() -> None:
    """A box on an ignored object is no false box, and the object is not missed."""
    example = scene([[10, 10, 30, 30], [60, 60, 80, 80]], [[60, 60, 80, 80]], [0.9], ignored=[False, True])
    point = operating_point([example], 0.5, 0.3)
    assert (point.recall, point.false_boxes_per_image, point.coverage) == (0.0, 0.0, 0.0)
    both = match(example, 0.5)
    assert both.counts.tolist() == [False]


def test_coverage_needs_nine_tenths_under_grown_boxes() -> None:
    """A box that is a tenth short on each side covers after growth, not without."""
    example = scene([[20, 20, 60, 60]], [[26, 26, 54, 54]], [0.9])
    assert coverage_by_width([example], 0.0)["overall"] == 0.0
    assert coverage_by_width([example], 0.3)["overall"] == 1.0


def test_coverage_is_split_by_the_objects_width() -> None:
    truth = [[0, 0, 10, 10], [20, 0, 40, 10], [0, 20, 50, 30], [0, 40, 99, 50]]
    split = coverage_by_width([scene(truth, truth[1:2], [0.9])], 0.0)
    assert (split["<16"], split["16-32"], split["32-96"], split[">96"]) == (0.0, 1.0, 0.0, 0.0)
    assert split["overall"] == 0.25
    assert np.isnan(coverage_by_width([scene(truth[:1], [], [])], 0.0)[">96"])


def test_over_blur_is_what_is_masked_beside_the_objects() -> None:
    example = scene([[0, 0, 10, 10]], [[0, 0, 10, 20], [0, 0, 10, 20]], [0.9, 0.8])
    assert over_blur(example, 0.0) == pytest.approx(0.01)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_lower_threshold_never_covers_less(seed: int, first: float, second: float) -> None:
    scenes = random_scenes(seed)
    low, high = sorted((first, second))
    assert operating_point(scenes, low, 0.3).coverage >= operating_point(scenes, high, 0.3).coverage
    assert operating_point(scenes, low, 0.3).over_blur >= operating_point(scenes, high, 0.3).over_blur
