"""Colour profiles: kept, but rebuilt from an allow-list of tags. Pure.

A profile says what the colours mean, so it stays. It is also a place for text: its own name and copyright stay (they
are the maker's, and the standard demands them), bounded; the tags that describe a device or were made for one (monitor
serial numbers, calibration, viewing notes, private tags) go.

Source: ICC.1:2022 chapters 7 and 9.

Invariants
* What comes out is at most `MAX_PROFILE_BYTES` long, every byte of it lies in the header, the tag table or a tag of the
  allow-list, and putting it in again gives the same bytes.
* A damaged profile gives nothing: decoders pass over it too.
"""

import struct
from typing import Final

MAX_PROFILE_BYTES: Final = 4 << 20
_MAX_TAGS = 100
_MAX_TEXT_BYTES = 4096
_HEAD_BYTES = 128
_TEXT_TAGS = frozenset({b"desc", b"cprt"})
_COLOUR_TAGS = frozenset(
    {
        b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"bkpt", b"chad", b"chrm", b"lumi",
        b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"D2B0", b"D2B1", b"D2B2", b"D2B3", b"B2D0", b"B2D1",
        b"B2D2", b"B2D3", b"gamt", b"cicp",
    }
)  # fmt: skip
_SPACES = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}


def kept(profile: bytes, channels: int) -> bytes:
    """The profile rebuilt, or nothing where it is damaged, too large or made for another number of channels."""
    if not _HEAD_BYTES + 4 <= len(profile) <= MAX_PROFILE_BYTES or profile[36:40] != b"acsp":
        return b""
    if _SPACES.get(profile[16:20]) != channels:
        return b""
    (count,) = struct.unpack_from(">I", profile, _HEAD_BYTES)
    if count > _MAX_TAGS or _HEAD_BYTES + 4 + 12 * count > len(profile):
        return b""
    tags: dict[bytes, bytes] = {}
    for place in range(_HEAD_BYTES + 4, _HEAD_BYTES + 4 + 12 * count, 12):
        name, start, length = struct.unpack_from(">4sII", profile, place)
        if start + length > len(profile):
            return b""
        if name in _COLOUR_TAGS or (name in _TEXT_TAGS and length <= _MAX_TEXT_BYTES):
            tags.setdefault(name, profile[start : start + length])
    return _rebuilt(profile[:_HEAD_BYTES], tags) if tags else b""


def _rebuilt(head: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Header, table and data; equal data is stored once. The profile's own checksum and private fields are cleared."""
    offset = _HEAD_BYTES + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    table, body = [struct.pack(">I", len(tags))], []
    for name, data in tags.items():
        if data not in places:
            places[data] = offset
            padded = data + b"\0" * (-len(data) % 4)
            body.append(padded)
            offset += len(padded)
        table.append(struct.pack(">4sII", name, places[data], len(data)))
    if offset > MAX_PROFILE_BYTES:
        return b""
    # Bytes 48 to 63 name a device and its model and attributes, 84 to 127 are a checksum and reserved.
    clean = struct.pack(">I", offset) + head[4:48] + b"\0" * 16 + head[64:84] + b"\0" * 44
    return clean + b"".join(table) + b"".join(body)
