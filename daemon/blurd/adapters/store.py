"""The queue in SQLite: `JobStore` for one box.

Invariants
* WAL with `synchronous = FULL`: a committed change survives a power cut.
* Every change is one `BEGIN IMMEDIATE` transaction: the state is read, checked against the lifecycle table, written,
  and noted in the history together.
* One connection belongs to one thread; several threads open several stores on the same file.

DIAGNOSTICS: `EquipmentError(STATE_UNUSABLE)` where the file can't be opened, is damaged or its disk is full.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blurd.adapters.host import boot_id, wall_clock
from blurd.adapters.store_rows import dump_regions, dump_staged, is_same_version, to_blob, to_job, to_signed
from blurd.adapters.store_schema import migrate, use_wal
from blurd.core.lifecycle import UNFINISHED, move
from blurd.errors import EquipmentError, Reason
from blurd.records import (
    Claim,
    FileStamp,
    FolderCondition,
    FolderName,
    FoundFile,
    Job,
    JobId,
    JobState,
    Overview,
    ProcessCondition,
    Progress,
    RunningJob,
    StagedCopy,
    WorkerIdentity,
    same_regions,
)

BUSY_TIMEOUT_MS = 30_000

_LATEST = "SELECT * FROM job WHERE folder = ? AND path = ? ORDER BY id DESC LIMIT 1"
_INSERT = """
    INSERT INTO job (folder, path, size, mtime_ns, ctime_ns, inode, regions, state, reason, created_at, changed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COPIES_BEFORE = """
    SELECT * FROM job WHERE folder = ? AND path = ? AND id < ? AND size = ? AND mtime_ns = ?
        AND state IN ('published', 'superseded') AND published IS NOT NULL AND staged IS NOT NULL ORDER BY id
"""
_NOTE = "INSERT INTO history (job, at, state, reason, attempt) VALUES (?, ?, ?, ?, ?)"
_FIND_DEFERRED = """
    SELECT * FROM job WHERE folder = ? AND state = 'deferred' AND (not_before_boot <> ? OR not_before_s <= ?)
    ORDER BY id LIMIT 1
"""
_FIND_QUEUED = "SELECT * FROM job WHERE folder = ? AND state = 'queued' ORDER BY id LIMIT 1"
_BEAT = """
    UPDATE job SET progress = ?, frames_per_s = ?, left_s = ? WHERE id = ? AND state = 'claimed'
        AND worker_pid = ? AND worker_start_ticks = ? AND worker_boot = ?
"""


_TAKEN_OVER = """
    SELECT 1 FROM job WHERE folder = ? AND published = ? AND id > ? AND state IN ('staged', 'published') LIMIT 1
"""


class SqliteJobStore:
    """The queue, on one connection. Use from one thread; close it there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translated("open queue"):
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            use_wal(self._connection, BUSY_TIMEOUT_MS / 1000)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            migrate(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # -- intake -------------------------------------------------------------------------------------------------------

    def enqueue(self, folder: FolderName, found: Sequence[FoundFile]) -> tuple[tuple[JobId, FoundFile], ...]:
        """See `JobStore.enqueue`. One transaction for all files given."""
        made: list[tuple[JobId, FoundFile]] = []
        with self._transaction("enqueue"):
            for file in found:
                latest = self._connection.execute(_LATEST, (folder, to_blob(file.path))).fetchone()
                if latest is not None:
                    if is_same_version(latest, file.stamp, file.regions):
                        continue
                    if JobState(latest["state"]) in UNFINISHED:
                        self._move(latest, JobState.SUPERSEDED, Reason.SOURCE_CHANGED)
                made.append((self._insert(folder, file), file))
        return tuple(made)

    def is_known(self, folder: FolderName, path: str, stamp: FileStamp, regions: FileStamp | None = None) -> bool:
        """See `JobStore.is_known`."""
        with _translated("look up job"):
            latest = self._connection.execute(_LATEST, (folder, to_blob(path))).fetchone()
        return latest is not None and is_same_version(latest, stamp, regions)

    # -- the worker's side --------------------------------------------------------------------------------------------

    def claim(self, worker: WorkerIdentity, folders: Sequence[FolderName], now_s: float) -> Job | None:
        """See `JobStore.claim`. Jobs whose delay is over go first, then the oldest; folders in the order given."""
        with self._transaction("claim"):
            for folder in folders:
                row = self._connection.execute(_FIND_DEFERRED, (folder, boot_id(), now_s)).fetchone()
                if row is not None:
                    self._move(row, JobState.QUEUED, None)
                else:
                    row = self._connection.execute(_FIND_QUEUED, (folder,)).fetchone()
                if row is None:
                    continue
                self._connection.execute(
                    "UPDATE job SET attempts = attempts + 1, progress = 0, frames_per_s = 0, left_s = 0,"
                    " worker_pid = ?, worker_start_ticks = ?,"
                    " worker_boot = ? WHERE id = ?",
                    (worker.pid, worker.start_ticks, worker.boot_id, row["id"]),
                )
                self._move(self._row(row["id"]), JobState.CLAIMED, None)
                return to_job(self._row(row["id"]))
        return None

    def beat(self, job: JobId, worker: WorkerIdentity, progress: Progress) -> bool:
        """See `JobStore.beat`."""
        with self._transaction("beat"):
            values = (progress.share, progress.frames_per_s, progress.left_s)
            held = (job, worker.pid, worker.start_ticks, worker.boot_id)
            cursor = self._connection.execute(_BEAT, (*values, *held))
            return cursor.rowcount == 1

    def stage(self, job: JobId, worker: WorkerIdentity, staged: StagedCopy) -> bool:
        """See `JobStore.stage`."""
        with self._transaction("stage"):
            row = self._held(job, worker)
            if row is None:
                return False
            self._connection.execute("UPDATE job SET staged = ? WHERE id = ?", (dump_staged(staged), job))
            self._move(row, JobState.STAGED, None)
            return True

    def finish(
        self, job: JobId, worker: WorkerIdentity, state: JobState, reason: Reason | None, not_before_s: float = 0.0
    ) -> bool:
        """See `JobStore.finish`."""
        with self._transaction("finish"):
            row = self._held(job, worker)
            if row is None:
                return False
            self._connection.execute(
                "UPDATE job SET not_before_s = ?, not_before_boot = ? WHERE id = ?", (not_before_s, boot_id(), job)
            )
            self._move(row, state, reason)
            return True

    def give_back(self, job: JobId, worker: WorkerIdentity, reason: Reason | None) -> bool:
        """See `JobStore.give_back`."""
        with self._transaction("give back"):
            row = self._held(job, worker)
            if row is None:
                return False
            self._connection.execute(
                "UPDATE job SET attempts = attempts - 1, returns = returns + 1 WHERE id = ?", (job,)
            )
            self._move(row, JobState.QUEUED, reason)
            return True

    def claims(self) -> tuple[Claim, ...]:
        """See `JobStore.claims`."""
        with _translated("list claims"):
            rows = self._connection.execute("SELECT * FROM job WHERE state = 'claimed'").fetchall()
        return tuple(
            Claim(to_job(row), WorkerIdentity(row["worker_pid"], row["worker_start_ticks"], row["worker_boot"]))
            for row in rows
        )

    # -- the publisher's side -----------------------------------------------------------------------------------------

    def staged_jobs(self, folder: FolderName, limit: int) -> tuple[Job, ...]:
        """See `JobStore.staged_jobs`."""
        with _translated("list staged"):
            rows = self._connection.execute(
                "SELECT * FROM job WHERE folder = ? AND state = 'staged' ORDER BY id LIMIT ?", (folder, limit)
            ).fetchall()
        return tuple(to_job(row) for row in rows)

    def intend(self, job: JobId, published: str) -> None:
        """See `JobStore.intend`."""
        with self._transaction("intend"):
            self._connection.execute(
                "UPDATE job SET published = ? WHERE id = ? AND state = 'staged'", (to_blob(published), job)
            )

    def publish(self, job: JobId) -> None:
        """See `JobStore.publish`."""
        with self._transaction("publish"):
            self._move(self._row(job), JobState.PUBLISHED, None)

    def copies_replaced_by(self, job: Job) -> tuple[Job, ...]:
        """See `JobStore.copies_replaced_by`."""
        stamp = job.stamp
        values = (job.folder, to_blob(job.path), job.id, stamp.size, stamp.mtime_ns)
        with _translated("list copies"):
            rows = self._connection.execute(_COPIES_BEFORE, values).fetchall()
        earlier = (to_job(row) for row in rows)
        return tuple(before for before in earlier if not same_regions(before.regions, job.regions))

    def is_name_taken_over(self, job: Job) -> bool:
        """See `JobStore.is_name_taken_over`."""
        values = (job.folder, to_blob(job.published or ""), job.id)
        with _translated("look up name"):
            return self._connection.execute(_TAKEN_OVER, values).fetchone() is not None

    def withdraw(self, job: JobId) -> None:
        """See `JobStore.withdraw`."""
        with self._transaction("withdraw"):
            row = self._row(job)
            if row["state"] == JobState.PUBLISHED:
                self._move(row, JobState.WITHDRAWN, None)
            self._connection.execute("UPDATE job SET published = NULL WHERE id = ?", (job,))

    def release(self, job: JobId, state: JobState, reason: Reason | None) -> None:
        """See `JobStore.release`."""
        with self._transaction("release"):
            self._connection.execute("UPDATE job SET published = NULL WHERE id = ?", (job,))
            self._move(self._row(job), state, reason)

    def open_attempts(self, folder: FolderName) -> frozenset[tuple[JobId, int]]:
        """See `JobStore.open_attempts`."""
        with _translated("list open jobs"):
            rows = self._connection.execute(
                "SELECT id, attempts FROM job WHERE folder = ? AND state IN ('claimed', 'staged')", (folder,)
            ).fetchall()
        return frozenset((JobId(row["id"]), row["attempts"]) for row in rows)

    # -- the status ---------------------------------------------------------------------------------------------------

    def note_folder(self, condition: FolderCondition) -> None:
        """See `JobStore.note_folder`."""
        with self._transaction("note folder"):
            self._connection.execute(
                "INSERT OR REPLACE INTO folder (name, settling, paused, rescan_only, awaiting_regions)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    condition.folder,
                    condition.settling,
                    condition.paused,
                    int(condition.rescan_only),
                    condition.awaiting_regions,
                ),
            )

    def note_process(self, condition: ProcessCondition) -> None:
        """See `JobStore.note_process`; forgets processes of the same part that were noted on another boot."""
        worker = condition.worker
        with self._transaction("note process"):
            self._connection.execute("DELETE FROM process WHERE boot <> ?", (boot_id(),))
            self._connection.execute(
                "INSERT OR REPLACE INTO process (part, pid, start_ticks, boot, device, degraded)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    condition.part,
                    worker.pid,
                    worker.start_ticks,
                    worker.boot_id,
                    condition.device,
                    int(condition.degraded),
                ),
            )

    def forget_process(self, condition: ProcessCondition) -> None:
        """Remove a process that ended from what the status shows."""
        with self._transaction("forget process"):
            self._connection.execute(
                "DELETE FROM process WHERE part = ? AND pid = ? AND start_ticks = ?",
                (condition.part, condition.worker.pid, condition.worker.start_ticks),
            )

    def overview(self) -> Overview:
        """See `JobStore.overview`."""
        with _translated("read status"):
            execute = self._connection.execute
            counts: dict[FolderName, dict[JobState, int]] = {}
            for row in execute("SELECT folder, state, count(*) AS number FROM job GROUP BY folder, state"):
                counts.setdefault(FolderName(row["folder"]), {})[JobState(row["state"])] = row["number"]
            reasons: dict[FolderName, dict[Reason, int]] = {}
            for row in execute(
                "SELECT folder, reason, count(*) AS number FROM job WHERE reason IS NOT NULL"
                " AND state IN ('rejected', 'failed', 'deferred') GROUP BY folder, reason"
            ):
                reasons.setdefault(FolderName(row["folder"]), {})[Reason(row["reason"])] = row["number"]
            folders = tuple(
                FolderCondition(
                    FolderName(row["name"]),
                    row["settling"],
                    Reason(row["paused"]) if row["paused"] else None,
                    bool(row["rescan_only"]),
                    row["awaiting_regions"],
                )
                for row in execute("SELECT * FROM folder ORDER BY name")
            )
            processes = tuple(
                ProcessCondition(
                    row["part"],
                    WorkerIdentity(row["pid"], row["start_ticks"], row["boot"]),
                    row["device"],
                    bool(row["degraded"]),
                )
                for row in execute("SELECT * FROM process ORDER BY part, pid")
            )
            running = tuple(
                RunningJob(
                    JobId(row["id"]),
                    FolderName(row["folder"]),
                    Progress(row["progress"], row["frames_per_s"], row["left_s"]),
                )
                for row in execute("SELECT * FROM job WHERE state = 'claimed' ORDER BY id")
            )
        return Overview(counts, reasons, folders, processes, running)

    # -- within a transaction -----------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[None]:
        with _translated(operation):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _insert(self, folder: FolderName, file: FoundFile) -> JobId:
        now = wall_clock()
        stamp = file.stamp
        cursor = self._connection.execute(
            _INSERT,
            (
                folder,
                to_blob(file.path),
                stamp.size,
                stamp.mtime_ns,
                stamp.ctime_ns,
                to_signed(stamp.inode),
                dump_regions(file.regions),
                file.state,
                file.refusal,
                now,
                now,
            ),
        )
        self._connection.execute(_NOTE, (cursor.lastrowid, now, file.state, file.refusal, 0))
        return JobId(int(cursor.lastrowid or 0))

    def _move(self, row: sqlite3.Row, target: JobState, reason: Reason | None) -> None:
        state = move(JobState(row["state"]), target)
        now = wall_clock()
        self._connection.execute(
            "UPDATE job SET state = ?, reason = ?, changed_at = ? WHERE id = ?", (state, reason, now, row["id"])
        )
        self._connection.execute(_NOTE, (row["id"], now, state, reason, row["attempts"]))

    def _row(self, job: int) -> sqlite3.Row:
        row: sqlite3.Row = self._connection.execute("SELECT * FROM job WHERE id = ?", (job,)).fetchone()
        return row

    def _held(self, job: JobId, worker: WorkerIdentity) -> sqlite3.Row | None:
        row = self._row(job)
        holder = (row["worker_pid"], row["worker_start_ticks"], row["worker_boot"])
        if row["state"] != JobState.CLAIMED or holder != (worker.pid, worker.start_ticks, worker.boot_id):
            return None
        return row


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise EquipmentError(Reason.STATE_UNUSABLE, operation) from error
