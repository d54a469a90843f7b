"""What is the matter, as alerts tell it, made from one reading of queue and machine."""

from collections import deque
from collections.abc import Iterator, Mapping

from blurd.adapters.store_figures import Totals
from blurd.config import FolderSettings
from blurd.core.alerting import AlertKind, Finding, Subject
from blurd.errors import Reason
from blurd.figures import Reading
from blurd.records import FolderName, JobState

_WAITING = (JobState.QUEUED, JobState.DEFERRED, JobState.CLAIMED, JobState.STAGED)
_REFUSED = (JobState.REJECTED, JobState.FAILED)
HOUR_S = 3600.0


class Deaths:
    """How many workers died within the last hour."""

    def __init__(self) -> None:
        self._seen: int | None = None
        self._times: deque[float] = deque(maxlen=10_000)

    def within_hour(self, total: int, now_s: float) -> int:
        """`total` is how many have died so far; those from before the first question don't count."""
        added = total - self._seen if self._seen is not None else 0
        self._seen = total
        self._times.extend([now_s] * max(0, added))
        while self._times and not 0.0 <= now_s - self._times[0] < HOUR_S:
            self._times.popleft()
        return len(self._times)


class Refusals:
    """Which files were refused since the last question."""

    def __init__(self) -> None:
        self._before: Mapping[tuple[FolderName, JobState, str], int] | None = None

    def since(self, totals: Totals) -> Iterator[Finding]:
        """One finding for each folder and reason; none the first time, which says from where on to count."""
        before, self._before = self._before, dict(totals.moves)
        if before is None:
            return
        for (folder, state, reason), number in totals.moves.items():
            added = number - before.get((folder, state, reason), 0)
            if state in _REFUSED and added > 0:
                subject = Subject(AlertKind.FILES_REFUSED, folder)
                yield Finding(subject, float(added), reason=Reason(reason) if reason else None)


def findings(reading: Reading, newest: Mapping[FolderName, str], since_s: float, deaths: int) -> Iterator[Finding]:
    """All that is the matter. `newest` is when each folder's newest job was made, `since_s` when the watcher began."""
    alerts = reading.settings.alerts
    for folder in reading.settings.folder:
        yield from _folder(reading, folder, newest, since_s)
    if any(worker.degraded for worker in reading.workers):
        yield Finding(Subject(AlertKind.DEVICE_DEGRADED))
    if not reading.workers:
        yield Finding(Subject(AlertKind.WORKER_MISSING), after_s=60.0 * alerts.worker_missing_minutes)
    if deaths >= alerts.worker_deaths:
        yield Finding(Subject(AlertKind.WORKER_DYING), float(deaths), float(alerts.worker_deaths))
    if reading.state_full:
        yield Finding(Subject(AlertKind.STATE_FULL), reason=Reason.STATE_FULL)


def _folder(
    reading: Reading, folder: FolderSettings, newest: Mapping[FolderName, str], since_s: float
) -> Iterator[Finding]:
    name = folder.key
    last = newest.get(name)
    silent_hours = (reading.age_s(last) if last else max(0.0, reading.now_s - since_s)) / HOUR_S
    if 0.0 < folder.silent_hours <= silent_hours:
        yield Finding(Subject(AlertKind.FOLDER_SILENT, name), silent_hours, folder.silent_hours)
    counts = reading.overview.counts.get(name, {})
    waiting = sum(counts.get(state, 0) for state in _WAITING)
    if 0 < folder.backlog_files < waiting:
        yield Finding(Subject(AlertKind.BACKLOG, name), float(waiting), float(folder.backlog_files))
    condition = reading.condition(name)
    if condition is not None and condition.paused is not None:
        after_s = 60.0 * reading.settings.alerts.paused_minutes
        yield Finding(Subject(AlertKind.FOLDER_PAUSED, name), reason=condition.paused, after_s=after_s)
