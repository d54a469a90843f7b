"""`blurd watch`: find files, queue them, publish finished copies, take back the jobs of dead workers. Never decodes.

One thread a folder, so that a share that hangs holds up nobody else; the main thread only supervises, and touches no
folder.

Invariants
* Hints wake the scan early; the scan every `watch.rescan_s` is the truth.
* A folder whose inbound or outbound is not there, or is not the one known, is paused: nothing in it is judged, least
  of all "all deleted", and nothing is written there. Both are opened and recognised anew for every round, and let go
  between rounds, so that a share can be unmounted.
* A folder that does not come round within `ANSWER_WITHIN_S` is shown as not answering until it does.
* systemd's watchdog is fed by the supervisor, and only while every keeper comes round. One that a file system keeps
  waiting is excused: to end the process would not bring the share back, and would stop the other folders.
* One watcher a state directory: a second one ends with STATE_LOCKED. It alone mends the queue: at the start, and
  whenever somebody met damage, everything is let go, the queue set aside and begun anew (`stages/rebuild.py`).
* A queue that can't be written now (full disk) is waited for.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from blurd.adapters import notify
from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import is_held_by_kernel
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.ledger import Ledger
from blurd.adapters.log import EventLog
from blurd.adapters.queue_file import is_damage_noted
from blurd.adapters.sharing import sharing
from blurd.adapters.state_lock import state_lock
from blurd.adapters.stop_event import StopEvent
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.watcher import FolderWatcher
from blurd.config import FolderSettings, Settings
from blurd.core.naming import parse_staged_name
from blurd.core.settling import SettleRule
from blurd.core.space import largest_source_bytes
from blurd.errors import REASONS, Disposition, EquipmentError, Reason
from blurd.events import FolderWatched, Hints, Part, ProcessStarted, ProcessStopped, StagingCleaned
from blurd.overseer import Overseer
from blurd.records import FolderCondition, RunningJob
from blurd.reload import Reload
from blurd.stages.enqueue import enqueue
from blurd.stages.notes import Notes
from blurd.stages.publish import publish
from blurd.stages.rebuild import rebuild_if_needed
from blurd.stages.settle import Settler, walk
from blurd.stages.wait import StopRequested, patiently
from blurd.standing import Standing
from blurd.upkeep import FolderUpkeep, Upkeep

PUBLISH_EVERY_S = 0.5
RECOVER_EVERY_S = 2.0
PAUSED_LOOK_S = 2.0
RESCAN_ALONE_S = 10.0
ANSWER_WITHIN_S = 10.0
PUBLISH_SLICE = 100
_LASTING = (Disposition.PAUSE, Disposition.STOP)
STUCK_S = 600.0
"""A keeper that has not come round for so long is stuck, unless a file system holds it."""
STOP_S = 10.0
FIRST_LOOK_S = 5.0
"""So long the process waits with its readiness for every folder's staging folder to be there."""


