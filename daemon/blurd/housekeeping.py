"""Housekeeping of the state directory: what must go when its time is over. Done by `watch`, a little at a time.

* File names in the queue, `state.names_days` after their jobs' end (`adapters/store_names.py`).
* Queues that were set aside, for they hold names too: so many days after they were last written.

Invariant: each look costs a fraction of a second, so that the supervisor comes round; the rest waits for the next.
The one exception is writing the queue anew, once a day at most (2.4 s for 100,000 jobs, on two shared cores).
"""

import time
from collections.abc import Callable
from contextlib import closing

from blurd.adapters.host import wall_clock_ago
from blurd.adapters.queue_file import remove_set_aside
from blurd.adapters.store_names import NameErasure
from blurd.config import Settings
from blurd.events import Event, NamesErased

EVERY_S = 60.0
BATCH = 200
SCRUB_EVERY_DAYS = 1.0
_DAY_S = 86_400.0


class Housekeeping:
    """Looks after the state directory. Belongs to one thread."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self._settings, self._emit = settings, emit
        self._next_s = 0.0

    def look(self) -> None:
        """Do what is due, at most one batch. Raises `EquipmentError` as the queue does."""
        days = self._settings.state.names_days
        if days <= 0 or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + EVERY_S
        with closing(NameErasure(self._settings.queue_path)) as queue:
            queue.abandon_notes(wall_clock_ago(days), [folder.name for folder in self._settings.folder])
            erased = queue.erase(wall_clock_ago(days), BATCH)
            if erased:
                self._emit(NamesErased(erased))
            if erased == BATCH:
                self._next_s = 0.0  # there are more: at the next look
            elif queue.is_scrub_due(wall_clock_ago(SCRUB_EVERY_DAYS)):
                queue.scrub()
        remove_set_aside(self._settings.queue_path, time.time() - days * _DAY_S)
