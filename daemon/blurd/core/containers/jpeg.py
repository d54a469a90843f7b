"""JPEG: the segments of a file, what of them makes the picture, and what else there is. Pure.

Only the first picture counts: everything after its end marker (MPF pictures, motion-photo videos, makers' trailers)
is no part of it. Source: ITU-T T.81 annex B, JFIF 1.02, ICC.1 annex B.4, Adobe TN 5116.

Invariants
* `outline` reads each byte at most once and yields at most `_MAX_SEGMENTS` segments.
* `essential` contains nothing but a bare JFIF header, the Adobe marker, tables, frame, scans and the end marker.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from blurd.core.containers.reader import BytesReader, MalformedError, ParseError, View

_MAX_SEGMENTS = 20_000
_CHUNK_BYTES = 1 << 20
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

SOI, EOI, SOS, DQT, DHT, DNL, DRI, DAC, APP0, APP1, APP2, APP14, COM = (
    0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDC, 0xDD, 0xCC, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE,
)  # fmt: skip
FRAMES = frozenset({*range(0xC0, 0xD0)} - {DHT, 0xC8, DAC})
"""Start-of-frame markers: SOF0 baseline, SOF1 extended, SOF2 progressive, the others are not treated."""
_PICTURE = frozenset({DQT, DHT, DRI, DAC, SOS, *FRAMES})
JFIF_BARE = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
"""A JFIF header that says nothing: square pixels, no density, no thumbnail."""
_ICC_NAME = b"ICC_PROFILE\0"
_EXIF_NAME = b"Exif\0\0"
_ADOBE_BYTES = 12
_HEADER_BYTES = 64 << 10
_FIRST_RESTART = 0xD0


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker with its payload; of a scan the entropy-coded data too. Offsets in the file, end exclusive."""

    marker: int
    start: int
    payload: int
    end: int
    scan_start: int = 0


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a start-of-frame segment says; `sampling` is (horizontal, vertical) for each component."""

    marker: int
    bits: int
    height: int
    width: int
    sampling: tuple[tuple[int, int], ...]


def outline(view: View) -> Iterator[Segment]:
    """The segments from the first after SOI to EOI, both ends of the picture included but SOI.

    Raises `ShortError` where the file ends before EOI, `MalformedError` where no marker stands where one must.
    """
    if view.exactly(0, 2) != b"\xff\xd8":
        raise MalformedError
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        start, marker, offset = _marker_at(view, offset)
        if marker == EOI:
            yield Segment(marker, start, offset, offset)
            return
        if marker == 1:  # TEM stands alone
            yield Segment(marker, start, offset, offset)
            continue
        (length,) = view.unpack(">H", offset)
        if length < 2:  # noqa: PLR2004
            raise MalformedError
        end = offset + length
        view.exactly(end - 1, 1)
        scan_end = _scan_end(view, end) if marker == SOS else end
        yield Segment(marker, start, offset + 2, scan_end, end)
        offset = scan_end
    raise MalformedError


def is_motion(view: View) -> bool:
    """True for a raw stream of JPEG pictures: behind the first there is another of the same size, and no index.

    Photos with a second picture behind the first (a preview, the other eye) have one of another size, or an index.
    """
    first: list[Segment] = []
    try:
        for segment in outline(view):
            first.append(segment)
            if segment.marker == APP2 and view.some(segment.payload, 4) == b"MPF\0":
                return False
        behind = View(BytesReader(view.some(first[-1].end, _HEADER_BYTES)))
        size = frame_header(view, first)
        second: list[Segment] = []
        for segment in outline(behind):
            second.append(segment)
            if segment.marker in FRAMES:
                found = frame_header(behind, second)
                return (found.width, found.height) == (size.width, size.height)
    except ParseError:
        pass
    return False


def _marker_at(view: View, offset: int) -> tuple[int, int, int]:
    """Start of the marker, its code and the offset behind it; fill bytes (0xFF) before it are allowed."""
    for start in range(offset, offset + 64):
        code = view.exactly(start, 2)
        if code[0] != 0xFF:  # noqa: PLR2004
            raise MalformedError
        if code[1] != 0xFF:  # noqa: PLR2004
            if code[1] == 0 or _FIRST_RESTART <= code[1] <= SOI:
                raise MalformedError
            return offset, code[1], start + 2
    raise MalformedError


def _scan_end(view: View, start: int) -> int:
    """The offset of the marker that ends the entropy-coded data."""
    offset = start
    while True:
        chunk = view.some(offset, _CHUNK_BYTES)
        found = _MARKER_IN_SCAN.search(chunk)
        if found:
            return offset + found.start()
        if len(chunk) < 2:  # noqa: PLR2004
            view.exactly(offset, 2)
        offset += len(chunk) - 1  # a marker may straddle the border


def payload(view: View, segment: Segment) -> bytes:
    """A segment's payload without marker and length."""
    end = segment.scan_start if segment.marker == SOS else segment.end
    return view.exactly(segment.payload, end - segment.payload)


