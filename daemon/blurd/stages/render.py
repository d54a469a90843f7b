"""Render: decode again, mask, encode.

Invariant: the frames of the second pass are exactly those of the first; a frame more or less is an error, so that no
frame is written that was not planned.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from blurd.adapters.trouble import writing
from blurd.core.ahead import ahead
from blurd.errors import InputError, Reason
from blurd.ports import FrameT, MediaSource
from blurd.records import MediaKind, Timeline

AHEAD = 2
"""Frames of a video that are masked before the encoder asks for them; pages of an image can be large."""


def render(
    source: MediaSource[FrameT],
    timeline: Timeline,
    sampled: frozenset[int],
    target: BinaryIO,
    progress: Callable[[float], None],
) -> Mapping[int, Any]:
    """Write the masked copy to `target`; returns the proofs of the sampled frames, by their indices."""
    proofs: dict[int, Any] = {}
    masked = ahead(_masked(source, timeline, sampled, proofs), AHEAD if source.facts.kind is MediaKind.VIDEO else 0)
    source.write(_reported(masked, len(timeline.frames), progress), target)
    with writing("write the copy"):
        target.flush()
    return proofs


def _masked(
    source: MediaSource[FrameT], timeline: Timeline, sampled: frozenset[int], proofs: dict[int, Any]
) -> Iterator[FrameT]:
    count = 0
    for frame in source.frames():
        if frame.index != count or count >= len(timeline.frames):
            raise InputError(Reason.DAMAGED, "render")
        masked = frame.masked(timeline.frames[count])
        if count in sampled:
            proofs[count] = masked.proof()
        yield masked
        count += 1
    if count != len(timeline.frames):
        raise InputError(Reason.DAMAGED, "render")


def _reported(frames: Iterator[FrameT], total: int, progress: Callable[[float], None]) -> Iterator[FrameT]:
    for count, frame in enumerate(frames, start=1):
        yield frame
        progress(count / total)
