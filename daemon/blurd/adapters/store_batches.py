"""What the queue knows of batches, the first-level subfolders of inbound: see `stages/batches.py`.

A batch's row has its name, which is a folder's. It goes when the subfolder is gone from inbound and no marker of ours
is left in outbound: a name is kept no longer than it can be read in the folders themselves.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_blob, to_path
from blurd.core.lifecycle import UNFINISHED
from blurd.records import FolderName, JobState

_STATES = ", ".join(f"'{state}'" for state in sorted(UNFINISHED))
_UNFINISHED = f"SELECT 1 FROM job WHERE folder = ? AND path >= ? AND path < ? AND state IN ({_STATES}) LIMIT 1"  # noqa: S608  our own states
_CHANGED = "SELECT id, path, changed_at FROM job WHERE changed_at >= ? AND folder = ? AND names_erased_at IS NULL"
_LATEST = "SELECT id, state, changed_at FROM job WHERE folder = ? AND path IN (?, ?) ORDER BY id DESC LIMIT 1"
_NOTE = """
    INSERT INTO batch (folder, name, last_job, changed_at, marker, marker_sha256) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET last_job = excluded.last_job, changed_at = excluded.changed_at,
        marker = excluded.marker, marker_sha256 = excluded.marker_sha256
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """A subfolder that was complete: its newest job and change then, and the marker's name and hash, where there is."""

    name: str
    last_job: int
    changed_at: str
    marker: str | None = None
    marker_sha256: str | None = None

    @property
    def marker_path(self) -> str | None:
        """Where the marker lies below outbound."""
        return None if self.marker is None else f"{self.name}/{self.marker}"


class BatchBooks(QueueFile):
    """The part of the queue that knows batches."""

    def batches(self, folder: FolderName) -> tuple[Batch, ...]:
        """All that were complete once."""
        with self._translated("list batches"):
            rows = self._connection.execute("SELECT * FROM batch WHERE folder = ?", (folder,)).fetchall()
        return tuple(
            Batch(to_path(row["name"]), row["last_job"], row["changed_at"], row["marker"], row["marker_sha256"])
            for row in rows
        )

    def note_batch(self, folder: FolderName, batch: Batch) -> None:
        """Keep what is known of a batch."""
        told = batch.last_job, batch.changed_at, batch.marker, batch.marker_sha256
        with self._transaction("note batch"):
            self._connection.execute(_NOTE, (folder, to_blob(batch.name), *told))

    def forget_batch(self, folder: FolderName, name: str) -> None:
        """A batch is gone."""
        with self._transaction("forget batch"):
            self._connection.execute("DELETE FROM batch WHERE folder = ? AND name = ?", (folder, to_blob(name)))

    def has_unfinished(self, folder: FolderName, batch: str) -> bool:
        """True where a job for a file of this subfolder still owes an outcome."""
        prefix = to_blob(batch)
        with self._translated("look up batch"):
            row = self._connection.execute(_UNFINISHED, (folder, prefix + b"/", prefix + b"0")).fetchone()
        return row is not None

    def batches_changed(self, folder: FolderName, since: str) -> dict[str, tuple[int, str]]:
        """First-level subfolders with a job that changed at that time or later: the newest job, the newest change."""
        found: dict[str, tuple[int, str]] = {}
        with self._translated("list changes"):
            for row in self._connection.execute(_CHANGED, (since, folder)):
                name, slash, _ = to_path(row["path"]).partition("/")
                if slash:
                    last_job, changed_at = found.get(name, (0, ""))
                    found[name] = max(last_job, row["id"]), max(changed_at, row["changed_at"])
        return found

    def sum_up(self, folder: FolderName, paths: Iterable[str]) -> tuple[Counter[JobState], int, str]:
        """States of these files' newest jobs, the newest job's number, and when the newest change was."""
        states, last_job, changed_at = Counter[JobState](), 0, ""
        with self._translated("sum up batch"):
            for path in paths:
                row = self._connection.execute(_LATEST, (folder, *self._spellings(folder, path))).fetchone()
                if row is not None:
                    states[JobState(row["state"])] += 1
                    last_job, changed_at = max(last_job, row["id"]), max(changed_at, row["changed_at"])
        return states, last_job, changed_at
