"""Images and videos behind one codec: what a file is, is read from its content."""

from typing import Any, BinaryIO

from blurd.adapters.files import FileReader
from blurd.adapters.image import ImageCodec
from blurd.adapters.video import VideoCodec
from blurd.core.containers import IMAGES, identify
from blurd.ports import MediaSource
from blurd.records import MediaKind


class AnyCodec:
    """`MediaCodec` for every format."""

    def __init__(self, images: ImageCodec, videos: VideoCodec) -> None:
        self._images, self._videos = images, videos

    def open(self, file: BinaryIO) -> MediaSource[Any]:
        """Open an image or a video."""
        return self._codec(file).open(file)

    def leftovers(self, file: BinaryIO) -> tuple[str, ...]:
        """Codes of everything in an output that is not on the allow-list of its format."""
        return self._codec(file).leftovers(file)

    def _codec(self, file: BinaryIO) -> ImageCodec | VideoCodec:
        return self._images if kind_of(file) is MediaKind.IMAGE else self._videos


def kind_of(file: BinaryIO) -> MediaKind:
    """Whether a file is an image or a video, by its first bytes; what is neither is left to the images to refuse."""
    code = identify(FileReader(file))
    return MediaKind.IMAGE if code is None or code in IMAGES else MediaKind.VIDEO
