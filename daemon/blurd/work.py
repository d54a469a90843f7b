"""`blurd work`: claim a job, treat the file, stage the copy. The process that decodes hostile files, and may die.

Invariants
* The attempt is counted, durably, by the claim; whatever happens then, the job is found again.
* A folder that is missing, strange, full or not answering is not claimed from, and a file whose copy may not fit is
  left for later; no attempt is spent on either, and no other folder waits for it.
* On SIGTERM or SIGINT the running job is given back and its staged file removed.
* The process ends by itself after `work.jobs_per_process` jobs, so that no leak of a codec grows for ever.
* Sandboxed, it claims nothing while it could write where it must not: it ends, and is started with a fresh view.

DIAGNOSTICS: ends with the exit code of the reason where no work is possible (models, state); else with 0.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import BinaryIO

from blurd.adapters import notify
from blurd.adapters.files import stamp_of
from blurd.adapters.folders import OutboundFolder
from blurd.adapters.host import boot_clock_s, this_process
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.log import EventLog
from blurd.adapters.media import kind_of
from blurd.adapters.probe import ANSWER_PATIENCE_S, FolderProbe
from blurd.adapters.regions import read_regions
from blurd.adapters.sandbox import FolderView, ViewOutdated, staging_view
from blurd.adapters.store import SqliteJobStore
from blurd.config import FolderSettings, Settings
from blurd.core.naming import copy_path, staged_name
from blurd.core.retry import RetryRule, after_return, outcome
from blurd.core.space import expected_bytes, largest_source_bytes
from blurd.equipment import Detectors, build_codec, fixed_zones, mask_rules, wanted_categories
from blurd.errors import BlurdError, Disposition, EquipmentError, InputError, Reason
from blurd.events import (
    DetectorReady,
    Device,
    DeviceDegraded,
    JobClaimed,
    JobDeferred,
    JobFailed,
    JobRejected,
    JobReturned,
    JobStaged,
    JobVanished,
    Part,
    ProcessStarted,
    ProcessStopped,
    SandboxOutdated,
)
from blurd.pipeline import Report, Treatment, treat
from blurd.records import FolderName, Job, JobState, MediaKind, ProcessCondition, Progress, StagedCopy

IDLE_S = 0.25
BEAT_S = 1.0
FOLDER_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
TOO_LARGE_PAUSE_S = 10.0
MORE_ROOM_BYTES = 1 << 20
SLOWEST_BYTES_PER_S = 2 << 20
"""What goes over a whole file without showing progress, such as hashing it, is at least this fast."""
STOP_S = 30.0
"""How long systemd is asked to wait for the end of a step that hears no stop."""

Views = Mapping[FolderName, FolderView]
"""What a sandboxed worker sees of each folder; empty for one without a sandbox."""


class StopRequested(Exception):  # noqa: N818  not an error: somebody asked
    """The process was asked to end."""


class JobTaken(Exception):  # noqa: N818  not an error: the file was replaced, the job is no longer ours
    """The job was superseded while it ran."""


@dataclass(frozen=True, slots=True)
class _TooLarge:
    """A source that did not fit: its size, the room there was, and until when its like are left alone."""

    size: int
    room: int
    until_s: float


@dataclass
class Worker:
    """One worker process: its store, its detector and its loop."""

    settings: Settings
    store: SqliteJobStore
    detectors: Detectors
    log: EventLog
    stop: threading.Event
    views: Views

    def __post_init__(self) -> None:
        self._me = this_process()
        folders = self.settings.folder
        self._codecs = {folder.key: build_codec(self.settings.limits, folder) for folder in folders}
        self._rules = {folder.key: mask_rules(folder, self.detectors) for folder in folders}
        self._degraded_noted = False
        self._paused_until: dict[FolderName, float] = {}
        self._pauses: dict[FolderName, float] = {}
        self._last_rooms: dict[FolderName, int] = {}
        self._too_large: dict[FolderName, _TooLarge] = {}
        self._guards = {folder.key: self._guard(folder) for folder in folders}
        self._probes = {folder.key: FolderProbe(f"probe-{folder.name}", self._look(folder)) for folder in folders}
        work = self.settings.work
        self._retry = RetryRule(work.max_attempts, work.retry_first_s, work.retry_longest_s)

    def _guard(self, folder: FolderSettings) -> KnownFolders:
        state = self.settings.state.directory
        staging = staging_view(folder.key) if folder.key in self.views else None
        return KnownFolders(state, folder.key, folder.inbound, folder.outbound, adopts=False, staging=staging)

    def _look(self, folder: FolderSettings) -> Callable[[], int]:
        """How a probe's thread asks whether both folders are there and the right ones: room beyond the reserve."""
        guard, view = self._guard(folder), self.views.get(folder.key)

        def look() -> int:
            if view is not None:
                view.need_current()
            with guard.open_inbound(), guard.open_outbound() as outbound:
                return outbound.free_bytes() - folder.reserve_bytes

        return look

    def run(self) -> None:
        """Work until asked to stop, until the process has done its share, or until its view must be a fresh one."""
        try:
            self._work()
        except ViewOutdated as end:
            self.log.emit(SandboxOutdated(end.folder, end.fault))

    def _work(self) -> None:
        self.store.note_process(self.condition())
        self._note_device()
        done = 0
        while not self.stop.is_set() and done < self.settings.work.jobs_per_process:
            notify.alive(f"{done} jobs done, {self.store.workload()[0]} waiting")
            job = self._claim()
            if job is None:
                self.stop.wait(IDLE_S)
                continue
            self.log.emit(JobClaimed(job.id, job.folder, job.attempts))
            notify.wait_longer(job.stamp.size / SLOWEST_BYTES_PER_S)
            self._do(job)
            notify.wait_longer(0.0)
            self._note_device()
            done += 1

    def _note_device(self) -> None:
        """Say once that the device is not the wanted one, at start or when it fails in mid-work."""
        if self._degraded and not self._degraded_noted:
            self._degraded_noted = True
            self.log.emit(DeviceDegraded(Device(self._photo_detector.device)))
            self.store.note_process(self.condition())

    def condition(self) -> ProcessCondition:
        """What the status shows of this process."""
        return ProcessCondition(str(Part.WORK), self._me, self._photo_detector.device, self._degraded)

    @property
    def _photo_detector(self) -> OpenVinoDetector:
        return self.detectors[MediaKind.IMAGE]

    @property
    def _degraded(self) -> bool:
        return any(detector.degraded for detector in self.detectors.values())

    def _rooms(self) -> dict[FolderName, int]:
        """Room in the folders that can be served now; the others are left alone for a while, and hold up nobody."""
        now_s = time.monotonic()
        rooms: dict[FolderName, int] = {}
        for name, probe in self._probes.items():
            if self._paused_until.get(name, 0.0) > now_s:
                continue
            room = probe.room(ANSWER_PATIENCE_S)
            if room is None or room < 0:
                self._paused_until[name] = now_s + FOLDER_PAUSE_S
            else:
                rooms[name] = room
        return rooms

    def _claim(self) -> Job | None:
        rooms = self._last_rooms = self._rooms()
        largest = {name: self._largest_source(name, room) for name, room in rooms.items()}
        return self.store.claim(self._me, tuple(rooms), boot_clock_s(), largest)

    def _largest_source(self, name: FolderName, room: int) -> int:
        """The largest source to claim: what may fit, and for a while less than one that turned out not to."""
        largest = largest_source_bytes(room)
        tried = self._too_large.get(name)
        if tried is None or time.monotonic() > tried.until_s or room > tried.room + MORE_ROOM_BYTES:
            return largest
        return min(largest, tried.size - 1)

    def _do(self, job: Job) -> None:
        folder = self.settings.folder_named(job.folder)
        if folder is None:
            raise AssertionError("a job is only claimed from folders in the settings")
        try:
            staged, treatment = self._stage(job, folder)
        except StopRequested:
            self._give_back(job, None)
        except JobTaken:
            self.log.emit(JobVanished(job.id, job.folder, Reason.SOURCE_CHANGED))
        except BlurdError as error:
            self._failed(job, error.reason, error.disposition)
        except MemoryError:
            self._failed(job, Reason.OUT_OF_MEMORY, Disposition.RETRY)
        except Exception as error:  # noqa: BLE001  our own fault must end this job, not the queue; it is logged by line
            self.log.internal_error(error)
            self._failed(job, Reason.INTERNAL_ERROR, Disposition.RETRY)
        else:
            self._pauses.pop(job.folder, None)
            if self.store.stage(job.id, self._me, staged):
                self.log.emit(_staged_event(job, treatment))

    def _stage(self, job: Job, folder: FolderSettings) -> tuple[StagedCopy, Treatment]:
        name, guard = staged_name(job.id, job.attempts), self._guards[job.folder]
        rules, beats = self._rules[job.folder], self._beats(job)
        with (
            guard.open_inbound() as inbound,
            guard.open_outbound() as outbound,
            inbound.open(job.path, allow_hard_links=folder.hard_links) as source,
        ):
            if not stamp_of(os.fstat(source.fileno())).same_content(job.stamp):
                raise InputError(Reason.SOURCE_CHANGED, "open source")
            if job.regions is None and folder.regions == "required":
                raise InputError(Reason.SOURCE_CHANGED, "open regions")  # the settings changed: the watcher holds it
            own = read_regions(inbound, job.path, job.regions, allow_hard_links=folder.hard_links)
            zones = fixed_zones(folder).with_regions(own.regions)
            self._need_room(outbound, folder, job, source)
            with outbound.staged(name, folder.mode) as target:
                treatment = treat(source, target, self._codecs[job.folder], self.detectors, rules, beats, zones)
        staged = StagedCopy(
            name=name,
            target=copy_path(job.path, treatment.facts.suffix),
            size=treatment.size,
            sha256=treatment.sha256,
            source_sha256=treatment.source_sha256,
            facts=treatment.facts,
            verdict=treatment.verdict,
            model_hash=treatment.model_hash,
            settings_hash=folder.hash,
            stage_seconds=treatment.stage_seconds,
            regions_sha256=own.sha256,
        )
        return staged, treatment

    @staticmethod
    def _need_room(outbound: OutboundFolder, folder: FolderSettings, job: Job, source: BinaryIO) -> None:
        """Raises OUTBOUND_SHORT where the copy may not fit."""
        kind = kind_of(source)
        if expected_bytes(kind, job.stamp.size) > outbound.free_bytes() - folder.reserve_bytes:
            raise EquipmentError(Reason.OUTBOUND_SHORT, "check room")

    def _beats(self, job: Job) -> Report:
        """Progress of a job: feeds the watchdog, notes the share done, and stops the work when it must end."""
        last_s = time.monotonic()

        def beat(progress: Progress) -> None:
            nonlocal last_s
            if self.stop.is_set():
                raise StopRequested
            now_s = time.monotonic()
            if now_s - last_s < BEAT_S:
                return
            last_s = now_s
            notify.alive(f"job {job.id} at {progress.share:.0%}, {self.store.workload()[0]} waiting")
            if not self.store.beat(job.id, self._me, progress):
                raise JobTaken

        return beat

    def _give_back(self, job: Job, held_back: Reason | None) -> None:
        """Put the job back; a stop counts among its returns, a folder that must pause does not."""
        counts = held_back is None
        if counts and after_return(job.attempts, job.returns, self._retry).state is not JobState.QUEUED:
            self._failed(job, Reason.WORKER_DIED, Disposition.RETRY)
        elif self.store.give_back(job.id, self._me, held_back, counts=counts):
            self.log.emit(JobReturned(job.id, job.folder))

    def _hold_back(self, job: Job, reason: Reason) -> None:
        """Leave the folder, or only its files of this size and above, alone; ever longer while nothing gets through."""
        now_s = time.monotonic()
        if reason in (Reason.OUTBOUND_SHORT, Reason.OUTBOUND_FULL):
            room = self._last_rooms.get(job.folder, 0)
            self._too_large[job.folder] = _TooLarge(job.stamp.size, room, now_s + TOO_LARGE_PAUSE_S)
        if reason is not Reason.OUTBOUND_SHORT:
            pause_s = self._pauses.get(job.folder, FOLDER_PAUSE_S)
            self._paused_until[job.folder] = now_s + pause_s
            self._pauses[job.folder] = min(2 * pause_s, LONGEST_PAUSE_S)
        self._give_back(job, reason)

    def _failed(self, job: Job, reason: Reason, disposition: Disposition) -> None:
        jitter = random.random()  # noqa: S311  spreads retries, guards nothing
        after = outcome(disposition, job.attempts, self._retry, jitter)
        if after.state is JobState.QUEUED:
            self._hold_back(job, reason)
            return
        self._pauses.pop(job.folder, None)
        state = JobState.SUPERSEDED if reason is Reason.SOURCE_CHANGED else after.state
        if not self.store.finish(job.id, self._me, state, reason, boot_clock_s() + after.delay_s):
            return
        if state is JobState.REJECTED:
            self.log.emit(JobRejected(job.id, job.folder, reason))
        elif state is JobState.FAILED:
            self.log.emit(JobFailed(job.id, job.folder, reason, job.attempts))
        elif state is JobState.DEFERRED:
            self.log.emit(JobDeferred(job.id, job.folder, reason, job.attempts, round(after.delay_s, 1)))
        else:
            self.log.emit(JobVanished(job.id, job.folder, reason))


