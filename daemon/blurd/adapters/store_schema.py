"""The queue's tables, as ordered migrations. A migration is never edited after a release; a change is a new one.

Paths are BLOBs: file names are bytes. `not_before_s` counts on the clock of the boot named beside it. `regions` is the
stamp of the file's own regions (size, mtime_ns, ctime_ns, inode) as a JSON list, NULL where it has none. `due_s` is
when a claimed job's next sign of progress is due, on the clock of its worker's boot; 0 where none is asked for.

`stage_time` says how long each stage of a job's last finished attempt took (`core/stages.py` names them), and how many
frames the file has. `waiting_since` is when the job last began to wait for an outcome. `redo` is 1 for a job that makes
a published copy again and takes its place. Where `names_erased_at` is set, `path` and `published` hold digests
(`names.py`). `noted` is 1 once it was seen to that the people at the share are told of a rejection; `note` holds the
notes that lie there, or are about to. `names_key` tells which key the digests were made with.

`receipt`, `unlisted`, `present` and `rebuild` serve a queue that was rebuilt (`store_rebuild.py`): copies published
before, folders whose files were not listed yet, files that were there when they were, and what the status tells.

`outcome` holds rejections and failures whose receipts are still to be written, as JSON; `ledger_mark` is where the
ledger ended, and the hash of its last line then. `sidecar` is the hash of a receipt that lies beside its copy. `batch`
is an inbound subfolder that was complete, with its newest job and the time of its newest change then, and the marker
that tells so. `retiring` is what retention has begun to take away. `sample` and `outage` are for the report: what
waited, and from when to when something did not run, in seconds since 1970; an outage that lasts has no end yet.
"""

import sqlite3
import time

