"""Images and videos behind one codec: what a file is, is read from its content."""

from typing import Any, BinaryIO

from blurd.adapters.files import FileReader
from blurd.adapters.image import ImageCodec
from blurd.adapters.video import VideoCodec
from blurd.core.containers import IMAGES, identify
from blurd.ports import MediaSource


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
        code = identify(FileReader(file))
        return self._images if code is None or code in IMAGES else self._videos
