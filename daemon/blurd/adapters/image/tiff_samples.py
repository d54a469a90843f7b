"""The exact samples of a TIFF page whose compression is lossless, whatever the page's layout.

Invariants
* Every strip and tile gives exactly the bytes that the layout announces, or the page is damaged.
* No more memory than the page's samples and one strip or tile beside them is taken, but for compressions that libtiff
  undoes: there the page is held twice.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from blurd.adapters.image.document import damaged, unsupported
from blurd.core.containers import png, tiff, tiff_page
from blurd.core.containers.reader import MalformedError, View
from blurd.core.masking import Samples

_NONE, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_HORIZONTAL = 2
_SEPARATE = 2
_MAX_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How a page's samples are stored; a strip is a tile as wide as the page."""

    width: int
    height: int
    bits: int
    samples: int
    sample_format: tuple[int, ...]
    compression: int
    photometric: int
    predictor: int
    separate: bool
    tiled: bool
    tile_width: int
    tile_height: int

    @classmethod
    def of(cls, view: View, layout: tiff.Layout, page: tiff.Page) -> "PageLayout":
        """Read and check the tags."""

        def number(code: int, default: int | None = None) -> int:
            return tiff.integer(view, layout, page, code, default)

        width, height = number(tiff.WIDTH), number(tiff.HEIGHT)
        samples = number(tiff.SAMPLES, 1)
        bits = set(tiff.integers(view, layout, page, tiff.BITS, (1,)))
        if len(bits) != 1 or not 0 < samples <= _MAX_SAMPLES:
            raise unsupported()
        tiled = tiff.TILE_OFFSETS in page.tags
        tile_width = number(tiff.TILE_WIDTH) if tiled else width
        tile_height = number(tiff.TILE_HEIGHT) if tiled else min(number(tiff.ROWS_PER_STRIP, height), height)
        if not (width and height and tile_width and tile_height):
            raise MalformedError
        return cls(
            width=width,
            height=height,
            bits=bits.pop(),
            samples=samples,
            sample_format=tiff.integers(view, layout, page, tiff.SAMPLE_FORMAT, (1,)),
            compression=number(tiff.COMPRESSION, 1),
            photometric=number(tiff.PHOTOMETRIC),
            predictor=number(tiff.PREDICTOR, 1),
            separate=number(tiff.PLANAR, 1) == _SEPARATE and samples > 1,
            tiled=tiled,
            tile_width=tile_width,
            tile_height=tile_height,
        )

    @property
    def tiles_across(self) -> int:
        """Tiles side by side."""
        return -(-self.width // self.tile_width)

    @property
    def tiles_down(self) -> int:
        """Tiles one above the other."""
        return -(-self.height // self.tile_height)

    @property
    def stored_width(self) -> int:
        """Width with the padding of the last tiles."""
        return self.tiles_across * self.tile_width

    @property
    def stored_height(self) -> int:
        """Height with the padding of the last tiles; strips have none."""
        return self.tiles_down * self.tile_height if self.tiled else self.height

    @property
    def planes(self) -> int:
        """How many times the picture is stored, each time with one channel."""
        return self.samples if self.separate else 1

    @property
    def channels(self) -> int:
        """Samples of a pixel that lie side by side."""
        return 1 if self.separate else self.samples

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one tile."""
        return (self.tile_width * self.channels * self.bits + 7) // 8

    def rows_of(self, down: int) -> int:
        """Rows that the tile in this row of tiles stores; the last strip is shorter."""
        if self.tiled:
            return self.tile_height
        return min(self.tile_height, self.height - down * self.tile_height)


def samples_of(
    view: View, layout: tiff.Layout, page: tiff.Page, shape: PageLayout, spans: list[tuple[int, int]]
) -> Samples:
    """(height, width, samples) in the machine's byte order; values of fewer than 8 bits stand in bytes."""
    across, down = shape.tiles_across, shape.tiles_down
    if len(spans) != across * down * shape.planes or shape.predictor not in {1, _HORIZONTAL}:
        raise unsupported("decode the TIFF") if shape.predictor > _HORIZONTAL else damaged("decode the TIFF")
    if shape.predictor == _HORIZONTAL and shape.bits < 8:  # noqa: PLR2004
        raise unsupported("decode the TIFF")
    if tiff.integer(view, layout, page, tiff.FILL_ORDER, 1) != 1:
        raise unsupported("decode the TIFF")
    dtype = np.uint16 if shape.bits == 16 else np.uint8  # noqa: PLR2004
    result = np.empty((shape.height, shape.width, shape.samples), dtype)
    for plane in range(shape.planes):
        part = spans[plane * across * down : (plane + 1) * across * down]
        for number, (offset, length) in enumerate(part):
            row, column = divmod(number, across)
            data = _unpacked(view, layout, page, shape, (offset, length), shape.rows_of(row))
            tile = _tile(data, layout, shape, shape.rows_of(row))
            top, left = row * shape.tile_height, column * shape.tile_width
            tile = tile[: shape.height - top, : shape.width - left]
            channels = slice(plane, plane + 1) if shape.separate else slice(None)
            result[top : top + tile.shape[0], left : left + tile.shape[1], channels] = tile
    return result


def _unpacked(
    view: View, layout: tiff.Layout, page: tiff.Page, shape: PageLayout, span: tuple[int, int], rows: int
) -> bytes:
    """The bytes of one strip or tile, exactly as many as its rows have."""
    expected = rows * shape.row_bytes
    if shape.compression == _NONE:
        data = view.exactly(span[0], min(span[1], expected))
    elif shape.compression in {_DEFLATE, _OLD_DEFLATE}:
        whole_tile = shape.tile_height * shape.row_bytes  # some writers fill up the last strip
        data = (png.inflated(view.exactly(*span), whole_tile) or b"")[:expected]
    else:
        data = _by_libtiff(view, layout, page, shape, span, rows)
    if len(data) != expected:
        raise damaged("decode the TIFF")
    return data


def _by_libtiff(
    view: View, layout: tiff.Layout, page: tiff.Page, shape: PageLayout, span: tuple[int, int], rows: int
) -> bytes:
    """One strip or tile as a grey picture as wide as its rows have bytes."""
    as_bytes = {
        tiff.WIDTH: shape.row_bytes,
        tiff.HEIGHT: rows,
        tiff.ROWS_PER_STRIP: rows,
        tiff.BITS: 8,
        tiff.SAMPLES: 1,
        tiff.PHOTOMETRIC: 1,
        tiff.COMPRESSION: shape.compression,
    }
    feed = tiff_page.single_page(view, layout, tiff.Page(page.start, page.end, {}), [span], as_bytes)
    with Image.open(io.BytesIO(feed), formats=("TIFF",)) as image:
        return image.tobytes()


def _tile(data: bytes, layout: tiff.Layout, shape: PageLayout, rows: int) -> Samples:
    """(rows, tile width, channels) with the prediction undone."""
    if shape.bits < 8:  # noqa: PLR2004
        lines = np.frombuffer(data, np.uint8).reshape(rows, shape.row_bytes)
        bits = np.unpackbits(lines, axis=1).reshape(rows, -1, shape.bits)
        weights = 1 << np.arange(shape.bits - 1, -1, -1)
        return (bits[:, : shape.tile_width] @ weights).astype(np.uint8)[:, :, np.newaxis]
    dtype: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint8)
    if shape.bits == 16:  # noqa: PLR2004
        dtype = np.dtype(np.uint16).newbyteorder("<" if layout.order == "<" else ">")
    tile = np.frombuffer(data, dtype).reshape(rows, shape.tile_width, shape.channels)
    native = tile.astype(dtype.newbyteorder("="), copy=False)
    if shape.predictor == _HORIZONTAL:
        native = np.cumsum(native, axis=1, dtype=native.dtype)  # wraps, as the prediction does
    return native
