"""Render: decode again, mask, encode.

Invariant: the frames of the second pass are exactly those of the first; a frame more or less is an error, so that no
frame is written that was not planned.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from blurd.errors import InputError, Reason
from blurd.ports import FrameT, MediaSource
from blurd.records import Timeline


def render(
    source: MediaSource[FrameT], timeline: Timeline, target: BinaryIO, progress: Callable[[float], None]
) -> None:
    """Write the masked copy to `target`."""
    source.write(_masked(source, timeline, progress), target)
    target.flush()


def _masked(source: MediaSource[FrameT], timeline: Timeline, progress: Callable[[float], None]) -> Iterator[FrameT]:
    count = 0
    for frame in source.frames():
        if frame.index != count or count >= len(timeline.frames):
            raise InputError(Reason.DAMAGED, "render")
        yield frame.masked(timeline.frames[count])
        count += 1
        progress(count / len(timeline.frames))
    if count != len(timeline.frames):
        raise InputError(Reason.DAMAGED, "render")
