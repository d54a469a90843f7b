"""A copy put together of groups of pictures taken over as they are coded, and of pictures encoded anew between them.

Invariants
* All groups, old and new, begin with a picture that needs nothing before it, and stand in order.
* The header holds the parameter sets of both; the new ones have numbers that the old ones leave free, the highest
  profile and level stand first. Nothing but pictures is in the packets.
* Every frame has the time and length that it has in the source. Times of decoding are those of the frames that are
  shown `delay` places earlier, which fits both kinds.
"""

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final

import av
from av.codec.context import Flags

from blurd.adapters.video.demux import opened, reading, video_stream
from blurd.adapters.video.encoder import configure, layout_for, options_for, prepared
from blurd.adapters.video.frame import VideoFrame
from blurd.adapters.video.groups import Groups
from blurd.adapters.video.nature import Colour, Nature
from blurd.adapters.video.target import ENCODERS, Target
from blurd.core import h264
from blurd.core.containers import Format
from blurd.errors import EquipmentError, Reason

_LAYOUTS: Final = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})
_ENCODER_DELAY: Final = 2
"""By how many places x264 decodes a picture before it is shown, at most: B-frames may be references, one deep."""
_MOST_NUMBERS: Final = 32

Source = tuple[BinaryIO, Format]


def can_take_over(nature: Nature, target: Target, source: Source) -> bool:
    """True where the source's groups may stand in such a copy, beside pictures that are encoded for it."""
    groups = nature.index.groups
    if groups is None or target.codec != "h264" or target.policy.untouched != "copy" or nature.interlaced:
        return False
    if nature.layout not in _LAYOUTS or layout_for(nature, target) != nature.layout or _free_number(groups) is None:
        return False
    with _template(groups.sets, source, groups) as stream:
        context = stream.codec_context
        colour = Colour(
            int(context.color_primaries), int(context.color_trc), int(context.colorspace), int(context.color_range)
        )
        size_px = context.width, context.height
        return colour == nature.colour and size_px == (nature.width_px, nature.height_px)


