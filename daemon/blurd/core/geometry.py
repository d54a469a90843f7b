"""Boxes: area, overlap, growth, coverage, and the merging of hits on the same thing. Pure.

Two forms. Single boxes are `Box` values. Many at once are arrays of shape (N, 4): left, top, right, bottom in pixels of
the upright picture, float64; hits are (N, 5), a box and its score, or (N, 21), its outline too. A row covers
[left, right) x [top, bottom).

Invariants
* Nothing here depends on the order of its input but through ties, and ties go to the earlier row: the same picture
  always gives the same boxes.
* `coverage` is exact: it counts in rational numbers and is rounded once.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blurd.core.outlines import WHOLE, in_box
from blurd.records import Box

BoxArray = NDArray[np.float64]
"""(N, 4): left, top, right, bottom."""
HitArray = NDArray[np.float64]
"""(N, 5): left, top, right, bottom, score; or (N, 21), with the 16 numbers of an outline (`core/outlines.py`)."""

NO_HITS: Final[HitArray] = np.zeros((0, 5), np.float64)
NO_HITS.setflags(write=False)

_SCORED: Final = 5
_EDGE_SLACK_PX: Final = 1e-6
"""What the arithmetic of scaling there and back may add to an edge that lies on a pixel's border."""


def grow(box: Box, share: float) -> Box:
    """`box` with `share` of its width added on the left and on the right, and of its height above and below."""
    extra_x, extra_y = box.width * share, box.height * share
    return Box(box.left - extra_x, box.top - extra_y, box.right + extra_x, box.bottom + extra_y)


def clip(box: Box, width_px: float, height_px: float) -> Box | None:
    """The part of `box` that lies in a picture of this size; None where there is none."""
    left, top = max(box.left, 0.0), max(box.top, 0.0)
    right, bottom = min(box.right, width_px), min(box.bottom, height_px)
    return Box(left, top, right, bottom) if left < right and top < bottom else None


def union_area(boxes: Iterable[Box]) -> Fraction:
    """The exact area under at least one of `boxes`, in square pixels."""
    remaining = tuple(boxes)
    edges = sorted({edge for box in remaining for edge in (box.left, box.right)})
    area = Fraction(0)
    for left, right in itertools.pairwise(edges):
        spans = sorted((box.top, box.bottom) for box in remaining if box.left <= left and right <= box.right)
        height, reached = Fraction(0), float("-inf")
        for top, bottom in spans:
            if bottom > reached:
                height += Fraction(bottom) - Fraction(max(top, reached))
                reached = bottom
        area += height * (Fraction(right) - Fraction(left))
    return area


def coverage(box: Box, covers: Iterable[Box]) -> float:
    """The share of `box`, 0..1, that lies under the union of `covers`."""
    parts: list[Box] = []
    for cover in covers:
        left, top = max(box.left, cover.left), max(box.top, cover.top)
        right, bottom = min(box.right, cover.right), min(box.bottom, cover.bottom)
        if left < right and top < bottom:
            parts.append(Box(left, top, right, bottom))
    whole = (Fraction(box.right) - Fraction(box.left)) * (Fraction(box.bottom) - Fraction(box.top))
    return float(union_area(parts) / whole)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    rows = [np.array([[box.left, box.top, box.right, box.bottom]], np.float64) for box in (first, second)]
    return float(intersection_over_union(rows[0], rows[1])[0, 0])


def intersection_over_union(first: BoxArray, second: BoxArray) -> NDArray[np.float64]:
    """(N, M) overlaps 0..1 of every row of `first` (N, 4 or more columns) with every row of `second` (M)."""
    left_top = np.maximum(first[:, None, :2], second[None, :, :2])
    right_bottom = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    sides = np.maximum(right_bottom - left_top, 0.0)
    common = sides[..., 0] * sides[..., 1]
    together = areas(first)[:, None] + areas(second)[None, :] - common
    shares: NDArray[np.float64] = np.divide(common, together, out=np.zeros_like(common), where=together > 0)
    return shares


