"""Nothing but the picture leaves: text, thumbnails, positions, maker notes and trailers are gone from every copy."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

import laden
import media
from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.core import containers
from blurd.core.containers import BytesReader

CODEC = ImageCodec(ImageLimits(max_pixels=5_000_000, max_pages=20, max_bytes=20 << 20))
VARIANTS = {variant.name: variant for variant in media.variants()}


def copied(data: bytes) -> bytes:
    source = CODEC.open(io.BytesIO(data))
    target = io.BytesIO()
    source.write(source.frames(), target)
    return target.getvalue()


def layers(data: bytes) -> Iterator[bytes]:
    """The bytes of a file, and everything in it that can be inflated."""
    yield data
    for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[found.start() :], 1 << 20)
        except zlib.error:
            continue


def planted_in(data: bytes) -> bool:
    """The planted text in any of the ways in which the laden files hold it."""
    text = laden.PLANTED.decode()
    ways = [laden.PLANTED, text.encode("utf-16-le"), text.encode("utf-16-be"), laden.thumbnail()[20:200]]
    return any(way in layer for layer in layers(data) for way in ways)


@pytest.mark.parametrize("name", laden.LADEN)
def test_no_planted_text_and_no_thumbnail_is_in_the_copy(name: str) -> None:
    data = laden.LADEN[name]()
    assert planted_in(data)
    copy = copied(data)
    assert not planted_in(copy)
    assert CODEC.leftovers(io.BytesIO(copy)) == ()


@pytest.mark.parametrize("name", laden.LADEN)
def test_other_readers_find_no_metadata_in_the_copy(name: str) -> None:
    with Image.open(io.BytesIO(copied(laden.LADEN[name]()))) as image:
        exif = dict(image.getexif())
        assert not set(exif) - {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 338, 34675}
        assert not image.getexif().get_ifd(0x8825)
        assert image.info.get("dpi", (1, 1)) == (1, 1)
        harmless = {"background", "loop", "timestamp", "duration", "resolution", "dpi"}  # constants of the reader
        harmless |= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "icc_profile", "compression", "gamma", "srgb"}
        assert set(image.info) <= harmless


@pytest.mark.parametrize("name", VARIANTS)
def test_every_copy_is_clean(name: str) -> None:
    assert CODEC.leftovers(io.BytesIO(copied(VARIANTS[name].data))) == ()


@pytest.mark.parametrize("name", [name for name in laden.LADEN if name not in {"heic", "avif"}])
def test_the_check_sees_what_is_in_a_laden_file(name: str) -> None:
    """The proof can fail: the laden files themselves are full of leftovers."""
    assert len(CODEC.leftovers(io.BytesIO(laden.LADEN[name]()))) >= 3


def test_profiles_lose_their_private_tags_and_keep_the_colours() -> None:
    kept = Image.open(io.BytesIO(copied(laden.laden_jpeg()))).info["icc_profile"]
    assert laden.PLANTED not in kept
    assert b"mmod" not in kept
    assert all(tag in kept for tag in (b"rXYZ", b"gTRC", b"wtpt", b"desc", b"cprt"))


def clean(form: str) -> bytes:
    return copied(laden.LADEN[form]())


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:20] + laden.jpeg_segment(marker, content) + data[20:]


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    return data[:33] + media.png_chunk(name, content) + data[33:]


def with_webp_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    body = data[12:] + laden.riff_chunk(name, content)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


JPEG, PNG, WEBP, TIFF, BMP = (clean(form) for form in ("jpeg", "png", "webp", "tiff", "bmp"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (with_segment(JPEG, 0xFE, b"a comment"), "jpeg_comment"),
        (with_segment(JPEG, 0xE1, b"Exif\0\0"), "jpeg_marker_e1"),
        (with_segment(JPEG, 0xE2, b"MPF\0"), "jpeg_marker_e2"),
        (with_segment(JPEG, 0xE0, b"JFXX\0\x13\x01\x01abc"), "jpeg_marker_e0"),
        (with_segment(JPEG, 0xEE, b"Adobe\0\x64\0\0\0\0\0 and more"), "jpeg_marker_ee"),
        (JPEG[:13] + b"\x01\x01\x2c\x01\x2c" + JPEG[18:], "jpeg_marker_e0"),
        (JPEG + b"x", "jpeg_trailer"),
        (with_chunk(PNG, b"tEXt", b"a\0b"), "png_chunk_tEXt"),
        (with_chunk(PNG, b"eXIf", b"MM"), "png_chunk_eXIf"),
        (with_chunk(PNG, b"pHYs", b"\0" * 9), "png_chunk_pHYs"),
        (with_chunk(PNG, b"gAMA", b"not four bytes"), "png_chunk_gAMA"),
        (with_chunk(PNG, b"iCCP", b"My name\0\0" + zlib.compress(b"x")), "png_chunk_iCCP"),
        (PNG + b"x", "png_trailer"),
        (PNG[:-12] + media.png_chunk(b"IDAT", b"hidden") + PNG[-12:], "png_pixel_stream"),
        (with_webp_chunk(WEBP, b"EXIF", b"MM"), "webp_chunk_exif"),
        (with_webp_chunk(WEBP, b"XMP ", b"<x>"), "webp_chunk_xmp"),
        (with_webp_chunk(WEBP, b"ICCP", b"another"), "webp_repeated_chunk"),
        (with_webp_chunk(WEBP, b"abcd", b"private"), "webp_chunk_abcd"),
        (WEBP + b"xx", "webp_trailer"),
        (WEBP[:20] + bytes([WEBP[20] | 8]) + WEBP[21:], "webp_flags"),
        (TIFF + b"xx", "tiff_trailer"),
        (TIFF[:8] + b"hidden" + TIFF[8:], "structure"),
        (TIFF.replace(struct.pack("<HH", 317, 3), struct.pack("<HH", 305, 3)), "tiff_tag_305"),
        (BMP + b"x", "bmp_trailer"),
        (BMP[:6] + b"GPS!" + BMP[10:], "bmp_reserved"),
        (BMP[:10] + struct.pack("<I", 60) + BMP[14:54] + b"hidden" + BMP[54:], "bmp_gap"),
        (b"GIF89a", "format_not_written"),
        (laden.laden_heif(), "format_not_written"),
        (JPEG[:-2], "structure"),
    ],
)
def test_every_kind_of_leftover_has_its_code(data: bytes, code: str) -> None:
    found = containers.leftovers(BytesReader(data))
    assert found
    assert code in found or code == "structure"


def test_the_clean_files_used_above_are_clean() -> None:
    assert [containers.leftovers(BytesReader(data)) for data in (JPEG, PNG, WEBP, TIFF, BMP)] == [()] * 5


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "bmp"])
def test_a_copy_of_a_copy_is_the_same_kind_of_file(name: str) -> None:
    """Cleaning is stable: the second copy of a lossless file equals the first."""
    once = clean(name)
    twice = copied(once)
    if name in {"png", "tiff", "bmp"}:
        assert once == twice
    assert CODEC.leftovers(io.BytesIO(twice)) == ()
