"""Videos full of planted metadata: tags, chapters, subtitles, data tracks, attachments, pictures, positions, user data.

Invariants
* `PLANTED` stands in every such place, as in `laden.py`, so a copy that contains it anywhere has leaked.
* The pictures and times are those of the plain file that each is made from.
"""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import av

from laden import PLANTED, XMP, exif_block, jpeg_segment
from variants import variant
from videos import Video, cover_picture

TEXT = PLANTED.decode()
XMP_ID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
PLACE = b"+48.8577+002.295/"
"""Where a phone says that it was filmed (ISO 6709)."""
_DETAILS = ("title", "comment", "artist", "copyright", "description", "location", "encoder", "make", "model", "album")


@dataclass(frozen=True, slots=True)
class Load:
    """What a container can carry beside a video."""

    base: str
    container: str
    suffix: str
    chapters: bool = False
    subtitles: str = ""
    data: str = ""
    attachment: bool = False
    others: tuple[str, ...] = ()
    """What the reader finds beside the video."""
    unit: Callable[[], bytes] = bytes
    """What is put before each coded frame."""
    tags: Mapping[str, str] | None = None
    muxing: Mapping[str, str] | None = None


def _remuxed(load: Load) -> Video:
    """The base's coded frames in a new container, with all that this one can carry."""
    base = variant(load.base)
    file = io.BytesIO()
    options = {"fflags": "-bitexact", **(load.muxing or {})}
    with (
        av.open(io.BytesIO(base.data), "r") as source,
        av.open(file, "w", format=load.container, options=options) as target,
    ):
        inner = source.streams.video[0]
        video = target.add_stream_from_template(inner, opaque=True)
        target.metadata.update({**dict.fromkeys(_DETAILS, TEXT), **(load.tags or {})})
        video.metadata.update({"handler_name": TEXT, "title": TEXT, "comment": TEXT, "language": "eng"})
        extras = _extra_streams(target, load)
        if load.chapters:
            target.set_chapters([
                {"id": number, "start": 200 * number, "end": 200 * number + 200, "time_base": Fraction(1, 1000),
                 "metadata": {"title": f"{TEXT} {number}"}}
                for number in range(2)
            ])  # fmt: skip
        if load.attachment:
            target.add_attachment("notes.txt", "text/plain", PLANTED * 4)
            target.add_attachment("cover.jpg", "image/jpeg", cover_picture() + PLANTED)
        for packet in source.demux(inner):
            if packet.size:
                target.mux(_prefixed(packet, video, load.unit()))
        for stream in extras:
            _mux_text(target, stream)
    data = file.getvalue()
    return replace(base, name=f"laden_{load.suffix[1:]}", suffix=load.suffix, data=data, others=load.others)


def _extra_streams(target: Any, load: Load) -> list[Any]:
    made = []
    if load.subtitles:
        made.append(target.add_mux_stream(load.subtitles))
        made[-1].metadata["title"] = TEXT
    if load.data:
        made.append(target.add_data_stream(load.data))
    return made


def _prefixed(packet: Any, stream: Any, unit: bytes) -> Any:
    content = bytes(packet)
    at = 2 if content.startswith(b"\xff\xd8") else 0  # a JPEG's segments come behind its first marker
    made = av.Packet(content[:at] + unit + content[at:])
    made.pts, made.dts, made.time_base, made.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    made.is_keyframe, made.stream = packet.is_keyframe, stream
    return made


def _mux_text(target: Any, stream: Any) -> None:
    text = PLANTED
    if target.format.name in {"mp4", "mov"}:
        text = len(PLANTED).to_bytes(2, "big") + PLANTED
    packet = av.Packet(text)
    packet.pts = packet.dts = 0
    packet.duration, packet.time_base = 200, Fraction(1, 1000)
    packet.is_keyframe, packet.stream = True, stream
    target.mux(packet)


# User data inside the coded pictures.


def _sei() -> bytes:
    payload = bytes(range(16)) + PLANTED
    return b"\x05" + bytes([len(payload)]) + payload + b"\x80"


def avc_unit() -> bytes:
    """H.264 user data (unregistered), as MP4 stores it."""
    body = b"\x06" + _sei()
    return len(body).to_bytes(4, "big") + body


def hevc_unit() -> bytes:
    """H.265 user data (unregistered), as MP4 stores it."""
    body = b"\x4e\x01" + _sei()
    return len(body).to_bytes(4, "big") + body


def mpeg_unit() -> bytes:
    """User data of MPEG-2 and MPEG-4 part 2."""
    return b"\0\0\x01\xb2" + PLANTED


def av1_unit() -> bytes:
    """A metadata OBU (ITU-T T.35)."""
    payload = b"\x04\xb5" + PLANTED + b"\x80"
    return b"\x2a" + bytes([len(payload)]) + payload


def jpeg_unit() -> bytes:
    """Comment and Exif with a thumbnail in each picture."""
    return jpeg_segment(0xFE, PLANTED) + jpeg_segment(0xE1, b"Exif\0\0" + exif_block())


# Boxes of MP4 and QuickTime that no muxer writes.


