"""`blurd watch`: find files, queue them, publish finished copies, take back the jobs of dead workers. Never decodes.

One thread a folder, so that a share that hangs holds up nobody else; the main thread only supervises.

Invariants
* Hints wake the scan early; the scan every `watch.rescan_s` is the truth.
* A folder whose inbound or outbound is not there is paused: nothing in it is judged, least of all "all deleted".
* One watcher a state directory: a second one ends with STATE_LOCKED.
"""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from blurd import __version__
from blurd.adapters import notify
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import boot_clock_s, boot_id, is_alive, this_process
from blurd.adapters.ledger import Ledger
from blurd.adapters.log import EventLog
from blurd.adapters.stop_event import StopEvent
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.watcher import FolderWatcher
from blurd.config import FolderSettings, Settings
from blurd.core.naming import parse_staged_name
from blurd.core.retry import RetryRule, after_return, outcome
from blurd.core.settling import SettleRule
from blurd.errors import Disposition, EquipmentError, Reason
from blurd.events import (
    FolderPaused,
    FolderResumed,
    FolderWatched,
    Hints,
    JobFailed,
    JobRecovered,
    JobReturned,
    Part,
    ProcessStarted,
    ProcessStopped,
    StagingCleaned,
)
from blurd.records import FolderCondition, JobState, ProcessCondition
from blurd.stages.enqueue import enqueue
from blurd.stages.publish import publish
from blurd.stages.settle import Settler

PUBLISH_EVERY_S = 0.5
RECOVER_EVERY_S = 2.0
PAUSED_LOOK_S = 2.0
RESCAN_ALONE_S = 10.0
PUBLISH_SLICE = 100


class FolderKeeper(threading.Thread):
    """Serves one folder: scan, settle, enqueue, publish. Owns its handles, its store and its watcher."""

    def __init__(self, settings: Settings, folder: FolderSettings, log: EventLog) -> None:
        super().__init__(name=f"folder-{folder.name}", daemon=True)
        self._settings = settings
        self._folder = folder
        self._log = log
        self._ledger = Ledger(settings.receipts_path)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._watcher: FolderWatcher | None = None
        self._paused: Reason | None = None
        self._noted: FolderCondition | None = None
        self._next_scan_s = 0.0

    def ask_to_stop(self) -> None:
        """End after the current step."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Serve the folder; wait out whatever is wrong with it."""
        while not self._stopping.is_set():
            try:
                store = SqliteJobStore(self._settings.queue_path)
            except EquipmentError as error:
                self._pause(None, error.reason)
                continue
            try:
                self._serve(store)
            except EquipmentError as error:
                self._pause(store, error.reason)
            except Exception as error:  # noqa: BLE001  a fault in one folder must not end the others; logged by line
                self._log.internal_error(error)
                self._pause(store, Reason.INTERNAL_ERROR)
            finally:
                self._stop_watcher()
                store.close()

    def _serve(self, store: SqliteJobStore) -> None:
        folder = self._folder
        rule = SettleRule(folder.settle_s, folder.incomplete_after_s)
        patterns = self._settings.watch.temporary_names
        settler = Settler(
            folder.key,
            rule,
            patterns,
            store,
            hard_links=folder.hard_links,
            regions_required=folder.regions == "required",
            others_ignored=folder.other_files == "ignore",
        )
        with InboundFolder(folder.inbound) as inbound, OutboundFolder(folder.outbound) as outbound:
            self._start_watcher()
            self._next_scan_s = 0.0
            while not self._stopping.is_set():
                if not inbound.is_current():
                    raise EquipmentError(Reason.INBOUND_MISSING, "watch")
                if not outbound.is_current():
                    raise EquipmentError(Reason.OUTBOUND_MISSING, "watch")
                self._take_in(store, settler, inbound, outbound)
                self._publish(store, inbound, outbound)
                self._set_paused(Reason.OUTBOUND_FULL if self._is_full(outbound) else None)
                self._note(store, settler.settling, settler.awaiting_regions)
                self._sleep(settler)

    def _take_in(
        self, store: SqliteJobStore, settler: Settler, inbound: InboundFolder, outbound: OutboundFolder
    ) -> None:
        now_s = time.monotonic()
        hinted, everywhere = self._watcher.take() if self._watcher is not None else (frozenset[str](), False)
        if everywhere or now_s >= self._next_scan_s:
            self._clean_staging(store, outbound)
            alone = self._watcher is None or not self._watcher.is_alive()
            rescan_s = self._settings.watch.rescan_s
            found = settler.scan(inbound, now_s)
            self._next_scan_s = now_s + (min(rescan_s, RESCAN_ALONE_S) if alone else rescan_s)
        else:
            found = settler.look_at(inbound, hinted, now_s)
        enqueue(store, self._folder.key, found, self._log.emit)
        enqueue(store, self._folder.key, settler.look_at_due(inbound, time.monotonic()), self._log.emit)

    def _publish(self, store: SqliteJobStore, inbound: InboundFolder, outbound: OutboundFolder) -> None:
        for job in store.staged_jobs(self._folder.key, PUBLISH_SLICE):
            receipt = {"version": __version__, "mask_style": str(self._folder.mask.style)}
            publish(store, self._ledger, inbound, outbound, job, receipt, self._log.emit)

    def _sleep(self, settler: Settler) -> None:
        now_s = time.monotonic()
        due_s = settler.next_look_s()
        wake_s = min(self._next_scan_s, now_s + PUBLISH_EVERY_S, due_s if due_s is not None else self._next_scan_s)
        self._wake.wait(max(0.02, wake_s - now_s))
        self._wake.clear()

    def _clean_staging(self, store: SqliteJobStore, outbound: OutboundFolder) -> None:
        """Remove staged files that no running attempt and no copy waiting for publication owns.

        The files are listed before the queue is asked: a file that is there belongs to a claim made before.
        """
        names = outbound.staged_names()
        kept = store.open_attempts(self._folder.key)
        orphans = [name for name in names if (owner := parse_staged_name(name)) is not None and owner not in kept]
        for name in orphans:
            outbound.remove_staged(name)
        if orphans:
            self._log.emit(StagingCleaned(self._folder.key, len(orphans)))

    # -- condition ----------------------------------------------------------------------------------------------------

    def _start_watcher(self) -> None:
        watcher = FolderWatcher(self._folder.inbound, self._wake)
        self._watcher = watcher if self._settings.watch.notify and watcher.start() else None
        hints = Hints.NOTIFIED if self._watcher is not None else Hints.RESCAN_ONLY
        self._log.emit(FolderWatched(self._folder.key, hints))

    def _stop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _is_full(self, outbound: OutboundFolder) -> bool:
        """True where the workers leave the folder alone; finished copies are still published, a link needs no room."""
        return outbound.free_bytes() < self._folder.reserve_bytes

    def _pause(self, store: SqliteJobStore | None, reason: Reason) -> None:
        self._set_paused(reason)
        if store is not None:
            try:
                self._note(store, 0, 0)
            except EquipmentError:
                self._noted = None  # the state disk itself is in trouble: the log has said why
        self._stopping.wait(PAUSED_LOOK_S)

    def _set_paused(self, reason: Reason | None) -> None:
        """Tell of every change, and of nothing else: a folder that stays paused is one line in the log."""
        if reason is not None and reason is not self._paused:
            self._log.emit(FolderPaused(self._folder.key, reason))
        elif reason is None and self._paused is not None:
            self._log.emit(FolderResumed(self._folder.key))
        self._paused = reason

    def _note(self, store: SqliteJobStore, settling: int, awaiting_regions: int) -> None:
        alone = self._watcher is None
        condition = FolderCondition(self._folder.key, settling, self._paused, alone, awaiting_regions)
        if condition != self._noted:
            store.note_folder(condition)
            self._noted = condition


