"""The part of the queue that makes copies again: published jobs, and new jobs for their files.

Invariant: the new job is made, in one transaction, only while the old one is published and the newest of its file.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from blurd.adapters.host import wall_clock
from blurd.adapters.names import is_digest
from blurd.adapters.store_admin import SLICE, QueueAdministration
from blurd.adapters.store_rows import to_blob, to_job, to_path, to_signed
from blurd.adapters.store_versions import VersionedStore
from blurd.errors import EquipmentError, Reason
from blurd.records import FileStamp, FolderName, JobId, JobState

_PUBLISHED = """
    SELECT * FROM job WHERE state = 'published' AND (? IS NULL OR folder = ?) AND changed_at >= ? AND NOT EXISTS
        (SELECT 1 FROM job AS later WHERE later.folder = job.folder AND later.path = job.path AND later.id > job.id)
        ORDER BY id
"""
_AGAIN = """
    INSERT INTO job (folder, path, size, mtime_ns, ctime_ns, inode, regions, state, redo, created_at, changed_at,
        waiting_since) SELECT folder, ?, ?, ?, ?, ?, regions, ?, 1, ?, ?, ? FROM job WHERE id = ?
"""
_LATER = "SELECT max(id) AS id FROM job WHERE folder = ? AND path IN (?, ?)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A published job. `path` is None where its name is erased; `digest` took its place then."""

    job: JobId
    folder: FolderName
    path: str | None
    digest: bytes
    stamp: FileStamp
    regions: FileStamp | None


@dataclass(frozen=True, slots=True)
class Order:
    """A job to be made again, with its file's path and stamp as they are now."""

    job: JobId
    path: str
    stamp: FileStamp


class RedoQueue(VersionedStore, QueueAdministration):
    """Use from one thread; close it there."""

    def candidate(self, number: int) -> Candidate:
        """One job. Raises NO_SUCH_JOB, or JOB_NOT_SUITABLE where there is nothing to make again."""
        with self._translated("look up job"):
            row = self._known(number)
            if row["state"] != JobState.PUBLISHED:
                detail = f"Job {number} is {row['state']}, not published."
                if row["state"] in (JobState.REJECTED, JobState.FAILED):
                    detail += f" To try it again: blurd retry {number}"
                raise EquipmentError(Reason.JOB_NOT_SUITABLE, "redo", detail)
        if row["names_erased_at"] is None:
            newest = self._newest(row)
            if newest != number:
                detail = f"Its file has a newer job, {newest}."
                raise EquipmentError(Reason.JOB_NOT_SUITABLE, "redo", detail)
        return _candidate(row)

    def candidates(self, folder: FolderName | None, since: str) -> list[Candidate]:
        """The published jobs, newest of their files, of a folder or of every folder, published since that moment."""
        with self._translated("list jobs"):
            rows = self._connection.execute(_PUBLISHED, (folder, folder, since))
            return [_candidate(row) for row in rows]

    def redo(self, orders: Sequence[Order]) -> frozenset[JobId]:
        """Queue these once more; those that could be. What has moved on meanwhile is left out."""
        done: set[JobId] = set()
        for start in range(0, len(orders), SLICE):
            with self._transaction("redo"):
                done.update(order.job for order in orders[start : start + SLICE] if self._again(order))
        return frozenset(done)

    def _again(self, order: Order) -> bool:
        row = self._row(order.job)
        if row is None or row["state"] != JobState.PUBLISHED:
            return False
        spellings = self._spellings(row["folder"], order.path)
        if self._connection.execute(_LATER, (row["folder"], *spellings)).fetchone()["id"] != order.job:
            return False
        stamp, now, state = order.stamp, wall_clock(), JobState.QUEUED
        numbers = stamp.size, stamp.mtime_ns, stamp.ctime_ns, to_signed(stamp.inode)
        values = (to_blob(order.path), *numbers, state, now, now, now, order.job)
        made = self._connection.execute(_AGAIN, values).lastrowid or 0
        self._note(made, now, state, None, 0)
        return True


def _candidate(row: sqlite3.Row) -> Candidate:
    job = to_job(row)
    erased = is_digest(row["path"])
    path = None if erased else to_path(row["path"])
    return Candidate(job.id, job.folder, path, row["path"] if erased else b"", job.stamp, job.regions)