class FolderKeeper(threading.Thread):
    """Serves one folder: scan, settle, enqueue, publish. Owns its handles, its store and its watcher."""

    def __init__(self, settings: Settings, folder: FolderSettings, log: EventLog, standing: Standing) -> None:
        super().__init__(name=f"folder-{folder.name}", daemon=True)
        self._standing = standing
        standing.forget_note()
        self._settings = settings
        self._folder = folder
        self._log = log
        self._ledger = Ledger(settings.receipts_path)
        self._wake = threading.Event()
        self.has_looked = threading.Event()
        self._stopping = threading.Event()
        self._watcher: FolderWatcher | None = None
        self._guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=True)
        self._next_scan_s = 0.0
        self._next_watcher_s = 0.0
        self._held_back: Reason | None = None
        self._hints: Hints | None = None
        self._beat_s = time.monotonic()
        self._settling = self._awaiting_regions = self._unreadable = 0

    def is_stuck(self) -> bool:
        """True where the keeper has ended, or does not come round and no file system keeps it waiting."""
        if not self.is_alive():
            return True
        late = time.monotonic() - self._beat_s > STUCK_S
        return late and not is_held_by_kernel(self.native_id or 0)

    def ask_to_stop(self) -> None:
        """End after the current step."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Serve the folder; wait out whatever is wrong with it."""
        while not self._stopping.is_set():
            self._beat()
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
        settler = Settler(
            folder.key,
            SettleRule(folder.settle_s, folder.incomplete_after_s),
            self._settings.watch.temporary_names,
            store,
            hard_links=folder.hard_links,
            regions_required=folder.regions == "required",
            others_ignored=folder.other_files == "ignore",
        )
        settler.beat = self._beat
        self._next_scan_s = self._next_watcher_s = 0.0
        self._standing.begin(store)
        people = sharing(folder.mode, folder.output_group)
        unlisted = store.is_unlisted(folder.key)
        upkeep = FolderUpkeep(self._settings, folder, store, self._log.emit)
        notes = Notes(folder.key, folder.mode, self._settings.state.names_days, wanted=folder.rejected_notes)
        while not self._stopping.is_set():
            self._beat()
            with self._guard.open_inbound() as inbound, self._guard.open_outbound(people) as outbound:
                self.has_looked.set()
                if unlisted:
                    self._list_present(store, inbound)
                    unlisted = False
                self._keep_watcher()
                self._take_in(store, settler, inbound, outbound)
                notes.keep(store, inbound, outbound)
                short = self._publish(store, inbound, outbound, upkeep) or self._shortage(store, outbound)
                upkeep.keep(settler, inbound, outbound)
            self._settling, self._awaiting_regions = settler.settling, settler.awaiting_regions
            self._unreadable = settler.unreadable
            self._tell(store, short)
            self._sleep(settler)

    def _list_present(self, store: SqliteJobStore, inbound: InboundFolder) -> None:
        """After the queue was begun anew: note what was there before, which a receipt may tell of."""
        files = walk(inbound, self._settings.watch.temporary_names)
        store.list_present(self._folder.key, [(path, stamp_of(status)) for path, status in files])

    def _take_in(
        self, store: SqliteJobStore, settler: Settler, inbound: InboundFolder, outbound: OutboundFolder
    ) -> None:
        now_s = time.monotonic()
        hinted, everywhere = self._watcher.take() if self._watcher is not None else (frozenset[str](), False)
        if everywhere or now_s >= self._next_scan_s:
            self._clean_staging(store, outbound)
            rescan_s = self._settings.watch.rescan_s
            found = settler.scan(inbound, now_s)
            self._next_scan_s = now_s + (min(rescan_s, RESCAN_ALONE_S) if self._is_alone() else rescan_s)
        else:
            found = settler.look_at(inbound, hinted, now_s)
        enqueue(store, self._folder.key, found, self._log.emit)
        enqueue(store, self._folder.key, settler.look_at_due(inbound, time.monotonic()), self._log.emit)

    def _publish(
        self, store: SqliteJobStore, inbound: InboundFolder, outbound: OutboundFolder, upkeep: FolderUpkeep
    ) -> Reason | None:
        """Publish what is staged; why a copy has to wait, where its source can't be looked at once more."""
        waits = None
        for job in store.staged_jobs(self._folder.key, PUBLISH_SLICE):
            if self._stopping.is_set():
                break
            self._beat()
            try:
                publish(store, self._ledger, inbound, outbound, job, upkeep.receipt(job), self._log.emit)
            except EquipmentError as error:
                if error.reason not in (Reason.NO_PERMISSION, Reason.READ_ERROR):
                    raise
                waits = error.reason  # the other copies go on
        return waits

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

    # -- hints --------------------------------------------------------------------------------------------------------

    def _keep_watcher(self) -> None:
        """Have notifications where they can be had; after a remount, or once there are watches again, begin anew."""
        now_s = time.monotonic()
        dead = self._watcher is not None and not self._watcher.is_alive()
        if dead or (now_s >= self._next_watcher_s and self._is_alone()):
            self._stop_watcher()
            watcher = FolderWatcher(self._folder.inbound, self._wake)
            self._watcher = watcher if self._settings.watch.notify and watcher.start() else None
            self._next_watcher_s = now_s + self._settings.watch.rescan_s
            self._next_scan_s = now_s  # what came before the watches gave no hint
        hints = Hints.RESCAN_ONLY if self._is_alone() else Hints.NOTIFIED
        if hints is not self._hints:
            self._hints = hints
            self._log.emit(FolderWatched(self._folder.key, hints))

    def _is_alone(self) -> bool:
        """True where the scan finds everything by itself, or a part that notifications don't reach."""
        watcher = self._watcher
        return watcher is None or not watcher.is_whole()

    def _stop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    # -- condition ----------------------------------------------------------------------------------------------------

    def _shortage(self, store: SqliteJobStore, outbound: OutboundFolder) -> Reason | None:
        """Why workers leave the folder alone, or its largest files; finished copies are published all the same."""
        room = outbound.free_bytes() - self._folder.reserve_bytes
        if room < 0:
            return Reason.OUTBOUND_FULL
        largest = store.largest_queued(self._folder.key)
        if largest > max(0, largest_source_bytes(room)):
            return Reason.OUTBOUND_SHORT
        reason = store.held_back(self._folder.key)
        if reason is None and self._held_back is not None and store.open_attempts(self._folder.key):
            return self._held_back  # the next try is under way: the folder has not resumed yet
        lasting = reason is not None and REASONS[reason].disposition in _LASTING
        self._held_back = reason if lasting else None
        return self._held_back

    def _pause(self, store: SqliteJobStore | None, reason: Reason) -> None:
        self._beat()
        self.has_looked.set()
        self._settling = self._awaiting_regions = self._unreadable = 0
        try:
            self._tell(store, reason)
        except EquipmentError:
            self._standing.forget_note()  # the state disk itself is in trouble: the log has said why
        self._stopping.wait(PAUSED_LOOK_S)

    def _beat(self) -> None:
        self._beat_s = time.monotonic()

    def look_after(self, store: SqliteJobStore) -> None:
        """Called by the supervisor: speak for a keeper that hangs in a file system. It speaks for itself afterwards."""
        if time.monotonic() - self._beat_s > ANSWER_WITHIN_S and self._standing.paused is not Reason.NOT_ANSWERING:
            self._tell(store, Reason.NOT_ANSWERING)

    def _tell(self, store: SqliteJobStore | None, paused: Reason | None) -> None:
        counts = self._settling, paused, self._is_alone(), self._awaiting_regions, self._unreadable
        self._standing.tell(store, FolderCondition(self._folder.key, *counts))


