"""Face families with a head for each stride: RetinaFace, SCRFD, YuNet. Pure.

`retinaface` (Deng et al., arXiv:1905.00641) comes in two forms: all strides joined, boxes (1, N, 4), faces or not
(1, N, 2) and landmarks, over priors of two sizes a cell (the PyTorch form); or three maps for each stride over anchors
of two sizes (the MXNet form). `scrfd` (Guo et al., arXiv:2105.04714) has distances to the four edges from each anchor's
point; `yunet` (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector") has centres and sizes in cells, its
score is the geometric mean of two. Landmarks are not used. All have one label, the face.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from blurd.core.heads.forms import (
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
)

_STRIDES: Final = (8, 16, 32)
_PRIOR_SIZES: Final = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
_ANCHOR_SIZES: Final = {8: (32, 16), 16: (128, 64), 32: (512, 256)}
_CENTRE_VARIANCE: Final = 0.1
_SIZE_VARIANCE: Final = 0.2
_ALL_STRIDES: Final = (8, 16, 32, 64, 128)
_LANDMARKS: Final = 10
_TWICE: Final = 2


def bind_retinaface(outputs: Sequence[Output], facts: Facts) -> Decode:
    """Either form."""
    _one_label(facts, "retinaface")
    if all(len(output.shape) == 4 for output in outputs):  # noqa: PLR2004
        return _bind_retinaface_maps(outputs, facts)
    priors = _priors(facts)
    boxes_at, scores_at = (_place(outputs, last, len(priors)) for last in (4, 2))
    others = [output for place, output in enumerate(outputs) if place not in (boxes_at, scores_at)]
    if boxes_at is None or scores_at is None or any(output.shape[-1] != _LANDMARKS for output in others):
        raise UnfitError(
            f"retinaface has boxes (1, {len(priors)}, 4), scores (1, {len(priors)}, 2) and landmarks for"
            f" {facts.width_px} x {facts.height_px} pixels; the graph: {listed(outputs)}"
        )

    def decode(maps: Sequence[Map], floor: float) -> Found:
        offsets = floats(maps[boxes_at]).reshape(-1, 4)
        centres = priors[:, :2] + _CENTRE_VARIANCE * offsets[:, :2] * priors[:, 2:]
        sizes = priors[:, 2:] * exponential(_SIZE_VARIANCE * offsets[:, 2:])
        scores = floats(maps[scores_at]).reshape(-1, 2)[:, 1:]
        return scored(cornered(np.concatenate([centres, sizes], axis=1)), scores, floor)[0]

    return decode


def _priors(facts: Facts) -> Floats:
    """(N, 4): centre and size of each prior in pixels."""
    found = []
    for stride in _STRIDES:
        rows, columns = -(-facts.height_px // stride), -(-facts.width_px // stride)
        sizes = np.tile(np.array(_PRIOR_SIZES[stride], np.float64), rows * columns)
        centres = (cells(rows, columns, len(_PRIOR_SIZES[stride])) + 0.5) * stride
        found.append(np.concatenate([centres, np.stack([sizes, sizes], axis=1)], axis=1))
    return np.concatenate(found)


def _place(outputs: Sequence[Output], last: int, rows: int) -> int | None:
    fits = [
        place
        for place, output in enumerate(outputs)
        if has_shape(output, 1, rows, last) or has_shape(output, rows, last)
    ]
    return fits[0] if len(fits) == 1 else None


def _bind_retinaface_maps(outputs: Sequence[Output], facts: Facts) -> Decode:
    levels: list[tuple[int, int, int]] = []
    for stride in _STRIDES:
        rows, columns = -(-facts.height_px // stride), -(-facts.width_px // stride)
        at = {
            channels: [place for place, output in enumerate(outputs) if has_shape(output, 1, channels, rows, columns)]
            for channels in (4, 8)
        }
        if any(len(places) != 1 for places in at.values()):
            raise UnfitError(
                f"retinaface has scores (1, 4, {rows}, {columns}) and boxes (1, 8, {rows}, {columns}) for the stride"
                f" {stride}; the graph: {listed(outputs)}"
            )
        levels.append((stride, at[4][0], at[8][0]))

    def decode(maps: Sequence[Map], floor: float) -> Found:
        parts = [_anchored(stride, maps[scores][0], maps[boxes][0]) for stride, scores, boxes in levels]
        boxes, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return scored(boxes, scores, floor)[0]

    return decode


def _anchored(stride: int, scores: Map, offsets: Map) -> tuple[Floats, Floats]:
    """One stride's boxes (N, 4) and scores (N, 1); anchors and boxes count their last pixel in."""
    sizes = np.array(_ANCHOR_SIZES[stride], np.float64)
    rows, columns = scores.shape[1:]
    faces = floats(scores)[len(sizes) :].transpose(1, 2, 0).reshape(-1, 1)
    moved = floats(offsets).reshape(len(sizes), 4, rows, columns).transpose(2, 3, 0, 1).reshape(-1, 4)
    side = np.tile(sizes, rows * columns)[:, np.newaxis]
    middle = cells(rows, columns, len(sizes)) * stride + 7.5
    centres = middle + moved[:, :2] * side
    half = (side * exponential(moved[:, 2:]) - 1.0) / 2
    return np.concatenate([centres - half, centres + half], axis=1), faces


