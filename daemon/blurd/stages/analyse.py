"""Analyse: decode every frame and detect on it. Keeps boxes, never frames.

A page of an image is looked at as it is. Of a video, a part of a picture that did not change since it was looked at is
not looked at again, and a frame between two others that shows nothing new is left to them: the rule, and why it is
safe, stands in `core/change`.

Invariants
* There is one observation for each frame that the source has, in order, or an error; never one less.
* What is left out is left out by that rule alone. An observation whose frame was left to its neighbours says so.
* At most four times `ChangeRule.most_between` + 1 frames are held: frames are decoded ahead in a thread of its own, and
  those between two looks are looked at in another while the next look is under way. Neither changes what the others
  read; the observations don't depend on who is first.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from blurd.core.ahead import ahead
from blurd.core.change import BlockMask, Blocks, ChangeRule, blocks_under, changed, hull, is_cut, regions, unexplained
from blurd.core.geometry import overlap
from blurd.core.tables import ObservationTable
from blurd.errors import InputError, Reason
from blurd.ports import Detector, Frame, FrameT, MediaSource
from blurd.records import Box, Category, Detection, FrameObservation, MediaKind, RgbPicture

SAME_IOU = 0.3
"""Overlap from which a hit in one analysed frame and a hit in the next are the same thing, moved a little."""

Threshold = Callable[[Category], float]


def analyse(
    source: MediaSource[FrameT],
    detector: Detector,
    start_threshold: Threshold,
    progress: Callable[[float], None],
    rule: ChangeRule = ChangeRule(),  # noqa: B008  frozen
) -> Sequence[FrameObservation]:
    """What the detector sees in each frame of the source."""
    observations = ObservationTable()
    is_video = source.facts.kind is MediaKind.VIDEO
    look = _Lookout(detector, start_threshold, rule).watch if is_video else _each(detector)
    for observation in look(_counted(source)):
        observations.append(observation)
        progress(min(1.0, len(observations) / max(source.facts.frames, 1)))
    if len(observations) != source.facts.frames:
        raise InputError(Reason.DAMAGED, "analyse")
    return observations


def _counted(source: MediaSource[FrameT]) -> Iterator[Frame]:
    for count, frame in enumerate(source.frames()):
        if frame.index != count:
            raise InputError(Reason.DAMAGED, "analyse")
        yield frame


def _each(detector: Detector) -> Callable[[Iterable[Frame]], Iterator[FrameObservation]]:
    def look(frames: Iterable[Frame]) -> Iterator[FrameObservation]:
        return (FrameObservation(frame.index, frame.time_s, detector.detect(frame.rgb())) for frame in frames)

    return look


@dataclass(frozen=True, slots=True)
class _Seen:
    """A frame on its way: what it shows, by its blocks, and whether a scene begins with it."""

    frame: Frame
    blocks: Blocks
    cut: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known after a look: the blocks as they were when last looked at, and what was found there."""

    blocks: Blocks
    detections: tuple[Detection, ...]


