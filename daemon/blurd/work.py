"""`blurd work`: claim a job, treat the file, stage the copy. The process that decodes hostile files, and may die.

Invariants
* The attempt is counted, durably, by the claim; whatever happens then, the job is found again.
* A folder whose outbound can't take a copy is not claimed from; no attempt is spent on it.
* On SIGTERM or SIGINT the running job is given back and its staged file removed.
* The process ends by itself after `work.jobs_per_process` jobs, so that no leak of a codec grows for ever.

DIAGNOSTICS: ends with the exit code of the reason where no work is possible (models, state); else with 0.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType

from blurd.adapters import notify
from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import boot_clock_s, this_process
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.log import EventLog
from blurd.adapters.regions import read_regions
from blurd.adapters.stop_event import StopEvent
from blurd.adapters.store import SqliteJobStore
from blurd.config import FolderSettings, Settings
from blurd.core.naming import copy_path, staged_name
from blurd.core.retry import RetryRule, after_return, outcome
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
)
from blurd.pipeline import Report, Treatment, treat
from blurd.records import FolderName, Job, JobState, MediaKind, ProcessCondition, Progress, StagedCopy

IDLE_S = 0.25
BEAT_S = 1.0
FOLDER_PAUSE_S = 2.0


class StopRequested(Exception):  # noqa: N818  not an error: somebody asked
    """The process was asked to end."""


class JobTaken(Exception):  # noqa: N818  not an error: the file was replaced, the job is no longer ours
    """The job was superseded while it ran."""


@dataclass
class Worker:
    """One worker process: its store, its detector and its loop."""

    settings: Settings
    store: SqliteJobStore
    detectors: Detectors
    log: EventLog
    stop: threading.Event

    def __post_init__(self) -> None:
        self._me = this_process()
        folders = self.settings.folder
        self._codecs = {folder.key: build_codec(self.settings.limits, folder) for folder in folders}
        self._rules = {folder.key: mask_rules(folder, self.detectors) for folder in folders}
        self._degraded_noted = False
        self._paused_until: dict[FolderName, float] = {}
        work = self.settings.work
        self._retry = RetryRule(work.max_attempts, work.retry_first_s, work.retry_longest_s)

    def run(self) -> None:
        """Work until asked to stop, or until the process has done its share."""
        self.store.note_process(self.condition())
        self._note_device()
        done = 0
        while not self.stop.is_set() and done < self.settings.work.jobs_per_process:
            notify.alive(f"{done} jobs done")
            job = self.store.claim(self._me, self._open_folders(), boot_clock_s())
            if job is None:
                self.stop.wait(IDLE_S)
                continue
            self.log.emit(JobClaimed(job.id, job.folder, job.attempts))
            self._do(job)
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

    def _open_folders(self) -> tuple[FolderName, ...]:
        """Folders whose outbound has room and whose inbound is there; the others are left alone for a while."""
        now_s = time.monotonic()
        ready: list[FolderName] = []
        for folder in self.settings.folder:
            if self._paused_until.get(folder.key, 0.0) > now_s:
                continue
            try:
                with InboundFolder(folder.inbound), OutboundFolder(folder.outbound) as outbound:
                    _need_room(outbound, folder, 0)
            except EquipmentError:
                self._paused_until[folder.key] = now_s + FOLDER_PAUSE_S
                continue
            ready.append(folder.key)
        return tuple(ready)

    def _do(self, job: Job) -> None:
        folder = self.settings.folder_named(job.folder)
        if folder is None:
            raise AssertionError("a job is only claimed from folders in the settings")
        try:
            staged, treatment = self._stage(job, folder)
        except StopRequested:
            self._give_back(job, counts=True)
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
            if self.store.stage(job.id, self._me, staged):
                self.log.emit(_staged_event(job, treatment))

    def _stage(self, job: Job, folder: FolderSettings) -> tuple[StagedCopy, Treatment]:
        name = staged_name(job.id, job.attempts)
        rules, beats = self._rules[job.folder], self._beats(job)
        with (
            InboundFolder(folder.inbound) as inbound,
            OutboundFolder(folder.outbound) as outbound,
            inbound.open(job.path, allow_hard_links=folder.hard_links) as source,
        ):
            if not stamp_of(os.fstat(source.fileno())).same_content(job.stamp):
                raise InputError(Reason.SOURCE_CHANGED, "open source")
            if job.regions is None and folder.regions == "required":
                raise InputError(Reason.SOURCE_CHANGED, "open regions")  # the settings changed: the watcher holds it
            own = read_regions(inbound, job.path, job.regions, allow_hard_links=folder.hard_links)
            zones = fixed_zones(folder).with_regions(own.regions)
            _need_room(outbound, folder, job.stamp.size)
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
            notify.alive(f"job {job.id} at {progress.share:.0%}")
            if not self.store.beat(job.id, self._me, progress):
                raise JobTaken

        return beat

    def _give_back(self, job: Job, *, counts: bool) -> None:
        if counts and after_return(job.attempts, job.returns, self._retry).state is not JobState.QUEUED:
            self._failed(job, Reason.WORKER_DIED, Disposition.RETRY)
        elif self.store.give_back(job.id, self._me, None):
            self.log.emit(JobReturned(job.id, job.folder))

    def _failed(self, job: Job, reason: Reason, disposition: Disposition) -> None:
        jitter = random.random()  # noqa: S311  spreads retries, guards nothing
        after = outcome(disposition, job.attempts, self._retry, jitter)
        if after.state is JobState.QUEUED:
            self._paused_until[job.folder] = time.monotonic() + FOLDER_PAUSE_S
            self._give_back(job, counts=False)
            return
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


def _need_room(outbound: OutboundFolder, folder: FolderSettings, source_bytes: int) -> None:
    if outbound.free_bytes() < source_bytes + folder.reserve_bytes:
        raise EquipmentError(Reason.OUTBOUND_FULL, "check room")


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


def work(settings: Settings, log: EventLog) -> None:
    """Run one worker until it is asked to stop or has done its share."""
    stop = StopEvent()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    started_s = time.monotonic()
    detectors = Detectors(settings, wanted_categories(settings))
    detector, _ = detectors.values()  # builds both now: a fault in a model must show at the start
    seconds = round(time.monotonic() - started_s, 2)
    log.emit(DetectorReady(Device(detector.device), len(detector.categories), seconds))
    store = SqliteJobStore(settings.queue_path)
    try:
        worker = Worker(settings, store, detectors, log, stop)
        notify.ready()
        log.emit(ProcessStarted(Part.WORK, os.getpid(), len(settings.folder)))
        worker.run()
        notify.stopping()
        store.forget_process(worker.condition())
        log.emit(ProcessStopped(Part.WORK, os.getpid()))
    finally:
        store.close()
