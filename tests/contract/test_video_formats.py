"""Every format that is read comes out whole: frames, times, size, depth, colour, shape, masks in their place."""

import io
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import pytest

from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.core import containers
from blurd.errors import InputError, Reason
from blurd.records import Box, Mask, MaskShape, MaskStyle
from variants import NAMES, variant, variants
from videos import Video, read_stamp

LIMITS = VideoLimits(max_pixels=10_000_000, max_frames=10_000)
CODEC = VideoCodec(LIMITS, VideoPolicy())
FULL = 2
"""The code of the full range; everything else is shown as limited."""
REFUSED = {
    "mp4_two_videos": Reason.SEVERAL_VIDEOS,
    "mkv_two_videos": Reason.SEVERAL_VIDEOS,
    "raw_h264_resized": Reason.SIZE_CHANGES,
    "ts_resized": Reason.SIZE_CHANGES,
}
TREATED = tuple(name for name in NAMES if name not in REFUSED)
MASK = Mask(Box(16, 20, 60, 64), MaskShape.RECTANGLE, MaskStyle.SOLID)


_OPEN: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def empty() -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed after the test
    _OPEN.append(file)
    return file


def opened(data: bytes) -> BinaryIO:
    file = empty()
    file.write(data)
    file.flush()
    return file


def copy_of(video: Video, codec: VideoCodec = CODEC, masks: tuple[Mask, ...] = ()) -> tuple[BinaryIO, BinaryIO]:
    """The source and its copy, both open."""
    source_file, target = opened(video.data), empty()
    source = codec.open(source_file)
    source.write((frame.masked(masks) for frame in source.frames()), target)
    return source_file, target


def decoded(file: BinaryIO) -> Iterator[Any]:
    """Frames as an independent reader gives them, which guesses the format by itself."""
    file.seek(0)
    with av.open(io.BytesIO(file.read()), "r") as container:
        yield from container.decode(video=0)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_can_not_be_kept_whole_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(InputError) as caught:
        copy_of(variant(name))
    assert caught.value.reason is REFUSED[name]


@pytest.mark.parametrize("name", TREATED)
def test_no_frame_is_lost_and_every_time_is_kept(name: str) -> None:
    video = variant(name)
    _, target = copy_of(video)
    frames = list(decoded(target))
    assert len(frames) == video.count
    if video.times is None:
        return
    half_tick = Fraction(frames[0].time_base) / 2
    for frame, time in zip(frames, video.times, strict=True):
        assert abs(frame.pts * Fraction(frame.time_base) - time) <= half_tick


@pytest.mark.parametrize("name", TREATED)
def test_each_frame_stands_in_its_place(name: str) -> None:
    """The pictures carry their number as a pattern of light and dark."""
    _, target = copy_of(variant(name))
    numbers = [read_stamp(upright(frame)) for frame in decoded(target)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)


def upright(frame: Any) -> Any:
    """The picture as stored: the numbers were drawn before any turn."""
    return frame.to_ndarray(format="rgb24")


@pytest.mark.parametrize("name", TREATED)
def test_size_and_depth_are_kept(name: str) -> None:
    video = variant(name)
    _, target = copy_of(video)
    frame = next(decoded(target))
    assert (frame.width, frame.height) == (video.width, video.height)
    deep = any(component.bits > 8 for component in frame.format.components)
    assert deep == any(component.bits > 8 for component in av.VideoFormat(video.pix_fmt).components)


@pytest.mark.parametrize("name", [name for name in TREATED if name.startswith(("mp4_", "mov_", "mkv_"))])
def test_it_looks_the_same_in_a_player(name: str) -> None:
    """Turn, shape of the samples and colour are tagged as in the source."""
    video = variant(name)
    source_file, target = copy_of(video)
    first, found = next(decoded(source_file)), next(decoded(target))
    assert found.rotation == first.rotation
    source_file.seek(0)
    target.seek(0)
    with av.open(io.BytesIO(source_file.read())) as before, av.open(io.BytesIO(target.read())) as after:
        shapes = [container.streams.video[0].sample_aspect_ratio or 1 for container in (before, after)]
        assert shapes[0] == shapes[1]
    if not first.format.is_rgb:
        for tag in ("color_primaries", "color_trc", "colorspace"):
            assert int(getattr(found, tag)) == int(getattr(first, tag))
        assert (int(found.color_range) == FULL) == (int(first.color_range) == FULL)


@pytest.mark.parametrize("name", TREATED)
def test_the_copy_agrees_with_its_own_source_and_not_without_a_mask(name: str) -> None:
    source_file, target = copy_of(variant(name), masks=(MASK,))
    source, found = CODEC.open(source_file), CODEC.open(target)
    assert found.facts.frames == source.output_facts.frames
    for expected, seen in zip(source.frames(), found.frames(), strict=True):
        assert source.same_time(expected.time_s, seen)
        assert source.compare(expected.masked((MASK,)).proof(), seen)
    for plain, seen in zip(source.frames(), found.frames(), strict=True):
        assert not source.compare(plain.proof(), seen)


