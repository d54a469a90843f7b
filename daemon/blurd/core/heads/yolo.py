"""The YOLO families. Pure.

`yolov3` has raw maps, one for each stride, with anchors (Redmon and Farhadi, arXiv:1804.02767). `yolov5` (YOLOv6 and
YOLOv7 too), `yolox` (Ge et al., arXiv:2107.08430) and `yolov8` (YOLOv9, YOLO11 too) have one table of boxes;
`yolov10` has one that is sorted out already, left, top, right, bottom, score and label in each row (as other exports
with non-maximum suppression inside). A row counts for each label that reaches the floor, not for its best alone: a face
on a poster of a bus is still a face.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from blurd.core.heads.forms import (
    UNKNOWN,
    Decode,
    Facts,
    Floats,
    Found,
    Map,
    Output,
    UnfitError,
    cells,
    cornered,
    exponential,
    floats,
    has_shape,
    listed,
    scored,
    shares_px,
    sigmoid,
)

ANCHORS: Final = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
"""YOLOv3's own, for three maps."""
ANCHORS_TINY: Final = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
"""YOLOv3-tiny's, for two."""
_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64))
_BOX: Final = 4
_SORTED_OUT: Final = 6


def bind_yolov3(outputs: Sequence[Output], facts: Facts) -> Decode:
    """Raw maps (1, anchors x (5 + labels), rows, columns), or with the channels last."""
    anchors = facts.anchors or {3: ANCHORS, 2: ANCHORS_TINY}.get(len(outputs), ())
    if not outputs or not anchors or len(anchors) % len(outputs):
        raise UnfitError(f"yolov3 has as many anchors for each map: {len(anchors)} are not for {len(outputs)} maps")
    each, values = len(anchors) // len(outputs), 5 + facts.labels
    first = [has_shape(output, 1, each * values, None, None) for output in outputs]
    last = [has_shape(output, 1, None, None, each * values) for output in outputs]
    if not all(one or other for one, other in zip(first, last, strict=True)):
        raise UnfitError(
            f"yolov3 has maps of {each} x (5 + {facts.labels} labels) channels; the graph: {listed(outputs)}"
        )
    rows = [output.shape[2 if one else 1] for output, one in zip(outputs, first, strict=True)]
    if UNKNOWN in rows or len(set(rows)) != len(rows):
        raise UnfitError(f"yolov3's maps have different sizes; the graph: {listed(outputs)}")
    finest_first = sorted(range(len(outputs)), key=lambda place: -rows[place])
    ordered = sorted(anchors, key=math.prod)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        boxes, scores = [], []
        for level, place in enumerate(finest_first):
            channels = maps[place][0] if first[place] else maps[place][0].transpose(2, 0, 1)
            found = _anchored(floats(channels), np.array(ordered[each * level : each * (level + 1)], np.float64), facts)
            boxes.append(found[0])
            scores.append(found[1])
        return scored(np.concatenate(boxes), np.concatenate(scores), floor)[0]

    return decode


def _anchored(channels: Floats, anchors: Floats, facts: Facts) -> tuple[Floats, Floats]:
    """The boxes (N, 4) and scores (N, labels) of one map (anchors x (5 + labels), rows, columns)."""
    rows, columns = channels.shape[1:]
    table = channels.reshape(len(anchors), 5 + facts.labels, rows, columns).transpose(2, 3, 0, 1)
    values = table.reshape(-1, 5 + facts.labels)
    step = np.array([facts.width_px / columns, facts.height_px / rows])
    centres = (sigmoid(values[:, :2]) + cells(rows, columns, len(anchors))) * step
    sizes = exponential(values[:, 2:4]) * np.tile(anchors, (rows * columns, 1))
    return cornered(np.concatenate([centres, sizes], axis=1)), sigmoid(values[:, 4:5]) * sigmoid(values[:, 5:])


