"""Writes TIFF: pages of grey, RGB or CMYK, with or without an extra channel, 8 or 16 bits, plain or deflated.

Invariants
* Little-endian, classic, strips of about 1 MiB; each page's pixels, then its values, then its table.
* Only tags of `tiff.WRITTEN_TAGS` are written, and every byte belongs to the header, a table, a value or a strip.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from blurd.adapters.image import guard
from blurd.adapters.image.pixels import ColourModel, Extra, Picture
from blurd.core.containers import tiff
from blurd.core.masking import Samples
from blurd.errors import InputError, Reason

_STRIP_BYTES = 1 << 20
_LEVEL = 4
_LARGEST = (1 << 32) - 1
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_DEFLATE, _HORIZONTAL = 8, 2
_PHOTOMETRICS = {ColourModel.GREY: 1, ColourModel.RGB: 2, ColourModel.CMYK: 5}
_EXTRAS = {Extra.UNKNOWN: 0, Extra.PREMULTIPLIED: 1, Extra.ALPHA: 2}


def write(pictures: Iterator[Picture], target: BinaryIO, *, compressed: bool) -> None:
    """Write all pages in their order; the target must be at its start and able to seek."""
    guard.write(target, b"II*\0\0\0\0\0")
    end, link = 8, 4
    for picture in pictures:
        end, table = _write_page(picture, target, end, compressed=compressed)
        _patch(target, link, table, end)
        link = end - 4


def _write_page(picture: Picture, target: BinaryIO, start: int, *, compressed: bool) -> tuple[int, int]:
    """Write one page from the offset `start`; gives the offset behind it and that of its table."""
    samples = picture.samples
    rows = max(1, _STRIP_BYTES // (samples.shape[1] * samples.shape[2] * samples.dtype.itemsize))
    offsets, counts = [], []
    end = start
    for top in range(0, picture.height, rows):
        strip = _strip(samples[top : top + rows], compressed=compressed)
        offsets.append(end)
        counts.append(len(strip))
        strip += b"\0" * (len(strip) & 1)
        guard.write(target, strip)
        end += len(strip)
    entries, values, table = _table(picture, offsets, counts, rows, end, compressed=compressed)
    guard.write(target, values + entries)
    end = table + len(entries)
    if end > _LARGEST:
        raise InputError(Reason.TOO_LARGE, "write the TIFF")
    return end, table


def _strip(samples: Samples, *, compressed: bool) -> bytes:
    if compressed:
        samples = samples.copy()
        samples[:, 1:] -= samples[:, :-1].copy()
    data = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
    if not compressed:
        return data
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED)
    return packer.compress(data) + packer.flush()


def _table(
    picture: Picture, offsets: list[int], counts: list[int], rows: int, start: int, *, compressed: bool
) -> tuple[bytes, bytes, int]:
    """The page table (with an empty link), the values that lie before it, and its offset."""
    channels, bits = picture.samples.shape[2], picture.samples.dtype.itemsize * 8
    tags: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
        tiff.WIDTH: (_LONG, (picture.width,)),
        tiff.HEIGHT: (_LONG, (picture.height,)),
        tiff.BITS: (_SHORT, (bits,) * channels),
        tiff.COMPRESSION: (_SHORT, (_DEFLATE if compressed else 1,)),
        tiff.PHOTOMETRIC: (_SHORT, (_PHOTOMETRICS[picture.model],)),
        tiff.STRIP_OFFSETS: (_LONG, tuple(offsets)),
        tiff.SAMPLES: (_SHORT, (channels,)),
        tiff.ROWS_PER_STRIP: (_LONG, (rows,)),
        tiff.STRIP_COUNTS: (_LONG, tuple(counts)),
        tiff.PLANAR: (_SHORT, (1,)),
    }
    if compressed:
        tags[tiff.PREDICTOR] = (_SHORT, (_HORIZONTAL,))
    if picture.extra is not Extra.NONE:
        tags[tiff.EXTRA_SAMPLES] = (_SHORT, (_EXTRAS[picture.extra],))
    if picture.profile:
        tags[tiff.ICC_PROFILE] = (_UNDEFINED, picture.profile)
    entries, values = bytearray(struct.pack("<H", len(tags))), bytearray()
    for code, (kind, content) in sorted(tags.items()):
        data = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{' HI'[kind - 2]}", *content)
        place = data.ljust(4, b"\0")
        if len(data) > 4:  # noqa: PLR2004
            place = struct.pack("<I", min(start + len(values), _LARGEST))
            values += data + b"\0" * (len(data) & 1)
        entries += struct.pack("<HHI", code, kind, len(content)) + place
    return bytes(entries) + b"\0\0\0\0", bytes(values), start + len(values)


def _patch(target: BinaryIO, place: int, number: int, end: int) -> None:
    """Write the offset of a table where the header or the table before it links to it."""
    target.seek(place)
    guard.write(target, struct.pack("<I", number))
    target.seek(end)
