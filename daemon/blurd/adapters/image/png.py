"""PNG: every colour type and depth of the standard, interlaced or not; APNG is refused.

Palettes, fewer than 8 bits and colour keys are expanded (to 8-bit grey or RGB, with alpha where there is any), for
the average of a cell is rarely a colour of the palette; the pixels stay exact. Colours keep their meaning: the
profile, or else the short colour chunks, are carried over. The density goes.

Damage is found by the checksums: every chunk that counts, and the pixel stream, which is inflated once before decoding.

Invariants
* The decoder is fed a file rebuilt from IHDR, PLTE, tRNS, IDAT and IEND with proven checksums and proven length.
* The written file is ours from the first byte to the last (`png_writer.py`).
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from blurd.adapters.image import guard, png_writer
from blurd.adapters.image.document import Document, ImageLimits, damaged
from blurd.adapters.image.pixels import ColourModel, Extra, Picture, upright, upright_size
from blurd.core.containers import BytesReader, Format, icc, png, tiff
from blurd.core.containers.reader import View
from blurd.core.masking import Samples
from blurd.errors import InputError, Reason

_GREY_TYPES = frozenset({0, 4})
_MAX_EXIF_BYTES = 1 << 20


class PngDocument(Document):
    """One opened PNG file."""

    source = Format.PNG

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.written = Format.PNG
        self._view = View(BytesReader(data))
        with guard.decoding("read the PNG header"):
            self._head = png.header(self._view, list(_first(self._view)))
            limits.check_size(self._head.width, self._head.height)
            self._chunks = list(png.outline(self._view))
            if png.is_animated(self._chunks):
                raise InputError(Reason.ANIMATED, "read the PNG header")
            exif = png.exif(self._view, self._chunks, _MAX_EXIF_BYTES)
            self._orientation = tiff.exif_orientation(View(BytesReader(exif)))
            profile = png.icc_profile(self._view, self._chunks, icc.MAX_PROFILE_BYTES)
            self._profile = icc.kept(profile, 1 if self._head.colour_type in _GREY_TYPES else 3)
            self._grey_key = png.grey_key(self._view, self._chunks, self._head)
            self._colour = png.colour_chunks(self._view, self._chunks)
        self.width, self.height = upright_size(self._head.width, self._head.height, self._orientation)

    def picture(self, index: int) -> Picture:
        """Decode the picture; `DAMAGED` where a checksum or a length is wrong."""
        del index
        with guard.decoding("decode the PNG"), guard.captured():
            self._view = View(self._view.reader)
            if not png.whole_pixels(self._view, self._chunks, self._head):
                raise damaged()
            feed = np.frombuffer(png.essential(self._view, self._chunks), np.uint8)
            samples = cv2.imdecode(feed, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
            if samples is None:
                raise damaged()
            return self._picture(_unsigned(samples))

    def _picture(self, samples: Samples) -> Picture:
        """Put OpenCV's channels (BGR, BGRA, or grey) into ours."""
        grey = self._head.colour_type in _GREY_TYPES
        channels = 1 if samples.ndim == 2 else samples.shape[2]  # noqa: PLR2004
        samples = samples.reshape(*samples.shape[:2], channels)
        alpha = channels in {2, 4}
        if grey:
            samples = samples[:, :, [0, -1]] if alpha else samples[:, :, :1]
            if not alpha and self._grey_key is not None:  # OpenCV passes over it
                samples, alpha = self._with_key(samples, self._grey_key), True
        elif channels == 1:
            samples = np.repeat(samples, 3, axis=2)
        else:
            samples = samples[:, :, [2, 1, 0, 3] if alpha else [2, 1, 0]]
        samples = upright(samples, self._orientation)
        model = ColourModel.GREY if grey else ColourModel.RGB
        return Picture(samples, model, Extra.ALPHA if alpha else Extra.NONE, self._profile)

    def _with_key(self, samples: Samples, key: int) -> Samples:
        """Grey samples with the transparency that the colour key gives them."""
        largest = int(np.iinfo(samples.dtype).max)
        shown = key * (largest // ((1 << self._head.bits) - 1))
        alpha = np.where(samples == shown, 0, largest).astype(samples.dtype)
        return np.concatenate([samples, alpha], axis=2)

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Write the picture without loss."""
        for picture in pictures:
            png_writer.write(picture, self._colour, target)


def _unsigned(samples: NDArray[Any]) -> Samples:
    """OpenCV's array, which must have 8 or 16 bits."""
    if samples.dtype not in (np.uint8, np.uint16):
        raise damaged()
    return samples


def _first(view: View) -> Iterator[png.Chunk]:
    """The header chunk alone, so that the limits are checked before the file is walked."""
    yield next(png.outline(view))