def recover(store: SqliteJobStore, rule: RetryRule, log: EventLog) -> None:
    """Take back every claimed job whose worker is gone (`core/lifecycle.py`, recovery of claimed)."""
    for claim in store.claims():
        job, worker = claim.job, claim.worker
        if is_alive(worker):
            continue
        rebooted = worker.boot_id != boot_id()
        if rebooted and after_return(job.attempts, job.returns, rule).state is JobState.QUEUED:
            if store.give_back(job.id, worker, None):
                log.emit(JobReturned(job.id, job.folder))
            continue
        after = outcome(Disposition.RETRY, job.attempts, rule, 0.5)
        if store.finish(job.id, worker, after.state, Reason.WORKER_DIED, boot_clock_s() + after.delay_s):
            if after.state is JobState.FAILED:
                log.emit(JobFailed(job.id, job.folder, Reason.WORKER_DIED, job.attempts))
            else:
                log.emit(JobRecovered(job.id, job.folder))


@contextmanager
def state_lock(settings: Settings) -> Iterator[None]:
    """Hold the state directory. Raises STATE_LOCKED where another watcher has it, STATE_UNUSABLE where it can't be."""
    try:
        settings.state.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(settings.state.directory / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise EquipmentError(Reason.STATE_UNUSABLE, "open state directory") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EquipmentError(Reason.STATE_LOCKED, "lock state directory") from error
        yield
    finally:
        os.close(handle)


def watch(settings: Settings, log: EventLog) -> None:
    """Watch all folders until asked to stop."""
    stop = StopEvent()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see `files.writer_gone`
    with state_lock(settings):
        store = SqliteJobStore(settings.queue_path)
        try:
            _supervise(settings, store, log, stop)
        finally:
            store.close()


def _supervise(settings: Settings, store: SqliteJobStore, log: EventLog, stop: threading.Event) -> None:
    work = settings.work
    rule = RetryRule(work.max_attempts, work.retry_first_s, work.retry_longest_s)
    condition = ProcessCondition(str(Part.WATCH), this_process())
    recover(store, rule, log)
    store.note_process(condition)
    keepers = [FolderKeeper(settings, folder, log) for folder in settings.folder]
    for keeper in keepers:
        keeper.start()
    notify.ready()
    log.emit(ProcessStarted(Part.WATCH, os.getpid(), len(keepers)))
    while not stop.wait(RECOVER_EVERY_S):
        notify.alive(f"{len(keepers)} folders")
        recover(store, rule, log)
    notify.stopping()
    for keeper in keepers:
        keeper.ask_to_stop()
    deadline_s = time.monotonic() + 10.0
    for keeper in keepers:
        keeper.join(max(0.0, deadline_s - time.monotonic()))
    store.forget_process(condition)
    log.emit(ProcessStopped(Part.WATCH, os.getpid()))
