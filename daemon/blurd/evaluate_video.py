"""`blurd evaluate --video`: how well the product's own masks hide the objects of an annotated video.

What is measured is what runs: the same analysis, tracks and timeline that make a copy, with the configured models,
thresholds and mask settings. The copy itself is not written; its verification could only add masks.

Invariant: every frame of the video is measured, or there are no figures.
"""

import hashlib
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurd import __version__
from blurd.adapters.files import sha256_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.mot import AnnotatedVideo, read_video_annotations
from blurd.config import Policy, Settings
from blurd.core.exposure import Exposure, Film, TrackExposure, measure, over_blur
from blurd.equipment import build_codec, build_detector, mask_rules
from blurd.errors import EquipmentError, InputError, Reason
from blurd.records import Category, FrameObservation, MediaFacts, MediaKind
from blurd.stages.analyse import analyse
from blurd.stages.plan import plan


@dataclass(frozen=True, slots=True)
class VideoEvaluation:
    """The whole result. Shares are 0..1; what is not defined is None."""

    exposures: Mapping[Category, Exposure]
    over_blur: float
    masks: int
    film: Film
    seconds: float
    device: str
    model_hash: str
    data_sha256: str
    settings_sha256: str

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the last one's end."""
        return self.film.times_s[-1] - self.film.times_s[0]

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "classes": {str(category): _figures(exposure) for category, exposure in self.exposures.items()},
            "over_blur": self.over_blur,
            "masks": self.masks,
            "frames": self.film.frames,
            "duration_s": self.duration_s,
            "frames_per_second": self.film.frames / self.seconds if self.seconds else None,
            "device": self.device,
            "version": __version__,
            "model_sha256": self.model_hash,
            "data_sha256": self.data_sha256,
            "settings_sha256": self.settings_sha256,
        }


def evaluate_video(
    settings: Settings,
    policy: Policy,
    annotations: Path,
    video: Path,
    wanted: Sequence[Category] | None,
    progress: Callable[[int, int], None],
) -> VideoEvaluation:
    """Measure the masks of one video; all that is annotated, where nothing is `wanted`.

    `progress` is called with the frames done and their number. Raises `EquipmentError` with a detail that says what is
    wrong with the annotations or the video.
    """
    annotated = read_video_annotations(annotations, video.name, wanted or (), policy.classes)
    categories = tuple(wanted or sorted(annotated.categories))
    absent = [category for category in categories if category not in annotated.categories]
    if absent or not categories:
        raise _bad(f"{annotations} does not annotate {absent[0] if absent else 'anything'}.")
    policy = policy.model_copy(update={"classes": categories})
    detector = build_detector(settings, policy, categories, MediaKind.VIDEO)
    rules = mask_rules(policy, detector)
    try:
        with InboundFolder(video.parent) as inbound, inbound.open(video.name, allow_hard_links=True) as file:
            video_sha256 = sha256_of(file)
            source = build_codec(settings.limits, policy).open(file)
            facts = source.facts
            if facts.kind is not MediaKind.VIDEO:
                raise _bad(f"{video} is no video; for pictures, use --images.")
            started_s = time.perf_counter()
            observations = analyse(
                source,
                detector,
                rules.start_threshold,
                lambda share: progress(round(share * facts.frames), facts.frames),
                rules.change,
            )
            seconds = time.perf_counter() - started_s
            timeline = plan(observations, rules, source.facts)
    except InputError as error:
        raise _bad(f"{video} can't be read ({error.reason}).") from error
    film = _film(facts, observations)
    sightings = annotated.sightings(film.frames, categories)
    found = measure(film, sightings, timeline.frames)
    return VideoEvaluation(
        exposures={category: found.get(category, Exposure(category, ())) for category in categories},
        over_blur=over_blur(film, sightings, timeline.frames),
        masks=timeline.mask_count,
        film=film,
        seconds=seconds,
        device=str(detector.device),
        model_hash=detector.model_hash,
        data_sha256=_data_sha256(annotated, video_sha256),
        settings_sha256=policy.hash,
    )


def _film(facts: MediaFacts, observations: Sequence[FrameObservation]) -> Film:
    """When each frame is shown; the last one for as long as most are."""
    times_s = [observation.time_s for observation in observations]
    steps_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    times_s.append(times_s[-1] + (statistics.median(steps_s) if steps_s else facts.duration_s))
    return Film(facts.width_px, facts.height_px, times_s)


def _figures(exposure: Exposure) -> dict[str, Any]:
    return {
        "coverage": exposure.coverage,
        "track_coverage": exposure.track_coverage,
        "objects": len(exposure.tracks),
        "object_frames": exposure.object_frames,
        "tracks_ever_uncovered": exposure.tracks_ever_uncovered,
        "objects_never_covered": exposure.objects_never_covered,
        "longest_exposure_frames": exposure.longest_exposure_frames,
        "longest_exposure_s": exposure.longest_exposure_s,
        "flicker_per_s": exposure.flicker_per_s,
        "tracks": [_track_figures(track) for track in exposure.tracks],
    }


def _track_figures(track: TrackExposure) -> dict[str, Any]:
    return {
        "track": track.track,
        "coverage": track.coverage,
        "frames": track.frames,
        "seconds": track.seconds,
        "mask_changes": track.changes,
        "longest_exposure_frames": track.longest_exposure_frames,
        "longest_exposure_s": track.longest_exposure_s,
        "first_exposed_frame": track.first_exposed,
    }


def _data_sha256(annotated: AnnotatedVideo, video_sha256: str) -> str:
    return hashlib.sha256((annotated.sha256 + video_sha256).encode()).hexdigest()


def _bad(detail: str) -> EquipmentError:
    return EquipmentError(Reason.ANNOTATIONS_INVALID, "evaluate", detail)
