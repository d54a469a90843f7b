"""Polygons: whether one is sound, how much of a box lies inside, and which samples of a plane it touches. Pure.

A polygon is three or more corners in order, closed by itself, in any unit; its edges neither cross nor touch, so what
lies inside is the same by every rule of filling.

Invariants
* `touched` is conservative: a sample whose square the polygon touches is always in; arithmetic may add a sample whose
  square lies within `_SLACK` of an edge, never leave one out.
* Rasters are kept packed, at most `_KEPT_RASTERS` of them; keeping them changes no result.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blurd.records import Box, Point

LEAST_CORNERS: Final = 3
MOST_CORNERS: Final = 64

_LEAST_FILL: Final = 1e-6
"""Least area of a sound polygon, as a share of the square over its longer side."""
_SLACK: Final = 1e-6
_KEPT_RASTERS: Final = 256
"""A raster of one band is at most 2**20 bits: 32 MiB in all."""

Points = NDArray[np.float64]
"""(N, 2): x, y."""


def fault(corners: Sequence[Point]) -> str | None:
    """What is wrong with a polygon, as advice to whoever wrote it; None where it is sound."""
    if not LEAST_CORNERS <= len(corners) <= MOST_CORNERS:
        return f"a polygon has {LEAST_CORNERS} to {MOST_CORNERS} points"
    points = np.array(corners, np.float64)
    if not np.isfinite(points).all():
        return "a polygon's points are finite numbers"
    if _area(points) <= _LEAST_FILL * np.ptp(points, axis=0).max() ** 2:
        return "the polygon encloses nothing: give points that do not lie on one line"
    if _crosses_itself(points):
        return "the polygon's edges cross or touch: list each point once, in order along the outline"
    return None


def share_inside(box: Box, corners: Sequence[Point]) -> float:
    """The share of a box, 0..1, that lies inside the polygon.

    The polygon is cut along the box's four edges (Sutherland and Hodgman, 1974); bridges that this leaves between
    parts have no area.
    """
    kept = np.array(corners, np.float64)
    for axis, limit, sign in ((0, box.left, 1), (0, box.right, -1), (1, box.top, 1), (1, box.bottom, -1)):
        kept = _cut(kept, axis, limit, sign)
        if len(kept) < LEAST_CORNERS:
            return 0.0
    return min(1.0, _area(kept) / box.area)


def meet(first: Sequence[Point], second: Sequence[Point]) -> bool:
    """True where two polygons share a point."""
    one, other = np.array(first, np.float64), np.array(second, np.float64)
    return bool(_touching(one, other).any()) or _holds(one, other[0]) or _holds(other, one[0])


@lru_cache(maxsize=_KEPT_RASTERS)
def _packed(corners: tuple[Point, ...], columns: range, rows: range, step: Point) -> NDArray[np.uint8]:
    return np.packbits(_raster(np.array(corners, np.float64) / step, columns, rows))


def touched(corners: tuple[Point, ...], columns: range, rows: range, step: Point) -> NDArray[np.bool_]:
    """Which samples the polygon touches, (rows, columns); a sample covers `step` pixels across and down.

    Kept for the next frame: a zone is drawn at the same place in every one.
    """
    count = len(rows) * len(columns)
    bits = np.unpackbits(_packed(corners, columns, rows, step), count=count)
    return bits.view(np.bool_).reshape(len(rows), len(columns))


def _raster(points: Points, columns: range, rows: range) -> NDArray[np.bool_]:
    """A sample is touched when an edge passes through its square, or when its centre lies inside."""
    ends = np.roll(points, -1, axis=0)
    tops = np.arange(rows.start, rows.stop, dtype=np.float64)[:, np.newaxis]
    edges = np.zeros((len(rows), len(columns) + 1), np.int16)
    winding = np.zeros((len(rows), len(columns) + 1), np.int16)
    lower, upper = np.minimum(points[:, 1], ends[:, 1]), np.maximum(points[:, 1], ends[:, 1])
    lines, which = np.nonzero((lower <= tops + 1 + _SLACK) & (upper >= tops - _SLACK))
    spans = _spans(points[which], ends[which], tops[lines, 0])
    first = _place(np.floor(spans[:, 0] - _SLACK), columns)
    last = _place(np.floor(spans[:, 1] + _SLACK) + 1, columns)
    np.add.at(edges, (lines, first), 1)
    np.add.at(edges, (lines, last), -1)
    middles = tops + 0.5
    lines, which = np.nonzero((lower <= middles) & (upper > middles))
    start, end = points[which], ends[which]
    share = (middles[lines, 0] - start[:, 1]) / (end[:, 1] - start[:, 1])
    crossing = start[:, 0] + share * (end[:, 0] - start[:, 0])
    np.add.at(winding, (lines, _place(np.ceil(crossing - 0.5), columns)), np.where(end[:, 1] > start[:, 1], 1, -1))
    inside: NDArray[np.bool_] = (np.cumsum(edges, axis=1)[:, :-1] > 0) | (np.cumsum(winding, axis=1)[:, :-1] != 0)
    return inside


def _spans(start: Points, end: Points, tops: NDArray[np.float64]) -> Points:
    """For each edge and the row of squares below each top: where the edge's part in that row begins and ends, in x."""
    rise = end[:, 1] - start[:, 1]
    level = np.abs(rise) < _SLACK
    safe = np.where(level, 1.0, rise)
    shares = np.stack([(tops - _SLACK - start[:, 1]) / safe, (tops + 1 + _SLACK - start[:, 1]) / safe])
    shares = np.where(level, np.array([[0.0], [1.0]]), np.sort(shares, axis=0).clip(0.0, 1.0))
    x = start[:, 0] + shares * (end[:, 0] - start[:, 0])
    return np.sort(x, axis=0).T


