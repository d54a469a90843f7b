"""What all heads share: the values that go in and come out, and small arithmetic. Pure.

A family's `bind` looks at the outputs of a graph and at what is known of the network, and gives the function that
decodes them. Where they don't fit it raises `UnfitError`, whose words go to whoever wrote the `model.toml`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blurd.core.geometry import HitArray

Floats = NDArray[np.float64]
Map = NDArray[Any]
"""A raw output; whole numbers, or floating point of any width."""
Maps = Mapping[str, Map]
"""Raw outputs by name."""

LARGEST_SIDE_PX: Final = 1 << 16
"""Bounds the exponential of a size map: a wild value becomes a very large box, never an infinite one."""
UNKNOWN: Final = -1
"""In a shape: a length that is known only when the network ran."""


class UnfitError(ValueError):
    """The outputs of a graph are not those of the family; the text says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """`outputs` are the names of the maps it reads; `decode(maps, floor)` gives the hits at or above `floor`."""

    outputs: tuple[str, ...]
    decode: Callable[[Maps, float], tuple[HitArray, ...]]


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a graph, before it ran."""

    name: str
    shape: tuple[int, ...]
    is_whole: bool = False
    """Its values are whole numbers."""

    def __str__(self) -> str:
        lengths = ", ".join("?" if length == UNKNOWN else str(length) for length in self.shape)
        return f"{self.name or 'an output'} ({lengths})"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a network beside its outputs: the size of its input, how many labels it has, and settings.

    `first_label` is the number of the first label where labels are told by numbers; None where nothing says so.
    `in_shares` says that boxes count in shares of the input. `anchors` are pairs (width, height) in pixels.
    """

    width_px: int
    height_px: int
    labels: int
    first_label: int | None = None
    in_shares: bool = False
    anchors: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Hits in pixels of the input: boxes (N, 4), labels (N,) from 0, scores (N,), outlines (N, 16) or None."""

    boxes: Floats
    labels: NDArray[np.intp]
    scores: Floats
    outlines: Floats | None = None

    def of(self, label: int) -> HitArray:
        """The hits of one label, (N, 5), or (N, 21) with outlines; without what is no box."""
        rows = (self.labels == label) & np.isfinite(self.boxes).all(axis=1) & np.isfinite(self.scores)
        rows &= (self.boxes[:, 2] > self.boxes[:, 0]) & (self.boxes[:, 3] > self.boxes[:, 1])
        parts = [self.boxes[rows], self.scores[rows, np.newaxis].clip(0.0, 1.0)]
        if self.outlines is not None:
            parts.append(self.outlines[rows])
        hits: HitArray = np.concatenate(parts, axis=1)
        return hits


Decode = Callable[[Sequence[Map], float], Found]
"""The maps in the order of the graph's outputs, and the floor: what was found at or above it."""
Bind = Callable[[Sequence[Output], Facts], Decode]


def scored(boxes: Floats, scores: Floats, floor: float) -> tuple[Found, NDArray[np.intp]]:
    """One hit for each row and label whose score (N, labels) reaches the floor; and the rows (M,) they came from."""
    rows, labels = np.nonzero(scores >= floor)
    return Found(boxes[rows], labels, scores[rows, labels]), rows


def cornered(centred: Floats) -> Floats:
    """(N, 4) boxes given by centre x, centre y, width and height, by their corners."""
    half = np.minimum(centred[:, 2:4], LARGEST_SIDE_PX) / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def floats(values: Map) -> Floats:
    """In double precision."""
    return np.asarray(values, np.float64)


def sigmoid(values: Map) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    curve: Floats = 0.5 * (1.0 + np.tanh(0.5 * floats(values)))
    return curve


def softmax(values: Map) -> Floats:
    """Shares along the last axis."""
    risen = np.exp(floats(values) - floats(values).max(axis=-1, keepdims=True))
    shares: Floats = risen / risen.sum(axis=-1, keepdims=True)
    return shares


def exponential(values: Map) -> Floats:
    """exp(x), bounded: sizes of boxes."""
    risen: Floats = np.exp(np.minimum(floats(values), math.log(LARGEST_SIDE_PX)))
    return risen


def cells(rows: int, columns: int, anchors: int = 1) -> Floats:
    """(rows * columns * anchors, 2): column and row of each cell in reading order, each as often as it has anchors."""
    down, across = np.mgrid[0:rows, 0:columns]
    grid: Floats = np.repeat(np.stack([across, down], axis=-1).reshape(-1, 2), anchors, axis=0).astype(np.float64)
    return grid


def shares_px(facts: Facts) -> Floats:
    """(4,): what shares of the input are multiplied with."""
    return np.tile(np.array([facts.width_px, facts.height_px], np.float64), 2)


def has_shape(output: Output, *wanted: int | None) -> bool:
    """True where the output may have this shape; None stands for any length."""
    return len(output.shape) == len(wanted) and all(
        length is None or found in (length, UNKNOWN) for length, found in zip(wanted, output.shape, strict=True)
    )


def listed(outputs: Sequence[Output]) -> str:
    """The outputs as a person reads them."""
    return ", ".join(str(output) for output in outputs)
