"""Groups of pictures without a mask are taken over as coded: bit for bit, at their times, and nothing beside them."""

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from typing import Any, BinaryIO

import av
import numpy as np
import pytest

from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy, VideoSource
from blurd.core import containers, h264
from blurd.core.groups import beside
from blurd.records import Box, Mask, MaskShape, MaskStyle
from laden import PLANTED
from laden_video import LADEN_VIDEOS, holds_planted, laden_video
from media import Pixels
from variants import variant
from videos import Form, read_stamp, stamp, write_clip

LIMITS = VideoLimits(max_pixels=10_000_000, max_frames=10_000)
MASK = Mask(Box(40, 30, 90, 70), MaskShape.RECTANGLE, MaskStyle.SOLID)
GROUP = 10
FRAMES = 58
MASKED = range(23, 34)
"""Frames of the third and fourth group of ten."""
CLEAR = (*range(20), *range(40, FRAMES))
OPTIONS: Mapping[str, str] = {"g": str(GROUP), "sc_threshold": "0", "preset": "veryfast", "crf": "22"}


def moving(width: int, height: int, count: int) -> Iterator[Pixels]:
    """A bright patch that moves over noise, each picture with its number."""
    ground = np.random.default_rng(5).integers(60, 120, (height, width, 3), np.uint8)
    for index in range(count):
        picture = ground.copy()
        picture[20:60, index : index + 40] = (220, 120, 40)
        stamp(picture, index)
        yield picture


def form_of(container: str = "mp4", **more: Any) -> Form:
    options = {**OPTIONS, **more.pop("options", {})}
    return Form(container=container, options=options, **more)


FORMS: Mapping[str, Form] = {
    "mp4": form_of(rate=Fraction(10)),
    "without b-frames": form_of(rate=Fraction(10), options={"bf": "0"}),
    "deep b-frames": form_of(rate=Fraction(10), options={"bf": "4", "b-pyramid": "normal", "refs": "4"}),
    "baseline": form_of(rate=Fraction(10), options={"profile": "baseline", "level": "4.2"}),
    "mkv": form_of("matroska", rate=Fraction(10)),
    "mov": form_of("mov", rate=Fraction(10)),
    "ts": form_of("mpegts", rate=Fraction(10)),
    "ten bits": form_of(rate=Fraction(10), pix_fmt="yuv420p10le"),
    "turned": form_of(rate=Fraction(10), rotation=90),
    "oblong samples": form_of(rate=Fraction(10), sample_aspect=Fraction(4, 3)),
    "uneven times": form_of(
        rate=Fraction(10), times=tuple(Fraction(100 * index + 7 * (index % 3), 1000) for index in range(FRAMES))
    ),
    "with sound": form_of(rate=Fraction(10), sound="aac"),
    "many slices": form_of(rate=Fraction(10), options={"x264-params": "slices=4:aud=1:repeat-headers=1"}),
}


@cache
def clip(name: str) -> bytes:
    form = FORMS[name]
    file = io.BytesIO()
    write_clip(file, moving(160, 96, FRAMES), form)
    return file.getvalue()


