"""What metrics and alerts ask of the queue: counts of what happened since, and how long the oldest file waits.

Invariant: what is asked again and again costs by what is new and by the number of folders, never by all that ever
happened, apart from the counts by state that the status has too.
"""

from dataclasses import dataclass, field

from blurd.adapters.store import SqliteJobStore
from blurd.records import FolderName, JobState

_LAST = "SELECT max(rowid) AS number, max(at) AS at FROM history WHERE rowid >= (SELECT max(rowid) FROM history)"
_HAPPENED = """
    SELECT job.folder, history.state, history.reason, count(*) AS number FROM history JOIN job ON job.id = history.job
        WHERE history.rowid > ? AND history.rowid <= ? GROUP BY job.folder, history.state, history.reason
"""
_STAGES = """
    SELECT stage, sum(seconds) AS seconds, sum(CASE stage WHEN 'analyse' THEN frames ELSE 0 END) AS frames
        FROM history JOIN stage_time ON stage_time.job = history.job
        WHERE history.rowid > ? AND history.rowid <= ? AND history.state = 'staged' GROUP BY stage
"""
_OLDEST = """
    SELECT min(waiting_since) AS at FROM job WHERE folder = ? AND state IN ('queued', 'claimed', 'staged', 'deferred')
"""
_NEWEST = "SELECT max(id) AS id FROM job WHERE folder = ? AND state = ?"


@dataclass
class Totals:
    """What happened so far, up to the entry `last` of the history, which was made at `last_at` (ISO 8601)."""

    last: int = 0
    last_at: str = ""
    moves: dict[tuple[FolderName, JobState, str], int] = field(default_factory=dict)
    """How often jobs of a folder came into a state, by reason (empty where there was none)."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0

    def count(self, folder: FolderName, *states: JobState) -> int:
        """How often jobs of the folder came into one of these states, for whatever reason."""
        return sum(number for (name, state, _), number in self.moves.items() if name == folder and state in states)


class FigureStore(SqliteJobStore):
    """The queue, for who keeps figures. Use from one thread; close it there."""

    def add_up(self, totals: Totals, up_to: int | None = None) -> None:
        """Add what happened since, up to an entry of the history where one is given.

        From the beginning where the queue is another one by now.
        """
        with self._translated("read history"):
            row = self._connection.execute(_LAST).fetchone()
            last = int(row["number"] or 0)
            if up_to is not None:
                last = min(last, up_to)
            since = totals.last if totals.last <= last else 0
            for move in self._connection.execute(_HAPPENED, (since, last)):
                key = FolderName(move["folder"]), JobState(move["state"]), move["reason"] or ""
                totals.moves[key] = totals.moves.get(key, 0) + move["number"]
            for stage in self._connection.execute(_STAGES, (since, last)):
                before = totals.stage_seconds.get(stage["stage"], 0.0)
                totals.stage_seconds[stage["stage"]] = before + stage["seconds"]
                totals.frames += stage["frames"]
        totals.last, totals.last_at = last, row["at"] or ""

    def oldest_waiting(self, folder: FolderName) -> str | None:
        """Since when the oldest unfinished job of a folder waits, ISO 8601."""
        with self._translated("look up oldest"):
            found: str | None = self._connection.execute(_OLDEST, (folder,)).fetchone()["at"]
        return found or None

    def newest_file(self, folder: FolderName) -> str | None:
        """When the newest job of a folder was made, ISO 8601; None where it never had one."""
        with self._translated("look up newest"):
            found = [self._connection.execute(_NEWEST, (folder, state)).fetchone()["id"] for state in JobState]
            newest = max((number for number in found if number is not None), default=None)
            if newest is None:
                return None
            return str(self._row(newest)["created_at"])
