"""TIFF and BigTIFF: the pages of a file, their tags, where their pixels lie, and what else there is. Pure.

Also reads the orientation out of an Exif block, which is a small TIFF structure.

Source: TIFF 6.0; TIFF technical notes 1 and 2; BigTIFF (libtiff).

Invariants
* A page list is walked once (a loop in it is an error), at most `MAX_PAGES` long, at most `_MAX_TAGS` tags a page and
  `_MAX_VALUES` values a tag.
* The walk of a written file accounts for every byte: header, page tables, tag values and pixel data; anything
  else is a leftover.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from blurd.core.containers.reader import MalformedError, ParseError, ShortError, View

MAX_PAGES = 10_000
_MAX_TAGS = 1000
_MAX_VALUES = 1 << 20
_GAP_BYTES = 1  # values start at even offsets

(
    SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES,
    ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, GROUP3_OPTIONS, GROUP4_OPTIONS, PREDICTOR, COLOUR_MAP, TILE_WIDTH,
    TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_PAGES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES,
    YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING, REFERENCE_BLACK_WHITE, ICC_PROFILE,
) = (
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 330, 332,
    338, 339, 347, 529, 530, 531, 532, 34675,
)  # fmt: skip

DECODING_TAGS = frozenset(
    {
        WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP,
        STRIP_COUNTS, PLANAR, GROUP3_OPTIONS, GROUP4_OPTIONS, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT,
        TILE_OFFSETS, TILE_COUNTS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, YCBCR_COEFFICIENTS,
        YCBCR_SUBSAMPLING, YCBCR_POSITIONING, REFERENCE_BLACK_WHITE,
    }
)  # fmt: skip
"""What a decoder needs of a page."""
WRITTEN_TAGS = frozenset(
    {
        WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR,
        PREDICTOR, EXTRA_SAMPLES, ICC_PROFILE,
    }
)  # fmt: skip
"""The allow-list of a written page: nothing of it is text but what the colour profile carries."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a page table: where its values lie and how many of which type."""

    code: int
    kind: int
    count: int
    offset: int

    @property
    def length(self) -> int:
        """Bytes of the values."""
        return self.count * _SIZES.get(self.kind, 1)


@dataclass(frozen=True, slots=True)
class Page:
    """One page table: its own bytes [start, end) and its tags by code."""

    start: int
    end: int
    tags: dict[int, Tag]


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte order (`<` or `>`) and whether the file is a BigTIFF."""

    order: str
    big: bool


def layout_of(view: View, base: int = 0) -> tuple[Layout, int]:
    """The file's layout and the offset of its first page table."""
    order = {b"II": "<", b"MM": ">"}.get(view.exactly(base, 2))
    if order is None:
        raise MalformedError
    (version,) = view.unpack(order + "H", base + 2)
    if version == 42:  # noqa: PLR2004
        return Layout(order, big=False), view.unpack(order + "I", base + 4)[0]
    if version == 43 and view.unpack(order + "HH", base + 4) == (8, 0):  # noqa: PLR2004
        return Layout(order, big=True), view.unpack(order + "Q", base + 8)[0]
    raise MalformedError


def pages(view: View, layout: Layout, first: int) -> Iterator[Page]:
    """The pages in their order. Raises `MalformedError` for a loop or too many of them."""
    seen: set[int] = set()
    offset = first
    while offset:
        if offset in seen or len(seen) >= MAX_PAGES:
            raise MalformedError
        seen.add(offset)
        page, offset = page_at(view, layout, offset)
        yield page


def page_at(view: View, layout: Layout, offset: int) -> tuple[Page, int]:
    """The page table at an offset and the offset of the next one."""
    count_code, entry_bytes, next_code = ("Q", 20, "Q") if layout.big else ("H", 12, "I")
    (count,) = view.unpack(layout.order + count_code, offset)
    if not 0 < count <= _MAX_TAGS:
        raise MalformedError
    start = offset + struct.calcsize(count_code)
    table = view.exactly(start, count * entry_bytes)
    tags: dict[int, Tag] = {}
    for number in range(count):
        entry = _entry(layout, table, number * entry_bytes, start + number * entry_bytes)
        tags.setdefault(entry.code, entry)
    end = start + count * entry_bytes
    (following,) = view.unpack(layout.order + next_code, end)
    return Page(offset, end + struct.calcsize(next_code), tags), following


