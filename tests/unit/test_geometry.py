"""Boxes against brute force: areas by counting pixels, merging by the textbook's loop."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.geometry import (
    NO_HITS,
    MergeRule,
    clip,
    clip_hits,
    coverage,
    grow,
    intersection_over_union,
    merge,
    union_area,
    whole_pixels,
)
from blurd.records import Box

SUPPRESSION = MergeRule(link_iou=0.4, strong_share=1.0, shape_iou=0.4, reach=0.0)


@st.composite
def cells(draw: st.DrawFn) -> Box:
    """A box on whole pixels of a 24 x 24 picture."""
    left, top = draw(st.integers(0, 22)), draw(st.integers(0, 22))
    return Box(left, top, draw(st.integers(left + 1, 24)), draw(st.integers(top + 1, 24)))


EDGE = st.floats(-1e4, 1e4, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(EDGE), draw(EDGE)
    return Box(left, top, left + draw(st.floats(0.5, 5e3)), top + draw(st.floats(0.5, 5e3)))


def hits(seed: int, count: int) -> Any:
    """Hits around a few places, all scores different."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 200, (max(1, count // 5), 2))[random.integers(0, max(1, count // 5), count)]
    left_top = centres + random.normal(0, 4, (count, 2))
    sides = random.uniform(10, 30, (count, 2))
    scores = random.permutation(count)[:, None] / max(count, 1)
    return np.hstack([left_top, left_top + sides, scores])


