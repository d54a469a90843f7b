"""What the operator asks of the queue: try again, forget. Safe while everything runs: each step is one transaction.

Invariants
* Only the newest job of a file is tried again: an older one is for content that is not there any more.
* A job that is tried again keeps its number and its history; attempts and returns start anew.
* A job that somebody still works on is never forgotten. Numbers are never given out again, so a forgotten job's receipt
  never answers for another.
"""

import sqlite3
from collections.abc import Sequence

from blurd.adapters.host import wall_clock
from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_path
from blurd.core.lifecycle import FINISHED, RETRIABLE
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, JobState

SLICE = 500
"""Jobs in one transaction, so that workers are not held up."""

_LATER = "SELECT max(id) AS id FROM job WHERE folder = ? AND path IN (?, ?)"
_RETRIABLE = """
    SELECT id FROM job WHERE state = ? AND names_erased_at IS NULL AND (? IS NULL OR folder = ?)
        AND (? IS NULL OR reason = ?) AND NOT EXISTS
        (SELECT 1 FROM job AS later WHERE later.folder = job.folder AND later.path = job.path AND later.id > job.id)
        ORDER BY id
"""
_ERASED = """
    SELECT count(*) FROM job WHERE state = ? AND names_erased_at IS NOT NULL AND (? IS NULL OR folder = ?)
        AND (? IS NULL OR reason = ?)
"""


class QueueAdministration(QueueFile):
    """The operator's hand on the queue. Use from one thread; close it there."""

    def retry(self, job: int) -> None:
        """One job -> queued. Raises `EquipmentError` with NO_SUCH_JOB or JOB_NOT_SUITABLE."""
        with self._transaction("retry"):
            row = self._known(job)
            state = JobState(row["state"])
            if state not in RETRIABLE:
                raise EquipmentError(Reason.JOB_NOT_SUITABLE, "retry", f"Job {job} is {state}.")
            if row["names_erased_at"] is not None:
                raise EquipmentError(Reason.NAME_ERASED, "retry")
            latest = self._newest(row)
            if latest != job:
                detail = f"Job {job} was for an older version of the file; the present one has job {latest}."
                raise EquipmentError(Reason.JOB_NOT_SUITABLE, "retry", detail)
            self._renew(job)

    def retry_all(self, states: Sequence[JobState], reason: Reason | None, folder: FolderName | None) -> int:
        """All newest jobs in these states, with this reason, of this folder -> queued; how many there were."""
        with self._translated("list jobs"):
            found = [
                row["id"]
                for state in states
                for row in self._connection.execute(_RETRIABLE, (state, folder, folder, reason, reason))
            ]
        done = 0
        for start in range(0, len(found), SLICE):
            with self._transaction("retry"):
                for job in found[start : start + SLICE]:
                    row = self._row(job)
                    if row is not None and row["state"] in states:  # else it was served meanwhile
                        self._renew(job)
                        done += 1
        return done

    def count_erased(self, states: Sequence[JobState], reason: Reason | None, folder: FolderName | None) -> int:
        """How many jobs in these states can't be tried again, for their names are erased."""
        with self._translated("count jobs"):
            return sum(
                self._connection.execute(_ERASED, (state, folder, folder, reason, reason)).fetchone()[0]
                for state in states
            )

    def forget(self, job: int) -> JobState:
        """Drop a finished job with its history; the state that it was in. Raises as `retry` does."""
        with self._transaction("forget"):
            state = JobState(self._known(job)["state"])
            if state not in FINISHED:
                raise EquipmentError(Reason.JOB_NOT_SUITABLE, "forget", f"Job {job} is {state}, not finished.")
            for table in ("history", "stage_time", "sidecar"):
                self._connection.execute(f"DELETE FROM {table} WHERE job = ?", (job,))  # noqa: S608  our own names
            self._connection.execute("DELETE FROM job WHERE id = ?", (job,))
        return state

    def _newest(self, row: sqlite3.Row) -> int:
        """The newest job of the file that a job is for, whose name is not erased."""
        spellings = self._spellings(row["folder"], to_path(row["path"]))
        return int(self._connection.execute(_LATER, (row["folder"], *spellings)).fetchone()["id"])

    def _known(self, job: int) -> sqlite3.Row:
        row = self._row(job)
        if row is None:
            raise EquipmentError(Reason.NO_SUCH_JOB, "look up job", f"No job has the number {job}.")
        return row

    def _renew(self, job: int) -> None:
        self._connection.execute(
            "UPDATE job SET attempts = 0, returns = 0, not_before_s = 0, waiting_since = ? WHERE id = ?",
            (wall_clock(), job),
        )
        self._move(self._row(job), JobState.QUEUED, None)
