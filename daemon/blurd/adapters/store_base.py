"""The queue's database file: opening it, its transactions, and moving one job. What the stores of the queue share.

Invariants
* WAL with `synchronous = FULL`: a committed change survives a power cut.
* Every change is one `BEGIN IMMEDIATE` transaction: the state is read, checked against the lifecycle table, written,
  and noted in the history together.
* One connection belongs to one thread; several threads open several stores on the same file.
* What is deleted or overwritten is filled with zeroes: a name that was erased must not stay in the file.
* Damage that SQLite meets is noted beside the file (`queue_file.note_damage`), for the watcher to mend.

DIAGNOSTICS: `EquipmentError` with QUEUE_DAMAGED, STATE_FULL (both pass: wait), SCHEMA_NEWER, or STATE_UNUSABLE where
the file can't be opened.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blurd.adapters.host import wall_clock
from blurd.adapters.names import KEY_NAME, digest_of, load_key, proof_of
from blurd.adapters.queue_file import identity, note_damage, reason_of
from blurd.adapters.store_schema import check_version, migrate, use_wal
from blurd.core.lifecycle import move
from blurd.errors import EquipmentError, Reason
from blurd.records import JobState, WorkerIdentity

BUSY_TIMEOUT_MS = 30_000

_SETTINGS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
)
_OWING = frozenset({JobState.REJECTED, JobState.FAILED})
"""Outcomes that owe a receipt; that of a publication is written before the move."""
_OWE = "INSERT INTO outcome (job, value) VALUES (?, ?)"
_LAST_CLAIM = "SELECT max(rowid), at FROM history WHERE job = ? AND state = 'claimed'"
_NOTE = "INSERT INTO history (job, at, state, reason, attempt) VALUES (?, ?, ?, ?, ?)"


class QueueFile:
    """One connection to the queue's database. Use from one thread; close it there.

    Opened `read_only`, nothing is made, migrated or noted; a queue of an older version can't be read so.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only
        self._key: bytes | None = None
        self._opened = identity(path)
        with self._translated("open queue"):
            self._connection = self._open_to_read() if read_only else self._open()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        try:
            self._opened = identity(self._path)
            connection.row_factory = sqlite3.Row
            for setting in _SETTINGS:
                connection.execute(setting)
            use_wal(connection, BUSY_TIMEOUT_MS / 1000)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            self._opened = identity(self._path)
            connection.row_factory = sqlite3.Row
            connection.execute(_SETTINGS[0])
            check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def is_current(self) -> bool:
        """False where another file stands at the queue's path by now: this one was set aside."""
        return identity(self._path) == self._opened

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[None]:
        with self._translated(operation):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        """SQLite's errors as ours; damage is noted for the watcher."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            reason = reason_of(error, self._path)
            if reason is Reason.QUEUE_DAMAGED and not self._read_only:
                note_damage(self._path, self._opened)
            raise EquipmentError(reason, operation) from error

    def _move(
        self, row: sqlite3.Row, target: JobState, reason: Reason | None, source_sha256: str | None = None
    ) -> None:
        state = move(JobState(row["state"]), target)
        now = wall_clock()
        self._connection.execute(
            "UPDATE job SET state = ?, reason = ?, changed_at = ?, noted = 0 WHERE id = ?",
            (state, reason, now, row["id"]),
        )
        self._note(row["id"], now, state, reason, row["attempts"])
        self._owe_receipt(row, state, reason, source_sha256)

    def _owe_receipt(
        self, row: sqlite3.Row, state: JobState, reason: Reason | None, source_sha256: str | None = None
    ) -> None:
        """Settle what the receipt of a rejection or a failure is to say (`store_receipts.py`); no name is in it."""
        if state not in _OWING:
            return
        value = {
            "event": state,
            "folder": row["folder"],
            "reason": reason,
            "attempts": row["attempts"],
            "source_sha256": source_sha256,
            "source_bytes": row["size"],
            "queued_at": row["created_at"],
            "started_at": self._connection.execute(_LAST_CLAIM, (row["id"],)).fetchone()["at"],
            "finished_at": wall_clock(),
        }
        self._connection.execute(_OWE, (row["id"], json.dumps(value)))

    def _note(self, job: int, now: str, state: JobState, reason: Reason | None, attempts: int) -> None:
        self._connection.execute(_NOTE, (job, now, state, reason, attempts))

    def _row(self, job: int) -> sqlite3.Row:
        row: sqlite3.Row = self._connection.execute("SELECT * FROM job WHERE id = ?", (job,)).fetchone()
        return row

    def _names_key(self) -> bytes | None:
        """The key to erased names; None while none was erased yet.

        Raises QUEUE_DAMAGED where it is lost: the queue can't tell which files it knows, and must be begun anew.
        """
        if self._key is None:
            row = self._connection.execute("SELECT proof FROM names_key").fetchone()
            if row is None:
                return None
            key = load_key(self._path.parent)
            if key is None or proof_of(key) != row["proof"]:
                if not self._read_only:
                    note_damage(self._path, self._opened)
                raise EquipmentError(Reason.QUEUE_DAMAGED, "read names' key", f"Its {KEY_NAME} is lost.")
            self._key = key
        return self._key

    def _spellings(self, folder: str, path: str) -> tuple[bytes, bytes]:
        """How a path may stand in a column: as it is, or as the digest that took its place."""
        plain, key = os.fsencode(path), self._names_key()
        return plain, plain if key is None else digest_of(key, folder, plain)

    def _held(self, job: int, worker: WorkerIdentity) -> sqlite3.Row | None:
        """The job's row, where this worker holds it."""
        row = self._row(job)
        if row is None or row["state"] != JobState.CLAIMED:
            return None
        holder = (row["worker_pid"], row["worker_start_ticks"], row["worker_boot"])
        return row if holder == (worker.pid, worker.start_ticks, worker.boot_id) else None