def _staged_event(job: Job, treatment: Treatment) -> JobStaged:
    seconds = treatment.stage_seconds
    return JobStaged(
        job=job.id,
        folder=job.folder,
        kind=treatment.facts.kind,
        frames=treatment.facts.frames,
        renders=treatment.verdict.renders,
        source_bytes=treatment.source_size,
        output_bytes=treatment.size,
        analyse_s=seconds["analyse"],
        plan_s=seconds["plan"],
        render_s=seconds["render"],
        verify_s=seconds["verify"],
    )


def work(settings: Settings, log: EventLog, *, sandboxed: bool = False) -> None:
    """Run one worker until it is asked to stop or has done its share; a sandboxed one checks what it sees."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        notify.stopping(STOP_S)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    folders = settings.folder if sandboxed else ()
    views = {folder.key: FolderView(folder.key, folder.inbound, folder.outbound) for folder in folders}
    try:
        for name, view in views.items():  # before the models are loaded: soon over where it is so at every start
            FolderProbe(f"view-{name}", view.look).room(ANSWER_PATIENCE_S)
    except ViewOutdated as end:
        log.emit(SandboxOutdated(end.folder, end.fault))
        return
    started_s = time.monotonic()
    detectors = Detectors(settings, wanted_categories(settings))
    detector, _ = detectors.values()  # builds both now: a fault in a model must show at the start
    seconds = round(time.monotonic() - started_s, 2)
    log.emit(DetectorReady(Device(detector.device), len(detector.categories), seconds))
    store = SqliteJobStore(settings.queue_path)
    try:
        worker = Worker(settings, store, detectors, log, stop, views)
        notify.ready()
        log.emit(ProcessStarted(Part.WORK, os.getpid(), len(settings.folder)))
        worker.run()
        notify.stopping(STOP_S)
        store.forget_process(worker.condition())
        log.emit(ProcessStopped(Part.WORK, os.getpid()))
    finally:
        store.close()
