"""Long lists of observations and of masks, kept packed: an hour of video in some tens of MiB. Pure.

Invariants
* A table is a sequence: what was appended comes back equal, at the same index.
* Appending is the only change; a table that is read is not appended to any more.
* Frames are packed in blocks; a few blocks that were read last are kept unpacked, for who goes forwards or backwards.
"""

import math
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, overload

from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle

_FRAMES_A_BLOCK: Final = 128
_BLOCKS_UNPACKED: Final = 4
_POLYGONS_UNPACKED: Final = 64
_KINDS = tuple((shape, style) for shape in MaskShape for style in MaskStyle)
_CUT, _ANALYSED = 1, 2
_OUTLINE: Final = 255
"""In the place of a category's number: what belongs to the outline of the hit before."""
_WIDTH: Final = 5


class _Rows:
    """Byte strings in packed blocks."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._unpacked: OrderedDict[int, list[bytes]] = OrderedDict()

    def append(self, row: bytes) -> None:
        self._open.append(row)
        if len(self._open) == _FRAMES_A_BLOCK:
            lengths = array("I", map(len, self._open))
            self._blocks.append(zlib.compress(lengths.tobytes() + b"".join(self._open), 1))
            self._open = []

    def __len__(self) -> int:
        return _FRAMES_A_BLOCK * len(self._blocks) + len(self._open)

    def __getitem__(self, index: int) -> bytes:
        block, place = divmod(index, _FRAMES_A_BLOCK)
        if block == len(self._blocks):
            return self._open[place]
        if block not in self._unpacked:
            self._unpacked[block] = _unpacked(self._blocks[block])
            if len(self._unpacked) > _BLOCKS_UNPACKED:
                self._unpacked.popitem(last=False)
        return self._unpacked[block][place]


def _unpacked(block: bytes) -> list[bytes]:
    content = zlib.decompress(block)
    lengths = array("I")
    start = lengths.itemsize * _FRAMES_A_BLOCK
    lengths.frombytes(content[:start])
    rows = []
    for length in lengths:
        rows.append(content[start : start + length])
        start += length
    return rows


def _coded(row: bytes, width: int) -> Iterator[tuple[int, "array[float]"]]:
    """The codes that end a row, each with its `width` of the numbers that begin it."""
    numbers = array("d")
    codes_start = len(row) - len(row) // (width * numbers.itemsize + 1)
    numbers.frombytes(row[:codes_start])
    for place, code in enumerate(row[codes_start:]):
        yield code, numbers[width * place : width * (place + 1)]


class ObservationTable(Sequence[FrameObservation]):
    """One observation for each frame."""

    def __init__(self, observations: Iterable[FrameObservation] = ()) -> None:
        self._times = array("d")
        self._flags = array("B")
        self._rows = _Rows()
        self._categories: list[Category] = []
        for observation in observations:
            self.append(observation)

    def append(self, observation: FrameObservation) -> None:
        """Add the next frame's observation; its index is the number of those before it."""
        if observation.index != len(self._times):
            raise ValueError("observations are appended in the order of their frames")
        self._times.append(observation.time_s)
        self._flags.append(_CUT * observation.cut | _ANALYSED * observation.analysed)
        numbers, categories = array("d"), bytearray()
        for detection in observation.detections:
            box = detection.box
            categories.append(self._number(detection.category))
            numbers.extend((box.left, box.top, box.right, box.bottom, detection.score))
            for start in range(0, len(detection.outline), _WIDTH):
                categories.append(_OUTLINE)
                part = detection.outline[start : start + _WIDTH]
                numbers.extend((*part, *(math.nan for _ in range(_WIDTH - len(part)))))
        self._rows.append(numbers.tobytes() + categories)

    def time_s(self, index: int) -> float:
        """The time of one frame."""
        return self._times[index]

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> FrameObservation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FrameObservation]: ...
    def __getitem__(self, index: int | slice) -> FrameObservation | Sequence[FrameObservation]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = _place(index, len(self))
        flags = self._flags[place]
        detections: list[Detection] = []
        for code, numbers in _coded(self._rows[place], _WIDTH):
            if code == _OUTLINE:
                part = tuple(number for number in numbers if not math.isnan(number))
                detections[-1] = replace(detections[-1], outline=detections[-1].outline + part)
            else:
                left, top, right, bottom, score = numbers
                detections.append(Detection(self._categories[code], Box(left, top, right, bottom), score))
        is_cut, analysed = bool(flags & _CUT), bool(flags & _ANALYSED)
        return FrameObservation(place, self._times[place], tuple(detections), is_cut, analysed)

    def __iter__(self) -> Iterator[FrameObservation]:
        return (self[index] for index in range(len(self)))

    def _number(self, category: Category) -> int:
        if category not in self._categories:
            if len(self._categories) == _OUTLINE:
                raise ValueError("a video has fewer classes than that")
            self._categories.append(category)
        return self._categories.index(category)


class MaskTable(Sequence[tuple[Mask, ...]]):
    """The masks of each frame. A polygon's corners are kept once, however often it comes back."""

    def __init__(self, frames: Iterable[Sequence[Mask]] = ()) -> None:
        self._polygons: dict[bytes, int] = {}
        self._corners: list[bytes] = []
        self._unpacked: OrderedDict[tuple[int, MaskStyle], Mask] = OrderedDict()
        self._rows = _Rows()
        for masks in frames:
            self.append(masks)

    def append(self, masks: Sequence[Mask]) -> None:
        """Add the next frame's masks."""
        numbers, kinds = array("d"), bytearray()
        for mask in masks:
            box = mask.box
            kinds.append(_KINDS.index((mask.shape, mask.style)))
            if mask.points:
                numbers.extend((self._polygon_number(mask), 0.0, 0.0, 0.0))
            else:
                numbers.extend((box.left, box.top, box.right, box.bottom))
        self._rows.append(numbers.tobytes() + kinds)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Mask, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Mask, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Mask, ...] | Sequence[tuple[Mask, ...]]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        return tuple(self._masks(self._rows[_place(index, len(self))]))

    def __iter__(self) -> Iterator[tuple[Mask, ...]]:
        return (self[index] for index in range(len(self)))

    def _polygon_number(self, mask: Mask) -> int:
        corners = array("d", (number for point in mask.points for number in point)).tobytes()
        number = self._polygons.setdefault(corners, len(self._corners))
        if number == len(self._corners):
            self._corners.append(corners)
        return number

    def _polygon(self, number: int, style: MaskStyle) -> Mask:
        known = self._unpacked.pop((number, style), None)
        if known is None:
            corners = array("d")
            corners.frombytes(self._corners[number])
            known = Mask.polygon(tuple(zip(corners[::2], corners[1::2], strict=True)), style)
        self._unpacked[number, style] = known
        if len(self._unpacked) > _POLYGONS_UNPACKED:
            self._unpacked.popitem(last=False)
        return known

    def _masks(self, row: bytes) -> Iterator[Mask]:
        for kind, (left, top, right, bottom) in _coded(row, 4):
            shape, style = _KINDS[kind]
            if shape is MaskShape.POLYGON:
                yield self._polygon(int(left), style)
            else:
                yield Mask(Box(left, top, right, bottom), shape, style)


def _place(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError(index)
    return place
