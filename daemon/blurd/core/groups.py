"""Groups: runs of frames, as rising ranges of their indices, that are handed on as they are coded. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain


def beside(groups: Sequence[range], frames: int) -> Iterator[int]:
    """The indices of the frames, of so many, that are in none of the groups."""
    ends = (0, *(group.stop for group in groups))
    begins = (*(group.start for group in groups), frames)
    return chain.from_iterable(map(range, ends, begins))


def without_those_of(groups: Sequence[range], indices: Sequence[int]) -> tuple[range, ...]:
    """The groups that hold none of these frames, whose indices rise."""
    return tuple(group for group in groups if bisect_left(indices, group.start) == bisect_left(indices, group.stop))


def spread(frames: Iterable[tuple[int, float]], every_s: float) -> tuple[int, ...]:
    """Some of these frames, given by index and time, so that none follows another sooner than after this time."""
    chosen: list[int] = []
    last_s = -every_s
    for index, time_s in sorted(frames):
        if time_s - last_s >= every_s:
            chosen.append(index)
            last_s = time_s
    return tuple(chosen)
