"""HEIC, HEIF and AVIF as phones write them: one picture; the copy is a JPEG, or a PNG where there is alpha.

Not written as HEIC: the only HEVC encoder in reach is x265 (GPL), and this module never calls it. Pixels of more than
8 bits are reduced to 8; a picture for an HDR display (PQ or HLG), or for a wide gamut that no profile describes, is
refused, for its colours would be wrong.
Depth maps, gain maps, thumbnails and other auxiliary pictures are dropped. Several pictures of equal rank and image
sequences are refused, so that none is dropped in silence.

Rotation and mirroring are the file's own properties (`irot`, `imir`); an Exif orientation beside them is not
applied, as the standard demands. libheif applies them itself, libavif does not, so they are applied here for AVIF.

Invariants
* The size is read from the item tables and checked before anything is decoded.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pillow_heif
from PIL import Image

from blurd.adapters.image import guard, png_writer
from blurd.adapters.image.document import Document, ImageLimits, Loss, damaged, unsupported
from blurd.adapters.image.jpeg import JpegEncoder
from blurd.adapters.image.pixels import ColourModel, Extra, Picture
from blurd.core.containers import BytesReader, Format, boxes, icc
from blurd.core.containers.reader import View
from blurd.core.containers.signatures import brands
from blurd.core.masking import Samples
from blurd.errors import InputError, Reason

_SEQUENCE_BRANDS = frozenset({b"msf1", b"hevc", b"hevx", b"hevm", b"hevs", b"avis"})
_SRGB_PRIMARIES = frozenset({1, 2, 5, 6, 7})
"""BT.709 and, near enough to it, BT.601; 2 is unspecified."""
_SRGB_TRANSFERS = frozenset({1, 2, 4, 5, 6, 13})
_ALPHAS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1\0")
_MODES = {"L": ColourModel.GREY, "RGB": ColourModel.RGB, "RGBA": ColourModel.RGB}
_420 = 2

pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False


class HeifDocument(Document):
    """One opened HEIF or AVIF file."""

    source = Format.HEIF

    def __init__(self, data: bytes, limits: ImageLimits, code: Format) -> None:
        self._data = data
        self._code = code
        view = View(BytesReader(data))
        with guard.decoding("read the HEIF header"):
            if brands(data[:4096])[0] in _SEQUENCE_BRANDS:
                raise InputError(Reason.ANIMATED, "read the HEIF header")
            boxes.whole_picture(view)
            found = boxes.pictures(view)
            width, height = boxes.size_of(found)
            for name, content in found.properties:
                if name == b"ispe":
                    limits.check_size(int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big"))
            properties = found.of_item(found.primary)
            if any(name == b"clap" for name, _ in properties):
                raise unsupported()
            self._turns = [(name, content[0]) for name, content in properties if name in {b"irot", b"imir"}]
            _check_colour(properties)
            alpha = any(name == b"auxC" and content[4:].startswith(_ALPHAS) for name, content in found.properties)
        turned = sum(amount & 1 for name, amount in self._turns if name == b"irot") % 2
        self.width, self.height = (height, width) if turned else (width, height)
        self.written = Format.PNG if alpha else Format.JPEG
        self._encoder = JpegEncoder(None, _420)

    def picture(self, index: int) -> Picture:
        """Decode the primary picture, upright."""
        del index
        with guard.decoding("decode the HEIF"), guard.captured():
            samples, profile = self._avif() if self._code is Format.AVIF else self._heic()
        samples = samples.reshape(*samples.shape[:2], -1)
        if samples.shape[:2] != (self.height, self.width):
            raise damaged("decode the HEIF")
        model = ColourModel.GREY if samples.shape[2] <= 2 else ColourModel.RGB  # noqa: PLR2004
        extra = Extra.ALPHA if samples.shape[2] in {2, 4} else Extra.NONE
        if (extra is Extra.ALPHA) != (self.written is Format.PNG):
            raise damaged("decode the HEIF")
        return Picture(np.ascontiguousarray(samples), model, extra, icc.kept(profile, model.value))

    def _heic(self) -> tuple[Samples, bytes]:
        file = pillow_heif.open_heif(io.BytesIO(self._data), convert_hdr_to_8bit=True)
        if len(file) != 1:
            raise unsupported("decode the HEIF")
        image = file[0].to_pillow()
        if image.mode not in _MODES:
            raise unsupported("decode the HEIF")
        return np.asarray(image), image.info.get("icc_profile") or b""

    def _avif(self) -> tuple[Samples, bytes]:
        with Image.open(io.BytesIO(self._data), formats=("AVIF",)) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise InputError(Reason.ANIMATED, "decode the AVIF")
            samples = np.asarray(image)
            profile = image.info.get("icc_profile") or b""
        for name, amount in self._turns:
            if name == b"irot":
                samples = np.rot90(samples, amount & 3)
            else:
                samples = samples[:, ::-1] if amount & 1 else samples[::-1]
        return samples, profile

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Write a JPEG, or a PNG where the picture has alpha."""
        for picture in pictures:
            if self.written is Format.PNG:
                png_writer.write(picture, (), target)
            else:
                guard.write(target, self._encoder.encode(picture))

    def loss(self) -> Loss | None:
        """That of the JPEG."""
        return None if self.written is Format.PNG else self._encoder.loss()


def _check_colour(properties: list[tuple[bytes, bytes]]) -> None:
    """Refuse colours that an 8-bit copy without a profile would show wrongly."""
    profiled = any(name == b"colr" and content[:4] in {b"prof", b"rICC"} for name, content in properties)
    for name, content in properties:
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 8:  # noqa: PLR2004
            primaries, transfer = int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:8], "big")
            known = primaries in _SRGB_PRIMARIES or profiled
            if not known or not (transfer in _SRGB_TRANSFERS or profiled):
                raise unsupported()
