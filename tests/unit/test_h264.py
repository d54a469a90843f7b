"""Units and parameter sets of H.264: what x264 was told to write is what is read, and chance bytes do no harm."""

import io
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from hypothesis import given
from hypothesis import strategies as st

from blurd.core import h264


def encoder(size: tuple[int, int] = (96, 64), layout: str = "yuv420p", /, **parameters: str) -> Any:
    made: Any = av.CodecContext.create("libx264", "w")
    made.width, made.height = size
    made.pix_fmt, made.time_base = layout, Fraction(1, 25)
    made.options = {"x264-params": ":".join(f"{name.replace('_', '-')}={value}" for name, value in parameters.items())}
    made.flags |= Flags.global_header
    made.open()
    return made


def sets_of(made: Any) -> tuple[h264.SequenceSet, h264.PictureSet]:
    _, found = h264.read_header(made.extradata)
    by_kind = {h264.kind_of(unit): unit for unit in found}
    return h264.sequence_set(by_kind[h264.SEQUENCE_SET]), h264.picture_set(by_kind[h264.PICTURE_SET])


@pytest.mark.parametrize("number", [0, 1, 7, 31])
def test_the_numbers_of_sets_are_read(number: int) -> None:
    sequence, picture = sets_of(encoder(sps_id=str(number)))
    assert (sequence.number, picture.number) == (number, number)


@pytest.mark.parametrize(
    ("layout", "parameters", "profile"),
    [
        ("yuv420p", {"bframes": "0", "cabac": "0", "8x8dct": "0", "weightp": "0"}, 66),
        ("yuv420p", {"8x8dct": "0"}, 77),
        ("yuv420p", {}, 100),
        ("yuv420p", {"cqm": "jvt"}, 100),
        ("yuv420p10le", {}, 110),
        ("yuv422p", {}, 122),
        ("yuv444p", {}, 244),
    ],
)
def test_profile_and_level_are_read(layout: str, parameters: dict[str, str], profile: int) -> None:
    sequence, picture = sets_of(encoder((96, 64), layout, level="41", **parameters))
    assert (sequence.profile, sequence.level, sequence.progressive) == (profile, 41, True)
    assert picture.plain


@pytest.mark.parametrize("parameters", [{"interlaced": "1"}, {"fake_interlaced": "1"}])
def test_fields_are_told_from_frames(parameters: dict[str, str]) -> None:
    assert not sets_of(encoder(**parameters))[0].progressive


@pytest.mark.parametrize(
    ("size", "layout", "crop", "hidden"),
    [
        ((96, 64), "yuv420p", "0,0,0,0", 0),
        ((90, 64), "yuv420p", "0,0,0,0", 6),
        ((96, 54), "yuv420p", "0,0,0,0", 10),
        ((96, 64), "yuv420p", "32,0,0,0", 32),
        ((96, 64), "yuv420p", "0,0,0,34", 34),
        ((96, 64), "yuv422p", "0,18,0,0", 18),
        ((96, 64), "yuv444p", "0,0,17,0", 17),
    ],
)
def test_what_is_cut_off_the_sides_is_read(size: tuple[int, int], layout: str, crop: str, hidden: int) -> None:
    assert sets_of(encoder(size, layout, crop_rect=crop))[0].hidden == hidden


def packets(container: str) -> list[tuple[bytes, bytes]]:
    """The header and the content of each packet of a short video."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        fixed = {"x264-params": "slices=3:aud=1:repeat-headers=1:threads=1", "crf": "20"}  # else no run is like another
        stream = output.add_stream("libx264", rate=25, options=fixed)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(6):
            picture = np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    with av.open(io.BytesIO(file.getvalue()), "r") as source:
        video = source.streams.video[0]
        return [(video.codec_context.extradata or b"", bytes(packet)) for packet in source.demux(video) if packet.size]


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "h264"])
def test_the_same_pictures_are_found_however_they_are_stored(container: str) -> None:
    expected = packets("h264")
    found = packets(container)
    assert len(found) == len(expected) == 6

    def pictures(header: bytes, content: bytes) -> tuple[bytes, ...]:
        return h264.pictures_of(content, h264.read_header(header)[0])

    assert [pictures(*one) for one in found] == [pictures(*one) for one in expected]
    assert [len(pictures(*one)) for one in found] == [3] * 6
    assert [h264.kind_of(unit) for unit in pictures(*found[0])] == [h264.SLICE_OF_IDR] * 3


def test_a_start_code_inside_a_length_parts_units() -> None:
    inside = b"\x41slice\x00\x00\x00\x01\x0a"
    assert list(h264.units(len(inside).to_bytes(4, "big") + inside, 4)) == [b"\x41slice", b"\x0a"]


@pytest.mark.parametrize(
    "payload", [b"\x00\x00\x00\x09abc", b"\x00\x00\x00\x00", b"\x00\x00", b"abc\x00\x00\x01\x41", b"abc", b""]
)
def test_what_is_no_packet_is_refused(payload: bytes) -> None:
    length_bytes = 4 if payload[:2] == b"\x00\x00" and payload[2:3] != b"\x01" else 0
    if payload == b"":
        assert list(h264.units(payload, 4)) == []
        return
    with pytest.raises(ValueError, match=r"length|start code"):
        list(h264.units(payload, length_bytes))


@given(st.binary(max_size=80), st.sampled_from([0, 1, 2, 4]))
def test_chance_bytes_do_no_harm(data: bytes, length_bytes: int) -> None:
    for read in (h264.sequence_set, h264.picture_set, h264.read_header, h264.kind_of):
        with suppress(ValueError):
            read(data)
    with suppress(ValueError):
        found = list(h264.units(data, length_bytes))
        assert sum(map(len, found)) <= len(data)
