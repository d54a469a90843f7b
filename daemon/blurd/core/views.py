"""Views: which parts of a picture a network is shown, at which scale, and what its hits mean in the picture. Pure.

A picture is looked at on several levels: magnified, so that small faces grow to a size that the network knows, then
smaller by `ratio` each time, down to the whole picture at about `whole_px`, so that a face that fills it is seen too. A
level too large for one inference is cut into tiles that overlap.

Invariants
* On every level each pixel of the picture lies in at least one tile; no view is larger than `tile_px` on a side. A
  view has at least one pixel a side, whatever the picture's shape.
* A hit that comes within `EDGE_MARGIN_PX` of a tile's inner edge is cut off there and dropped. A thing of at most
  `overlap_px - 2 * EDGE_MARGIN_PX` on its longer side lies whole inside some tile; what is larger is seen on a coarser
  level, and on the coarsest the picture is whole (unless it is so long and thin that this would leave nothing of it).
* Of the sizes that several levels see, each level keeps those it sees well: all but the finest drop hits under
  `smallest_px`, all but the coarsest those over `largest_px`, in pixels of the view.
* The cost is bounded: the finest level has at most `finest_pixels`, and no more than max(`magnified_pixels`, the
  picture's own), each further level a `ratio` squared less, tiles add their overlap.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from blurd.core.geometry import HitArray
from blurd.core.outlines import MIRRORED

EDGE_MARGIN_PX: Final = 8
"""Distance from a tile's inner edge, in pixels of the view, under which a hit counts as cut off."""
THINNEST_PX: Final = 16
"""No level shows a picture with its short side under this, if a finer level has shown it already."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the pixels are changed before the network sees them: a second opinion at the same scale."""

    mirrored: bool = False
    grey: bool = False


@dataclass(frozen=True, slots=True)
class ViewRule:
    """What a network is shown of every picture; a profile such as `thorough` has one for each network.

    Sizes of hits are the square roots of their areas, in pixels of the view. `variants` are shown on every level of
    at most `variant_pixels`; on a larger one only the first.
    """

    largest_scale: float
    magnified_pixels: int
    finest_pixels: int
    ratio: float
    whole_px: int
    tile_px: int
    overlap_px: int
    smallest_px: float
    largest_px: float
    variants: tuple[Variant, ...]
    variant_pixels: int

    def __post_init__(self) -> None:
        if self.largest_scale < 1.0 or self.ratio <= 1.0:
            raise ValueError("largest_scale is at least 1 and ratio above 1")
        if self.finest_pixels < self.magnified_pixels:
            raise ValueError("finest_pixels is at least magnified_pixels")
        if not 2 * EDGE_MARGIN_PX < self.overlap_px < self.tile_px or not THINNEST_PX <= self.whole_px <= self.tile_px:
            raise ValueError(
                f"overlap_px lies above {2 * EDGE_MARGIN_PX} and under tile_px, "
                f"whole_px between {THINNEST_PX} and tile_px"
            )
        if not 0.0 <= self.smallest_px * self.ratio < self.largest_px:
            raise ValueError("largest_px is more than ratio times smallest_px, or some sizes are seen on no level")
        if not self.variants or len(set(self.variants)) != len(self.variants):
            raise ValueError("variants names at least one, each once")


@dataclass(frozen=True, slots=True)
class Edges:
    """Which edges of a tile lie inside the picture, where a neighbour goes on."""

    left: bool
    top: bool
    right: bool
    bottom: bool


