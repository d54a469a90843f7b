"""Video files made by the tests: one writer for all of them, and what is true of each. The list is in `variants.py`.

Invariants
* Every picture carries its number as a row of black and white squares at the top left, as stored: a test can tell which
  frame it decoded, whatever the timestamps say.
* What a `Video` promises was decided before it was written, not read back from it.
"""

import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from clips import Look, render
from media import Pixels, saved

os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 greets on stderr otherwise

STAMP_PX = 8
STAMP_BITS = 6
SAMPLE_RATE = 48_000

_DECODED_AS = {
    "libx264": "h264",
    "libx264rgb": "h264",
    "libx265": "hevc",
    "libvpx": "vp8",
    "libvpx-vp9": "vp9",
    "libsvtav1": "libdav1d",
    "prores_ks": "prores",
}
_QUICK: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libx264rgb": {"preset": "veryfast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "crf": "20"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "libsvtav1": {"preset": "11", "crf": "25"},
}
_ROUGH: Mapping[str, str] = {"b": "3M"}
"""For the older encoders, whose default rate leaves nothing of a picture."""


@dataclass(frozen=True, slots=True)
class Colour:
    """Code points of ISO/IEC 23091-2 (2 is unspecified); `full_range` None leaves the range untagged."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool | None = False

    @property
    def range_code(self) -> int:
        """FFmpeg's number: 0 unspecified, 1 limited, 2 full."""
        return 0 if self.full_range is None else 1 + self.full_range


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How frames become a file; every default is the usual MP4.

    `container` is FFmpeg's name of the muxer, `codec` that of the encoder. `times` are seconds, one for each frame;
    None means one frame after the other at `rate`. `rotation` is counter-clockwise in degrees, as players turn the
    picture; `mirrored` turns left and right around after it. `fields` is "tff", "bff" or empty. `streams` counts video
    streams, the second is the first mirrored.
    """

    container: str = "mp4"
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(25)
    times: Sequence[Fraction] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    muxing: Mapping[str, str] = field(default_factory=dict)
    rotation: int = 0
    mirrored: bool = False
    sample_aspect: Fraction = Fraction(1)
    colour: Colour | None = None
    fields: str = ""
    sound: str = ""
    streams: int = 1
    cover: bool = False
    tag: str = ""

    def upright(self, picture: Pixels) -> Pixels:
        """A stored picture as players show it."""
        turned = np.rot90(picture, self.rotation // 90)
        return turned[:, ::-1] if self.mirrored else turned

    def times_of(self, count: int) -> tuple[Fraction, ...]:
        """When each of `count` frames is shown."""
        if self.times is not None:
            return tuple(self.times[:count])
        return tuple(index / self.rate for index in range(count))


@dataclass(frozen=True, slots=True)
class Video:
    """A file and what is true of its first video stream.

    `times` is None where the container has none to give, or gives wrong ones that only the order of frames corrects.
    `pix_fmt` is what the decoder gives. `others` are the types of the streams beside it, "cover" for an attached
    picture. `first_stamp` is the first frame that is shown. `resized` says that the size changes midway.
    """

    name: str
    suffix: str
    data: bytes
    width: int
    height: int
    form: Form
    count: int
    times: tuple[Fraction, ...] | None
    pix_fmt: str
    others: tuple[str, ...] = ()
    first_stamp: int = 0
    resized: bool = False

    @property
    def codec(self) -> str:
        """The decoder's name."""
        return _DECODED_AS.get(self.form.codec, self.form.codec)


