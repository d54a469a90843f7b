"""Looking after the workers through the queue, and telling how they do: what `watch` does besides its folders.

Invariant: trouble with the queue is told once, and passes; it never ends the process.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from blurd.adapters.host import this_process
from blurd.adapters.log import EventLog
from blurd.adapters.store import SqliteJobStore
from blurd.config import Settings
from blurd.core.retry import RetryRule
from blurd.errors import EquipmentError, Reason
from blurd.events import Part, StateTrouble, StateUsable
from blurd.housekeeping import Housekeeping
from blurd.monitor import Monitor
from blurd.records import ProcessCondition, RunningJob
from blurd.stages.recover import recover


class Overseer:
    """Looks after the workers through the queue; trouble with it is told once and passes."""

    def __init__(self, settings: Settings, store: SqliteJobStore, log: EventLog) -> None:
        work = settings.work
        self._rule = RetryRule(work.max_attempts, work.retry_first_s, work.retry_longest_s)
        self._store, self._log = store, log
        self._condition = ProcessCondition(str(Part.WATCH), this_process())
        self._housekeeping = Housekeeping(settings, log.emit)
        self._noted = False
        self._trouble: Reason | None = None
        self._monitor = Monitor(settings, log)
        self._monitor.begin()

    def look(self, also: Iterable[Callable[[SqliteJobStore], None]] = ()) -> None:
        """Take back what dead and stuck workers held, and do what else is to be noted in the queue."""
        try:
            if not self._noted:
                self._store.note_process(self._condition)
                self._noted = True
            recover(self._store, self._rule, self._log.emit)
            for act in also:
                act(self._store)
            self._housekeeping.look()
        except EquipmentError as error:
            if error.reason is not self._trouble:
                self._log.emit(StateTrouble(Part.WATCH, error.reason))
            self._trouble = error.reason
        else:
            if self._trouble is not None:
                self._log.emit(StateUsable(Part.WATCH))
            self._trouble = None

    def leave(self, also: Iterable[Callable[[SqliteJobStore], None]] = ()) -> None:
        """Do what is to be done at the end, and remove this process from what is shown; nothing more is told."""
        self._monitor.end()
        with suppress(EquipmentError):  # a process that is gone is not shown as running anyway
            for act in also:
                act(self._store)
            self._store.forget_process(self._condition)

    def workload(self) -> tuple[int, Sequence[RunningJob]]:
        """How many jobs wait, and those that run; none while the queue can't be read."""
        try:
            return self._store.workload()
        except EquipmentError:
            return 0, ()
