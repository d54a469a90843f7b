"""What the queue knows of the ledger: receipts still to be written, where the ledger ended, receipts beside copies.

Invariants
* A job that is rejected or fails owes a receipt from the same transaction on; the debt goes when the line is durable.
  What the line says is settled then, whatever becomes of the job.
* The mark only moves forward: the ledger is at least as long as the queue says, or an end of it was cut off.
* A receipt beside a copy (`sidecar`) is owed from before the publication on; it has no hash until it lies there.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_job
from blurd.core.receipts import LedgerEnd
from blurd.records import FolderName, Job, JobId, JobState

_MARK = """
    INSERT INTO ledger_mark VALUES (1, ?, ?)
        ON CONFLICT DO UPDATE SET end = excluded.end, sha256 = excluded.sha256 WHERE excluded.end > end
"""
_SIDECARS_OWED = """
    SELECT job.* FROM sidecar JOIN job ON job.id = sidecar.job WHERE sidecar.sha256 = '' AND job.folder = ?
        AND job.state = ? ORDER BY job.id LIMIT ?
"""
_NEVER_OWED = """
    DELETE FROM sidecar WHERE sha256 = '' AND NOT EXISTS
        (SELECT 1 FROM job WHERE job.id = sidecar.job AND state IN ('staged', 'published'))
"""
_SIDECARS_AT = """
    SELECT sidecar.job, sidecar.sha256 FROM sidecar JOIN job ON job.id = sidecar.job
        WHERE job.folder = ? AND job.published IN (?, ?) AND sidecar.sha256 <> ''
"""
_SIDECARS = "SELECT sidecar.job FROM sidecar JOIN job ON job.id = sidecar.job WHERE job.folder = ?"
_TIMES = {"started_at": (JobState.CLAIMED,), "finished_at": (JobState.STAGED, JobState.REJECTED, JobState.FAILED)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rejection or a failure whose receipt is still to be written: what it is to say."""

    id: int
    job: JobId
    event: str
    values: Mapping[str, Any]


class ReceiptBooks(QueueFile):
    """The part of the queue that knows the ledger."""

    # -- what is owed -------------------------------------------------------------------------------------------------

    def outcomes(self, limit: int) -> tuple[Outcome, ...]:
        """Rejections and failures whose receipts are still to be written, oldest first."""
        with self._translated("list outcomes"):
            rows = self._connection.execute("SELECT * FROM outcome ORDER BY id LIMIT ?", (limit,)).fetchall()
        return tuple(_outcome(row) for row in rows)

    def settle_outcome(self, outcome: Outcome, end: LedgerEnd) -> None:
        """The receipt is written."""
        with self._transaction("settle outcome"):
            self._connection.execute("DELETE FROM outcome WHERE id = ?", (outcome.id,))
            self._connection.execute(_MARK, (end.offset, end.sha256))

    def times_of(self, job: JobId) -> dict[str, str]:
        """When a job was queued, and when its last attempt began and ended, as far as that is known."""
        with self._translated("look up history"):
            return self._times_of(job)

    def _times_of(self, job: int) -> dict[str, str]:
        found: dict[str, str] = {}
        row = self._connection.execute("SELECT created_at FROM job WHERE id = ?", (job,)).fetchone()
        if row is not None:
            found["queued_at"] = row["created_at"]
        history = self._connection.execute("SELECT at, state FROM history WHERE job = ? ORDER BY rowid", (job,))
        for row in history:
            found.update({name: row["at"] for name, states in _TIMES.items() if row["state"] in states})
        return found

    # -- where the ledger ends ----------------------------------------------------------------------------------------

    def mark_ledger(self, end: LedgerEnd) -> None:
        """Keep where the ledger ended."""
        with self._transaction("mark ledger"):
            self._connection.execute(_MARK, (end.offset, end.sha256))

    def _mark_ledger(self, end: LedgerEnd) -> None:
        self._connection.execute(_MARK, (end.offset, end.sha256))

    def ledger_end(self) -> LedgerEnd | None:
        """Where the ledger ended at least; None where nothing is known of it."""
        with self._translated("look up ledger"):
            row = self._connection.execute("SELECT end, sha256 FROM ledger_mark").fetchone()
        return None if row is None else LedgerEnd(row["end"], row["sha256"])

    # -- receipts beside copies ---------------------------------------------------------------------------------------

    def want_sidecar(self, job: JobId) -> None:
        """A receipt is to lie beside this job's copy, once it is published."""
        with self._transaction("want sidecar"):
            self._connection.execute("INSERT OR IGNORE INTO sidecar VALUES (?, '')", (job,))

    def sidecars_owed(self, folder: FolderName, limit: int) -> tuple[Job, ...]:
        """Published jobs beside whose copies a receipt is still to be put."""
        with self._translated("list sidecars"):
            rows = self._connection.execute(_SIDECARS_OWED, (folder, JobState.PUBLISHED, limit)).fetchall()
        return tuple(map(to_job, rows))

    def drop_sidecars_never_owed(self) -> None:
        """Forget those of jobs that came to nothing."""
        with self._transaction("drop sidecars"):
            self._connection.execute(_NEVER_OWED)

    def settle_sidecar(self, job: JobId, sha256: str | None) -> None:
        """The receipt lies beside the copy, with this hash; or there is, or is to be, none."""
        with self._transaction("settle sidecar"):
            if sha256 is None:
                self._connection.execute("DELETE FROM sidecar WHERE job = ?", (job,))
            else:
                self._connection.execute("UPDATE sidecar SET sha256 = ? WHERE job = ?", (sha256, job))

    def sidecar(self, job: JobId) -> str | None:
        """The hash of the receipt beside this job's copy; None where none was put there."""
        with self._translated("look up sidecar"):
            row = self._connection.execute("SELECT sha256 FROM sidecar WHERE job = ?", (job,)).fetchone()
        return None if row is None or not row["sha256"] else str(row["sha256"])

    def sidecars_at(self, folder: FolderName, published: str) -> tuple[tuple[JobId, str], ...]:
        """Jobs whose copies have, or had, this name, with the hashes of the receipts that were put beside them."""
        with self._translated("look up sidecars"):
            rows = self._connection.execute(_SIDECARS_AT, (folder, *self._spellings(folder, published))).fetchall()
        return tuple((JobId(row["job"]), row["sha256"]) for row in rows)

    def sidecars(self, folder: FolderName) -> frozenset[JobId]:
        """Jobs of a folder beside whose copies a receipt lies, or is about to."""
        with self._translated("list sidecars"):
            return frozenset(JobId(row["job"]) for row in self._connection.execute(_SIDECARS, (folder,)))


def _outcome(row: sqlite3.Row) -> Outcome:
    value = json.loads(row["value"])
    return Outcome(row["id"], JobId(row["job"]), value.pop("event"), value)
