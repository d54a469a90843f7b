"""Analyse: decode every frame and detect on it. Keeps boxes, never frames.

Invariant: there is one observation for each frame that the source has, in order, or an error; never one less.
"""

from collections.abc import Callable

from blurd.errors import InputError, Reason
from blurd.ports import Detector, FrameT, MediaSource
from blurd.records import FrameObservation


def analyse(
    source: MediaSource[FrameT], detector: Detector, progress: Callable[[float], None]
) -> tuple[FrameObservation, ...]:
    """What the detector sees in each frame of the source."""
    observations: list[FrameObservation] = []
    for frame in source.frames():
        if frame.index != len(observations):
            raise InputError(Reason.DAMAGED, "analyse")
        observations.append(FrameObservation(frame.index, frame.time_s, detector.detect(frame.rgb())))
        progress(min(1.0, len(observations) / max(source.facts.frames, 1)))
    if len(observations) != source.facts.frames:
        raise InputError(Reason.DAMAGED, "analyse")
    return tuple(observations)
