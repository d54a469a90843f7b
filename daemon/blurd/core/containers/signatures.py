"""What a file is, by its first bytes and never by its name. Pure.

Invariants
* Reads at most the first 4 KiB; of a JPEG file the first picture's structure too, to tell it from a stream of them.
* Formats that blurd can't treat are recognised too, so that they are called unsupported and not unknown.
"""

import re
from enum import StrEnum
from types import MappingProxyType

from blurd.core.containers import jpeg
from blurd.core.containers.reader import ParseError, Reader, View

_HEAD_BYTES = 4096
_TS_PACKETS = 4


class Format(StrEnum):
    """Short stable codes of file formats (families, not codecs)."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    BMP = "bmp"
    HEIF = "heif"
    AVIF = "avif"
    GIF = "gif"
    JPEG_2000 = "jpeg2000"
    JPEG_XL = "jpegxl"
    PHOTOSHOP = "psd"
    ICON = "ico"
    CAMERA_RAW = "raw"
    MP4 = "mp4"
    MATROSKA = "matroska"
    AVI = "avi"
    MPEG_TS = "mpeg_ts"
    MPEG_PS = "mpeg_ps"
    MPEG_ES = "mpeg_es"
    H264_ES = "h264_es"
    HEVC_ES = "hevc_es"
    ASF = "asf"
    FLV = "flv"
    OGG = "ogg"
    DHAV = "dhav"
    MXF = "mxf"
    MPEG4_ES = "mpeg4_es"
    MJPEG_ES = "mjpeg_es"


IMAGES = frozenset(
    {
        Format.JPEG,
        Format.PNG,
        Format.WEBP,
        Format.TIFF,
        Format.BMP,
        Format.HEIF,
        Format.AVIF,
        Format.GIF,
        Format.JPEG_2000,
        Format.JPEG_XL,
        Format.PHOTOSHOP,
        Format.ICON,
        Format.CAMERA_RAW,
    }
)
"""Still-image families; every other format is a video family."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], Format], ...] = tuple(
    (re.compile(pattern, re.DOTALL), code)
    for pattern, code in (
        (rb"\xff\xd8\xff", Format.JPEG),
        (rb"\x89PNG\r\n\x1a\n", Format.PNG),
        (rb"RIFF....WEBP", Format.WEBP),
        (rb"II\*\0.{4}CR\x02", Format.CAMERA_RAW),
        (rb"II[*+]\0|MM\0[*+]", Format.TIFF),
        (rb"II(?:U\0|RO|RS)|MMOR|FUJIFILMCCD-RAW", Format.CAMERA_RAW),
        (rb"GIF8[79]a", Format.GIF),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", Format.JPEG_2000),
        (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", Format.JPEG_XL),
        (rb"8BPS\0[\x01\x02]", Format.PHOTOSHOP),
        (rb"\0\0[\x01\x02]\0.\0......?\0[\x01-\x20]\0", Format.ICON),
        (rb"RIFF....AVI |RIFF....AVIX", Format.AVI),
        (rb"\x1a\x45\xdf\xa3", Format.MATROSKA),
        (rb"\0\0\x01\xba|IMKH", Format.MPEG_PS),
        (rb"\0\0\x01\xb3", Format.MPEG_ES),
        (rb"\0?\0\0\x01[\x06\x09\x27\x47\x67]", Format.H264_ES),
        (rb"\0?\0\0\x01[\x40\x42\x44\x46\x4e]\x01", Format.HEVC_ES),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", Format.ASF),
        (rb"FLV\x01", Format.FLV),
        (rb"OggS", Format.OGG),
        (rb"DHAV|DAHUA", Format.DHAV),
        (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01", Format.MXF),
        (rb"\0\0\x01[\xb0\x00]", Format.MPEG4_ES),
    )
)

_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)
_MAJOR_BRANDS = MappingProxyType({b"crx ": Format.CAMERA_RAW, b"jp2 ": Format.JPEG_2000, b"jxl ": Format.JPEG_XL})
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def identify(reader: Reader, budget: View | None = None) -> Format | None:
    """The format that the content says, or None for content that is no image or video known here.

    `budget` is the view that counts what is read, where a caller goes on reading with it.
    """
    view = View(reader) if budget is None else budget
    try:
        head = view.some(0, _HEAD_BYTES)
    except ParseError:
        return None
    for pattern, code in _SIGNATURES:
        if pattern.match(head):
            return Format.MJPEG_ES if code is Format.JPEG and jpeg.is_motion(view) else code
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[4:8] in _OLD_QUICKTIME:
        return Format.MP4
    if head[:2] == b"BM" and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:  # noqa: PLR2004
        return Format.BMP
    return Format.MPEG_TS if _is_transport_stream(head) else None


def brands(head: bytes) -> tuple[bytes, frozenset[bytes]]:
    """The major brand and all brands of a file that starts with an `ftyp` box."""
    end = min(len(head), int.from_bytes(head[:4], "big"))
    compatible = frozenset(head[start : start + 4] for start in range(16, end - 3, 4))
    return head[8:12], compatible | {head[8:12]}


def _by_brand(head: bytes) -> Format:
    major, every = brands(head)
    if major in _MAJOR_BRANDS:
        return _MAJOR_BRANDS[major]
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and every & _AVIF_BRANDS):
        return Format.AVIF
    return Format.HEIF if major in _HEIF_BRANDS else Format.MP4


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes at the distance of plain packets, of Blu-ray packets (4 bytes before each) or with 16 parity bytes."""
    for start, distance in ((0, 188), (4, 192), (0, 204)):
        places = range(start, start + distance * _TS_PACKETS, distance)
        if len(head) > places[-1] and all(head[place] == 0x47 for place in places):  # noqa: PLR2004
            return True
    return False