def _entry(layout: Layout, table: bytes, at: int, place: int) -> Tag:
    """One entry; its values lie in the entry itself where they fit."""
    counts, inline = ("Q", 8) if layout.big else ("I", 4)
    code, kind, count = struct.unpack_from(f"{layout.order}HH{counts}", table, at)
    head = 4 + inline
    tag = Tag(code, kind, count, place + head)
    if tag.length <= inline:
        return tag
    (offset,) = struct.unpack_from(layout.order + counts, table, at + head)
    return Tag(code, kind, count, offset)


def integers(view: View, layout: Layout, page: Page, code: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The values of an integer tag; the default where the page has no such tag."""
    tag = page.tags.get(code)
    if tag is None:
        return default
    letter = _INTEGERS.get(tag.kind)
    if letter is None or not 0 < tag.count <= _MAX_VALUES:
        raise MalformedError
    return view.unpack(f"{layout.order}{tag.count}{letter}", tag.offset)


def integer(view: View, layout: Layout, page: Page, code: int, default: int | None = None) -> int:
    """The first value of an integer tag; `MalformedError` where it is missing and has no default."""
    values = integers(view, layout, page, code, () if default is None else (default,))
    if not values:
        raise MalformedError
    return values[0]


def pixel_spans(view: View, layout: Layout, page: Page) -> list[tuple[int, int]]:
    """(offset, length) of every strip or tile; all of them lie within the file, else `ShortError`."""
    tiled = TILE_OFFSETS in page.tags
    offsets = integers(view, layout, page, TILE_OFFSETS if tiled else STRIP_OFFSETS)
    counts = integers(view, layout, page, TILE_COUNTS if tiled else STRIP_COUNTS)
    if not offsets or len(offsets) != len(counts):
        raise MalformedError
    if any(offset + length > view.size for offset, length in zip(offsets, counts, strict=True)):
        raise ShortError
    return list(zip(offsets, counts, strict=True))


def values(view: View, page: Page, code: int, limit: int) -> bytes:
    """The raw bytes of a tag's values, or nothing where it is missing or longer than the limit."""
    tag = page.tags.get(code)
    if tag is None or tag.length > limit:
        return b""
    return view.exactly(tag.offset, tag.length)


def exif_orientation(view: View) -> int:
    """The orientation (1 to 8) that an Exif block states; 1 where it says nothing usable."""
    try:
        layout, first = layout_of(view)
        page, _ = page_at(view, layout, first)
        value = integer(view, layout, page, ORIENTATION, 1)
    except ParseError:
        return 1
    return value if 1 <= value <= 8 else 1  # noqa: PLR2004


def whole(view: View) -> bool:
    """Walks everything; raises where something lies outside the file."""
    layout, first = layout_of(view)
    if first == 0:  # a writer that has not come to its page table
        raise ShortError
    for page in pages(view, layout, first):
        pixel_spans(view, layout, page)
        if any(tag.offset + tag.length > view.size for tag in page.tags.values()):
            raise ShortError
    return True


def leftovers(view: View) -> Iterator[str]:
    """Codes of what is not on the allow-list of a written TIFF."""
    layout, first = layout_of(view)
    used = [(0, 16 if layout.big else 8)]
    for page in pages(view, layout, first):
        used.append((page.start, page.end))
        for code, tag in page.tags.items():
            if code not in WRITTEN_TAGS:
                yield f"tiff_tag_{code}"
            used.append((tag.offset, tag.offset + tag.length))
        used.extend((offset, offset + length) for offset, length in pixel_spans(view, layout, page))
    end = 0
    for start, stop in sorted(used):
        if start > end + _GAP_BYTES:
            yield "tiff_gap"
        end = max(end, stop)
    if view.size > end + _GAP_BYTES:
        yield "tiff_trailer"
