"""Render: decode again, mask, encode.

Groups of frames without a mask are neither decoded nor encoded where the source can hand them on as they are.

Invariant: the frames of the second pass are exactly those of the first; a frame more or less is an error, so that no
frame is written that was not planned. A frame that is masked is in no group that is handed on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from blurd.adapters.trouble import writing
from blurd.core.ahead import ahead
from blurd.core.groups import beside
from blurd.errors import InputError, Reason
from blurd.ports import FrameT, MediaSource
from blurd.records import MediaKind, Timeline

AHEAD = 2
"""Frames of a video that are masked before the encoder asks for them; pages of an image can be large."""


def render(
    source: MediaSource[FrameT],
    timeline: Timeline,
    sampled: frozenset[int],
    taken: Sequence[range],
    target: BinaryIO,
    progress: Callable[[float], None],
) -> Mapping[int, Any]:
    """Write the masked copy to `target`, the groups `taken` as they are; returns the others' proofs by their indices.

    There are proofs of the sampled frames alone.
    """
    proofs: dict[int, Any] = {}
    masked = _masked(source, timeline, sampled, taken, proofs)
    masked = ahead(masked, AHEAD if source.facts.kind is MediaKind.VIDEO else 0)
    source.write(_reported(masked, len(timeline.frames), progress), target, taken)
    with writing("write the copy"):
        target.flush()
    return proofs


def _masked(
    source: MediaSource[FrameT],
    timeline: Timeline,
    sampled: frozenset[int],
    taken: Sequence[range],
    proofs: dict[int, Any],
) -> Iterator[FrameT]:
    expected = beside(taken, len(timeline.frames))
    for frame in source.frames(taken):
        if frame.index != next(expected, None):
            raise InputError(Reason.DAMAGED, "render")
        masked = frame.masked(timeline.frames[frame.index])
        if frame.index in sampled:
            proofs[frame.index] = masked.proof()
        yield masked
    if next(expected, None) is not None:
        raise InputError(Reason.DAMAGED, "render")


def _reported(frames: Iterator[FrameT], total: int, progress: Callable[[float], None]) -> Iterator[FrameT]:
    for frame in frames:
        yield frame
        progress((frame.index + 1) / total)
