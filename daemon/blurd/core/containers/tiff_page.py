"""TIFF: one page taken out of a file as a file of its own, with nothing but what a decoder needs. Pure.

Invariants
* The result holds one page, only tags of `DECODING_TAGS` (or those given instead), and the page's pixel data.
* Sizes are bounded by the source's: every strip or tile lies within the source file.
"""

import struct

from blurd.core.containers import tiff
from blurd.core.containers.reader import MalformedError, View

_LONG, _SHORT = 4, 3
_MAX_VALUE_BYTES = 1 << 20


def single_page(
    view: View, layout: tiff.Layout, page: tiff.Page, spans: list[tuple[int, int]], changed: dict[int, int]
) -> bytes:
    """A classic TIFF of this page's strips or tiles `spans`; the tags in `changed` get that one value instead."""
    order = layout.order
    tiled = tiff.TILE_OFFSETS in page.tags
    offsets_tag, counts_tag = (
        (tiff.TILE_OFFSETS, tiff.TILE_COUNTS) if tiled else (tiff.STRIP_OFFSETS, tiff.STRIP_COUNTS)
    )
    body = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    places = []
    for offset, length in spans:
        places.append(len(body))
        body += view.exactly(offset, length) + b"\0" * (length & 1)
    values: dict[int, tuple[int, int, bytes]] = {}
    for code, tag in page.tags.items():
        if code in tiff.DECODING_TAGS and code not in changed:
            values[code] = _value(view, layout, page, tag)
    for code, number in changed.items():
        values[code] = (_LONG, 1, struct.pack(order + "I", number))
    values[offsets_tag] = (_LONG, len(places), struct.pack(f"{order}{len(places)}I", *places))
    values[counts_tag] = (_LONG, len(spans), struct.pack(f"{order}{len(spans)}I", *(length for _, length in spans)))
    return _with_table(body, values, order)


def _value(view: View, layout: tiff.Layout, page: tiff.Page, tag: tiff.Tag) -> tuple[int, int, bytes]:
    """Type, count and bytes of a tag as a classic TIFF can hold them."""
    if tag.length > _MAX_VALUE_BYTES:
        raise MalformedError
    if tag.kind in {13, 16, 18}:
        numbers = tiff.integers(view, layout, page, tag.code)
        if max(numbers) >= 1 << 32:
            raise MalformedError
        return _LONG, len(numbers), struct.pack(f"{layout.order}{len(numbers)}I", *numbers)
    return tag.kind, tag.count, view.exactly(tag.offset, tag.length)


def _with_table(body: bytearray, values: dict[int, tuple[int, int, bytes]], order: str) -> bytes:
    """Append the values that don't fit into an entry, then the page table, and point the header at it."""
    entries = []
    for code in sorted(values):
        kind, count, data = values[code]
        if len(data) > 4:  # noqa: PLR2004
            entry_data = struct.pack(order + "I", len(body))
            body += data + b"\0" * (len(data) & 1)
        else:
            entry_data = data + b"\0" * (4 - len(data))
        entries.append(struct.pack(order + "HHI", code, kind, count) + entry_data)
    if len(body) >= 1 << 32:
        raise MalformedError
    struct.pack_into(order + "I", body, 4, len(body))
    return bytes(body) + struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
