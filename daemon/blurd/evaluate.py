"""`blurd evaluate`: the product's own detection, measured on an annotated set.

What is measured is what runs: the configured models, scales and thresholds, through the same detector that masks.
Annotations are in the coordinates of the upright picture.

Invariant: a picture that can't be read ends the evaluation; figures over a part of the set would mislead.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blurd import __version__
from blurd.adapters.coco import AnnotatedImage, AnnotatedSet, missing_files, read_annotations
from blurd.adapters.files import sha256_of
from blurd.adapters.folders import InboundFolder
from blurd.config import Policy, Settings
from blurd.core.accuracy import (
    IOU_THRESHOLDS,
    OperatingPoint,
    Scene,
    average_precision,
    coverage_by_width,
    operating_point,
    precision_at_recalls,
)
from blurd.equipment import build_codec, build_detector, mask_rules
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.ports import MediaCodec
from blurd.records import Category, RgbPicture

SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The figures of one category. Shares are 0..1, times milliseconds; what is not defined is None."""

    category: Category
    growth: float
    point: OperatingPoint
    average_precisions: Mapping[float, float]
    coverage: Mapping[str, float]
    objects: int
    latencies_ms: tuple[float, ...]
    sweep: tuple[OperatingPoint, ...]
    precision_at_recall: tuple[float, ...]
    model_hash: str

    @property
    def ap(self) -> float:
        """COCO's AP: the mean over the IoU thresholds 0.50 to 0.95."""
        return float(np.mean(list(self.average_precisions.values())))

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        point = {key: value for key, value in asdict(self.point).items() if key != "coverage"}
        return {
            **{key: point[key] for key in ("precision", "recall", "f1")},
            "ap50": self.average_precisions[IOU_THRESHOLDS[0]],
            "ap": self.ap,
            "coverage": dict(self.coverage),
            **{key: value for key, value in point.items() if key not in ("precision", "recall", "f1")},
            "latency_ms": {
                "median": float(np.median(self.latencies_ms)),
                "p95": float(np.percentile(self.latencies_ms, 95)),
            },
            "objects": self.objects,
            "growth": self.growth,
            "ap_by_iou": {f"{level:.2f}": value for level, value in self.average_precisions.items()},
            "sweep": [asdict(item) for item in self.sweep],
            "model_sha256": self.model_hash,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The whole result."""

    results: tuple[ClassResult, ...]
    images: int
    seconds: float
    device: str
    data_sha256: str
    settings_sha256: str

    @property
    def mean_average_precision(self) -> float:
        """MAP: the mean of the categories' AP."""
        return float(np.mean([result.ap for result in self.results]))

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON: what is not a number becomes None."""
        value: dict[str, Any] = {
            "classes": {str(result.category): result.as_json() for result in self.results},
            "images_per_second": self.images / self.seconds if self.seconds else None,
            "map": self.mean_average_precision,
            "images": self.images,
            "device": self.device,
            "version": __version__,
            "data_sha256": self.data_sha256,
            "settings_sha256": self.settings_sha256,
        }
        return {key: _without_nan(item) for key, item in value.items()}


def evaluate(
    settings: Settings,
    policy: Policy,
    annotations: Path,
    folder: Path,
    wanted: Sequence[Category] | None,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """Measure detection on a set; all that it annotates, where nothing is `wanted`.

    Raises `EquipmentError` with a detail that says what is wrong with the set.
    """
    annotated = read_annotations(annotations, (*policy.classes, *(wanted or ())))
    categories = wanted or sorted(annotated.categories)
    absent = [category for category in categories if category not in annotated.categories]
    if absent:
        raise EquipmentError(Reason.ANNOTATIONS_INVALID, "evaluate", f"The set does not annotate {absent[0]}.")
    if not annotated.images:
        raise EquipmentError(Reason.ANNOTATIONS_INVALID, "evaluate", "The set has no images.")
    if missing := missing_files(annotated.images, folder):
        detail = f"{len(missing)} images are not in {folder}, the first is {missing[0]}."
        raise EquipmentError(Reason.ANNOTATIONS_INVALID, "evaluate", detail)
    codec = build_codec(settings.limits, policy)
    results: list[ClassResult] = []
    data_sha256, device = "", ""
    for number, category in enumerate(categories):
        share = partial(_advance, progress, number * len(annotated.images), len(categories) * len(annotated.images))
        measured = _Measured(settings, policy, category)
        data_sha256 = measured.run(codec, annotated, folder, share)
        device = measured.device
        results.append(measured.result())
    seconds = sum(sum(result.latencies_ms) for result in results) / 1000
    return Evaluation(tuple(results), len(annotated.images), seconds, device, data_sha256, policy.hash)


def _advance(progress: Callable[[int, int], None], before: int, total: int, count: int) -> None:
    progress(before + count, total)


class _Measured:
    """One category's detector on one set."""

    def __init__(self, settings: Settings, policy: Policy, category: Category) -> None:
        self._category = category
        self._growth = policy.mask.of(category).growth
        self._detector = build_detector(settings, policy, (category,))
        rules = mask_rules(policy.model_copy(update={"classes": (category,)}), self._detector)
        self._threshold = rules.start_threshold(category)
        self._scenes: list[Scene] = []
        self._latencies_ms: list[float] = []
        self.device = str(self._detector.device)

    def run(self, codec: MediaCodec, annotated: AnnotatedSet, folder: Path, progress: Callable[[int], None]) -> str:
        """Detect on every picture; returns the SHA-256 over annotations and pictures."""
        digest = hashlib.sha256(annotated.sha256.encode())
        with InboundFolder(folder) as inbound:
            for number, image in enumerate(annotated.images, start=1):
                picture, sha256 = _read(codec, inbound, image)
                digest.update(sha256.encode())
                if number == 1:
                    self._detector.detect(picture)  # the first inference also compiles
                self._add(picture, image)
                progress(number)
        return digest.hexdigest()

    def _add(self, picture: RgbPicture, image: AnnotatedImage) -> None:
        started_s = time.perf_counter()
        found = self._detector.detect(picture)
        self._latencies_ms.append(1000 * (time.perf_counter() - started_s))
        hits = [hit for hit in found if hit.category is self._category]
        objects = [item for item in image.annotations if item.category is self._category]
        self._scenes.append(Scene.of(picture.shape[1], picture.shape[0], objects, hits))

    def result(self) -> ClassResult:
        """The figures over all pictures."""
        scenes, growth = self._scenes, self._growth
        cut = [scene.at(self._threshold) for scene in scenes]
        return ClassResult(
            category=self._category,
            growth=growth,
            point=operating_point(scenes, self._threshold, growth),
            average_precisions={level: average_precision(scenes, level) for level in IOU_THRESHOLDS},
            coverage=coverage_by_width(cut, growth),
            objects=sum(int((~(scene.ignored | scene.crowd)).sum()) for scene in scenes),
            latencies_ms=tuple(self._latencies_ms),
            sweep=tuple(operating_point(scenes, threshold, growth) for threshold in SWEEP),
            precision_at_recall=tuple(precision_at_recalls(scenes, IOU_THRESHOLDS[0]).tolist()),
            model_hash=self._detector.model_hash,
        )


def _read(codec: MediaCodec, inbound: InboundFolder, image: AnnotatedImage) -> tuple[RgbPicture, str]:
    try:
        with inbound.open(image.file_name, allow_hard_links=True) as file:
            sha256 = sha256_of(file)
            picture: RgbPicture = next(codec.open(file).frames()).rgb()
            return picture, sha256
    except BlurdError as error:
        detail = f"{image.file_name} can't be read ({error.reason})."
        raise EquipmentError(Reason.ANNOTATIONS_INVALID, "evaluate", detail) from error


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
