"""What can be told of an H.264 stream without decoding it: its units, and what its parameter sets say. Pure.

Terms and numbers are those of ITU-T H.264 (08/2021): units in 7.3.1 and Annex B, parameter sets in 7.3.2. A unit is
given without start code or length, its first byte included.

DIAGNOSTICS: `ValueError` where bytes are no such thing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

SLICE: Final = 1
SLICE_OF_IDR: Final = 5
SEQUENCE_SET: Final = 7
PICTURE_SET: Final = 8
_EXTRA: Final = frozenset({6, 9, 10, 11, 12})
"""Units beside the pictures that a decoder does without: additional information, delimiters, ends, filler."""
PLAIN: Final = frozenset({SLICE, SLICE_OF_IDR, SEQUENCE_SET, PICTURE_SET}) | _EXTRA
"""All that a stream of whole pictures in one layer has."""

START_CODE: Final = b"\x00\x00\x00\x01"
_SHORT_START_CODE: Final = b"\x00\x00\x01"
_WITH_CHROMA: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""The profiles whose sequence sets say how colour is sampled."""
_MOST_BITS: Final = 32


def kind_of(unit: bytes) -> int:
    """The type of a unit, `nal_unit_type`."""
    if not unit or unit[0] & 0x80:
        raise ValueError("no unit")
    return unit[0] & 0x1F


def units(payload: bytes, length_bytes: int) -> Iterator[bytes]:
    """The units of a packet, each behind its length of so many bytes, or behind start codes where that is 0.

    Start codes part units in any case: some recorders put an end behind one into the last length.
    """
    if length_bytes:
        for stretch in _behind_lengths(payload, length_bytes):
            yield from _parted(stretch)
        return
    begin = payload.find(_SHORT_START_CODE)
    if begin < 0 or payload[:begin].strip(b"\x00"):
        raise ValueError("no start code")
    yield from _parted(payload[begin + 3 :])


def _parted(payload: bytes) -> Iterator[bytes]:
    """What start codes part, without the zeros that may follow a unit."""
    begin = 0
    while begin >= 0:
        end = payload.find(_SHORT_START_CODE, begin)
        unit = (payload[begin:end] if end >= 0 else payload[begin:]).rstrip(b"\x00")
        if unit:
            yield unit
        begin = end + len(_SHORT_START_CODE) if end >= 0 else -1


def _behind_lengths(payload: bytes, length_bytes: int) -> Iterator[bytes]:
    place = 0
    while place < len(payload):
        end = place + length_bytes
        length = int.from_bytes(payload[place:end], "big")
        if length == 0 or end + length > len(payload):
            raise ValueError("a length leads out of the packet")
        yield payload[end : end + length]
        place = end + length


def with_start_codes(found: Iterable[bytes]) -> bytes:
    """Units in a row, each behind a start code."""
    return b"".join(START_CODE + unit for unit in found)


def pictures_of(payload: bytes, length_bytes: int) -> tuple[bytes, ...]:
    """The units of a packet that hold its picture."""
    return tuple(unit for unit in units(payload, length_bytes) if kind_of(unit) in (SLICE, SLICE_OF_IDR))


def read_header(extradata: bytes) -> tuple[int, tuple[bytes, ...]]:
    """From a stream's header (ISO/IEC 14496-15, 5.3.3.1, or plain units): bytes of lengths, and the parameter sets."""
    if not extradata or extradata[0] != 1:
        return 0, tuple(units(extradata, 0)) if extradata else ()
    sequences, place = _counted(extradata, 5, 0x1F)
    pictures, _ = _counted(extradata, place, 0xFF)
    return (extradata[4] & 3) + 1, (*sequences, *pictures)


def _counted(extradata: bytes, place: int, mask: int) -> tuple[list[bytes], int]:
    """As many units as the byte at this place says, each behind its length; and the place after them."""
    found = []
    if place >= len(extradata):
        raise ValueError("the header is cut off")
    count, place = extradata[place] & mask, place + 1
    for _ in range(count):
        length = int.from_bytes(extradata[place : place + 2], "big")
        place += 2 + length
        if length == 0 or place > len(extradata):
            raise ValueError("the header is cut off")
        found.append(extradata[place - length : place])
    return found, place


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """What a sequence parameter set says. `hidden` is the most luma columns or rows that a decoder cuts off a side."""

    number: int
    profile: int
    level: int
    progressive: bool
    hidden: int


@dataclass(frozen=True, slots=True)
class PictureSet:
    """What a picture parameter set says. `plain` pictures are sent once, in one group of slices."""

    number: int
    plain: bool


def sequence_set(unit: bytes) -> SequenceSet:
    """Read a sequence parameter set (7.3.2.1.1) as far as its cropping."""
    bits = _Bits(unit[1:])
    profile, _, level = bits.take(8), bits.take(8), bits.take(8)
    number = bits.unsigned()
    chroma = _chroma(bits) if profile in _WITH_CHROMA else 1
    bits.unsigned()
    _skip_order(bits)
    bits.unsigned()
    bits.take(1)
    bits.unsigned()
    bits.unsigned()
    progressive = bool(bits.take(1))
    if not progressive:
        bits.take(1)
    bits.take(1)
    hidden = 0
    if bits.take(1):
        across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * (1 if progressive else 2)
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        hidden = max(left * across, right * across, top * down, bottom * down)
    return SequenceSet(number, profile, level, progressive, hidden)


def _chroma(bits: "_Bits") -> int:
    """`chroma_format_idc`, and past the scaling lists."""
    chroma = bits.unsigned()
    if chroma == 3:  # noqa: PLR2004  4:4:4
        bits.take(1)
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.take(1):
        for index in range(8 if chroma != 3 else 12):  # noqa: PLR2004
            if bits.take(1):
                _skip_list(bits, 16 if index < 6 else 64)  # noqa: PLR2004
    return chroma


def _skip_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_order(bits: "_Bits") -> None:
    """How pictures are counted in order of presentation."""
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        count = bits.unsigned()
        if count > 255:  # noqa: PLR2004  7.4.2.1.1
            raise ValueError("too many")
        for _ in range(count):
            bits.signed()


def picture_set(unit: bytes) -> PictureSet:
    """Read a picture parameter set (7.3.2.2) as far as its redundant pictures."""
    bits = _Bits(unit[1:])
    number = bits.unsigned()
    bits.unsigned()
    bits.take(2)
    if bits.unsigned():
        return PictureSet(number, plain=False)
    bits.unsigned()
    bits.unsigned()
    bits.take(3)
    for _ in range(3):
        bits.signed()
    bits.take(2)
    return PictureSet(number, plain=not bits.take(1))


class _Bits:
    """Reads a unit's payload, without the bytes that keep start codes out of it, bit by bit."""

    def __init__(self, payload: bytes) -> None:
        clean = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(clean, "big"), 8 * len(clean)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        if count > self._left:
            raise ValueError("the set is cut off")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        """The next Exp-Golomb code (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_BITS:
                raise ValueError("no such number")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """The next signed Exp-Golomb code (9.1.1)."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)
