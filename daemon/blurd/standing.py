"""How a folder stands, as it is told: a line in the log for each change, and the row that `blurd status` reads.

One for each folder and process: keepers come and go under it, for the queue may be begun anew in mid-run.

Invariants
* A folder that stays paused is one line. One that was told to be paused, by this process or the one before it, is told
  to have resumed.
* Where the watcher's own sandbox is why outbound can't be written, a person can't mend it: the process ends, and is
  started with a fresh view. Only for what came to be so in its time, so it never ends for the same again and again.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from blurd.adapters.sandbox import is_closed_by_view
from blurd.adapters.store import SqliteJobStore
from blurd.errors import Reason
from blurd.events import Event, FolderPaused, FolderResumed, PlacesUnreadable, SandboxOutdated
from blurd.records import FolderCondition, FolderName, ViewFault


class Standing:
    """What was told of one folder. `outbound` is given where the process runs in the sandbox of its unit."""

    def __init__(self, folder: FolderName, emit: Callable[[Event], None], outbound: Path | None) -> None:
        self._folder, self._emit, self._outbound = folder, emit, outbound
        self._lock = threading.RLock()  # the supervisor speaks for a keeper that hangs
        self._told: FolderCondition | None = None
        self._first: FolderCondition | None = None
        self._noted: FolderCondition | None = None
        self._paused: Reason | None = None
        self.is_outdated = False
        """The process must end for a fresh view."""

    @property
    def paused(self) -> Reason | None:
        """Why the folder can't be served; None where it is."""
        return self._paused

    def begin(self, store: SqliteJobStore) -> None:
        """Learn how the process before this one left the folder. Raises `EquipmentError` where it can't be read."""
        with self._lock:
            if self._first is None:
                before = (condition for condition in store.overview().folders if condition.folder == self._folder)
                self._told = next(before, None)

    def tell(self, store: SqliteJobStore | None, condition: FolderCondition) -> None:
        """Log what has changed, and nothing else; note it in the queue. Raises `EquipmentError` where that fails."""
        with self._lock:
            if self._is_view_outdated(condition):
                if not self.is_outdated:
                    self._emit(SandboxOutdated(self._folder, ViewFault.OUTBOUND_CLOSED))
                self.is_outdated = True
                return
            self._log(condition)
            self._first = self._first or condition
            self._paused, self._told = condition.paused, condition
            if store is not None and condition != self._noted:
                store.note_folder(condition)
                self._noted = condition

    def forget_note(self) -> None:
        """The queue is another one now, or could not be written: note whatever is told next."""
        self._noted = None

    def _log(self, condition: FolderCondition) -> None:
        before = self._told.paused if self._told is not None else None
        news = condition.paused is not before or self._first is None
        if condition.paused is not None and news:
            self._emit(FolderPaused(self._folder, condition.paused))
        elif condition.paused is None and before is not None:
            self._emit(FolderResumed(self._folder))
        told = self._told.unreadable if self._first is not None and self._told is not None else 0
        if condition.unreadable != told:
            self._emit(PlacesUnreadable(self._folder, condition.unreadable))

    def _is_view_outdated(self, condition: FolderCondition) -> bool:
        """True where outbound was served or missing before, and now can't be written through the sandbox alone."""
        if condition.paused is not Reason.OUTBOUND_READ_ONLY or self._outbound is None:
            return False
        came_so = self._first is not None and self._first.paused is not Reason.OUTBOUND_READ_ONLY
        return came_so and is_closed_by_view(self._outbound)
