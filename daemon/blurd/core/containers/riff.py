"""RIFF: WebP files and the frame of AVI. Pure.

Source: WebP container specification; RFC 6386 (VP8) chapter 9.

Invariants
* At most `_MAX_CHUNKS` chunks are walked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from blurd.core.containers.reader import MalformedError, ShortError, View

_MAX_CHUNKS = 10_000
_MAX_AVI_PARTS = 4096
_PICTURE = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_FLAG_ANIMATION, FLAG_ICC, FLAG_ALPHA, _FLAG_EXIF, _FLAG_XMP = 0x02, 0x20, 0x10, 0x08, 0x04


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: `start` is the offset of its data, `length` without padding."""

    name: bytes
    start: int
    length: int


def webp_outline(view: View) -> tuple[list[Chunk], int]:
    """The chunks of a WebP file and the offset of its end; `ShortError` where the file is shorter than it says."""
    if view.exactly(0, 4) != b"RIFF" or view.exactly(8, 4) != b"WEBP":
        raise MalformedError
    (length,) = view.unpack("<I", 4)
    end = 8 + length
    if end > view.size:
        raise ShortError
    chunks: list[Chunk] = []
    offset = 12
    while offset + 8 <= end:
        name = view.exactly(offset, 4)
        (length,) = view.unpack("<I", offset + 4)
        if offset + 8 + length > end or len(chunks) == _MAX_CHUNKS:
            raise MalformedError
        chunks.append(Chunk(name, offset + 8, length))
        offset += 8 + length + (length & 1)
    if offset < end:
        raise MalformedError
    return chunks, end


def webp_size(view: View, chunks: list[Chunk]) -> tuple[int, int]:
    """Width and height by the picture's own header, which the canvas must agree with."""
    sizes = set()
    for chunk in chunks:
        if chunk.name == b"VP8X" and chunk.length >= 10:  # noqa: PLR2004
            data = view.exactly(chunk.start + 4, 6)
            sizes.add((1 + int.from_bytes(data[:3], "little"), 1 + int.from_bytes(data[3:], "little")))
        elif chunk.name == b"VP8 " and chunk.length >= 10:  # noqa: PLR2004
            data = view.exactly(chunk.start, 10)
            if data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
                raise MalformedError
            width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
            sizes.add((width & 0x3FFF, height & 0x3FFF))
        elif chunk.name == b"VP8L" and chunk.length >= 5:  # noqa: PLR2004
            data = view.exactly(chunk.start, 5)
            bits = int.from_bytes(data[1:], "little")
            if data[0] != 0x2F:  # noqa: PLR2004
                raise MalformedError
            sizes.add((1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)))
    if len(sizes) != 1:
        raise MalformedError
    return sizes.pop()


def is_animated(view: View, chunks: list[Chunk]) -> bool:
    """True for an animation (or a file that claims to be one)."""
    return any(
        chunk.name in {b"ANIM", b"ANMF"}
        or (chunk.name == b"VP8X" and view.some(chunk.start, 1)[:1] and view.some(chunk.start, 1)[0] & _FLAG_ANIMATION)
        for chunk in chunks
    )


def is_lossless(chunks: list[Chunk]) -> bool:
    """True where the picture is stored without loss."""
    return any(chunk.name == b"VP8L" for chunk in chunks)


def chunk_data(view: View, chunks: list[Chunk], name: bytes, limit: int) -> bytes:
    """The data of the first chunk of that name if it is no longer than `limit`, else nothing."""
    for chunk in chunks:
        if chunk.name == name and chunk.length <= limit:
            return view.exactly(chunk.start, chunk.length)
    return b""


def webp_file(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) & 1) for name, data in parts)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def webp_essential(view: View, chunks: list[Chunk], profile: bytes = b"", *, alpha: bool = False) -> bytes:
    """The file rebuilt from what the decoder needs, with the given colour profile and nothing else."""
    width, height = webp_size(view, chunks)
    picture = [(chunk.name, view.exactly(chunk.start, chunk.length)) for chunk in chunks if chunk.name in _PICTURE]
    alpha = alpha or any(name == b"ALPH" for name, _ in picture)
    if alpha or profile:
        flags = bytes([FLAG_ALPHA * alpha | FLAG_ICC * bool(profile), 0, 0, 0])
        flags += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        picture[:0] = [(b"VP8X", flags), *([(b"ICCP", profile)] if profile else [])]
    return webp_file(picture)