class _Lookout:
    """Goes through one video. `_known` is None until the first frame was looked at."""

    def __init__(self, detector: Detector, start_threshold: Threshold, rule: ChangeRule) -> None:
        self._detector, self._start_threshold, self._rule = detector, start_threshold, rule
        self._known: _Known | None = None
        self._pending: deque[Future[FrameObservation]] = deque()
        self._known_s = 0.0
        self._whole_s = 0.0

    def watch(self, frames: Iterable[Frame]) -> Iterator[FrameObservation]:
        """One observation for each frame, in order, some frames late."""
        waiting: list[_Seen] = []
        aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="between")
        try:
            for seen in ahead(self._seen(frames), self._rule.most_between):
                if seen.cut:
                    self._settle(waiting, aside)
                    waiting = []
                    self._known = None
                waiting.append(seen)
                if self._is_due(waiting):
                    self._settle(waiting, aside)
                    waiting = []
                yield from self._ready(2 * self._rule.most_between)
            self._settle(waiting, aside)
            yield from self._ready(0)
        finally:
            aside.shutdown(cancel_futures=True)

    def _seen(self, frames: Iterable[Frame]) -> Iterator[_Seen]:
        previous: Blocks | None = None
        for frame in frames:
            blocks = frame.blocks()
            yield _Seen(frame, blocks, previous is not None and is_cut(previous, blocks, self._rule))
            previous = blocks

    def _ready(self, most: int) -> Iterator[FrameObservation]:
        """The observations that are there; waits until at most so many are not."""
        while self._pending and (len(self._pending) > most or self._pending[0].done()):
            yield self._pending.popleft().result()

    def _is_due(self, waiting: Sequence[_Seen]) -> bool:
        newest, rule = waiting[-1], self._rule
        if self._known is None or len(waiting) > rule.most_between:
            return True
        if newest.frame.time_s - self._known_s >= rule.longest_between_s:
            return True
        return not changed(self._known.blocks, newest.blocks, rule).any()

    def _settle(self, waiting: Sequence[_Seen], aside: Executor) -> None:
        """Look at the newest of these frames, and aside at those of the others that show something of their own."""
        if not waiting:
            return
        *between, newest = waiting
        before = self._known
        after = self._look(newest)
        if before is not None:  # else there is none between: the first frame of a scene is looked at at once
            self._pending.extend(aside.submit(self._between, seen, before, after) for seen in between)
        settled: Future[FrameObservation] = Future()
        settled.set_result(_observation(newest, after.detections))
        self._pending.append(settled)
        self._known, self._known_s = after, newest.frame.time_s

    def _look(self, seen: _Seen) -> _Known:
        """Look at what changed in this frame; the rest is as it was."""
        known, rule = self._known, self._rule
        time_s = seen.frame.time_s
        if known is None:
            return self._look_at_all(seen)
        fresh = changed(known.blocks, seen.blocks, rule)
        if not fresh.any():
            return known
        if time_s - self._whole_s >= rule.refresh_s:
            return self._look_at_all(seen)
        picture = seen.frame.rgb()
        parts = self._parts(fresh, known.detections, picture)
        if parts is None:
            return self._look_at_all(seen, picture)
        blocks = known.blocks.copy()
        for part in parts:
            place = blocks_under(part, blocks.shape, picture.shape[1], picture.shape[0])
            blocks[place] = seen.blocks[place]
        return _Known(blocks, _elsewhere(known.detections, parts) + self._hits(picture, parts))

    def _look_at_all(self, seen: _Seen, picture: RgbPicture | None = None) -> _Known:
        self._whole_s = seen.frame.time_s
        return _Known(seen.blocks, self._detector.detect(seen.frame.rgb() if picture is None else picture))

    def _between(self, seen: _Seen, before: _Known, after: _Known) -> FrameObservation:
        """A frame between two that were looked at: left to them, but for what it shows of its own."""
        rule = self._rule
        fresh: BlockMask = changed(before.blocks, seen.blocks, rule)
        if not fresh.any():
            return _observation(seen, before.detections)
        still = _still(before.detections, fresh, seen.frame)
        strange = unexplained(before.blocks, seen.blocks, after.blocks, rule)
        lonely = self._without_partner(before.detections, after.detections)
        if not strange.any() and not lonely:
            return replace(_observation(seen, still), analysed=False)
        picture = seen.frame.rgb()
        for box in lonely:
            rows, columns = blocks_under(box, strange.shape, picture.shape[1], picture.shape[0])
            strange[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = True
        parts = self._parts(strange, (*before.detections, *after.detections), picture)
        if parts is None:
            return _observation(seen, self._detector.detect(picture))
        return replace(_observation(seen, _elsewhere(still, parts) + self._hits(picture, parts)), analysed=False)

    def _without_partner(self, first: Sequence[Detection], second: Sequence[Detection]) -> list[Box]:
        """Places of things that one of two looks shows and the other does not, or far away."""
        return [
            hit.box
            for ours, theirs in ((first, second), (second, first))
            for hit in ours
            if self._is_sure(hit)
            and not any(hit.category is other.category and overlap(hit.box, other.box) >= SAME_IOU for other in theirs)
        ]

    def _is_sure(self, hit: Detection) -> bool:
        return hit.score >= self._start_threshold(hit.category)

    def _parts(self, wanted: BlockMask, hits: Iterable[Detection], picture: RgbPicture) -> tuple[Box, ...] | None:
        """Where to look for these blocks: so that no sure thing is cut, or everywhere."""
        sure = (hit.box for hit in hits if self._is_sure(hit))
        return regions(wanted, sure, picture.shape[1], picture.shape[0], self._rule)

    def _hits(self, picture: RgbPicture, parts: Sequence[Box]) -> tuple[Detection, ...]:
        return tuple(hit for part in parts for hit in self._detector.detect(picture, part))


def _observation(seen: _Seen, detections: tuple[Detection, ...]) -> FrameObservation:
    return FrameObservation(seen.frame.index, seen.frame.time_s, detections, cut=seen.cut)


def _elsewhere(hits: Sequence[Detection], parts: Sequence[Box]) -> tuple[Detection, ...]:
    """The hits that were not looked for again: those that don't lie wholly in a part that was."""
    return tuple(hit for hit in hits if not any(hull(hit.box, part) == part for part in parts))


def _still(detections: Sequence[Detection], fresh: BlockMask, frame: Frame) -> tuple[Detection, ...]:
    """Those of the known things whose place did not change at all."""
    width, height = frame.size_px
    kept: list[Detection] = []
    for hit in detections:
        rows, columns = blocks_under(hit.box, fresh.shape, width, height)
        if not fresh[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1].any():
            kept.append(hit)
    return tuple(kept)
