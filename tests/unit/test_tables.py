"""Tables give back what was put in, at the same index."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blurd.core.tables import MaskTable, ObservationTable
from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle, Point

boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
    st.floats(0.01, 1e4),
    st.floats(0.01, 1e4),
)
styles = st.sampled_from(MaskStyle)
corners = st.tuples(st.floats(-50, 50), st.floats(-50, 50))
triangles = st.builds(
    lambda first, width, height, style: Mask.polygon(
        (first, (first[0] + width, first[1]), (first[0], first[1] + height)), style
    ),
    corners,
    st.floats(0.5, 99),
    st.floats(0.5, 99),
    styles,
)
masks = st.one_of(st.builds(Mask, boxes, st.sampled_from((MaskShape.ELLIPSE, MaskShape.RECTANGLE)), styles), triangles)
detections = st.builds(Detection, st.sampled_from(tuple(Category)), boxes, st.floats(0, 1))
observed = st.tuples(st.floats(0, 1e5), st.lists(detections, max_size=3).map(tuple), st.booleans(), st.booleans())
observation_lists = st.lists(observed, max_size=6).map(
    lambda rows: [FrameObservation(index, *row) for index, row in enumerate(rows)]
)
slices = st.builds(
    slice,
    st.one_of(st.none(), st.integers(-8, 8)),
    st.one_of(st.none(), st.integers(-8, 8)),
    st.sampled_from((None, 1, 2, -1, -3)),
)
SQUARE: tuple[Point, ...] = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))


@given(observation_lists, slices)
@settings(max_examples=60)
def test_observations_come_back(given_observations: list[FrameObservation], part: slice) -> None:
    table = ObservationTable(given_observations)
    assert len(table) == len(given_observations)
    assert list(table) == given_observations
    assert list(table[part]) == given_observations[part]
    for index in range(-len(given_observations), len(given_observations)):
        assert table[index] == given_observations[index]
    assert [table.time_s(index) for index in range(len(table))] == [one.time_s for one in given_observations]


@given(st.lists(st.lists(masks, max_size=3).map(tuple), max_size=6), slices)
@settings(max_examples=60)
def test_masks_come_back(frames: list[tuple[Mask, ...]], part: slice) -> None:
    table = MaskTable(frames)
    assert len(table) == len(frames)
    assert list(table) == frames
    assert list(table[part]) == frames[part]
    for index in range(-len(frames), len(frames)):
        assert table[index] == frames[index]


@pytest.mark.parametrize("table", [ObservationTable([FrameObservation(0, 0.0, ())]), MaskTable([()])])
@pytest.mark.parametrize("index", [1, -2, 7])
def test_what_lies_outside_is_refused(table: ObservationTable | MaskTable, index: int) -> None:
    with pytest.raises(IndexError):
        table[index]


def test_an_observation_out_of_order_is_refused() -> None:
    """The refused one leaves nothing behind."""
    table = ObservationTable([FrameObservation(0, 0.0, ())])
    for index in (0, 2):
        with pytest.raises(ValueError, match="order"):
            table.append(FrameObservation(index, 1.0, (Detection(Category.FACE, Box(0, 0, 1, 1), 0.5),)))
    table.append(FrameObservation(1, 1.0, ()))
    assert list(table) == [FrameObservation(0, 0.0, ()), FrameObservation(1, 1.0, ())]


def test_a_polygon_is_kept_once() -> None:
    """Equal corners in another style are another mask."""
    blur, solid = Mask.polygon(SQUARE, MaskStyle.BLUR), Mask.polygon(SQUARE, MaskStyle.SOLID)
    table = MaskTable([(blur,), (solid, blur), (Mask.polygon(SQUARE, MaskStyle.BLUR),)])
    assert list(table) == [(blur,), (solid, blur), (blur,)]
    assert table[0][0] is table[2][0]


def test_a_long_table_comes_back_whole_from_any_side() -> None:
    """More frames than a few blocks hold, read forwards, backwards and here and there."""
    chance = random.Random(3)  # noqa: S311
    given_observations = []
    for index in range(1500):
        corners = [(chance.randrange(1900), chance.randrange(1000)) for _ in range(chance.randrange(4))]
        hits = tuple(Detection(Category.PLATE, Box(x, y, x + 40, y + 20), chance.random()) for x, y in corners)
        given_observations.append(FrameObservation(index, index / 25, hits, analysed=index % 3 == 0))
    table = ObservationTable(given_observations)
    assert list(table) == given_observations
    assert list(table[::-1]) == given_observations[::-1]
    for _ in range(500):
        index = chance.randrange(1500)
        assert table[index] == given_observations[index]


def test_masks_that_stay_need_next_to_nothing() -> None:
    """An hour of a still camera: two masks in each of 90,000 frames would be 12 MiB unpacked."""
    mask = Mask(Box(1.125, 2, 3, 4), MaskShape.ELLIPSE, MaskStyle.BLUR)
    tracemalloc.start()
    table = MaskTable((mask, mask) for _ in range(90_000))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 90_000
    assert table[70_000] == (mask, mask)
    assert used < 1 << 20
