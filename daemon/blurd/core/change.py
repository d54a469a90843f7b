"""What changed from frame to frame: which parts must be looked at again, and which frames need no look of their own.

A frame is known by the means of small blocks of its upright picture in each of its channels (brightness and colour):
(rows, columns, channels), uint8. Pure.

The rule, and why it is safe
* A block is *unchanged* while its mean stays within `tolerance` of what it was when a detector last looked at it, not
  of the frame before: what fades in slowly adds up until it is looked at.
  Single rows of changed blocks don't count before they grow: what is seen at all is larger than two blocks.
* Where nothing is changed, what was found there is still there, and nothing else is.
* A frame between two analysed ones may be left out where each of its blocks lies, within `tolerance`, between what it
  is in the analysed frame before and in the one after: what moves slowly, or goes over from one to the other. A thing
  that is seen in this frame alone differs from both.
* Changed parts are looked at with a margin, whole things that were known there included.

Noise of a camera stays well under `tolerance`: the mean of 16 samples has a quarter of their deviation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from blurd.records import Box

_MOST_ROUNDS = 8
_MOST_PARTS = 64

Blocks = NDArray[np.uint8]
BlockMask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """When a frame is looked at, and where.

    `tolerance` is in levels of 255. At most `most_between` frames in a row, and never more than
    `longest_between_s`, are left to the frames around them; where anything changes, the whole picture is looked at
    every `refresh_s`. Regions have `margin_px` around what changed. Each look costs as much as `look_share` of the
    picture besides its own area; where regions cost more than `most_share` of a look at the whole, that is taken. The
    sides of regions grow to one of `sides_px`, for each new size costs a network some time.
    """

    tolerance: int = 6
    most_between: int = 3
    longest_between_s: float = 0.21
    refresh_s: float = 5.0
    margin_px: int = 24
    look_share: float = 0.12
    most_share: float = 0.9
    sides_px: tuple[int, ...] = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
    cut_levels: int = 18
    cut_share: float = 0.55


def changed(reference: Blocks, current: Blocks, rule: ChangeRule) -> BlockMask:
    """The blocks that differ from what a detector last saw there, but for lines thinner than two blocks."""
    return _without_lines(_distance(reference, current) > rule.tolerance)


def unexplained(before: Blocks, current: Blocks, after: Blocks, rule: ChangeRule) -> BlockMask:
    """The blocks that do not lie between the analysed frames around."""
    nearest = np.clip(current, np.minimum(before, after), np.maximum(before, after))
    return _without_lines(_distance(current, nearest) > rule.tolerance)


def is_cut(previous: Blocks, current: Blocks, rule: ChangeRule) -> bool:
    """True where most of the picture is another one; a mere change of light is none."""
    shift = current[:, :, 0].astype(np.int16) - previous[:, :, 0]
    return bool((np.abs(shift - int(np.median(shift))) > rule.cut_levels).mean() > rule.cut_share)


def regions(
    wanted: BlockMask, whole_things: Iterable[Box], width_px: int, height_px: int, rule: ChangeRule
) -> tuple[Box, ...] | None:
    """The parts of the picture, in whole pixels, to look at for these blocks; None for the whole picture.

    Each of `whole_things` that a part touches lies wholly within it.
    """
    rows, columns = wanted.shape
    across, down = width_px / columns, height_px / rows
    labels, _ = ndimage.label(ndimage.binary_dilation(wanted, np.ones((3, 3), np.bool_), iterations=2))
    parts = [
        Box(span[1].start * across, span[0].start * down, span[1].stop * across, span[0].stop * down)
        for span in ndimage.find_objects(labels)
    ]
    things = list(whole_things)
    look_px = rule.look_share * width_px * height_px
    for _ in range(_MOST_ROUNDS):
        shown = [_fitted(part, width_px, height_px, rule) for part in parts]
        if len(shown) > _MOST_PARTS:
            return None
        around = [_around(part, region, things) for part, region in zip(parts, shown, strict=True)]
        grown = _joined(around, shown, look_px)
        if grown == parts:
            cost = sum(part.area + look_px for part in shown)
            return tuple(shown) if cost < rule.most_share * (width_px * height_px + look_px) else None
        parts = grown
    return None


def blocks_under(box: Box, shape: Sequence[int], width_px: int, height_px: int) -> tuple[slice, slice]:
    """The rows and columns of blocks that lie wholly under a box of the picture."""
    rows, columns = shape[:2]
    across, down = width_px / columns, height_px / rows
    return (
        slice(int(np.ceil(box.top / down - 1e-9)), int(np.floor(box.bottom / down + 1e-9))),
        slice(int(np.ceil(box.left / across - 1e-9)), int(np.floor(box.right / across + 1e-9))),
    )


def meets(first: Box, second: Box) -> bool:
    """True where two boxes share some area."""
    return (
        first.left < second.right
        and second.left < first.right
        and first.top < second.bottom
        and second.top < first.bottom
    )


def hull(first: Box, second: Box) -> Box:
    """The smallest box around two."""
    return Box(
        min(first.left, second.left),
        min(first.top, second.top),
        max(first.right, second.right),
        max(first.bottom, second.bottom),
    )


def _without_lines(blocks: BlockMask) -> BlockMask:
    """The blocks that belong to a square of two by two: edges that tremble are thinner, a face is not."""
    square = blocks[:-1, :-1] & blocks[1:, :-1] & blocks[:-1, 1:] & blocks[1:, 1:]
    kept = np.zeros_like(blocks)
    for rows, columns in (
        (slice(None, -1), slice(None, -1)),
        (slice(1, None), slice(None, -1)),
        (slice(None, -1), slice(1, None)),
        (slice(1, None), slice(1, None)),
    ):
        kept[rows, columns] |= square
    return kept if min(blocks.shape) > 1 else blocks


def _distance(first: Blocks, second: Blocks) -> NDArray[np.uint8]:
    """How far two pictures' blocks are apart, in the channel where they are furthest."""
    apart = np.maximum(first, second) - np.minimum(first, second)
    most: NDArray[np.uint8] = apart[:, :, 0]
    for channel in range(1, apart.shape[2]):
        most = np.maximum(most, apart[:, :, channel])
    return most


