"""Fixed zones and a file's own regions: what is masked, or left clear, because somebody said so. Pure.

Invariants
* A region is masked in its outline, in every frame that is shown at any moment of its time range; nothing takes that
  away. In an image, which has no time, a range is ignored: the region is masked on every page.
* A clear zone takes away hits of one class that lie in it almost wholly; it takes no mask away.
* What is kept grows with the number of regions, not with the number of frames.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Final, overload

from blurd.core.polygons import share_inside
from blurd.core.tables import ObservationTable
from blurd.errors import InputError, Reason
from blurd.records import (
    Box,
    Category,
    Detection,
    FrameObservation,
    Mask,
    MaskShape,
    MaskStyle,
    MediaKind,
    Point,
    Timeline,
    bounding_box,
)

CLEAR_SHARE: Final = 0.9
"""A hit is left clear when this share of its box, or more, lies in a clear zone of its class."""

Size = tuple[int, int]
"""Width and height of an upright picture in pixels."""


class Unit(StrEnum):
    """What the numbers of an outline count: shares of the upright picture's width and height, or its pixels."""

    SHARE = "share"
    PIXEL = "px"


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the picture that is masked; with `is_box` its outline is the bounding box of the points.

    `from_s` and `to_s` count from the first frame; None is the beginning and the end.
    """

    points: tuple[Point, ...]
    unit: Unit = Unit.SHARE
    is_box: bool = False
    from_s: float | None = None
    to_s: float | None = None


@dataclass(frozen=True, slots=True)
class ClearZone:
    """A polygon, in shares, in which hits of one class are false alarms."""

    points: tuple[Point, ...]
    category: Category


@dataclass(frozen=True, slots=True)
class Zones:
    """All that is fixed for one file: a folder's zones and the file's own regions."""

    regions: tuple[Region, ...] = ()
    clear: tuple[ClearZone, ...] = ()

    def with_regions(self, regions: tuple[Region, ...]) -> "Zones":
        """These zones and a file's own regions."""
        return replace(self, regions=self.regions + regions)


@dataclass(frozen=True, slots=True)
class Canvas:
    """The upright pictures of a file: one size for all frames, or one for each."""

    kind: MediaKind
    sizes_px: tuple[Size, ...]
    duration_s: float = 0.0

    def size_px(self, index: int) -> Size:
        """The size of one frame."""
        return self.sizes_px[index] if len(self.sizes_px) > 1 else self.sizes_px[0]


def is_clear(hit: Detection, zones: Zones, size_px: Size) -> bool:
    """True for a false alarm that a clear zone names."""
    return any(
        zone.category is hit.category and share_inside(hit.box, _scaled(zone.points, size_px)) >= CLEAR_SHARE
        for zone in zones.clear
    )


def without_clear(observations: Sequence[FrameObservation], zones: Zones, canvas: Canvas) -> Sequence[FrameObservation]:
    """The observations without the hits that are left clear."""
    if not zones.clear:
        return observations

    def seen(observation: FrameObservation) -> FrameObservation:
        size_px = canvas.size_px(observation.index)
        left = tuple(hit for hit in observation.detections if not is_clear(hit, zones, size_px))
        return replace(observation, detections=left)

    return ObservationTable(map(seen, observations))


def with_zones(
    timeline: Timeline, observations: Sequence[FrameObservation], zones: Zones, canvas: Canvas, style: MaskStyle
) -> Timeline:
    """The timeline with all regions masked too.

    Raises `InputError(REGIONS_INVALID)` for a region that no frame shows: it lies outside the picture, or begins after
    the last frame.
    """
    if not zones.regions or not observations:
        return timeline
    if canvas.kind is MediaKind.IMAGE:
        starts, active = _by_page(len(observations), zones.regions, canvas, style)
    else:
        starts, active = _by_time(observations, zones.regions, canvas, style)
    return Timeline(_Joined(timeline.frames, starts, active))