def write_clip(target: BinaryIO | Path, frames: Iterable[Pixels], form: Form = Form()) -> int:
    """Encode RGB pictures; returns how many there were. `target` may be a path or an open file."""
    place = str(target) if isinstance(target, Path) else target
    with av.open(place, "w", format=form.container, options=dict(form.muxing)) as output:
        tracks: list[_Track] = []
        sound = None
        count = 0
        for count, picture in enumerate(frames, start=1):
            if not tracks:
                tracks = [_Track(output, form, picture.shape) for _ in range(form.streams)]
                sound = output.add_stream(form.sound, rate=SAMPLE_RATE, layout="mono") if form.sound else None
                cover = _add_cover(output) if form.cover else None
            for number, track in enumerate(tracks):
                track.encode(picture[:, ::-1] if number else picture, count - 1)
            if count == 1 and cover is not None:
                _mux_cover(output, cover)
        for track in tracks:
            track.finish()
        if sound is not None:
            _encode_tone(output, sound, float(form.times_of(count)[-1] + 1 / form.rate))
    return count


class _Track:
    """One video stream that is being written."""

    def __init__(self, output: Any, form: Form, shape: tuple[int, ...]) -> None:
        self._output, self._form = output, form
        fast = {**_QUICK.get(form.codec, _ROUGH), **form.options}
        if form.codec == "libx265":
            fast["x265-params"] = "log-level=none:" + fast.get("x265-params", "")
        self._stream = stream = output.add_stream(form.codec, rate=form.rate, options=fast)
        stream.height, stream.width = shape[:2]
        stream.pix_fmt = form.pix_fmt
        context = stream.codec_context
        if form.codec.startswith("libvpx"):
            context.thread_count = 1  # its threads wait for each other by spinning, for ever where processors are few
        if form.tag:
            context.codec_tag = form.tag
        if form.times is not None:
            context.time_base = Fraction(1, 1000)
        if form.sample_aspect != 1:
            context.sample_aspect_ratio = form.sample_aspect
        if form.colour is not None:
            context.color_primaries, context.color_trc = form.colour.primaries, form.colour.transfer
            context.colorspace, context.color_range = form.colour.matrix, form.colour.range_code
        if form.rotation or form.mirrored:
            stream.set_display_rotation(form.rotation, hflip=form.mirrored)
        self._weave = _field_filter(shape, form) if form.fields else None

    def encode(self, picture: Pixels, index: int) -> None:
        form = self._form
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if self._weave is not None:
            self._weave.push(frame)
            frame = self._weave.pull()
        else:
            frame = _converted(frame, form)
        time = form.times[index] if form.times is not None else index / form.rate
        frame.time_base = Fraction(1, 1000) if form.times is not None else 1 / form.rate
        frame.pts = round(time / frame.time_base)
        self._output.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))


def _converted(frame: Any, form: Form) -> Any:
    colour = form.colour
    if colour is None:
        return frame.reformat(format=form.pix_fmt)
    matrix = colour.matrix if colour.matrix != 2 else 5
    made = frame.reformat(format=form.pix_fmt, dst_colorspace=matrix, dst_color_range=colour.range_code or 1)
    made.colorspace, made.color_range = colour.matrix, colour.range_code
    made.color_primaries, made.color_trc = colour.primaries, colour.transfer
    return made


def _field_filter(shape: tuple[int, ...], form: Form) -> Any:
    """Converts each field by itself and marks the frames as interlaced."""
    graph = av.filter.Graph()
    height, width = shape[:2]
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / form.rate)
    steps = (("scale", "interl=1"), ("format", form.pix_fmt), ("setfield", form.fields), ("buffersink", None))
    graph.link_nodes(source, *(graph.add(name, options) for name, options in steps)).configure()
    return graph


def _encode_tone(output: Any, stream: Any, seconds: float) -> None:
    count = round(seconds * SAMPLE_RATE)
    wave = np.sin(np.arange(count) * 2 * np.pi * 440 / SAMPLE_RATE) * 8000
    chunk = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=SAMPLE_RATE, frame_size=chunk)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[np.newaxis], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        output.mux(stream.encode(part))
    output.mux(stream.encode(None))


def _add_cover(output: Any) -> Any:
    stream = output.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _mux_cover(output: Any, stream: Any) -> None:
    packet = av.Packet(cover_picture())
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    packet.time_base, packet.is_keyframe = Fraction(1, 90_000), True
    output.mux(packet)


