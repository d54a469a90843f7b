"""PNG: its chunks, what of them makes the picture, and what else there is. Pure.

Source: PNG specification, third edition (W3C).

Invariants
* At most `_MAX_CHUNKS` chunks are walked; compressed chunks are inflated only up to a stated size.
* `whole_pixels` inflates every pixel once and accepts exactly the bytes that the header announces: with the checksums
  of the chunks and of the stream, a changed bit or a missing row is found.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from blurd.core.containers.reader import MalformedError, View

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE_NAME = b"ICC"
"""The only profile name that a written file may carry."""
_MAX_CHUNKS = 100_000
_INFLATE_BYTES = 1 << 20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_COLOUR_BYTES = {b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"cICP": 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, column step, row step."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk; `start` is the offset of its length field, `end` lies behind its checksum."""

    name: bytes
    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes of the chunk's data."""
        return self.end - self.start - 12


@dataclass(frozen=True, slots=True)
class Header:
    """The IHDR chunk, checked."""

    width: int
    height: int
    bits: int
    colour_type: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Stored samples per pixel (1 for a palette index)."""
        return _CHANNELS[self.colour_type]


def outline(view: View) -> Iterator[Chunk]:
    """All chunks up to and including IEND."""
    if view.exactly(0, 8) != SIGNATURE:
        raise MalformedError
    offset = 8
    for _ in range(_MAX_CHUNKS):
        head = view.exactly(offset, 8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if length >= 1 << 31 or not name.isalpha():
            raise MalformedError
        end = offset + 12 + length
        view.exactly(end - 1, 1)
        yield Chunk(name, offset, end)
        if name == b"IEND":
            return
        offset = end
    raise MalformedError


def content(view: View, chunk: Chunk) -> bytes:
    """A chunk's data; raises `MalformedError` where its checksum is wrong."""
    data = view.exactly(chunk.start + 4, chunk.length + 8)
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise MalformedError
    return data[4:-4]


def header(view: View, chunks: list[Chunk]) -> Header:
    """The checked header."""
    data = content(view, chunks[0])
    if chunks[0].name != b"IHDR" or len(data) != 13 or data[10] or data[11] or data[12] > 1:  # noqa: PLR2004
        raise MalformedError
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (0, 4))
    if not width or not height or data[8] not in _DEPTHS.get(data[9], ()):
        raise MalformedError
    return Header(width, height, data[8], data[9], bool(data[12]))


def essential(view: View, chunks: list[Chunk]) -> bytes:
    """The file rebuilt from what the decoder needs; raises `MalformedError` where a checksum is wrong."""
    parts = [SIGNATURE]
    for chunk in chunks:
        if chunk.name in _PICTURE:
            content(view, chunk)
            parts.append(view.exactly(chunk.start, chunk.end - chunk.start))
        elif chunk.name[0] & 0x20 == 0:  # an unknown chunk without which the picture can't be shown
            raise MalformedError
    return b"".join(parts)


def whole_pixels(view: View, chunks: list[Chunk], head: Header, *, nothing_else: bool = False) -> bool:
    """True where the compressed stream holds exactly the rows that the header announces, checksum included.

    `nothing_else` forbids bytes behind the stream's end in the chunks too, which decoders pass over.
    """
    rows = list(_row_runs(head))
    expected = sum(count * length for count, length in rows)
    inflater = zlib.decompressobj()
    check = _FilterCheck(rows)
    total = 0
    try:
        for chunk in chunks:
            if chunk.name != b"IDAT":
                continue
            data = content(view, chunk)
            if inflater.eof and data and nothing_else:
                return False
            while data and not inflater.eof:
                piece = inflater.decompress(data, _INFLATE_BYTES)
                data = inflater.unconsumed_tail
                total += len(piece)
                if total > expected or not check.accept(piece):
                    return False
    except zlib.error:
        return False
    return inflater.eof and total == expected and not (nothing_else and inflater.unused_data)


