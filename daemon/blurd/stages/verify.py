"""Verify: prove that the encoded copy is what was planned and shows nobody.

Checked on the copy as a stranger would read it
* nothing beside the picture is in the file (allow-list of its format),
* format, size and number of frames are the planned ones,
* every frame has the source's time,
* every frame is the source's frame with the planned masks, within what its encoding may change,
* a second detection finds nothing that no mask covers.

Of a video the last two are checked on samples: the first frame, the last, and one in each `SAMPLE_EVERY_S` (at most
`MOST_SAMPLES` in all); of those that stand there one that was left to its neighbours, where there is one.

Groups of frames that were handed on as they are coded must be in the copy bit for bit; of them the second detection
looks at a sample in each `SAMPLE_TAKEN_EVERY_S`.

A mask changes what the detector sees, and sometimes makes a hit of its own: half blur, half collar. Such a hit lies
mostly on a mask and the source shows nothing there, not even at the detector's floor. It needs less cover than a hit
that the source has too.

Invariant: anything but the last raises; the last is returned, because it can be repaired.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from blurd.core.ahead import ahead
from blurd.core.geometry import overlap
from blurd.core.groups import beside, spread, without_those_of
from blurd.core.masking import covered_share
from blurd.errors import EquipmentError, InputError, Reason
from blurd.ports import FrameT, MediaCodec, MediaSource
from blurd.records import Detection, FrameObservation, Mask, MediaFacts, MediaKind, RgbPicture, Timeline

COVERED_SHARE = 0.9
"""A detection on the copy is accounted for when this share of its box lies under masks."""
COVERED_SHARE_OF_ARTEFACT = 0.5
"""The same for a detection that the source does not have."""
SAME_IOU = 0.3
"""Overlap from which a detection on the source is the one on the copy."""

SAMPLE_EVERY_S = 5.0
SAMPLE_TAKEN_EVERY_S = 30.0
MOST_SAMPLES = 400
AHEAD = 2
"""Frames of a video that are decoded before they are looked at."""
LOOKS_AT_ONCE = 2
"""Frames of a video that are looked at side by side."""
SAME_DURATION_S = 0.1
"""Containers differ in how they note the last frame's duration."""

Look = Callable[[RgbPicture], Sequence[Detection]]
"""Finds what would have to be masked in a picture: hits from their start threshold on."""
Leaks = Mapping[int, tuple[Detection, ...]]
"""For each frame that shows any, by its index, the detections that no mask covers."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the copy must be: what was seen in the source, what was masked, which groups are the source's own.

    `sampled` are the frames to be looked at; there is a proof of each that is in none of the groups.
    """

    observations: Sequence[FrameObservation]
    timeline: Timeline
    sampled: frozenset[int]
    proofs: Mapping[int, Any]
    taken: Sequence[range] = ()


def verify(
    source: MediaSource[FrameT],
    expected: Expected,
    copy: BinaryIO,
    codec: MediaCodec,
    look: Look,
    progress: Callable[[float], None],
) -> Leaks:
    """Check `copy`.

    Raises OUTPUT_DIFFERS or METADATA_LEFT; returns what is still to be seen.
    """
    copy.seek(0)
    if codec.leftovers(copy):
        raise EquipmentError(Reason.METADATA_LEFT, "verify")
    copy.seek(0)
    observations = expected.observations
    is_video = source.facts.kind is MediaKind.VIDEO
    looks = _Looks(expected, look, LOOKS_AT_ONCE if is_video else 1)
    looked_at, passed_over = _choose(expected)
    places = beside(passed_over, len(observations))
    try:
        found = codec.open(copy)
        for frame in ahead(found.frames(passed_over), AHEAD if is_video else 0):
            index = frame.index
            if index != next(places, None) or not source.same_time(observations[index].time_s, frame):
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            if index in expected.proofs and not source.compare(expected.proofs[index], frame):
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            if index in looked_at:
                looks.begin(index, frame.rgb())
            progress((index + 1) / len(observations))
        leaks = looks.end()
        is_whole = next(places, None) is None and source.has_taken_over(expected.taken, found)
    except InputError as error:
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify") from error
    finally:
        looks.close()
    if not is_whole or not _same(found.facts, source.output_facts):
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
    return leaks


def _choose(expected: Expected) -> tuple[frozenset[int], tuple[range, ...]]:
    """The frames to look at, and the groups that need not be decoded for that."""
    of_groups = expected.sampled - expected.proofs.keys()
    times = ((index, expected.observations[index].time_s) for index in of_groups)
    chosen = spread(times, SAMPLE_TAKEN_EVERY_S)
    return frozenset({*expected.proofs, *chosen}), without_those_of(expected.taken, chosen)


class _Looks:
    """The second detections, some at once; what they find that no mask covers."""

    def __init__(self, expected: Expected, look: Look, at_once: int) -> None:
        self._expected, self._look, self._at_once = expected, look, at_once
        self._lookers = ThreadPoolExecutor(at_once, thread_name_prefix="verify")
        self._running: deque[tuple[int, Future[Sequence[Detection]]]] = deque()
        self._leaks: dict[int, tuple[Detection, ...]] = {}

    def begin(self, index: int, picture: RgbPicture) -> None:
        """Look at a frame of the copy, when there is somebody free to do so."""
        while len(self._running) >= self._at_once:
            self._finish()
        self._running.append((index, self._lookers.submit(self._look, picture)))

    def end(self) -> Leaks:
        """What all of them found."""
        while self._running:
            self._finish()
        return self._leaks

    def close(self) -> None:
        """Begin no more."""
        self._lookers.shutdown(cancel_futures=True)

    def _finish(self) -> None:
        index, looking = self._running.popleft()
        masks, in_source = self._expected.timeline.frames[index], self._expected.observations[index].detections
        left = tuple(hit for hit in looking.result() if not _is_covered(hit, masks, in_source))
        if left:
            self._leaks[index] = left


def samples(observations: Sequence[FrameObservation], kind: MediaKind) -> frozenset[int]:
    """The frames that are looked at again."""
    if kind is not MediaKind.VIDEO:
        return frozenset(range(len(observations)))
    first_s = observations[0].time_s
    spacing_s = max(SAMPLE_EVERY_S, (observations[-1].time_s - first_s) / MOST_SAMPLES)
    chosen: dict[int, tuple[bool, int]] = {}
    for observation in observations:
        place = int((observation.time_s - first_s) / spacing_s)
        chosen[place] = min(chosen.get(place, (True, observation.index)), (observation.analysed, observation.index))
    return frozenset({0, len(observations) - 1} | {index for _, index in chosen.values()})


def _same(found: MediaFacts, planned: MediaFacts) -> bool:
    same_duration = math.isclose(found.duration_s, planned.duration_s, rel_tol=0, abs_tol=SAME_DURATION_S)
    return same_duration and replace(found, duration_s=planned.duration_s) == planned


def _is_covered(hit: Detection, masks: Sequence[Mask], in_source: Sequence[Detection]) -> bool:
    same = any(seen.category is hit.category and overlap(seen.box, hit.box) >= SAME_IOU for seen in in_source)
    return covered_share(hit.box, masks, hit.outline) >= (COVERED_SHARE if same else COVERED_SHARE_OF_ARTEFACT)
