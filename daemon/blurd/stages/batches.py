"""Batches: tell when every file of a first-level subfolder of inbound (an export, a case) is accounted for.

When
* Every file below the subfolder has a job for its very version, and all these jobs are published, rejected, failed or
  ignored; none settles, is queued, runs, or waits for regions; everything below can be read.
* For `quiet_s` nothing changed: no file came, no job moved. Temporary names hold nothing up, for litter stays for ever.
* Once for each time: again only when a job is newer, or ended later, than when it was told the last time. Originals
  that are taken away make no batch new.

How
* What changed is asked of the queue every `LOOK_EVERY_S`; all subfolders are looked at at the start and then every
  `LOOK_AT_ALL_EVERY_S`. A batch is walked only once nothing in it is unfinished.
* The marker's name and hash are written down, it is staged and linked, the event is told, then that it was told. Cut
  off between the last two, the event comes once more.

Invariants
* As soon as something is unfinished in a batch its marker is taken away, if it still is ours, by its hash.
* Nothing is overwritten: where another file has the marker's name, none is put there.
"""

import hashlib
import json
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import wall_clock, wall_clock_ago
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_batches import Batch
from blurd.core.naming import ORIGINALS_FOLDER, staged_name, withdrawn_name
from blurd.events import Event
from blurd.records import FolderName, JobState
from blurd.upkeep_events import BatchCompleted

LOOK_EVERY_S = 2.0
LOOK_AT_ALL_EVERY_S = 3600.0
_OVERLAP_DAYS = 10.0 / 86_400
"""Changes are asked for from a little before the last look on."""
_COUNTED = (JobState.PUBLISHED, JobState.REJECTED, JobState.FAILED, JobState.IGNORED)
_NO_JOB = 0

FilesOf = Callable[[str], Collection[str] | None]
"""The files below a subfolder, by path; None where one has no job for its very version, or a place can't be read."""


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """What the settings say: how long it has to be quiet, and the marker's name and mode; "" puts none."""

    quiet_s: float
    marker: str
    mode: int


class Batches:
    """The batches of one folder. Belongs to one thread, and to one opened queue."""

    def __init__(
        self, folder: FolderName, terms: BatchTerms, store: SqliteJobStore, emit: Callable[[Event], None]
    ) -> None:
        self._folder, self._terms, self._store, self._emit = folder, terms, store, emit
        self._told = {batch.name: batch for batch in store.batches(folder)}
        self._open: dict[str, float] = {}
        self._seen: dict[str, tuple[int, str]] = {}
        self._next_look_s = self._next_all_s = 0.0
        self._asked_at = ""

    def keep(
        self, inbound: InboundFolder, outbound: OutboundFolder, pending: Collection[str], files_of: FilesOf
    ) -> None:
        """Tell of what is complete. `pending` are the files that settle or wait for regions.

        Raises as looking at inbound and writing outbound do; what was not told is told later.
        """
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_EVERY_S
        settling = frozenset(path.partition("/")[0] for path in pending if "/" in path)
        self._open.update(dict.fromkeys(settling | self._changed(), now_s))
        if now_s >= self._next_all_s:
            self._next_all_s = now_s + LOOK_AT_ALL_EVERY_S
            self._look_at_all(inbound, outbound, now_s)
        for name, quiet_since_s in tuple(self._open.items()):
            if name in settling or self._store.has_unfinished(self._folder, name):
                self._open[name] = now_s
                self._remove_marker(outbound, name)
            elif now_s - quiet_since_s >= self._terms.quiet_s:
                self._judge(outbound, name, files_of(name))

    def _changed(self) -> frozenset[str]:
        """Subfolders in which a job changed since the last look."""
        asked_at = wall_clock_ago(_OVERLAP_DAYS)
        since, self._asked_at = self._asked_at or asked_at, asked_at
        changed = self._store.batches_changed(self._folder, since)
        fresh = {name: at for name, at in changed.items() if self._seen.get(name) != at and self._is_news(name, *at)}
        self._seen.update(fresh)
        return frozenset(fresh)

    def _is_news(self, name: str, last_job: int, changed_at: str) -> bool:
        told = self._told.get(name)
        return told is None or last_job > told.last_job or changed_at > told.changed_at

    def _look_at_all(self, inbound: InboundFolder, outbound: OutboundFolder, now_s: float) -> None:
        """Look at every subfolder, and forget those that are gone."""
        present = frozenset(_subfolders(inbound))
        self._open = {**dict.fromkeys(present, now_s), **self._open}
        for name in self._told.keys() - present:
            path = self._marker_path(name)
            if path is None or not outbound.is_taken(path):
                self._store.forget_batch(self._folder, name)
                del self._told[name]

    def _judge(self, outbound: OutboundFolder, name: str, files: Collection[str] | None) -> None:
        """Look at a batch that has been quiet long enough, and tell if it is complete."""
        if files is None:
            self._open[name] = time.monotonic()
            return
        del self._open[name]
        self._seen.pop(name, None)
        states, last_job, changed_at = self._store.sum_up(self._folder, files)
        if not files or states.total() != len(files) or set(states) - set(_COUNTED):
            return
        if not self._is_news(name, last_job, changed_at):
            return
        counts = {str(state): states[state] for state in _COUNTED}
        self._remove_marker(outbound, name)
        if self._terms.marker:
            self._put_marker(outbound, name, {"files": len(files), **counts})
        self._emit(BatchCompleted(self._folder, len(files), **counts))
        told = self._told.get(name, Batch(name, 0, ""))
        self._note(replace(told, last_job=last_job, changed_at=changed_at))

    # -- the marker ---------------------------------------------------------------------------------------------------

    def _put_marker(self, outbound: OutboundFolder, name: str, counts: Mapping[str, int]) -> None:
        text = json.dumps({"batch_completed_at": wall_clock(), **counts}, indent=2) + "\n"
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        told = self._told.get(name, Batch(name, 0, ""))
        self._note(replace(told, marker=self._terms.marker, marker_sha256=sha256))
        staged = staged_name(_NO_JOB, 0)
        with outbound.staged(staged, self._terms.mode) as file:
            file.write(text.encode())
        done = outbound.publish(staged, f"{name}/{self._terms.marker}")
        outbound.remove_staged(staged)
        if not done:
            self._note(told)

    def _remove_marker(self, outbound: OutboundFolder, name: str) -> None:
        """Take the marker away, where it still is ours."""
        path, told = self._marker_path(name), self._told.get(name)
        if path is not None and told is not None:
            outbound.withdraw(path, told.marker_sha256 or "", withdrawn_name(_NO_JOB))
            self._note(replace(told, marker=None, marker_sha256=None))

    def _marker_path(self, name: str) -> str | None:
        told = self._told.get(name)
        return None if told is None else told.marker_path

    def _note(self, batch: Batch) -> None:
        self._store.note_batch(self._folder, batch)
        self._told[batch.name] = batch


def _subfolders(inbound: InboundFolder) -> Iterator[str]:
    for name, status in inbound.entries(""):
        if stat.S_ISDIR(status.st_mode) and name != ORIGINALS_FOLDER:
            yield name
