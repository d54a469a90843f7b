"""How a copy's pictures are encoded: quality, rate, colours, and what the encoder must not add."""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

import av
from av.codec.context import Flags

from blurd.adapters.video.frame import VideoFrame
from blurd.adapters.video.nature import Nature
from blurd.adapters.video.pixels import laid_out
from blurd.adapters.video.target import Target

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


def configure(context: Any, nature: Nature, target: Target) -> None:
    """Tell an encoder that is not open yet what its pictures are."""
    context.width, context.height, context.pix_fmt = nature.width_px, nature.height_px, layout_for(nature, target)
    context.time_base = nature.tick
    context.thread_type = "AUTO"
    context.sample_aspect_ratio = nature.sample_aspect
    colour = nature.colour
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    context.colorspace, context.color_range = colour.matrix, colour.range
    if nature.interlaced:
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me


def prepared(frame: VideoFrame, nature: Nature, layout: str) -> av.VideoFrame:
    """The picture as an encoder takes it: in its layout, at the frame's time, of a kind that the encoder chooses."""
    picture = laid_out(frame.picture, layout)
    picture.pts, picture.time_base = frame.ticks, Fraction(nature.tick)
    picture.pict_type = 0
    return picture


def layout_for(nature: Nature, target: Target) -> str:
    """The layout that the encoder takes; NV12 and grey are not for every encoder."""
    layout = nature.layout
    if target.codec in ("vp9", "av1"):
        layout = {"nv12": "yuv420p", "gray": "yuv420p", "gray10le": "yuv420p10le"}.get(layout, layout)
        layout = layout.replace("yuvj", "yuv")
    elif target.codec == "h265":
        layout = {"nv12": "yuv420p"}.get(layout, layout)
    return "yuv420p10le" if target.codec == "av1" else layout


def options_for(nature: Nature, target: Target) -> dict[str, str]:
    """The encoder's options: quality, distance of key pictures, limit of the rate."""
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
