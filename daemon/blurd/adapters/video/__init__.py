"""Video: read, mask and write with PyAV (FFmpeg), in the decoder's own planes, with the source's own times.

FFmpeg is given `/proc/self/fd/N` with the format named, so the file that was opened is the file that is read, by every
pass, and nothing in a file makes FFmpeg open another.
"""

from blurd.adapters.video.codec import VideoCodec
from blurd.adapters.video.source import VideoLimits, VideoSource
from blurd.adapters.video.target import VideoPolicy

__all__ = ["VideoCodec", "VideoLimits", "VideoPolicy", "VideoSource"]
