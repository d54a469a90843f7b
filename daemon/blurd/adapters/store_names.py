"""Erasing names: what the queue says of files by name goes once it is no longer needed, and a digest stays.

How
* `erase` takes a small batch of jobs that ended long enough ago, oldest first: path and name of the copy become digests
  (`names.py`), the copy's planned name goes. Sizes, times, states, reasons, hashes and the history stay.
* Overwritten content is filled with zeroes (`secure_delete`), and the log is folded in and emptied after each batch.
  What SQLite leaves behind when it moves rows between pages is not covered by that (measured: 18 of 15,000 names), so
  once a day, after something was erased, `scrub` writes the whole file anew.

Invariants
* Names are erased of jobs in a final state alone, and never while a note at the share bears the name: the note goes
  first.
* The key is durable before the first digest stands in the queue.
* A disk that has no room for writing the file anew leaves that for later; nobody is held up for long by any step.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from blurd.adapters.host import free_bytes, wall_clock
from blurd.adapters.names import digest_of, is_digest, load_key, make_key, proof_of
from blurd.adapters.store_base import BUSY_TIMEOUT_MS, QueueFile
from blurd.adapters.store_rows import without_names

PATIENCE_MS = 2000
"""How long a reader or a writer is waited for before the log is emptied or the file written anew; else it is for
another time."""

_FIND = """
    SELECT id, folder, path, published, staged FROM job WHERE names_erased_at IS NULL
        AND state NOT IN ('queued', 'claimed', 'staged', 'deferred') AND changed_at <= ?
        AND NOT EXISTS (SELECT 1 FROM note WHERE note.job = job.id) ORDER BY changed_at LIMIT ?
"""
_ERASE = "UPDATE job SET path = ?, published = ?, staged = ?, names_erased_at = ?, noted = 1 WHERE id = ?"
_NO_LONGER_PRESENT = """
    DELETE FROM present WHERE (folder, path) IN (SELECT folder, path FROM present
        WHERE (SELECT max(at) FROM rebuild) <= ? AND NOT EXISTS (SELECT 1 FROM job WHERE job.folder = present.folder
        AND job.path = present.path AND state IN ('queued', 'claimed', 'staged', 'deferred')) LIMIT ?)
"""
_ABANDON = """
    DELETE FROM note WHERE job IN (SELECT note.job FROM note LEFT JOIN job ON job.id = note.job
        WHERE (job.id IS NULL OR job.changed_at <= ?) AND note.folder NOT IN (SELECT value FROM json_each(?)))
"""
_SCRUB_IS_DUE = """
    SELECT EXISTS (SELECT 1 FROM job WHERE names_erased_at >= coalesce(scrubbed_at, '')) FROM names_key
        WHERE scrubbed_at IS NULL OR scrubbed_at <= ?
"""
_ROOM_FOR_SCRUB = 3
"""The file, its copy and the log that brings it back, each as large as the file."""


class NameErasure(QueueFile):
    """The hand that erases names. Belongs to the watcher alone; use from one thread, close it there."""

    def erase(self, before: str, limit: int) -> int:
        """Erase the names of jobs that ended at that time or earlier, at most so many; how many there were."""
        with self._transaction("erase names"):
            rows = self._connection.execute(_FIND, (before, limit)).fetchall()
            key = self._make_sure_of_key() if rows else b""
            now = wall_clock()
            for row in rows:
                execute = self._connection.execute
                path = _digested(key, row["folder"], row["path"])
                published = row["published"] and _digested(key, row["folder"], row["published"])
                staged = row["staged"] and without_names(row["staged"])
                execute("DELETE FROM present WHERE folder = ? AND path = ?", (row["folder"], row["path"]))
                execute(_ERASE, (path, published, staged, now, row["id"]))
            self._connection.execute(_NO_LONGER_PRESENT, (before, limit))
        if rows:
            self.empty_log()
        return len(rows)

    def abandon_notes(self, before: str, folders: Sequence[str]) -> None:
        """Forget the notes of folders other than these, which nobody can remove any more, once their time is over."""
        with self._transaction("abandon notes"):
            self._connection.execute(_ABANDON, (before, json.dumps(folders)))

    def empty_log(self) -> bool:
        """Fold the log into the file and cut it to nothing; False where somebody reads, and it is for another time."""
        with self._translated("empty log"), self._impatient():
            return not self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def is_scrub_due(self, before: str) -> bool:
        """True where something was erased since the last scrub, which was at that time or earlier."""
        with self._translated("look up scrub"):
            row = self._connection.execute(_SCRUB_IS_DUE, (before,)).fetchone()
        return row is not None and bool(row[0])

    def scrub(self) -> bool:
        """Write the file anew, without whatever SQLite left between its rows; False where it has to wait."""
        if self._path.stat().st_size * _ROOM_FOR_SCRUB > free_bytes(self._path.parent):
            return False
        os.environ["SQLITE_TMPDIR"] = str(self._path.parent)  # names must not be written to another disk
        with self._translated("scrub queue"), self._impatient():
            try:
                self._connection.execute("VACUUM")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                return False
            self._connection.execute("UPDATE names_key SET scrubbed_at = ?", (wall_clock(),))
        return self.empty_log()

    def _make_sure_of_key(self) -> bytes:
        """The key; made, with its proof in the queue, when it is needed for the first time."""
        key = self._names_key()
        if key is None:
            key = self._key = load_key(self._path.parent) or make_key(self._path.parent)
            self._connection.execute("INSERT INTO names_key (proof) VALUES (?)", (proof_of(key),))
        return key

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        self._connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _digested(key: bytes, folder: str, value: bytes) -> bytes:
    return value if is_digest(value) else digest_of(key, folder, value)
