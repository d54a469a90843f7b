"""Masks: what lies under them is averaged to a few cells, and only the averages go into the picture. Pure.

One function, `draw`, changes one array: a picture of any number of channels, or one plane of a video frame with its
subsampling given as steps. Boxes are always in pixels of the full picture.

Invariants
* Under `blur` and `pixelate` the output depends on the covered pixels only through the rounded mean of each cell;
  under `solid` it does not depend on them at all. `blur` interpolates between the means, `pixelate` shows them.
* A drawn shape is covered by at most `CELLS` x `CELLS` cells, and no cell is smaller than `MIN_CELL_PX` on a side
  unless the shape, cut at the picture's border, is smaller itself. Where the border cuts a shape off, the cells keep
  the size that they would have had.
* The cells fill the bounding rectangle of the *drawn* shape, so an ellipse that reaches out of its box has cells
  larger than a sixth of the box.
* Masks whose bounding rectangles meet share one grid (its cells are as large as the largest that any of them asks
  for): two grids shifted against each other would tell more than either. All means come from the picture before
  the first mask is drawn; `solid` masks are drawn last and win.
* Edges are hard, and every sample whose square touches the shape is replaced: in a plane of lower resolution a
  sample belongs to the mask when any pixel under it does. Outside the shapes nothing changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurd.core.outlines import polygon
from blurd.core.polygons import touched
from blurd.records import Box, Mask, MaskShape, MaskStyle

Samples = NDArray[np.unsignedinteger[Any]]
"""(height, width) or (height, width, channels), 8 or 16 bits."""

Edges = tuple[int, ...]
"""Where cells begin and the last one ends, in samples."""

CELLS = 6
"""Cells on the long side of a drawn shape, at most."""
MIN_CELL_PX = 4.0
"""Smallest side of a cell in pixels of the full picture."""
_BAND_SAMPLES = 1 << 20
"""Interpolated samples held at once; bounds the memory that a large mask needs."""


@dataclass(frozen=True, slots=True)
class Step:
    """How many pixels of the full picture one sample covers; (2, 2) for the colour planes of 4:2:0 video."""

    x: int = 1
    y: int = 1


@dataclass(frozen=True, slots=True)
class _Span:
    """A half-open rectangle of samples, never empty."""

    left: int
    top: int
    right: int
    bottom: int


def drawn_box(mask: Mask) -> Box:
    """The bounding rectangle of what is drawn: the box, or that of the ellipse through the box's corners."""
    box = mask.box
    if mask.shape is not MaskShape.ELLIPSE:
        return box
    extra_x, extra_y = (box.width * (math.sqrt(2) - 1) / 2, box.height * (math.sqrt(2) - 1) / 2)
    return Box(box.left - extra_x, box.top - extra_y, box.right + extra_x, box.bottom + extra_y)


def draw(
    samples: Samples,
    masks: Sequence[Mask],
    *,
    step: Step = Step(),
    channels: int | None = None,
    solid_value: int | None = None,
) -> None:
    """Draw `masks` into `samples`, in place.

    `channels` limits the change to the first so many channels (a last alpha channel stays). `solid_value` is what
    `solid` writes; by default the middle of the type's range.
    """
    planes = samples if samples.ndim == 3 else samples[:, :, np.newaxis]  # noqa: PLR2004
    planes = planes[:, :, :channels]
    if solid_value is None:
        solid_value = (int(np.iinfo(samples.dtype).max) + 1) // 2
    size = planes.shape
    visible = [mask for mask in masks if _span(drawn_box(mask), step, size) is not None]
    averaged = [mask for mask in visible if mask.style is not MaskStyle.SOLID]
    grids = [(group, _Grid.over(planes, group, step)) for group in _groups(tuple(averaged))]
    for group, grid in grids:
        for mask in group:
            grid.paint(planes, mask, step)
    for mask in visible:
        if mask.style is MaskStyle.SOLID:
            _fill(planes, mask, step, solid_value)


def covers(mask: Mask, width: int, height: int, step: Step = Step()) -> NDArray[np.bool_]:
    """Which samples of a `height` x `width` plane a mask replaces; True inside."""
    inside = np.zeros((height, width), np.bool_)
    span = _span(drawn_box(mask), step, inside.shape)
    if span is not None:
        inside[span.top : span.bottom, span.left : span.right] = _inside(mask, span, step, span.top, span.bottom)
    return inside