def clip_hits(hits: HitArray, width_px: float, height_px: float) -> HitArray:
    """`hits` cut to a picture of this size; those that lie outside are left out."""
    cut = hits.copy()
    cut[:, [0, 2]] = cut[:, [0, 2]].clip(0.0, width_px)
    cut[:, [1, 3]] = cut[:, [1, 3]].clip(0.0, height_px)
    kept = (cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])
    if cut.shape[1] > _SCORED:
        for row in np.flatnonzero(kept & (cut[:, :4] != hits[:, :4]).any(axis=1)):
            cut[row, _SCORED:] = in_box(hits[row, :4].tolist(), hits[row, _SCORED:].tolist(), cut[row, :4].tolist())
    return cut[kept]


def with_outlines(hits: HitArray) -> HitArray:
    """(N, 21): hits that have no outlines get whole ones."""
    if hits.shape[1] > _SCORED:
        return hits
    return np.concatenate([hits, np.tile(WHOLE, (len(hits), 1))], axis=1)


def whole_pixels(hits: HitArray) -> HitArray:
    """`hits` with their edges moved outwards to the borders of pixels: a pixel that a face touches shows the face."""
    moved = hits.copy()
    moved[:, :2] = np.floor(hits[:, :2] + _EDGE_SLACK_PX)
    moved[:, 2:4] = np.ceil(hits[:, 2:4] - _EDGE_SLACK_PX)
    return moved


def moved(hits: HitArray, across: float, down: float) -> HitArray:
    """`hits` elsewhere."""
    there = hits.copy()
    there[:, :4] += (across, down, across, down)
    return there


@dataclass(frozen=True, slots=True)
class MergeRule:
    """How hits on one thing become one.

    `link_iou` is the overlap with the best hit from which another belongs to it. Of those that belong, the ones with
    at least `strong_share` of the best score and `shape_iou` overlap shape the merged box: each edge lies `reach` of
    the way (0..1) from their score-weighted mean to the outermost of them.
    """

    link_iou: float
    strong_share: float
    shape_iou: float
    reach: float

    def __post_init__(self) -> None:
        shares = (self.link_iou, self.strong_share, self.shape_iou, self.reach)
        if not all(0.0 <= share <= 1.0 for share in shares) or self.link_iou == 0.0:
            raise ValueError("the values of a merge rule lie between 0 and 1, link_iou above 0")


def merge(hits: HitArray, rule: MergeRule) -> HitArray:
    """One hit for each thing, best score first; greedy from the best hit, which gives its score.

    Of outlines the widest in each direction are taken, so the merged one holds them all, stretched to the merged box.
    With `reach` 0, `strong_share` 1 and no equal scores this is the usual non-maximum suppression. Time grows with
    the number of hits times the number of things, memory with the number of hits.
    """
    left = hits[np.argsort(-hits[:, 4], kind="stable")]
    merged: list[NDArray[np.float64]] = []
    while len(left):
        best = left[0]
        overlap = intersection_over_union(left[:1], left)[0]
        same = overlap >= rule.link_iou
        shaping = same & (overlap >= rule.shape_iou) & (left[:, 4] >= rule.strong_share * best[4])
        same[0] = shaping[0] = True
        widest = left[shaping, _SCORED:].max(axis=0)
        merged.append(np.concatenate([_shaped(left[shaping], rule.reach), [best[4]], widest]))
        left = left[~same]
    return np.array(merged, np.float64).reshape(-1, hits.shape[1])


def _shaped(hits: HitArray, reach: float) -> NDArray[np.float64]:
    boxes, weights = hits[:, :4], hits[:, 4]
    if not weights.any():
        weights = np.ones_like(weights)
    mean = weights @ boxes / weights.sum()
    outermost = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    shaped: NDArray[np.float64] = mean + reach * (outermost - mean)
    return shaped


def areas(boxes: BoxArray) -> NDArray[np.float64]:
    """(N,) areas in square pixels."""
    found: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return found
