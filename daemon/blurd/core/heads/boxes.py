"""Families whose graph ends with boxes: SSD, RetinaNet, Faster R-CNN, DETR, RT-DETR. Pure.

`detection_output` is OpenVINO's own end of SSD and Faster R-CNN, (1, 1, N, 7): picture, label, score and the corners in
shares. `boxes` is what torchvision and MMDetection export: boxes, labels, and scores beside them or as a fifth column.
`detr` (Carion et al., arXiv:2005.12872) has logits with a last "nothing" and centred boxes in shares; `rtdetr` (Zhao et
al., arXiv:2304.08069) the same without the "nothing", each label for itself.

Labels that are told by numbers: a network with one label has one meaning for any number; with more, `first_label` must
say which number the first has, for half of the exports keep 0 for the background, and a wrong guess finds nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    shares_px,
    sigmoid,
    softmax,
)

_CORNERS: Final = 4
_CORNERS_AND_SCORE: Final = 5
_DETECTION: Final = 7


def bind_detection_output(outputs: Sequence[Output], facts: Facts) -> Decode:
    """One table (1, 1, N, 7); a picture's number other than 0 ends it."""
    if len(outputs) != 1 or not has_shape(outputs[0], 1, 1, None, _DETECTION):
        raise UnfitError(f"detection_output has one output (1, 1, N, 7); the graph: {listed(outputs)}")
    demand_first_label(facts)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        rows = floats(maps[0]).reshape(-1, _DETECTION)
        ends = np.flatnonzero(rows[:, 0] < 0)
        rows = rows[: ends[0]] if len(ends) else rows
        rows = rows[(rows[:, 0] == 0) & (rows[:, 2] >= floor)]
        return Found(rows[:, 3:] * shares_px(facts), labels_from(rows[:, 1], facts), rows[:, 2])

    return decode


@dataclass(frozen=True, slots=True)
class Parts:
    """Which outputs are what, by their places: boxes, labels, scores; None where it is not there."""

    boxes: int
    labels: int | None
    scores: int | None

    @classmethod
    def of(cls, outputs: Sequence[Output], family: str) -> "Parts":
        """Told by shapes, kinds of numbers and, last, by names."""
        boxes = [place for place, output in enumerate(outputs) if _is_boxes(output)]
        if len(boxes) != 1:
            raise UnfitError(f"{family} has one output of boxes, (N, 4) or (N, 5); the graph: {listed(outputs)}")
        rows = [place for place, output in enumerate(outputs) if _is_row(output)]
        labels = [place for place in rows if outputs[place].is_whole or _called(outputs[place], "label", "class")]
        scores = [place for place in rows if place not in labels]
        with_score = outputs[boxes[0]].shape[-1] == _CORNERS_AND_SCORE
        if len(labels) > 1 or len(scores) != (0 if with_score else 1):
            raise UnfitError(
                f"{family} has labels (N) and, unless they are the boxes' fifth column, scores (N); the labels are"
                f" whole numbers or are called so; the graph: {listed(outputs)}"
            )
        return cls(boxes[0], labels[0] if labels else None, scores[0] if scores else None)

    def read(self, maps: Sequence[Map], facts: Facts) -> tuple[Floats, NDArray[np.intp], Floats]:
        """Boxes in pixels, labels and scores."""
        table = floats(maps[self.boxes])
        table = table.reshape(-1, table.shape[-1])
        scores = table[:, 4] if self.scores is None else floats(maps[self.scores]).reshape(-1)
        numbers = np.zeros(len(table)) if self.labels is None else floats(maps[self.labels]).reshape(-1)
        stretch = shares_px(facts) if facts.in_shares else np.ones(_CORNERS)
        return table[:, :4] * stretch, labels_from(numbers, facts), scores


def bind_boxes(outputs: Sequence[Output], facts: Facts) -> Decode:
    """Boxes (N, 4) with labels (N) and scores (N), or boxes (N, 5) with labels (N); a batch of one before each."""
    parts = Parts.of(outputs, "boxes")
    if len(outputs) != sum(place is not None for place in (parts.boxes, parts.labels, parts.scores)):
        raise UnfitError(f"boxes has boxes, labels and scores alone; the graph: {listed(outputs)}")
    if parts.labels is None and facts.labels > 1:
        raise UnfitError(f"the graph tells no labels, but labels names {facts.labels}: {listed(outputs)}")
    demand_first_label(facts)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        boxes, labels, scores = parts.read(maps, facts)
        kept = scores >= floor
        return Found(boxes[kept], labels[kept], scores[kept])

    return decode


def bind_detr(outputs: Sequence[Output], facts: Facts) -> Decode:
    """Logits (1, N, labels + 1), the last for nothing, and boxes (1, N, 4) by centre and size in shares."""
    logits, boxes = _queries(outputs, facts.labels + 1, "detr", facts)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        scores = softmax(maps[logits][0])[:, :-1]
        return scored(cornered(floats(maps[boxes][0]) * shares_px(facts)), scores, floor)[0]

    return decode


def bind_rtdetr(outputs: Sequence[Output], facts: Facts) -> Decode:
    """Logits (1, N, labels) and boxes (1, N, 4) by centre and size in shares."""
    logits, boxes = _queries(outputs, facts.labels, "rtdetr", facts)

    def decode(maps: Sequence[Map], floor: float) -> Found:
        scores = sigmoid(maps[logits][0])
        return scored(cornered(floats(maps[boxes][0]) * shares_px(facts)), scores, floor)[0]

    return decode


def _queries(outputs: Sequence[Output], columns: int, family: str, facts: Facts) -> tuple[int, int]:
    wanted = f"{family} has logits (1, N, {columns}) for {facts.labels} labels, and boxes (1, N, 4)"
    boxes = [place for place, output in enumerate(outputs) if has_shape(output, 1, None, _CORNERS)]
    if len(boxes) > 1:
        boxes = [place for place in boxes if _called(outputs[place], "box")]
    logits = [
        place
        for place, output in enumerate(outputs)
        if place not in boxes and has_shape(output, 1, None, columns) and not output.is_whole
    ]
    if len(outputs) != 2 or len(boxes) != 1 or len(logits) != 1:  # noqa: PLR2004  logits and boxes
        raise UnfitError(f"{wanted}; the graph: {listed(outputs)}")
    return logits[0], boxes[0]


def demand_first_label(facts: Facts) -> None:
    """Raise `UnfitError` where numbers of labels could be read in two ways."""
    if facts.labels > 1 and facts.first_label is None:
        raise UnfitError(
            "labels are told by numbers: write first_label = 1 where 0 is the background (torchvision, Caffe,"
            " TensorFlow), else first_label = 0"
        )


def labels_from(numbers: Floats, facts: Facts) -> NDArray[np.intp]:
    """Numbers of labels, from 0."""
    if facts.labels == 1:
        return np.zeros(len(numbers), np.intp)
    return np.rint(numbers).astype(np.intp) - (facts.first_label or 0)


def _is_boxes(output: Output) -> bool:
    return len(output.shape) in (2, 3) and output.shape[-1] in (_CORNERS, _CORNERS_AND_SCORE) and not output.is_whole


def _is_row(output: Output) -> bool:
    shape = output.shape
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1) or (len(shape) == 2 and shape[1] == 1)  # noqa: PLR2004


def _called(output: Output, *words: str) -> bool:
    return any(word in output.name.lower() for word in words)
