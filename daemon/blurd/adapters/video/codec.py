"""The codec of videos: opens sources of any family by their content, and proves outputs."""

from typing import BinaryIO

from blurd.adapters.files import FileReader
from blurd.adapters.video.demux import DEMUXERS, opened
from blurd.adapters.video.source import VideoLimits, VideoSource
from blurd.adapters.video.target import VideoPolicy
from blurd.core import containers
from blurd.errors import InputError, Reason


class VideoCodec:
    """`MediaCodec` for videos."""

    def __init__(self, limits: VideoLimits, policy: VideoPolicy) -> None:
        self._limits, self._policy = limits, policy

    def open(self, file: BinaryIO) -> VideoSource:
        """Read structure and first frame, check the limits and return the source."""
        code = containers.identify(FileReader(file))
        if code is None:
            raise InputError(Reason.UNKNOWN_FORMAT, "identify the video")
        if code not in DEMUXERS:
            raise InputError(Reason.UNSUPPORTED_FORMAT, "identify the video")
        return VideoSource(file, code, self._policy, self._limits)

    def leftovers(self, file: BinaryIO) -> tuple[str, ...]:
        """Codes of everything in an output beside pictures, wanted sound and what the container needs."""
        reader = FileReader(file)
        code = containers.identify(reader)
        found = list(containers.leftovers(reader))
        if code is None or code not in DEMUXERS:
            return (*found, "format_not_written")
        allowed = {"video"} | ({"audio"} if self._policy.audio == "copy" else set())
        with opened(file, code) as container:
            found += [f"stream_{stream.type}" for stream in container.streams if stream.type not in allowed]
        return tuple(found)