_OPEN: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def opened(data: bytes, policy: VideoPolicy = VideoPolicy()) -> tuple[VideoSource, BinaryIO]:  # noqa: B008
    """A source after its first pass."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed after the test
    _OPEN.append(file)
    file.write(data)
    file.flush()
    source = VideoCodec(LIMITS, policy).open(file)
    for _ in source.frames():
        pass
    return source, file


def is_masked(index: int) -> bool:
    return index in MASKED


def copied(source: VideoSource, taken: tuple[range, ...], masked: Callable[[int], bool] = is_masked) -> BinaryIO:
    target = tempfile.TemporaryFile()  # noqa: SIM115
    _OPEN.append(target)
    frames = (frame.masked([MASK] if masked(frame.index) else []) for frame in source.frames(taken))
    source.write(frames, target, taken)
    target.flush()
    return target


def read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def decoded(data: bytes) -> list[Any]:
    with av.open(io.BytesIO(data), "r") as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("name", FORMS)
def test_clear_groups_are_the_sources_own_and_the_others_masked(name: str) -> None:
    source, _ = opened(clip(name), VideoPolicy(audio="copy"))
    taken = source.untouched(is_masked)
    assert {index for group in taken for index in group} == set(CLEAR)
    target = copied(source, taken)
    before, after = decoded(clip(name)), decoded(read(target))
    assert len(after) == len(before) == FRAMES
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        assert other.format.name == one.format.name
        assert read_stamp(other.to_ndarray(format="rgb24")) == index
        half_tick = Fraction(max(one.time_base, other.time_base)) / 2
        assert abs((one.pts - before[0].pts) * one.time_base - (other.pts - after[0].pts) * other.time_base) < half_tick
        assert np.array_equal(one.to_ndarray(), other.to_ndarray()) == (index in CLEAR)
        change = np.abs(one.to_ndarray(format="gray").astype(int) - other.to_ndarray(format="gray")).mean()
        assert (change > 2.5) == is_masked(index), index
    found = VideoCodec(LIMITS, VideoPolicy(audio="copy")).open(target)
    assert source.has_taken_over(taken, found)
    assert (found.facts.width_px, found.facts.height_px) == (source.facts.width_px, source.facts.height_px)
    assert abs(found.facts.duration_s - source.output_facts.duration_s) < 0.1
    with av.open(io.BytesIO(read(target)), "r") as container:
        assert bool(container.streams.audio) == bool(FORMS[name].sound)


@pytest.mark.parametrize("name", FORMS)
def test_another_decoder_run_over_each_group_alone_sees_the_same(name: str) -> None:
    """Each group, old or new, begins afresh: a player may jump there."""
    source, _ = opened(clip(name))
    data = read(copied(source, source.untouched(is_masked)))
    whole = {frame.pts: frame.to_ndarray() for frame in decoded(data)}
    for jump in (3, 25, 31, 45, 57):
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.video[0]
            container.seek(sorted(whole)[jump], stream=stream, backward=True)
            found = [frame for frame in container.decode(stream) if frame.pts is not None]
        assert found[0].pts <= sorted(whole)[jump]
        assert all(np.array_equal(whole[frame.pts], frame.to_ndarray()) for frame in found)


def test_a_video_without_masks_is_not_encoded_at_all() -> None:
    source, _ = opened(clip("mp4"))
    taken = source.untouched(lambda _: False)
    assert list(beside(taken, FRAMES)) == []
    assert list(source.frames(taken)) == []
    data = read(copied(source, taken))
    assert all(
        np.array_equal(one.to_ndarray(), other.to_ndarray())
        for one, other in zip(decoded(clip("mp4")), decoded(data), strict=True)
    )
    assert b"x264 - core" in clip("mp4")
    assert b"x264 - core" not in data


@pytest.mark.parametrize("name", LADEN_VIDEOS)
def test_nothing_planted_comes_along(name: str) -> None:
    video = laden_video(name)
    source, _ = opened(video.data)
    taken = source.untouched(lambda _: False)
    target = copied(source, taken, lambda _: False)
    assert not holds_planted(read(target))
    assert VideoCodec(LIMITS, VideoPolicy()).leftovers(target) == ()
    if video.codec == "h264" and name != "h264":  # a raw stream has no times
        assert taken
        kinds = {h264.kind_of(unit) for packet, header in units_of(read(target)) for unit in h264.units(packet, header)}
        assert kinds <= {h264.SLICE, h264.SLICE_OF_IDR}


def units_of(data: bytes) -> Iterator[tuple[bytes, int]]:
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        length_bytes, sets = h264.read_header(stream.codec_context.extradata or b"")
        assert {h264.kind_of(unit) for unit in sets} == {h264.SEQUENCE_SET, h264.PICTURE_SET}
        for packet in container.demux(stream):
            if packet.size:
                yield bytes(packet), length_bytes


def spoilt(data: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    """The same packets in a new file, each changed."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(file, "w", format="mp4") as target:
        inner = source.streams.video[0]
        stream = target.add_stream_from_template(inner, opaque=True)
        stream.time_base = inner.time_base
        for number, packet in enumerate(packet for packet in source.demux(inner) if packet.size):
            content = change(number, bytes(packet))
            if content:
                made = av.Packet(content)
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.duration, made.is_keyframe, made.stream = packet.duration, packet.is_keyframe, stream
                target.mux(made)
    return file.getvalue()


