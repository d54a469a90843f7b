"""Files full of planted metadata: text in every place that could hold some, thumbnails, positions, makers' trailers.

Invariants
* `PLANTED` stands in every such place, so a copy that contains it anywhere has leaked.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import tifffile
from PIL import Image, ImageCms

from media import ASTRONAUT_FACE, Pixels, astronaut, heif_file, png_file, saved, small

PLANTED = b"PLANTED-4711-secret"


@cache
def colour_profile() -> bytes:
    """A real sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def laden_profile() -> bytes:
    """The same with a private tag and a monitor's serial number in it."""
    plain = colour_profile()
    (count,) = struct.unpack_from(">I", plain, 128)
    extra = b"text\0\0\0\0" + PLANTED
    shift = 24
    table = b"".join(
        struct.pack(">4sII", name, start + shift, length)
        for name, start, length in struct.iter_unpack(">4sII", plain[132 : 132 + 12 * count])
    )
    body = plain[132 + 12 * count :]
    end = len(plain) + shift
    table += struct.pack(">4sII", b"mmod", end, len(extra)) + struct.pack(">4sII", b"zzzz", end, len(extra))
    whole = plain[:128] + struct.pack(">I", count + 2) + table + body + extra
    return struct.pack(">I", len(whole)) + whole[4:]


def exif_block(orientation: int = 1) -> bytes:
    """Exif (without the `Exif\\0\\0` before it) with planted text, a maker note, GPS and a thumbnail of the face."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298):
        exif[tag] = PLANTED.decode()
    exif[0x0132] = "2024:05:06 07:08:09"
    details = exif.get_ifd(0x8769)
    details[0x927C] = PLANTED * 3
    details[0x9286] = b"ASCII\0\0\0" + PLANTED
    details[0xA431] = PLANTED.decode()
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (48.0, 51.0, 29.0), "E", (2.0, 17.0, 40.0)
    place[29] = PLANTED.decode()
    plain = exif.tobytes().removeprefix(b"Exif\0\0")
    return plain + thumbnail()


@cache
def thumbnail() -> bytes:
    """A little JPEG of the face, as cameras put into their metadata."""
    left, top, right, bottom = ASTRONAUT_FACE
    return saved(Image.fromarray(astronaut()[top:bottom, left:right]).resize((80, 100)), "JPEG") + PLANTED


XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    + PLANTED
    + b"</x:xmpmeta>"
)
IPTC = b"\x1c\x02\x50" + len(PLANTED).to_bytes(2, "big") + PLANTED


def movie() -> bytes:
    """The boxes of a small MP4, as motion photos append it."""
    body = PLANTED * 10
    return (
        struct.pack(">I4s4sI4s", 20, b"ftyp", b"mp42", 0, b"isom")
        + struct.pack(">I4s", 8 + len(body), b"mdat")
        + body
        + struct.pack(">I4s", 16, b"moov")
        + PLANTED[:8].ljust(8)
    )


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """A marker with its payload."""
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def laden_jpeg(orientation: int = 1, pixels: Pixels | None = None, **options: Any) -> bytes:
    """Exif, thumbnails, XMP, extended XMP, IPTC, comments, maker segments, MPF pictures and a motion-photo video."""
    plain = saved(small() if pixels is None else pixels, "JPEG", **{"quality": 90, **options})
    small_face = small(3, 8, 8, 6).tobytes()
    segments = [
        jpeg_segment(0xE0, b"JFXX\0\x13" + bytes([8, 6]) + small_face),
        jpeg_segment(0xE1, b"Exif\0\0" + exif_block(orientation)),
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        jpeg_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 99, 0) + XMP),
        jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + laden_profile()),
        jpeg_segment(0xE2, b"MPF\0MM\0\x2a" + PLANTED),
        jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC),
        jpeg_segment(0xEC, b"Ducky" + PLANTED),
        jpeg_segment(0xEB, b"HDR_RI" + PLANTED),
        jpeg_segment(0xEA, PLANTED),
        jpeg_segment(0xE5, b"Samsung" + PLANTED),
        jpeg_segment(0xFE, PLANTED),
    ]
    return plain[:20] + b"".join(segments) + plain[20:] + thumbnail() + movie() + b"SEFT" + PLANTED


def laden_png(orientation: int = 1) -> bytes:
    """Every text chunk, Exif, time, suggested palette, XMP, a private chunk and a trailer."""
    before = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"iCCP", PLANTED + b"\0\0" + zlib.compress(laden_profile())),
        (b"pHYs", struct.pack(">IIB", 3779, 3779, 1)),
        (b"tEXt", b"Author\0" + PLANTED),
        (b"zTXt", b"Comment\0\0" + zlib.compress(PLANTED * 5)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        (b"eXIf", exif_block(orientation)),
        (b"tIME", struct.pack(">HBBBBB", 2024, 5, 6, 7, 8, 9)),
        (b"sPLT", PLANTED + b"\0\x08"),
        (b"prVt", PLANTED),
    ]
    return png_file(small(), 2, 8, before=before, behind=[(b"tEXt", b"Late\0" + PLANTED)]) + PLANTED + movie()


def riff_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk, padded."""
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) & 1)