from blurd.errors import EquipmentError, Reason

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        folder TEXT NOT NULL,
        path BLOB NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        returns INTEGER NOT NULL DEFAULT 0,
        not_before_s REAL NOT NULL DEFAULT 0,
        not_before_boot TEXT NOT NULL DEFAULT '',
        worker_pid INTEGER,
        worker_start_ticks INTEGER,
        worker_boot TEXT,
        progress REAL NOT NULL DEFAULT 0,
        staged TEXT,
        published BLOB,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX job_by_path ON job (folder, path, id);
    CREATE INDEX job_by_state ON job (folder, state, id);
    CREATE UNIQUE INDEX job_unfinished ON job (folder, path)
        WHERE state IN ('queued', 'claimed', 'staged', 'deferred');
    CREATE TABLE history (
        job INTEGER NOT NULL REFERENCES job (id),
        at TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        attempt INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX history_by_job ON history (job);
    CREATE TABLE folder (
        name TEXT PRIMARY KEY,
        settling INTEGER NOT NULL,
        paused TEXT,
        rescan_only INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE process (
        part TEXT NOT NULL,
        pid INTEGER NOT NULL,
        start_ticks INTEGER NOT NULL,
        boot TEXT NOT NULL,
        device TEXT,
        degraded INTEGER NOT NULL,
        PRIMARY KEY (part, pid, start_ticks, boot)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE job ADD COLUMN regions TEXT;
    ALTER TABLE folder ADD COLUMN awaiting_regions INTEGER NOT NULL DEFAULT 0
    """,
    """
    ALTER TABLE job ADD COLUMN frames_per_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN left_s REAL NOT NULL DEFAULT 0
    """,
    """
    ALTER TABLE job ADD COLUMN due_s REAL NOT NULL DEFAULT 0;
    CREATE INDEX job_claimed ON job (id) WHERE state = 'claimed';
    CREATE INDEX job_by_copy ON job (folder, published) WHERE published IS NOT NULL;
    CREATE TABLE receipt (
        job INTEGER PRIMARY KEY,
        folder TEXT NOT NULL,
        source_id TEXT NOT NULL,
        regions_sha256 TEXT,
        copy TEXT NOT NULL
    ) STRICT;
    CREATE INDEX receipt_by_source ON receipt (folder, source_id);
    CREATE TABLE unlisted (folder TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE present (
        folder TEXT NOT NULL,
        path BLOB NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (folder, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE rebuild (at TEXT NOT NULL, kept INTEGER NOT NULL, receipts INTEGER NOT NULL) STRICT
    """,
    """
    CREATE INDEX job_queued_by_size ON job (folder, size) WHERE state = 'queued';
    CREATE INDEX job_held_back ON job (folder) WHERE state = 'queued' AND reason IS NOT NULL;
    ALTER TABLE folder ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0
    """,
    """
    CREATE TABLE stage_time (
        job INTEGER NOT NULL REFERENCES job (id),
        stage TEXT NOT NULL,
        seconds REAL NOT NULL,
        frames INTEGER NOT NULL,
        PRIMARY KEY (job, stage)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE job ADD COLUMN waiting_since TEXT NOT NULL DEFAULT '';
    UPDATE job SET waiting_since = created_at;
    ALTER TABLE job ADD COLUMN redo INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN names_erased_at TEXT;
    ALTER TABLE process ADD COLUMN models TEXT;
    CREATE TABLE note (
        job INTEGER PRIMARY KEY,
        folder TEXT NOT NULL,
        path BLOB NOT NULL,
        sha256 TEXT NOT NULL,
        written INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE names_key (proof BLOB NOT NULL, scrubbed_at TEXT) STRICT;
    CREATE INDEX job_by_change ON job (changed_at, folder, state, id);
    CREATE INDEX job_waiting ON job (folder, waiting_since)
        WHERE state IN ('queued', 'claimed', 'staged', 'deferred');
    CREATE INDEX job_unnoted ON job (folder, id) WHERE noted = 0 AND state IN ('rejected', 'failed');
    CREATE INDEX job_named ON job (changed_at) WHERE names_erased_at IS NULL
        AND state NOT IN ('queued', 'claimed', 'staged', 'deferred');
    CREATE INDEX note_by_folder ON note (folder, job)
    """,
    """
    CREATE TABLE outcome (id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, value TEXT NOT NULL) STRICT;
    CREATE TABLE ledger_mark (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        end INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) STRICT;
    CREATE TABLE sidecar (job INTEGER PRIMARY KEY, sha256 TEXT NOT NULL) STRICT;
    CREATE TABLE batch (
        folder TEXT NOT NULL,
        name BLOB NOT NULL,
        last_job INTEGER NOT NULL,
        changed_at TEXT NOT NULL,
        marker TEXT,
        marker_sha256 TEXT,
        PRIMARY KEY (folder, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE retiring (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        folder TEXT NOT NULL,
        job INTEGER NOT NULL,
        what TEXT NOT NULL,
        path BLOB NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) STRICT;
    CREATE TABLE sample (
        at INTEGER NOT NULL,
        folder TEXT NOT NULL,
        settling INTEGER NOT NULL,
        waiting INTEGER NOT NULL,
        running INTEGER NOT NULL,
        PRIMARY KEY (at, folder)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outage (
        folder TEXT NOT NULL,
        began INTEGER NOT NULL,
        ended INTEGER,
        cause TEXT NOT NULL,
        PRIMARY KEY (folder, cause, began)
    ) STRICT, WITHOUT ROWID
    """,
)


def use_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    """Turn the write-ahead log on.

    SQLite does not wait here for another process that does the same to a new file, whatever its busy timeout.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
        else:
            return


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this version, each step in its own transaction.

    Raises `EquipmentError(SCHEMA_NEWER)` where a newer version wrote them.
    """
    for number, script in enumerate(MIGRATIONS, start=1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) < number:
                for statement in script.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def check_version(connection: sqlite3.Connection) -> None:
    """For those that only read. Raises `EquipmentError` with SCHEMA_NEWER, or STATE_UNUSABLE for an older version."""
    if _version(connection) < len(MIGRATIONS):
        detail = "An older version wrote it. Start blurd once: it brings the queue up to date."
        raise EquipmentError(Reason.STATE_UNUSABLE, "open queue", detail)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise EquipmentError(Reason.SCHEMA_NEWER, "open queue")
    return version