@dataclass(frozen=True, slots=True)
class View:
    """The rectangle [left, right) x [top, bottom) of the picture, shown as `width_px` x `height_px`.

    Hits of `smallest_px` up to `largest_px` (square root of the area, in pixels of the view) are kept.
    """

    left: int
    top: int
    right: int
    bottom: int
    width_px: int
    height_px: int
    variant: Variant
    inner: Edges
    smallest_px: float
    largest_px: float

    def to_picture(self, hits: HitArray) -> HitArray:
        """Hits in pixels of the view as hits in pixels of the picture, without those that another view sees better."""
        sizes = np.sqrt((hits[:, 2] - hits[:, 0]) * (hits[:, 3] - hits[:, 1]))
        kept = hits[(sizes >= self.smallest_px) & (sizes < self.largest_px)]
        if self.variant.mirrored:
            kept[:, [0, 2]] = self.width_px - kept[:, [2, 0]]
            if kept.shape[1] > 5:  # noqa: PLR2004  they have outlines
                kept[:, 5:] = kept[:, 5:][:, MIRRORED]
        kept = kept[~self._cut_off(kept)]
        scale_x = (self.right - self.left) / self.width_px
        scale_y = (self.bottom - self.top) / self.height_px
        kept[:, :4] *= (scale_x, scale_y, scale_x, scale_y)
        kept[:, :4] += (self.left, self.top, self.left, self.top)
        return kept

    def _cut_off(self, hits: HitArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        cut = np.zeros(len(hits), np.bool_)
        if self.inner.left:
            cut |= hits[:, 0] < EDGE_MARGIN_PX
        if self.inner.top:
            cut |= hits[:, 1] < EDGE_MARGIN_PX
        if self.inner.right:
            cut |= hits[:, 2] > self.width_px - EDGE_MARGIN_PX
        if self.inner.bottom:
            cut |= hits[:, 3] > self.height_px - EDGE_MARGIN_PX
        return cut


def scales(width_px: int, height_px: int, rule: ViewRule, whole_px: tuple[int, int] | None = None) -> tuple[float, ...]:
    """The scale of every level, finest first.

    Of a part of a picture whose size is `whole_px`, the finest level is the one that the whole picture has.
    """
    pixels = math.prod(whole_px or (width_px, height_px))
    enlarged, reduced = (math.sqrt(most / pixels) for most in (rule.magnified_pixels, rule.finest_pixels))
    scale = min(max(1.0, min(rule.largest_scale, enlarged)), reduced)
    found = [scale]
    while max(width_px, height_px) * scale > rule.whole_px:
        scale /= rule.ratio
        if min(width_px, height_px) * scale < THINNEST_PX:
            break
        found.append(scale)
    return tuple(found)


def views(width_px: int, height_px: int, rule: ViewRule, whole_px: tuple[int, int] | None = None) -> Iterator[View]:
    """The views of a picture of this size, or of a part of a larger one, finest level first, tiles in reading order."""
    if width_px < 1 or height_px < 1:
        raise ValueError("a picture has at least one pixel")
    levels = scales(width_px, height_px, rule, whole_px)
    for level, scale in enumerate(levels):
        smallest_px = rule.smallest_px if level > 0 else 0.0
        largest_px = rule.largest_px if level < len(levels) - 1 else math.inf
        small = width_px * height_px * scale * scale <= rule.variant_pixels
        variants = rule.variants if small else rule.variants[:1]
        columns = tuple(_spans(width_px, scale, rule))
        for top, bottom in _spans(height_px, scale, rule):
            for left, right in columns:
                inner = Edges(left > 0, top > 0, right < width_px, bottom < height_px)
                shown = (_shown(right - left, scale, rule), _shown(bottom - top, scale, rule))
                for variant in variants:
                    yield View(left, top, right, bottom, *shown, variant, inner, smallest_px, largest_px)


def _shown(length_px: int, scale: float, rule: ViewRule) -> int:
    return max(1, min(rule.tile_px, round(length_px * scale)))


def _spans(length_px: int, scale: float, rule: ViewRule) -> Iterator[tuple[int, int]]:
    """Equal, evenly spread, overlapping spans that cover `length_px` pixels of the picture.

    The distance between starts is at most the whole number `longest - overlap`, so rounding them takes nothing from
    the overlap.
    """
    longest = max(1, math.floor(rule.tile_px / scale))
    if length_px <= longest:
        yield 0, length_px
        return
    overlap = min(longest - 1, math.ceil(rule.overlap_px / scale))
    count = math.ceil((length_px - overlap) / (longest - overlap))
    longest = math.ceil((length_px + (count - 1) * overlap) / count)
    for index in range(count):
        start = round(index * (length_px - longest) / (count - 1))
        yield start, start + longest
