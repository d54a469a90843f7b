"""Verify: prove that the encoded copy is what was planned and shows nobody.

Checked on the copy as a stranger would read it
* nothing beside the picture is in the file (allow-list of its format),
* format, size and number of frames are the planned ones,
* every frame is the source's frame with the planned masks, within what its encoding may change,
* a second detection finds nothing that no mask covers.

A mask changes what the detector sees, and sometimes makes a hit of its own: half blur, half collar. Such a hit lies
mostly on a mask and the source shows nothing there, not even at the detector's floor. It needs less cover than a hit
that the source has too.

Invariant: anything but the last raises; the last is returned, because it can be repaired.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import BinaryIO

from blurd.core.geometry import overlap
from blurd.core.masking import covered_share
from blurd.core.timeline import MaskRules
from blurd.errors import EquipmentError, InputError, Reason
from blurd.ports import Detector, FrameT, MediaCodec, MediaSource
from blurd.records import Detection, FrameObservation, Mask, Timeline

COVERED_SHARE = 0.9
"""A detection on the copy is accounted for when this share of its box lies under masks."""
COVERED_SHARE_OF_ARTEFACT = 0.5
"""The same for a detection that the source does not have."""
SAME_IOU = 0.3
"""Overlap from which a detection on the source is the one on the copy."""

Leaks = tuple[tuple[Detection, ...], ...]
"""For every frame the detections that no mask covers."""


def verify(
    source: MediaSource[FrameT],
    observations: Sequence[FrameObservation],
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
    planned = zip(observations, timeline.frames, strict=True)
    try:
        for plan, original, frame in zip_longest(planned, source.frames(), found.frames()):
            if plan is None or original is None or frame is None:
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            observation, masks = plan
            if not source.compare(original.masked(masks), frame):
                raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify")
            hits = [hit for hit in detector.detect(frame.rgb()) if hit.score >= rules.start_threshold(hit.category)]
            leaks.append(tuple(hit for hit in hits if not _is_covered(hit, masks, observation.detections)))
    except InputError as error:
        raise EquipmentError(Reason.OUTPUT_DIFFERS, "verify") from error
    return tuple(leaks)


def _is_covered(hit: Detection, masks: Sequence[Mask], in_source: Sequence[Detection]) -> bool:
    same = any(seen.category is hit.category and overlap(seen.box, hit.box) >= SAME_IOU for seen in in_source)
    return covered_share(hit.box, masks) >= (COVERED_SHARE if same else COVERED_SHARE_OF_ARTEFACT)
