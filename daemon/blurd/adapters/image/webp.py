"""WebP: lossy and lossless, with or without alpha; animations are refused.

A lossless file stays lossless, colours under transparent pixels included. A lossy file is encoded with the quality
whose quantiser the source's frame header states: where the file treats all areas alike, libwebp maps the quality q to
the index 127 * (1 - cbrt(c)), with c = 2q/3 below 75 % and 2q - 1 above; where it treats busy areas more coarsely, as
libwebp does by default, the coarsest index is looked up in a table measured with libwebp 1.6. Alpha stays exact.

Damage: WebP has no checksums; the decoder notices missing data and impossible codes, not every changed bit.

Invariants
* The decoder is fed a file rebuilt from the picture's chunks; so is the written file, plus the profile.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from blurd.adapters.image import guard
from blurd.adapters.image.document import Document, ImageLimits, Loss, damaged
from blurd.adapters.image.pixels import ColourModel, Extra, Picture, upright, upright_size
from blurd.core.containers import BytesReader, Format, icc, riff, tiff
from blurd.core.containers.reader import View
from blurd.errors import InputError, Reason

_MAX_EXIF_BYTES = 1 << 20
_KNEE = 0.75
_COARSEST = 127
_ADAPTIVE_QUANTISERS = (0, 6, 12, 20, 27, 36, 52, 68, 92, _COARSEST)
_ADAPTIVE_QUALITIES = (100, 95, 90, 85, 80, 75, 50, 30, 10, 0)
"""libwebp's qualities by the coarsest index of a picture whose areas differ."""


class WebpDocument(Document):
    """One opened WebP file."""

    source = Format.WEBP

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.written = Format.WEBP
        view = View(BytesReader(data))
        with guard.decoding("read the WebP header"):
            chunks, _ = riff.webp_outline(view)
            if riff.is_animated(view, chunks):
                raise InputError(Reason.ANIMATED, "read the WebP header")
            width, height = riff.webp_size(view, chunks)
            limits.check_size(width, height)
            self._lossless = riff.is_lossless(chunks)
            self._quantiser, self._adaptive = riff.webp_quantiser(view, chunks) or (0, False)
            exif = riff.chunk_data(view, chunks, b"EXIF", _MAX_EXIF_BYTES).removeprefix(b"Exif\0\0")
            self._orientation = tiff.exif_orientation(View(BytesReader(exif)))
            self._profile = icc.kept(riff.chunk_data(view, chunks, b"ICCP", icc.MAX_PROFILE_BYTES), 3)
            self._essential = riff.webp_essential(view, chunks)
        self.width, self.height = upright_size(width, height, self._orientation)

    def picture(self, index: int) -> Picture:
        """Decode the picture."""
        del index
        with guard.decoding("decode the WebP"), Image.open(io.BytesIO(self._essential), formats=("WEBP",)) as image:
            samples = np.asarray(image)
            if samples.ndim != 3 or image.mode not in {"RGB", "RGBA"}:  # noqa: PLR2004
                raise damaged()
            extra = Extra.ALPHA if image.mode == "RGBA" else Extra.NONE
            return Picture(upright(samples, self._orientation), ColourModel.RGB, extra, self._profile)

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Encode as the source was."""
        for picture in pictures:
            with guard.encoding("encode the WebP"), guard.captured():
                encoded = io.BytesIO()
                image = Image.fromarray(np.ascontiguousarray(picture.samples))
                if self._lossless:
                    image.save(encoded, "WEBP", lossless=True, exact=True, quality=50, method=4)
                else:
                    image.save(encoded, "WEBP", quality=self._quality(), alpha_quality=100, method=4)
                view = View(BytesReader(encoded.getvalue()))
                chunks, _ = riff.webp_outline(view)
                data = riff.webp_essential(view, chunks, picture.profile, alpha=picture.has_alpha)
            guard.write(target, data)

    def _quality(self) -> int:
        return quality_of(self._quantiser, adaptive=self._adaptive)

    def loss(self) -> Loss | None:
        """VP8's steps start at 4 and grow by one an index (RFC 6386 14.1), faster above 58; the share is measured."""
        if self._lossless:
            return None
        bound = 2.0 + 0.4 * (4.0 + self._quantiser)
        return Loss(luma=bound, chroma=bound, half_colour=True)


def quality_of(quantiser: int, *, adaptive: bool) -> int:
    """The quality of libwebp (0 to 100) for the coarsest quantiser index of a picture."""
    if adaptive:
        return round(float(np.interp(quantiser, _ADAPTIVE_QUANTISERS, _ADAPTIVE_QUALITIES)))
    linear = (1.0 - quantiser / _COARSEST) ** 3
    quality = (linear + 1.0) / 2.0 if linear >= 2 * _KNEE - 1 else linear * 1.5
    return round(100 * min(max(quality, 0.0), 1.0))
