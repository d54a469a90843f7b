"""Notes: tell the people at the share of a file that got no copy, in a text file where its copy would be.

How
* What is to lie there follows from the queue alone: each newest job that was rejected or failed, and whose original is
  still there, has one note `NAME.rejected.txt`; a job that was to make a copy again needs none while that copy stands.
* A note is removed when its job is done or forgotten, when another version of the file has a job, when the original is
  gone, and before the job's name is erased from the queue. It stays while the job is tried again.

Each step is repeatable after a cut at any point
1. Name and hash are written down; the note is staged, linked, and its job settled.
2. To remove one: it is taken away, if it still is ours, and then forgotten.

Invariants
* Nothing is overwritten, and nothing is removed but a note of ours, by its hash. One that people removed stays away.
* No name of a copy ends like a note's, so a note is in nobody's way.
* A queue that was begun anew knows no notes of the one before; the note about the same file for the same reason is
  known by its text, and replaced.
* A note that can't be written never pauses a folder: on a full disk it waits, else it is left out.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace

from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import wall_clock_ago
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_notes import Note
from blurd.core.advice import note_text, numbered
from blurd.core.naming import note_path, staged_name, withdrawn_name
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, Job, JobId

SLICE = 100
LOOK_EVERY_S = 5.0
SOURCES_EVERY_S = 60.0
LONGEST_BYTES = 1 << 16
_NO_ATTEMPT = 0
"""No attempt at a file has this number, so no copy is ever staged under a note's name."""


class Notes:
    """The notes of one folder. Belongs to one thread."""

    def __init__(self, folder: FolderName, mode: int, names_days: float, *, wanted: bool) -> None:
        self._folder, self._mode, self._names_days, self._wanted = folder, mode, names_days, wanted
        self._next_look_s = self._next_sources_s = 0.0

    def keep(self, store: SqliteJobStore, inbound: InboundFolder, outbound: OutboundFolder) -> None:
        """Write what is due and remove what is out of date. Raises as opening and writing outbound does."""
        now_s = time.monotonic()
        if self._wanted:
            self._write_due(store, inbound, outbound)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_EVERY_S
            self._remove_out_of_date(store, outbound)
        if now_s >= self._next_sources_s:
            self._next_sources_s = now_s + SOURCES_EVERY_S
            for note in list(_without_source(store, inbound, self._folder)):
                _remove(store, outbound, note)

    def _write_due(self, store: SqliteJobStore, inbound: InboundFolder, outbound: OutboundFolder) -> None:
        for job in store.notes_due(self._folder, SLICE):
            try:
                before = store.note(job.id)
                needed = _is_there(inbound, job.path) and not store.copies_replaced_by(job)
                if needed:
                    self._write(store, outbound, job, before)
                elif before is not None:
                    _remove(store, outbound, before)
            except EquipmentError as error:
                if error.reason is Reason.OUTBOUND_FULL:
                    return
                if error.reason is not Reason.WRITE_ERROR:
                    raise
                needed = False
            store.settle_note(job, written=needed)

    def _write(self, store: SqliteJobStore, outbound: OutboundFolder, job: Job, before: Note | None) -> None:
        content = note_text(job).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        staged = staged_name(job.id, _NO_ATTEMPT)
        if before is not None:
            if before.sha256 == sha256 and outbound.is_content(before.path, sha256):
                outbound.remove_staged(staged)
                return
            _remove(store, outbound, before)
        _remove_from_before(outbound, job)
        with outbound.staged(staged, self._mode) as file:
            file.write(content)
        while True:
            name = outbound.free_name(note_path(job.path), staged)
            store.intend_note(job, Note(job.id, name, sha256))
            if outbound.publish(staged, name):
                break
        outbound.remove_staged(staged)

    def _remove_out_of_date(self, store: SqliteJobStore, outbound: OutboundFolder) -> None:
        ended_before = wall_clock_ago(self._names_days) if self._names_days else ""
        for note in store.notes_out_of_date(self._folder, ended_before, SLICE, every=not self._wanted):
            _remove(store, outbound, note, again=not self._wanted)


def _remove(store: SqliteJobStore, outbound: OutboundFolder, note: Note, *, again: bool = False) -> None:
    """Take a note away, where it still is ours; where it is not, it is no longer our concern."""
    outbound.withdraw(note.path, note.sha256, withdrawn_name(note.job))
    store.forget_note(note.job, again=again)


def _remove_from_before(outbound: OutboundFolder, job: Job) -> None:
    """Take away the note that an earlier queue wrote about this very file: the same text but for the job's number."""
    path = note_path(job.path)
    file = outbound.open_published(path)
    if file is None:
        return
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        content = file.read(LONGEST_BYTES)
    number = numbered(content.decode("utf-8", "replace"))
    if number is not None and note_text(replace(job, id=number)).encode() == content:
        outbound.withdraw(path, hashlib.sha256(content).hexdigest(), withdrawn_name(job.id))


def _without_source(store: SqliteJobStore, inbound: InboundFolder, folder: FolderName) -> Iterator[Note]:
    """Notes about files that are not there any more."""
    last = JobId(0)
    while notes := store.notes(folder, last, SLICE):
        yield from (note for note in notes if not _is_there(inbound, note.source))
        last = notes[-1].job


def _is_there(inbound: InboundFolder, path: str) -> bool:
    """True also for a file that can't be looked at now: nothing is judged gone for that."""
    try:
        return inbound.status(path) is not None
    except EquipmentError as error:
        if error.reason in (Reason.NO_PERMISSION, Reason.READ_ERROR):
            return True
        raise
