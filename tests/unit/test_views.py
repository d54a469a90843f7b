"""Every pixel is looked at, nothing is lost between tiles, and hits come back to where they were."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.views import EDGE_MARGIN_PX, THINNEST_PX, Edges, Variant, View, ViewRule, scales, views

RULE = ViewRule(
    largest_scale=3.0,
    magnified_pixels=1_000_000,
    finest_pixels=1 << 30,
    ratio=1.5,
    whole_px=200,
    tile_px=320,
    overlap_px=64,
    smallest_px=16.0,
    largest_px=100.0,
    variants=(Variant(), Variant(mirrored=True, grey=True)),
    variant_pixels=500_000,
)
SIDE = st.one_of(st.integers(1, 64), st.integers(1, 2_000))
MEGAPIXELS = st.sampled_from([(10_000, 10_000), (4_000, 3_000), (100_000, 1_000), (3, 60_000), (1, 1)])
SIZES = st.one_of(st.tuples(SIDE, SIDE), MEGAPIXELS)


def levels(width: int, height: int, rule: ViewRule = RULE) -> dict[float, list[View]]:
    """The plain views of each level, by how much wider than its part of the picture a view is."""
    grouped: dict[float, list[View]] = {}
    for view in views(width, height, rule):
        if view.variant == Variant():
            key = next(
                scale
                for scale in scales(width, height, rule)
                if abs(view.width_px - max(1, (view.right - view.left) * scale)) <= 1
                and abs(view.height_px - max(1, (view.bottom - view.top) * scale)) <= 1
            )
            grouped.setdefault(key, []).append(view)
    return grouped


def plain(view: View) -> View:
    """The same view without any rule on the size of hits."""
    return dataclasses.replace(view, smallest_px=0.0, largest_px=np.inf, inner=Edges(*[False] * 4))


@given(SIZES)
def test_every_level_shows_every_pixel(size: tuple[int, int]) -> None:
    width, height = size
    shown = levels(width, height)
    assert tuple(shown) == scales(width, height, RULE)
    for tiles in shown.values():
        for low, high, end in (("left", "right", width), ("top", "bottom", height)):
            spans = sorted({(getattr(tile, low), getattr(tile, high)) for tile in tiles})
            assert spans[0][0] == 0
            assert spans[-1][1] == end
            assert all(after[0] < before[1] for before, after in pairwise(spans)), "neighbours overlap"
        columns = {(tile.left, tile.right) for tile in tiles}
        rows = {(tile.top, tile.bottom) for tile in tiles}
        assert len(tiles) == len(columns) * len(rows), "every column is shown in every row"


@given(SIZES)
def test_tiles_overlap_by_no_more_than_they_must(size: tuple[int, int]) -> None:
    width, height = size
    for scale, tiles in levels(width, height).items():
        for low, high, end in (("left", "right", width), ("top", "bottom", height)):
            spans = {(getattr(tile, low), getattr(tile, high)) for tile in tiles}
            twice = sum(stop - start for start, stop in spans) - end
            assert twice <= (len(spans) - 1) * (RULE.overlap_px / scale + 3)


@given(SIZES)
def test_views_are_small_and_their_edges_are_told_apart(size: tuple[int, int]) -> None:
    width, height = size
    for view in views(width, height, RULE):
        assert 1 <= view.width_px <= RULE.tile_px
        assert 1 <= view.height_px <= RULE.tile_px
        assert view.inner == Edges(view.left > 0, view.top > 0, view.right < width, view.bottom < height)


@given(SIZES)
def test_the_cost_is_bounded(size: tuple[int, int]) -> None:
    """The finest level and, by a geometric series, all others; twice for variants; tiles with their overlap."""
    width, height = size
    finest = max(RULE.magnified_pixels, width * height)
    shown = sum(view.width_px * view.height_px for view in views(width, height, RULE))
    series = 1 / (1 - RULE.ratio**-2)
    tiles = (RULE.tile_px / (RULE.tile_px - RULE.overlap_px - 8)) ** 2
    ends = (1 + RULE.tile_px / max(1, min(width, height))) if min(width, height) < THINNEST_PX else 2.0
    assert shown <= (finest * series * tiles + len(RULE.variants) * RULE.variant_pixels * series) * ends + 4_096


@given(SIZES)
def test_the_coarsest_level_is_the_whole_picture_unless_it_is_a_thread(size: tuple[int, int]) -> None:
    width, height = size
    coarsest = scales(width, height, RULE)[-1]
    tiles = levels(width, height)[coarsest]
    if len(tiles) > 1:
        assert min(width, height) * coarsest / RULE.ratio < THINNEST_PX
    else:
        assert (tiles[0].left, tiles[0].top, tiles[0].right, tiles[0].bottom) == (0, 0, width, height)


@given(st.integers(1, 1_500), st.integers(1, 1_500), st.data())
def test_a_thing_of_the_promised_size_is_whole_inside_some_tile(width: int, height: int, data: st.DataObject) -> None:
    for scale, tiles in levels(width, height).items():
        side = min((RULE.overlap_px - 2 * EDGE_MARGIN_PX) / scale, width, height)
        left = data.draw(st.floats(0, width - side))
        top = data.draw(st.floats(0, height - side))
        hit = np.array([[left, top, left + side, top + side, 0.5]])
        seen = [tile for tile in tiles if len(in_picture(tile, hit))]
        assert seen, "some tile keeps it"


def in_view(view: View, hits: Any) -> Any:
    """Hits of the picture as the network would report them in the view."""
    x, y = view.width_px / (view.right - view.left), view.height_px / (view.bottom - view.top)
    inside = (hits - (view.left, view.top, view.left, view.top, 0)) * (x, y, x, y, 1)
    if view.variant.mirrored:
        inside[:, [0, 2]] = view.width_px - inside[:, [2, 0]]
    return inside


def in_picture(view: View, hits: Any) -> Any:
    return dataclasses.replace(view, smallest_px=0.0, largest_px=np.inf).to_picture(in_view(view, hits))


@given(SIZES, st.integers(0, 1_000))
def test_mapping_back_is_the_inverse_of_showing(size: tuple[int, int], seed: int) -> None:
    width, height = size
    random = np.random.default_rng(seed)
    for view in list(views(width, height, RULE))[:: max(1, seed % 7)][:20]:
        corner = random.uniform(0, 1, (5, 2)) * (view.right, view.bottom)
        hits = np.hstack([corner, corner + random.uniform(0.1, 50, (5, 2)), random.uniform(0, 1, (5, 1))])
        assert np.allclose(plain(view).to_picture(in_view(view, hits)), hits, atol=1e-6)


def test_a_mirrored_view_is_mirrored_left_to_right() -> None:
    view = View(0, 0, 100, 50, 200, 100, Variant(mirrored=True), Edges(*[False] * 4), 0.0, np.inf)
    assert view.to_picture(np.array([[0.0, 10, 20, 30, 0.5]])).tolist() == [[90, 5, 100, 15, 0.5]]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_hit_cut_off_by_a_neighbour_is_dropped_and_one_at_the_picture_edge_is_kept(mirrored: bool) -> None:  # noqa: FBT001
    view = View(0, 0, 100, 100, 100, 100, Variant(mirrored=mirrored), Edges(False, False, True, False), 0.0, np.inf)
    at_edge, at_neighbour = [-2.0, 40, 30, 60, 0.5], [60.0, 40, 93, 60, 0.5]
    assert view.to_picture(in_view(view, np.array([at_edge, at_neighbour]))).tolist() == [at_edge]


def test_each_inner_edge_counts() -> None:
    hits = np.array([[0.0, 30, 40, 70, 1], [30.0, 0, 70, 40, 2], [60.0, 30, 100, 70, 3], [30.0, 60, 70, 100, 4]])
    for edge, name in enumerate(("left", "top", "right", "bottom")):
        inner = dataclasses.replace(Edges(*[False] * 4), **{name: True})
        view = View(0, 0, 100, 100, 100, 100, Variant(), inner, 0.0, np.inf)
        assert view.to_picture(hits)[:, 4].tolist() == [score for score in (1, 2, 3, 4) if score != edge + 1]


def test_sizes_are_left_to_the_level_that_sees_them_well() -> None:
    """A size that is too small on one level is large enough on the next finer one, and the other way round."""
    found = levels(1_000, 800)
    finest, *middle, coarsest = (tiles[0] for tiles in found.values())
    assert (finest.smallest_px, finest.largest_px) == (0.0, RULE.largest_px)
    assert all((view.smallest_px, view.largest_px) == (RULE.smallest_px, RULE.largest_px) for view in middle)
    assert middle
    assert (coarsest.smallest_px, coarsest.largest_px) == (RULE.smallest_px, np.inf)
    sizes = np.array([[0, 0, side, side, 0.5] for side in (4.0, 15.9, 16, 99.9, 100, 150)])
    middle_view = dataclasses.replace(plain(middle[0]), smallest_px=16.0, largest_px=100.0)
    kept = middle_view.to_picture(sizes)
    scale = (middle_view.right - middle_view.left) / middle_view.width_px
    assert (kept[:, 2] / scale).tolist() == pytest.approx([16, 99.9])


def test_variants_are_shown_where_the_level_is_small_enough() -> None:
    shown = list(views(1_000, 800, RULE))
    for view in shown:
        twin = dataclasses.replace(view, variant=RULE.variants[1 - RULE.variants.index(view.variant)])
        small = view.largest_px == np.inf or view.width_px / (view.right - view.left) < 0.79
        assert (twin in shown) == small


def test_small_pictures_are_magnified_and_large_ones_are_not_reduced_at_first() -> None:
    assert scales(100, 80, RULE)[0] == 3.0
    assert scales(1_000, 500, RULE)[0] == pytest.approx(2**0.5)
    assert scales(6_000, 4_000, RULE)[0] == 1.0
    assert len(list(views(1, 1, RULE))) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"largest_scale": 0.9},
        {"ratio": 1.0},
        {"overlap_px": 2 * EDGE_MARGIN_PX},
        {"overlap_px": 320},
        {"whole_px": 321},
        {"whole_px": THINNEST_PX - 1},
        {"smallest_px": 70.0},
        {"smallest_px": -1.0},
        {"variants": ()},
        {"variants": (Variant(), Variant())},
    ],
)
def test_a_rule_that_would_lose_something_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"largest|overlap|variants"):
        dataclasses.replace(RULE, **fault)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_a_fault_of_the_caller(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        list(views(*size, RULE))


def test_large_pictures_are_reduced_to_the_finest_level_that_is_allowed() -> None:
    """A part of a picture is seen as finely as the whole is."""
    rule = dataclasses.replace(RULE, finest_pixels=1_000_000)
    assert scales(2_000, 2_000, rule)[0] == pytest.approx(0.5)
    assert scales(200, 100, rule, (2_000, 2_000))[0] == pytest.approx(0.5)
    assert scales(500, 500, rule, (500, 500)) == scales(500, 500, rule)
    shown = next(views(400, 200, rule, (2_000, 2_000)))
    assert (shown.width_px, shown.height_px) == (200, 100)