def bind_yolov5(outputs: Sequence[Output], facts: Facts) -> Decode:
    """One table (1, N, 5 + labels): centre, size, objectness, labels."""
    (table,) = _only(outputs, "yolov5")
    if not has_shape(table, 1, None, 5 + facts.labels):
        raise UnfitError(f"yolov5 has rows of 5 + {facts.labels} labels; the graph: {table}")
    stretch = shares_px(facts) if facts.in_shares else np.ones(4)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        values = floats(maps[0][0])
        return scored(cornered(values) * stretch, values[:, 4:5] * values[:, 5:], floor)[0]

    return decode


def bind_yolox(outputs: Sequence[Output], facts: Facts) -> Decode:
    """One table (1, N, 5 + labels), centres in cells from their own, sizes as logarithms of cells."""
    (table,) = _only(outputs, "yolox")
    if not has_shape(table, 1, None, 5 + facts.labels):
        raise UnfitError(f"yolox has rows of 5 + {facts.labels} labels; the graph: {table}")
    grid = next((grid for grid in _grids(facts) if len(grid) == table.shape[1]), None)
    if grid is None:
        counts = " or ".join(str(len(grid)) for grid in _grids(facts))
        raise UnfitError(f"yolox has {counts} rows for {facts.width_px} x {facts.height_px} pixels; the graph: {table}")

    def decode(maps: Sequence[Map], floor: float) -> Found:
        values = floats(maps[0][0])
        steps = grid[:, 2:]
        centred = np.concatenate([(values[:, :2] + grid[:, :2]) * steps, exponential(values[:, 2:4]) * steps], axis=1)
        return scored(cornered(centred), values[:, 4:5] * values[:, 5:], floor)[0]

    return decode


def row_counts(facts: Facts) -> frozenset[int]:
    """How many rows a table may have that has one or three for each cell."""
    return frozenset(each * len(grid) for grid in _grids(facts) for each in (1, 3))


def _grids(facts: Facts) -> Iterator[Floats]:
    """(N, 3): column, row and stride of each cell, for three strides and for four."""
    for strides in _STRIDES:
        yield np.concatenate(
            [np.pad(cells(facts.height_px // step, facts.width_px // step), ((0, 0), (0, 1)), constant_values=step)
             for step in strides]
        )  # fmt: skip


def bind_yolov8(outputs: Sequence[Output], facts: Facts) -> Decode:
    """One table (1, 4 + labels, N), or turned: centre, size, labels."""
    (table,) = _only(outputs, "yolov8")
    upright, turned = has_shape(table, 1, _BOX + facts.labels, None), has_shape(table, 1, None, _BOX + facts.labels)
    if not upright and not turned:
        raise UnfitError(f"yolov8 has rows of 4 + {facts.labels} labels; the graph: {table}")
    stretch = shares_px(facts) if facts.in_shares else np.ones(4)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        values = floats(maps[0][0])
        values = values.T if upright else values
        return scored(cornered(values) * stretch, values[:, _BOX:], floor)[0]

    return decode


def bind_yolov10(outputs: Sequence[Output], facts: Facts) -> Decode:
    """One table (1, N, 6): left, top, right, bottom, score, label."""
    (table,) = _only(outputs, "yolov10")
    if not has_shape(table, 1, None, _SORTED_OUT):
        raise UnfitError(f"yolov10 has rows of 6; the graph: {table}")
    first = facts.first_label or 0

    def decode(maps: Sequence[Map], floor: float) -> Found:
        values = floats(maps[0][0])
        kept = values[values[:, 4] >= floor]
        return Found(kept[:, :4], np.rint(kept[:, 5]).astype(np.intp) - first, kept[:, 4])

    return decode


def _only(outputs: Sequence[Output], family: str) -> Sequence[Output]:
    if len(outputs) != 1:
        raise UnfitError(f"{family} has one output; the graph has {len(outputs)}: {listed(outputs)}")
    return outputs
