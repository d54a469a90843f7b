"""Polygons: rasters against independent ones, shares against counting, faults found."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blurd.core.masking import Step, covered_share, covers, draw, drawn_box
from blurd.core.polygons import fault, meet, share_inside
from blurd.core.upright import Upright
from blurd.records import Box, Mask, MaskShape, MaskStyle, Point

WIDTH, HEIGHT = 64, 48
FINE = 16
"""Points of the independent raster a pixel, each way."""

SQUARE = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))
BOW_TIE = ((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0))


@st.composite
def stars(draw_from: st.DrawFn) -> tuple[Point, ...]:
    """Sound polygons, convex or not: corners around a centre, by growing angle; also beyond the picture's border."""
    count = draw_from(st.integers(3, 12))
    centre = draw_from(st.tuples(st.floats(-10, WIDTH + 10), st.floats(-10, HEIGHT + 10)))
    radii = draw_from(st.lists(st.floats(1.5, 40), min_size=count, max_size=count))
    turn = draw_from(st.floats(0, math.tau))
    return tuple(
        (
            centre[0] + radius * math.cos(turn + math.tau * number / count),
            centre[1] + radius * math.sin(turn + math.tau * number / count),
        )
        for number, radius in enumerate(radii)
    )


def polygon(points: tuple[Point, ...], style: MaskStyle = MaskStyle.BLUR) -> Mask:
    return Mask.polygon(points, style)


def inside(points: tuple[Point, ...], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Ray casting, point by point and edge by edge: nothing in common with the product's raster."""
    odd = np.zeros(x.shape, np.bool_)
    for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
        if y1 != y2:
            odd ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return odd


def supersampled(points: tuple[Point, ...], step: Step) -> NDArray[np.bool_]:
    """Samples in which at least one of many fine points lies inside."""
    rows, columns = HEIGHT // step.y, WIDTH // step.x
    x = (np.arange(columns * FINE) + 0.5) / FINE * step.x
    y = (np.arange(rows * FINE) + 0.5) / FINE * step.y
    fine = inside(points, *np.meshgrid(x, y))
    return np.asarray(fine.reshape(rows, FINE, columns, FINE).any(axis=(1, 3)), np.bool_)


@given(stars(), st.sampled_from([Step(), Step(2, 2), Step(2, 1), Step(4, 1)]))
@settings(max_examples=80)
def test_every_sample_that_the_polygon_touches_is_covered_and_few_others(points: tuple[Point, ...], step: Step) -> None:
    columns, rows = WIDTH // step.x, HEIGHT // step.y
    drawn = covers(polygon(points), columns, rows, step)
    seen = supersampled(points, step)
    assert not (seen & ~drawn).any()
    extra = drawn & ~seen  # touched by less than the fine points show: an edge passes within a fine point's reach
    near = cv2.dilate(seen.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    edges = _edge_samples(points, columns, rows, step)
    assert not (extra & ~edges).any()
    assert (extra & ~near).sum() <= len(points) * 4  # thin tips only


def _edge_samples(points: tuple[Point, ...], columns: int, rows: int, step: Step) -> NDArray[np.bool_]:
    """Samples through whose square, a hair wider, an edge passes, by walking along the edges."""
    found = np.zeros((rows, columns), np.bool_)
    for start, end in zip(points, (*points[1:], points[0]), strict=True):
        shares = np.linspace(0, 1, 8_000)[:, None]
        walked = (np.array(start) + shares * (np.array(end) - np.array(start))) / (step.x, step.y)
        for shift_x, shift_y in ((-0.01, 0), (0.01, 0), (0, -0.01), (0, 0.01)):
            place = np.floor(walked + np.array((shift_x, shift_y))).astype(int)
            there = (place >= 0).all(axis=1) & (place[:, 0] < columns) & (place[:, 1] < rows)
            found[place[there, 1], place[there, 0]] = True
    return found


@given(stars())
def test_what_opencv_fills_is_covered(points: tuple[Point, ...]) -> None:
    """OpenCV's own filling, on a ground around the whole polygon, with a pixel's grace for its rounding."""
    moved = tuple((x + 60, y + 60) for x, y in points)
    filled = np.zeros((180, 200), np.uint8)
    corners = np.round((np.array(moved) - 0.5) * 256).astype(np.int32)  # OpenCV's pixels have their centres there
    cv2.fillPoly(filled, [corners], 1, lineType=cv2.LINE_8, shift=8)
    drawn = covers(polygon(moved), 200, 180).astype(np.uint8)
    neighbours = np.ones((3, 3), np.uint8)
    assert not (filled.astype(bool) & ~cv2.dilate(drawn, neighbours).astype(bool)).any()
    assert not (cv2.erode(filled, neighbours).astype(bool) & ~drawn.astype(bool)).any()


@pytest.mark.parametrize("style", MaskStyle)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_polygon_is_drawn_where_it_is_and_nowhere_else(style: MaskStyle, channels: int) -> None:
    original = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, channels)).astype(np.uint8)
    mask = polygon(((5.5, 4.2), (50.1, 10.0), (30.0, 44.0), (20.0, 20.0)), style)
    changed = original.copy()
    draw(changed, [mask])
    under = covers(mask, WIDTH, HEIGHT)
    assert np.array_equal(changed[~under], original[~under])
    assert (changed != original).any(axis=2)[under].mean() > 0.9
    again = original.copy()
    draw(again, [mask])
    assert np.array_equal(changed, again)


