"""Outlines never leave out a part of the thing: not when made, moved, cut, merged, mirrored, or followed in a video."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blurd.core.geometry import MergeRule, clip_hits, merge, with_outlines
from blurd.core.joining import Scale, join, rescaled
from blurd.core.masking import covered_share, covers
from blurd.core.outlines import MIRRORED, WHOLE, outline_of, polygon
from blurd.core.timeline import CategoryRule, MaskRules, masks_of, plan_video
from blurd.core.views import Edges, Variant, View
from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle

BADGE = Category("badge")
RULES = MaskRules(MaskStyle.BLUR, {BADGE: CategoryRule(0.5, MaskShape.POLYGON, 0.1, MaskStyle.SOLID)})


def inside(corners: tuple[tuple[float, float], ...], points: NDArray[np.float64], slack: float = 1e-6) -> bool:
    """True where all points lie in a convex polygon whose corners go clockwise (y grows downwards)."""
    ring = np.array(corners)
    along = np.roll(ring, -1, axis=0) - ring
    to = points[:, None] - ring[None]
    return bool((along[None, :, 0] * to[..., 1] - along[None, :, 1] * to[..., 0] >= -slack * 1000).all())


@st.composite
def things(draw: st.DrawFn) -> tuple[NDArray[np.float64], Box]:
    """Points of a thing, and its box."""
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1, (random.integers(3, 9), 2)) * random.uniform(5, 80, 2) + random.uniform(0, 50, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return points, Box(*low.tolist(), *high.tolist())


@given(things())
def test_an_outline_holds_its_points_and_lies_in_its_box(thing: tuple[NDArray[np.float64], Box]) -> None:
    points, box = thing
    corners = polygon(box, outline_of(points, (box.left, box.top, box.right, box.bottom)).tolist())
    assert inside(corners, points)
    for x, y in corners:
        assert box.left - 1e-6 <= x <= box.right + 1e-6
        assert box.top - 1e-6 <= y <= box.bottom + 1e-6


def test_the_whole_outline_is_the_box() -> None:
    assert polygon(Box(1, 2, 5, 9), WHOLE) == ((1, 2), (5, 2), (5, 9), (1, 9))


def test_an_outline_is_tighter_than_the_box() -> None:
    points = np.array([[0.0, 0.0], [100.0, 100.0], [95.0, 100.0], [0.0, 5.0]])
    corners = np.array(polygon(Box(0, 0, 100, 100), outline_of(points, (0, 0, 100, 100)).tolist()))
    x, y = corners.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    assert area < 3000


@given(things(), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_an_outline_cut_at_the_picture_s_edge_holds_what_is_left(
    thing: tuple[NDArray[np.float64], Box], across: float, down: float
) -> None:
    points, box = thing
    edges = (box.left, box.top, box.right, box.bottom)
    hit = np.array([[*edges, 0.9, *outline_of(points, edges)]])
    width, height = box.left + across * box.width, box.top + down * box.height
    (cut,) = clip_hits(hit, width, height)
    corners = polygon(Box(*cut[:4].tolist()), cut[5:].tolist())
    mixed = np.random.default_rng(1).dirichlet(np.ones(len(points)), 200) @ points  # points between the points
    assert inside(corners, mixed[(mixed[:, 0] <= width) & (mixed[:, 1] <= height)])


def test_a_mirrored_view_mirrors_the_outline() -> None:
    points = np.array([[10.0, 10.0], [30.0, 10.0], [10.0, 30.0]])
    view = View(0, 0, 100, 100, 100, 100, Variant(mirrored=True), Edges(False, False, False, False), 0, np.inf)
    seen = np.array([[10, 10, 30, 30, 0.9, *outline_of(points, (10, 10, 30, 30))]])
    (hit,) = view.to_picture(seen)
    assert hit[:4].tolist() == [70, 10, 90, 30]
    assert np.allclose(hit[5:], outline_of(points * (-1, 1) + (100, 0), (70, 10, 90, 30)))
    assert sorted(MIRRORED) == list(range(16))


def test_merged_hits_hold_all_their_outlines_and_a_box_alone_makes_it_whole() -> None:
    rule = MergeRule(0.4, 0.5, 0.5, 0.5)
    edges = (10.0, 10.0, 30.0, 30.0)
    first = np.array([[*edges, 0.9, *outline_of(np.array([[10.0, 10.0], [30.0, 30.0], [10.0, 30.0]]), edges)]])
    second = np.array([[*edges, 0.8, *outline_of(np.array([[10.0, 10.0], [30.0, 30.0], [30.0, 10.0]]), edges)]])
    (both,) = merge(np.concatenate([first, second]), rule)
    corners = polygon(Box(*edges), both[5:].tolist())
    assert inside(corners, np.array([[10.0, 30.0], [30.0, 10.0]]))
    (mixed,) = join([first, np.array([[*edges, 0.7]])], rule)
    assert np.allclose(mixed[5:], WHOLE)
    assert with_outlines(first) is first


def test_scores_of_another_network_are_brought_onto_the_first_one_s_scale() -> None:
    """What its own threshold masks is masked; what only its floor reports is not."""
    first, other = Scale(0.1, 0.22), Scale(0.25, 0.6)
    hits = np.array([[0, 0, 9, 9, score] for score in (0.25, 0.4, 0.6, 0.8, 1.0)], np.float64)
    found = rescaled(hits, other, first)[:, 4]
    assert np.allclose(found[[0, 2, 4]], [0.1, 0.22, 1.0])
    assert (np.diff(found) > 0).all()
    assert found[1] < 0.22
    assert rescaled(hits, first, first) is hits
    assert np.allclose(rescaled(hits[:1], Scale(0.25, 0.25), first)[:, 4], 0.22)


def test_what_either_of_two_networks_finds_is_found_once() -> None:
    rule = MergeRule(0.4, 0.5, 0.5, 0.5)
    first = np.array([[0, 0, 20, 20, 0.9], [50, 50, 60, 60, 0.3]], np.float64)
    second = np.array([[1, 1, 22, 22, 0.5], [80, 0, 90, 9, 0.7]], np.float64)
    found = join([first, second], rule)
    assert found[:, 4].tolist() == [0.9, 0.7, 0.3]
    assert found[0, 2] > 20, "the box reaches for the other one's edge"
    assert join([first], rule) is first


def tilted(left: float, top: float, size: float) -> Detection:
    box = Box(left, top, left + size, top + size)
    edges = (box.left, box.top, box.right, box.bottom)
    points = np.array(
        [[left, top], [left + size, top + size], [left + 0.9 * size, top + size], [left, top + 0.1 * size]]
    )
    return Detection(BADGE, box, 0.9, tuple(outline_of(points, edges).tolist()))


def test_a_class_of_the_owner_s_own_is_masked_in_its_outline_and_style() -> None:
    hit = tilted(20, 20, 60)
    (mask,) = masks_of([hit], RULES)
    assert mask.shape is MaskShape.POLYGON
    assert mask.style is MaskStyle.SOLID
    assert covered_share(hit.box, [mask], hit.outline) == 1.0
    assert covered_share(hit.box, [mask]) < 0.7, "most of the box stays clear"
    assert masks_of([Detection(BADGE, hit.box, 0.9)], RULES)[0].shape is MaskShape.RECTANGLE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_along_a_track_each_outline_is_held_and_gaps_are_bridged(seed: int) -> None:
    """A thing that moves and grows, missed in a third of the frames."""
    random = np.random.default_rng(seed)
    speed, growth = random.uniform(-3, 3, 2), random.uniform(0.98, 1.02)
    observations: list[FrameObservation] = []
    for index in range(30):
        hits: tuple[Detection, ...] = ()
        if index in (0, 29) or random.uniform() > 0.35:
            hits = (tilted(150 + speed[0] * index, 120 + speed[1] * index, 60 * growth**index),)
        observations.append(FrameObservation(index, index / 25, hits))
    timeline = plan_video(observations, RULES, (400, 300))
    clear = 0
    for observation, masks in zip(observations, timeline.frames, strict=True):
        assert masks, "a gap is bridged"
        for hit in observation.detections:
            drawn = np.any([covers(mask, 400, 300) for mask in masks], axis=0)
            thing = covers(Mask.polygon(polygon(hit.box, hit.outline), MaskStyle.SOLID), 400, 300)
            assert drawn[thing].all()
            clear += any(mask.shape is MaskShape.POLYGON for mask in masks)
    assert clear, "outlines are used"


def test_a_category_has_one_object_for_each_name_and_a_bad_name_is_refused() -> None:
    assert Category("badge") is BADGE
    assert Category(str("fa" + "ce")) is Category.FACE
    for name in ("", "Face", "a b", "ä", "x" * 33):
        with pytest.raises(ValueError, match="a class's name"):
            Category(name)
