"""Masks and pictures stand up and lie back in the same way, for every turn, mirror and shape of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.upright import Upright, lying
from blurd.records import Box, Mask, MaskShape, MaskStyle

ONE = 1 << 16
TURNS = {
    0: (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    1: (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    2: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    3: (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}
"""The display matrices of quarter turns clockwise."""


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_matrix_tells_turn_and_mirror(turns: int, mirrored: bool) -> None:  # noqa: FBT001
    a, b, u, c, d, *rest = TURNS[turns]
    matrix = (-a, -b, u, c, d, *rest) if mirrored else TURNS[turns]
    lie = lying(64, 48, matrix, 1.0)
    assert (lie.turns, lie.mirrored) == (turns, mirrored)
    assert lie.size_px == ((48, 64) if turns % 2 else (64, 48))


def test_a_matrix_of_nearly_a_quarter_turn_counts_as_one() -> None:
    assert lying(64, 48, (1000, ONE, 0, -ONE, 1000, 0, 0, 0, 1 << 30), 1.0).turns == 1


@pytest.mark.parametrize(
    ("aspect", "size"), [(1.0, (704, 288)), (2.0, (1408, 288)), (0.5, (704, 576)), (0.0, (704, 288))]
)
def test_samples_are_stretched_to_squares_and_never_shrunk(aspect: float, size: tuple[int, int]) -> None:
    assert lying(704, 288, None, aspect).size_px == size


@given(
    turns=st.integers(0, 3),
    mirrored=st.booleans(),
    scale=st.sampled_from([(1.0, 1.0), (2.0, 1.0), (1.0, 1.5)]),
    left=st.integers(0, 20),
    top=st.integers(0, 15),
    width=st.integers(1, 12),
    height=st.integers(1, 12),
)
def test_a_mask_covers_the_same_scene_in_both_pictures(
    turns: int,
    mirrored: bool,  # noqa: FBT001
    scale: tuple[float, float],
    left: int,
    top: int,
    width: int,
    height: int,
) -> None:
    """What is painted in the stored picture stands, upright, under the mask that was laid back."""
    lie = Upright(36, 28, turns, mirrored, *scale)
    stored = np.zeros((28, 36, 3), np.uint8)
    stored[top : top + height, left : left + width] = 255
    columns, rows = lie.scaled_px
    scaled = stored.repeat(rows // 28 if rows % 28 == 0 else 1, 0).repeat(columns // 36, 1)
    if scaled.shape[:2] != (rows, columns):  # one and a half times has no exact picture
        return
    upright = lie.stand_up(scaled)
    assert upright.shape[:2] == lie.size_px[::-1]
    ys, xs = np.nonzero(upright[:, :, 0])
    box = Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    back = lie.lay_back(Mask(box, MaskShape.RECTANGLE, MaskStyle.SOLID)).box
    found = (back.left, back.top, back.right, back.bottom)
    assert found == pytest.approx((left, top, left + min(width, 36 - left), top + min(height, 28 - top)))


def test_a_polygon_lies_back_with_its_corners() -> None:
    lie = Upright(40, 20, 1)
    mask = lie.lay_back(Mask.polygon(((0, 0), (20, 0), (0, 10)), MaskStyle.BLUR))
    assert mask.points == ((0, 20), (0, 0), (10, 20))