def painted(covers: list[Box]) -> Any:
    picture = np.zeros((24, 24), np.bool_)
    for box in covers:
        picture[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
    return picture


@given(st.lists(cells(), max_size=8))
def test_the_union_counts_every_pixel_once(covers: list[Box]) -> None:
    assert union_area(covers) == int(painted(covers).sum())


@given(cells(), st.lists(cells(), max_size=8))
def test_coverage_is_the_share_of_the_pixels_that_are_covered(box: Box, covers: list[Box]) -> None:
    part = painted(covers)[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    assert coverage(box, covers) == int(part.sum()) / part.size


def test_coverage_is_exact_at_the_limit() -> None:
    """Nine tenths, put together from tenths that floating point can't hold: the sum must not fall short."""
    covers = [Box(step / 10, 0, (step + 1) / 10, 1) for step in range(9)]
    assert coverage(Box(0, 0, 1, 1), covers) == 0.9
    assert union_area(covers) == Fraction(0.9)


def test_coverage_of_covers_that_only_touch_is_nothing() -> None:
    assert coverage(Box(0, 0, 2, 2), [Box(2, 0, 4, 2), Box(0, -3, 2, 0)]) == 0.0


@given(boxes(), st.floats(0.0, 3.0))
def test_a_grown_box_contains_the_box_and_has_the_stated_size(box: Box, share: float) -> None:
    grown = grow(box, share)
    assert grown.left <= box.left < box.right <= grown.right
    assert grown.top <= box.top < box.bottom <= grown.bottom
    assert grown.width == pytest.approx(box.width * (1 + 2 * share), rel=1e-6)
    assert grown.height == pytest.approx(box.height * (1 + 2 * share), rel=1e-6)


def test_clipping_a_box() -> None:
    assert clip(Box(-5, 2, 5, 30), 10, 20) == Box(0, 2, 5, 20)
    assert clip(Box(10, 2, 15, 4), 10, 20) is None
    assert clip(Box(3, -4, 5, 0), 10, 20) is None


def test_clipping_hits_leaves_out_what_lies_outside() -> None:
    found = np.array([[-5, 2, 5, 30, 0.5], [10, 2, 15, 4, 0.6], [1, 1, 2, 2, 0.7]])
    assert clip_hits(found, 10, 20).tolist() == [[0, 2, 5, 20, 0.5], [1, 1, 2, 2, 0.7]]
    assert found[0, 0] == -5, "the input stays as it was"


@given(st.lists(cells(), min_size=1, max_size=5), st.lists(cells(), min_size=1, max_size=5))
def test_overlap_against_counted_pixels(first: list[Box], second: list[Box]) -> None:
    def rows(many: list[Box]) -> Any:
        return np.array([[box.left, box.top, box.right, box.bottom] for box in many])

    table = intersection_over_union(rows(first), rows(second))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            common, both = painted([one]) & painted([other]), painted([one, other])
            assert table[row, column] == pytest.approx(common.sum() / both.sum(), abs=1e-12)


def test_whole_pixels_reach_outwards_but_ignore_the_dust_of_arithmetic() -> None:
    found = np.array([[1.2, 2.0000000001, 4.0000000001, 5.7, 0.5], [0.9999999999, 1.5, 2.5, 2.9999999999, 0.4]])
    assert whole_pixels(found).tolist() == [[1, 2, 4, 6, 0.5], [1, 1, 3, 3, 0.4]]


@given(st.integers(0, 10_000), st.integers(0, 60))
def test_merging_without_shaping_is_the_usual_suppression(seed: int, count: int) -> None:
    found = hits(seed, count)
    kept: list[Any] = []
    for hit in sorted(found.tolist(), key=lambda row: -row[4]):
        if all(intersection_over_union(np.array([hit]), np.array([other]))[0, 0] < 0.4 for other in kept):
            kept.append(hit)
    merged = merge(found, SUPPRESSION)
    assert merged.shape == (len(kept), 5)
    assert np.allclose(merged, np.array(kept).reshape(-1, 5))


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_merging_again_changes_nothing(seed: int, count: int) -> None:
    once = merge(hits(seed, count), SUPPRESSION)
    assert np.array_equal(merge(once, SUPPRESSION), once)


@given(st.integers(0, 10_000), st.integers(1, 60), st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_order(seed: int, count: int, random: Any) -> None:
    found = hits(seed, count)
    order = list(range(count))
    random.shuffle(order)
    rule = MergeRule(link_iou=0.4, strong_share=0.5, shape_iou=0.5, reach=0.5)
    assert np.array_equal(merge(found[order], rule), merge(found, rule))


def test_the_merged_box_lies_between_the_mean_and_the_outermost_edges() -> None:
    found = np.array([[10, 10, 30, 30, 0.9], [12, 8, 32, 28, 0.6], [11, 11, 28, 31, 0.1], [80, 80, 90, 90, 0.3]])

    def first(reach: float) -> Any:
        merged = merge(found, MergeRule(link_iou=0.4, strong_share=0.5, shape_iou=0.5, reach=reach))
        assert merged[:, 4].tolist() == [0.9, 0.3], "one hit for each thing, with its best score"
        return merged[0, :4]

    assert first(0.0).tolist() == pytest.approx([10.8, 9.2, 30.8, 29.2])
    assert first(1.0).tolist() == [10, 8, 32, 30], "the third hit is too weak to shape the box"
    assert first(0.5).tolist() == pytest.approx([10.4, 8.6, 31.4, 29.6])


def test_merging_nothing_gives_nothing() -> None:
    assert merge(NO_HITS, SUPPRESSION).shape == (0, 5)


def test_hits_without_score_are_merged_too() -> None:
    assert merge(np.array([[0, 0, 4, 4, 0.0], [0, 0, 4, 4, 0.0]]), SUPPRESSION).tolist() == [[0, 0, 4, 4, 0]]


@pytest.mark.parametrize("fault", [{"link_iou": 0.0}, {"reach": 1.1}, {"strong_share": -0.1}, {"shape_iou": 2.0}])
def test_a_rule_out_of_range_is_refused(fault: dict[str, float]) -> None:
    right = {"link_iou": 0.4, "strong_share": 0.5, "shape_iou": 0.5, "reach": 0.5}
    MergeRule(**right)
    with pytest.raises(ValueError, match="between 0 and 1"):
        MergeRule(**(right | fault))
