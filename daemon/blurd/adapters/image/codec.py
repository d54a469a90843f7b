"""The codec of still images: opens sources of any format by their content, writes copies, and proves outputs.

Invariants
* What a file is, is read from its content (`core/containers`), never from a name.
* `open` decodes nothing; the limits on bytes, pixels and pages are checked before any pixel is.
* A source holds its file in memory, so a source that is replaced on disk does not change under the passes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from blurd.adapters.image import compare, guard
from blurd.adapters.image.bmp import BmpDocument
from blurd.adapters.image.document import SUFFIXES, Document, ImageLimits
from blurd.adapters.image.heif import HeifDocument
from blurd.adapters.image.jpeg import JpegDocument
from blurd.adapters.image.pixels import Picture
from blurd.adapters.image.png import PngDocument
from blurd.adapters.image.tiff import TiffDocument
from blurd.adapters.image.webp import WebpDocument
from blurd.core import containers
from blurd.core.containers import BytesReader, Format
from blurd.errors import InputError, Reason
from blurd.records import Mask, MediaFacts, MediaKind, RgbPicture


@dataclass(frozen=True, slots=True)
class ImageProof:
    """What makes a masked page again."""

    index: int
    masks: tuple[Mask, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ImageFrame:
    """One page of an image, decoded and upright."""

    picture: Picture
    index: int = 0
    time_s: float = 0.0
    masks: tuple[Mask, ...] = ()

    def rgb(self) -> RgbPicture:
        """What the detectors see."""
        return self.picture.rgb()

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.picture.width, self.picture.height

    def blocks(self) -> NDArray[np.uint8]:
        """Means of blocks of 4 x 4 pixels."""
        size = (max(1, self.picture.width // 4), max(1, self.picture.height // 4))
        return np.asarray(cv2.resize(self.rgb(), size, interpolation=cv2.INTER_AREA), np.uint8)

    def masked(self, masks: Sequence[Mask]) -> Self:
        """A copy with the masks drawn in; this frame where there are none."""
        return replace(self, picture=self.picture.masked(masks), masks=tuple(masks)) if masks else self

    def proof(self) -> ImageProof:
        """Which page it is and what was drawn: a page is decoded again to be compared, and never kept."""
        return ImageProof(self.index, self.masks)


class ImageSource:
    """An opened image; `MediaSource` for still images."""

    def __init__(self, document: Document, code: Format) -> None:
        self._document = document
        self.facts = self._facts(code)
        self.output_facts = self._facts(document.written)

    def _facts(self, code: Format) -> MediaFacts:
        document = self._document
        return MediaFacts(MediaKind.IMAGE, code.value, SUFFIXES[code], document.width, document.height, document.pages)

    def frames(self, without: Sequence[range] = ()) -> Iterator[ImageFrame]:  # noqa: ARG002  there are no groups
        """Every page in order, one in memory at a time."""
        for index in range(self._document.pages):
            yield ImageFrame(self._document.picture(index), index)

    def untouched(self, is_masked: Callable[[int], bool]) -> tuple[range, ...]:  # noqa: ARG002
        """None: every page is encoded anew."""
        return ()

    def has_taken_over(self, taken: Sequence[range], copy: object) -> bool:  # noqa: ARG002
        """True where nothing was to be taken over."""
        return not taken

    def write(
        self,
        frames: Iterator[ImageFrame],
        target: BinaryIO,
        taken: Sequence[range] = (),  # noqa: ARG002
    ) -> None:
        """Encode frames of this source; `target` is empty and can seek."""
        self._document.write((frame.picture for frame in frames), target)

    def same_time(self, time_s: float, found: ImageFrame) -> bool:
        """True: the pages of an image have no times."""
        return time_s == found.time_s

    def compare(self, proof: ImageProof, found: ImageFrame) -> bool:
        """True where `found`, decoded from the copy, is the masked page as far as the copy's encoding allows."""
        picture = self._document.picture(proof.index)
        expected = picture.masked(proof.masks) if proof.masks else picture
        return compare.agree(expected, found.picture, self._document.loss())


class ImageCodec:
    """`MediaCodec` for still images."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits

    def open(self, file: BinaryIO) -> ImageSource:
        """Read the header, check the limits and return the source."""
        data = guard.read_all(file, self._limits.max_bytes)
        code = containers.identify(BytesReader(data))
        if code is None:
            raise InputError(Reason.UNKNOWN_FORMAT, "identify the image")
        return ImageSource(self._document(code, data), code)

    def _document(self, code: Format, data: bytes) -> Document:
        match code:
            case Format.JPEG:
                return JpegDocument(data, self._limits)
            case Format.PNG:
                return PngDocument(data, self._limits)
            case Format.WEBP:
                return WebpDocument(data, self._limits)
            case Format.TIFF:
                return TiffDocument(data, self._limits)
            case Format.BMP:
                return BmpDocument(data, self._limits)
            case Format.HEIF | Format.AVIF:
                return HeifDocument(data, self._limits, code)
            case _:
                raise InputError(Reason.UNSUPPORTED_FORMAT, "identify the image")

    def leftovers(self, file: BinaryIO) -> tuple[str, ...]:
        """Codes of everything in a written file that is not on its format's allow-list; empty where it is clean."""
        return containers.leftovers(BytesReader(guard.read_all(file, guard.MAX_OUTPUT_BYTES)))
