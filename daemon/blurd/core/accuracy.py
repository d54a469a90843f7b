"""How good a detector is: the field's measures, and the two that matter for privacy. Pure.

Definitions
* A detection matches an object where their intersection over union (IoU) reaches a threshold; detections choose in the
  order of falling score, each the free object with the largest IoU (Lin et al., Microsoft COCO, 2014; its evaluation
  code). An object that is ignored or a crowd counts neither way, nor does a detection that matches only such an object;
  with a crowd the intersection is divided by the detection's area.
* Precision is the share of detections that match, recall the share of objects that are matched, F1 their harmonic mean
  (Powers, Evaluation: from precision, recall and F-measure to ROC, informedness, markedness and correlation, 2011).
* Average precision (AP) is the mean of the interpolated precision at the 101 recalls 0, 0.01, ... 1 (COCO); `ap50` at
  IoU 0.5, `ap` the mean over the ten IoU thresholds 0.50, 0.55, ... 0.95.
* **Coverage** is the share of objects that lie with at least `COVERED_SHARE` of their box under the union of the
  detections' boxes, each grown on every side by a share of its own size and cut at the picture's border.
* **Over-blur** is the area under those grown boxes and outside every object, as a share of the picture, averaged over
  pictures.

Boxes are (left, top, right, bottom) in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurd.core.geometry import areas, clip, coverage, grow, intersection_over_union, union_area
from blurd.records import Box, Category, Detection

Boxes = NDArray[np.float64]
"""(n, 4): left, top, right, bottom."""

COVERED_SHARE = 0.9
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
WIDTH_CLASSES: tuple[tuple[str, float, float], ...] = (
    ("<16", 0.0, 16.0),
    ("16-32", 16.0, 32.0),
    ("32-96", 32.0, 96.0),
    (">96", 96.0, float("inf")),
)
"""Name, least width (inclusive) and end (exclusive) of the classes that coverage is split by, in pixels."""


@dataclass(frozen=True, slots=True)
class Object:
    """One annotated object: (left, top, right, bottom) in pixels; `ignored` and `crowd` objects count neither way."""

    category: Category
    box: tuple[float, float, float, float]
    ignored: bool
    crowd: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One picture with the objects of one category, and what was detected in it.

    `truth` is (n, 4), `ignored` and `crowd` are (n,), `found` is (m, 4) with `scores` (m,) in falling order.
    """

    width_px: int
    height_px: int
    truth: Boxes
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    found: Boxes
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, width_px: int, height_px: int, objects: Sequence[Object], hits: Sequence[Detection]) -> "Scene":
        """A scene from its objects and from the detections of the same category, in any order."""
        ranked = sorted(hits, key=lambda hit: -hit.score)
        found = [(hit.box.left, hit.box.top, hit.box.right, hit.box.bottom) for hit in ranked]
        return cls(
            width_px=width_px,
            height_px=height_px,
            truth=np.array([item.box for item in objects], np.float64).reshape(-1, 4),
            ignored=np.array([item.ignored for item in objects], np.bool_),
            crowd=np.array([item.crowd for item in objects], np.bool_),
            found=np.array(found, np.float64).reshape(-1, 4),
            scores=np.array([hit.score for hit in ranked], np.float64),
        )

    def at(self, threshold: float) -> "Scene":
        """The scene with the detections at or above a score only."""
        count = int(np.searchsorted(-self.scores, -threshold, side="right"))
        return Scene(
            self.width_px,
            self.height_px,
            self.truth,
            self.ignored,
            self.crowd,
            self.found[:count],
            self.scores[:count],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """For each detection of a scene: whether it counts at all, whether it matches, and its IoU where it does."""

    counts: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    overlaps: NDArray[np.float64]


def overlaps(scene: Scene) -> NDArray[np.float64]:
    """(m, n): intersection over union; over the detection's own area where the object is a crowd."""
    table = intersection_over_union(scene.found, scene.truth)
    own, theirs = areas(scene.found)[:, None], areas(scene.truth)[None, :]
    inside = table * (own + theirs) / (1.0 + table)
    return np.where(scene.crowd[None, :], inside / np.maximum(own, 1e-9), table)


def match(scene: Scene, iou_threshold: float) -> Matches:
    """Greedy matching in the order of falling score, as COCO does it."""
    table = overlaps(scene)
    ignored = scene.ignored | scene.crowd
    free = np.ones(len(scene.truth), np.bool_)
    counts = np.ones(len(scene.found), np.bool_)
    hits = np.zeros(len(scene.found), np.bool_)
    best = np.zeros(len(scene.found))
    for index, row in enumerate(table):
        for candidates in (free & ~ignored, ignored & (free | scene.crowd)):
            allowed = np.where(candidates & (row >= iou_threshold), row, -1.0)
            if not allowed.size or allowed.max() < 0:
                continue
            # Among equals COCO keeps the last one.
            chosen = len(allowed) - 1 - int(np.argmax(allowed[::-1]))
            free[chosen] = False
            if ignored[chosen]:
                counts[index] = False
            else:
                hits[index], best[index] = True, row[chosen]
            break
    return Matches(counts, hits, best)


def average_precision(scenes: Sequence[Scene], iou_threshold: float) -> float:
    """AP over all scenes at one IoU threshold; not a number where there is no object."""
    precision = precision_at_recalls(scenes, iou_threshold)
    return float(precision.mean()) if precision.size else float("nan")


def precision_at_recalls(scenes: Sequence[Scene], iou_threshold: float) -> NDArray[np.float64]:
    """(101,): interpolated precision at `RECALL_POINTS`; empty where there is no object."""
    objects = sum(int((~(scene.ignored | scene.crowd)).sum()) for scene in scenes)
    if objects == 0:
        return np.zeros(0)
    matched = [match(scene, iou_threshold) for scene in scenes]
    scores = np.concatenate([scene.scores[item.counts] for scene, item in zip(scenes, matched, strict=True)])
    hits = np.concatenate([item.hits[item.counts] for item in matched])[np.argsort(-scores, kind="stable")]
    true, false = np.cumsum(hits), np.cumsum(~hits)
    recall = true / objects
    precision = true / np.maximum(true + false, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALL_POINTS, side="left")
    return np.where(at < len(envelope), np.append(envelope, 0.0)[np.minimum(at, len(envelope))], 0.0)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a detector does at one threshold."""

    threshold: float
    precision: float
    recall: float
    f1: float
    mean_iou: float
    coverage: float
    false_boxes_per_image: float
    false_positive_rate: float
    over_blur: float


def operating_point(scenes: Sequence[Scene], threshold: float, growth: float) -> OperatingPoint:
    """All measures at one threshold. `growth` is the documented default of the category's masks."""
    cut = [scene.at(threshold) for scene in scenes]
    matched = [match(scene, IOU_THRESHOLDS[0]) for scene in cut]
    hits = sum(int(item.hits.sum()) for item in matched)
    false = [int((item.counts & ~item.hits).sum()) for item in matched]
    objects = sum(int((~(scene.ignored | scene.crowd)).sum()) for scene in cut)
    precision = hits / (hits + sum(false)) if hits + sum(false) else 1.0
    recall = hits / objects if objects else 1.0
    empty = [number for scene, number in zip(cut, false, strict=True) if len(scene.truth) == 0]
    overlap = np.concatenate([item.overlaps[item.hits] for item in matched]) if matched else np.zeros(0)
    return OperatingPoint(
        threshold=threshold,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        mean_iou=float(overlap.mean()) if overlap.size else 0.0,
        coverage=coverage_by_width(cut, growth)["overall"],
        false_boxes_per_image=sum(false) / max(len(cut), 1),
        false_positive_rate=sum(1 for number in empty if number) / len(empty) if empty else float("nan"),
        over_blur=float(np.mean([over_blur(scene, growth) for scene in cut])) if cut else 0.0,
    )


def grown(scene: Scene, growth: float) -> tuple[Box, ...]:
    """The detections' boxes grown on every side and cut at the picture's border; those outside it are left out."""
    boxes = (clip(grow(Box(*row), growth), scene.width_px, scene.height_px) for row in scene.found.tolist())
    return tuple(box for box in boxes if box is not None)


def coverage_by_width(scenes: Sequence[Scene], growth: float) -> dict[str, float]:
    """Coverage overall and by the objects' width; not a number for a class without objects."""
    widths: list[float] = []
    covered: list[bool] = []
    for scene in scenes:
        masks = grown(scene, growth)
        for row in scene.truth[~(scene.ignored | scene.crowd)].tolist():
            widths.append(row[2] - row[0])
            covered.append(coverage(Box(*row), masks) >= COVERED_SHARE)
    width, hit = np.array(widths), np.array(covered, np.bool_)
    chosen = {"overall": np.ones(len(width), np.bool_)}
    chosen |= {name: (width >= least) & (width < end) for name, least, end in WIDTH_CLASSES}
    return {name: float(hit[index].mean()) if index.any() else float("nan") for name, index in chosen.items()}


def over_blur(scene: Scene, growth: float) -> float:
    """Share of the picture under grown detections and outside every object."""
    objects = tuple(Box(*row) for row in scene.truth.tolist())
    outside = union_area((*grown(scene, growth), *objects)) - union_area(objects)
    return float(outside) / (scene.width_px * scene.height_px)
