"""Outlines: how a thing lies in its box, as a detector that gives masks tells it. Pure.

An outline is the smallest polygon around the thing whose sides have the 16 directions of a compass. It is kept as 16
numbers: for each direction how far the thing reaches that way from the box's middle, where the box is a unit square.
So an outline moves, grows, and is mirrored along with its box, it takes 16 numbers whatever the thing's shape, and it
never leaves out a part of the thing.

Invariants
* `polygon` contains every point that `outline_of` was given.
* Of two outlines in the same box the larger number in each direction gives one that contains both.
* An outline in a box that grew on all sides by the same share of its size contains the one before.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blurd.records import Box, Point

_ANGLES: Final = tuple(math.tau * step / 16 for step in range(16))
DIRECTIONS: Final[NDArray[np.float64]] = np.array([(math.cos(angle), math.sin(angle)) for angle in _ANGLES])
"""(16, 2): clockwise from the right."""
DIRECTIONS.setflags(write=False)
WHOLE: Final = tuple((np.abs(DIRECTIONS).sum(axis=1) / 2).tolist())
"""The outline that is the whole box."""

MIRRORED: Final = tuple(
    int(np.argmin(np.abs(DIRECTIONS - (-across, down)).sum(axis=1))) for across, down in DIRECTIONS.tolist()
)
"""For each direction the one that it is in a mirror that turns right to left."""

_LEAST_CUT: Final = 1e-3
"""A corner cut off by less than this share of the box is left whole: no corners that lie on each other."""


def outline_of(points: NDArray[np.floating[Any]], box: Sequence[float]) -> NDArray[np.float64]:
    """(16,) numbers for the points (N, 2) of a thing in its box (left, top, right, bottom)."""
    low, high = np.array(box[:2], np.float64), np.array(box[2:4], np.float64)
    placed = (np.asarray(points, np.float64) - low) / (high - low) - 0.5
    numbers: NDArray[np.float64] = np.minimum((placed @ DIRECTIONS.T).max(axis=0), WHOLE)
    return numbers


def polygon(box: Box, outline: Sequence[float]) -> tuple[Point, ...]:
    """The corners, clockwise, in the unit of the box. The corners of the box are cut along the 16 directions."""
    corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    for (across, down), reach, whole in zip(DIRECTIONS.tolist(), outline, WHOLE, strict=True):
        if reach < whole - _LEAST_CUT:
            corners = _cut(corners, across, down, reach)
    left, top = box.left + box.width / 2, box.top + box.height / 2
    return tuple((left + x * box.width, top + y * box.height) for x, y in corners)


def in_box(box: Sequence[float], outline: Sequence[float], clipped: Sequence[float]) -> NDArray[np.float64]:
    """The outline of a thing of which only the part in `clipped`, a part of its box, is left."""
    left, top, right, bottom = clipped[:4]
    kept = list(polygon(Box(*box[:4]), outline))
    for across, down, reach in ((-1.0, 0.0, -left), (0.0, -1.0, -top), (1.0, 0.0, right), (0.0, 1.0, bottom)):
        kept = _cut(kept, across, down, reach)
    return outline_of(np.array(kept), clipped)


def _cut(corners: list[Point], across: float, down: float, reach: float) -> list[Point]:
    """The part of a convex polygon on the inner side of a line. What would be left of nothing is kept whole."""
    depths = [reach - x * across - y * down for x, y in corners]
    kept: list[Point] = []
    for (start, before), (end, after) in itertools.pairwise(
        [*zip(corners, depths, strict=True), (corners[0], depths[0])]
    ):
        if before >= 0:
            kept.append(start)
        if (before > 0) != (after > 0) and before != 0 and after != 0:
            share = before / (before - after)
            kept.append((start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])))
    return kept if len(kept) > 2 else corners  # noqa: PLR2004  a polygon has three corners