def test_a_square_polygon_is_drawn_as_the_rectangle() -> None:
    """Up to the samples that its border only touches."""
    box = Box(10.5, 10.5, 30.5, 30.5)
    corners = ((10.5, 10.5), (30.5, 10.5), (30.5, 30.5), (10.5, 30.5))
    for style in MaskStyle:
        one = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
        other = one.copy()
        draw(one, [Mask(box, MaskShape.RECTANGLE, style)])
        draw(other, [polygon(corners, style)])
        assert np.array_equal(one, other)


def test_the_drawn_box_and_the_covered_share_of_a_polygon() -> None:
    triangle = polygon(((10.0, 10.0), (30.0, 10.0), (10.0, 30.0)))
    assert drawn_box(triangle) == triangle.box == Box(10, 10, 30, 30)
    assert covered_share(Box(11, 11, 15, 15), [triangle]) == 1.0
    assert covered_share(Box(25, 25, 29, 29), [triangle]) == 0.0
    assert 0.45 < covered_share(Box(10, 10, 30, 30), [triangle]) < 0.6


def test_a_polygon_has_points_and_nothing_else_has() -> None:
    for shape, points in ((MaskShape.POLYGON, ()), (MaskShape.RECTANGLE, SQUARE)):
        with pytest.raises(ValueError, match="points"):
            Mask(Box(10, 10, 30, 30), shape, MaskStyle.BLUR, points)
    with pytest.raises(ValueError, match="bounding box"):
        Mask(Box(10, 10, 30, 31), MaskShape.POLYGON, MaskStyle.BLUR, SQUARE)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_polygon_of_the_upright_picture_lies_back_as_its_samples_do(turns: int, mirrored: bool) -> None:  # noqa: FBT001
    lie = Upright(WIDTH, HEIGHT, turns, mirrored)
    mask = polygon(((3.0, 4.0), (40.0, 6.0), (20.0, 30.0)))
    stored = covers(lie.lay_back(mask), WIDTH, HEIGHT).astype(np.uint8)
    width, height = lie.size_px
    assert np.mean(lie.stand_up(stored).astype(bool) == covers(mask, width, height)) > 0.99


@given(stars(), st.floats(0, 50), st.floats(0, 30), st.floats(2, 14), st.floats(2, 14))
def test_the_share_inside_is_the_counted_one(
    points: tuple[Point, ...], left: float, top: float, width: float, height: float
) -> None:
    x, y = np.meshgrid(left + (np.arange(200) + 0.5) / 200 * width, top + (np.arange(200) + 0.5) / 200 * height)
    counted = inside(points, x, y).mean()
    assert share_inside(Box(left, top, left + width, top + height), points) == pytest.approx(counted, abs=0.02)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (SQUARE[:2], "3 to 64 points"),
        (SQUARE * 20, "3 to 64 points"),
        (((0.0, 0.0), (1.0, 1.0), (2.0, 2.0)), "encloses nothing"),
        (((0.0, 0.0), (math.nan, 1.0), (2.0, 0.0)), "finite"),
        (((0.0, 0.0), (math.inf, 1.0), (2.0, 0.0)), "finite"),
        (BOW_TIE, "encloses nothing"),
        (((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 5.0)), "cross"),
        ((*SQUARE, SQUARE[0]), "cross or touch"),
        (((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 0.0)), "cross or touch"),
        (((0.0, 0.0), (10.0, 0.0), (4.0, 0.0), (5.0, 9.0)), "cross or touch"),
    ],
)
def test_a_faulty_polygon_is_found(points: tuple[Point, ...], text: str) -> None:
    assert text in str(fault(points))


@given(stars())
def test_sound_polygons_are_sound_in_either_direction(points: tuple[Point, ...]) -> None:
    assert fault(points) is None
    assert fault(points[::-1]) is None
    assert np.array_equal(covers(polygon(points), WIDTH, HEIGHT), covers(polygon(points[::-1]), WIDTH, HEIGHT))


def test_polygons_meet_where_they_share_a_point() -> None:
    assert meet(SQUARE, ((20.0, 20.0), (60.0, 20.0), (60.0, 60.0)))
    assert meet(SQUARE, ((15.0, 15.0), (16.0, 15.0), (15.0, 16.0)))  # one inside the other
    assert meet(((15.0, 15.0), (16.0, 15.0), (15.0, 16.0)), SQUARE)
    assert not meet(SQUARE, ((31.0, 31.0), (60.0, 31.0), (60.0, 60.0)))