class Spliced:
    """The pictures of such a copy. `taken` are the groups that come from the source."""

    def __init__(self, output: Any, nature: Nature, target: Target, source: Source, taken: Sequence[range]) -> None:
        groups = nature.index.groups
        if groups is None:
            raise EquipmentError(Reason.ENCODER_FAILED, "write the copy")
        self._output, self._nature, self._target, self._source = output, nature, target, source
        self._groups, self._taken = groups, taken
        self._is_whole = sum(map(len, taken)) == groups.frames
        self._level = groups.sequence.level
        self._new_sets: tuple[bytes, ...] = () if self._is_whole else self._sets_of(self._encoder())
        self._delay = groups.delay if self._is_whole else max(groups.delay, _ENCODER_DELAY)
        with _template((*self._new_sets, *groups.sets), source, groups) as template:
            self._stream = output.add_stream_from_template(template)
        self._stream.time_base = nature.tick
        self._stream.sample_aspect_ratio = nature.sample_aspect
        if nature.matrix is not None:
            self._stream.set_display_matrix(nature.matrix)
        self._place = 0

    def write(self, frames: Iterator[VideoFrame]) -> Iterator[float]:
        """Write all pictures; `frames` are those that are not taken over. Gives the time of each."""
        with closing(coded_pictures(self._source, self._taken)) as coded:
            done = 0
            for group in (*self._taken, range(self._groups.frames, self._groups.frames)):
                if group.start > done:
                    yield from self._encode(islice(frames, group.start - done))
                for packet, pictures in islice(coded, len(group)):
                    self._mux(pictures, packet.pts, packet.duration or 0, is_key=packet.is_keyframe)
                    yield float(packet.pts * self._nature.tick)
                done = group.stop
        if next(frames, None) is not None or self._place != self._groups.frames:
            raise EquipmentError(Reason.ENCODER_FAILED, "write the copy")

    def _encode(self, frames: Iterator[VideoFrame]) -> Iterator[float]:
        """Encode one run of frames, beginning a group."""
        encoder, lengths = self._encoder(), dict[int, int]()

        def write(packets: Sequence[Any]) -> None:
            for packet in packets:
                pictures = h264.pictures_of(bytes(packet), 0)
                self._mux(pictures, packet.pts, lengths.pop(packet.pts), is_key=packet.is_keyframe)

        if self._sets_of(encoder) != self._new_sets:
            raise EquipmentError(Reason.ENCODER_FAILED, "write the copy")
        for frame in frames:
            lengths[frame.ticks] = self._nature.length_ticks(frame.picture.duration)
            write(encoder.encode(prepared(frame, self._nature, encoder.pix_fmt)))
            yield frame.time_s
        write(encoder.encode(None))

    def _mux(self, pictures: Sequence[bytes], pts: int, duration: int, *, is_key: bool) -> None:
        packet = av.Packet(h264.with_start_codes(pictures))
        packet.stream, packet.time_base = self._stream, self._nature.tick
        packet.pts, packet.dts, packet.duration = pts, self._decoding_time(), duration
        packet.is_keyframe = is_key
        self._place += 1
        self._output.mux(packet)

    def _decoding_time(self) -> int:
        stamps, place = self._nature.index.stamps, self._place - self._delay
        return stamps[place] if place >= 0 else stamps[0] + place * self._nature.nominal_ticks

    def _encoder(self) -> Any:
        """A new encoder, opened, whose sets have free numbers and a level that fits the source's too."""
        encoder: Any = av.CodecContext.create(ENCODERS["h264"], "w")
        configure(encoder, self._nature, self._target)
        encoder.framerate = self._nature.rate
        options = options_for(self._nature, self._target)
        number = f"sps-id={_free_number(self._groups)}"
        options["x264-params"] = f"{options['x264-params']}:{number}" if "x264-params" in options else number
        encoder.options = options
        encoder.flags |= Flags.global_header
        encoder.open()
        return encoder

    def _sets_of(self, encoder: Any) -> tuple[bytes, ...]:
        """The encoder's parameter sets, with a level from which on a decoder can show the source's groups too."""
        found = []
        for unit in h264.units(encoder.extradata, 0):
            kind = h264.kind_of(unit)
            if kind == h264.SEQUENCE_SET:
                level = max(h264.sequence_set(unit).level, self._level)
                found.append(unit[:3] + bytes([level]) + unit[4:])
            elif kind == h264.PICTURE_SET:
                found.append(unit)
        return tuple(found)


def coded_pictures(source: Source, groups: Sequence[range]) -> Generator[tuple[Any, tuple[bytes, ...]]]:
    """The packets of these groups, each with the units of its picture."""
    with opened(*source) as container, reading("read the packets", source[0]):
        stream = video_stream(container)
        length_bytes, _ = h264.read_header(stream.codec_context.extradata or b"")
        packets = (packet for packet in container.demux(stream) if packet.size)
        place = 0
        for group in groups:
            for packet in islice(packets, group.start - place, len(group) + group.start - place):
                yield packet, h264.pictures_of(bytes(packet), length_bytes)
            place = group.stop


@contextmanager
def _template(sets: Sequence[bytes], source: Source, groups: Groups) -> Iterator[Any]:
    """A stream of one picture with these parameter sets: what a container's header is made from."""
    first = groups.starts[0]
    (_, pictures), *_ = coded_pictures(source, (range(first, first + 1),))
    stream = io.BytesIO(h264.with_start_codes((*sets, *pictures)))
    with reading("read the packets", source[0]), av.open(stream, format="h264") as container:
        yield container.streams.video[0]


def _free_number(groups: Groups) -> int | None:
    """A number that no set of the source has."""
    used = {h264.sequence_set(unit).number for unit in groups.sets if h264.kind_of(unit) == h264.SEQUENCE_SET}
    used |= {h264.picture_set(unit).number for unit in groups.sets if h264.kind_of(unit) == h264.PICTURE_SET}
    return next((number for number in range(_MOST_NUMBERS) if number not in used), None)
