"""The closed list of events: the only way to log.

Invariants
* A field is a number, a truth value, a member of an enumeration or a `FolderName`; nothing else passes `Event`'s check,
  so no file name, no text from a file and no text from a library can reach a log line.
* An event's name and message id never change once released; `EVENTS` lists all of them.
"""

import enum
import uuid
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar

from blurd.errors import Reason
from blurd.records import FolderName, MediaKind, ViewFault

_NAMESPACE = uuid.UUID("3f0d5b0e-7f0a-4d3f-9d5e-0c8f3a5f6b11")


class Level(StrEnum):
    """Severity, in journald's terms."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Part(StrEnum):
    """Which process speaks."""

    WATCH = "watch"
    WORK = "work"
    RUN = "run"


class Device(StrEnum):
    """What inference runs on."""

    CPU = "CPU"
    GPU = "GPU"


class Hints(StrEnum):
    """How a folder learns of new files: by notification, or by the periodic scan alone."""

    NOTIFIED = "notified"
    RESCAN_ONLY = "rescan_only"


FieldValue = bool | int | float | enum.Enum | FolderName | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Subclasses name it and list its typed fields."""

    name: ClassVar[str]
    level: ClassVar[Level] = Level.INFO

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not isinstance(value, bool | int | float | enum.Enum | FolderName):
                raise TypeError("an event's field is a number, a truth value, an enumeration member or a folder name")

    @classmethod
    def message_id(cls) -> str:
        """The event's journal MESSAGE_ID: 32 hexadecimal digits, fixed by its name."""
        return uuid.uuid5(_NAMESPACE, cls.name).hex

    def values(self) -> dict[str, str | int | float | bool]:
        """The fields that are set, enumerations by their value."""
        found: dict[str, str | int | float | bool] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, enum.Enum):
                found[item.name] = str(value.value)
            elif value is not None:
                found[item.name] = value
        return found


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    """A process is ready for work."""

    name = "process_started"
    part: Part
    pid: int
    folders: int = 0


@dataclass(frozen=True, slots=True)
class ProcessStopped(Event):
    """A process ends as asked."""

    name = "process_stopped"
    part: Part
    pid: int


@dataclass(frozen=True, slots=True)
class ProcessFailed(Event):
    """A process can't do its work and ends."""

    name = "process_failed"
    level = Level.ERROR
    part: Part
    reason: Reason


@dataclass(frozen=True, slots=True)
class WorkerEnded(Event):
    """A worker process ended by itself: recycled, or died (negative exit status: the signal)."""

    name = "worker_ended"
    level = Level.WARNING
    pid: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class DetectorReady(Event):
    """The models are loaded and inference runs."""

    name = "detector_ready"
    device: Device
    networks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DeviceDegraded(Event):
    """The wanted device is not usable; inference runs on the CPU."""

    name = "device_degraded"
    level = Level.WARNING
    device: Device


@dataclass(frozen=True, slots=True)
class FolderWatched(Event):
    """A folder is watched, and how it learns of new files."""

    name = "folder_watched"
    folder: FolderName
    hints: Hints


@dataclass(frozen=True, slots=True)
class FolderPaused(Event):
    """A folder can't be served now; it resumes by itself."""

    name = "folder_paused"
    level = Level.WARNING
    folder: FolderName
    reason: Reason


@dataclass(frozen=True, slots=True)
class FolderResumed(Event):
    """A paused folder is served again."""

    name = "folder_resumed"
    folder: FolderName


@dataclass(frozen=True, slots=True)
class PlacesUnreadable(Event):
    """So many folders below inbound can't be read, and nothing in them is known; told when the number changes."""

    name = "places_unreadable"
    level = Level.WARNING
    folder: FolderName
    places: int


@dataclass(frozen=True, slots=True)
class JobQueued(Event):
    """A complete file was found and queued."""

    name = "job_queued"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class FileRefused(Event):
    """A file was refused before any work: it got a job that is rejected at once."""

    name = "file_refused"
    level = Level.WARNING
    job: int
    folder: FolderName
    reason: Reason


