"""What a video is, beyond its packets: size, layout, colour, timing, and how its pictures lie.

Invariant: everything that a copy must keep of the stream as a whole stands here, and nothing else of it is copied.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import av
from av.sidedata.sidedata import Type

from blurd.adapters.video.demux import PacketIndex
from blurd.adapters.video.pixels import working_layout

_FALLBACK_RATE: Final = Fraction(25)
_RATES: Final = (Fraction(1, 3600), Fraction(1000))
"""Frame rates outside of this are no rates but a container's clock."""
_INTERLACED_ORDERS: Final = frozenset({2, 3, 4, 5})
"""FFmpeg's AVFieldOrder of interlaced material."""
_MATRIX_OF_CONVERSION: Final = 6
"""ITU-R BT.601, which FFmpeg's scaler makes of RGB where it is told nothing."""
_LIMITED: Final = 1
_SAYS_NOTHING_TICKS: Final = 1
_MATRIX: Final = struct.Struct("<9i")


@dataclass(frozen=True, slots=True)
class Colour:
    """FFmpeg's codes (those of ITU-T H.273) of primaries, transfer, matrix; range 1 is limited, 2 full."""

    primaries: int
    transfer: int
    matrix: int
    range: int


@dataclass(frozen=True)
class Nature:
    """A video's properties. `layout` is the one that its frames are worked in; `tick` the unit of its times.

    `matrix` is the display matrix, nine fixed-point numbers, where there is one.
    """

    codec: str
    layout: str
    width_px: int
    height_px: int
    sample_aspect: Fraction
    matrix: tuple[int, ...] | None
    colour: Colour
    interlaced: bool
    tick: Fraction
    rate: Fraction
    index: PacketIndex

    @cached_property
    def duration_s(self) -> float:
        """From the first frame's time to the end of the last."""
        stamps = self.index.stamps
        if not len(stamps):
            return float(self.index.shown / self.rate)
        return float((stamps[-1] - stamps[0] + self.length_ticks(self.index.last_duration)) * self.tick)

    @property
    def bits_per_second(self) -> float:
        """Mean rate of the pictures' packets."""
        return 8 * self.index.payload_bytes / max(self.duration_s, 0.1)

    @property
    def tick_s(self) -> float:
        """The unit of times, in seconds."""
        return float(self.tick)

    @property
    def nominal_ticks(self) -> int:
        """Ticks from one frame to the next, by the rate."""
        return max(1, round(1 / (self.rate * self.tick)))

    def length_ticks(self, stated: int | None) -> int:
        """How long a frame is shown: what is stated, or by the rate where that says nothing."""
        return stated if stated is not None and stated > _SAYS_NOTHING_TICKS else self.nominal_ticks

    @property
    def is_deep(self) -> bool:
        """True where samples have more than 8 bits."""
        return self.layout.endswith("10le")

    def empty(self) -> av.VideoFrame:
        """A new frame of this size and layout."""
        return av.VideoFrame(self.width_px, self.height_px, self.layout)


def nature_of(stream: Any, first: av.VideoFrame, index: PacketIndex) -> Nature:
    """The nature of a stream, by its header and its first frame."""
    context = stream.codec_context
    tick = Fraction(stream.time_base)
    rate = next((rate for rate in _rates(stream) if _RATES[0] <= rate <= _RATES[1]), _FALLBACK_RATE)
    return Nature(
        codec=context.name,
        layout=working_layout(first.format.name, odd=bool(first.width % 2 or first.height % 2)),
        width_px=first.width,
        height_px=first.height,
        sample_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
        matrix=_display_matrix(first),
        colour=_colour(first),
        interlaced=bool(first.interlaced_frame or context.field_order in _INTERLACED_ORDERS),
        tick=tick,
        rate=rate,
        index=index,
    )


def _colour(frame: av.VideoFrame) -> Colour:
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if frame.format.is_rgb or frame.format.has_palette:
        return Colour(primaries, transfer, _MATRIX_OF_CONVERSION, _LIMITED)
    return Colour(primaries, transfer, int(frame.colorspace), int(frame.color_range))


def _rates(stream: Any) -> list[Fraction]:
    found = (stream.average_rate, stream.guessed_rate, stream.base_rate, stream.codec_context.framerate)
    return [Fraction(rate) for rate in found if rate]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    try:
        side_data: Any = frame.side_data
        for item in side_data:
            if item.type is Type.DISPLAYMATRIX:
                return _MATRIX.unpack(bytes(item)[: _MATRIX.size])
    except ValueError:  # the library does not know every kind of side data of its own FFmpeg; then the angle must do
        return _turn(math.radians(frame.rotation)) if frame.rotation else None
    return None


def _turn(angle: float) -> tuple[int, ...]:
    """The display matrix of a turn counter-clockwise."""
    cosine, sine = (round(value * (1 << 16)) for value in (math.cos(angle), math.sin(angle)))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
