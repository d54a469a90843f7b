"""The way of one file through analyse, plan, render and verify: the same for the queue and for `blurd blur`.

Invariants
* The source is opened once; every pass reads that handle, so two versions of a file never mix.
* The target holds a verified copy when `treat` returns; on any error its content is meaningless and must be discarded.
* A detection on the copy that no mask covers is masked solid and rendered again, `MAX_REPAIRS` times; from then on the
  region around it is masked generously, twice as far each time, which ends because a covered picture shows nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from blurd.adapters.files import sha256_of, size_of
from blurd.adapters.stage_clock import ClockedDetector, ClockedSource, StageClock
from blurd.adapters.trouble import writing
from blurd.core.stages import Stage
from blurd.core.timeline import MaskRules, repair, spread_leaks
from blurd.core.zones import Canvas, Zones, is_clear, with_zones, without_clear
from blurd.events import JobStaged
from blurd.ports import Detector, MediaCodec, MediaSource
from blurd.records import Detection, Job, MediaFacts, MediaKind, Progress, RgbPicture, Timeline, Verdict
from blurd.stages.analyse import analyse
from blurd.stages.plan import plan
from blurd.stages.render import render
from blurd.stages.verify import Expected, samples, verify

MAX_REPAIRS = 4
MAX_RENDERS = 24
REPAIR_REACH_S = 0.5
"""What a sample of a video shows is masked for so long before and after it."""

Report = Callable[[Progress], None]
"""Called as the work goes on; may raise to stop it."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What became of one file: facts of the copy, hashes, and how long each stage took (`core/stages.py`)."""

    facts: MediaFacts
    verdict: Verdict
    size: int
    sha256: str
    source_size: int
    stage_seconds: Mapping[str, float]
    model_hash: str


def treat(
    source_file: BinaryIO,
    target: BinaryIO,
    codec: MediaCodec,
    detectors: Mapping[MediaKind, Detector],
    rules: MaskRules,
    report: Report,
    zones: Zones = Zones(),  # noqa: B008  frozen
) -> Treatment:
    """Write a masked and verified copy of `source_file` to `target`, an empty file open for writing and reading.

    Raises `InputError` where the source can't be treated, `EquipmentError` where a disk or a model fails.
    """
    clock, frames = StageClock(), 0

    def progress(share: float) -> None:
        report(_progress(share, frames, clock.elapsed_s))

    source_size = size_of(source_file)
    with clock.stage(Stage.ANALYSE):
        source = codec.open(source_file)
        frames = source.facts.frames
        detector = detectors[source.facts.kind]
        clocked = ClockedSource(source, clock, decodes=True), ClockedDetector(detector, clock)
        observations = analyse(*clocked, rules.start_threshold, _part(progress, 0.0, 0.5), rules.change)
    with clock.stage(Stage.PLAN):
        canvas = _canvas(source)
        observations = without_clear(observations, zones, canvas)
        timeline = plan(observations, rules, source.facts)
    planned, sampled = timeline.mask_count, samples(observations, source.facts.kind)

    def look(picture: RgbPicture) -> tuple[Detection, ...]:
        size_px = picture.shape[1], picture.shape[0]
        hits = (hit for hit in detector.detect(picture) if hit.score >= rules.start_threshold(hit.category))
        return tuple(hit for hit in hits if not is_clear(hit, zones, size_px))

    for renders in range(1, MAX_RENDERS + 1):
        if source.facts.kind is MediaKind.VIDEO:
            detector.rest()  # the encoder needs memory too
        with writing("begin the copy"):
            target.seek(0)
            target.truncate()
        drawn = with_zones(timeline, observations, zones, canvas, rules.style)
        with clock.stage(Stage.RENDER):
            taken = source.untouched(partial(_is_masked, drawn))
            proofs = render(ClockedSource(source, clock), drawn, sampled, taken, target, _part(progress, 0.5, 0.8))
        with clock.stage(Stage.VERIFY):
            expected = Expected(observations, drawn, sampled, proofs, taken)
            leaks = verify(source, expected, target, codec, look, _part(progress, 0.8, 1.0))
        if not leaks:
            with writing("finish the copy"):
                size, sha256 = size_of(target), sha256_of(target)
            return Treatment(
                facts=source.output_facts,
                verdict=Verdict(renders, timeline.mask_count - planned),
                size=size,
                sha256=sha256,
                source_size=source_size,
                stage_seconds=clock.seconds(),
                model_hash=detector.model_hash,
            )
        if source.facts.kind is MediaKind.VIDEO:
            leaks = spread_leaks(leaks, observations, REPAIR_REACH_S)
        timeline = repair(timeline, leaks, max(0, renders - MAX_REPAIRS))
    raise AssertionError("a picture that is masked all over shows nothing")


def _is_masked(timeline: Timeline, index: int) -> bool:
    return bool(timeline.frames[index])


def staged_event(job: Job, treatment: Treatment) -> JobStaged:
    """What the log says of a treatment."""
    seconds = treatment.stage_seconds
    return JobStaged(
        job=job.id,
        folder=job.folder,
        kind=treatment.facts.kind,
        frames=treatment.facts.frames,
        renders=treatment.verdict.renders,
        source_bytes=treatment.source_size,
        output_bytes=treatment.size,
        analyse_s=seconds["analyse"],
        plan_s=seconds["plan"],
        render_s=seconds["render"],
        verify_s=seconds["verify"],
    )


def _canvas(source: MediaSource[Any]) -> Canvas:
    """The sizes of a source's pictures; the pages of an image may differ."""
    facts = source.facts
    if facts.kind is MediaKind.IMAGE and facts.frames > 1:
        return Canvas(facts.kind, tuple(frame.size_px for frame in source.frames()))
    return Canvas(facts.kind, ((facts.width_px, facts.height_px),), facts.duration_s)


def _progress(share: float, frames: int, elapsed_s: float) -> Progress:
    """What is left, if the work goes on as fast as it went so far."""
    if share <= 0 or elapsed_s <= 0:
        return Progress(share, frames=frames)
    return Progress(share, round(frames * share / elapsed_s, 2), round(elapsed_s * (1 - share) / share, 1), frames)


def _part(progress: Callable[[float], None], start: float, end: float) -> Callable[[float], None]:
    """Progress of a part of the work, as that of the whole."""
    return lambda share: progress(start + (end - start) * min(1.0, share))