def watch(settings: Settings, log: EventLog, read: Callable[[], Settings], *, sandboxed: bool = False) -> None:
    """Watch all folders until asked to stop, or until the view that a sandbox gives of a folder is outdated.

    `read` reads the settings anew.
    """
    stop = StopEvent()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        notify.stopping(STOP_S + 5.0)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see `files.writer_gone`
    reload = Reload(Part.WATCH, settings, read, log.emit)
    with state_lock(settings.state.directory):
        log.emit(ProcessStarted(Part.WATCH, os.getpid(), len(settings.folder)))
        standings: dict[tuple[str, str], Standing] = {}
        while not stop.is_set():
            standings = {
                (folder.name, str(folder.outbound)): standings.get((folder.name, str(folder.outbound)))
                or Standing(folder.key, log.emit, folder.outbound if sandboxed else None)
                for folder in reload.take().folder
            }
            try:
                store = patiently(lambda: _sound_queue(reload.settings, log), stop, Part.WATCH, log.emit)
            except StopRequested:
                break
            try:
                _supervise(reload, store, log, stop, list(standings.values()))
            finally:
                store.close()
        log.emit(ProcessStopped(Part.WATCH, os.getpid()))


def _sound_queue(settings: Settings, log: EventLog) -> SqliteJobStore:
    """The queue, begun anew where it had to be."""
    path, folders = settings.queue_path, [folder.key for folder in settings.folder]
    told = rebuild_if_needed(path, Ledger(settings.receipts_path), folders)
    if told is not None:
        log.emit(told)
    return SqliteJobStore(path)


def _supervise(
    reload: Reload, store: SqliteJobStore, log: EventLog, stop: threading.Event, standings: Sequence[Standing]
) -> None:
    """Serve all folders until asked to stop, until the queue is found damaged, or there are new settings."""
    settings = reload.settings
    keepers = [
        FolderKeeper(settings, folder, log, standing)
        for folder, standing in zip(settings.folder, standings, strict=True)
    ]
    overseer, upkeep = Overseer(settings, store, log), Upkeep(settings, log.emit)
    overseer.look([upkeep.look])
    for keeper in keepers:
        keeper.start()
    upkeep.start()
    _await_first_look(keepers)
    notify.ready()
    notify.alive(_status(standings, overseer.workload()))
    while not (stop.wait(RECOVER_EVERY_S) or is_damage_noted(settings.queue_path) or reload.is_due()):
        overseer.look([*(keeper.look_after for keeper in keepers), upkeep.look])
        if any(standing.is_outdated for standing in standings):
            stop.set()
        if not any(keeper.is_stuck() for keeper in keepers):
            notify.alive(_status(standings, overseer.workload()))
    for keeper in keepers:
        keeper.ask_to_stop()
    deadline_s = time.monotonic() + STOP_S
    for keeper in keepers:
        keeper.join(max(0.0, deadline_s - time.monotonic()))
    overseer.leave([upkeep.stop])


def _await_first_look(keepers: Sequence[FolderKeeper]) -> None:
    """Wait, not for long, until each folder was opened, or could not be: workers start after this process.

    What their sandbox shows is settled at their start, and a staging folder that is made later is not in it.
    """
    deadline_s = time.monotonic() + FIRST_LOOK_S
    for keeper in keepers:
        keeper.has_looked.wait(max(0.0, deadline_s - time.monotonic()))


def _status(standings: Sequence[Standing], workload: tuple[int, Sequence[RunningJob]]) -> str:
    """The line that `systemctl status` shows."""
    waiting, running = workload
    paused = sum(standing.paused is not None for standing in standings)
    parts = [f"{len(standings)} folders", *([f"{paused} paused"] if paused else []), f"{waiting} waiting"]
    return ", ".join((*parts, *(f"job {job.job} at {job.progress.share:.0%}" for job in running)))
