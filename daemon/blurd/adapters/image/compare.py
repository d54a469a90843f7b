"""Whether a decoded copy is the picture that was to be written.

A lossless copy is compared sample by sample. A lossy one may differ by what rounding the coefficients of its blocks can
do: the root mean square of half the quantiser steps is the bound for a block of 8 x 8 brightness values; the real error
is about half of it, and an added margin allows for rounding. Colour is compared as means of 16 x 16 pixels. Where
colour is stored at half the resolution, saturated edges come back clipped, brightness included; where the colours of an
area vary strongly, the bounds grow by a share of their standard deviation (measured on coloured text, lines and noise:
at most 0.03 and 0.15 of it were needed). Skin, hair and plates vary little, so there the bounds stay narrow.

Invariants
* Size, channels, depth, colour model and profile agree, else the copy is wrong.
* Memory beside the pictures is bounded by a band of rows.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blurd.adapters.image.document import Loss
from blurd.adapters.image.pixels import Picture

_BLOCK_PX, _COLOUR_BLOCK_PX = 8, 16
_BAND_ROWS = 512
_LUMA_MARGIN, _COLOUR_MARGIN = 4.0, 6.0
_LUMA_SHARE, _COLOUR_SHARE = 0.15, 0.3
_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)


def agree(expected: Picture, found: Picture, loss: Loss | None) -> bool:
    """True where `found` is `expected` within what the encoding may change."""
    same_kind = (expected.model, expected.extra, expected.profile) == (found.model, found.extra, found.profile)
    if not same_kind or expected.samples.shape != found.samples.shape or expected.samples.dtype != found.samples.dtype:
        return False
    if loss is None:
        return bool(np.array_equal(expected.samples, found.samples))
    if expected.has_alpha and not np.array_equal(expected.samples[:, :, -1], found.samples[:, :, -1]):
        return False
    return all(
        _band_agrees(expected, found, slice(top, top + _BAND_ROWS), loss)
        for top in range(0, expected.height, _BAND_ROWS)
    )


def _band_agrees(expected: Picture, found: Picture, rows: slice, loss: Loss) -> bool:
    colours = expected.model.value
    difference = np.subtract(found.samples[rows, :, :colours], expected.samples[rows, :, :colours], dtype=np.float32)
    if expected.has_alpha:  # colours that nobody sees are the encoder's to choose
        difference *= expected.samples[rows, :, -1:] > 0
    weights = _LUMA if colours == 3 else np.full((1, colours), 1 / colours, np.float32)  # noqa: PLR2004
    luma = cv2.transform(difference, weights)
    errors = np.sqrt(_block_means(np.square(luma), _BLOCK_PX)) - (loss.luma + _LUMA_MARGIN)
    shifts = np.abs(_block_means(difference, _COLOUR_BLOCK_PX)) - (loss.chroma + _COLOUR_MARGIN)
    shifts = shifts.max(axis=2) if shifts.ndim == 3 else shifts  # noqa: PLR2004
    if float(errors.max()) <= 0 and float(shifts.max()) <= 0:
        return True
    if not loss.half_colour or colours != 3:  # noqa: PLR2004
        return False
    variation = _colour_variation(expected.samples[rows, :, :3].astype(np.float32))
    if bool((shifts > _COLOUR_SHARE * variation).any()):
        return False
    fine = variation.repeat(2, axis=0).repeat(2, axis=1)[: errors.shape[0], : errors.shape[1]]
    return not bool((errors > _LUMA_SHARE * fine).any())


def _colour_variation(pixels: NDArray[Any]) -> NDArray[Any]:
    """How much the colours vary, brightness left out, in and around each block of 16 x 16: standard deviations."""
    colour = pixels - cv2.transform(pixels, _LUMA)[:, :, np.newaxis]
    means = _block_means(colour, _COLOUR_BLOCK_PX)
    squares = _block_means(np.square(colour), _COLOUR_BLOCK_PX)
    deviations = np.sqrt(np.maximum(squares - np.square(means), 0.0)).max(axis=2)
    return cv2.dilate(deviations, np.ones((3, 3), np.uint8))


def _block_means(values: NDArray[Any], side: int) -> NDArray[Any]:
    """Means of square blocks; the last row and column are repeated to fill the last ones."""
    height, width = values.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    whole = cv2.copyMakeBorder(values, 0, rows * side - height, 0, columns * side - width, cv2.BORDER_REPLICATE)
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
