"""Plan: turn what was seen into what is masked, frame by frame."""

from collections.abc import Sequence

from blurd.core.timeline import MaskRules, masks_of
from blurd.records import FrameObservation, Timeline


def plan(observations: Sequence[FrameObservation], rules: MaskRules) -> Timeline:
    """The timeline for one file: every hit at or above its start threshold is masked."""
    return Timeline(tuple(masks_of(observation.detections, rules) for observation in observations))
