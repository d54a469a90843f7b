"""Test pictures: a scene with real faces, and the same picture in every format.

Everything is made here, by other means than blurd's own writers where there are any, so that a test compares two
independent ways. Files full of metadata are made in `laden.py`.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import pillow_heif
import skimage.data
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]

ASTRONAUT_FACE = (170, 60, 285, 205)
"""Left, top, right, bottom of the face in the astronaut photo, with a little room."""


@cache
def astronaut() -> Pixels:
    """The public-domain photo of Eileen Collins (NASA): (512, 512, 3) uint8 RGB."""
    photo = np.ascontiguousarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]
    photo.setflags(write=False)
    return photo


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and where its faces are: (left, top, right, bottom) each."""

    pixels: Pixels
    faces: tuple[tuple[int, int, int, int], ...]


def scene(width: int = 1600, height: int = 1000) -> Scene:
    """The astronaut twice, at two sizes, on a quiet background."""
    across = np.linspace(60, 190, width)[np.newaxis, :, np.newaxis]
    ramp = across + np.linspace(-30, 30, height)[:, np.newaxis, np.newaxis]
    pixels = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8).copy()
    faces = []
    for share, left_share, top_share in ((0.75, 0.05, 0.2), (0.3, 0.7, 0.1)):
        side = int(height * share)
        photo = np.asarray(Image.fromarray(astronaut()).resize((side, side), Image.Resampling.LANCZOS))
        left, top = int(width * left_share), int(height * top_share)
        pixels[top : top + side, left : left + side] = photo
        scale = side / 512
        x0, y0, x1, y1 = (round(edge * scale) for edge in ASTRONAUT_FACE)
        faces.append((left + x0, top + y0, left + x1, top + y1))
    return Scene(pixels, tuple(faces))


@cache
def small(channels: int = 3, bits: int = 8, width: int = 90, height: int = 70) -> Pixels:
    """A detailed little picture (height, width, channels); 16 bits are all in use; the second or fourth is alpha."""
    crop = Image.fromarray(astronaut()[40:300, 120:450]).resize((width, height))
    rgb = np.asarray(crop)
    colours = rgb if channels >= 3 else rgb[:, :, 1:2]
    if channels in {2, 4}:
        alpha = np.linspace(0, 255, width).astype(np.uint8)[np.newaxis, :, np.newaxis].repeat(height, axis=0)
        colours = np.concatenate([colours, alpha], axis=2)
    if bits == 16:
        noise = np.random.default_rng(7).integers(0, 256, colours.shape)
        colours = (colours.astype(np.uint16) << 8 | noise.astype(np.uint16)).astype(np.uint16)
    made = np.ascontiguousarray(colours)
    made.setflags(write=False)
    return made


def rough(pixels: Any) -> float:
    """Detail in a piece of a picture: mean step between neighbouring pixels."""
    return float(np.abs(np.diff(np.asarray(pixels, np.float32), axis=0)).mean())


