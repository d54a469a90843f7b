"""The part of the queue that knows the notes at the share: which are due, which lie there, which are out of date.

A note has a row from before it is written until after it is removed, whatever becomes of its job.
"""

from dataclasses import dataclass

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_blob, to_job, to_path
from blurd.records import FolderName, Job, JobId

_DUE = """
    SELECT * FROM job WHERE folder = ? AND noted = 0 AND state IN ('rejected', 'failed') AND names_erased_at IS NULL
        ORDER BY id LIMIT ?
"""
_OUT_OF_DATE = """
    SELECT note.* FROM note LEFT JOIN job ON job.id = note.job WHERE note.folder = ? AND (job.id IS NULL OR ?
        OR job.state IN ('published', 'superseded', 'vanished', 'withdrawn', 'ignored') OR job.changed_at <= ?
        OR EXISTS (SELECT 1 FROM job AS later WHERE later.folder = job.folder AND later.path = job.path
            AND later.id > job.id)) ORDER BY note.job LIMIT ?
"""
_WITH_SOURCE = """
    SELECT note.*, job.path AS source FROM note JOIN job ON job.id = note.job WHERE note.folder = ? AND note.job > ?
        ORDER BY note.job LIMIT ?
"""
_SETTLE = "UPDATE job SET noted = 1 WHERE id = ? AND state = ? AND reason IS ?"


@dataclass(frozen=True, slots=True)
class Note:
    """A note at the share, or one that is about to be there: its path below outbound and its content's SHA-256.

    `source` is the path of the file that it is about, where that was asked for.
    """

    job: JobId
    path: str
    sha256: str
    source: str = ""


class NotedStore(QueueFile):
    """Notes and their jobs."""

    def notes_due(self, folder: FolderName, limit: int) -> tuple[Job, ...]:
        """Rejected and failed jobs that nobody has told the people at the share of."""
        with self._translated("list notes due"):
            return tuple(map(to_job, self._connection.execute(_DUE, (folder, limit))))

    def note(self, job: JobId) -> Note | None:
        """The note of a job."""
        with self._translated("look up note"):
            row = self._connection.execute("SELECT * FROM note WHERE job = ?", (job,)).fetchone()
        return None if row is None else Note(JobId(row["job"]), to_path(row["path"]), row["sha256"])

    def intend_note(self, job: Job, note: Note) -> None:
        """Write down what is about to be written at the share."""
        with self._transaction("intend note"):
            self._connection.execute(
                "INSERT OR REPLACE INTO note (job, folder, path, sha256) VALUES (?, ?, ?, ?)",
                (job.id, job.folder, to_blob(note.path), note.sha256),
            )

    def settle_note(self, job: Job, *, written: bool) -> None:
        """The people are told of the job as it is, or need not be; a job that has moved on meanwhile is due again."""
        with self._transaction("settle note"):
            if written:
                self._connection.execute("UPDATE note SET written = 1 WHERE job = ?", (job.id,))
            self._connection.execute(_SETTLE, (job.id, job.state, job.reason))

    def notes_out_of_date(
        self, folder: FolderName, ended_before: str, limit: int, *, every: bool = False
    ) -> tuple[Note, ...]:
        """Notes whose job is done, forgotten, or replaced by that of another version; or ended so long ago.

        All of the folder's with `every`.
        """
        with self._translated("list notes"):
            rows = self._connection.execute(_OUT_OF_DATE, (folder, every, ended_before, limit)).fetchall()
        return tuple(Note(JobId(row["job"]), to_path(row["path"]), row["sha256"]) for row in rows)

    def notes(self, folder: FolderName, after: JobId, limit: int) -> tuple[Note, ...]:
        """Notes of a folder's jobs with the files they are about, by number, from behind `after` on."""
        with self._translated("list notes"):
            rows = self._connection.execute(_WITH_SOURCE, (folder, after, limit)).fetchall()
        return tuple(
            Note(JobId(row["job"]), to_path(row["path"]), row["sha256"], to_path(row["source"])) for row in rows
        )

    def note_paths(self, folder: FolderName) -> frozenset[str]:
        """Where notes of a folder lie below outbound, or are about to."""
        with self._translated("list notes"):
            rows = self._connection.execute("SELECT path FROM note WHERE folder = ?", (folder,)).fetchall()
        return frozenset(to_path(row["path"]) for row in rows)

    def forget_note(self, job: JobId, *, again: bool = False) -> None:
        """The note is gone; `again` makes it due once more."""
        with self._transaction("forget note"):
            self._connection.execute("DELETE FROM note WHERE job = ?", (job,))
            if again:
                self._connection.execute("UPDATE job SET noted = 0 WHERE id = ?", (job,))
