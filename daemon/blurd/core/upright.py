"""How stored pictures lie: from the pixels as a decoder gives them to the upright picture and back. Pure.

A stored picture is scaled (its samples need not be square), then mirrored, then turned clockwise; the result is what a
player shows and what detectors, masks and zones speak of.

Invariants
* A box in the upright picture covers, stored, exactly the same part of the scene; edges stay parallel to the axes.
* Sizes of upright pictures are whole pixels, at least one a side.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blurd.records import Box, Mask

_UNIT: Final = 1 << 16
"""1.0 in the fixed-point numbers of a display matrix (ISO/IEC 14496-12, 6.2.2)."""
_SQUARE_ENOUGH: Final = 1.02
"""Samples whose sides differ by less count as square."""
_MOST_STRETCH: Final = 8.0


@dataclass(frozen=True, slots=True)
class Upright:
    """`turns` quarter turns clockwise of a picture of `width_px` x `height_px`, scaled first and then `mirrored`."""

    stored_width_px: int
    stored_height_px: int
    turns: int = 0
    mirrored: bool = False
    scale_x: float = 1.0
    scale_y: float = 1.0

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        width, height = self._scaled_px
        return (height, width) if self.turns % 2 else (width, height)

    @property
    def _scaled_px(self) -> tuple[int, int]:
        return max(1, round(self.stored_width_px * self.scale_x)), max(1, round(self.stored_height_px * self.scale_y))

    @property
    def scaled_px(self) -> tuple[int, int]:
        """Width and height after the scaling, before the turn."""
        return self._scaled_px

    def stand_up(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upright picture, (rows, columns[, channels]), from one that is scaled already."""
        mirrored = picture[:, ::-1] if self.mirrored else picture
        return np.ascontiguousarray(np.rot90(mirrored, -self.turns))

    def lay_back(self, mask: Mask) -> Mask:
        """A mask of the upright picture as a mask of the stored one."""
        if mask.points:
            corners = self._stored(np.array(mask.points, np.float64))
            return Mask.polygon(tuple((float(x), float(y)) for x, y in corners), mask.style)
        return replace(mask, box=self.stored_box(mask.box))

    def stored_box(self, box: Box) -> Box:
        """A box of the upright picture as a box of the stored one."""
        xs, ys = self._stored(np.array([[box.left, box.top], [box.right, box.bottom]])).T
        return Box(float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))

    def _stored(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        width, height = (float(side) for side in self.size_px)
        for _ in range(-self.turns % 4):
            x, y, width, height = height - y, x, height, width
        if self.mirrored:
            x = width - x
        stored = np.stack([x * (self.stored_width_px / width), y * (self.stored_height_px / height)], axis=1)
        return np.asarray(stored, np.float64)


def lying(width_px: int, height_px: int, matrix: tuple[int, ...] | None, sample_aspect: float) -> Upright:
    """How a picture lies by its display matrix (nine fixed-point numbers; None: as stored) and its samples' shape.

    A matrix that turns by another angle than quarters counts as the nearest quarter turn. Samples that are not square
    are stretched, never shrunk, so that no detail is lost.
    """
    turns, mirrored = _quarter_turns(matrix) if matrix else (0, False)
    aspect = sample_aspect if 1 / _MOST_STRETCH <= sample_aspect <= _MOST_STRETCH else 1.0
    scale_x = aspect if aspect > _SQUARE_ENOUGH else 1.0
    scale_y = 1 / aspect if aspect < 1 / _SQUARE_ENOUGH else 1.0
    return Upright(width_px, height_px, turns, mirrored, scale_x, scale_y)


def _quarter_turns(matrix: tuple[int, ...]) -> tuple[int, bool]:
    """Quarter turns clockwise after mirroring left and right; the matrix takes (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = (matrix[place] / _UNIT for place in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    angle = float(np.arctan2(b, a))
    return round(angle / (np.pi / 2)) % 4, mirrored
