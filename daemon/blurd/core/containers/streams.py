"""Whether video files of the other families are whole, as far as their structure tells. Pure.

Invariants
* Only the first and the last 64 KiB are read.
* True: whole. `ShortError`: it ends too early. None: the structure does not tell.
"""

from blurd.core.containers.reader import MalformedError, ShortError, View

_TAIL_BYTES = 64 << 10
_EBML_UNKNOWN_BITS = 7
_SEGMENT_ID = b"\x18\x53\x80\x67"
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OGG_END_OF_STREAM = 4


def whole_matroska(view: View) -> bool | None:
    """Matroska and WebM: the segment's length, unless it is unknown (a live recording)."""
    head = view.some(0, _TAIL_BYTES)
    _, offset = _ebml_size(head, 4)
    length, start = _ebml_size(head, 4)
    offset = start + (length or 0)
    while head[offset : offset + 4] != _SEGMENT_ID:
        if head[offset : offset + 1] != b"\xec":  # only a void element may stand between
            raise MalformedError
        length, start = _ebml_size(head, offset + 1)
        offset = start + (length or 0)
    length, start = _ebml_size(head, offset + 4)
    if length is None:
        return None
    if start + length > view.size:
        raise ShortError
    return True


def _ebml_size(head: bytes, offset: int) -> tuple[int | None, int]:
    """An EBML length (None where unknown) and the offset behind it."""
    if offset >= len(head):
        raise ShortError
    width = 9 - head[offset].bit_length()
    if width > 8:  # noqa: PLR2004
        raise MalformedError
    data = head[offset : offset + width]
    if len(data) < width:
        raise ShortError
    bits = _EBML_UNKNOWN_BITS * width
    value = int.from_bytes(data, "big") & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), offset + width


def whole_asf(view: View) -> bool | None:
    """ASF: the file's size in its properties, unless it was broadcast."""
    head = view.some(0, _TAIL_BYTES)
    place = head.find(_FILE_PROPERTIES, 30)
    if place < 0 or place + 92 > len(head):
        return None
    size = int.from_bytes(head[place + 40 : place + 48], "little")
    if head[place + 88] & 1 or not size:
        return None
    if size > view.size:
        raise ShortError
    return True


def whole_ogg(view: View) -> bool | None:
    """Ogg: the last page says that it is the last."""
    tail = view.some(max(0, view.size - _TAIL_BYTES), _TAIL_BYTES)
    place = tail.rfind(b"OggS")
    if place >= 0 and len(tail) > place + 5 and tail[place + 5] & _OGG_END_OF_STREAM:
        return True
    return None


def whole_flv(view: View) -> bool | None:
    """FLV: the file ends with the length of its last tag, which starts with a known tag type."""
    if view.size < 24:  # noqa: PLR2004
        raise ShortError
    (length,) = view.unpack(">I", view.size - 4)
    if 11 <= length <= view.size - 13 and view.exactly(view.size - 4 - length, 1)[0] & 0x1F in {8, 9, 18}:  # noqa: PLR2004
        return True
    return None
