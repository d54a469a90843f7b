"""The test media are what they promise to be: another reader finds the frames, times and tags that were written."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from blurd.records import Category
from clips import Look, Truth, render
from laden_video import LADEN_VIDEOS, holds_planted, laden_video
from variants import NAMES, variant
from videos import STAMP_BITS, Video, pictures, read_stamp, stamp

DISPLAY_MATRIX = "DISPLAYMATRIX"
ATTACHED = av.stream.Disposition.attached_pic


def kinds(container: Any) -> tuple[str, ...]:
    """The types of all streams behind the first."""
    return tuple("cover" if stream.disposition & ATTACHED else stream.type for stream in container.streams)[1:]


def assert_read_back(video: Video) -> None:
    with av.open(io.BytesIO(video.data), "r") as container:
        stream = container.streams.video[0]
        frames: list[Any] = list(container.decode(stream))
        assert stream.codec_context.name == video.codec
        assert kinds(container) == video.others
    assert len(frames) == video.count
    if video.times is not None:
        assert tuple(frame.pts * frame.time_base for frame in frames) == video.times
    stamps = [read_stamp(frame.to_ndarray(format="rgb24")) for frame in frames]
    assert stamps == list(range(video.first_stamp, video.first_stamp + video.count))
    assert (frames[0].width, frames[0].height) == (video.width, video.height)
    assert ((frames[-1].width, frames[-1].height) != (video.width, video.height)) == video.resized
    assert frames[0].format.name == video.pix_fmt


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_reads_back(name: str) -> None:
    assert_read_back(variant(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_tags_of_every_variant(name: str) -> None:
    video = variant(name)
    form = video.form
    with av.open(io.BytesIO(video.data), "r") as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        context = stream.codec_context
        if form.colour is not None:
            found = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
            wanted = form.colour
            assert found == (wanted.primaries, wanted.transfer, wanted.matrix, wanted.range_code)
        assert (stream.sample_aspect_ratio or 1) == form.sample_aspect
        assert frame.interlaced_frame == bool(form.fields)
        corner = np.arange(6).reshape(2, 3)
        assert np.array_equal(shown(frame, corner), form.upright(corner))


def shown(frame: Any, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A picture as the file's display matrix places its samples: (x, y) of the screen are (x, y) stored, times it."""
    matrices = [bytes(data) for data in frame.side_data if data.type.name == DISPLAY_MATRIX]
    if not matrices:
        return stored
    matrix = np.frombuffer(matrices[0], "<i4").reshape(3, 3)[:2, :2] / 65536
    rows, columns = np.indices(stored.shape)
    places = np.stack([columns.ravel(), rows.ravel()], axis=1) @ matrix
    places = np.rint(places - places.min(axis=0)).astype(int)
    placed = np.zeros(places.max(axis=0)[::-1] + 1, stored.dtype)
    placed[places[:, 1], places[:, 0]] = stored.ravel()
    return placed


def test_the_names_that_the_formats_go_by() -> None:
    """The kinds of file that must be treated are all there."""
    suffixes = {variant(name).suffix for name in NAMES}
    assert suffixes >= {
        ".mp4", ".mov", ".m4v", ".mkv", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".webm", ".wmv", ".asf", ".flv", ".3gp",
        ".ogv", ".dav", ".h264", ".h265", ".mjpeg",
    }  # fmt: skip
    codecs = {variant(name).codec for name in NAMES}
    assert codecs >= {"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "vp8", "vp9", "libdav1d", "prores", "ffv1"}
    with av.open(io.BytesIO(variant("dav_h264").data), "r") as container:
        assert container.format.name == "dhav"


def test_fields_show_two_moments() -> None:
    """The lines of the two fields differ where something moves, in the order that the name says."""
    for name, first in (("mp4_h264_tff", 0), ("mp4_h264_bff", 1)):
        video = variant(name)
        with av.open(io.BytesIO(video.data), "r") as container:
            frame = list(container.decode(video=0))[3].to_ndarray(format="rgb24").astype(int)
        early, late = (moment.astype(int) for moment in pictures(video.width, video.height, 2 * video.count)[6:8])
        for rows, moment, other in ((slice(first, None, 2), early, late), (slice(1 - first, None, 2), late, early)):
            assert np.abs(frame[rows] - moment[rows])[8:].mean() < np.abs(frame[rows] - other[rows])[8:].mean()


@pytest.mark.parametrize("name", LADEN_VIDEOS)
def test_every_laden_video_is_laden_and_reads_back(name: str) -> None:
    video = laden_video(name)
    assert holds_planted(video.data)
    assert_read_back(video)


def test_a_stamp_tells_every_number() -> None:
    picture = np.full((16, 8 * STAMP_BITS, 3), 128, np.uint8)
    for number in range(1 << STAMP_BITS):
        stamp(picture, number)
        assert read_stamp(picture) == number


def test_times_that_a_muxer_moves_are_promised_moved() -> None:
    assert variant("ts_late").times == tuple(Fraction(10) + Fraction(index, 25) for index in range(12))
    assert variant("dav_h264").times[25] - variant("dav_h264").times[0] == 1  # type: ignore[index]


def rendered(seed: int, count: int = 150, **look: Any) -> list[tuple[Truth, ...]]:
    return [truths for _, truths in render(seed, 320, 180, count, look=Look(sizes_px=(16, 60), **look))]


def test_a_clip_is_the_same_every_time() -> None:
    first, second = (list(render(5, 160, 96, 6, look=Look(sizes_px=(16, 30)))) for _ in range(2))
    for (picture, truths), (again, same) in zip(first, second, strict=True):
        assert np.array_equal(picture, again)
        assert truths == same
    other = next(render(6, 160, 96, 1, look=Look(sizes_px=(16, 30))))[0]
    assert not np.array_equal(other, first[0][0])


def test_what_happens_in_the_clips() -> None:
    """Objects of both kinds come, go, pass behind the post, and every box lies in the picture."""
    clips = [rendered(seed) for seed in range(3)]
    truths = [truth for clip in clips for frame in clip for truth in frame]
    assert {truth.category for truth in truths} == set(Category)
    for truth in truths:
        box = truth.box
        assert 0 <= box.left < box.right <= 320
        assert 0 <= box.top < box.bottom <= 180
        assert 0 < truth.visible <= 1
    assert any(truth.visible < 0.5 for truth in truths)
    assert sum(truth.visible > 0.95 for truth in truths) > len(truths) / 2
    for clip in clips:
        everywhere = set.intersection(*({truth.track for truth in frame} for frame in clip))
        ever = {truth.track for frame in clip for truth in frame}
        assert len(everywhere) < len(ever)


def test_the_truth_says_where_the_face_is() -> None:
    """Without a shake, a post or noise, what moves in front of a still background moves inside the truth's boxes."""
    look = Look(faces=1, plates=0, sizes_px=(40, 60), shake_px=0, noise=0, post=False, blur=False)
    frames = list(render(2, 320, 180, 40, look=look))
    hidden = [index for index, (_, truths) in enumerate(frames) if not truths]
    seen = [index for index, (_, truths) in enumerate(frames) if truths]
    assert len(seen) > 20, hidden
    skin = []
    for index in seen:
        picture, (truth,) = frames[index]
        box = truth.box
        inner = picture[int(box.top) + 4 : int(box.bottom) - 4, int(box.left) + 4 : int(box.right) - 4].astype(int)
        if inner.size and truth.visible > 0.95:
            skin.append((inner[:, :, 0] > inner[:, :, 2] + 10).mean())
    assert np.min(skin) > 0.6