def frame_header(view: View, segments: list[Segment]) -> FrameHeader:
    """The only frame header; raises `MalformedError` where there is none or another one."""
    frames = [segment for segment in segments if segment.marker in FRAMES]
    if len(frames) != 1:
        raise MalformedError
    data = payload(view, frames[0])
    if len(data) < 6 or len(data) != 6 + 3 * data[5]:  # noqa: PLR2004
        raise MalformedError
    sampling = tuple((data[place] >> 4, data[place] & 15) for place in range(7, len(data), 3))
    return FrameHeader(
        frames[0].marker, data[0], int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big"), sampling
    )


def adobe_transform(view: View, segments: list[Segment]) -> int | None:
    """The colour transform of the Adobe marker (0 none, 1 YCbCr, 2 YCCK); None without one."""
    for segment in segments:
        if segment.marker == APP14:
            data = payload(view, segment)
            if data[:5] == b"Adobe" and len(data) >= _ADOBE_BYTES:
                return data[11]
    return None


def exif(view: View, segments: list[Segment]) -> bytes:
    """The first Exif block (a TIFF structure), or nothing."""
    for segment in segments:
        if segment.marker == APP1 and view.some(segment.payload, 6) == _EXIF_NAME:
            return payload(view, segment)[6:]
    return b""


def icc_profile(view: View, segments: list[Segment]) -> bytes:
    """The colour profile joined from its parts in their order; nothing where a part is missing."""
    parts: dict[int, bytes] = {}
    counts: set[int] = set()
    for segment in segments:
        if segment.marker == APP2 and view.some(segment.payload, 12) == _ICC_NAME:
            data = payload(view, segment)
            if len(data) >= 14:  # noqa: PLR2004
                parts[data[12]] = data[14:]
                counts.add(data[13])
    if len(counts) != 1 or set(parts) != set(range(1, counts.pop() + 1)):
        return b""
    return b"".join(parts[number] for number in sorted(parts))


def essential(data: bytes, view: View, segments: list[Segment], profile: bytes = b"") -> bytes:
    """The file rebuilt from what the decoder needs, with the given colour profile and nothing else."""
    parts = [b"\xff\xd8"]
    first = [payload(view, segment)[:5] for segment in segments if segment.marker == APP0]
    transform = adobe_transform(view, segments)
    if b"JFIF\0" in first:
        parts.append(JFIF_BARE)
    if transform is not None:
        parts.append(b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]))
    parts.append(profile_segments(profile))
    parts.extend(data[segment.start : segment.end] for segment in segments if segment.marker in _PICTURE)
    return b"".join(parts) + b"\xff\xd9"


def profile_segments(profile: bytes) -> bytes:
    """The APP2 segments that carry a colour profile."""
    most = 65_519
    pieces = [profile[start : start + most] for start in range(0, len(profile), most)]
    return b"".join(
        b"\xff\xe2" + (len(piece) + 16).to_bytes(2, "big") + _ICC_NAME + bytes([number, len(pieces)]) + piece
        for number, piece in enumerate(pieces, start=1)
    )


def leftovers(view: View) -> Iterator[str]:
    """Codes of what is not on the allow-list of a written JPEG."""
    end = 0
    for segment in outline(view):
        end = segment.end
        if segment.marker in _PICTURE or segment.marker == EOI:
            continue
        data = payload(view, segment)
        if segment.marker == APP0 and b"\xff\xe0\x00\x10" + data == JFIF_BARE:
            continue
        if segment.marker == APP2 and data.startswith(_ICC_NAME):
            continue
        if segment.marker == APP14 and data[:5] == b"Adobe" and len(data) == _ADOBE_BYTES:
            continue
        yield "jpeg_comment" if segment.marker == COM else f"jpeg_marker_{segment.marker:02x}"
    if end != view.size:
        yield "jpeg_trailer"
