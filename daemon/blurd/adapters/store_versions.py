"""The part of the queue that knows which copies are of one and the same file, and whose name in outbound is whose.

A copy takes another's place where the file is the same by size and time of change, and either its regions differ or
the job makes a copy again (`redo`). Names that were erased are found again from the file at hand: its copy was named
after it.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from blurd.adapters.names import digest_of, is_digest, recognised
from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_job
from blurd.core.naming import candidates, copy_path
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, Job, JobState, same_regions

_COPIES_BEFORE = """
    SELECT * FROM job WHERE folder = ? AND path IN (?, ?) AND id < ? AND size = ? AND mtime_ns = ?
        AND state IN ('published', 'superseded') AND published IS NOT NULL AND staged IS NOT NULL ORDER BY id
"""
_TAKEN_OVER = """
    SELECT 1 FROM job WHERE folder = ? AND published IN (?, ?) AND id > ? AND state IN ('staged', 'published') LIMIT 1
"""
_NAME_OWNED = "SELECT 1 FROM job WHERE folder = ? AND published IN (?, ?) AND id <> ? LIMIT 1"


class VersionedStore(QueueFile):
    """Earlier copies and their names."""

    def copies_replaced_by(self, job: Job) -> tuple[Job, ...]:
        """See `JobStore.copies_replaced_by`."""
        stamp = job.stamp
        with self._translated("list copies"):
            values = (job.folder, *self._spellings(job.folder, job.path), job.id, stamp.size, stamp.mtime_ns)
            rows = self._connection.execute(_COPIES_BEFORE, values).fetchall()
            again = self._is_redo(self._row(job.id))
            earlier = [to_job(row, self._names(row, job.path)) for row in rows]
        return tuple(before for before in earlier if again or not same_regions(before.regions, job.regions))

    def is_name_taken_over(self, job: Job) -> bool:
        """See `JobStore.is_name_taken_over`."""
        with self._translated("look up name"):
            values = (job.folder, *self._spellings(job.folder, job.published or ""), job.id)
            return self._connection.execute(_TAKEN_OVER, values).fetchone() is not None

    def is_name_owned(self, job: Job, name: str) -> bool:
        """See `JobStore.is_name_owned`."""
        with self._translated("look up name"):
            row = self._connection.execute(
                _NAME_OWNED, (job.folder, *self._spellings(job.folder, name), job.id)
            ).fetchone()
        return row is not None

    def names_lying(self, folder: FolderName, paths: Iterable[str]) -> Mapping[bytes, str]:
        """Paths that are there, by the digests that the queue has for them once names are erased."""
        with self._translated("look up names"):
            return recognised(self._names_key(), folder, paths)

    def knows_its_names(self) -> bool:
        """False where names were erased under a key that is lost: the queue can't tell which files it knows."""
        try:
            with self._translated("look up key"):
                self._names_key()
        except EquipmentError as error:
            if error.reason is not Reason.QUEUE_DAMAGED:
                raise
            return False
        return True

    def _is_redo(self, row: sqlite3.Row | None) -> bool:
        """True for the row of a job that makes a copy again."""
        return row is not None and bool(row["redo"])

    def _comes_back(self, latest: sqlite3.Row | None) -> bool:
        """True where a file whose copy was being made again had gone, and is here once more: its copy still stands."""
        gone = latest is not None and latest["state"] in (JobState.VANISHED, JobState.SUPERSEDED)
        return gone and self._is_redo(latest)

    def _names(self, row: sqlite3.Row, path: str) -> Mapping[bytes, str]:
        """The names of a job whose names were erased, by their digests; known from its file's path."""
        key = self._names_key()
        if key is None or not is_digest(row["path"]):
            return {}
        names = {row["path"]: path}
        suffix = _suffix(row)
        for name in candidates(copy_path(path, suffix)) if row["published"] is not None else ():
            if digest_of(key, row["folder"], os.fsencode(name)) == row["published"]:
                names[row["published"]] = name
                break
        return names


def _suffix(row: sqlite3.Row) -> str:
    """The suffix that a job's copy was written with."""
    copy: Any = to_job(row).staged
    return "" if copy is None else str(copy.facts.suffix)
