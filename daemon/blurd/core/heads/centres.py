"""The heads of the networks that blurd brings: maps of centres. Pure.

Maps are (1, channels, rows, columns), one cell every `stride` pixels of the input. A hit is a cell whose score is at
least the floor and that no neighbour of its eight exceeds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurd.core.geometry import HitArray
from blurd.core.heads.forms import LARGEST_SIDE_PX, Maps


@dataclass(frozen=True, slots=True)
class _Centres:
    """Cells at which a centre lies, with what the maps say there; one row each, in reading order."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: NDArray[np.float64]


def _centres(heat: NDArray[np.floating[Any]], floor: float) -> _Centres:
    """The peaks of `heat` (rows, columns) at or above `floor`. Values that are not finite are no peaks."""
    rows, columns = np.nonzero(np.isfinite(heat) & (heat >= floor))
    padded = np.pad(heat, 1, constant_values=-np.inf)
    scores = heat[rows, columns]
    peak = np.ones(len(rows), np.bool_)
    for down in range(3):
        for right in range(3):
            neighbours = padded[rows + down, columns + right]
            peak &= ~(neighbours > scores)
    return _Centres(rows[peak], columns[peak], scores[peak].astype(np.float64))


def _hits(
    centres: _Centres, x_px: NDArray[np.float64], y_px: NDArray[np.float64], sides_px: NDArray[np.float64]
) -> HitArray:
    """Boxes of `sides_px` (2, N: widths, heights) around the centres at `x_px`, `y_px`, with the centres' scores."""
    half_width, half_height = np.minimum(sides_px, LARGEST_SIDE_PX) / 2
    edges = (x_px - half_width, y_px - half_height, x_px + half_width, y_px + half_height)
    hits: HitArray = np.stack([*edges, centres.scores.clip(0.0, 1.0)], axis=1)
    finite: HitArray = hits[np.isfinite(hits).all(axis=1)]
    return finite


def decode_centerface(maps: Maps, floor: float) -> tuple[HitArray, ...]:
    """CenterFace (Xu et al., arXiv:1911.03599): `heatmap`, `scale` and `offset` maps with a stride of 4.

    `scale` holds ln(height / 4) and ln(width / 4), `offset` the centre's distance from the cell's middle, y before x,
    in cells. Its fourth output, landmarks, is not used.
    """
    stride = 4
    heat, scale, offset = (maps[name][0] for name in ("heatmap", "scale", "offset"))
    centres = _centres(heat[0], floor)
    at = (slice(None), centres.rows, centres.columns)
    with np.errstate(over="ignore"):
        heights, widths = np.exp(scale[at].astype(np.float64)) * stride
    off_y, off_x = offset[at].astype(np.float64)
    x_px, y_px = (centres.columns + off_x + 0.5) * stride, (centres.rows + off_y + 0.5) * stride
    return (_hits(centres, x_px, y_px, np.stack([widths, heights])),)


def decode_plate_centres(maps: Maps, floor: float) -> tuple[HitArray, ...]:
    """The project's own plate network (`models/training/network.py`): `heatmap`, `size` and `offset` maps, stride 4.

    `size` holds ln(width / 32) and ln(height / 32), `offset` the centre's distance from the cell's middle, x before y,
    in cells.
    """
    stride, unit_px = 4, 32.0
    heat, size, offset = (maps[name][0] for name in ("heatmap", "size", "offset"))
    centres = _centres(heat[0], floor)
    at = (slice(None), centres.rows, centres.columns)
    with np.errstate(over="ignore"):
        sides = np.exp(size[at].astype(np.float64)) * unit_px
    off_x, off_y = offset[at].astype(np.float64)
    x_px, y_px = (centres.columns + off_x + 0.5) * stride, (centres.rows + off_y + 0.5) * stride
    return (_hits(centres, x_px, y_px, sides),)