def webp_quantiser(view: View, chunks: list[Chunk]) -> tuple[int, bool] | None:
    """The coarsest luma quantiser index (0 to 127) that a lossy picture states, and whether its areas differ."""
    for chunk in chunks:
        if chunk.name == b"VP8 ":
            return _vp8_quantiser(view.some(chunk.start + 10, min(chunk.length - 10, 64)))
    return None


class _BoolDecoder:
    """RFC 6386 7.3, only for bits of even probability as the frame header's are."""

    def __init__(self, data: bytes) -> None:
        self._data = data + b"\0\0"
        self._value = int.from_bytes(self._data[:2], "big")
        self._next = 2
        self._range = 255
        self._shifts = 0

    def bits(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._bit()
        return value

    def signed(self, count: int) -> int:
        magnitude = self.bits(count)
        return -magnitude if self.bits(1) else magnitude

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        if bit := self._value >= split << 8:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:  # noqa: PLR2004
            self._value <<= 1
            self._range <<= 1
            self._shifts += 1
            if self._shifts == 8:  # noqa: PLR2004
                self._shifts = 0
                self._value |= self._data[self._next] if self._next < len(self._data) else 0
                self._next += 1
        return int(bit)


def _vp8_quantiser(data: bytes) -> tuple[int, bool]:
    """RFC 6386 9.3 to 9.6: colour space, segments, filter, partitions, then the quantiser index."""
    bits = _BoolDecoder(data)
    bits.bits(2)
    segments, absolute = _vp8_segments(bits) if bits.bits(1) else ([], False)
    bits.bits(1 + 6 + 3)
    if bits.bits(1) and bits.bits(1):
        _optional(bits, 8, 6)
    bits.bits(2)
    base = bits.bits(7)
    if not segments:
        return base, False
    return min(max(0, max(segments) + (0 if absolute else base)), 127), len(set(segments)) > 1


def _vp8_segments(bits: _BoolDecoder) -> tuple[list[int], bool]:
    """The quantisers of the four segments and whether they replace the frame's instead of adding to it."""
    segments: list[int] = []
    absolute = False
    update_map, update_data = bits.bits(1), bits.bits(1)
    if update_data:
        absolute = bool(bits.bits(1))
        segments = _optional(bits, 4, 7)
        _optional(bits, 4, 6)
    if update_map:
        for _ in range(3):
            if bits.bits(1):
                bits.bits(8)
    return segments, absolute


def _optional(bits: _BoolDecoder, count: int, width: int) -> list[int]:
    """Signed values, each behind a bit that says whether it is there; 0 where it is not."""
    return [bits.signed(width) if bits.bits(1) else 0 for _ in range(count)]


def webp_leftovers(view: View) -> Iterator[str]:
    """Codes of what is not on the allow-list of a written WebP."""
    chunks, end = webp_outline(view)
    for chunk in chunks:
        if chunk.name == b"VP8X":
            if chunk.length != 10 or view.exactly(chunk.start, 1)[0] & ~(FLAG_ICC | FLAG_ALPHA):  # noqa: PLR2004
                yield "webp_flags"
        elif chunk.name not in _PICTURE and chunk.name != b"ICCP":
            name = chunk.name.decode("ascii", "replace").strip().lower()
            yield f"webp_chunk_{name if name.isalnum() and name.isascii() else 'unknown'}"
    if len({chunk.name for chunk in chunks}) != len(chunks):
        yield "webp_repeated_chunk"
    if end != view.size:
        yield "webp_trailer"


def avi_end(view: View) -> int:
    """The offset behind the last RIFF part of an AVI; parts after the first are OpenDML's."""
    offset = 0
    for _ in range(_MAX_AVI_PARTS):
        head = view.some(offset, 12)
        if len(head) < 12 or head[:4] != b"RIFF":  # noqa: PLR2004
            break
        length = int.from_bytes(head[4:8], "little")
        if length < 4:  # noqa: PLR2004 - a recorder that never came to write its length
            raise ShortError
        offset += 8 + length + (length & 1)
        if offset - (length & 1) > view.size:
            raise ShortError
    return offset
