"""Masks destroy what lies under them: the output depends on the cells' means and on nothing else."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blurd.core import masking
from blurd.core.masking import CELLS, MIN_CELL_PX, Step, covers, draw, drawn_box
from blurd.records import Box, Mask, MaskShape, MaskStyle

Picture = NDArray[np.uint8]
AVERAGED = (MaskStyle.BLUR, MaskStyle.PIXELATE)


def picture(height: int = 120, width: int = 160, channels: int = 3, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def drawn(samples: Picture, *masks: Mask) -> Picture:
    copy = samples.copy()
    draw(copy, masks)
    return copy


def rectangle(box: Box, style: MaskStyle = MaskStyle.BLUR) -> Mask:
    return Mask(box, MaskShape.RECTANGLE, style)


def ellipse(box: Box, style: MaskStyle = MaskStyle.BLUR) -> Mask:
    return Mask(box, MaskShape.ELLIPSE, style)


boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.floats(-40, 150),
    st.floats(-40, 110),
    st.floats(0.5, 120),
    st.floats(0.5, 120),
)
ROUND_BOXES = (MaskShape.ELLIPSE, MaskShape.RECTANGLE)
masks = st.builds(Mask, boxes, st.sampled_from(ROUND_BOXES), st.sampled_from(MaskStyle))


@pytest.mark.parametrize("style", AVERAGED)
@pytest.mark.parametrize("shape", ROUND_BOXES)
def test_pictures_that_agree_in_the_cells_means_give_the_same_bytes(style: MaskStyle, shape: MaskShape) -> None:
    """Shuffling the pixels inside every cell changes the picture, but not the masked one."""
    mask = Mask(Box(30, 24, 90, 84), shape, style)
    original = picture()
    rows, columns = cell_edges(original, mask)
    shuffled = original.copy()
    generator = np.random.default_rng(1)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            cell = shuffled[top:bottom, left:right].reshape(-1, 3)
            shuffled[top:bottom, left:right] = generator.permutation(cell).reshape(bottom - top, right - left, 3)
    under = covers(mask, 160, 120)
    shuffled[~under] = original[~under]
    balance(shuffled, original, under, rows, columns)
    assert (shuffled != original).any(axis=2)[under].mean() > 0.9
    assert np.array_equal(drawn(original, mask), drawn(shuffled, mask))


def cell_edges(samples: Picture, mask: Mask) -> tuple[list[int], list[int]]:
    """The cells' edges as they show in a pixelated rectangle over the same place."""
    box = drawn_box(mask)
    shown = drawn(samples, rectangle(box, MaskStyle.PIXELATE))
    left, top, right, bottom = math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom)
    inside = shown[top:bottom, left:right].astype(int)
    rows = [top, *(top + 1 + np.flatnonzero(np.abs(np.diff(inside, axis=0)).sum(axis=(1, 2)))), bottom]
    columns = [left, *(left + 1 + np.flatnonzero(np.abs(np.diff(inside, axis=1)).sum(axis=(0, 2)))), right]
    return [int(row) for row in rows], [int(column) for column in columns]


def balance(changed: Picture, original: Picture, under: NDArray[np.bool_], rows: list[int], columns: list[int]) -> None:
    """Spread over the covered pixels what the change did to the sum of each cell."""
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            places = np.argwhere(under[top:bottom, left:right]) + np.array([top, left])
            for channel in range(3):
                cell = np.s_[top:bottom, left:right, channel]
                missing = int(original[cell].sum()) - int(changed[cell].sum())
                for row, column in places:
                    room = np.clip(int(changed[row, column, channel]) + missing, 0, 255)
                    missing -= int(room) - int(changed[row, column, channel])
                    changed[row, column, channel] = room
                    if not missing:
                        break
                assert missing == 0


def test_solid_does_not_depend_on_the_picture() -> None:
    mask = ellipse(Box(30, 24, 90, 84), MaskStyle.SOLID)
    one, other = picture(seed=1), picture(seed=2)
    other[~covers(mask, 160, 120)] = one[~covers(mask, 160, 120)]
    assert np.array_equal(drawn(one, mask), drawn(other, mask))
    assert set(drawn(one, mask)[covers(mask, 160, 120)].reshape(-1)) == {128}


