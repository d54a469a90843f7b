"""The families of detectors decoded by the book: one row, one cell at a time, as their papers and first authors do it.

Each gives a list of (label, score, left, top, right, bottom) in pixels of the input, for scores of at least the floor.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hit = tuple[int, float, float, float, float, float]
Said = Mapping[str, NDArray[Any]]
Reference = Callable[[Said, int, int, int, float], list[Hit]]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def centred(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _rows(said: Said, number: int = 0) -> NDArray[np.float64]:
    value = list(said.values())[number]
    return np.asarray(value, np.float64).reshape(-1, value.shape[-1])


def _kept(hits: Sequence[Hit], floor: float) -> list[Hit]:
    return [hit for hit in hits if hit[1] >= floor]


YOLOV3 = {
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}


def yolov3(said: Said, _width: int, height: int, labels: int, floor: float) -> list[Hit]:
    hits = []
    for grid in said.values():
        channels_last = grid.shape[1] != 3 * (5 + labels)
        cells = np.asarray(grid[0].transpose(2, 0, 1) if channels_last else grid[0], np.float64)
        _, rows, columns = cells.shape
        stride = height // rows
        for anchor, (wide, high) in enumerate(YOLOV3[stride]):
            part = cells[anchor * (5 + labels) : (anchor + 1) * (5 + labels)]
            for row in range(rows):
                for column in range(columns):
                    x, y, w, h, there, *named = part[:, row, column].tolist()
                    box = centred(
                        (column + _sigmoid(x)) * stride,
                        (row + _sigmoid(y)) * stride,
                        wide * math.exp(w),
                        high * math.exp(h),
                    )
                    hits += [(label, _sigmoid(there) * _sigmoid(one), *box) for label, one in enumerate(named)]
    return _kept(hits, floor)


def yolov5(said: Said, _width: int, _height: int, _labels: int, floor: float) -> list[Hit]:
    hits = []
    for x, y, w, h, there, *named in _rows(said).tolist():
        hits += [(label, there * one, *centred(x, y, w, h)) for label, one in enumerate(named)]
    return _kept(hits, floor)


def yolov8(said: Said, _width: int, _height: int, labels: int, floor: float) -> list[Hit]:
    table = next(iter(said.values()))[0]
    table = table.T if table.shape[0] == 4 + labels else table
    hits = []
    for x, y, w, h, *named in np.asarray(table, np.float64).tolist():
        hits += [(label, one, *centred(x, y, w, h)) for label, one in enumerate(named)]
    return _kept(hits, floor)


def yolov10(said: Said, _width: int, _height: int, _labels: int, floor: float) -> list[Hit]:
    return _kept([(round(row[5]), row[4], *row[:4]) for row in _rows(said).tolist()], floor)


def yolox(said: Said, width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    rows = iter(_rows(said).tolist())
    hits = []
    for stride in (8, 16, 32):
        for row in range(height // stride):
            for column in range(width // stride):
                x, y, w, h, there, *named = next(rows)
                box = centred((x + column) * stride, (y + row) * stride, math.exp(w) * stride, math.exp(h) * stride)
                hits += [(label, there * one, *box) for label, one in enumerate(named)]
    return _kept(hits, floor)


def detection_output(said: Said, width: int, height: int, labels: int, floor: float) -> list[Hit]:
    hits = []
    for picture, label, score, left, top, right, bottom in _rows(said).tolist():
        if picture < 0:
            break
        number = round(label) - 1 if labels > 1 else 0
        hits.append((number, score, left * width, top * height, right * width, bottom * height))
    return _kept(hits, floor)


def boxes(said: Said, _width: int, _height: int, labels: int, floor: float) -> list[Hit]:
    """Torchvision's: labels from 1."""
    found = zip(
        said["boxes"].reshape(-1, 4).tolist(), said["labels"].reshape(-1), said["scores"].reshape(-1), strict=True
    )
    return _kept([(int(label) - 1 if labels > 1 else 0, float(score), *box) for box, label, score in found], floor)


def boxes_with_scores(said: Said, _width: int, _height: int, labels: int, floor: float) -> list[Hit]:
    """MMDetection's: labels from 0."""
    found = zip(said["dets"].reshape(-1, 5).tolist(), said["labels"].reshape(-1), strict=True)
    return _kept([(int(label) if labels > 1 else 0, box[4], *box[:4]) for box, label in found], floor)


