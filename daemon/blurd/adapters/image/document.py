"""What every image format offers to the codec, and the limits that every format observes.

Invariants
* A document's constructor reads headers only and checks every limit before anything is decoded.
* `picture` gives the same picture every time; `write` writes nothing but pictures, profiles and what the format needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from blurd.adapters.image.pixels import Picture
from blurd.core.containers import Format
from blurd.errors import InputError, Reason

SUFFIXES = {
    Format.JPEG: ".jpg",
    Format.PNG: ".png",
    Format.WEBP: ".webp",
    Format.TIFF: ".tif",
    Format.BMP: ".bmp",
    Format.HEIF: ".heic",
    Format.AVIF: ".avif",
}
_MAX_SIDE_PX = 1 << 20
"""The largest side that the decoders take."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits on one image file: pixels of a page, pages, bytes of the file."""

    max_pixels: int = 200_000_000
    max_pages: int = 500
    max_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if not 0 < self.max_pixels < 1 << 30 or self.max_pages < 1 or not 0 < self.max_bytes <= 1 << 31:
            raise ValueError("limits: 1 to 2**30 - 1 pixels, at least 1 page, 1 to 2**31 bytes")

    def check_size(self, width: int, height: int) -> None:
        """Raise `TOO_MANY_PIXELS` above the limit, `DAMAGED` for a picture without pixels."""
        if width < 1 or height < 1:
            raise InputError(Reason.DAMAGED, "read the image header")
        if width * height > self.max_pixels or max(width, height) > _MAX_SIDE_PX:
            raise InputError(Reason.TOO_MANY_PIXELS, "read the image header")

    def check_pages(self, pages: int) -> None:
        """Raise `TOO_MANY_PAGES` above the limit."""
        if pages > self.max_pages:
            raise InputError(Reason.TOO_MANY_PAGES, "read the image header")


@dataclass(frozen=True, slots=True)
class Loss:
    """What a lossy encoding may change (see `compare.py`): root mean squares in sample values; colour at half size."""

    luma: float
    chroma: float
    half_colour: bool


class Document(ABC):
    """One opened file. Subclasses set the public attributes in their constructors."""

    source: ClassVar[Format]
    written: Format
    width: int
    height: int
    pages: int = 1

    @abstractmethod
    def picture(self, index: int) -> Picture:
        """Decode one page; raises `InputError(DAMAGED)`."""

    @abstractmethod
    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Encode pictures of this document."""

    def loss(self) -> Loss | None:
        """How far the written copy may differ; None where it is exact."""
        return None


def unsupported(operation: str = "read the image header") -> InputError:
    """The error for a variant that can't be treated."""
    return InputError(Reason.UNSUPPORTED_FORMAT, operation)


def damaged(operation: str = "decode the image") -> InputError:
    """The error for content that contradicts itself or ends too early."""
    return InputError(Reason.DAMAGED, operation)