@cache
def cover_picture() -> bytes:
    """A JPEG of 64 x 64 with the face on it."""
    return saved(pictures(64, 64, 1)[0], "JPEG")


@cache
def pictures(width: int, height: int, count: int) -> tuple[Pixels, ...]:
    """A face and a plate on the move, each picture stamped with its number."""
    look = Look(faces=1, plates=1, sizes_px=(max(16.0, 0.2 * width), max(17.0, 0.3 * width)), shake_px=1.0, noise=2.0)
    made = tuple(picture for picture, _ in render(11, width, height, count, look=look))
    for number, picture in enumerate(made):
        stamp(picture, number)
        picture.setflags(write=False)
    return made


@cache
def woven_pictures(width: int, height: int, count: int, fields: str) -> tuple[Pixels, ...]:
    """The same as fields: the first field's lines show one moment, the other's the next."""
    moments = pictures(width, height, 2 * count)
    first = 0 if fields == "tff" else 1
    made = []
    for number in range(count):
        picture = moments[2 * number + 1].copy()
        picture[first::2] = moments[2 * number][first::2]
        stamp(picture, number)
        picture.setflags(write=False)
        made.append(picture)
    return tuple(made)


def stamp(picture: Pixels, number: int) -> None:
    """Write a number into the picture, in place."""
    for bit in range(STAMP_BITS):
        white = number >> bit & 1
        picture[:STAMP_PX, bit * STAMP_PX : (bit + 1) * STAMP_PX] = 235 if white else 20


def read_stamp(picture: Pixels) -> int:
    """The number that was written into a picture, as stored: not rotated, of any depth, grey or RGB."""
    half = 1 << (8 * picture.dtype.itemsize - 1)
    bits = (
        picture[2 : STAMP_PX - 2, bit * STAMP_PX + 2 : (bit + 1) * STAMP_PX - 2].mean() > half
        for bit in range(STAMP_BITS)
    )
    return sum(int(white) << bit for bit, white in enumerate(bits))


def packets_of(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """The coded frames of an elementary stream, and whether each is a key frame."""
    with av.open(io.BytesIO(data), "r") as source:
        for packet in source.demux(video=0):
            if packet.size:
                yield bytes(packet), packet.is_keyframe


def dahua_file(data: bytes, codec: int, size: tuple[int, int], rate: int) -> bytes:
    """A recorder's `.dav` around the frames of an elementary stream; the time of day is in every frame.

    `codec` is 0x02 for H.264, 0x0C for H.265. The layout is the one that FFmpeg's `dhav` demuxer reads.
    """
    made = b""
    for number, (frame, key) in enumerate(packets_of(data)):
        seconds, part = divmod(number, rate)
        # 2024-05-06 07:08:09 and on; five bits for the day and the hour, six for the others.
        date = 24 << 26 | 5 << 22 | 6 << 17 | 7 << 12 | 8 << 6 | (9 + seconds)
        extension = struct.pack("<BBBB", 0x81, 0, codec, rate) + struct.pack("<BBHHH", 0x82, 0, 0, *size)
        length = 24 + len(extension) + len(frame) + 8
        kind = 0xFD if key else 0xFC
        head = b"DHAV" + struct.pack(
            "<BBBBIIIHB", kind, 0, 0, 0, number, length, date, part * 1000 // rate, len(extension)
        )
        head += bytes([sum(head) & 0xFF])
        made += head + extension + frame + b"dhav" + struct.pack("<I", length)
    return made


def patched_atom(data: bytes, name: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """An MP4 with the body of its first box of this name changed, same length."""
    at = data.index(name)
    length = int.from_bytes(data[at - 4 : at], "big") - 8
    body = change(data[at + 4 : at + 4 + length])
    if len(body) != length:
        raise ValueError("a changed box keeps its length")
    return data[: at + 4] + body + data[at + 4 + length :]