@given(masks)
@settings(max_examples=150, deadline=None)
def test_every_pixel_of_the_box_is_covered_and_nothing_outside_changes(mask: Mask) -> None:
    """Any pixel that the box touches, even with a corner, is under the mask."""
    original = picture()
    under = covers(mask, 160, 120)
    box = mask.box
    left, right = (int(np.clip(math.floor(box.left), 0, 160)), int(np.clip(math.ceil(box.right), 0, 160)))
    top, bottom = (int(np.clip(math.floor(box.top), 0, 120)), int(np.clip(math.ceil(box.bottom), 0, 120)))
    assert under[top:bottom, left:right].all()
    outer = drawn_box(mask)
    outside = np.ones((120, 160), np.bool_)
    outside[
        max(0, math.floor(outer.top)) : max(0, math.ceil(outer.bottom)),
        max(0, math.floor(outer.left)) : max(0, math.ceil(outer.right)),
    ] = False
    assert not (under & outside).any()
    assert np.array_equal(drawn(original, mask)[~under], original[~under])


@given(masks)
@settings(max_examples=100, deadline=None)
def test_at_most_six_by_six_values_show(mask: Mask) -> None:
    """One channel of a pixelated mask shows at most 36 cells, and fewer where cells would be too small."""
    pixelated = Mask(mask.box, mask.shape, MaskStyle.PIXELATE)
    original = picture()
    under = covers(pixelated, 160, 120)
    values = drawn(original, pixelated)[under]
    distinct = len(np.unique(values, axis=0)) if len(values) else 0
    box = drawn_box(pixelated)
    columns = max(1, min(CELLS, math.floor((box.width + 2) / MIN_CELL_PX)))
    rows = max(1, min(CELLS, math.floor((box.height + 2) / MIN_CELL_PX)))
    assert distinct <= rows * columns


@given(st.lists(masks, min_size=2, max_size=6))
@settings(max_examples=100, deadline=None)
def test_overlapping_masks_tell_no_more_than_their_cells(several: list[Mask]) -> None:
    """Each mask of a cluster shows at most 6 x 6 values, however the masks overlap."""
    pixelated = [Mask(mask.box, mask.shape, MaskStyle.PIXELATE) for mask in several]
    result = drawn(picture(), *pixelated)
    for mask in pixelated:
        alone = covers(mask, 160, 120)
        for other in pixelated:
            if other is not mask:
                alone &= ~covers(other, 160, 120)
        assert len(np.unique(result[alone], axis=0)) <= CELLS * CELLS


def test_two_shifted_masks_show_one_grid() -> None:
    """The same place masked twice, a little apart, shows no value that one mask would not show."""
    near = [rectangle(Box(20 + shift, 20, 80 + shift, 80), MaskStyle.PIXELATE) for shift in range(6)]
    result = drawn(picture(), *near)[20:80, 20:85]
    assert len(np.unique(result.reshape(-1, 3), axis=0)) <= (CELLS + 1) ** 2


def test_a_mask_that_starts_inside_a_shared_cell_shows_no_seventh() -> None:
    """A large face between two small masks: the common grid starts where the first of them does."""
    around = [Box(75, 60, 103, 64), Box(158, 60, 190, 64)]
    result = drawn(
        picture(120, 200), *(rectangle(box, MaskStyle.PIXELATE) for box in (Box(100, 40, 160, 100), *around))
    )
    for row in (45, 62, 90):
        assert len(np.unique(result[row, 100:160], axis=0)) <= CELLS


def test_solid_wins_over_blur_whatever_the_order() -> None:
    blur, solid = rectangle(Box(20, 20, 80, 80)), rectangle(Box(40, 40, 60, 60), MaskStyle.SOLID)
    one, other = drawn(picture(), blur, solid), drawn(picture(), solid, blur)
    assert np.array_equal(one, other)
    assert (one[40:60, 40:60] == 128).all()


@pytest.mark.parametrize("side", [1, 2, 5, 7])
def test_a_tiny_face_becomes_one_value(side: int) -> None:
    """A box too small for two cells is averaged as a whole."""
    mask = rectangle(Box(50, 50, 50 + side, 50 + side))
    assert len(np.unique(drawn(picture(), mask)[50 : 50 + side, 50 : 50 + side].reshape(-1, 3), axis=0)) == 1