def _place(x: NDArray[np.float64], columns: range) -> NDArray[np.intp]:
    return np.clip(x - columns.start, 0, len(columns)).astype(np.intp)


def _area(points: Points) -> float:
    """The area inside (shoelace formula), from the first corner so that far-off places lose no digits."""
    x, y = (points - points[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _cut(points: Points, axis: int, limit: float, sign: int) -> Points:
    """The part of a polygon on the side of a line where `sign * (coordinate - limit)` is not negative."""
    kept: list[NDArray[np.float64]] = []
    depth = sign * (points[:, axis] - limit)
    for (start, before), (end, after) in itertools.pairwise(
        zip((*points, points[0]), (*depth.tolist(), float(depth[0])), strict=True)
    ):
        if before >= 0:
            kept.append(start)
        if (before >= 0) != (after >= 0):
            kept.append(start + before / (before - after) * (end - start))
    return np.array(kept, np.float64).reshape(-1, 2)


def _side(origin: Points, end: Points, point: Points) -> NDArray[np.float64]:
    """On which side of the line from `origin` to `end` each point lies: positive, negative, or 0 on it."""
    along, to = end - origin, point - origin
    return np.asarray(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0], np.float64)


def _touching(first: Points, second: Points) -> NDArray[np.bool_]:
    """(N, M): which edges of two closed outlines share a point."""
    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]
    apart = (np.maximum(a, b) < np.minimum(c, d)) | (np.maximum(c, d) < np.minimum(a, b))
    across = (_side(a, b, c) * _side(a, b, d) <= 0) & (_side(c, d, a) * _side(c, d, b) <= 0)
    found: NDArray[np.bool_] = across & ~apart.any(axis=-1)
    return found


def _crosses_itself(points: Points) -> bool:
    """True where an edge meets another than its neighbours, or folds back onto one of them."""
    meeting = _touching(points, points)
    count = len(points)
    index = np.arange(count)
    neighbours = np.isin((index[:, None] - index[None]) % count, (0, 1, count - 1))
    along = np.roll(points, -1, axis=0) - points
    following = np.roll(along, -1, axis=0)
    turn = along[:, 0] * following[:, 1] - along[:, 1] * following[:, 0]
    folded = (turn == 0) & ((along * following).sum(axis=1) <= 0)
    return bool((meeting & ~neighbours).any() or folded.any())


def _holds(points: Points, point: NDArray[np.float64]) -> bool:
    """True where a point lies inside (even-odd rule)."""
    start, end = points, np.roll(points, -1, axis=0)
    across = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    start, end = start[across], end[across]
    x = start[:, 0] + (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool((x > point[0]).sum() % 2)