def flipped(place: int, number: int, content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:] if number == place else content


def dropped(place: int, number: int, content: bytes) -> bytes:
    return b"" if number == place else content


@pytest.mark.parametrize("change", [flipped, dropped])
@pytest.mark.parametrize("place", [0, 7, FRAMES - 1])
def test_the_proof_sees_a_bit_that_differs(change: Callable[[int, int, bytes], bytes], place: int) -> None:
    source, _ = opened(clip("mp4"))
    taken = source.untouched(is_masked)
    data = read(copied(source, taken))
    codec = VideoCodec(LIMITS, VideoPolicy())
    for changed, expected in ((data, True), (spoilt(data, partial(change, place)), False)):
        file = tempfile.TemporaryFile()  # noqa: SIM115
        _OPEN.append(file)
        file.write(changed)
        file.flush()
        assert source.has_taken_over(taken, codec.open(file)) is expected


def prefixed(unit: bytes, number: int, content: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit + content if number == 4 else content


NOT_TAKEN: Mapping[str, Callable[[], bytes]] = {
    "hidden behind the crop": lambda: made(form_of(options={"x264-params": "crop-rect=32,0,0,0"})),
    "fields": lambda: made(form_of(fields="tff", options={"flags": "+ildct+ilme"})),
    "no key pictures that begin afresh": lambda: made(
        form_of(options={"x264-params": "open-gop=1:keyint=10:min-keyint=1"})
    ),
    "another view": lambda: spoilt(clip("mp4"), partial(prefixed, b"\x74" + PLANTED)),
    "an auxiliary picture": lambda: spoilt(clip("mp4"), partial(prefixed, b"\x13" + PLANTED)),
    "parts of a picture": lambda: spoilt(clip("mp4"), partial(prefixed, b"\x02" + PLANTED)),
    "another codec": lambda: made(Form(codec="libx265", options={"g": "10"})),
    "frames outside of the edit list": lambda: variant("mp4_edit_list").data,
}


def made(form: Form) -> bytes:
    file = io.BytesIO()
    write_clip(file, moving(160, 96, FRAMES), form)
    return file.getvalue()


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_could_hold_more_than_it_shows_is_encoded_anew(name: str) -> None:
    source, _ = opened(NOT_TAKEN[name](), VideoPolicy(damaged="mask"))
    found = source.untouched(lambda _: False)
    if name == "no key pictures that begin afresh":  # the first one does: it is all there is
        assert found in ((), (range(FRAMES),))
    else:
        assert found == ()


@pytest.mark.parametrize(
    "policy",
    [
        VideoPolicy(untouched="encode"),
        VideoPolicy(codec="h265"),
    ],
)
def test_the_folder_may_want_all_encoded(policy: VideoPolicy) -> None:
    source, _ = opened(clip("mp4"), policy)
    assert source.untouched(lambda _: False) == ()


def test_a_stream_whose_sets_change_is_encoded_anew() -> None:
    """The same number with another meaning from the second half on."""
    halves = [io.BytesIO() for _ in range(2)]
    for number, half in enumerate(halves):
        write_clip(half, moving(160, 96, 20), Form(container="h264", options={**OPTIONS, "refs": str(1 + 2 * number)}))
    source, _ = opened(b"".join(half.getvalue() for half in halves))
    assert source.facts.frames == 40
    assert source.untouched(lambda _: False) == ()


def test_short_runs_are_not_worth_a_new_encoder() -> None:
    source, _ = opened(clip("mp4"))
    assert source.untouched(lambda index: index < 10 or index >= 20) == (range(10, 20),)
    quick = replace(FORMS["mp4"], rate=Fraction(50))
    file = io.BytesIO()
    write_clip(file, moving(160, 96, FRAMES), quick)
    source, _ = opened(file.getvalue())
    assert source.untouched(lambda index: index < 10 or index >= 20) == ()


def test_the_copy_is_of_its_family() -> None:
    for name in ("mp4", "mkv", "ts"):
        source, _ = opened(clip(name))
        data = read(copied(source, source.untouched(is_masked)))
        assert containers.identify(containers.BytesReader(data)) is containers.Format(source.output_facts.format)
