"""What a file is, and whether it is whole: by its content alone."""

import io
import struct

import pytest

import laden
import media
from blurd.core.containers import BytesReader, Completeness, Format, completeness, identify
from blurd.core.containers.reader import READ_BUDGET_BYTES, Reader

WHOLE, INCOMPLETE, UNDETERMINED = Completeness.WHOLE, Completeness.INCOMPLETE, Completeness.UNDETERMINED
VARIANTS = {variant.name: variant for variant in media.variants()}


def box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), name) + data


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", major + b"\0\0\0\0" + b"".join(compatible))


MOVIE = ftyp(b"isom", b"mp42") + box(b"moov", b"x" * 50) + box(b"mdat", b"y" * 200)
AVI = b"RIFF" + struct.pack("<I", 104) + b"AVI " + b"z" * 100
MATROSKA = b"\x1a\x45\xdf\xa3\x83abc\xec\x81\0\x18\x53\x80\x67\x40\x64" + b"c" * 100
LIVE_MATROSKA = b"\x1a\x45\xdf\xa3\x83abc\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + b"c" * 100
ASF = (
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    + b"\0" * 14
    + bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
    + b"\0" * 24
    + struct.pack("<Q", 176)
    + b"\0" * 98
)
FLV = b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09" + b"t" * 29 + struct.pack(">I", 30)
OGG = b"OggS\0\x02" + b"o" * 60 + b"OggS\0\x04" + b"o" * 60
TRANSPORT = (b"\x47" + b"p" * 187) * 5


@pytest.mark.parametrize("name", VARIANTS)
def test_every_image_is_identified_and_whole(name: str) -> None:
    reader = BytesReader(VARIANTS[name].data)
    assert identify(reader) == VARIANTS[name].form
    assert completeness(reader) is WHOLE


@pytest.mark.parametrize("name", laden.LADEN)
def test_a_laden_file_is_whole_for_what_lies_behind_its_end_does_not_matter(name: str) -> None:
    assert completeness(BytesReader(laden.LADEN[name]())) is not INCOMPLETE


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (MOVIE, Format.MP4),
        (ftyp(b"qt  ") + box(b"mdat", b""), Format.MP4),
        (box(b"wide", b"") + box(b"mdat", b""), Format.MP4),
        (ftyp(b"heic", b"mif1"), Format.HEIF),
        (ftyp(b"mif1", b"heic"), Format.HEIF),
        (ftyp(b"mif1", b"avif"), Format.AVIF),
        (ftyp(b"avif"), Format.AVIF),
        (ftyp(b"crx "), Format.CAMERA_RAW),
        (b"II*\0\x10\0\0\0CR\x02\0", Format.CAMERA_RAW),
        (AVI, Format.AVI),
        (MATROSKA, Format.MATROSKA),
        (TRANSPORT, Format.MPEG_TS),
        (b"abcd" + (b"\x47" + b"p" * 191) * 5, Format.MPEG_TS),
        (b"\0\0\x01\xba" + b"\x44" * 20, Format.MPEG_PS),
        (b"\0\0\x01\xb3" + b"\x44" * 20, Format.MPEG_ES),
        (b"\0\0\0\x01\x67\x42", Format.H264_ES),
        (b"\0\0\0\x01\x40\x01", Format.HEVC_ES),
        (ASF, Format.ASF),
        (FLV, Format.FLV),
        (OGG, Format.OGG),
        (b"GIF89a", Format.GIF),
        (b"8BPS\0\x01", Format.PHOTOSHOP),
        (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0", Format.ICON),
        (b"\0\0\0\x0cjP  \r\n\x87\n", Format.JPEG_2000),
        (b"\xff\x0a\x00", Format.JPEG_XL),
    ],
)
def test_formats_that_are_not_treated_here_are_known_all_the_same(data: bytes, form: Format) -> None:
    assert identify(BytesReader(data)) is form


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF\x02\x01\x01" + b"\0" * 100,
        b"<!DOCTYPE html><html>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"BM" + b"\xff" * 50,
        b"G" * 100,
        b"\xff\xd8",
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_anything_else_is_unknown(data: bytes) -> None:
    """An executable, a page, an archive, or text that starts like a picture."""
    assert identify(BytesReader(data)) is None
    assert completeness(BytesReader(data)) is (UNDETERMINED if data else INCOMPLETE)


# Of a file in which nothing follows the last thing that matters, every shorter part is incomplete.
CUT_ANYWHERE = ["jpeg_420", "jpeg_progressive", "png_type2_8bit", "png_palette_4bit", "webp_75", "webp_lossless_alpha"]
CUT_ANYWHERE += ["bmp_rgb", "bmp_alpha", "heic", "avif", "tiff_pillow_tiff_lzw", "tiff_3x8_tiled", "tiff_pages_8"]


