"""`blurd work`: claim a job, treat the file, stage the copy. The process that decodes hostile files, and may die.

Invariants
* The attempt is counted, durably, by the claim; whatever happens then, the job is found again.
* A folder that is missing, strange, full or not answering is not claimed from, and a file whose copy may not fit is
  left for later (`open_folders`); no attempt is spent on either.
* On SIGTERM or SIGINT the running job is given back and its staged file removed; where the work can't be left within
  `STOP_S` (a library holds the main thread), from another thread.
* Each sign of progress says when the next is due; `watch` ends a worker that is late.
* The process bounds its own memory, so that a file that asks for too much ends its own job, not the machine.
* A queue that can't be written now (full disk) is waited for; one that was set aside ends the process, which is started
  again on the new one.
* The process ends by itself after `work.jobs_per_process` jobs, so that no leak of a codec grows for ever, and where
  there are new settings, which the next process works with.
* Sandboxed, it claims nothing while it could write where it must not: it ends, and is started with a fresh view.

DIAGNOSTICS: ends with the exit code of the reason where no work is possible (models, state); else with 0.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from blurd.adapters import notify
from blurd.adapters.files import source_hashes, stamp_of
from blurd.adapters.folders import OutboundFolder
from blurd.adapters.host import boot_clock_s, limit_memory, machine_mebibytes, this_process
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.log import EventLog
from blurd.adapters.probe import ANSWER_PATIENCE_S, FolderProbe
from blurd.adapters.regions import read_regions
from blurd.adapters.sandbox import FolderView, ViewOutdated
from blurd.adapters.stopper import Stopper
from blurd.adapters.store import SqliteJobStore
from blurd.config import FolderSettings, Settings
from blurd.core.naming import copy_path, staged_name
from blurd.core.retry import RetryRule, after_return, outcome, patience_s
from blurd.equipment import Detectors, build_codec, fixed_zones, made_with, mask_rules
from blurd.errors import BlurdError, Disposition, EquipmentError, InputError, Reason
from blurd.events import (
    DetectorReady,
    Device,
    DeviceDegraded,
    JobClaimed,
    JobDeferred,
    JobFailed,
    JobRecognised,
    JobRejected,
    JobReturned,
    JobVanished,
    Part,
    ProcessStarted,
    ProcessStopped,
    SandboxOutdated,
    StateTrouble,
)
from blurd.open_folders import OpenFolders, need_room
from blurd.pipeline import Report, Treatment, staged_event, treat
from blurd.records import FolderName, Job, JobState, ProcessCondition, Progress, StagedCopy
from blurd.reload import Reload
from blurd.stages.wait import StopRequested, open_queue, patiently

IDLE_S = 0.25
BEAT_S = 1.0
COUNT_EVERY_S = 5.0
STOP_S = 10.0
"""How long the main thread may take to leave the running job once it was asked to stop."""
STOP_IN_ALL_S = 3 * STOP_S
"""How long systemd is asked to wait for the end."""
MEMORY_SHARE = 0.8
"""What the workers may use of the machine's memory together, where the settings name no limit."""

T = TypeVar("T")


