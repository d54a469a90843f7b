"""Decoded pictures: samples with their meaning, made upright, masked, and shown to the detectors.

Invariants
* `samples` is (height, width, channels), 8 or 16 bits, upright, in the file's own numbers: nothing is converted.
* A mask replaces every channel that can carry a picture. Only a channel that is known to be transparency stays, and
  not even that where the colours are flat, for then the picture lies in it.
* The detectors see the stored colours, not what a viewer composes: colours under transparent pixels can be brought back
  by anyone. A picture with flat colours is shown composed over white or black instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from blurd.core import masking
from blurd.records import Mask, RgbPicture

_FLAT_RANGE = 12
"""Largest range of 8-bit colours that counts as flat."""
_DARK_PEAK = 1 << 14
"""A 16-bit picture whose bright end lies below this is stretched for the detectors: 12-bit data in 16-bit files."""
_SAMPLED = 1 << 20
_EIGHT_BITS = 256


class ColourModel(Enum):
    """What the colour channels mean; the value is their number. CMYK is stored as ink, 255 is full."""

    GREY = 1
    RGB = 3
    CMYK = 4


class Extra(Enum):
    """What a channel behind the colours means."""

    NONE = "none"
    ALPHA = "alpha"
    PREMULTIPLIED = "premultiplied"
    UNKNOWN = "unknown"
    """An infrared scan, a mask, padding: treated as a picture of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded page. `profile` is its colour profile, already reduced to the allow-list."""

    samples: masking.Samples
    model: ColourModel
    extra: Extra = Extra.NONE
    profile: bytes = b""

    def __post_init__(self) -> None:
        channels = self.model.value + (self.extra is not Extra.NONE)
        if self.samples.ndim != 3 or self.samples.shape[2] != channels or 0 in self.samples.shape:  # noqa: PLR2004
            raise ValueError("samples do not fit the colour model")
        if self.samples.dtype not in (np.uint8, np.uint16):
            raise ValueError("samples have 8 or 16 bits")

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.samples.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.samples.shape[0])

    @property
    def has_alpha(self) -> bool:
        """True where the last channel is transparency."""
        return self.extra in {Extra.ALPHA, Extra.PREMULTIPLIED}

    @property
    def largest(self) -> int:
        """The largest sample value of the type."""
        return int(np.iinfo(self.samples.dtype).max)

    def masked(self, masks: Sequence[Mask]) -> Self:
        """A copy with the masks drawn in."""
        samples = self.samples.copy()
        keeps_alpha = self.has_alpha and not self._picture_in_alpha()
        masking.draw(samples, masks, channels=self.model.value if keeps_alpha else None)
        return replace(self, samples=samples)

    def rgb(self) -> RgbPicture:
        """What the detectors see."""
        colours = self.samples[:, :, : self.model.value]
        if self.has_alpha and self._picture_in_alpha():
            alpha = _eight_bits(self.samples[:, :, -1:])
            bright = float(_eight_bits(colours).mean()) > 127  # noqa: PLR2004
            return np.ascontiguousarray(np.repeat(255 - alpha if bright else alpha, 3, axis=2))
        picture = _eight_bits(colours)
        if self.model is ColourModel.CMYK:
            light = 255 - picture.astype(np.uint16)
            picture = (light[:, :, :3] * light[:, :, 3:] // 255).astype(np.uint8)
        if self.model is ColourModel.GREY:
            picture = np.repeat(picture, 3, axis=2)
        return np.ascontiguousarray(picture)

    def _picture_in_alpha(self) -> bool:
        """True where the colours are flat and the transparency is not: a stencil."""
        step = max(1, self.samples[:, :, 0].size // _SAMPLED)
        colours = self.samples[:, :, : self.model.value].reshape(-1, self.model.value)[::step]
        alpha = self.samples[:, :, -1].reshape(-1)[::step]
        flat = _FLAT_RANGE * (self.largest // 255)
        ranges = colours.max(axis=0).astype(np.int64) - colours.min(axis=0)
        return bool(ranges.max() <= flat and int(alpha.max()) - int(alpha.min()) > flat)


def _eight_bits(samples: masking.Samples) -> NDArray[np.uint8]:
    """16 bits cut to 8, or stretched where the picture uses only the dark end of the range."""
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    step = max(1, samples.size // _SAMPLED)
    peak = float(np.percentile(samples.reshape(-1)[::step], 99.9))
    if not 0 < peak < _DARK_PEAK:
        return (samples >> 8).astype(np.uint8)
    table = np.minimum(np.arange(1 << 16) * (255.0 / max(peak, 255.0)), 255.0).astype(np.uint8)
    stretched: NDArray[np.uint8] = table[samples]
    return stretched


def upright(samples: masking.Samples, orientation: int) -> masking.Samples:
    """The picture as it is meant to be seen, by the Exif orientation 1 to 8."""
    if orientation >= 5:  # noqa: PLR2004 - rows and columns change places
        samples = samples.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        samples = samples[::-1]
    if orientation in {2, 3, 6, 7}:
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Width and height after `upright`."""
    return (height, width) if orientation >= 5 else (width, height)  # noqa: PLR2004
