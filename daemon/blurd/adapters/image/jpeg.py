"""JPEG: baseline, extended and progressive with Huffman coding, 8 bits, grey, YCbCr, RGB and Adobe CMYK.

Only the first picture of a file is read and written; previews, gain maps, second views and videos behind its end
marker or in its segments are dropped. CMYK and YCCK stay CMYK. Arithmetic coding, lossless and 12-bit files and CMYK
without an Adobe marker (nobody agrees on what its numbers mean) are refused.

Quality: the copy is encoded with the source's own quantisation tables and, where the encoder knows it, its colour
subsampling; else at full colour resolution. It carries no density.

Damage: JPEG has no checksums. The decoder's own complaints (bad codes, data missing or left over, restart markers out
of place) all count as damage. What leaves another valid stream of as many blocks can't be noticed by anyone: of single
flipped bits in the scan 15 to 35 % are noticed, of those that spoil more than 2 % of the pixels 56 to 88 % (measured),
and a scan that lacks less than a block row may pass too. Such a picture is complete but discoloured; it is analysed and
masked as it is shown, so nothing leaks by it.

Invariants
* The decoder is fed a file rebuilt from what it needs: no Exif, no profile, nothing behind the end marker.
* The written file passes through the same rebuilding.
"""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurd.adapters.image import guard
from blurd.adapters.image.document import Document, ImageLimits, Loss, damaged, unsupported
from blurd.adapters.image.pixels import ColourModel, Extra, Picture, upright, upright_size
from blurd.core.containers import BytesReader, Format, icc, jpeg, tiff
from blurd.core.containers.reader import View
from blurd.core.masking import Samples

_COMPLAINT = re.compile(rb"Corrupt JPEG|Premature end|Invalid|Inconsistent|Unsupported|Bogus|arithmetic", re.IGNORECASE)
_PADDING = re.compile(rb"(\d{1,8}) extraneous bytes before marker 0xd9")
_SUBSAMPLINGS = {(1, 1): 0, (2, 1): 1, (2, 2): 2}
"""Pillow's numbers for 4:4:4, 4:2:2, 4:2:0 by the ratio of luma to colour samples."""
_MODELS = {1: ColourModel.GREY, 3: ColourModel.RGB, 4: ColourModel.CMYK}
_MODES = {ColourModel.GREY: "L", ColourModel.RGB: "RGB", ColourModel.CMYK: "CMYK"}
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FALLBACK_QUALITY = 92


class JpegDocument(Document):
    """One opened JPEG file."""

    source = Format.JPEG

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.written = Format.JPEG
        view = View(BytesReader(data))
        with guard.decoding("read the JPEG header"):
            segments = list(jpeg.outline(view))
            frame = jpeg.frame_header(view, segments)
            if frame.marker not in _HUFFMAN_FRAMES or frame.bits != 8 or len(frame.sampling) not in _MODELS:  # noqa: PLR2004
                raise unsupported()
            if not frame.height:  # the height follows in a DNL segment
                raise unsupported()
            limits.check_size(frame.width, frame.height)
            transform = jpeg.adobe_transform(view, segments)
            self._model = _MODELS[len(frame.sampling)]
            if self._model is ColourModel.CMYK and transform is None:
                raise unsupported()
            self._orientation = tiff.exif_orientation(View(BytesReader(jpeg.exif(view, segments))))
            self._profile = icc.kept(jpeg.icc_profile(view, segments), self._model.value)
            self._essential = jpeg.essential(data, view, segments)
            self._encoder = JpegEncoder.like(self._essential, frame, transform, self._orientation)
        self.width, self.height = upright_size(frame.width, frame.height, self._orientation)

    def picture(self, index: int) -> Picture:
        """Decode the picture; `DAMAGED` where the decoder complains."""
        del index
        with guard.decoding("decode the JPEG"):
            samples = decode(self._essential, self._model)
            return Picture(upright(samples, self._orientation), self._model, Extra.NONE, self._profile)

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Encode with the source's tables."""
        for picture in pictures:
            guard.write(target, self._encoder.encode(picture))

    def loss(self) -> Loss:
        """What the source's tables may change."""
        return self._encoder.loss()


