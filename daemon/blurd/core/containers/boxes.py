"""ISO base media boxes: HEIF and AVIF pictures, and whether an MP4 or QuickTime file is whole. Pure.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (HEIF items and properties).

Invariants
* At most `_MAX_BOXES` boxes of one level and `_MAX_ITEMS` items, properties and extents are looked at.
* Only the tables of a file are read, never its pixel or sample data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from blurd.core.containers.reader import BytesReader, MalformedError, ShortError, View

_MAX_BOXES = 100_000
_MAX_ITEMS = 10_000
_META_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its type, where its content starts and where it ends; `open_ended` where it lasts to the file's end."""

    name: bytes
    start: int
    end: int
    open_ended: bool = False


@dataclass(slots=True)
class Pictures:
    """The item tables of a HEIF or AVIF file."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)

    def of_item(self, item: int) -> list[tuple[bytes, bytes]]:
        """The properties of an item in their order (transformations are applied in it)."""
        return [self.properties[index - 1] for index in self.owned.get(item, ()) if 0 < index <= len(self.properties)]


def boxes(view: View, start: int, stop: int) -> Iterator[Box]:
    """The boxes between two offsets; `ShortError` where one announces more than the file holds."""
    offset = start
    for _ in range(_MAX_BOXES):
        if offset >= stop:
            return
        start_bytes = view.exactly(offset, 8)
        length, name = int.from_bytes(start_bytes[:4], "big"), start_bytes[4:]
        head = 8
        if length == 1:
            (length,) = view.unpack(">Q", offset + 8)
            head = 16
        open_ended = length == 0
        end = view.size if open_ended else offset + length
        if end < offset + head:
            raise MalformedError
        if end > view.size:
            raise ShortError
        if end > stop:
            raise MalformedError
        yield Box(name, offset + head, end, open_ended)
        offset = end
    raise MalformedError


def whole_movie(view: View) -> bool | None:
    """True where index and samples are there, None where the structure does not tell."""
    names = set()
    for box in boxes(view, 0, view.size):
        names.add(box.name)
        if box.open_ended and box.name == b"mdat":
            return None
    if b"moov" not in names:
        raise ShortError
    return True if names & {b"mdat", b"moof"} else None


def whole_picture(view: View) -> bool:
    """True where all boxes lie within the file and both the item table and the items' data are there."""
    found = {box.name: box for box in boxes(view, 0, view.size)}
    table = found.get(b"meta")
    if table is None and b"moov" not in found:
        raise ShortError
    inside = table is not None and any(box.name == b"idat" for box in boxes(view, table.start + 4, table.end))
    if b"mdat" not in found and not inside:
        raise ShortError
    return True


def pictures(view: View) -> Pictures:
    """The item tables; `MalformedError` where there are none."""
    for box in boxes(view, 0, view.size):
        if box.name == b"meta" and box.end - box.start <= _META_BYTES:
            return _meta(View(BytesReader(view.exactly(box.start, box.end - box.start))))
    raise MalformedError


def _meta(view: View) -> Pictures:
    found = Pictures()
    for box in boxes(view, 4, view.size):
        if box.name == b"pitm":
            version = view.exactly(box.start, 1)[0]
            (found.primary,) = view.unpack(">I" if version else ">H", box.start + 4)
        elif box.name == b"iinf":
            found.kinds.update(_item_kinds(view, box))
        elif box.name == b"iprp":
            _properties(view, box, found)
    return found


def _item_kinds(view: View, table: Box) -> Iterator[tuple[int, bytes]]:
    start = table.start + (8 if view.exactly(table.start, 1)[0] else 6)
    for count, box in enumerate(boxes(view, start, table.end)):
        if count == _MAX_ITEMS:
            raise MalformedError
        version = view.exactly(box.start, 1)[0]
        if box.name == b"infe" and version >= 2:  # noqa: PLR2004
            layout = ">I" if version > 2 else ">H"  # noqa: PLR2004
            (number,) = view.unpack(layout, box.start + 4)
            yield number, view.exactly(box.start + 4 + (4 if version > 2 else 2) + 2, 4)  # noqa: PLR2004


def _properties(view: View, parent: Box, found: Pictures) -> None:
    for box in boxes(view, parent.start, parent.end):
        if box.name == b"ipco":
            for inner in boxes(view, box.start, box.end):
                if len(found.properties) == _MAX_ITEMS:
                    raise MalformedError
                length = min(inner.end - inner.start, 64)
                found.properties.append((inner.name, view.exactly(inner.start, length)))
        elif box.name == b"ipma":
            _associations(view, box, found)


def _associations(view: View, box: Box, found: Pictures) -> None:
    (head, entries) = view.unpack(">II", box.start)
    wide_items, wide_indices = head >> 24, head & 1
    offset = box.start + 8
    if entries > _MAX_ITEMS:
        raise MalformedError
    for _ in range(entries):
        (item,) = view.unpack(">I" if wide_items else ">H", offset)
        offset += 4 if wide_items else 2
        count = view.exactly(offset, 1)[0]
        width = 2 if wide_indices else 1
        data = view.exactly(offset + 1, count * width)
        mask = 0x7FFF if wide_indices else 0x7F
        found.owned[item] = [
            int.from_bytes(data[place : place + width], "big") & mask for place in range(0, len(data), width)
        ]
        offset += 1 + count * width


def size_of(found: Pictures) -> tuple[int, int]:
    """Width and height of the primary picture as stored, before any rotation."""
    for name, data in found.of_item(found.primary):
        if name == b"ispe" and len(data) >= 12:  # noqa: PLR2004
            return int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    raise MalformedError
