"""Families that tell a mask for each thing: Mask R-CNN and YOLO's segmentation. Pure.

`mask_rcnn` (He et al., arXiv:1703.06870) is what torchvision, Detectron2 and MMDetection export: boxes, labels, scores,
and for each box a mask, of its own small grid or of the whole input. `yolo_seg` (YOLOv8-seg, YOLO11-seg; the idea:
Bolya et al., "YOLACT", arXiv:1904.02689) has a table as `yolov8`, with weights for each row's mask, and maps that are
summed by them.

A mask becomes an outline: whatever cell of the mask is more likely than not to be the thing lies in it as a whole. A
mask that is empty gives the box.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blurd.core.heads.boxes import Parts, demand_first_label
from blurd.core.heads.forms import (
    Decode,
    Facts,
    Floats,
    Found,
    Map,
    Output,
    UnfitError,
    cornered,
    floats,
    has_shape,
    listed,
    scored,
)
from blurd.core.outlines import WHOLE, outline_of

_BOX: Final = 4
_LIKELY: Final = 0.5
_MASK_SIDES: Final = 2
_LEAST_GRID: Final = 7


def bind_mask_rcnn(outputs: Sequence[Output], facts: Facts) -> Decode:
    """As `boxes`, with masks (N, 1, rows, columns) or (N, rows, columns) of the box or of the input."""
    masks = [place for place, output in enumerate(outputs) if _is_masks(output)]
    if len(masks) != 1:
        raise UnfitError(f"mask_rcnn has one output of masks (N, rows, columns); the graph: {listed(outputs)}")
    (place,) = masks
    others = [number for number in range(len(outputs)) if number != place]
    parts = Parts.of([outputs[number] for number in others], "mask_rcnn")
    demand_first_label(facts)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        boxes, labels, scores = parts.read([maps[number] for number in others], facts)
        grids = maps[place].reshape(-1, *maps[place].shape[-_MASK_SIDES:])
        kept = np.flatnonzero(scores >= floor)
        outlines = np.array([_outline(grids[row], boxes[row], facts) for row in kept]).reshape(-1, len(WHOLE))
        return Found(boxes[kept], labels[kept], scores[kept], outlines)

    return decode


def _is_masks(output: Output) -> bool:
    sides = output.shape[-_MASK_SIDES:]
    return len(output.shape) in (3, 4) and not output.is_whole and all(side >= _LEAST_GRID for side in sides)


def _outline(grid: Map, box: Floats, facts: Facts) -> Floats:
    """The outline of one mask: of the whole input where it has the input's size, else of the box alone."""
    likely = floats(grid) > _LIKELY
    if likely.shape == (facts.height_px, facts.width_px):
        return _of_cells(likely, np.array([0.0, 0.0]), np.array([1.0, 1.0]), box)
    rows, columns = likely.shape
    return _of_cells(likely, box[:2], (box[2:] - box[:2]) / (columns, rows), box)


def _of_cells(likely: NDArray[np.bool_], corner: Floats, step: Floats, box: Floats) -> Floats:
    """The outline of cells of `step` pixels from a corner on, as far as they lie in the box."""
    rows, columns = np.nonzero(likely)
    if not len(rows) or not (box[2] > box[0] and box[3] > box[1]):
        return np.array(WHOLE)
    edge = _outermost(rows)
    corners = [np.stack([columns[edge] + right, rows[edge] + down], axis=1) for right in (0, 1) for down in (0, 1)]
    points = np.concatenate(corners) * step + corner
    return outline_of(np.clip(points, box[:2], box[2:4]), box.tolist())


def _outermost(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of cells in reading order the first and the last of each row: no others reach farther."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = np.append(starts[1:], len(rows)) - 1
    return np.unique(np.concatenate([starts, ends]))


def bind_yolo_seg(outputs: Sequence[Output], facts: Facts) -> Decode:
    """A table (1, 4 + labels + masks, N) and maps (1, masks, rows, columns)."""
    tables = [place for place, output in enumerate(outputs) if len(output.shape) == 3]  # noqa: PLR2004
    maps_at = [place for place, output in enumerate(outputs) if len(output.shape) == 4]  # noqa: PLR2004
    if len(outputs) != 2 or len(tables) != 1 or len(maps_at) != 1:  # noqa: PLR2004
        raise UnfitError(f"yolo_seg has a table and maps for its masks; the graph: {listed(outputs)}")
    table, masks = outputs[tables[0]], outputs[maps_at[0]]
    weights = masks.shape[1]
    if not has_shape(table, 1, _BOX + facts.labels + weights, None):
        raise UnfitError(f"yolo_seg has rows of 4 + {facts.labels} labels + {weights} weights; the graph: {table}")

    def decode(maps: Sequence[Map], floor: float) -> Found:
        values = floats(maps[tables[0]][0]).T
        found, rows = scored(cornered(values), values[:, _BOX : _BOX + facts.labels], floor)
        prototypes = floats(maps[maps_at[0]][0])
        outlines = [
            _summed(prototypes, values[row, _BOX + facts.labels :], box, facts)
            for row, box in zip(rows, found.boxes, strict=True)
        ]
        return Found(found.boxes, found.labels, found.scores, np.array(outlines).reshape(-1, len(WHOLE)))

    return decode


def _summed(prototypes: Floats, weights: Floats, box: Floats, facts: Facts) -> Floats:
    """The outline of a row's mask: where the weighted sum of the maps is above 0, within the box."""
    rows, columns = prototypes.shape[1:]
    step = np.array([facts.width_px / columns, facts.height_px / rows])
    bounds = np.nan_to_num(box / np.tile(step, 2)).clip(0, np.tile([columns, rows], 2))
    left, top = np.floor(bounds[:2]).astype(np.intp)
    right, bottom = np.ceil(bounds[2:]).astype(np.intp)
    likely = np.tensordot(weights, prototypes[:, top:bottom, left:right], axes=1) > 0
    return _of_cells(likely, np.array([left, top]) * step, step, box)