def _row_runs(head: Header) -> Iterator[tuple[int, int]]:
    """For each pass: how many rows, and the bytes of one row with its filter byte."""
    passes = _PASSES if head.interlaced else ((0, 0, 1, 1),)
    for first_x, first_y, step_x, step_y in passes:
        width = -(-(head.width - first_x) // step_x)
        height = -(-(head.height - first_y) // step_y)
        if width > 0 and height > 0:
            yield height, 1 + (width * head.channels * head.bits + 7) // 8


class _FilterCheck:
    """Follows the stream and looks at the first byte of each row: a filter type above 4 does not exist."""

    def __init__(self, rows: list[tuple[int, int]]) -> None:
        self._rows = rows
        self._run = 0
        self._left = rows[0][0] if rows else 0
        self._skip = 0

    def accept(self, piece: bytes) -> bool:
        """False where a row of this piece starts with a filter that does not exist."""
        at = self._skip
        while at < len(piece) and self._run < len(self._rows):
            length = self._rows[self._run][1]
            here = min(self._left, -(-(len(piece) - at) // length))
            if max(piece[at : at + here * length : length], default=0) > 4:  # noqa: PLR2004
                return False
            at += here * length
            self._left -= here
            if not self._left:
                self._run += 1
                self._left = self._rows[self._run][0] if self._run < len(self._rows) else 0
        self._skip = at - len(piece)
        return True


def inflated(data: bytes, limit: int) -> bytes | None:
    """A compressed block, or None where it is damaged or longer than `limit` bytes."""
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, limit + 1)
    except zlib.error:
        return None
    return result if inflater.eof and len(result) <= limit else None


def icc_profile(view: View, chunks: list[Chunk], limit: int) -> bytes:
    """The colour profile, or nothing where there is none, it is damaged or longer than `limit` bytes."""
    for chunk in chunks:
        if chunk.name == b"iCCP" and chunk.length <= limit + 1024:
            name, _, rest = content(view, chunk).partition(b"\0")
            if len(name) < 80 and rest[:1] == b"\0":  # noqa: PLR2004
                return inflated(rest[1:], limit) or b""
    return b""


def colour_chunks(view: View, chunks: list[Chunk]) -> tuple[tuple[bytes, bytes], ...]:
    """The short chunks that say what the colours mean, with exactly the length that they must have."""
    return tuple(
        (chunk.name, content(view, chunk)) for chunk in chunks if _COLOUR_BYTES.get(chunk.name) == chunk.length
    )


def exif(view: View, chunks: list[Chunk], limit: int) -> bytes:
    """The Exif block (a TIFF structure), or nothing."""
    for chunk in chunks:
        if chunk.name == b"eXIf" and chunk.length <= limit:
            data = content(view, chunk)
            return data[6:] if data.startswith(b"Exif\0\0") else data
    return b""


def grey_key(view: View, chunks: list[Chunk], head: Header) -> int | None:
    """The stored grey value that stands for full transparency, if there is one."""
    for chunk in chunks:
        if chunk.name == b"tRNS" and head.colour_type == 0 and chunk.length == 2:  # noqa: PLR2004
            return int.from_bytes(content(view, chunk), "big") & ((1 << head.bits) - 1)
    return None


def is_animated(chunks: list[Chunk]) -> bool:
    """True for APNG."""
    return any(chunk.name == b"acTL" for chunk in chunks)


def leftovers(view: View) -> Iterator[str]:
    """Codes of what is not on the allow-list of a written PNG."""
    end = 0
    chunks: list[Chunk] = []
    for chunk in outline(view):
        end = chunk.end
        chunks.append(chunk)
        if chunk.name in _PICTURE:
            continue
        if _COLOUR_BYTES.get(chunk.name) == chunk.length:
            continue
        if chunk.name == b"iCCP" and view.some(chunk.start + 8, len(PROFILE_NAME) + 2) == PROFILE_NAME + b"\0\0":
            continue
        yield f"png_chunk_{chunk.name.decode('ascii')}"
    if not whole_pixels(view, chunks, header(view, chunks), nothing_else=True):
        yield "png_pixel_stream"  # bytes behind the pixels inside the compressed stream
    if end != view.size:
        yield "png_trailer"
