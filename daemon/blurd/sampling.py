"""Samples for the report, taken by `watch`: what waits, every few minutes, and what did not run, from when to when.

Outages, by their cause
* a reason's code: the folder was paused for it;
* `no_worker`: no worker process was alive; `degraded`: one ran on another device than the wanted one;
* `not_watching`: the watcher itself was stopped or dead, which the gap between two samples tells; it is known to
  `SAMPLE_EVERY_S`.

Invariants
* What lasts less than `LEAST_S` is no outage: processes are replaced, shares come back.
* The wall clock says when; a clock that was set back makes no outage.
"""

import time
from collections.abc import Iterator

from blurd.adapters.host import is_alive
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_samples import APPLIANCE, Outage
from blurd.events import Part

SAMPLE_EVERY_S = 300.0
LEAST_S = 60.0
NO_WORKER, DEGRADED, NOT_WATCHING = "no_worker", "degraded", "not_watching"


class Sampler:
    """Takes samples. Belongs to one thread; the queue is given at each look, for it may be begun anew."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], int] = {}
        self._noted: set[tuple[str, str]] = set()
        self._next_sample_s = 0.0
        self._begun = False

    def look(self, store: SqliteJobStore) -> None:
        """Look at what runs, and take a sample when it is time."""
        now = int(time.time())
        if not self._begun:
            self._begin(store, now)
        current = frozenset(_troubles(store))
        for key in current - self._open.keys():
            self._open[key] = now
        for key, began in tuple(self._open.items()):
            if key not in current:
                self._close(store, key, now)
            elif key not in self._noted and now - began >= LEAST_S:
                store.note_outage(Outage(*key, began, None))
                self._noted.add(key)
        if time.monotonic() >= self._next_sample_s:
            store.take_sample(now)
            self._next_sample_s = time.monotonic() + SAMPLE_EVERY_S

    def leave(self, store: SqliteJobStore) -> None:
        """The watcher ends: until when it ran is known to the second."""
        now = int(time.time())
        for key in tuple(self._open):
            self._close(store, key, now)
        store.take_sample(now)

    def _begin(self, store: SqliteJobStore, now: int) -> None:
        last = store.last_sample_at()
        if last is not None:
            store.close_outages(last)
            if now - last >= LEAST_S:
                store.note_outage(Outage(APPLIANCE, NOT_WATCHING, last, now))
        self._begun = True

    def _close(self, store: SqliteJobStore, key: tuple[str, str], now: int) -> None:
        began = self._open.pop(key)
        if key in self._noted:
            store.note_outage(Outage(*key, began, max(began, now)))
            self._noted.discard(key)


def _troubles(store: SqliteJobStore) -> Iterator[tuple[str, str]]:
    paused, processes = store.conditions()
    yield from paused.items()
    workers = [process for process in processes if process.part == Part.WORK and is_alive(process.worker)]
    if not workers:
        yield APPLIANCE, NO_WORKER
    elif any(worker.degraded for worker in workers):
        yield APPLIANCE, DEGRADED
