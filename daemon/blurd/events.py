"""The closed list of events: the only way to log.

Invariants
* A field holds no text: see `event.py`.
* An event's name and message id never change once released; `EVENTS` lists all of them.
"""

from dataclasses import dataclass

from blurd.errors import Reason
from blurd.event import Device as Device
from blurd.event import Event as Event
from blurd.event import Fault as Fault
from blurd.event import Hints as Hints
from blurd.event import Level as Level
from blurd.event import Part as Part
from blurd.fault_events import FAULT_EVENTS
from blurd.fault_events import InternalError as InternalError
from blurd.fault_events import LibrarySpoke as LibrarySpoke
from blurd.monitor_events import MONITOR_EVENTS
from blurd.records import FolderName, MediaKind, ViewFault
from blurd.upkeep_events import UPKEEP_EVENTS


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
    reason: Reason = Reason.WORKER_DIED


@dataclass(frozen=True, slots=True)
class JobRecognised(Event):
    """A receipt says that this file was published before the queue was rebuilt: it is not published again."""

    name = "job_recognised"
    job: int
    folder: FolderName


@dataclass(frozen=True, slots=True)
class WorkerStuck(Event):
    """A worker showed no progress for too long; it was ended."""

    name = "worker_stuck"
    level = Level.WARNING
    job: int
    folder: FolderName
    pid: int


@dataclass(frozen=True, slots=True)
class StateTrouble(Event):
    """The queue can't be read or written now; the process waits until it can."""

    name = "state_trouble"
    level = Level.ERROR
    part: Part
    reason: Reason


@dataclass(frozen=True, slots=True)
class StateUsable(Event):
    """The queue can be used again."""

    name = "state_usable"
    part: Part


@dataclass(frozen=True, slots=True)
class QueueSetAside(Event):
    """The queue's database was damaged; it is kept under this number, and a new one was begun from the receipts."""

    name = "queue_set_aside"
    level = Level.ERROR
    number: int
    receipts: int


@dataclass(frozen=True, slots=True)
class StagingCleaned(Event):
    """Left-over staged files without a job were removed."""

    name = "staging_cleaned"
    folder: FolderName
    files: int


@dataclass(frozen=True, slots=True)
class NamesErased(Event):
    """File names in the queue were erased: their jobs ended long enough ago."""

    name = "names_erased"
    jobs: int


@dataclass(frozen=True, slots=True)
class ModelCacheDropped(Event):
    """The cache of compiled models was damaged and thrown away."""

    name = "model_cache_dropped"
    level = Level.WARNING


@dataclass(frozen=True, slots=True)
class SandboxOutdated(Event):
    """What a process sees at a folder is not what its sandbox is to show: it ends, and is started with a fresh view."""

    name = "sandbox_outdated"
    level = Level.WARNING
    folder: FolderName
    sign: ViewFault


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
    JobRecognised,
    WorkerStuck,
    StateTrouble,
    StateUsable,
    QueueSetAside,
    StagingCleaned,
    NamesErased,
    ModelCacheDropped,
    SandboxOutdated,
    *FAULT_EVENTS,
    *MONITOR_EVENTS,
    *UPKEEP_EVENTS,
)