def box(name: bytes, *parts: bytes) -> bytes:
    """One box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _international(name: bytes) -> bytes:
    return box(name, struct.pack(">HH", len(PLACE) + len(PLANTED), 0x15C7), PLACE, PLANTED)


def user_boxes() -> bytes:
    """`udta` with positions and names, XMP in its own box, free space that is not empty."""
    position = (
        struct.pack(">IH", 0, 0x15C7)
        + PLANTED
        + b"\0"
        + struct.pack(">Biii", 0, 150_405, 3_201_892, 0)
        + b"earth\0"
        + PLANTED
        + b"\0"
    )
    text = b"\0\0\0\0\x15\xc7" + PLANTED + b"\0"
    words = box(b"data", struct.pack(">II", 1, 0), PLANTED)
    meta = box(
        b"meta", b"\0\0\0\0",
        box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9),
        box(b"ilst", box(b"\xa9cmt", words), box(b"gps ", words)),
    )  # fmt: skip
    names = b"".join(box(name, text) for name in (b"titl", b"auth", b"perf", b"dscp"))
    return (
        box(b"udta", _international(b"\xa9xyz"), _international(b"\xa9mak"), box(b"loci", position), names,
            box(b"XMP_", XMP), box(b"GPMF", PLANTED), meta)
        + box(b"uuid", XMP_ID, XMP)
        + box(b"free", PLANTED)
    )  # fmt: skip


def with_user_boxes(data: bytes) -> bytes:
    """An MP4 whose `moov` is its last box, with user boxes in the movie, in its first track, and beside it."""
    at = data.rindex(b"moov") - 4
    movie, track_at = data[at + 8 :], data.index(b"trak", at) - 4 - (at + 8)
    track_end = track_at + int.from_bytes(movie[track_at : track_at + 4], "big")
    track = box(b"trak", movie[track_at + 8 : track_end], user_boxes())
    whole = box(b"moov", movie[:track_at], track, movie[track_end:], user_boxes())
    beside = box(b"uuid", XMP_ID, XMP) + box(b"free", PLANTED) + box(b"skip", PLANTED) + box(b"Plnt", PLANTED)
    return data[:at] + whole + beside


def _with_boxes(load: Load) -> Video:
    video = _remuxed(load)
    return replace(video, data=with_user_boxes(video.data))


def _with_telemetry(load: Load) -> Video:
    """The subtitles become a data track, as action cameras write their positions."""
    video = _with_boxes(load)
    data = video.data.replace(b"tx3g", b"gpmd").replace(b"sbtl", b"meta").replace(b"text\0\0\0\0", b"meta\0\0\0\0")
    return replace(video, data=data)


def _with_tail(load: Load) -> Video:
    video = _remuxed(load)
    return replace(video, data=video.data + b"JUNK" + struct.pack("<I", len(PLANTED)) + PLANTED)


def _dav() -> Video:
    """A recorder's header before the first frame, and user data in the pictures."""
    base = variant("dav_h264")
    head = (b"DAHUA" + PLANTED).ljust(0x400, b"\0")
    return replace(base, name="laden_dav", data=head + base.data)


def _raw() -> Video:
    base = variant("raw_h264_no_b_frames")
    unit = b"\0\0\0\x01" + avc_unit()[4:]
    return replace(base, name="laden_h264", data=unit + base.data)


_QUICKTIME_KEYS = {
    "com.apple.quicktime.location.ISO6709": PLACE.decode() + TEXT,
    "com.apple.quicktime.model": TEXT,
    "timecode": "01:02:03:04",
}
_SERVICE = {"service_name": TEXT, "service_provider": TEXT}

LADEN_VIDEOS: dict[str, Callable[[], Video]] = {
    "mp4": lambda: _with_boxes(
        Load("mp4_h264", "mp4", ".mp4", chapters=True, subtitles="mov_text", unit=avc_unit, others=("subtitle", "data"))
    ),
    "mp4_h265": lambda: _with_boxes(Load("mp4_h265", "mp4", ".mp4", unit=hevc_unit)),
    "mp4_av1": lambda: _with_boxes(Load("mp4_av1", "mp4", ".mp4", unit=av1_unit)),
    "mov": lambda: _with_telemetry(
        Load("mp4_h264", "mov", ".mov", chapters=True, subtitles="mov_text", unit=avc_unit, others=("data",) * 3,
             tags=_QUICKTIME_KEYS, muxing={"movflags": "use_metadata_tags"})
    ),
    "3gp": lambda: _with_boxes(Load("mp4_h264", "3gp", ".3gp", unit=avc_unit)),
    "mkv": lambda: _remuxed(
        Load("mkv_h264", "matroska", ".mkv", chapters=True, subtitles="srt", attachment=True, unit=avc_unit,
             others=("subtitle", "attachment", "cover"))
    ),
    "webm": lambda: _remuxed(
        Load("webm_vp9", "webm", ".webm", chapters=True, subtitles="webvtt", others=("subtitle",))
    ),
    "avi": lambda: _with_tail(Load("avi_mpeg4", "avi", ".avi", unit=mpeg_unit)),
    "avi_mjpeg": lambda: _remuxed(Load("avi_mjpeg", "avi", ".avi", unit=jpeg_unit)),
    "ts": lambda: _remuxed(
        Load("mp4_late", "mpegts", ".ts", data="klv", unit=avc_unit, tags=_SERVICE, others=("data",))
    ),
    "mpg": lambda: _remuxed(Load("mpg_mpeg2", "vob", ".mpg", unit=mpeg_unit)),
    "wmv": lambda: _remuxed(Load("wmv_wmv2", "asf", ".wmv", chapters=True)),
    "flv": lambda: _remuxed(Load("flv_h264", "flv", ".flv", unit=avc_unit)),
    "ogv": lambda: _remuxed(Load("ogv_vp8", "ogv", ".ogv", chapters=True)),
    "mxf": lambda: _remuxed(Load("mxf_mpeg2", "mxf", ".mxf", unit=mpeg_unit)),
    "h264": _raw,
    "dav": _dav,
}  # fmt: skip


def holds_planted(data: bytes) -> bool:
    """Whether the text stands anywhere, in bytes or in UTF-16 as Windows Media and MXF write it."""
    return any(text in data for text in (PLANTED, TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be")))


@cache
def laden_video(name: str) -> Video:
    """One of them; made once."""
    return LADEN_VIDEOS[name]()
