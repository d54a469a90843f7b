"""Verify: prove that the encoded copy is what was planned and shows nobody.

Checked on the copy as a stranger would read it
* nothing beside the picture is in the file (allow-list of its format),
* format, size and number of frames are the planned ones,
* every frame is the source's frame with the planned masks, within what its encoding may change,
* a second detection finds nothing that no mask covers.

Invariant: anything but the last raises; the last is returned, because it can be repaired.
"""

from itertools import zip_longest
from typing import BinaryIO

from blurd.core.geometry import coverage
from blurd.core.timeline import MaskRules
from blurd.errors import EquipmentError, InputError, Reason
from blurd.ports import Detector, FrameT, MediaCodec, MediaSource
from blurd.records import Detection, Mask, Timeline

COVERED_SHARE = 0.9
"""A detection on the copy is accounted for when this share of its box lies under masks."""

Leaks = tuple[tuple[Detection, ...], ...]
"""For every frame the detections that no mask covers."""


def verify(
    source: MediaSource[FrameT],
    timeline: Timeline,
    copy: BinaryIO,
    codec: MediaCodec,
    detector: Detector,
    rules: MaskRules,
) -> Leaks:
    """Check `copy`. Raises OUTPUT_DIFFERS or METADATA_LEFT; returns what is still to be seen."""
    copy.seek(0)
    if codec.leftovers(copy):
        raise EquipmentError(Reason.METADATA_LEFT, "verify")
    copy.seek(0)
    try:
        found = codec.open(copy)
    except InputError as error:
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify") from error
    if found.facts != source.output_facts:
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
    leaks: list[tuple[Detection, ...]] = []
    try:
        for masks, original, frame in zip_longest(timeline.frames, source.frames(), found.frames()):
            if masks is None or original is None or frame is None:
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            if not source.compare(original.masked(masks), frame):
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            leaks.append(_uncovered(detector.detect(frame.rgb()), masks, rules))
    except InputError as error:
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify") from error
    return tuple(leaks)


def _uncovered(detections: tuple[Detection, ...], masks: tuple[Mask, ...], rules: MaskRules) -> tuple[Detection, ...]:
    boxes = tuple(mask.box for mask in masks)
    return tuple(
        detection
        for detection in detections
        if detection.score >= rules.start_threshold(detection.category)
        and coverage(detection.box, boxes) < COVERED_SHARE
    )
