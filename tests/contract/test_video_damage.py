"""Damaged videos: never a frame that was not decoded whole, never a crash; masked in place where the folder says so."""

import io
import random
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import pytest

from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.errors import BlurdError, EquipmentError, InputError, Reason
from variants import variant
from videos import packets_of

LIMITS = VideoLimits(max_pixels=10_000_000, max_frames=10_000)
REJECTING = VideoCodec(LIMITS, VideoPolicy())
MASKING = VideoCodec(LIMITS, VideoPolicy(damaged="mask"))


@pytest.fixture
def opened() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def put(file: BinaryIO, data: bytes) -> BinaryIO:
    file.seek(0)
    file.truncate()
    file.write(data)
    file.flush()
    return file


def spoilt(name: str, number: int, seed: int) -> bytes:
    """A video in two packets of which most bytes are others.

    H.264 has no checksums: the damage of a single packet may, by chance, decode without a complaint.
    """
    data = bytearray(variant(name).data)
    chance = random.Random(seed)  # noqa: S311
    for packet, _ in list(packets_of(bytes(data)))[number : number + 2]:
        start = bytes(data).index(packet)
        data[start + 8 : start + len(packet)] = chance.randbytes(len(packet) - 8)
    return bytes(data)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_frame_rejects_the_file(opened: BinaryIO, seed: int) -> None:
    put(opened, spoilt("mp4_long_gop", 3, seed))
    with pytest.raises(InputError) as caught:
        list(REJECTING.open(opened).frames())
    assert caught.value.reason is Reason.DAMAGED


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_frame_is_masked_whole_where_the_folder_says_so(opened: BinaryIO, seed: int) -> None:
    video = variant("mp4_long_gop")
    source = MASKING.open(put(opened, spoilt("mp4_long_gop", 3, seed)))
    frames = list(source.frames())
    assert len(frames) == video.count
    assert any(frame.blank for frame in frames)
    assert not all(frame.blank for frame in frames)
    for frame in frames:
        assert bool(np.ptp(frame.rgb()) <= 2) == frame.blank
    times = [frame.time_s for frame in frames]
    assert times == pytest.approx([float(time) for time in video.times or ()])


@pytest.mark.parametrize("name", ["mp4_mpeg4", "avi_mpeg4", "mkv_mpeg4_b_frames", "mp4_h264_tff", "avi_mjpeg"])
@pytest.mark.parametrize("seed", range(4))
def test_no_frame_is_ever_left_out_for_damage(opened: BinaryIO, name: str, seed: int) -> None:
    """Also where packets and frames don't go one to one: a damaged frame is masked in its place, or all rejected."""
    put(opened, spoilt(name, 3, seed))
    try:
        frames = list(MASKING.open(opened).frames())
    except InputError as error:
        assert error.reason is Reason.DAMAGED  # noqa: PT017
        return
    assert len(frames) == variant(name).count


def test_masked_damage_is_written_and_compares(opened: BinaryIO) -> None:
    source = MASKING.open(put(opened, spoilt("mp4_long_gop", 3, 1)))
    with tempfile.TemporaryFile() as target:
        source.write(source.frames(), target)
        found = REJECTING.open(target)
        for expected, seen in zip(source.frames(), found.frames(), strict=True):
            assert source.same_time(expected.time_s, seen)
            assert source.compare(expected.proof(), seen)


def without_packet(name: str, number: int) -> bytes:
    """The video with one packet's content blotted out; its place in the container stays."""
    data = variant(name).data
    packet, _ = list(packets_of(data))[number]
    return data.replace(packet, b"\0\0\0\x01\x0c" + b"\0" * (len(packet) - 5))


@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_missing_reference_rejects_the_file(opened: BinaryIO, number: int) -> None:
    put(opened, without_packet("mp4_long_gop", number))
    with pytest.raises(InputError) as caught:
        list(REJECTING.open(opened).frames())
    assert caught.value.reason is Reason.DAMAGED


SOME = (
    "mp4_h264",
    "mkv_h265",
    "webm_vp9",
    "avi_mjpeg",
    "ts_h264",
    "mpg_mpeg2",
    "dav_h264",
    "wmv_wmv2",
    "mp4_fragmented",
)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("codec", [REJECTING, MASKING], ids=["reject", "mask"])
def test_any_damage_ends_in_a_verdict(opened: BinaryIO, name: str, codec: VideoCodec) -> None:
    """Cut, flipped and spliced files are refused with a reason, or every frame of them is whole."""
    data = variant(name).data
    for seed in range(25):
        chance = random.Random(f"{name}-{seed}")  # noqa: S311
        broken = bytearray(data)
        if seed % 3 == 0:
            broken = broken[: chance.randrange(1, len(data))]
        elif seed % 3 == 1:
            for _ in range(chance.randrange(1, 30)):
                broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        else:
            start, end = sorted(chance.sample(range(len(data)), 2))
            place = chance.randrange(len(data))
            broken[place:place] = data[start:end]
        try:
            source = codec.open(put(opened, bytes(broken)))
            for count, frame in enumerate(source.frames()):
                assert frame.index == count
                assert not frame.picture.is_corrupt
        except (InputError, MemoryError):  # FFmpeg has no memory for an absurd size: tried again, then given up
            continue
        except EquipmentError as error:
            pytest.fail(f"a bad file is not the disk's fault: {error.reason}")


def test_a_library_error_while_reading_is_an_error_of_ours(opened: BinaryIO) -> None:
    with pytest.raises(BlurdError):
        REJECTING.open(put(opened, b"\0\0\0\x18ftypisom" + b"\0" * 400))
    assert issubclass(av.error.InvalidDataError, av.error.FFmpegError)


def with_times(stamps: list[int], durations: list[int]) -> bytes:
    """A Matroska film of one still picture, shown at these milliseconds, in that order in the file."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
        packets = [
            bytes(packet) for packet in (*stream.encode(frame.reformat(format="yuvj420p")), *stream.encode(None))
        ]
        for stamp, duration in zip(stamps, durations, strict=True):
            packet = av.Packet(packets[0])
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = stamp
            packet.duration = duration
            output.mux(packet)
    return file.getvalue()


def test_frames_with_the_same_time_have_the_duration_of_their_mended_times(opened: BinaryIO) -> None:
    """A copy says how long it is by its frames; the source's number of frames by its rate is another matter."""
    source = REJECTING.open(put(opened, with_times([0, 0, 40, 5000], [40] * 4)))
    assert [round(1000 * frame.time_s) for frame in source.frames()] == [0, 1, 40, 5000]
    assert source.output_facts.duration_s == pytest.approx(5.04)
    with tempfile.TemporaryFile() as target:
        source.write(source.frames(), target)
        found = REJECTING.open(target)
        assert len(list(found.frames())) == 4
        assert found.facts.duration_s == pytest.approx(5.04)


@pytest.mark.parametrize("stamps", [[0, 40, 2**31 + 40], [0, 40, 900_000_000]], ids=["ticks", "seconds"])
def test_a_frame_that_is_shown_for_ever_rejects_the_file(opened: BinaryIO, stamps: list[int]) -> None:
    """No container can say so; the encoder is not to blame."""
    source = REJECTING.open(put(opened, with_times(stamps, [40] * 3)))
    with pytest.raises(InputError) as caught:
        list(source.frames())
    assert caught.value.reason is Reason.DAMAGED
