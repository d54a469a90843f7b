"""Render: decode again, mask, encode.

Invariant: the frames of the second pass are exactly those of the first; a frame more or less is an error, so that no
frame is written that was not planned.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from blurd.errors import InputError, Reason
from blurd.ports import FrameT, MediaSource
from blurd.records import Timeline


def render(
    source: MediaSource[FrameT],
    timeline: Timeline,
    sampled: frozenset[int],
    target: BinaryIO,
    progress: Callable[[float], None],
) -> Mapping[int, Any]:
    """Write the masked copy to `target`; returns the proofs of the sampled frames, by their indices."""
    proofs: dict[int, Any] = {}
    source.write(_masked(source, timeline, sampled, proofs, progress), target)
    target.flush()
    return proofs


def _masked(
    source: MediaSource[FrameT],
    timeline: Timeline,
    sampled: frozenset[int],
    proofs: dict[int, Any],
    progress: Callable[[float], None],
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
        progress(count / len(timeline.frames))
    if count != len(timeline.frames):
        raise InputError(Reason.DAMAGED, "render")
