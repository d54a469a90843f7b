"""Zones and regions: where and when they are masked, what they leave clear, and how little they cost."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.tables import MaskTable
from blurd.core.zones import CLEAR_SHARE, Canvas, ClearZone, Region, Unit, Zones, is_clear, with_zones, without_clear
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
    Timeline,
)

STYLE = MaskStyle.PIXELATE
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TRIANGLE = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
VIDEO = Canvas(MediaKind.VIDEO, ((200, 100),))
FACE = Detection(Category.FACE, Box(10, 10, 30, 40), 0.9)
TRACKED = Mask(Box(1, 2, 3, 4), MaskShape.ELLIPSE, STYLE)


class Times(Sequence[FrameObservation]):
    """Observations of nothing, at these times, made as they are asked for."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> FrameObservation:  # type: ignore[override]
        return FrameObservation(index, self._times[index], ())


def joined(times: Sequence[float], *regions: Region, canvas: Canvas = VIDEO) -> Sequence[tuple[Mask, ...]]:
    base = Timeline([(TRACKED,)] * len(times))
    return with_zones(base, Times(times), Zones(regions), canvas, STYLE).frames


def test_a_zone_holds_in_every_frame_and_for_every_resolution() -> None:
    frames = joined([0.0, 0.04, 0.08], Region(TRIANGLE))
    expected = Mask.polygon(((0.0, 0.0), (100.0, 0.0), (0.0, 50.0)), STYLE)
    assert list(frames) == [(TRACKED, expected)] * 3
    small = joined([0.0], Region(TRIANGLE), canvas=Canvas(MediaKind.VIDEO, ((20, 10),)))
    assert small[0][1].box == Box(0, 0, 10, 5)


def test_a_box_is_a_rectangle_and_pixels_are_pixels() -> None:
    region = Region(((5.0, 6.0), (50.0, 6.0), (50.0, 70.0), (5.0, 70.0)), Unit.PIXEL, is_box=True)
    assert joined([0.0], region)[0][1] == Mask(Box(5, 6, 50, 70), MaskShape.RECTANGLE, STYLE)


def test_without_zones_the_timeline_is_the_same() -> None:
    timeline = Timeline([(TRACKED,)])
    assert with_zones(timeline, Times([0.0]), Zones(), VIDEO, STYLE) is timeline


@given(
    st.lists(st.floats(0.001, 2), min_size=1, max_size=40),
    st.floats(0, 20),
    st.none() | st.floats(0, 30),
    st.none() | st.floats(0, 30),
)
def test_every_frame_that_is_shown_in_the_range_is_masked(
    gaps: list[float], first_s: float, from_s: float | None, to_s: float | None
) -> None:
    """Against the definition, frame by frame; times count from the first frame, whatever the stream begins with."""
    times = [first_s]
    for gap in gaps:
        times.append(times[-1] + gap)
    start_s = first_s + (from_s or 0.0)
    end_s = float("inf") if to_s is None else first_s + to_s
    expected = [
        time <= end_s and (following is None or following > start_s)
        for time, following in zip(times, [*times[1:], None], strict=True)
    ]
    after_the_end = start_s > times[-1] + gaps[-1]
    if after_the_end or start_s > end_s or not any(expected):
        return
    frames = joined(times, Region(LEFT_HALF, from_s=from_s, to_s=to_s))
    assert [len(masks) == 2 for masks in frames] == expected


def test_several_ranges_come_and_go() -> None:
    regions = [Region(LEFT_HALF, from_s=1, to_s=2), Region(TRIANGLE, from_s=2), Region(TRIANGLE, to_s=0)]
    assert [len(masks) - 1 for masks in joined([0, 1, 2, 3], *regions)] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    "region",
    [
        Region(LEFT_HALF, from_s=100.0),
        Region(((201.0, 0.0), (300.0, 0.0), (300.0, 50.0)), Unit.PIXEL),
        Region(((-20.0, 0.0), (-1.0, 0.0), (-1.0, 50.0)), Unit.PIXEL),
    ],
)
def test_a_region_that_no_frame_shows_is_an_error(region: Region) -> None:
    """Milliseconds written for seconds, or another picture's pixels, must not be ignored."""
    with pytest.raises(InputError) as caught:
        joined([0.0, 1.0, 2.0], region)
    assert caught.value.reason is Reason.REGIONS_INVALID


def test_a_region_in_a_long_last_frame_is_none() -> None:
    canvas = replace(VIDEO, duration_s=60.0)
    assert len(joined([0.0, 1.0], Region(LEFT_HALF, from_s=50.0), canvas=canvas)[1]) == 2


def test_in_an_image_times_are_ignored_and_every_page_has_its_size() -> None:
    canvas = Canvas(MediaKind.IMAGE, ((100, 100), (40, 20)))
    frames = joined([0.0, 0.0], Region(LEFT_HALF, from_s=5.0, to_s=6.0), canvas=canvas)
    assert [masks[1].box for masks in frames] == [Box(0, 0, 50, 100), Box(0, 0, 20, 20)]


def test_zones_of_a_long_video_cost_nothing_a_frame() -> None:
    count = 200_000
    timeline = Timeline(MaskTable([()] * count))
    frames = with_zones(
        timeline, Times(range(count)), Zones((Region(TRIANGLE), Region(LEFT_HALF, from_s=9))), VIDEO, STYLE
    ).frames
    assert len(frames) == count
    assert frames[0][0] is frames[count - 1][0]
    assert frames[-1] == frames[count - 1]
    assert [len(masks) for masks in frames[8:11]] == [1, 2, 2]


def test_a_table_keeps_a_polygon_once() -> None:
    """Of masks that were joined and kept, too."""
    polygon = Mask.polygon(((0.0, 0.0), (5.0, 0.0), (0.0, 5.0)), STYLE)
    tracemalloc.start()
    table = MaskTable((TRACKED, Mask.polygon(tuple(polygon.points), STYLE)) for _ in range(1000))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(table) == [(TRACKED, polygon)] * 1000
    assert table[0][1] is table[999][1]
    assert used < 1000 * 2 * 4 * 8 * 1.3


@pytest.mark.parametrize(("right", "clear"), [(100.0, True), (102.0, True), (103.0, False), (140.0, False)])
def test_a_hit_is_left_clear_when_nearly_all_of_it_lies_in_the_zone(right: float, clear: bool) -> None:  # noqa: FBT001
    zones = Zones(clear=(ClearZone(LEFT_HALF, Category.FACE),))
    hit = Detection(Category.FACE, Box(right - 20, 10, right, 40), 0.9)
    assert (20 - max(0.0, right - 100)) / 20 >= CLEAR_SHARE or not clear
    assert is_clear(hit, zones, (200, 100)) is clear


def test_only_the_named_class_is_left_clear() -> None:
    zones = Zones(clear=(ClearZone(LEFT_HALF, Category.FACE),))
    plate = replace(FACE, category=Category.PLATE)
    observations = [FrameObservation(0, 0.0, (FACE, plate)), FrameObservation(1, 1.0, (), cut=True, analysed=False)]
    left = without_clear(observations, zones, VIDEO)
    assert list(left) == [replace(observations[0], detections=(plate,)), observations[1]]


def test_a_clear_zone_takes_no_region_away() -> None:
    zones = Zones((Region(LEFT_HALF),), (ClearZone(LEFT_HALF, Category.FACE),))
    frames = with_zones(Timeline([()]), Times([0.0]), zones, VIDEO, STYLE).frames
    assert len(frames[0]) == 1