def saved(image: Image.Image | Pixels, form: str, **options: Any) -> bytes:
    """A picture written by Pillow."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


# PNG, by a writer of its own: every colour type and depth, interlaced too, with any chunks around.

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk with its checksum."""
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def png_file(
    samples: Pixels,
    colour_type: int,
    bits: int,
    *,
    interlaced: bool = False,
    before: Iterable[tuple[bytes, bytes]] = (),
    behind: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of stored samples (height, width, channels), unfiltered; chunks before and behind the pixels."""
    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    rows = b""
    for x, y, step_x, step_y in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = samples[y::step_y, x::step_x]
        if part.size:
            rows += b"".join(b"\0" + _packed(row, bits) for row in part)
    body = [(b"IHDR", head), *before, (b"IDAT", zlib.compress(rows)), *behind, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in body)


def _packed(row: Pixels, bits: int) -> bytes:
    if bits == 16:
        return bytes(row.astype(">u2").tobytes())
    if bits == 8:
        return bytes(row.astype(np.uint8).tobytes())
    columns = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, -bits:]
    return bytes(np.packbits(columns.reshape(-1)).tobytes())


# The same picture in every format that is treated: bytes and what must come out of the decoder, exact where it can be.


@dataclass(frozen=True, slots=True)
class Variant:
    """A file, its format's code, that of its copy, and the pixels inside; None where the format loses some."""

    name: str
    data: bytes
    form: str
    written: str
    exact: tuple[Pixels, ...] | None

    @property
    def pages(self) -> int:
        return len(self.exact) if self.exact else 1


def variants() -> Iterator[Variant]:
    """Every format, depth, colour model and layout."""
    yield from _jpegs()
    yield from _pngs()
    yield from _webps()
    yield from _tiffs()
    yield from _bmps()
    yield from _heifs()


def _jpegs() -> Iterator[Variant]:
    rgb = Image.fromarray(small())
    for name, image, options in (
        ("420", rgb, {"quality": 85, "subsampling": 2}),
        ("422", rgb, {"quality": 75, "subsampling": 1}),
        ("444", rgb, {"quality": 95, "subsampling": 0}),
        ("coarse", rgb, {"quality": 25}),
        ("progressive", rgb, {"quality": 85, "progressive": True}),
        ("restarts", rgb, {"quality": 85, "restart_marker_blocks": 3}),
        ("adobe_rgb", rgb, {"quality": 90, "keep_rgb": True}),
        ("grey", rgb.convert("L"), {"quality": 80}),
        ("cmyk", rgb.convert("CMYK"), {"quality": 90}),
    ):
        yield Variant(f"jpeg_{name}", saved(image, "JPEG", **options), "jpeg", "jpeg", None)


def _pngs() -> Iterator[Variant]:
    for kind, channels, bits in (
        (0, 1, 8),
        (0, 1, 16),
        (2, 3, 8),
        (2, 3, 16),
        (4, 2, 8),
        (4, 2, 16),
        (6, 4, 8),
        (6, 4, 16),
    ):
        pixels = small(channels, bits)
        for interlaced in (False, True):
            name = f"png_type{kind}_{bits}bit" + "_interlaced" * interlaced
            yield Variant(name, png_file(pixels, kind, bits, interlaced=interlaced), "png", "png", (pixels,))
    grey = small(1)
    for bits in (1, 2, 4):
        stored = grey >> (8 - bits)
        yield Variant(
            f"png_grey_{bits}bit", png_file(stored, 0, bits), "png", "png", (stored * (255 // ((1 << bits) - 1)),)
        )
    palette = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8)
    for bits in (1, 4, 8):
        stored = grey >> (8 - bits)
        colours = palette[: 1 << bits]
        data = png_file(stored, 3, bits, before=[(b"PLTE", colours.tobytes())], interlaced=bits == 4)
        yield Variant(f"png_palette_{bits}bit", data, "png", "png", (colours[stored[:, :, 0]],))
    alpha = np.arange(256, dtype=np.uint8)
    data = png_file(grey, 3, 8, before=[(b"PLTE", palette.tobytes()), (b"tRNS", alpha.tobytes())])
    whole = np.concatenate([palette[grey[:, :, 0]], alpha[grey]], axis=2)
    yield Variant("png_palette_alpha", data, "png", "png", (whole,))
    yield from _colour_keys()


def _colour_keys() -> Iterator[Variant]:
    """One colour is transparent."""
    for kind, channels, bits in ((0, 1, 8), (2, 3, 8), (0, 1, 16), (2, 3, 16)):
        pixels = small(channels, bits)
        key = pixels[10, 20]
        data = png_file(pixels, kind, bits, before=[(b"tRNS", key.astype(">u2").tobytes())])
        largest = (1 << bits) - 1
        alpha = np.where((pixels == key).all(axis=2), 0, largest).astype(pixels.dtype)
        yield Variant(f"png_key_{kind}_{bits}bit", data, "png", "png", (np.dstack([pixels, alpha]),))


def _webps() -> Iterator[Variant]:
    rgb, rgba = small(), small(4)
    yield Variant("webp_lossless", saved(rgb, "WEBP", lossless=True), "webp", "webp", (rgb,))
    yield Variant("webp_lossless_alpha", saved(rgba, "WEBP", lossless=True, exact=True), "webp", "webp", (rgba,))
    for quality in (30, 75, 90, 98):
        yield Variant(f"webp_{quality}", saved(rgb, "WEBP", quality=quality), "webp", "webp", None)
    yield Variant("webp_alpha", saved(rgba, "WEBP", quality=80), "webp", "webp", None)


def tiff_file(*pages: Pixels, **options: Any) -> bytes:
    """A TIFF written by tifffile."""
    file = io.BytesIO()
    with tifffile.TiffWriter(
        file, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")
    ) as writer:
        for page in pages:
            channels = page.shape[2]
            stored = page[:, :, 0] if channels == 1 else page
            if options.get("planarconfig") == "separate":
                stored = np.moveaxis(page, 2, 0)
            kinds = {} if channels in {1, 3} else {"extrasamples": ["unassalpha"]}
            photometric = options.get("photometric", "rgb" if channels >= 3 else "minisblack")
            writer.write(stored, **{**options, **kinds, "photometric": photometric, "metadata": None})
    return file.getvalue()


def _tiffs() -> Iterator[Variant]:
    for channels in (1, 2, 3, 4):
        for bits in (8, 16):
            pixels = small(channels, bits)
            for name, options in (
                ("plain", {}),
                ("strips", {"rowsperstrip": 13, "byteorder": ">"}),
                ("deflate", {"compression": "zlib", "predictor": True, "byteorder": ">"}),
                ("tiled", {"tile": (32, 48), "compression": "zlib", "bigtiff": True}),
                ("planes", {"planarconfig": "separate"} if channels > 1 else {"tile": (16, 16)}),
                ("lzma", {"compression": "lzma", "rowsperstrip": 9}),
            ):
                data = tiff_file(pixels, **options)
                yield Variant(f"tiff_{channels}x{bits}_{name}", data, "tiff", "tiff", (pixels,))
    rgb = small()
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma", "packbits"):
        data = saved(rgb, "TIFF", compression=compression)
        yield Variant(f"tiff_pillow_{compression}", data, "tiff", "tiff", (rgb,))
    for channels in (1, 3, 4):
        deep = small(channels, 16)
        stored = deep[:, :, [2, 1, 0, 3][:channels]] if channels > 1 else deep
        data = cv2.imencode(".tif", stored)[1].tobytes()  # LZW with a predictor
        yield Variant(f"tiff_opencv_lzw_{channels}x16", data, "tiff", "tiff", (deep,))
    inverted = 255 - small(1)
    yield Variant("tiff_white_is_zero", tiff_file(inverted, photometric="miniswhite"), "tiff", "tiff", (small(1),))
    for bits in (8, 16):
        pages = (small(3, bits), small(3, bits, 60, 40), small(1, bits, 33, 57))
        yield Variant(f"tiff_pages_{bits}", tiff_file(*pages, compression="zlib"), "tiff", "tiff", pages)
    bilevel = Image.fromarray(small(1)[:, :, 0]).convert("1")
    stencil = np.asarray(bilevel.convert("L"))[:, :, np.newaxis]
    for name in ("raw", "group3", "group4"):
        data = saved(bilevel, "TIFF", compression=name)
        yield Variant(f"tiff_bilevel_{name}", data, "tiff", "tiff", (stencil,))
    indexed = Image.fromarray(rgb).quantize(200)
    colours = np.asarray(indexed.convert("RGB"))
    yield Variant("tiff_palette", saved(indexed, "TIFF"), "tiff", "tiff", (colours,))
    ink = Image.fromarray(rgb).convert("CMYK")
    yield Variant("tiff_cmyk", saved(ink, "TIFF", compression="tiff_lzw"), "tiff", "tiff", (np.asarray(ink),))
    jpeg = saved(rgb, "TIFF", compression="jpeg", quality=90)
    yield Variant("tiff_jpeg", jpeg, "tiff", "tiff", (np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")),))


def bmp_file(pixels: Pixels, *, top_down: bool = False) -> bytes:
    """A 32-bit BMP with an alpha channel (BITMAPV5HEADER)."""
    height, width = pixels.shape[:2]
    rows = pixels[:, :, [2, 1, 0, 3]]
    data = (rows if top_down else rows[::-1]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, width, -height if top_down else height, 1, 32, 3, len(data), 0, 0, 0, 0)
    head += struct.pack("<IIIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742) + b"\0" * 64
    return struct.pack("<2sIII", b"BM", 138 + len(data), 0, 138) + head + data


def _bmps() -> Iterator[Variant]:
    rgb, grey = small(), small(1)
    yield Variant("bmp_rgb", saved(rgb, "BMP"), "bmp", "bmp", (rgb,))
    yield Variant("bmp_grey", saved(grey, "BMP"), "bmp", "bmp", (grey,))
    indexed = Image.fromarray(rgb).quantize(100)
    yield Variant("bmp_palette", saved(indexed, "BMP"), "bmp", "bmp", (np.asarray(indexed.convert("RGB")),))
    bilevel = Image.fromarray(grey[:, :, 0]).convert("1")
    stencil = np.asarray(bilevel.convert("L"))[:, :, np.newaxis]
    yield Variant("bmp_bilevel", saved(bilevel, "BMP"), "bmp", "bmp", (stencil,))
    for top_down in (False, True):
        name = "bmp_alpha" + "_top_down" * top_down
        yield Variant(name, bmp_file(small(4), top_down=top_down), "bmp", "bmp", (small(4),))


def heif_file(image: Image.Image, **options: Any) -> bytes:
    """A HEIC written by libheif."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 90, **options})
    return file.getvalue()


def _heifs() -> Iterator[Variant]:
    rgb, rgba = Image.fromarray(small()), Image.fromarray(small(4))
    yield Variant("heic", heif_file(rgb), "heif", "jpeg", None)
    yield Variant("heic_alpha", heif_file(rgba), "heif", "png", None)
    yield Variant("avif", saved(rgb, "AVIF", quality=85), "avif", "jpeg", None)
    yield Variant("avif_alpha", saved(rgba, "AVIF", quality=85), "avif", "png", None)


def animated(form: str) -> bytes:
    """Two pictures one after the other, for GIF, PNG, WebP and AVIF."""
    images = [Image.fromarray(small()), Image.fromarray(255 - small())]
    return saved(images[0], form, save_all=True, append_images=images[1:], duration=100)


def flat_png(width: int, height: int) -> bytes:
    """A picture of one colour, that shows nobody."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "PNG")
    return stream.getvalue()
