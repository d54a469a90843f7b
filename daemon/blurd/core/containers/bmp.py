"""BMP: the header of a bitmap, its size and what else there is. Pure.

Source: Microsoft, BITMAPFILEHEADER, BITMAPINFOHEADER, BITMAPV5HEADER.

Invariants
* Only the first 138 bytes and the file's size are looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from blurd.core.containers.reader import MalformedError, ShortError, View

CORE, INFO, V5 = 12, 40, 124
_RLE8, _RLE4, _BITFIELDS = 1, 2, 3
_EMBEDDED_PROFILE, _LINKED_PROFILE = 0x4D424544, 0x4C494E4B


@dataclass(frozen=True, slots=True)
class Header:
    """What the headers say; `height` is positive, `top_down` tells the order of the rows."""

    header_bytes: int
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    pixel_offset: int
    stated_size: int
    image_bytes: int

    @property
    def pixels_end(self) -> int:
        """Offset behind the last row; of a run-length file by what it states."""
        if self.compression in {_RLE8, _RLE4}:
            return self.pixel_offset + self.image_bytes
        return self.pixel_offset + (self.width * self.bits + 31) // 32 * 4 * self.height


def header(view: View) -> Header:
    """The checked header; `MalformedError` where it can't be one."""
    if view.exactly(0, 2) != b"BM":
        raise MalformedError
    stated_size, _, pixel_offset, header_bytes = view.unpack("<IIII", 2)
    if header_bytes == CORE:
        width, height, planes, bits = view.unpack("<HHHH", 18)
        compression = image_bytes = 0
    elif header_bytes >= 16:  # noqa: PLR2004
        width, height, planes, bits = view.unpack("<iiHH", 18)
        compression, image_bytes = view.unpack("<II", 30) if header_bytes >= INFO else (0, 0)
    else:
        raise MalformedError
    if width <= 0 or height == 0 or planes != 1 or bits not in {1, 2, 4, 8, 16, 24, 32}:
        raise MalformedError
    return Header(
        header_bytes, width, abs(height), height < 0, bits, compression, pixel_offset, stated_size, image_bytes
    )


def whole(view: View) -> bool:
    """True where the rows lie within the file; raises `ShortError` where they don't."""
    if header(view).pixels_end > view.size:
        raise ShortError
    return True


def has_profile(view: View, head: Header) -> bool:
    """True where a colour profile is embedded or, worse, named by a path."""
    return head.header_bytes >= V5 and view.unpack("<I", 14 + 56)[0] in {_EMBEDDED_PROFILE, _LINKED_PROFILE}


def leftovers(view: View) -> Iterator[str]:
    """Codes of what is not on the allow-list of a written BMP: one header, at most 256 colours, the rows, the end."""
    head = header(view)
    if head.header_bytes not in {INFO, V5} or head.compression not in {0, _BITFIELDS}:
        yield "bmp_header"
    if has_profile(view, head):
        yield "bmp_profile"
    colours = 256 * 4 if head.bits == 8 else 0  # noqa: PLR2004
    if head.pixel_offset != 14 + head.header_bytes + colours:
        yield "bmp_gap"
    if view.exactly(6, 4) != b"\0\0\0\0":
        yield "bmp_reserved"
    if head.pixels_end != view.size or head.stated_size != view.size:
        yield "bmp_trailer"
