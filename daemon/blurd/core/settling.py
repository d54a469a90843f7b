"""Deciding from repeated observations whether an inbound file is complete. Pure: `now_s` is an argument.

The ladder, cheapest step first; a file is ready when it has climbed all of it
1. Its name is not a temporary one (`core/naming.py`; such names never get here).
2. No local process has it open for writing (a read lease; skipped, visibly, where the file system has no leases).
3. It is not sparse-preallocated (local file systems).
4. Inode, size, mtime and ctime are unchanged for the folder's settle time, on the monotonic clock.
5. Its container is whole, as far as its format tells.
6. It is the same file just before publication (checked by the publisher, not here).
A file's own regions are a part of it: their stamp settles with the file's.

Invariants
* Age proves nothing: only time that this process has watched counts; a restart begins anew.
* A file whose container is not whole within `incomplete_after_s` is reported once and looked at again when its stamp
  changes; it is never dropped.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from blurd.core.containers import Completeness
from blurd.errors import Reason
from blurd.records import FileStamp

LONGEST_PAUSE_S = 60.0
"""Longest time between two looks at a stable file that is not yet complete."""


@dataclass(frozen=True, slots=True)
class SettleRule:
    """A folder's patience, in seconds."""

    settle_s: float
    incomplete_after_s: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file as last seen: its stamp and its regions', since when it has these, when to look again."""

    stamp: FileStamp
    since_s: float
    look_again_s: float
    regions: FileStamp | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the look at a stable file gave; None where the file system can't tell."""

    writer_gone: bool | None
    fully_allocated: bool | None
    container: Completeness


class Step(StrEnum):
    """What to do with a sighted file."""

    WAIT = "wait"
    LOOK = "look"
    """Stable: gather the evidence, then `judge`."""
    READY = "ready"
    INCOMPLETE = "incomplete"


def sight(
    previous: Sighting | None, stamp: FileStamp, now_s: float, rule: SettleRule, regions: FileStamp | None = None
) -> tuple[Sighting, Step]:
    """Note a file's stamp and its regions'; LOOK when both have been stable for the settle time."""
    if previous is None or previous.stamp != stamp or previous.regions != regions:
        return Sighting(stamp, now_s, now_s + rule.settle_s, regions), Step.WAIT
    if now_s - previous.since_s < rule.settle_s or now_s < previous.look_again_s:
        return previous, Step.WAIT
    return previous, Step.LOOK


def judge(seen: Sighting, evidence: Evidence, now_s: float, rule: SettleRule) -> tuple[Sighting, Step]:
    """The step for a stable file whose evidence was gathered.

    While somebody writes, a file waits without limit: closing it need not change its stamp, so a verdict could never be
    taken back. A hole alone does not condemn a file whose container is proven whole: it is taken after the patience is
    spent. A file that waits is looked at again after growing pauses.
    """
    stable_s = now_s - seen.since_s
    out_of_patience = stable_s >= rule.incomplete_after_s
    if evidence.writer_gone is not False:
        if evidence.container is Completeness.INCOMPLETE:
            if out_of_patience:
                return seen, Step.INCOMPLETE
        elif evidence.fully_allocated is not False:
            return seen, Step.READY
        elif out_of_patience:
            return seen, Step.READY if evidence.container is Completeness.WHOLE else Step.INCOMPLETE
    pause_s = min(max(rule.settle_s, stable_s / 4), LONGEST_PAUSE_S)
    return replace(seen, look_again_s=now_s + pause_s), Step.WAIT


def incomplete_reason(stamp: FileStamp) -> Reason:
    """Why a file counts as incomplete."""
    return Reason.EMPTY_FILE if stamp.size == 0 else Reason.INCOMPLETE
