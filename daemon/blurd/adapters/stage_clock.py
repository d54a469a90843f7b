"""The clock of one file's treatment: how long each stage and its inner parts take. `core/stages.py` says what is what.

Parts are measured where a stage meets its source and its detector, from outside: what a stage does is not changed by
being measured. May be used from several threads.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from blurd.core.stages import Stage
from blurd.ports import Detector, FrameT, MediaSource
from blurd.records import Box, Category, Detection, MediaFacts, RgbPicture


class StageClock:
    """Seconds by stage, from the moment it is made."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._seconds = dict.fromkeys(Stage, 0.0)
        self._lock = threading.Lock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the treatment began."""
        return time.monotonic() - self._started_s

    def seconds(self) -> dict[str, float]:
        """What each stage took so far."""
        with self._lock:
            return {str(stage): round(seconds, 4) for stage, seconds in self._seconds.items()}

    def add(self, stage: Stage, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Count the time of a block, whether it ends well or not."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - started_s)

    def waiting(self, frames: Iterator[FrameT], stage: Stage, sign: float = 1.0) -> Iterator[FrameT]:
        """The frames; the time that each lets wait for itself is counted (or taken off, with a negative sign)."""
        while True:
            started_s = time.monotonic()
            try:
                frame = next(frames)
            except StopIteration:
                return
            finally:
                self.add(stage, sign * (time.monotonic() - started_s))
            yield frame


class ClockedSource(MediaSource[FrameT]):
    """A source as it is, whose decoding and encoding are measured.

    Decoding is counted in the first pass alone: in the second it is a part of what the encoder waits for.
    """

    def __init__(self, source: MediaSource[FrameT], clock: StageClock, *, decodes: bool = False) -> None:
        self._source, self._clock, self._decodes = source, clock, decodes

    @property
    def facts(self) -> MediaFacts:
        """See `MediaSource.facts`."""
        return self._source.facts

    @property
    def output_facts(self) -> MediaFacts:
        """See `MediaSource.output_facts`."""
        return self._source.output_facts

    def frames(self, without: Sequence[range] = ()) -> Iterator[FrameT]:
        """See `MediaSource.frames`."""
        frames = self._source.frames(without)
        return self._clock.waiting(frames, Stage.DECODE) if self._decodes else frames

    def untouched(self, is_masked: Callable[[int], bool]) -> tuple[range, ...]:
        """See `MediaSource.untouched`."""
        return self._source.untouched(is_masked)

    def write(self, frames: Iterator[FrameT], target: BinaryIO, taken: Sequence[range] = ()) -> None:
        """See `MediaSource.write`."""
        with self._clock.stage(Stage.ENCODE):
            self._source.write(self._clock.waiting(frames, Stage.ENCODE, -1.0), target, taken)

    def has_taken_over(self, taken: Sequence[range], copy: Any) -> bool:
        """See `MediaSource.has_taken_over`."""
        return self._source.has_taken_over(taken, copy)

    def same_time(self, time_s: float, found: FrameT) -> bool:
        """See `MediaSource.same_time`."""
        return self._source.same_time(time_s, found)

    def compare(self, proof: Any, found: FrameT) -> bool:
        """See `MediaSource.compare`."""
        return self._source.compare(proof, found)


class ClockedDetector(Detector):
    """A detector as it is, whose calls are measured."""

    def __init__(self, detector: Detector, clock: StageClock) -> None:
        self._detector, self._clock = detector, clock

    @property
    def categories(self) -> frozenset[Category]:
        """See `Thresholds.categories`."""
        return self._detector.categories

    @property
    def model_hash(self) -> str:
        """See `Detector.model_hash`."""
        return self._detector.model_hash

    def start_threshold(self, category: Category) -> float:
        """See `Thresholds.start_threshold`."""
        return self._detector.start_threshold(category)

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        """See `Detector.detect`."""
        with self._clock.stage(Stage.DETECT):
            return self._detector.detect(picture, part)

    def rest(self) -> None:
        """See `Detector.rest`."""
        self._detector.rest()
