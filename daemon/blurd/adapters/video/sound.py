"""The sound of a copy, where a folder keeps it: packets as they are, or encoded anew where those don't fit.

Invariants
* Sound streams alone are taken; their tags are not.
* Sound is written no further ahead than the pictures are, so memory does not grow with the length.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from blurd.adapters.video.demux import opened, reading
from blurd.core.containers import Format

_AHEAD_S: Final = 1.0
_NEW_CODEC: Final = {"webm": "libopus"}
_KEPT: Final = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
    "mov": frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}),
    "3gp": frozenset({"aac", "amrnb", "amr_nb", "amrwb"}),
    "webm": frozenset({"opus", "vorbis"}),
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "flac", "opus", "vorbis", "pcm_s16le", "mp2", "dca"}),
}
_SAME_AS: Final = {"mp3float": "mp3", "libopus": "opus", "libvorbis": "vorbis"}


class Sound:
    """The sound streams of a source, on their way into an output."""

    def __init__(self, file: BinaryIO, code: Format, output: Any) -> None:
        self._output, self._file = output, file
        self._context = opened(file, code)
        self._container = self._context.__enter__()
        self._streams = {}
        for stream in self._container.streams.audio:
            name = stream.codec_context.name if stream.codec_context is not None else ""
            if _SAME_AS.get(name, name) in _KEPT[output.format.name.split(",")[0]]:
                self._streams[stream.index] = (output.add_stream_from_template(stream), False)
            elif name:
                codec = _NEW_CODEC.get(output.format.name, "aac")
                made = output.add_stream(codec, rate=48_000, layout=_layout(stream))
                self._streams[stream.index] = (made, True)
        self._packets = self._read()
        self._next: Any = next(self._packets, None)

    def _read(self) -> Iterator[Any]:
        chosen = [stream for stream in self._container.streams.audio if stream.index in self._streams]
        if not chosen:
            return
        packets = self._container.demux(chosen)
        while True:
            with reading("read the sound", self._file):
                packet = next(packets, None)
            if packet is None:
                return
            yield packet

    def write_until(self, time_s: float | None) -> None:
        """Write what sounds before this time and a little after; all that is left where it is None."""
        while self._next is not None:
            packet = self._next
            starts_s = float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
            if time_s is not None and starts_s > time_s + _AHEAD_S:
                return
            self._write(packet)
            self._next = next(self._packets, None)

    def _write(self, packet: Any) -> None:
        stream, anew = self._streams[packet.stream.index]
        if anew:
            with reading("decode the sound", self._file):
                frames = packet.decode()
            for frame in frames:
                self._output.mux(stream.encode(frame))
        elif packet.size and packet.dts is not None:
            packet.stream = stream
            self._output.mux(packet)

    def close(self) -> None:
        """Write what the encoders still hold, and close the source."""
        for stream, anew in self._streams.values():
            if anew:
                self._output.mux(stream.encode(None))
        self._context.__exit__(None, None, None)


def _layout(stream: Any) -> str:
    return "mono" if stream.codec_context.channels == 1 else "stereo"
