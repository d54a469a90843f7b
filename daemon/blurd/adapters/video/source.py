"""A video as a `MediaSource`: the same frames in every pass, each accounted for.

Invariants
* Every packet that is to be shown becomes one frame, or the file is rejected; but for leading pictures after the first
  key picture, which no player shows (`PacketIndex.leading`). A frame that the decoder marks as damaged is rejected
  too. Where the folder says `damaged = "mask"`, such frames are replaced by grey ones in their places instead.
* Every frame has the size of the first; how the pictures lie is the first frame's to say.
* Times are those of the stream, mended by `core/timing` alone, the same in every pass.
* One frame at a time is in our hands; the decoder holds a bounded number more.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Final

import av

from blurd.adapters.video import compare
from blurd.adapters.video.demux import PacketIndex, index_packets, opened, reading, video_stream
from blurd.adapters.video.frame import VideoFrame
from blurd.adapters.video.nature import Nature, nature_of
from blurd.adapters.video.pixels import blank, laid_out
from blurd.adapters.video.target import Target, VideoPolicy, choose_target
from blurd.adapters.video.writer import write_video
from blurd.core.containers import Format
from blurd.core.timing import FrameClock
from blurd.core.upright import Upright, lying
from blurd.errors import InputError, Reason
from blurd.records import MediaFacts, MediaKind

_ONE_FRAME_A_PACKET: Final = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mjpeg", "prores", "ffv1", "rawvideo", "mpeg1video"}
)
"""Codecs in which every shown packet is one frame; in others, fewer frames than packets are no sign of damage."""
_LONGEST_FRAME_TICKS: Final = 2**31 - 1
_LONGEST_FRAME_S: Final = 864_000.0
_DECODING_TIMES: Final = frozenset({Format.AVI, Format.ASF})
"""Families whose times are those of decoding, which frames take along when they are put in order."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """How large a video may be: pixels of one frame, and frames."""

    max_pixels: int
    max_frames: int


class VideoSource:
    """An opened video; `MediaSource` for moving pictures."""

    def __init__(self, file: BinaryIO, code: Format, policy: VideoPolicy, limits: VideoLimits) -> None:
        self._file, self._code, self._policy = file, code, policy
        self._index: PacketIndex = index_packets(file, code)
        if self._index.shown > limits.max_frames:
            raise InputError(Reason.TOO_LARGE, "open the video")
        self._counted: int | None = None
        self._duration_s: float | None = None
        self._nature = self._look(limits)
        self._target: Target = choose_target(file, code, self._nature, policy)

    def _look(self, limits: VideoLimits) -> Nature:
        """What the first decodable frame and the stream's header say."""
        with opened(self._file, self._code) as container:
            stream = video_stream(container)
            context = stream.codec_context
            if context.width * context.height > limits.max_pixels:
                raise InputError(Reason.TOO_MANY_PIXELS, "open the video")
            found = self._decoded(container, stream, passes_over=True)
            whole = (frame for frame in found if not frame.is_corrupt)
            first = next(whole, None)
            if first is None:
                raise InputError(Reason.DAMAGED, "open the video")
            return nature_of(stream, first, self._index)

    @cached_property
    def _lie(self) -> Upright:
        nature = self._nature
        return lying(nature.width_px, nature.height_px, nature.matrix, float(nature.sample_aspect))

    @property
    def facts(self) -> MediaFacts:
        """Format, upright size, frames (the packets' number until a pass has counted) and duration."""
        return self._facts(self._code.value)

    @property
    def output_facts(self) -> MediaFacts:
        """What the copy will be."""
        return self._facts(self._target.format.value)

    def _facts(self, code: str) -> MediaFacts:
        width, height = self._lie.size_px
        frames = self._index.shown if self._counted is None else self._counted
        duration_s = self._nature.duration_s if self._duration_s is None else self._duration_s
        return MediaFacts(MediaKind.VIDEO, code, self._target.suffix, width, height, frames, duration_s)

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame in order of presentation."""
        nature, lie = self._nature, self._lie
        clock = FrameClock(nature.tick_s, nature.nominal_ticks)
        count = lost = first_ticks = end_ticks = ticks = 0
        with opened(self._file, self._code) as container:
            stream = video_stream(container)
            for stamp, picture in self._complete(self._decoded(container, stream, passes_over=len(self._places) > 0)):
                if picture is None:
                    shown, lost = nature.empty(), lost + 1
                    blank(shown)
                else:
                    if (picture.width, picture.height) != (nature.width_px, nature.height_px):
                        raise InputError(Reason.SIZE_CHANGES, "decode")
                    shown = laid_out(picture, nature.layout)
                before, ticks = ticks, clock.time(self._stamp(count, stamp))
                first_ticks = first_ticks if count else ticks
                end_ticks = ticks + nature.length_ticks(shown.duration)
                self._check_length(max(ticks - before if count else 0, end_ticks - ticks))
                yield VideoFrame(shown, lie, count, ticks, nature.tick_s, blank=picture is None)
                count += 1
        if count == lost or (self._counted is not None and count != self._counted):
            raise InputError(Reason.DAMAGED, "decode")
        self._counted = count
        if self._index.timed and count != len(self._index.stamps):  # the packets' times are not the frames'
            self._duration_s = (end_ticks - first_ticks) * nature.tick_s

    def frame_at(self, share: float) -> VideoFrame | None:
        """The frame after this share (0 to less than 1) of all frames, for a look; its time counts from the first.

        Reached without decoding what lies before its group. None where the container has no times to go by.
        """
        stamps, nature = self._index.stamps, self._nature
        if not stamps:
            return None
        number = int(len(stamps) * share)
        with opened(self._file, self._code) as container, reading("decode", self._file):
            stream = video_stream(container)
            container.seek(stamps[number], stream=stream)
            found = (frame for frame in container.decode(stream) if frame.pts is not None)
            picture = next((frame for frame in found if frame.pts >= stamps[number]), None)
            if picture is None:
                return None
            ticks = stamps[number] - stamps[0]
            return VideoFrame(laid_out(picture, nature.layout), self._lie, number, ticks, nature.tick_s)

    def _check_length(self, ticks: int) -> None:
        """No container can say that a frame is shown for so long, and no recorder meant it."""
        if ticks > _LONGEST_FRAME_TICKS or ticks * self._nature.tick_s > _LONGEST_FRAME_S:
            raise InputError(Reason.DAMAGED, "decode")

    def _stamp(self, count: int, stamp: int | None) -> int | None:
        """A frame's own time; where the container notes when packets are decoded, the time of its place in order."""
        index = self._index
        if self._code in _DECODING_TIMES and count < len(index.stamps):
            return index.stamps[count]
        return stamp if index.timed else None

    @property
    def _is_one_to_one(self) -> bool:
        return self._nature.codec in _ONE_FRAME_A_PACKET and not self._nature.interlaced

    @property
    def _places(self) -> Sequence[int]:
        """Where damage is masked, the times of all frames that there must be; empty where packets don't tell."""
        known = self._is_one_to_one and self._code not in _DECODING_TIMES
        return self._index.stamps if known and self._policy.damaged == "mask" else ()

    def _decoded(self, container: Any, stream: Any, *, passes_over: bool) -> Iterator[av.VideoFrame]:
        """Frames as the decoder gives them, damaged ones too where the folder masks them.

        A packet of which nothing can be decoded is passed over then, where its place is known, and rejected else.
        """
        masks_damage = self._policy.damaged == "mask"
        stream.thread_type = "AUTO"
        packets = container.demux(stream)
        while True:
            with reading("decode", self._file):
                packet = next(packets, None)
            if packet is None:
                return
            try:
                with reading("decode", self._file):
                    found = packet.decode()
            except InputError:
                if not masks_damage or not passes_over:
                    raise
                continue
            for frame in found:
                if frame.is_corrupt and not masks_damage:
                    raise InputError(Reason.DAMAGED, "decode")
                yield frame

    def _complete(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int | None, av.VideoFrame | None]]:
        """Each frame with its stamp; None for one that is damaged, or missing where its place is known."""
        index, expected = self._index, self._places
        place = decoded = 0
        for frame in frames:
            stamp = frame.pts
            while stamp is not None and place < len(expected) and expected[place] < stamp:
                yield expected[place], None
                place += 1
            place += place < len(expected) and expected[place] == stamp
            yield stamp, None if frame.is_corrupt else frame
            decoded += 1
        for missing in expected[place:]:
            yield missing, None
        if self._is_one_to_one and not len(expected) and decoded < index.shown - index.leading:
            raise InputError(Reason.DAMAGED, "decode")

    def write(self, frames: Iterator[VideoFrame], target: BinaryIO) -> None:
        """Encode frames of this source, with its sound where the folder keeps it."""
        write_video(self._nature, self._target, frames, (self._file, self._code), target)

    def same_time(self, time_s: float, found: VideoFrame) -> bool:
        """True where `found` is shown at this time, as far as the coarser clock of source and copy tells."""
        half_tick_s = max(self._nature.tick_s, found.tick_s) / 2
        return math.isclose(time_s, found.time_s, rel_tol=0, abs_tol=half_tick_s)

    def compare(self, proof: compare.FrameProof, found: VideoFrame) -> bool:
        """True where `found`, decoded from the copy, is the frame that gave the proof, as far as coding allows."""
        return compare.agree(proof, found.picture)
