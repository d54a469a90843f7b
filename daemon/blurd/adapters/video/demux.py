"""Opening a video file: its stream of pictures, and what the container says of the packets.

Invariants
* The format is the one that the content says; FFmpeg neither guesses nor opens anything beside the file.
* Nothing here decodes, but FFmpeg itself looks at the first packets to learn what the streams hold.

DIAGNOSTICS: `InputError` with DAMAGED (FFmpeg can't read it), NO_VIDEO, SEVERAL_VIDEOS, UNSUPPORTED_FORMAT;
`EquipmentError(READ_ERROR)` where the disk fails.
"""

import itertools
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import av
import av.logging
from av.stream import Disposition

from blurd.adapters.video.groups import GroupFinder, Groups
from blurd.core.containers import Format
from blurd.errors import EquipmentError, InputError, Reason

DEMUXERS: Final = MappingProxyType(
    {
        Format.MP4: "mov",
        Format.MATROSKA: "matroska",
        Format.AVI: "avi",
        Format.MPEG_TS: "mpegts",
        Format.MPEG_PS: "mpeg",
        Format.MPEG_ES: "mpegvideo",
        Format.H264_ES: "h264",
        Format.HEVC_ES: "hevc",
        Format.ASF: "asf",
        Format.FLV: "flv",
        Format.OGG: "ogg",
        Format.DHAV: "dhav",
        Format.MXF: "mxf",
        Format.MPEG4_ES: "m4v",
        Format.MJPEG_ES: "mjpeg",
    }
)
"""FFmpeg's name of the reader for each family."""

_MAX_STREAMS: Final = 64
_NO_LOG: Final = -8
_BLOCK_BYTES: Final = 1 << 20
_SHOWN_VP8: Final = 0x10
"""The bit of a VP8 packet's first byte that is set where it is shown (RFC 6386, 9.1)."""


# FFmpeg's threads must not wait for Python to write a log line while Python waits for them: that is a deadlock.
av.logging.restore_default_callback()
av.logging.set_libav_level(_NO_LOG)


def path_of(file: BinaryIO) -> str:
    """A path by which FFmpeg opens this very file."""
    return f"/proc/self/fd/{file.fileno()}"


@contextmanager
def reading(operation: str, file: BinaryIO) -> Iterator[None]:
    """FFmpeg's errors over a source, as ours."""
    try:
        yield
    except av.error.MemoryError:
        raise MemoryError from None
    except av.error.DecoderNotFoundError:
        raise InputError(Reason.UNSUPPORTED_FORMAT, operation) from None
    except (av.error.FFmpegError, OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and not _is_readable(file):
            raise EquipmentError(Reason.READ_ERROR, operation) from None
        raise InputError(Reason.DAMAGED, operation) from None


def _is_readable(file: BinaryIO) -> bool:
    """Whether the disk gives every byte: FFmpeg calls broken content an input error too."""
    offset = 0
    try:
        while block := os.pread(file.fileno(), _BLOCK_BYTES, offset):
            offset += len(block)
    except OSError:
        return False
    return True


@contextmanager
def opened(file: BinaryIO, code: Format) -> Iterator[Any]:
    """The file as an FFmpeg container, closed afterwards."""
    with reading("open the video", file):
        options = {"protocol_whitelist": "file"}
        container = av.open(path_of(file), format=DEMUXERS[code], options=options, metadata_errors="replace")
    try:
        yield container
    finally:
        container.close()


def video_stream(container: Any) -> Any:
    """The one stream of moving pictures; cover pictures and thumbnails don't count."""
    if len(container.streams) > _MAX_STREAMS:
        raise InputError(Reason.UNSUPPORTED_FORMAT, "choose the stream")
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    found = [stream for stream in container.streams.video if not stream.disposition & still]
    if len(found) > 1:
        raise InputError(Reason.SEVERAL_VIDEOS, "choose the stream")
    if not found:
        raise InputError(Reason.NO_VIDEO, "choose the stream")
    if found[0].codec_context is None or not found[0].codec_context.name:
        raise InputError(Reason.UNSUPPORTED_FORMAT, "choose the stream")
    return found[0]


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """What the packets of the stream say, without decoding.

    `stamps` are the presentation times in ticks of those that are to be shown, rising; empty where some have none, or
    two the same. `timed` is False where some have none: then the frames' own are guesses. `leading` of them come after
    the first key picture in the file and before it in time: they need pictures from before the file's begin, and no
    player shows them. `groups` are those that can be taken over as they are, where there are such.
    """

    shown: int
    leading: int
    timed: bool
    stamps: "array[int]"
    last_duration: int
    payload_bytes: int
    groups: Groups | None = None


def index_packets(file: BinaryIO, code: Format) -> PacketIndex:
    """Read all packets of the stream of pictures once."""
    with opened(file, code) as container, reading("read the packets", file):
        stream = video_stream(container)
        is_vp8 = stream.codec_context.name == "vp8"
        finder = GroupFinder(stream.codec_context.extradata or b"") if stream.codec_context.name == "h264" else None
        stamps, last, complete, discarded = array("q"), (0, 0), True, False
        shown = leading = size = 0
        first_key: int | None = None
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            size += packet.size
            if packet.is_discard or (is_vp8 and not bytes(packet)[0] & _SHOWN_VP8):
                discarded = True
                continue
            if finder is not None:
                finder.add(shown, bytes(packet))
            shown += 1
            if packet.pts is None:
                complete = False
                continue
            if first_key is None and packet.is_keyframe:
                first_key = packet.pts
            leading += first_key is not None and packet.pts < first_key
            stamps.append(packet.pts)
            ends = (packet.pts, packet.duration or 0)
            last = max(last, ends) if len(stamps) > 1 else ends
    if shown == 0:
        raise InputError(Reason.NO_VIDEO, "read the packets")
    ordered = array("q", sorted(stamps)) if complete else array("q")
    if any(first == second for first, second in itertools.pairwise(ordered)):
        ordered = array("q")
    groups = finder.result(stamps, ordered) if finder is not None and not discarded else None
    return PacketIndex(shown, leading, complete, ordered, last[1], size, groups)
