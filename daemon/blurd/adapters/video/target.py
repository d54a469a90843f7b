"""What a copy is written as: the container and the codec, by the source's nature and the folder's policy.

| source | copy |
|---|---|
| MP4, M4V, MOV, 3GP | the same |
| Matroska | Matroska |
| WebM | WebM |
| all others: AVI, transport and programme streams, raw streams, ASF/WMV, FLV, Ogg, DAV | MP4 |

H.265 for H.265 sources, VP9 in WebM (AV1 where it has 10 bits, which this VP9 encoder lacks), H.264 else; a setting may
name another. Interlaced pictures are H.264 in any case: it alone keeps their fields.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, Final, Literal

from blurd.adapters.files import FileReader
from blurd.adapters.video.nature import Nature
from blurd.core.containers import Format
from blurd.core.containers.signatures import brands

CodecName = Literal["h264", "h265", "vp9", "av1"]
ENCODERS: Final = MappingProxyType({"h264": "libx264", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"})
"""FFmpeg's name of the encoder for each codec."""


@dataclass(frozen=True, slots=True)
class VideoPolicy:
    """What a folder says about videos.

    `quality` is the encoder's constant quality factor, None its default here. `untouched` says what becomes of pictures
    that carry no mask.
    """

    damaged: Literal["reject", "mask"] = "reject"
    audio: Literal["drop", "copy"] = "drop"
    codec: Literal["auto", "h264", "h265", "vp9"] = "auto"
    quality: int | None = None
    preset: str = "veryfast"
    untouched: Literal["copy", "encode"] = "copy"


@dataclass(frozen=True, slots=True)
class Target:
    """Container and codec of a copy, and how it is encoded."""

    muxer: str
    format: Format
    suffix: str
    codec: CodecName
    policy: VideoPolicy


def choose_target(file: BinaryIO, code: Format, nature: Nature, policy: VideoPolicy) -> Target:
    """The target for a source of this family and nature."""
    muxer, suffix = _container(file, code)
    chosen: CodecName = "h265" if nature.codec == "hevc" else "h264"
    if policy.codec != "auto":
        chosen = policy.codec
    if muxer == "webm":
        chosen = "vp9"
    if chosen == "vp9" and nature.is_deep:
        chosen = "av1"
    if muxer == "3gp" or nature.interlaced:
        chosen = "h264"
    if nature.interlaced and muxer == "webm":
        muxer, suffix = "matroska", ".mkv"
    written = Format.MATROSKA if muxer in ("webm", "matroska") else Format.MP4
    return Target(muxer, written, suffix, chosen, policy)


def _container(file: BinaryIO, code: Format) -> tuple[str, str]:
    head = FileReader(file).read_at(0, 4096)
    if code is Format.MATROSKA:
        return ("webm", ".webm") if b"\x42\x82\x84webm" in head[:128] else ("matroska", ".mkv")
    if code is not Format.MP4:
        return "mp4", ".mp4"
    if head[4:8] != b"ftyp":
        return "mov", ".mov"
    major, _ = brands(head)
    if major == b"qt  ":
        return "mov", ".mov"
    return ("3gp", ".3gp") if major.startswith((b"3gp", b"3gr", b"3gs", b"3ge", b"3gg")) else ("mp4", ".mp4")
