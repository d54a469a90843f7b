"""Measure an exported plate detector on annotated scenes, the way a risk assessment needs it.

A plate is *covered* when at least 90 % of its box lies under the union of the detector's boxes, each grown as a
rectangle by 20 % of its size per side. A *false box* matches no plate at IoU 0.5 (one plate matches one box).
Average precision is COCO's (Lin et al. 2014): 101 recall points, IoU 0.5.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from scenes import Scene, split_scenes

STRIDE: Final = 4
SIZE_UNIT_PX: Final = 32.0
FLOOR: Final = 0.05
OVERLAP_LIMIT: Final = 0.4
GROWTH: Final = 0.2
COVERED_SHARE: Final = 0.9
BUCKETS: Final = {"<16": (0.0, 16.0), "16-32": (16.0, 32.0), "32-96": (32.0, 96.0), ">96": (96.0, 1e9)}

Boxes = NDArray[np.float32]


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """IoU of every box [n, 4] with every box [m, 4]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6), np.float32)


def decode(heatmap: Boxes, size: Boxes, offset: Boxes, floor: float = FLOOR) -> tuple[Boxes, Boxes]:
    """Maps to boxes [n, 4] (left, top, right, bottom; px) and scores [n], best first, overlapping ones removed."""
    rows, columns = np.nonzero(heatmap[0, 0] >= floor)
    scores = heatmap[0, 0, rows, columns]
    order = np.argsort(-scores)[:300]
    rows, columns, scores = rows[order], columns[order], scores[order]
    centres = (np.stack((columns, rows), 1) + 0.5 + offset[0, :, rows, columns]) * STRIDE
    halves = np.exp(np.clip(size[0, :, rows, columns], -3, 4)) * (SIZE_UNIT_PX / 2)
    boxes = np.concatenate((centres - halves, centres + halves), 1).astype(np.float32)
    kept: list[int] = []
    for index in range(len(boxes)):
        if not kept or overlaps(boxes[index : index + 1], boxes[kept]).max() < OVERLAP_LIMIT:
            kept.append(index)
    return boxes[kept], scores[kept].astype(np.float32)


class Detector:
    """A compiled file; every image shape is padded to a multiple of 64 and compiled once."""

    def __init__(self, path: Path, scale: float = 1.0) -> None:
        self._core = ov.Core()
        self._model = self._core.read_model(path)
        self._compiled: dict[tuple[int, int], Any] = {}
        self._scale = scale

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Boxes, Boxes]:
        if self._scale != 1.0:
            image = np.asarray(cv2.resize(image, None, fx=self._scale, fy=self._scale), np.uint8)
        height, width = (-(-side // 64) * 64 for side in image.shape[:2])
        padded = cv2.copyMakeBorder(
            image, 0, height - image.shape[0], 0, width - image.shape[1], cv2.BORDER_CONSTANT, value=(114, 114, 114)
        )
        if (height, width) not in self._compiled:
            model = self._model.clone()
            model.reshape([1, height, width, 3])
            self._compiled[height, width] = self._core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 2})
        maps = self._compiled[height, width]([padded[None]])
        boxes, scores = decode(maps["heatmap"], maps["size"], maps["offset"])
        return boxes / np.float32(self._scale), scores


