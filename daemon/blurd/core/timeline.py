"""From detections to masks. Pure.

Invariants
* Every hit at or above its category's start threshold is masked; nothing is masked below it.
* A mask's box contains its detection's box, grown on each side by a share of the box's own size.
* A repair only adds masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blurd.core.geometry import grow
from blurd.records import Category, Detection, Mask, MaskShape, MaskStyle, Timeline

REPAIR_GROWTH = 0.3
"""Growth of the solid mask over a detection that was left, on each side; doubled for each generous repair."""


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """How one category is masked: from which score, in what outline, grown by what share on each side."""

    start_threshold: float
    shape: MaskShape
    growth: float


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How a folder masks."""

    style: MaskStyle
    categories: Mapping[Category, CategoryRule]

    def start_threshold(self, category: Category) -> float:
        """The score from which a hit is masked; infinite for a category that the folder does not mask."""
        rule = self.categories.get(category)
        return rule.start_threshold if rule is not None else float("inf")


def masks_of(detections: Sequence[Detection], rules: MaskRules) -> tuple[Mask, ...]:
    """The masks for one frame's detections."""
    return tuple(
        Mask(grow(detection.box, rules.categories[detection.category].growth), shape, rules.style)
        for detection in detections
        if detection.score >= rules.start_threshold(detection.category)
        for shape in (rules.categories[detection.category].shape,)
    )


def repair(timeline: Timeline, leaks: Sequence[Sequence[Detection]], generosity: int) -> Timeline:
    """The timeline with a solid rectangle over each leak; `generosity` doubles its growth so many times."""
    growth = REPAIR_GROWTH * 2**generosity
    return Timeline(
        tuple(
            (*masks, *(Mask(grow(leak.box, growth), MaskShape.RECTANGLE, MaskStyle.SOLID) for leak in found))
            for masks, found in zip(timeline.frames, leaks, strict=True)
        )
    )
