"""Nothing but pictures, and sound where it is wanted, leaves: tags, chapters, texts, positions, covers, captions."""

import io
import tempfile
from collections.abc import Iterator

import av
import pytest

from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.core import containers
from blurd.core.containers import BytesReader
from laden_video import LADEN_VIDEOS, holds_planted, laden_video, user_boxes, with_user_boxes
from variants import variant

LIMITS = VideoLimits(max_pixels=10_000_000, max_frames=10_000)
TAGS_OF_CONTAINERS = {
    *("major_brand", "minor_version", "compatible_brands", "handler_name", "language", "vendor_id", "DURATION"),
}


def copied(data: bytes, policy: VideoPolicy) -> bytes:
    codec = VideoCodec(LIMITS, policy)
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as target:
        file.write(data)
        file.flush()
        source = codec.open(file)
        source.write(source.frames(), target)
        assert codec.leftovers(target) == ()
        target.seek(0)
        return target.read()


@pytest.fixture(params=["drop", "copy"])
def policy(request: pytest.FixtureRequest) -> VideoPolicy:
    return VideoPolicy(audio=request.param)


@pytest.mark.parametrize("name", LADEN_VIDEOS)
def test_no_planted_text_is_in_the_copy(name: str, policy: VideoPolicy) -> None:
    video = laden_video(name)
    assert holds_planted(video.data)
    assert not holds_planted(copied(video.data, policy))


def texts(container: av.container.InputContainer) -> Iterator[str]:
    for tags in (container.metadata, *(stream.metadata for stream in container.streams)):
        yield from (key for key in tags if key not in TAGS_OF_CONTAINERS)


@pytest.mark.parametrize("name", LADEN_VIDEOS)
def test_another_reader_finds_pictures_alone(name: str) -> None:
    with av.open(io.BytesIO(copied(laden_video(name).data, VideoPolicy())), "r") as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert list(texts(container)) in ([], ["encoder"])
        assert not container.chapters()


@pytest.mark.parametrize("name", ["mp4_h264", "mkv_h264", "webm_vp9", "mov_mjpeg"])
def test_the_proof_sees_what_is_added(name: str) -> None:
    """The allow-list refuses a copy with a single box, element, tag or byte too much."""
    clean = copied(variant(name).data, VideoPolicy())
    assert containers.leftovers(BytesReader(clean)) == ()
    assert containers.leftovers(BytesReader(clean + b"\0\0\0\x10junk12345678")) != ()
    if clean[4:8] == b"ftyp":
        assert containers.leftovers(BytesReader(with_user_boxes(clean))) != ()
        assert user_boxes()
        assert containers.leftovers(BytesReader(clean.replace(b"VideoHandler", b"VideoHandlex"))) != ()
    else:
        assert containers.leftovers(BytesReader(clean.replace(b"Lavf", b"Gps ", 1))) != ()


@pytest.mark.parametrize("name", LADEN_VIDEOS)
def test_sources_full_of_such_things_are_not_clean(name: str) -> None:
    assert containers.leftovers(BytesReader(laden_video(name).data)) != ()