def _around(part: Box, region: Box, things: Sequence[Box]) -> Box:
    """The part with all things that the region around it touches."""
    for thing in things:
        if meets(region, thing):
            part = hull(part, thing)
    return part


def _joined(parts: Sequence[Box], regions: Sequence[Box], look_px: float) -> list[Box]:
    """Parts whose regions meet, or cost less when looked at as one, become one."""
    apart: list[tuple[Box, Box]] = []
    for one in zip(parts, regions, strict=True):
        part, region = one
        touching = [
            other
            for other in apart
            if meets(region, other[1]) or hull(region, other[1]).area <= region.area + other[1].area + look_px
        ]
        apart = [other for other in apart if other not in touching]
        for other in touching:
            part, region = hull(part, other[0]), hull(region, other[1])
        apart.append((part, region))
    return [part for part, _ in apart]


def _fitted(part: Box, width_px: int, height_px: int, rule: ChangeRule) -> Box:
    left, right = _span(part.left - rule.margin_px, part.right + rule.margin_px, width_px, rule)
    top, bottom = _span(part.top - rule.margin_px, part.bottom + rule.margin_px, height_px, rule)
    return Box(left, top, right, bottom)


def _span(start: float, stop: float, limit_px: int, rule: ChangeRule) -> tuple[int, int]:
    """Whole pixels around start..stop, grown to one of the usual lengths, within 0..limit."""
    length = min(limit_px, int(np.ceil(stop)) - int(np.floor(start)))
    length = min(limit_px, next((side for side in rule.sides_px if side >= length), limit_px))
    middle = (start + stop) / 2
    first = int(min(max(0, round(middle - length / 2)), limit_px - length))
    first = min(first, max(0, int(np.floor(start))))
    return first, first + length