def laden_webp(orientation: int = 1, *, lossless: bool = False) -> bytes:
    """Exif, XMP, an unknown chunk and a trailer."""
    plain = saved(small(), "WEBP", lossless=lossless, quality=85)
    height, width = small().shape[:2]
    flags = bytes([0x2C, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = riff_chunk(b"VP8X", flags) + riff_chunk(b"ICCP", laden_profile()) + plain[12:]
    body += riff_chunk(b"EXIF", exif_block(orientation)) + riff_chunk(b"XMP ", XMP) + riff_chunk(b"zzzz", PLANTED)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body + PLANTED


def laden_tiff(orientation: int = 1) -> bytes:
    """Text tags, Exif, GPS, XMP, IPTC, Photoshop blocks, a page below the page, a preview page and unused bytes."""
    text = PLANTED.decode()
    tags: list[tuple[int, str | int, int, Any, bool]] = [
        (tag, "s", 0, text, True) for tag in (269, 271, 272, 285, 305, 315, 316, 33432, 42112)
    ]
    tags += [
        (274, "H", 1, orientation, True),
        (700, "B", len(XMP), XMP, True),
        (33723, "B", len(IPTC), IPTC, True),
        (34377, "B", len(PLANTED), PLANTED, True),
        (34675, "B", len(laden_profile()), laden_profile(), True),
        (37500, "B", len(PLANTED), PLANTED, True),
        (65000, "B", len(PLANTED), PLANTED, True),
    ]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(
            small(), photometric="rgb", description=text, software=text, datetime="2024:05:06 07:08:09",
            extratags=tags, subifds=1, metadata=None, resolution=(300, 300), compression="zlib",
        )  # fmt: skip
        writer.write(small(3, 8, 40, 30), photometric="rgb", subfiletype=1, metadata=None)
        writer.write(small(3, 8, 45, 35), photometric="rgb", subfiletype=1, metadata=None)
    return file.getvalue() + PLANTED


def laden_bmp() -> bytes:
    """Text between the header and the pixels and behind them."""
    plain = saved(small(), "BMP")
    gap = PLANTED
    head = plain[:2] + struct.pack("<I", len(plain) + len(gap)) + PLANTED[:4] + struct.pack("<I", 54 + len(gap))
    return head + plain[14:54] + gap + plain[54:] + PLANTED


def laden_heif(orientation: int = 1) -> bytes:
    """Exif, XMP, a profile and a thumbnail picture."""
    image = Image.fromarray(small())
    image.info["icc_profile"] = laden_profile()
    return heif_file(image, exif=b"Exif\0\0" + exif_block(orientation), xmp=XMP)


def laden_avif(orientation: int = 1) -> bytes:
    """Exif, XMP and a profile."""
    exif = exif_block(orientation)
    return saved(small(), "AVIF", quality=90, exif=exif, xmp=XMP, icc_profile=laden_profile())


LADEN: dict[str, Callable[[], bytes]] = {
    "jpeg": laden_jpeg,
    "png": laden_png,
    "webp": laden_webp,
    "webp_lossless": lambda: laden_webp(lossless=True),
    "tiff": laden_tiff,
    "bmp": laden_bmp,
    "heic": laden_heif,
    "avif": laden_avif,
}
