"""Events of what happens around copies: batches, retention. A part of the closed list in `events.py`."""

from dataclasses import dataclass

from blurd.errors import Reason
from blurd.event import Event, Level
from blurd.records import FolderName


@dataclass(frozen=True, slots=True)
class BatchCompleted(Event):
    """Every file of a first-level subfolder of inbound is accounted for, and nothing changed there for a while."""

    name = "batch_completed"
    folder: FolderName
    files: int
    published: int
    rejected: int
    failed: int
    ignored: int


@dataclass(frozen=True, slots=True)
class OriginalArchived(Event):
    """An original was moved to the archive, as the folder's retention says."""

    name = "original_archived"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class OriginalDeleted(Event):
    """An original was deleted, as the folder's retention says."""

    name = "original_deleted"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class CopyDeleted(Event):
    """A copy that nobody fetched in time was removed from outbound, as the folder's retention says."""

    name = "copy_deleted"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class RetentionPaused(Event):
    """Retention can't go on in a folder; nothing is taken away there until it can. It goes on by itself."""

    name = "retention_paused"
    level = Level.WARNING
    folder: FolderName
    reason: Reason


@dataclass(frozen=True, slots=True)
class RetentionResumed(Event):
    """Retention goes on in a folder."""

    name = "retention_resumed"
    folder: FolderName


UPKEEP_EVENTS: tuple[type[Event], ...] = (
    BatchCompleted,
    OriginalArchived,
    OriginalDeleted,
    CopyDeleted,
    RetentionPaused,
    RetentionResumed,
)