def covered_share(box: Box, masks: Sequence[Mask], outline: Sequence[float] = ()) -> float:
    """The share of a box's pixels, 0..1, that the masks replace, of those in its outline if it has one.

    Counted as they are drawn.
    """
    left, top = math.floor(box.left), math.floor(box.top)
    width, height = math.ceil(box.right) - left, math.ceil(box.bottom) - top
    inside = np.zeros((height, width), np.bool_)
    for mask in masks:
        inside |= covers(_moved(mask, -left, -top), width, height)
    if not outline:
        return float(inside.mean())
    thing = covers(_moved(Mask.polygon(polygon(box, outline), MaskStyle.SOLID), -left, -top), width, height)
    return float(inside[thing].mean())


def _moved(mask: Mask, x: float, y: float) -> Mask:
    if mask.points:
        return Mask.polygon(tuple((corner[0] + x, corner[1] + y) for corner in mask.points), mask.style)
    box = mask.box
    return Mask(Box(box.left + x, box.top + y, box.right + x, box.bottom + y), mask.shape, mask.style)


def _span(box: Box, step: Step, shape: tuple[int, ...]) -> _Span | None:
    """The samples whose squares touch the box, cut at the border; None where it lies outside."""
    height, width = shape[:2]
    left, right = _touched(box.left / step.x, box.right / step.x, width)
    top, bottom = _touched(box.top / step.y, box.bottom / step.y, height)
    return _Span(left, top, right, bottom) if left < right and top < bottom else None


def _touched(start: float, stop: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(min(start, size))), min(size, math.ceil(max(stop, 0.0)))


@lru_cache(maxsize=4)
def _groups(masks: tuple[Mask, ...]) -> list[list[Mask]]:
    """Masks gathered so that the bounding rectangles of different groups stay a cell's least side apart.

    Kept for the next plane of the same frame.
    """
    remaining = list(masks)
    groups: list[list[Mask]] = []
    boxes = [drawn_box(mask) for mask in remaining]
    lefts, tops, rights, bottoms = (
        np.array([getattr(box, edge) for box in boxes]) for edge in ("left", "top", "right", "bottom")
    )
    free = np.ones(len(remaining), np.bool_)
    for first in range(len(remaining)):
        if not free[first]:
            continue
        free[first] = False
        members = [first]
        for member in members:  # grows while it is walked; each mask joins once
            near = (
                free
                & (lefts < rights[member] + MIN_CELL_PX)
                & (rights > lefts[member] - MIN_CELL_PX)
                & (tops < bottoms[member] + MIN_CELL_PX)
                & (bottoms > tops[member] - MIN_CELL_PX)
            )
            free &= ~near
            members.extend(int(index) for index in np.flatnonzero(near))
        groups.append([remaining[index] for index in sorted(members)])
    return groups


