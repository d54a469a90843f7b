"""Encoding and muxing a copy: pictures, their times, how they lie, and nothing that the source says beside them.

Invariants
* The encoder gets every frame with the time that the source's pass gave it; the container's clock can tell them apart.
* Nothing of the source's metadata is copied: tags, chapters, data, subtitles, captions in the pictures' own stream. Of
  sound, packets alone are copied, where the folder wants it.
* A copy is not much larger than its source: besides the quality there is a limit on the bit rate, unless the folder
  names a quality.

DIAGNOSTICS: `EquipmentError` with an outbound reason where the target can't be written, ENCODER_FAILED where FFmpeg
refuses the frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import av
from av.codec.context import Flags

from blurd.adapters.trouble import writing
from blurd.adapters.video.demux import path_of
from blurd.adapters.video.frame import VideoFrame
from blurd.adapters.video.nature import Nature
from blurd.adapters.video.pixels import laid_out
from blurd.adapters.video.sound import Sound
from blurd.adapters.video.target import ENCODERS, Target
from blurd.core.containers import Format
from blurd.errors import EquipmentError, Reason

_QUALITY: Final = MappingProxyType({"h264": 20, "h265": 24, "vp9": 30, "av1": 28})
"""The default constant quality factor of each codec's encoder."""
_FIXED_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "h264": {"a53cc": "0"},
        "h265": {"a53cc": "0", "x265-params": "log-level=none"},
        "vp9": {"deadline": "good", "cpu-used": "5", "row-mt": "1", "b": "0"},
        "av1": {"svtav1-params": "lp=0"},
    }
)
_EFFICIENT: Final = frozenset({"hevc", "av1", "libdav1d", "vp9"})
_ROOM: Final = 1.5
_ROOM_FOR_EFFICIENT: Final = 2.5
_LEAST_BITS_PER_SECOND: Final = 300_000
_KEY_EVERY_S: Final = 5
_INTRA_CODECS: Final = frozenset({"mjpeg", "rawvideo", "ffv1", "prores"})
_MP4_MUXERS: Final = frozenset({"mp4", "mov", "3gp"})


def write_video(
    nature: Nature, target: Target, frames: Iterator[VideoFrame], source: tuple[BinaryIO, Format], file: BinaryIO
) -> None:
    """Encode `frames` to `file`; sound comes from `source` where the policy copies it."""
    options = {"fflags": "+bitexact"}
    if target.muxer in _MP4_MUXERS:
        options |= {"movflags": "+faststart", "write_tmcd": "0"}
    with _encoding():
        output = av.open(path_of(file), "w", format=target.muxer, options=options)
        try:
            stream = _add_stream(output, nature, target)
            sound = Sound(*source, output) if target.policy.audio == "copy" else None
            lengths: dict[int, int] = {}
            for frame in frames:
                _encode(output, stream, frame, nature, lengths)
                if sound is not None:
                    sound.write_until(frame.time_s)
            _mux(output, stream.encode(None), lengths)
            if sound is not None:
                sound.write_until(None)
                sound.close()
        finally:
            output.close()


@contextmanager
def _encoding() -> Iterator[None]:
    """FFmpeg's errors over a copy, as ours."""
    try:
        with writing("write the copy"):
            yield
    except av.error.MemoryError:
        raise MemoryError from None
    except av.error.FFmpegError as error:
        raise EquipmentError(Reason.ENCODER_FAILED, "write the copy", f"{type(error).__name__}.") from None


def _add_stream(output: Any, nature: Nature, target: Target) -> Any:
    stream = output.add_stream(ENCODERS[target.codec], rate=nature.rate, options=_options(nature, target))
    stream.width, stream.height, stream.pix_fmt = nature.width_px, nature.height_px, _layout(nature, target)
    stream.time_base = nature.tick
    context = stream.codec_context
    context.time_base = nature.tick
    context.thread_type = "AUTO"
    context.sample_aspect_ratio = nature.sample_aspect
    colour = nature.colour
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    context.colorspace, context.color_range = colour.matrix, colour.range
    if nature.interlaced:
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
    if target.codec == "h265" and target.muxer in _MP4_MUXERS:
        context.codec_tag = "hvc1"
    if nature.matrix is not None:
        stream.set_display_matrix(nature.matrix)
    return stream


def _layout(nature: Nature, target: Target) -> str:
    """The layout that the encoder takes; NV12 and grey are not for every encoder."""
    layout = nature.layout
    if target.codec in ("vp9", "av1"):
        layout = {"nv12": "yuv420p", "gray": "yuv420p", "gray10le": "yuv420p10le"}.get(layout, layout)
        layout = layout.replace("yuvj", "yuv")
    elif target.codec == "h265":
        layout = {"nv12": "yuv420p"}.get(layout, layout)
    return "yuv420p10le" if target.codec == "av1" else layout


def _options(nature: Nature, target: Target) -> dict[str, str]:
    policy = target.policy
    quality = _QUALITY[target.codec] if policy.quality is None else policy.quality
    keys = max(1, min(250, round(nature.rate * _KEY_EVERY_S)))
    options = {**_FIXED_OPTIONS[target.codec], "crf": str(quality), "g": str(keys)}
    if quality == 0:
        options |= _lossless(nature, target)
    if target.codec in ("h264", "h265"):
        options["preset"] = policy.preset
        if policy.quality is None and nature.codec not in _INTRA_CODECS:
            room = _ROOM_FOR_EFFICIENT if nature.codec in _EFFICIENT else _ROOM
            most = max(_LEAST_BITS_PER_SECOND, round(room * nature.bits_per_second))
            options |= {"maxrate": str(most), "bufsize": str(2 * most)}
    return options


def _lossless(nature: Nature, target: Target) -> dict[str, str]:
    if target.codec == "h265":
        return {"x265-params": "log-level=none:lossless=1"}
    if target.codec == "vp9":
        return {"lossless": "1"}
    return {"x264-params": "crf=-12"} if target.codec == "h264" and nature.is_deep else {}


def _encode(output: Any, stream: Any, frame: VideoFrame, nature: Nature, lengths: dict[int, int]) -> None:
    picture = frame.picture
    lengths[frame.ticks] = nature.length_ticks(picture.duration)
    picture = laid_out(picture, stream.pix_fmt)
    picture.pts, picture.time_base = frame.ticks, Fraction(nature.tick)
    picture.pict_type = 0
    _mux(output, stream.encode(picture), lengths)


def _mux(output: Any, packets: Sequence[Any], lengths: dict[int, int]) -> None:
    """Mux with the source's durations: encoders guess them from the rate."""
    for packet in packets:
        packet.duration = lengths.pop(packet.pts, packet.duration)
        output.mux(packet)