@pytest.mark.parametrize("name", [name for name in TREATED if "rotated" in name or "mirrored" in name])
def test_masks_lie_where_the_upright_picture_has_them(name: str) -> None:
    source_file, target = copy_of(variant(name), masks=(MASK,))
    source, found = CODEC.open(source_file), CODEC.open(target)
    plain, masked = next(source.frames()).rgb().astype(int), next(found.frames()).rgb().astype(int)
    changed = np.abs(plain - masked).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    box = MASK.box
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert seen == pytest.approx((box.left, box.top, box.right, box.bottom), abs=4)


@pytest.mark.parametrize("name", ["mp4_h264_tff", "mp4_h264_bff", "ts_mpeg2_tff", "mpg_mpeg2_bff"])
def test_interlaced_pictures_stay_interlaced(name: str) -> None:
    _, target = copy_of(variant(name))
    assert all(frame.interlaced_frame for frame in decoded(target))


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("mp4_h264", "mp4"), ("mov_mjpeg", "mov"), ("3gp_h264", "3gp"), ("mkv_h265", "mkv"), ("webm_opus", "webm"),
        ("avi_mpeg4", "mp4"), ("ts_late", "mp4"), ("dav_h264", "mp4"), ("raw_h265", "mp4"),
    ],
)  # fmt: skip
def test_the_container_is_the_sources_or_mp4(name: str, container: str) -> None:
    source = CODEC.open(opened(variant(name).data))
    assert source.output_facts.suffix == f".{container}"
    _, target = copy_of(variant(name))
    assert CODEC.open(target).facts.suffix == f".{container}"


def test_mp4_begins_with_its_index() -> None:
    _, target = copy_of(variant("mp4_h264"))
    target.seek(0)
    data = target.read()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ["mp4_aac", "mov_pcm", "mkv_pcm", "avi_pcm", "webm_opus"])
def test_sound_is_dropped_and_copied_where_the_folder_wants_it(name: str) -> None:
    _, target = copy_of(variant(name))
    target.seek(0)
    with av.open(io.BytesIO(target.read())) as container:
        assert not container.streams.audio
    keeping = VideoCodec(LIMITS, VideoPolicy(audio="copy"))
    source_file, target = copy_of(variant(name), keeping)
    lengths: list[float] = []
    for file in (source_file, target):
        file.seek(0)
        with av.open(io.BytesIO(file.read()), "r") as container:
            lengths.append(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))
    assert lengths[1] == pytest.approx(lengths[0], abs=0.1)
    assert keeping.leftovers(target) == ()
    assert CODEC.leftovers(target) == ("stream_audio",)


LOSSLESS = [
    "mp4_h264", "mp4_h264_422", "mp4_h264_444", "mp4_h264_10bit", "mp4_h264_422_10bit", "mkv_ffv1_grey", "avi_mjpeg",
    "mp4_h264_crop", "mkv_h264_444_odd", "mp4_rotated_90", "mp4_h264_full_range", "mp4_h265",
]  # fmt: skip


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_outside_masks_reach_the_encoder_untouched(name: str) -> None:
    """A lossless encoder gives back every sample; frames after a masked one too, though they are decoded from it."""
    codec = VideoCodec(LIMITS, VideoPolicy(quality=0, codec="h264"))
    video = variant(name)
    source_file, target = opened(video.data), empty()
    source = codec.open(source_file)
    source.write((frame.masked((MASK,) if frame.index % 3 == 0 else ()) for frame in source.frames()), target)
    for frame, (plain, seen) in enumerate(zip(source.frames(), codec.open(target).frames(), strict=True)):
        before, after = (item.picture.to_ndarray().astype(int) for item in (plain, seen))
        if before.shape != after.shape:  # grey comes back with empty colour planes
            after = after[: before.shape[0]]
        different = before != after
        assert different.any() == (frame % 3 == 0)


def test_the_whole_set_is_recognised() -> None:
    for video in variants():
        assert containers.identify(containers.BytesReader(video.data)) is not None, video.name


def test_limits_are_kept() -> None:
    file = opened(variant("mp4_h264").data)
    for limits, reason in (
        (VideoLimits(max_pixels=1000, max_frames=1000), Reason.TOO_MANY_PIXELS),
        (VideoLimits(max_pixels=10_000_000, max_frames=5), Reason.TOO_LARGE),
    ):
        with pytest.raises(InputError) as caught:
            VideoCodec(limits, VideoPolicy()).open(file)
        assert caught.value.reason is reason