def decode(data: bytes, model: ColourModel) -> NDArray[np.uint8]:
    """Samples (height, width, channels); raises where libjpeg reports corrupt data."""
    flag = cv2.IMREAD_GRAYSCALE if model is ColourModel.GREY else cv2.IMREAD_COLOR_RGB
    with guard.captured() as texts:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if samples is None or _complains(texts[0], data):
        raise damaged()
    if model is ColourModel.CMYK:  # OpenCV has vouched for the data; Pillow keeps the four channels
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            samples = np.asarray(image)
    return np.asarray(samples, np.uint8).reshape(*samples.shape[:2], model.value)


def _complains(text: bytes, data: bytes) -> bool:
    """True where the decoder reported damage; zeros that a camera put before the end marker are none."""
    for line in text.splitlines():
        padding = _PADDING.search(line)
        if padding:
            count = int(padding[1])
            if not any(data[max(0, len(data) - 2 - count) : -2]):
                continue
        if _COMPLAINT.search(line):
            return True
    return False


class JpegEncoder:
    """Encodes with given quantisation tables (one, or one for luma and one for colour; rows of 64 steps)."""

    def __init__(self, tables: list[list[int]] | None, subsampling: int, *, keep_rgb: bool = False) -> None:
        if tables is None:
            probe = io.BytesIO()
            Image.new("RGB", (8, 8)).save(probe, "JPEG", quality=_FALLBACK_QUALITY)
            with Image.open(probe) as image:
                quantisation = image.quantization  # type: ignore[attr-defined]
            tables = [list(quantisation[0]), list(quantisation[1])]
        self.tables = tables
        self._subsampling = subsampling
        self._keep_rgb = keep_rgb

    @classmethod
    def like(cls, essential: bytes, frame: jpeg.FrameHeader, transform: int | None, orientation: int) -> "JpegEncoder":
        """An encoder with the tables and the subsampling of an existing file."""
        with Image.open(io.BytesIO(essential), formats=("JPEG",)) as image:
            layers, quantisation = image.layer, image.quantization  # type: ignore[attr-defined]
        keep_rgb = len(layers) == 3 and transform == 0  # noqa: PLR2004
        tables = [_table(quantisation[layer[3]], orientation) for layer in layers[: 1 if keep_rgb else 2]]
        if len(frame.sampling) != 3:  # noqa: PLR2004
            return cls(tables[:1], 0)
        (luma_x, luma_y), blue, red = frame.sampling
        ratio = (luma_x // max(blue[0], 1), luma_y // max(blue[1], 1))
        known = _SUBSAMPLINGS.get(ratio, 0) if blue == red and not keep_rgb else 0
        if known == 1 and orientation >= 5:  # noqa: PLR2004 - half width would become half height
            known = 0
        return cls(tables, known, keep_rgb=keep_rgb)

    def encode(self, picture: Picture) -> bytes:
        """The picture as a JPEG file with its colour profile and nothing else."""
        with guard.encoding("encode the JPEG"), guard.captured():
            image = _image(picture.samples, picture.model)
            try:
                data = self._saved(image, optimize=True)
            except OSError:  # Pillow's buffer for optimising is too small for a picture of noise
                data = self._saved(image, optimize=False)
            view = View(BytesReader(data))
            return jpeg.essential(data, view, list(jpeg.outline(view)), picture.profile)

    def _saved(self, image: Image.Image, *, optimize: bool) -> bytes:
        colour = image.mode == "RGB"
        encoded = io.BytesIO()
        image.save(
            encoded,
            "JPEG",
            qtables=self.tables if colour else self.tables[:1],
            subsampling=self._subsampling if colour else 0,
            optimize=optimize,
            keep_rgb=self._keep_rgb,
        )
        return encoded.getvalue()

    def loss(self) -> Loss:
        """The root mean square of half the steps: the most that rounding the coefficients can do to a block."""
        halves = [float(np.sqrt(np.mean(np.square(np.asarray(table) / 2.0)))) for table in self.tables]
        return Loss(luma=halves[0], chroma=halves[-1], half_colour=self._subsampling != 0)


def _table(steps: list[int], orientation: int) -> list[int]:
    """A quantisation table of 64 steps from 1 to 255, transposed where the picture's rows become columns."""
    table = np.clip(np.asarray(steps, np.int64).reshape(8, 8), 1, 255)
    if orientation >= 5:  # noqa: PLR2004
        table = table.T
    return [int(step) for step in table.reshape(-1)]


def _image(samples: Samples, model: ColourModel) -> Image.Image:
    height, width = samples.shape[:2]
    return Image.frombuffer(_MODES[model], (width, height), samples.tobytes(), "raw", _MODES[model], 0, 1)
