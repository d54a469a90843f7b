"""BMP: 1 to 32 bits, palettes and run lengths; written with 8-bit grey, 24-bit RGB or 32-bit RGB and alpha.

Invariants
* A file with an embedded or linked colour profile is refused: its colours could not be kept.
* The written file is ours from the first byte to the last: header, grey palette where needed, rows.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from blurd.adapters.image import guard
from blurd.adapters.image.document import Document, ImageLimits, damaged, unsupported
from blurd.adapters.image.pixels import ColourModel, Extra, Picture
from blurd.core.containers import BytesReader, Format, bmp
from blurd.core.containers.reader import View

_MODES = {
    "L": (ColourModel.GREY, Extra.NONE),
    "RGB": (ColourModel.RGB, Extra.NONE),
    "RGBA": (ColourModel.RGB, Extra.ALPHA),
}
_BAND_BYTES = 8 << 20
_SRGB = 0x73524742


class BmpDocument(Document):
    """One opened BMP file."""

    source = Format.BMP

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.written = Format.BMP
        self._data = data
        view = View(BytesReader(data))
        with guard.decoding("read the BMP header"):
            head = bmp.header(view)
            limits.check_size(head.width, head.height)
            if bmp.has_profile(view, head):
                raise unsupported()
            if head.pixels_end > len(data):
                raise damaged()
        self.width, self.height = head.width, head.height

    def picture(self, index: int) -> Picture:
        """Decode the picture."""
        del index
        with guard.decoding("decode the BMP"), Image.open(io.BytesIO(self._data), formats=("BMP",)) as image:
            if image.size != (self.width, self.height):
                raise damaged()
            plain = image.convert({"1": "L", "P": "RGB"}.get(image.mode, image.mode))
            if plain.mode not in _MODES:
                raise unsupported("decode the BMP")
            model, extra = _MODES[plain.mode]
            samples = np.asarray(plain)
            return Picture(samples.reshape(self.height, self.width, -1), model, extra)

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Write the rows from the bottom up, as every reader expects."""
        for picture in pictures:
            guard.write(target, _head(picture))
            channels = picture.samples.shape[2]
            order = [0] if channels == 1 else [2, 1, 0, 3][:channels]
            padding = -picture.width * channels % 4
            band_rows = max(1, _BAND_BYTES // (picture.width * channels))
            for bottom in range(picture.height, 0, -band_rows):
                band = picture.samples[max(0, bottom - band_rows) : bottom][::-1]
                rows = band[:, :, order].reshape(len(band), -1)
                guard.write(target, np.pad(rows, ((0, 0), (0, padding))).tobytes())


def _head(picture: Picture) -> bytes:
    channels = picture.samples.shape[2]
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256)) if channels == 1 else b""
    stride = (picture.width * channels + 3) // 4 * 4
    size, bits = stride * picture.height, 8 * channels
    alpha = picture.extra is not Extra.NONE
    header_bytes = bmp.V5 if alpha else bmp.INFO
    offset = 14 + header_bytes + len(palette)
    info = struct.pack(
        "<IiiHHIIiiII", header_bytes, picture.width, picture.height, 1, bits, 3 * alpha, size, 0, 0, 0, 0
    )
    if alpha:
        info += struct.pack("<IIIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, _SRGB) + b"\0" * 64
    return struct.pack("<2sIII", b"BM", offset + size, 0, offset) + info + palette
