"""Plan: turn what was seen into what is masked, frame by frame."""

from collections.abc import Sequence

from blurd.core.tables import MaskTable
from blurd.core.timeline import MaskRules, masks_of, plan_video
from blurd.records import FrameObservation, MediaFacts, MediaKind, Timeline


def plan(observations: Sequence[FrameObservation], rules: MaskRules, facts: MediaFacts) -> Timeline:
    """The timeline for one file: of a video along tracks, of an image page by page."""
    if facts.kind is MediaKind.VIDEO:
        return plan_video(observations, rules, (facts.width_px, facts.height_px))
    return Timeline(MaskTable(masks_of(observation.detections, rules) for observation in observations))
