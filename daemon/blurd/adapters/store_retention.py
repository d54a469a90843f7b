"""What retention asks of the queue and writes down in it: see `stages/retain.py`.

Invariant: what is being taken away stands in `retiring` from before the first step until after the last; its path is
there no longer than that.
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_blob, to_job, to_path
from blurd.core.receipts import LedgerEnd
from blurd.records import FolderName, Job, JobId, JobState

_COPY_NAMED = """
    SELECT * FROM job WHERE folder = ? AND published IN (?, ?) AND state = ? AND staged IS NOT NULL
        ORDER BY id DESC LIMIT 1
"""
_BEGIN = "INSERT INTO retiring (folder, job, what, path, size, sha256) VALUES (?, ?, ?, ?, ?, ?)"
_MARK = "UPDATE ledger_mark SET end = ?, sha256 = ? WHERE end < ?"


class Retired(StrEnum):
    """What is taken away: an original, the regions that lie beside it, or a copy."""

    ORIGINAL = "original"
    REGIONS = "regions"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Retiring:
    """One file that is being taken away: whose it is, where it lay, and its content."""

    id: int
    job: JobId
    what: Retired
    path: str
    size: int
    sha256: str


class RetentionBooks(QueueFile):
    """The part of the queue that knows what retention does."""

    def ended_at(self, job: JobId) -> str:
        """When a job's state changed last; empty where there is none."""
        with self._translated("look up job"):
            row = self._connection.execute("SELECT changed_at FROM job WHERE id = ?", (job,)).fetchone()
        return "" if row is None else str(row["changed_at"])

    def copy_named(self, folder: FolderName, published: str) -> Job | None:
        """The published job whose copy has this name below outbound."""
        with self._translated("look up copy"):
            values = (folder, *self._spellings(folder, published), JobState.PUBLISHED)
            row = self._connection.execute(_COPY_NAMED, values).fetchone()
        return None if row is None else to_job(row)

    def begin_retiring(self, folder: FolderName, retiring: Retiring) -> Retiring:
        """Write down what is about to be taken away; returns it with its number."""
        values = (retiring.job, retiring.what, to_blob(retiring.path), retiring.size, retiring.sha256)
        with self._transaction("begin retiring"):
            cursor = self._connection.execute(_BEGIN, (folder, *values))
            number = int(cursor.lastrowid or 0)
        return Retiring(number, retiring.job, retiring.what, retiring.path, retiring.size, retiring.sha256)

    def retiring(self, folder: FolderName) -> tuple[Retiring, ...]:
        """What was begun and not ended."""
        with self._translated("list retiring"):
            rows = self._connection.execute("SELECT * FROM retiring WHERE folder = ? ORDER BY id", (folder,)).fetchall()
        return tuple(map(_retiring, rows))

    def end_retiring(self, retiring: Retiring, end: LedgerEnd | None = None) -> None:
        """It is taken away, or stays; where the ledger ends, if that was written into it."""
        with self._transaction("end retiring"):
            self._connection.execute("DELETE FROM retiring WHERE id = ?", (retiring.id,))
            if end is not None:
                self._connection.execute(_MARK, (end.offset, end.sha256, end.offset))


def _retiring(row: sqlite3.Row) -> Retiring:
    what = Retired(row["what"])
    return Retiring(row["id"], JobId(row["job"]), what, to_path(row["path"]), row["size"], row["sha256"])
