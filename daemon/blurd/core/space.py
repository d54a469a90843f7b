"""How much room a copy may need, before its source is decoded. Pure.

The rule: the largest that a sound copy of the kind may be, as a multiple of its source, and a little for what does not
shrink with it (headers, an index).
* An image is written in its own format with the source's quality; a HEIC becomes a JPEG, and a PNG that was squeezed by
  a better packer grows: 4 times, and 1 MiB.
* A video may have 2.5 times the source's bit rate where the source's codec is the better one: 2.5 times, and 8 MiB.
A copy that is rendered again takes the place of the one before; there is never a second one.

Invariant: an expectation only decides when to begin. That a disk fills up all the same is met when it happens.
"""

import math

from blurd.records import MediaKind

_IMAGE_GROWTH, _IMAGE_EXTRA_BYTES = 4.0, 1 << 20
_VIDEO_GROWTH, _VIDEO_EXTRA_BYTES = 2.5, 8 << 20


def expected_bytes(kind: MediaKind, source_bytes: int) -> int:
    """The room that a copy of a source of this size may need."""
    if kind is MediaKind.IMAGE:
        return int(_IMAGE_GROWTH * source_bytes) + _IMAGE_EXTRA_BYTES
    return int(_VIDEO_GROWTH * source_bytes) + _VIDEO_EXTRA_BYTES


def largest_source_bytes(room_bytes: int) -> int:
    """The size above which no source of any kind fits; below it, its kind decides. Negative where nothing fits."""
    image = (room_bytes - _IMAGE_EXTRA_BYTES) / _IMAGE_GROWTH
    video = (room_bytes - _VIDEO_EXTRA_BYTES) / _VIDEO_GROWTH
    return math.floor(max(image, video))