class Recognised(Exception):  # noqa: N818  not an error: there is nothing to do
    """A receipt says that the file was published before the queue was begun anew."""

    def __init__(self, copy: StagedCopy, published: str | None) -> None:
        super().__init__(copy, published)
        self.copy, self.published = copy, published


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
    views: Mapping[FolderName, FolderView]
    """What a sandboxed worker sees of each folder; empty for one without a sandbox."""
    reload: Reload

    def __post_init__(self) -> None:
        self._me = this_process()
        folders, work = self.settings.folder, self.settings.work
        self._codecs = {folder.key: build_codec(self.settings.limits, folder) for folder in folders}
        self._rules = {folder.key: mask_rules(folder, self.detectors.of(folder)) for folder in folders}
        self._degraded_noted = False
        self._folders = OpenFolders(self.settings.state.directory, folders, self.views)
        self._retry = RetryRule(work.max_attempts, work.retry_first_s, work.retry_longest_s)
        self._current: Job | None = None
        self._source_sha256: str | None = None
        self._spent, self._count, self._next_count_s = False, 0, 0.0

    def run(self) -> None:
        """Work until asked to stop, its share is done, or what it stands on is new: queue, view or settings."""
        try:
            self._work()
        except StopRequested:
            return
        except ViewOutdated as end:
            self.log.emit(SandboxOutdated(end.folder, end.fault))
        except EquipmentError as error:
            if error.reason is not Reason.QUEUE_DAMAGED:
                raise
            self.log.emit(StateTrouble(Part.WORK, error.reason))

    def _work(self) -> None:
        self._patiently(lambda: self.store.note_process(self.condition()))
        self._note_device()
        done = 0
        while not self.stop.is_set() and done < self.settings.work.jobs_per_process and not self._spent:
            notify.alive(f"{done} jobs done, {self._waiting()} waiting")
            if not self.store.is_current() or self.reload.is_due():
                return
            self._current = job = self._patiently(self._claim)
            if job is None:
                self.stop.wait(IDLE_S)
                continue
            self.log.emit(JobClaimed(job.id, job.folder, job.attempts))
            notify.wait_longer(patience_s(0.0, job.stamp.size))
            with self._folders.turn(job.folder):
                self._do(job)
            self._current = None
            notify.wait_longer(0.0)
            self._note_device()
            done += 1

    def _claim(self) -> Job | None:
        largest = self._folders.largest_sources()
        limit_s = self.settings.work.no_progress_s
        return self.store.claim(self._me, tuple(largest), boot_clock_s(), limit_s, largest)

    def _waiting(self) -> int:
        """How many jobs wait, for the line that `systemctl status` shows; counted now and then: it costs by the job."""
        if time.monotonic() >= self._next_count_s:
            self._count = self._patiently(self.store.workload)[0]
            self._next_count_s = time.monotonic() + COUNT_EVERY_S
        return self._count

    def _patiently(self, act: Callable[[], T]) -> T:
        """Use the queue; wait while its disk is full. Raises `StopRequested` when asked to stop meanwhile."""
        return patiently(act, self.stop, Part.WORK, self.log.emit)

    def leave(self) -> None:
        """Give the running job back from another thread: the main one can't leave it. Nothing of it stays."""
        job = self._current
        if job is None:
            return
        store = SqliteJobStore(self.settings.queue_path)
        try:
            self._give_back(job, store=store)
            store.forget_process(self.condition())
        finally:
            store.close()
        with self._folders.guard(job.folder).open_outbound() as outbound:
            outbound.remove_staged(staged_name(job.id, job.attempts))

    def _note_device(self) -> None:
        """Say once that the device is not the wanted one, at start or when it fails in mid-work."""
        if self._degraded and not self._degraded_noted:
            self._degraded_noted = True
            self.log.emit(DeviceDegraded(Device(self._photo_detector.device)))
            self._patiently(lambda: self.store.note_process(self.condition()))

    def condition(self) -> ProcessCondition:
        """What the status shows of this process."""
        return ProcessCondition(
            str(Part.WORK), self._me, self._photo_detector.device, self._degraded, self.detectors.label
        )

    @property
    def _photo_detector(self) -> OpenVinoDetector:
        return self.detectors.first

    @property
    def _degraded(self) -> bool:
        return any(detector.degraded for detector in self.detectors.values())

    def _do(self, job: Job) -> None:
        folder = self.settings.folder_named(job.folder)
        if folder is None:
            raise AssertionError("a job is only claimed from folders in the settings")
        self._source_sha256 = None
        try:
            staged, treatment = self._stage(job, folder)
        except (StopRequested, JobTaken, Recognised) as end:
            self._left(job, end)
        except BlurdError as error:
            self._failed(job, error.reason, error.disposition)
        except MemoryError:
            self._failed(job, Reason.OUT_OF_MEMORY, Disposition.RETRY)
        except Exception as error:  # noqa: BLE001  our own fault must end this job, not the queue; it is logged by line
            self.log.internal_error(error)
            self._failed(job, Reason.INTERNAL_ERROR, Disposition.RETRY)
        else:
            self._folders.got_through(job.folder)
            if self._patiently(lambda: self.store.stage(job.id, self._me, staged)):
                self.log.emit(staged_event(job, treatment))

    def _left(self, job: Job, end: Exception) -> None:
        """What becomes of a job that was not treated to its end, for no fault."""
        if isinstance(end, Recognised):
            if self._patiently(lambda: self.store.recognise(job.id, self._me, end.copy, end.published)):
                self.log.emit(JobRecognised(job.id, job.folder))
        elif isinstance(end, JobTaken):
            self.log.emit(JobVanished(job.id, job.folder, Reason.SOURCE_CHANGED))
        else:
            self._give_back(job)

    def _stage(self, job: Job, folder: FolderSettings) -> tuple[StagedCopy, Treatment]:
        name, guard = staged_name(job.id, job.attempts), self._folders.guard(job.folder)
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
            source_sha256, source_id = source_hashes(source, job.path)
            self._source_sha256 = source_sha256
            self._look_back(job, outbound, source_id, own.sha256)
            need_room(outbound, folder, job, source)
            with outbound.staged(name, folder.mode) as target:
                chosen = self.detectors.of(folder)
                treatment = treat(source, target, self._codecs[job.folder], chosen, rules, beats, zones)
        staged = StagedCopy(
            name=name,
            target=copy_path(job.path, treatment.facts.suffix),
            size=treatment.size,
            sha256=treatment.sha256,
            source_sha256=source_sha256,
            facts=treatment.facts,
            verdict=treatment.verdict,
            model_hash=treatment.model_hash,
            settings_hash=folder.hash,
            stage_seconds=treatment.stage_seconds,
            regions_sha256=own.sha256,
            source_id=source_id,
            made_with=made_with(folder, rules),
        )
        return staged, treatment

    def _look_back(self, job: Job, outbound: OutboundFolder, source_id: str, regions_sha256: str | None) -> None:
        """Raise `Recognised` where the file was published before the queue was begun anew.

        Copies made under other regions are remembered: they are withdrawn once this job's copy is published.
        """

        def name_of(copy: StagedCopy) -> str | None:
            found = outbound.copies(copy.target, copy.size, copy.sha256)
            return next((path for path in found if not self.store.is_name_owned(job, path)), None)

        before = self.store.published_before(job, source_id, regions_sha256)
        if before is not None:
            raise Recognised(before, name_of(before))
        for earlier, copy in self.store.versions_before(job, source_id):
            name = name_of(copy)
            if name is not None:
                self.store.remember(job, earlier, copy, name)

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
            self.reload.is_due()  # is told now, and taken over by the next process
            notify.alive(f"job {job.id} at {progress.share:.0%}, {self._waiting()} waiting")
            limit_s = patience_s(self.settings.work.no_progress_s, job.stamp.size, progress.frames)
            if not self._patiently(lambda: self.store.beat(job.id, self._me, progress, boot_clock_s() + limit_s)):
                raise JobTaken

        return beat

    def _give_back(self, job: Job, held_back: Reason | None = None, store: SqliteJobStore | None = None) -> None:
        """Put the job back; a stop counts among its returns, a folder that must pause does not."""
        store, counts = store or self.store, held_back is None
        if counts and after_return(job.attempts, job.returns, self._retry, 0.5).state is not JobState.QUEUED:
            self._failed(job, Reason.WORKER_DIED, Disposition.RETRY, store)
        elif store.give_back(job.id, self._me, held_back, counts=counts):
            self.log.emit(JobReturned(job.id, job.folder))

    def _failed(self, job: Job, reason: Reason, disposition: Disposition, store: SqliteJobStore | None = None) -> None:
        store = store or self.store
        self._spent = self._spent or reason is Reason.OUT_OF_MEMORY  # what a library holds then, nobody knows
        jitter = random.random()  # noqa: S311  spreads retries, guards nothing
        after = outcome(disposition, job.attempts, self._retry, jitter)
        if after.state is JobState.QUEUED:
            self._folders.hold_back(job, reason)
            self._give_back(job, reason)
            return
        self._folders.got_through(job.folder)
        state = JobState.SUPERSEDED if reason is Reason.SOURCE_CHANGED else after.state
        due_s, known = boot_clock_s() + after.delay_s, self._source_sha256
        if not self._patiently(lambda: store.finish(job.id, self._me, state, reason, due_s, known)):
            return
        if state is JobState.REJECTED:
            self.log.emit(JobRejected(job.id, job.folder, reason))
        elif state is JobState.FAILED:
            self.log.emit(JobFailed(job.id, job.folder, reason, job.attempts))
        elif state is JobState.DEFERRED:
            self.log.emit(JobDeferred(job.id, job.folder, reason, job.attempts, round(after.delay_s, 1)))
        else:
            self.log.emit(JobVanished(job.id, job.folder, reason))


