"""Tells others how blurd does: writes the file of metrics, and alerts into their spool. A thread of the watcher.

Invariants
* Trouble here is told once, passes, and stops nothing else: no folder waits for this thread, nor it for a folder.
* It asks no folder itself: a probe (`adapters/probe.py`) does, which may hang in a share.
* Where neither metrics nor alerts are wanted, there is no such thread.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from blurd.adapters.alert_spool import MOST, AlertSpool, spool_of, waiting
from blurd.adapters.host import free_bytes, is_alive
from blurd.adapters.log import EventLog
from blurd.adapters.machine_load import GraphicsLoad, pressure_s
from blurd.adapters.probe import ANSWER_PATIENCE_S, FolderProbe
from blurd.adapters.queue_file import is_full
from blurd.adapters.small_files import replace
from blurd.adapters.store_figures import FigureStore, Totals
from blurd.config import Settings
from blurd.core.alerting import Alarms, Alert
from blurd.core.exposition import exposition
from blurd.errors import EquipmentError, Reason
from blurd.events import Part
from blurd.figures import Reading, figures
from blurd.findings import Deaths, Refusals, findings
from blurd.monitor_events import AlertWritten, MonitoringTrouble, MonitoringUsable
from blurd.records import FolderName, Overview, WorkerIdentity

METRICS_FILE = "blurd.prom"
ALERTS_EVERY_S = 15.0
_READABLE = 0o644
_STOP_PATIENCE_S = 3.0


class Monitor(threading.Thread):
    """Runs from `start` until `end`."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        super().__init__(name="monitor", daemon=True)
        self._settings, self._log = settings, log
        self._stopping = threading.Event()
        self._wanted = settings.metrics.place is not None or settings.alerts.enabled
        every_s = settings.metrics.every_s if settings.metrics.place is not None else ALERTS_EVERY_S
        self._every_s = min(every_s, ALERTS_EVERY_S) if settings.alerts.enabled else every_s
        self._teller = _Teller(settings, log) if settings.alerts.enabled else None
        self._eye = _Eye(settings, self._teller)
        self._trouble = 0

    def begin(self) -> None:
        """Start, where anything is wanted."""
        if self._wanted:
            self.start()

    def end(self) -> None:
        """Stop; what hangs is left alone."""
        self._stopping.set()
        if self.is_alive():
            self.join(_STOP_PATIENCE_S)

    def run(self) -> None:
        """Look, write, wait."""
        while not self._stopping.is_set():
            try:
                self._round()
            except EquipmentError:
                pass  # the queue can't be read now, which the overseer tells
            except OSError as error:
                self._tell(error.errno or -1)
            except Exception as error:  # noqa: BLE001  a fault here must not end the telling; it is logged by line
                self._log.internal_error(error)
            else:
                self._tell(0)
            self._stopping.wait(self._every_s)

    def _round(self) -> None:
        reading, newest = self._eye.look()
        place = self._settings.metrics.place
        if place is not None:
            replace(place / METRICS_FILE, exposition(figures(reading)), _READABLE)
        if self._teller is not None:
            self._teller.tell(reading, newest)

    def _tell(self, trouble: int) -> None:
        if trouble and trouble != self._trouble:
            self._log.emit(MonitoringTrouble(trouble))
        elif self._trouble and not trouble:
            self._log.emit(MonitoringUsable())
        self._trouble = trouble


