"""The queue as the operator looks at it: figures by folder, jobs by the latest change, one job in full. Reads alone.

Invariant: every question is answered from an index, or from as many rows as are shown; 100,000 jobs cost no more than
a glance.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_job, to_path
from blurd.core.stages import IN_TURN, Stage
from blurd.errors import Reason
from blurd.records import FolderName, Job, JobId, JobState, Progress

_TODAY = """
    SELECT folder, count(*) AS number FROM job WHERE changed_at >= ? AND state = 'published' GROUP BY folder
"""
_OLDEST = """
    SELECT min(waiting_since) AS oldest FROM job
        WHERE folder = ? AND state IN ('queued', 'claimed', 'staged', 'deferred')
"""
_LATEST = """
    SELECT job.id, job.folder, job.state, job.reason, job.changed_at, job.attempts,
        (SELECT sum(seconds) FROM stage_time WHERE stage_time.job = job.id
            AND stage IN (SELECT value FROM json_each(?))) AS staged_s,
        (SELECT 86400.0 * (julianday(job.changed_at) - julianday(max(at))) FROM history
            WHERE history.job = job.id AND history.state = 'claimed' AND job.state IN ('rejected', 'failed')) AS tried_s
        FROM job WHERE changed_at >= ? AND (? IS NULL OR folder = ?) AND state IN (SELECT value FROM json_each(?))
        ORDER BY changed_at DESC, id DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class FolderFigures:
    """Published since a moment, and since when the file that waits longest has waited; None where none waits."""

    published: int
    waiting_since: str | None


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job without any name. `seconds` is how long the last attempt took, None where there was none to its end."""

    job: JobId
    folder: FolderName
    state: JobState
    reason: Reason | None
    changed_at: str
    attempts: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One step of a job."""

    at: str
    state: JobState
    reason: Reason | None
    attempt: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long a stage took, and how many frames the file has."""

    seconds: float
    frames: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Everything that the queue knows of a job. `job.path` is empty where names are erased."""

    job: Job
    created_at: str
    changed_at: str
    is_redo: bool
    names_erased_at: str | None
    progress: Progress
    history: tuple[HistoryLine, ...]
    stages: Mapping[Stage, StageTime]
    note: str | None


class QueueView(QueueFile):
    """Opened for reading alone. Use from one thread; close it there."""

    def figures(self, folders: Sequence[FolderName], since: str) -> Mapping[FolderName, FolderFigures]:
        """Figures of these folders; published since that moment."""
        with self._translated("read figures"):
            execute = self._connection.execute
            published = {row["folder"]: row["number"] for row in execute(_TODAY, (since,))}
            oldest = {name: execute(_OLDEST, (name,)).fetchone()["oldest"] for name in folders}
        return {name: FolderFigures(published.get(name, 0), oldest[name]) for name in folders}

    def latest(
        self, folder: FolderName | None, states: Sequence[JobState], since: str, limit: int
    ) -> tuple[JobLine, ...]:
        """Jobs in these states by their latest change, the newest first, changed since that moment."""
        values = (_json(IN_TURN), since, folder, folder, _json(states), limit)
        with self._translated("list jobs"):
            rows = self._connection.execute(_LATEST, values).fetchall()
        return tuple(
            JobLine(
                JobId(row["id"]),
                FolderName(row["folder"]),
                JobState(row["state"]),
                Reason(row["reason"]) if row["reason"] else None,
                row["changed_at"],
                row["attempts"],
                _rounded(row["staged_s"] if row["staged_s"] is not None else row["tried_s"]),
            )
            for row in rows
        )

    def record(self, number: int) -> JobRecord | None:
        """One job in full; None where there is none."""
        with self._translated("read job"):
            row = self._row(number)
            return None if row is None else self._record(row)

    def _record(self, row: sqlite3.Row) -> JobRecord:
        execute, number = self._connection.execute, (row["id"],)
        note = execute("SELECT path FROM note WHERE job = ? AND written", number).fetchone()
        times = execute("SELECT stage, seconds, frames FROM stage_time WHERE job = ?", number).fetchall()
        steps = execute("SELECT at, state, reason, attempt FROM history WHERE job = ? ORDER BY rowid", number)
        found = {time["stage"]: StageTime(time["seconds"], time["frames"]) for time in times}
        return JobRecord(
            to_job(row),
            row["created_at"],
            row["changed_at"],
            bool(row["redo"]),
            row["names_erased_at"],
            Progress(row["progress"], row["frames_per_s"], row["left_s"]),
            tuple(
                HistoryLine(
                    step["at"],
                    JobState(step["state"]),
                    Reason(step["reason"]) if step["reason"] else None,
                    step["attempt"],
                )
                for step in steps
            ),
            {stage: found[stage] for stage in Stage if stage in found},
            None if note is None else to_path(note["path"]),
        )

    def name_by_digest(self, job: JobId, lying: Mapping[bytes, str]) -> str | None:
        """The name of a job's copy among those that lie in outbound, once names are erased (`names_lying`)."""
        with self._translated("read job"):
            row = self._row(job)
        return None if row is None or row["published"] is None else lying.get(row["published"])


def _json(values: Sequence[str]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
