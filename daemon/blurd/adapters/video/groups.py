"""The groups of pictures of an H.264 stream that can be taken over into a copy as they are coded.

A group begins with a picture from which on nothing before is needed (IDR), so it can be cut out and put beside pictures
that were encoded anew.

Invariants
* What is taken over shows what the decoder showed, and holds nothing else: pictures are sent once, whole, in one layer;
  all that is cut off their sides is filled-up blocks; of the units beside the pictures none is taken along.
* All groups have the same parameter sets. A stream for which any of this is not so has no groups.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from blurd.core import h264

_PROFILES: Final = frozenset({66, 77, 100, 110})
"""Baseline, Main, High and High 10 (ITU-T H.264, annex A)."""
_BLOCK_PX: Final = 16
_MOST_SETS: Final = 64


@dataclass(frozen=True, slots=True)
class Groups:
    """Where groups begin, by the packets' places, which are the frames' too; and what decoders need to know first.

    `delay` is by how many places at most a picture is decoded before it is shown.
    """

    starts: "array[int]"
    delay: int
    sequence: h264.SequenceSet
    sets: tuple[bytes, ...]
    frames: int

    def clear(self, is_masked: Callable[[int], bool], least: int) -> tuple[range, ...]:
        """The groups in which no frame is masked, but for those in runs of fewer than so many frames."""
        found: list[range] = []
        run: list[range] = []
        for group in (*map(range, self.starts, (*self.starts[1:], self.frames)), None):
            if group is not None and not any(map(is_masked, group)):
                run.append(group)
                continue
            if sum(map(len, run)) >= min(least, self.frames):
                found += run
            run = []
        return tuple(found)


class GroupFinder:
    """Looks at a stream's packets, one after the other."""

    def __init__(self, extradata: bytes) -> None:
        self._sets: dict[tuple[int, int], bytes] = {}
        self._sequence: h264.SequenceSet | None = None
        self._starts = array("q")
        self._fits = True
        try:
            self._length_bytes, sets = h264.read_header(extradata)
            for unit in sets:
                self._add_set(unit)
        except ValueError:
            self._fits = False

    def add(self, place: int, payload: bytes) -> None:
        """Look at the packet at this place."""
        if not self._fits:
            return
        try:
            for unit in h264.units(payload, self._length_bytes):
                kind = h264.kind_of(unit)
                self._fits = self._fits and kind in h264.PLAIN
                if kind in (h264.SEQUENCE_SET, h264.PICTURE_SET):
                    self._add_set(unit)
                elif kind == h264.SLICE_OF_IDR and (not self._starts or self._starts[-1] != place):
                    self._starts.append(place)
        except ValueError:
            self._fits = False

    def _add_set(self, unit: bytes) -> None:
        kind = h264.kind_of(unit)
        if kind == h264.SEQUENCE_SET:
            sequence = h264.sequence_set(unit)
            number, plain = sequence.number, sequence.progressive and sequence.hidden < _BLOCK_PX
            plain = plain and sequence.profile in _PROFILES
        elif kind == h264.PICTURE_SET:
            picture = h264.picture_set(unit)
            number, plain = picture.number, picture.plain
        else:  # extensions, and further information
            return
        if not plain or self._sets.setdefault((kind, number), unit) != unit or len(self._sets) > _MOST_SETS:
            raise ValueError(kind)
        if kind == h264.SEQUENCE_SET:
            self._sequence = self._sequence or sequence
            if sequence != self._sequence:
                raise ValueError(kind)

    def result(self, stamps: Sequence[int], ordered: Sequence[int]) -> Groups | None:
        """The groups; `stamps` are the times of all packets in order of decoding, `ordered` the same rising."""
        if not self._fits or self._sequence is None or len(stamps) != len(ordered):
            return None
        starts, newest, delay, place = array("q"), None, 0, 0
        for index, stamp in enumerate(stamps):
            delay = max(delay, index - (bisect_right(ordered, stamp) - 1))
            if place < len(self._starts) and self._starts[place] == index:
                place += 1
                if ordered[index] == stamp and (newest is None or newest < stamp):
                    starts.append(index)
            newest = stamp if newest is None else max(newest, stamp)
        if not starts:
            return None
        sets = tuple(self._sets.values())
        return Groups(starts, delay, self._sequence, sets, len(ordered))