@pytest.mark.parametrize("name", CUT_ANYWHERE)
def test_a_part_of_an_image_is_incomplete(name: str) -> None:
    """Cut anywhere behind the first bytes that say what it is: never called whole, and incomplete at 95 of 100."""
    data = VARIANTS[name].data
    last = len(data) - 1 - (len(data) - len(data.rstrip(b"\0")))
    verdicts = [completeness(BytesReader(data[:length])) for length in range(64, last, 7)]
    assert WHOLE not in verdicts
    assert verdicts.count(INCOMPLETE) >= 0.95 * len(verdicts)


@pytest.mark.parametrize("data", [MOVIE, AVI, MATROSKA, ASF])
def test_a_part_of_a_video_is_incomplete(data: bytes) -> None:
    assert completeness(BytesReader(data)) is WHOLE
    assert completeness(BytesReader(data[:-1])) is INCOMPLETE
    assert completeness(BytesReader(data[:-20])) is INCOMPLETE


def test_a_video_without_its_index_is_incomplete() -> None:
    """A recorder writes `moov` last."""
    assert completeness(BytesReader(ftyp(b"isom") + box(b"mdat", b"y" * 200))) is INCOMPLETE


def test_a_fragmented_video_is_whole_with_its_last_fragment() -> None:
    data = ftyp(b"iso5") + box(b"moov", b"x" * 50) + (box(b"moof", b"f" * 20) + box(b"mdat", b"y" * 60)) * 3
    assert completeness(BytesReader(data)) is WHOLE
    assert completeness(BytesReader(data[:-10])) is INCOMPLETE


def test_where_the_structure_does_not_tell_nothing_is_claimed() -> None:
    last_box_to_the_end = ftyp(b"isom") + box(b"moov", b"x") + struct.pack(">I4s", 0, b"mdat") + b"y" * 50
    for data in (LIVE_MATROSKA, TRANSPORT, last_box_to_the_end, FLV[:-3]):
        assert completeness(BytesReader(data)) is UNDETERMINED


def test_ends_that_say_that_they_are_the_end() -> None:
    assert completeness(BytesReader(OGG)) is WHOLE
    assert completeness(BytesReader(OGG[:66])) is UNDETERMINED
    assert completeness(BytesReader(FLV)) is WHOLE


def test_a_recorders_avi_without_its_length_is_incomplete() -> None:
    assert completeness(BytesReader(b"RIFF\0\0\0\0AVI " + b"z" * 100)) is INCOMPLETE


def test_preallocated_space_is_not_a_whole_picture() -> None:
    """A file of the right size whose tail is still zeros."""
    for name in ("jpeg_420", "png_type2_8bit", "webp_75"):
        data = VARIANTS[name].data
        filled = data[: len(data) // 2].ljust(len(data), b"\0")
        if name != "webp_75":  # its structure is whole; the decoder will tell
            assert completeness(BytesReader(filled)) is not WHOLE


class CountingReader:
    """Counts what is read from an endless file."""

    size = 1 << 40

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.bytes_read = 0
        self.calls = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        self.calls += 1
        return self.head[offset : offset + length].ljust(length, b"\0")


@pytest.mark.parametrize(
    "head",
    [
        VARIANTS["jpeg_420"].data[:-2],
        b"\x89PNG\r\n\x1a\n" + media.png_chunk(b"IHDR", b"\0" * 13),
        ftyp(b"isom") + box(b"free", b""),
        AVI,
        b"II*\0\x08\0\0\0",
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
    ],
)
def test_no_more_is_read_of_a_terabyte_than_the_budget(head: bytes) -> None:
    reader: Reader = (counter := CountingReader(head))
    completeness(reader)
    assert counter.bytes_read <= READ_BUDGET_BYTES + 4096


def test_a_loop_of_pages_ends() -> None:
    """Two TIFF page tables that point at each other."""
    entry = struct.pack("<HHII", 256, 4, 1, 10)
    page = struct.pack("<H", 1) + entry
    data = b"II*\0" + struct.pack("<I", 8) + page + struct.pack("<I", 26) + page + struct.pack("<I", 8)
    assert completeness(BytesReader(data)) is UNDETERMINED


def test_identify_reads_only_the_head() -> None:
    counter = CountingReader(b"nothing known")
    identify(counter)
    assert counter.bytes_read <= 4096


def test_a_name_is_no_argument() -> None:
    """Typed by content: the functions take a reader, and a PNG is a PNG."""
    data = media.saved(media.small(), "PNG")
    with io.BytesIO(data) as file:
        assert identify(BytesReader(file.read())) is Format.PNG