def detr(said: Said, width: int, height: int, labels: int, floor: float) -> list[Hit]:
    hits = []
    for logits, (x, y, w, h) in zip(_rows(said, 0).tolist(), _rows(said, 1).tolist(), strict=True):
        total = sum(math.exp(one) for one in logits)
        box = centred(x * width, y * height, w * width, h * height)
        hits += [(label, math.exp(logits[label]) / total, *box) for label in range(labels)]
    return _kept(hits, floor)


def rtdetr(said: Said, width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    hits = []
    for logits, (x, y, w, h) in zip(_rows(said, 0).tolist(), _rows(said, 1).tolist(), strict=True):
        box = centred(x * width, y * height, w * width, h * height)
        hits += [(label, _sigmoid(one), *box) for label, one in enumerate(logits)]
    return _kept(hits, floor)


def yolo_seg(said: Said, _width: int, _height: int, labels: int, floor: float) -> list[Hit]:
    hits = []
    for x, y, w, h, *rest in np.asarray(said["output0"][0].T, np.float64).tolist():
        hits += [(label, rest[label], *centred(x, y, w, h)) for label in range(labels)]
    return _kept(hits, floor)


def retinaface(said: Said, width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    """The PyTorch form: priors in shares, variances 0.1 and 0.2."""
    rows = zip(_rows(said, 0).tolist(), _rows(said, 1).tolist(), strict=True)
    hits = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                for size in sizes:
                    (x, y, w, h), (_, face) = next(rows)
                    centre = (column + 0.5) * stride / width, (row + 0.5) * stride / height
                    prior = size / width, size / height
                    box = centred(
                        (centre[0] + x * 0.1 * prior[0]) * width,
                        (centre[1] + y * 0.1 * prior[1]) * height,
                        prior[0] * math.exp(w * 0.2) * width,
                        prior[1] * math.exp(h * 0.2) * height,
                    )
                    hits.append((0, face, *box))
    return _kept(hits, floor)


def retinaface_maps(said: Said, _width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    """The MXNet form: anchors around 7.5, with their last pixel counted in."""
    hits = []
    for stride, scales in ((32, (32, 16)), (16, (8, 4)), (8, (2, 1))):
        scores, deltas = said[f"prob_{stride}"][0], said[f"bbox_{stride}"][0]
        for row in range(height // stride):
            for column in range(scores.shape[2]):
                for number, scale in enumerate(scales):
                    half = (16 * scale - 1) / 2
                    anchor = [7.5 - half, 7.5 - half, 7.5 + half, 7.5 + half]
                    anchor = [edge + stride * (row if place % 2 else column) for place, edge in enumerate(anchor)]
                    wide, high = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
                    x, y = anchor[0] + (wide - 1) / 2, anchor[1] + (high - 1) / 2
                    dx, dy, dw, dh = deltas[4 * number : 4 * number + 4, row, column].tolist()
                    x, y, w, h = x + dx * wide, y + dy * high, wide * math.exp(dw), high * math.exp(dh)
                    box = (x - (w - 1) / 2, y - (h - 1) / 2, x + (w - 1) / 2, y + (h - 1) / 2)
                    hits.append((0, float(scores[2 + number, row, column]), *box))
    return _kept(hits, floor)


def scrfd(said: Said, width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    hits = []
    for stride in (8, 16, 32):
        scores = iter(said[f"score_{stride}"].reshape(-1).tolist())
        distances = iter(said[f"bbox_{stride}"].reshape(-1, 4))
        for row in range(height // stride):
            for column in range(width // stride):
                for _ in range(2):
                    left, top, right, bottom = (float(one) * stride for one in next(distances))
                    x, y = column * stride, row * stride
                    hits.append((0, next(scores), x - left, y - top, x + right, y + bottom))
    return _kept(hits, floor)


def yunet(said: Said, width: int, height: int, _labels: int, floor: float) -> list[Hit]:
    hits = []
    for stride in (8, 16, 32):
        parts = [said[f"{name}_{stride}"].reshape(-1, count) for name, count in (("cls", 1), ("obj", 1), ("bbox", 4))]
        for index in range((height // stride) * (width // stride)):
            row, column = divmod(index, width // stride)
            one, there = (min(max(float(part[index, 0]), 0.0), 1.0) for part in parts[:2])
            dx, dy, w, h = parts[2][index].tolist()
            box = centred((column + dx) * stride, (row + dy) * stride, math.exp(w) * stride, math.exp(h) * stride)
            hits.append((0, math.sqrt(one * there), *box))
    return _kept(hits, floor)