def work(settings: Settings, log: EventLog, read: Callable[[], Settings], *, sandboxed: bool = False) -> None:
    """Run one worker until it is asked to stop or has done its share; a sandboxed one checks what it sees."""
    reload = Reload(Part.WORK, settings, read, log.emit)
    limits = settings.work
    limit_memory(limits.memory_mebibytes or round(MEMORY_SHARE * machine_mebibytes() / limits.workers))
    workers: list[Worker] = []
    stopper = Stopper(STOP_S, lambda: notify.stopping(STOP_IN_ALL_S), lambda: _leave(workers, log))
    stopper.start()
    folders = settings.folder if sandboxed else ()
    views = {folder.key: FolderView(folder.key, folder.inbound, folder.outbound) for folder in folders}
    try:
        for name, view in views.items():  # before the models are loaded: soon over where it is so at every start
            FolderProbe(f"view-{name}", view.look).room(ANSWER_PATIENCE_S)
        store = open_queue(settings.queue_path, stopper.stop, Part.WORK, log.emit)
    except ViewOutdated as end:
        log.emit(SandboxOutdated(end.folder, end.fault))
        return
    except StopRequested:
        return
    try:
        detectors = _load_models(settings, log)
        worker = Worker(settings, store, detectors, log, stopper.stop, views, reload)
        workers.append(worker)
        notify.ready()
        log.emit(ProcessStarted(Part.WORK, os.getpid(), len(settings.folder)))
        worker.run()
        stopper.finished()
        notify.stopping(STOP_IN_ALL_S)
        with suppress(EquipmentError):  # the status forgets a process that is gone by itself
            store.forget_process(worker.condition())
        log.emit(ProcessStopped(Part.WORK, os.getpid()))
    finally:
        store.close()


def _load_models(settings: Settings, log: EventLog) -> Detectors:
    """The detectors, built: a fault in a model must show at the start."""
    started_s = time.monotonic()
    try:
        detector, *_ = (detectors := Detectors(settings, settings.folder)).values()
    except MemoryError:
        detail = "It is not even enough for the models: raise work.memory_mebibytes."
        raise EquipmentError(Reason.OUT_OF_MEMORY, "load models", detail) from None
    seconds = round(time.monotonic() - started_s, 2)
    log.emit(DetectorReady(Device(detector.device), len(detector.categories), seconds))
    return detectors


def _leave(workers: list[Worker], log: EventLog) -> None:
    """The end of a worker whose main thread does not come back in time."""
    for worker in workers:
        worker.leave()
    log.emit(ProcessStopped(Part.WORK, os.getpid()))
