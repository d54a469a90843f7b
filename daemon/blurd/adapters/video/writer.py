"""Muxing a copy: pictures, their times, how they lie, and nothing that the source says beside them.

Invariants
* The encoder gets every frame with the time that the source's pass gave it; the container's clock can tell them apart.
* Nothing of the source's metadata is copied: tags, chapters, data, subtitles, captions in the pictures' own stream. Of
  sound, packets alone are copied, where the folder wants it.
* A copy is not much larger than its source: besides the quality there is a limit on the bit rate, unless the folder
  names a quality.

DIAGNOSTICS: `EquipmentError` with an outbound reason where the target can't be written, ENCODER_FAILED where FFmpeg
refuses the frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import av

from blurd.adapters.trouble import writing
from blurd.adapters.video.demux import path_of
from blurd.adapters.video.encoder import configure, options_for, prepared
from blurd.adapters.video.frame import VideoFrame
from blurd.adapters.video.nature import Nature
from blurd.adapters.video.sound import Sound
from blurd.adapters.video.splice import Spliced
from blurd.adapters.video.target import ENCODERS, Target
from blurd.core.containers import Format
from blurd.errors import EquipmentError, Reason

_MP4_MUXERS: Final = frozenset({"mp4", "mov", "3gp"})


def write_video(
    nature: Nature,
    target: Target,
    frames: Iterator[VideoFrame],
    source: tuple[BinaryIO, Format],
    file: BinaryIO,
    taken: Sequence[range] = (),
) -> None:
    """Write a copy to `file`: `frames` are encoded, the runs of frames `taken` come from `source` as they are.

    So does the sound, where the policy copies it.
    """
    options = {"fflags": "+bitexact"}
    if target.muxer in _MP4_MUXERS:
        options |= {"movflags": "+faststart", "write_tmcd": "0"}
    with _encoding():
        output = av.open(path_of(file), "w", format=target.muxer, options=options)
        try:
            pictures = Spliced(output, nature, target, source, taken) if taken else Encoded(output, nature, target)
            sound = Sound(*source, output) if target.policy.audio == "copy" else None
            for time_s in pictures.write(frames):
                if sound is not None:
                    sound.write_until(time_s)
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


class Encoded:
    """The pictures of a copy that is encoded from its first frame to its last."""

    def __init__(self, output: Any, nature: Nature, target: Target) -> None:
        self._output, self._nature = output, nature
        name = ENCODERS[target.codec]
        self._stream = output.add_stream(name, rate=nature.rate, options=options_for(nature, target))
        self._stream.time_base = nature.tick
        configure(self._stream.codec_context, nature, target)
        if target.codec == "h265" and target.muxer in _MP4_MUXERS:
            self._stream.codec_context.codec_tag = "hvc1"
        if nature.matrix is not None:
            self._stream.set_display_matrix(nature.matrix)
        self._lengths: dict[int, int] = {}

    def write(self, frames: Iterator[VideoFrame]) -> Iterator[float]:
        """Write all frames; gives the time of each."""
        for frame in frames:
            self._lengths[frame.ticks] = self._nature.length_ticks(frame.picture.duration)
            self._mux(self._stream.encode(prepared(frame, self._nature, self._stream.pix_fmt)))
            yield frame.time_s
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Sequence[Any]) -> None:
        """Mux with the source's durations: encoders guess them from the rate."""
        for packet in packets:
            packet.duration = self._lengths.pop(packet.pts, packet.duration)
            self._output.mux(packet)
