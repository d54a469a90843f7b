"""Long lists of observations and of masks, kept as numbers: an hour of video in some tens of MiB. Pure.

Invariants
* A table is a sequence: what was appended comes back equal, at the same index.
* Appending is the only change; a table that is read is not appended to any more.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle

_CATEGORIES = tuple(Category)
_SHAPES = tuple(MaskShape)
_STYLES = tuple(MaskStyle)
_CUT, _ANALYSED = 1, 2


class ObservationTable(Sequence[FrameObservation]):
    """One observation for each frame: 13 bytes a frame and 41 a detection."""

    def __init__(self, observations: Iterable[FrameObservation] = ()) -> None:
        self._times = array("d")
        self._flags = array("B")
        self._ends = array("I")
        self._categories = array("B")
        self._numbers = array("d")
        for observation in observations:
            self.append(observation)

    def append(self, observation: FrameObservation) -> None:
        """Add the next frame's observation; its index is the number of those before it."""
        if observation.index != len(self._times):
            raise ValueError("observations are appended in the order of their frames")
        self._times.append(observation.time_s)
        self._flags.append(_CUT * observation.cut | _ANALYSED * observation.analysed)
        for detection in observation.detections:
            box = detection.box
            self._categories.append(_CATEGORIES.index(detection.category))
            self._numbers.extend((box.left, box.top, box.right, box.bottom, detection.score))
        self._ends.append(len(self._categories))

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
        detections = tuple(self._detection(row) for row in _rows(self._ends, place))
        return FrameObservation(place, self._times[place], detections, bool(flags & _CUT), bool(flags & _ANALYSED))

    def __iter__(self) -> Iterator[FrameObservation]:
        return (self[index] for index in range(len(self)))

    def _detection(self, row: int) -> Detection:
        left, top, right, bottom, score = self._numbers[5 * row : 5 * row + 5]
        return Detection(_CATEGORIES[self._categories[row]], Box(left, top, right, bottom), score)


class MaskTable(Sequence[tuple[Mask, ...]]):
    """The masks of each frame: 4 bytes a frame and 34 a mask. A polygon is kept once, however often it comes back."""

    def __init__(self, frames: Iterable[Sequence[Mask]] = ()) -> None:
        self._polygons: dict[Mask, int] = {}
        self._polygon_masks: list[Mask] = []
        self._ends = array("I")
        self._kinds = array("B")
        self._numbers = array("d")
        for masks in frames:
            self.append(masks)

    def append(self, masks: Sequence[Mask]) -> None:
        """Add the next frame's masks."""
        for mask in masks:
            box = mask.box
            self._kinds.extend((_SHAPES.index(mask.shape), _STYLES.index(mask.style)))
            if mask.points:
                self._numbers.extend((self._polygon_number(mask), 0.0, 0.0, 0.0))
            else:
                self._numbers.extend((box.left, box.top, box.right, box.bottom))
        self._ends.append(len(self._kinds) // 2)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[Mask, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Mask, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Mask, ...] | Sequence[tuple[Mask, ...]]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        return tuple(self._mask(row) for row in _rows(self._ends, _place(index, len(self))))

    def __iter__(self) -> Iterator[tuple[Mask, ...]]:
        return (self[index] for index in range(len(self)))

    def _polygon_number(self, mask: Mask) -> int:
        number = self._polygons.setdefault(mask, len(self._polygon_masks))
        if number == len(self._polygon_masks):
            self._polygon_masks.append(mask)
        return number

    def _mask(self, row: int) -> Mask:
        left, top, right, bottom = self._numbers[4 * row : 4 * row + 4]
        shape, style = self._kinds[2 * row : 2 * row + 2]
        if _SHAPES[shape] is MaskShape.POLYGON:
            return self._polygon_masks[int(left)]
        return Mask(Box(left, top, right, bottom), _SHAPES[shape], _STYLES[style])


def _place(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError(index)
    return place


def _rows(ends: "array[int]", place: int) -> range:
    return range(ends[place - 1] if place else 0, ends[place])