class _Joined(Sequence[tuple[Mask, ...]]):
    """Each frame's masks and those of the regions: `active[n]` from frame `starts[n]` to before the next start."""

    def __init__(
        self, frames: Sequence[tuple[Mask, ...]], starts: Sequence[int], active: Sequence[tuple[Mask, ...]]
    ) -> None:
        self._frames = frames
        self._starts = starts
        self._active = active

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> tuple[Mask, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Mask, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Mask, ...] | Sequence[tuple[Mask, ...]]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        masks = self._frames[index]
        place = index + len(self) if index < 0 else index
        return (*masks, *self._active[bisect_right(self._starts, place) - 1])

    def __iter__(self) -> Iterator[tuple[Mask, ...]]:
        return (self[index] for index in range(len(self)))


def _by_page(
    count: int, regions: Sequence[Region], canvas: Canvas, style: MaskStyle
) -> tuple[Sequence[int], list[tuple[Mask, ...]]]:
    sizes = {canvas.size_px(page) for page in range(count)}
    masks = {size: tuple(_mask(region, size, style) for region in regions) for size in sizes}
    for number in range(len(regions)):
        if all(_is_outside(masks[size][number].box, size) for size in sizes):
            raise _unseen()
    return range(count), [masks[canvas.size_px(page)] for page in range(count)]


def _by_time(
    observations: Sequence[FrameObservation], regions: Sequence[Region], canvas: Canvas, style: MaskStyle
) -> tuple[Sequence[int], list[tuple[Mask, ...]]]:
    size = canvas.size_px(0)
    changes: dict[int, list[tuple[bool, int]]] = {0: []}
    masks: list[Mask] = []
    for number, region in enumerate(regions):
        masks.append(_mask(region, size, style))
        shown = _shown(region, lambda index: observations[index].time_s, len(observations), canvas.duration_s)
        if not shown or _is_outside(masks[number].box, size):
            raise _unseen()
        changes.setdefault(shown.start, []).append((True, number))
        changes.setdefault(shown.stop, []).append((False, number))
    starts = sorted(changes)
    numbers: Iterator[frozenset[int]] = accumulate(
        (changes[start] for start in starts), _changed, initial=frozenset()
    )  # fmt: skip
    return starts, [tuple(masks[number] for number in sorted(now)) for _, now in pairwise(numbers)]


def _changed(before: frozenset[int], changes: list[tuple[bool, int]]) -> frozenset[int]:
    added = {number for begins, number in changes if begins}
    return (before | added) - {number for begins, number in changes if not begins}


def _shown(region: Region, time_s: Callable[[int], float], count: int, duration_s: float) -> range:
    """The frames that are shown at any moment of the range; a frame is shown until the next one comes."""
    first_s = time_s(0)
    frames = range(count)
    end_s = max(first_s + duration_s, _end_s(time_s, count))
    start = 0 if region.from_s is None else max(0, bisect_right(frames, first_s + region.from_s, key=time_s) - 1)
    stop = count if region.to_s is None else bisect_right(frames, first_s + region.to_s, key=time_s)
    if region.from_s is not None and first_s + region.from_s > end_s:
        return range(0)
    return range(start, stop)


def _end_s(time_s: Callable[[int], float], count: int) -> float:
    """When the last frame is gone, at the pace of the one before it."""
    last_s = time_s(count - 1)
    return last_s + (last_s - time_s(count - 2) if count > 1 else 1.0)


def _mask(region: Region, size_px: Size, style: MaskStyle) -> Mask:
    points = _scaled(region.points, size_px) if region.unit is Unit.SHARE else region.points
    if region.is_box:
        return Mask(bounding_box(points), MaskShape.RECTANGLE, style)
    return Mask.polygon(points, style)


def _scaled(points: tuple[Point, ...], size_px: Size) -> tuple[Point, ...]:
    width, height = size_px
    return tuple((x * width, y * height) for x, y in points)


def _is_outside(box: Box, size_px: Size) -> bool:
    return box.left >= size_px[0] or box.top >= size_px[1] or box.right <= 0 or box.bottom <= 0


def _unseen() -> InputError:
    return InputError(Reason.REGIONS_INVALID, "place regions", "A region lies outside the picture or after its end.")