def bind_scrfd(outputs: Sequence[Output], facts: Facts) -> Decode:
    """For each stride scores (N, 1) and distances (N, 4), perhaps landmarks; two points a cell, or one."""
    _one_label(facts, "scrfd")
    for strides in (_STRIDES, _ALL_STRIDES):
        for each in (2, 1):
            levels: list[tuple[int, int, int]] = []
            for stride in strides:
                scores, boxes = (_place(outputs, last, _count(facts, stride) * each) for last in (1, 4))
                if scores is not None and boxes is not None:
                    levels.append((stride, scores, boxes))
            used = {place for _, *places in levels for place in places}
            rest = [output for place, output in enumerate(outputs) if place not in used]
            if len(levels) == len(strides) and all(output.shape[-1] == _LANDMARKS for output in rest):
                return _scrfd(levels, each, facts)
    raise UnfitError(
        f"scrfd has scores (N, 1) and boxes (N, 4) for each stride, N of them {_TWICE * _count(facts, 8)},"
        f" {_TWICE * _count(facts, 16)} and {_TWICE * _count(facts, 32)} for {facts.width_px} x {facts.height_px}"
        f" pixels; the graph: {listed(outputs)}"
    )


def _scrfd(levels: Sequence[tuple[int, int, int]], each: int, facts: Facts) -> Decode:
    def decode(maps: Sequence[Map], floor: float) -> Found:
        boxes, scores = [], []
        for stride, scores_at, boxes_at in levels:
            points = cells(facts.height_px // stride, facts.width_px // stride, each) * stride
            distances = floats(maps[boxes_at]).reshape(-1, 4) * stride
            boxes.append(np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1))
            scores.append(floats(maps[scores_at]).reshape(-1, 1))
        return scored(np.concatenate(boxes), np.concatenate(scores), floor)[0]

    return decode


def bind_yunet(outputs: Sequence[Output], facts: Facts) -> Decode:
    """For each stride two scores (1, N, 1), boxes (1, N, 4) and landmarks (1, N, 10)."""
    _one_label(facts, "yunet")
    levels: list[tuple[int, list[int], int]] = []
    for stride in _STRIDES:
        count = _count(facts, stride)
        scores = [place for place, output in enumerate(outputs) if has_shape(output, 1, count, 1)]
        boxes = _place(outputs, 4, count)
        if len(scores) != _TWICE or boxes is None:
            raise UnfitError(
                f"yunet has two scores (1, {count}, 1) and boxes (1, {count}, 4) for the stride {stride}; the graph:"
                f" {listed(outputs)}"
            )
        levels.append((stride, scores, boxes))

    def decode(maps: Sequence[Map], floor: float) -> Found:
        found, faces = [], []
        for stride, scores_at, boxes_at in levels:
            table = floats(maps[boxes_at]).reshape(-1, 4)
            centres = (cells(facts.height_px // stride, facts.width_px // stride) + table[:, :2]) * stride
            found.append(cornered(np.concatenate([centres, exponential(table[:, 2:]) * stride], axis=1)))
            first, second = (floats(maps[place]).reshape(-1, 1).clip(0.0, 1.0) for place in scores_at)
            faces.append(np.sqrt(first * second))
        return scored(np.concatenate(found), np.concatenate(faces), floor)[0]

    return decode


def _count(facts: Facts, stride: int) -> int:
    return (facts.height_px // stride) * (facts.width_px // stride)


def _one_label(facts: Facts, family: str) -> None:
    if facts.labels != 1:
        raise UnfitError(f"{family} has one label, the face; labels names {facts.labels}")