class _Eye:
    """Takes a reading."""

    def __init__(self, settings: Settings, teller: "_Teller | None") -> None:
        self._settings = settings
        self._teller = teller
        self._totals = Totals()
        self._graphics = GraphicsLoad()
        self._listed: set[WorkerIdentity] = set()
        self._dead: set[WorkerIdentity] = set()
        self._starts = self._deaths = 0
        self._last_progress_s = 0.0
        self._last_sign: object = None

    def look(self) -> tuple[Reading, Mapping[FolderName, str]]:
        """A reading, and when each folder's newest job was made. Raises `EquipmentError` of the queue."""
        names = [folder.key for folder in self._settings.folder]
        store = FigureStore(self._settings.queue_path, read_only=True)
        try:
            if not self._totals.last and self._teller is not None:  # what an earlier process has told already
                store.add_up(self._totals, self._teller.seen)
                self._teller.count_from(self._totals)
            store.add_up(self._totals)
            overview = store.overview()
            oldest = {name: at for name in names if (at := store.oldest_waiting(name)) is not None}
            newest = {name: at for name in names if (at := store.newest_file(name)) is not None}
        finally:
            store.close()
        return self._reading(overview, oldest), newest

    def _reading(self, overview: Overview, oldest: Mapping[FolderName, str]) -> Reading:
        workers = [process for process in overview.processes if process.part == Part.WORK]
        alive = tuple(worker for worker in workers if is_alive(worker.worker))
        listed, dead = {item.worker for item in workers}, {item.worker for item in workers if item not in alive}
        self._starts += len(listed - self._listed)
        self._deaths += len(dead - self._dead)
        self._listed, self._dead = listed, dead
        now_s = time.time()
        sign = self._totals.last, [(job.job, job.progress.share) for job in overview.running]
        if sign != self._last_sign:
            self._last_progress_s = now_s
        self._last_sign = sign
        state = self._settings.state.directory
        return Reading(
            settings=self._settings,
            overview=overview,
            totals=self._totals,
            workers=alive,
            worker_starts=self._starts,
            worker_deaths=self._deaths,
            last_progress_s=self._last_progress_s,
            now_s=now_s,
            oldest=oldest,
            free_bytes=dict(self._rooms()),
            pressure_s=pressure_s(),
            graphics_busy=self._graphics.busy(),
            state_full=is_full(state),
            alerts_waiting=len(waiting(spool_of(state))),
        )

    def _rooms(self) -> dict[tuple[str, str], int]:
        rooms = {("", "state"): free_bytes(self._settings.state.directory)}
        for folder in self._settings.folder:
            room = _probe(folder.outbound).room(ANSWER_PATIENCE_S)
            if room is not None:
                rooms[folder.name, "outbound"] = room
        return rooms


class _Teller:
    """Decides what is told, and puts it into the spool."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        self._log = log
        self._spool = AlertSpool(settings.state.directory)
        standing, told, self.seen = self._spool.recall()
        self._alarms = Alarms(3600.0 * settings.alerts.repeat_hours, standing, told)
        self._deaths, self._refusals = Deaths(), Refusals()
        self._since_s = time.time()
        self._due: deque[Alert] = deque(maxlen=MOST)

    def count_from(self, totals: Totals) -> None:
        """What was refused up to here is not told."""
        tuple(self._refusals.since(totals))

    def tell(self, reading: Reading, newest: Mapping[FolderName, str]) -> None:
        """Write the alerts that are due. Raises `OSError`."""
        deaths = self._deaths.within_hour(reading.worker_deaths, reading.now_s)
        found = tuple(findings(reading, newest, self._since_s, deaths))
        alerts = self._alarms.update(found, tuple(self._refusals.since(reading.totals)), reading.now_s)
        self._due.extend(alerts)
        if not self._due and self.seen == reading.totals.last:
            return
        while self._due:  # one that can't be written now, on a full disk, is written later
            alert = self._due[0]
            self._spool.write(alert)
            self._due.popleft()
            self._log.emit(AlertWritten(alert.finding.subject.kind, alert.state))
        self._spool.remember(self._alarms, reading.totals.last)
        self.seen = reading.totals.last


@cache
def _probe(outbound: Path) -> FolderProbe:
    """One for each place as long as the process lives, for its thread lives as long."""

    def look() -> int:
        try:
            return free_bytes(outbound)
        except OSError as error:
            raise EquipmentError(Reason.OUTBOUND_MISSING, "look at room") from error

    return FolderProbe("room", look)