@dataclass(frozen=True, slots=True)
class _Grid:
    """The cells of one group: `rows` and `columns` are the edges in samples, `means` is (rows, columns, channels)."""

    rows: Edges
    columns: Edges
    means: NDArray[np.float32]

    @classmethod
    def over(cls, planes: Samples, group: Sequence[Mask], step: Step) -> "_Grid":
        boxes = [drawn_box(mask) for mask in group]
        whole = Box(
            min(box.left for box in boxes),
            min(box.top for box in boxes),
            max(box.right for box in boxes),
            max(box.bottom for box in boxes),
        )
        # A mask that starts inside a cell of a shared grid touches one cell more than it would alone.
        most = CELLS if len(group) == 1 else CELLS - 1
        side_px = max(MIN_CELL_PX, *(max(box.width, box.height) / most for box in boxes))
        span = _span(whole, step, planes.shape)
        if span is None:  # every member touches the picture
            raise AssertionError
        rows = _edges(span.top, span.bottom, side_px / step.y)
        columns = _edges(span.left, span.right, side_px / step.x)
        return cls(rows, columns, _means(planes, rows, columns))

    def paint(self, planes: Samples, mask: Mask, step: Step) -> None:
        """Replace what the mask covers with the cells' means, smoothed or not."""
        span = _span(drawn_box(mask), step, planes.shape)
        if span is None:
            return
        smooth = mask.style is MaskStyle.BLUR
        across = _weights(self.columns, span.left, span.right, smooth=smooth).T
        band_rows = max(1, _BAND_SAMPLES // (span.right - span.left))
        for top in range(span.top, span.bottom, band_rows):
            bottom = min(top + band_rows, span.bottom)
            down = _weights(self.rows, top, bottom, smooth=smooth)
            inside = _inside(mask, span, step, top, bottom)
            for channel in range(planes.shape[2]):
                target = planes[top:bottom, span.left : span.right, channel]
                values = down @ self.means[:, :, channel] @ across
                np.copyto(target, np.rint(values).astype(planes.dtype), where=inside)


def _edges(start: int, stop: int, side: float) -> Edges:
    """Edges of as many equal cells as fit with at least `side` samples each; one cell where none fits."""
    count = max(1, math.floor((stop - start) / max(side, 1.0) + 1e-9))
    return tuple(round(start + (stop - start) * index / count) for index in range(count + 1))


def _means(planes: Samples, rows: Edges, columns: Edges) -> NDArray[np.float32]:
    """The mean of each cell, rounded to a whole sample value (exact sums, so equal means give equal bytes)."""
    region = planes[rows[0] : rows[-1], columns[0] : columns[-1]]
    lines = np.add.reduceat(region, np.subtract(rows[:-1], rows[0]), axis=0, dtype=np.uint64)
    sums = np.add.reduceat(lines, np.subtract(columns[:-1], columns[0]), axis=1)
    counts = np.outer(np.diff(rows), np.diff(columns)).astype(np.uint64)[:, :, np.newaxis]
    return ((sums + counts // 2) // counts).astype(np.float32)


@lru_cache(maxsize=64)
def _weights(edges: Edges, start: int, stop: int, *, smooth: bool) -> NDArray[np.float32]:
    """How much each cell counts for each of the samples start..stop: (samples, cells), each row adds up to 1.

    Not to be changed: kept for the next plane, and for the next frame where a mask stays.
    """
    places = np.arange(start, stop) + 0.5
    samples = np.arange(stop - start)
    weights = np.zeros((stop - start, len(edges) - 1), np.float32)
    if not smooth:
        weights[samples, np.searchsorted(edges, places, side="right") - 1] = 1.0
        return weights
    centres = np.add(edges[:-1], edges[1:]) / 2
    at = np.interp(places, centres, np.arange(len(centres)))
    cell = np.floor(at).astype(np.intp)
    share = (at - cell).astype(np.float32)
    weights[samples, cell] = 1.0 - share
    weights[samples, np.minimum(cell + 1, len(centres) - 1)] += share
    return weights


def _inside(mask: Mask, span: _Span, step: Step, top: int, bottom: int) -> NDArray[np.bool_]:
    """Which samples of the rows top..bottom of the span touch the shape."""
    if mask.shape is MaskShape.RECTANGLE:
        return np.ones((bottom - top, span.right - span.left), np.bool_)
    if mask.shape is MaskShape.POLYGON:
        return touched(mask.points, range(span.left, span.right), range(top, bottom), (step.x, step.y))
    box = mask.box
    x = _distances(np.arange(span.left, span.right), (box.left + box.right) / 2 / step.x)
    y = _distances(np.arange(top, bottom), (box.top + box.bottom) / 2 / step.y)
    x /= box.width / math.sqrt(2) / step.x
    y /= box.height / math.sqrt(2) / step.y
    inside: NDArray[np.bool_] = (y * y)[:, np.newaxis] + x * x <= 1.0 + 1e-9
    return inside


def _distances(samples: NDArray[np.intp], centre: float) -> NDArray[np.float64]:
    """How far the nearest point of each sample's square lies from the centre, along one axis."""
    away: NDArray[np.float64] = np.maximum(np.abs(samples + 0.5 - centre) - 0.5, 0.0)
    return away


def _fill(planes: Samples, mask: Mask, step: Step, value: int) -> None:
    span = _span(drawn_box(mask), step, planes.shape)
    if span is None:
        return
    width = span.right - span.left
    band_rows = max(1, _BAND_SAMPLES // width)
    for top in range(span.top, span.bottom, band_rows):
        bottom = min(top + band_rows, span.bottom)
        inside = _inside(mask, span, step, top, bottom)
        planes[top:bottom, span.left : span.right][inside] = value