def covered_share(plate: Boxes, boxes: Boxes) -> float:
    """The share of a plate's box [4] under the union of the grown boxes [n, 4]; exact, over the boxes' own edges."""
    if not len(boxes):
        return 0.0
    reach = (boxes[:, 2:] - boxes[:, :2]) * GROWTH
    grown = np.concatenate((boxes[:, :2] - reach, boxes[:, 2:] + reach), 1)
    grown = np.clip(grown, np.tile(plate[:2], 2), np.tile(plate[2:], 2))
    xs, ys = (np.unique(np.concatenate((grown[:, axis], grown[:, axis + 2]))) for axis in (0, 1))
    if len(xs) < 2 or len(ys) < 2:
        return 0.0
    middle_x, middle_y = (xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2
    inside_x = (grown[:, None, 0] <= middle_x) & (middle_x <= grown[:, None, 2])
    inside_y = (grown[:, None, 1] <= middle_y) & (middle_y <= grown[:, None, 3])
    under = (inside_y[:, :, None] & inside_x[:, None, :]).any(0)
    area = float((under * np.diff(ys)[:, None] * np.diff(xs)[None]).sum())
    return area / max(float((plate[2:] - plate[:2]).prod()), 1e-6)


@dataclass(frozen=True)
class Seen:
    """One scene's plates [n, 4] and what the detector said: boxes [m, 4], scores [m].

    Boxes that lie mostly in a place where nobody can tell are left out.
    """

    plates: Boxes
    boxes: Boxes
    scores: Boxes


def look(detector: Detector, scenes: list[Scene]) -> list[Seen]:
    result: list[Seen] = []
    for scene in scenes:
        boxes, scores = detector(np.asarray(cv2.imread(str(scene.path)), np.uint8))
        told = ~inside(boxes, scene.ignored)
        if len(scene.boxes) and len(boxes):
            told |= overlaps(boxes, scene.boxes).max(1) >= 0.5
        result.append(Seen(scene.boxes, boxes[told], scores[told]))
    return result


def inside(boxes: Boxes, places: Boxes) -> NDArray[np.bool_]:
    """Which boxes [n, 4] have at least half of their area in one of the places [m, 4], as COCO's crowds count."""
    if not len(places) or not len(boxes):
        return np.zeros(len(boxes), bool)
    low = np.maximum(boxes[:, None, :2], places[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], places[None, :, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return np.asarray((np.clip(high - low, 0, None).prod(-1) >= 0.5 * areas[:, None]).any(1))


def matches(seen: Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each box whether it finds a plate of its own at IoU 0.5, best first; for each plate whether it is found."""
    hit, found = np.zeros(len(seen.boxes), bool), np.zeros(len(seen.plates), bool)
    if not len(seen.plates) or not len(seen.boxes):
        return hit, found
    table = overlaps(seen.boxes, seen.plates)
    for index in np.argsort(-seen.scores, kind="stable"):
        free = np.where(found, -1.0, table[index])
        best = int(free.argmax())
        if free[best] >= 0.5:
            hit[index], found[best] = True, True
    return hit, found


def average_precision(all_seen: list[Seen]) -> float:
    """AP at IoU 0.5, interpolated at 101 recall points."""
    hits = np.concatenate([matches(seen)[0] for seen in all_seen])
    scores = np.concatenate([seen.scores for seen in all_seen])
    hits = hits[np.argsort(-scores, kind="stable")]
    recall = np.cumsum(hits) / max(sum(len(seen.plates) for seen in all_seen), 1)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([envelope[place] if place < len(envelope) else 0.0 for place in places]))


def figures_at(all_seen: list[Seen], threshold: float) -> dict[str, Any]:
    """Precision, recall, coverage by width and false boxes per image when boxes from this score on count."""
    hits = boxes = 0
    width: list[float] = []
    found: list[bool] = []
    covered: list[bool] = []
    for seen in all_seen:
        strong = Seen(seen.plates, seen.boxes[seen.scores >= threshold], seen.scores[seen.scores >= threshold])
        hit, got = matches(strong)
        hits, boxes = hits + int(hit.sum()), boxes + len(hit)
        found += got.tolist()
        covered += [covered_share(plate, strong.boxes) >= COVERED_SHARE for plate in strong.plates]
        width += (strong.plates[:, 2] - strong.plates[:, 0]).tolist()
    widths, cover, recall = np.array(width), np.array(covered, bool), np.array(found, bool)
    buckets = {name: (widths >= low) & (widths < high) for name, (low, high) in BUCKETS.items()}
    buckets = {"overall": widths >= 0, ">=16": widths >= 16, **buckets}

    def by_width(values: NDArray[np.bool_]) -> dict[str, float | None]:
        return {name: round(float(values[here].mean()), 4) if here.any() else None for name, here in buckets.items()}

    return {
        "threshold": round(threshold, 3),
        "precision": round(hits / max(boxes, 1), 4),
        "recall": by_width(recall),
        "coverage": by_width(cover),
        "plates": {name: int(here.sum()) for name, here in buckets.items()},
        "false_boxes_per_image": round((boxes - hits) / max(len(all_seen), 1), 4),
    }


def choose_threshold(dev: list[Seen], false_boxes_per_image: float) -> float:
    """The lowest score at which the development part stays within the allowed false boxes."""
    for threshold in np.arange(0.06, 0.9, 0.01):
        if figures_at(dev, float(threshold))["false_boxes_per_image"] <= false_boxes_per_image:
            return round(float(threshold), 2)
    return 0.9


def images_per_second(path: Path, seconds: float = 10.0) -> dict[str, float]:
    """Throughput at 1280x736 on two threads with the asynchronous queue, and the processor time per image."""
    core = ov.Core()
    model = core.read_model(path)
    model.reshape([1, 736, 1280, 3])
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": 2})
    queue = ov.AsyncInferQueue(compiled)
    image = np.random.default_rng(1).integers(0, 255, (1, 736, 1280, 3), np.uint8)
    for _ in range(10):
        queue.start_async([image])
    queue.wait_all()
    count, begun, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() - begun < seconds:
        for _ in range(10):
            queue.start_async([image])
        queue.wait_all()
        count += 10
    wall, used = time.monotonic() - begun, time.process_time() - used
    return {"images_per_second": round(count / wall, 1), "processor_ms_per_image": round(used / count * 1000, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="measure a plate detector; prints JSON")
    parser.add_argument("--model", type=Path, required=True, help="an .xml of models/plate")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of the training run (keeps the split's groups)"
    )
    parser.add_argument("--part", choices=["train", "dev", "validation"], default="validation")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
    parser.add_argument("--scale", type=float, default=1.0, help="enlarge the images before detection")
    parser.add_argument("--speed", action="store_true", help="measure only the speed")
    arguments = parser.parse_args()
    if arguments.speed:
        print(json.dumps(images_per_second(arguments.model)))
        return
    scenes = split_scenes(arguments.data, arguments.work / "groups.json")[arguments.part]
    seen = look(Detector(arguments.model, arguments.scale), scenes)
    print(json.dumps({"ap50": round(average_precision(seen), 4), "images": len(seen)}))
    for threshold in arguments.thresholds:
        print(json.dumps(figures_at(seen, threshold)))


if __name__ == "__main__":
    main()