@dataclass(frozen=True, slots=True)
class FileIgnored(Event):
    """A file is no image or video by content and by name: it is counted and left alone."""

    name = "file_ignored"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class JobClaimed(Event):
    """A worker took a job; its attempt is counted."""

    name = "job_claimed"
    job: int
    folder: FolderName
    attempt: int


@dataclass(frozen=True, slots=True)
class JobStaged(Event):
    """The one line that sums a job's work up: the copy is rendered and verified."""

    name = "job_staged"
    job: int
    folder: FolderName
    kind: MediaKind
    frames: int
    renders: int
    source_bytes: int
    output_bytes: int
    analyse_s: float
    plan_s: float
    render_s: float
    verify_s: float


@dataclass(frozen=True, slots=True)
class JobPublished(Event):
    """The copy is visible in outbound."""

    name = "job_published"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class JobWithdrawn(Event):
    """A published copy made way for one of another version; not `removed` where it had been changed since."""

    name = "job_withdrawn"
    job: int
    folder: FolderName
    replaced_by: int
    removed: bool


@dataclass(frozen=True, slots=True)
class JobRejected(Event):
    """The input can't be treated; the original stays where it is."""

    name = "job_rejected"
    level = Level.WARNING
    job: int
    folder: FolderName
    reason: Reason


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """Every allowed attempt failed; the original stays where it is."""

    name = "job_failed"
    level = Level.ERROR
    job: int
    folder: FolderName
    reason: Reason
    attempts: int


@dataclass(frozen=True, slots=True)
class JobDeferred(Event):
    """An attempt failed; the job is tried again later."""

    name = "job_deferred"
    level = Level.WARNING
    job: int
    folder: FolderName
    reason: Reason
    attempt: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class JobReturned(Event):
    """A job went back to the queue without blame; its attempt was given back."""

    name = "job_returned"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class JobVanished(Event):
    """The source was removed or replaced before the job was finished."""

    name = "job_vanished"
    job: int
    folder: FolderName
    reason: Reason


@dataclass(frozen=True, slots=True)
class JobRecovered(Event):
    """A job whose worker is gone was taken back."""

    name = "job_recovered"
    level = Level.WARNING
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class StagingCleaned(Event):
    """Left-over staged files without a job were removed."""

    name = "staging_cleaned"
    folder: FolderName
    files: int


@dataclass(frozen=True, slots=True)
class ModelCacheDropped(Event):
    """The cache of compiled models was damaged and thrown away."""

    name = "model_cache_dropped"
    level = Level.WARNING


@dataclass(frozen=True, slots=True)
class SandboxOutdated(Event):
    """What a worker sees at a folder is not what its sandbox is to show: it ends, and is started with a fresh view."""

    name = "sandbox_outdated"
    level = Level.WARNING
    folder: FolderName
    sign: ViewFault


@dataclass(frozen=True, slots=True)
class LibrarySpoke(Event):
    """A library logged something; its text is withheld, because it may quote names or content."""

    name = "library_spoke"
    level = Level.WARNING
    severity: int


@dataclass(frozen=True, slots=True)
class InternalError(Event):
    """A fault in blurd itself. `module` is the CRC-32 of the module's file name (`work.py`), `line` the line in it."""

    name = "internal_error"
    level = Level.ERROR
    part: Part
    module: int
    line: int


EVENTS: tuple[type[Event], ...] = (
    ProcessStarted,
    ProcessStopped,
    ProcessFailed,
    WorkerEnded,
    DetectorReady,
    DeviceDegraded,
    FolderWatched,
    FolderPaused,
    FolderResumed,
    PlacesUnreadable,
    JobQueued,
    FileRefused,
    FileIgnored,
    JobClaimed,
    JobStaged,
    JobPublished,
    JobWithdrawn,
    JobRejected,
    JobFailed,
    JobDeferred,
    JobReturned,
    JobVanished,
    JobRecovered,
    StagingCleaned,
    ModelCacheDropped,
    SandboxOutdated,
    LibrarySpoke,
    InternalError,
)
