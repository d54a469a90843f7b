"""The face detector's figures, as models/centerface/CARD.md shows them.

Usage: python tests/bench/face_coverage.py [--data DIR] [--models DIR] [--profile NAME] [--scenes N] [--threads N]

Runs the product's own detector over an annotated set (COCO, class `face`) and prints, for each threshold: coverage,
false boxes a picture, over-blur (the definitions stand in blurd/core/accuracy.py), and `lone`, a milder count of
false boxes: those whose centre lies in no face. Then coverage by width at the start threshold, what comes of choosing
the threshold on one half of the scenes and applying it to the other, and the time a picture takes.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from blurd.adapters.coco import AnnotatedImage, read_annotations
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.models import load_models
from blurd.core.accuracy import Scene, coverage_by_width, operating_point
from blurd.records import Category

ROOT = Path(__file__).resolve().parents[2]
GROWTH = 0.3
"""The documented default of `mask.face.growth`."""
FALSE_BOXES_ALLOWED = 3.0
HELD_OUT_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Measured:
    """A scene with what was found in it, and how long that took."""

    scene: Scene
    seconds: float


def look(detector: OpenVinoDetector, image: AnnotatedImage, folder: Path) -> Measured:
    """Detect in one picture of the set."""
    pixels = cv2.imread(str(folder / image.file_name))
    if pixels is None:
        raise SystemExit(f"{folder / image.file_name} can't be read")
    picture = np.ascontiguousarray(pixels[:, :, ::-1]).astype(np.uint8)
    started_s = time.perf_counter()
    found = [hit for hit in detector.detect(picture) if hit.category is Category.FACE]
    seconds = time.perf_counter() - started_s
    faces = [item for item in image.annotations if item.category is Category.FACE]
    scene = Scene.of(picture.shape[1], picture.shape[0], faces, found)
    return Measured(scene, seconds)


def lone(scene: Scene) -> int:
    """Detections whose centre lies in no face."""
    centres = (scene.found[:, :2] + scene.found[:, 2:]) / 2
    inside = (scene.truth[None, :, :2] <= centres[:, None]) & (centres[:, None] <= scene.truth[None, :, 2:])
    return len(centres) - int(np.count_nonzero(np.any(np.all(inside, axis=2), axis=1)))


def row(scenes: Sequence[Scene], threshold: float) -> str:
    """One line of the table."""
    point = operating_point(scenes, threshold, GROWTH)
    mild = sum(lone(scene.at(threshold)) for scene in scenes) / len(scenes)
    return (
        f"| {threshold:.2f} | {point.coverage:.3f} | {point.false_boxes_per_image:.2f} | {mild:.2f} "
        f"| {point.over_blur:.3f} | {point.precision:.3f} | {point.recall:.3f} | {point.mean_iou:.3f} |"
    )


def held_out(scenes: Sequence[Scene]) -> str:
    """The threshold chosen on a random half of the scenes, as low as they allow, and applied to the others."""
    steps = np.arange(0.10, 0.60, 0.01).tolist()
    false = np.array(
        [[operating_point([scene], step, GROWTH).false_boxes_per_image for scene in scenes] for step in steps]
    )
    random = np.random.default_rng(0)
    results: list[tuple[float, float]] = []
    for _ in range(HELD_OUT_ROUNDS):
        order = random.permutation(len(scenes))
        chosen_on, applied_to = order[::2], order[1::2]
        allowed = false[:, chosen_on].mean(axis=1) <= FALSE_BOXES_ALLOWED
        step = steps[int(np.argmax(allowed))]
        point = operating_point([scenes[index] for index in applied_to], step, GROWTH)
        results.append((point.coverage, point.false_boxes_per_image))
    mean, deviation = np.mean(results, axis=0), np.std(results, axis=0)
    return (
        f"Threshold chosen on a random half for {FALSE_BOXES_ALLOWED:g} false boxes, applied to the other: "
        f"coverage {mean[0]:.3f} +- {deviation[0]:.3f}, false boxes {mean[1]:.2f} +- {deviation[1]:.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The face detector's figures.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "faces")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--profile", default="thorough")
    parser.add_argument("--scenes", type=int, default=None, help="only the first so many scenes")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    detector = OpenVinoDetector(
        load_models(arguments.models),
        categories=frozenset({Category.FACE}),
        device="CPU",
        cache_directory=None,
        profile=arguments.profile,
        threads=arguments.threads,
    )
    images = read_annotations(arguments.data / "annotations.json").images[: arguments.scenes]
    measured = [look(detector, image, arguments.data / "images") for image in images]
    scenes, seconds = [item.scene for item in measured], [item.seconds for item in measured]
    start = detector.start_threshold(Category.FACE)
    lines = [
        f"{len(scenes)} scenes, {sum(len(scene.truth) for scene in scenes)} faces, profile {arguments.profile}",
        "| score | coverage | false boxes | lone | over-blur | precision | recall | mean IoU |",
        "|---|---|---|---|---|---|---|---|",
        *(row(scenes, threshold) for threshold in sorted({0.12, 0.15, 0.2, 0.22, 0.25, 0.3, 0.4, 0.5, start})),
        f"By width at {start:.2f}: "
        + ", ".join(
            f"{name} px {share:.3f}"
            for name, share in coverage_by_width([scene.at(start) for scene in scenes], GROWTH).items()
        ),
    ]
    lines.append(held_out(scenes))
    lines.append(f"Seconds a picture: median {np.median(seconds):.3f}, 95 % {np.percentile(seconds, 95):.3f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