def test_blur_is_smooth_and_pixelate_is_not() -> None:
    mask = Box(20, 20, 140, 100)
    steps = {}
    for style in AVERAGED:
        inside = drawn(picture(), rectangle(mask, style))[20:100, 20:140].astype(int)
        steps[style] = np.abs(np.diff(inside, axis=1)).max()
    assert steps[MaskStyle.BLUR] * 5 < steps[MaskStyle.PIXELATE]


def test_a_face_cut_by_the_border_has_cells_as_large_as_a_whole_one() -> None:
    whole = rectangle(Box(0, 20, 60, 80), MaskStyle.PIXELATE)
    cut = rectangle(Box(-30, 20, 30, 80), MaskStyle.PIXELATE)
    assert len(np.unique(drawn(picture(), cut)[20:80, 0:30].reshape(-1, 3), axis=0)) <= 18
    assert len(np.unique(drawn(picture(), whole)[20:80, 0:60].reshape(-1, 3), axis=0)) == 36


@pytest.mark.parametrize(("dtype", "middle"), [(np.uint8, 128), (np.uint16, 32768)])
@pytest.mark.parametrize("shape", [(50, 60), (50, 60, 1), (50, 60, 2), (50, 60, 4), (50, 60, 5)])
def test_any_number_of_channels_and_both_depths(
    shape: tuple[int, ...], dtype: type[np.unsignedinteger[Any]], middle: int
) -> None:
    samples: NDArray[Any] = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    box = Box(10, 10, 40, 40)
    mean = samples[10:15, 10:15].mean(axis=(0, 1))
    result = samples.copy()
    draw(result, [rectangle(box, MaskStyle.PIXELATE)])
    assert np.allclose(result[12, 12], mean, atol=0.51)
    draw(result, [rectangle(box, MaskStyle.SOLID)])
    assert (result[10:40, 10:40] == middle).all()


def test_the_last_channel_can_be_left_alone() -> None:
    samples = picture(channels=4)
    result = samples.copy()
    draw(result, [ellipse(Box(30, 30, 80, 80))], channels=3)
    assert np.array_equal(result[:, :, 3], samples[:, :, 3])
    assert (result[:, :, :3] != samples[:, :, :3]).any()


@given(masks, st.sampled_from([Step(2, 2), Step(2, 1), Step(4, 1)]))
@settings(max_examples=100, deadline=None)
def test_a_colour_plane_is_covered_wherever_the_picture_is(mask: Mask, step: Step) -> None:
    """A sample of a plane of lower resolution is replaced when any pixel under it is."""
    full = covers(mask, 160, 120)
    plane = covers(mask, 160 // step.x, 120 // step.y, step)
    stretched = plane.repeat(step.y, axis=0).repeat(step.x, axis=1)
    assert not (full & ~stretched).any()


def test_planes_of_a_video_frame_show_the_same_cells() -> None:
    """The grid of a plane at half resolution is the picture's grid, halved."""
    mask = rectangle(Box(16, 16, 112, 112), MaskStyle.PIXELATE)
    bright = picture(120, 160, 1)
    half = picture(60, 80, 1)
    draw(bright, [mask])
    draw(half, [mask], step=Step(2, 2))
    assert len(np.unique(np.diff(bright[60, 16:112, 0].astype(int)).nonzero())) == 5
    assert np.array_equal(
        (np.diff(bright[60, 16:112, 0].astype(int)).nonzero()[0] + 1) // 2,
        np.diff(half[30, 8:56, 0].astype(int)).nonzero()[0] + 1,
    )


def test_a_large_mask_needs_little_memory_beside_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands do not show: the result is the same however few rows are held at once."""
    original = picture(300, 400)
    mask = ellipse(Box(20, 30, 320, 250))
    whole = drawn(original, mask)
    monkeypatch.setattr(masking, "_BAND_SAMPLES", 2000)
    assert np.array_equal(drawn(original, mask), whole)


def test_masks_outside_the_picture_do_nothing() -> None:
    original = picture()
    away = [ellipse(Box(500, 500, 600, 600)), rectangle(Box(-90, -90, -10, -10)), rectangle(Box(1e300, 0, 1.1e300, 9))]
    assert np.array_equal(drawn(original, *away), original)
