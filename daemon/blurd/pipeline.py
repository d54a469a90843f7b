"""The way of one file through analyse, plan, render and verify: the same for the queue and for `blurd blur`.

Invariants
* The source is opened once; every pass reads that handle, so two versions of a file never mix.
* The target holds a verified copy when `treat` returns; on any error its content is meaningless and must be discarded.
* A detection on the copy that no mask covers is masked solid and rendered again, `MAX_REPAIRS` times; from then on the
  region around it is masked generously, twice as far each time, which ends because a covered picture shows nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from blurd.adapters.files import sha256_of, size_of
from blurd.core.timeline import MaskRules, repair
from blurd.ports import Detector, MediaCodec
from blurd.records import MediaFacts, Verdict
from blurd.stages.analyse import analyse
from blurd.stages.plan import plan
from blurd.stages.render import render
from blurd.stages.verify import verify

MAX_REPAIRS = 4
MAX_RENDERS = 24

Progress = Callable[[float], None]
"""Called with 0..1 as the work goes on; may raise to stop it."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What became of one file: facts of the copy, hashes, and how long each stage took."""

    facts: MediaFacts
    verdict: Verdict
    size: int
    sha256: str
    source_sha256: str
    source_size: int
    stage_seconds: Mapping[str, float]


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds = {"analyse": 0.0, "plan": 0.0, "render": 0.0, "verify": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds[name] + time.monotonic() - started, 4)


def treat(
    source_file: BinaryIO,
    target: BinaryIO,
    codec: MediaCodec,
    detector: Detector,
    rules: MaskRules,
    progress: Progress,
) -> Treatment:
    """Write a masked and verified copy of `source_file` to `target`, an empty file open for writing and reading.

    Raises `InputError` where the source can't be treated, `EquipmentError` where a disk or a model fails.
    """
    watch = _Stopwatch()
    source_sha256, source_size = sha256_of(source_file), size_of(source_file)
    with watch.stage("analyse"):
        source = codec.open(source_file)
        observations = analyse(source, detector, lambda share: progress(0.5 * share))
    with watch.stage("plan"):
        timeline = plan(observations, rules)
    planned = timeline.mask_count
    for renders in range(1, MAX_RENDERS + 1):
        target.seek(0)
        target.truncate()
        with watch.stage("render"):
            render(source, timeline, target)
        progress(0.75)
        with watch.stage("verify"):
            leaks = verify(source, observations, timeline, target, codec, detector, rules)
        progress(0.95)
        if not any(leaks):
            return Treatment(
                facts=source.output_facts,
                verdict=Verdict(renders, timeline.mask_count - planned),
                size=size_of(target),
                sha256=sha256_of(target),
                source_sha256=source_sha256,
                source_size=source_size,
                stage_seconds=watch.seconds,
            )
        timeline = repair(timeline, leaks, max(0, renders - MAX_REPAIRS))
    raise AssertionError("a picture that is masked all over shows nothing")
