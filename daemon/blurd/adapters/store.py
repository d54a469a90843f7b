"""The queue in SQLite: `JobStore` for one box. Its invariants and diagnostics are those of `store_base`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from blurd.adapters.host import boot_id, wall_clock
from blurd.adapters.store_batches import BatchBooks
from blurd.adapters.store_notes import NotedStore
from blurd.adapters.store_rebuild import RebuiltStore
from blurd.adapters.store_receipts import ReceiptBooks
from blurd.adapters.store_retention import RetentionBooks
from blurd.adapters.store_rows import (
    dump_regions,
    dump_staged,
    is_same_version,
    to_blob,
    to_folder,
    to_job,
    to_process,
    to_running,
    to_signed,
)
from blurd.adapters.store_samples import SampleBooks
from blurd.adapters.store_versions import VersionedStore
from blurd.core.lifecycle import UNFINISHED
from blurd.core.receipts import LedgerEnd
from blurd.core.retry import patience_s
from blurd.errors import Reason
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
    Rebuild,
    RunningJob,
    StagedCopy,
    WorkerIdentity,
)

_LATEST = "SELECT * FROM job WHERE folder = ? AND path IN (?, ?) ORDER BY id DESC LIMIT 1"
_INSERT = """
    INSERT INTO job (folder, path, size, mtime_ns, ctime_ns, inode, regions, state, reason, created_at, changed_at,
        waiting_since, redo) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_STAGE_TIME = "INSERT INTO stage_time (job, stage, seconds, frames) VALUES (?, ?, ?, ?)"
_FIND_DEFERRED = """
    SELECT * FROM job WHERE folder = ? AND state = 'deferred' AND (not_before_boot <> ? OR not_before_s <= ?)
    AND size <= ? ORDER BY id LIMIT 1
"""
_FIND_QUEUED = "SELECT * FROM job WHERE folder = ? AND state = 'queued' AND size <= ? ORDER BY id LIMIT 1"
_HELD_BACK = "SELECT reason FROM job WHERE folder = ? AND state = 'queued' AND reason IS NOT NULL LIMIT 1"
_LARGEST_QUEUED = "SELECT max(size) AS size FROM job WHERE folder = ? AND state = 'queued'"
_ANY_SIZE = 2**63 - 1
_WAITING = "SELECT count(*) FROM job WHERE folder IN (SELECT name FROM folder) AND state IN ('queued', 'deferred')"
_RUNNING = "SELECT * FROM job WHERE folder IN (SELECT name FROM folder) AND state = 'claimed' ORDER BY id"
"""By folder, as they are indexed: often asked, so without a walk over all jobs."""
_BEAT = """
    UPDATE job SET progress = ?, frames_per_s = ?, left_s = ?, due_s = ? WHERE id = ? AND state = 'claimed'
        AND worker_pid = ? AND worker_start_ticks = ? AND worker_boot = ?
"""
_CLAIMS = """
    SELECT job.*, folder.paused FROM job LEFT JOIN folder ON folder.name = job.folder WHERE state = 'claimed'
"""
_COPIES = """
    SELECT * FROM job WHERE id > ? AND folder = ? AND (state = 'published' OR published IS NOT NULL) ORDER BY id LIMIT ?
"""


class SqliteJobStore(RebuiltStore, VersionedStore, NotedStore, ReceiptBooks, BatchBooks, RetentionBooks, SampleBooks):
    """The queue, on one connection. Use from one thread; close it there."""

    # -- intake -------------------------------------------------------------------------------------------------------

    def enqueue(self, folder: FolderName, found: Sequence[FoundFile]) -> tuple[tuple[JobId, FoundFile], ...]:
        """See `JobStore.enqueue`. One transaction for all files given."""
        made: list[tuple[JobId, FoundFile]] = []
        with self._transaction("enqueue"):
            for file in found:
                latest = self._connection.execute(_LATEST, (folder, *self._spellings(folder, file.path))).fetchone()
                if latest is not None:
                    if is_same_version(latest, file.stamp, file.regions):
                        continue
                    if JobState(latest["state"]) in UNFINISHED:
                        self._move(latest, JobState.SUPERSEDED, Reason.SOURCE_CHANGED)
                made.append((self._insert(folder, file, redo=self._comes_back(latest)), file))
        return tuple(made)

    def is_known(self, folder: FolderName, path: str, stamp: FileStamp, regions: FileStamp | None = None) -> bool:
        """See `JobStore.is_known`."""
        with self._translated("look up job"):
            latest = self._connection.execute(_LATEST, (folder, *self._spellings(folder, path))).fetchone()
        return latest is not None and is_same_version(latest, stamp, regions)

    # -- the worker's side --------------------------------------------------------------------------------------------

    def claim(
        self,
        worker: WorkerIdentity,
        folders: Sequence[FolderName],
        now_s: float,
        limit_s: float | None = None,
        largest: Mapping[FolderName, int] = MappingProxyType({}),
    ) -> Job | None:
        """See `JobStore.claim`. Jobs whose delay is over go first, then the oldest; folders in the order given."""
        with self._transaction("claim"):
            for folder in folders:
                size = min(largest.get(folder, _ANY_SIZE), _ANY_SIZE)
                row = self._connection.execute(_FIND_DEFERRED, (folder, boot_id(), now_s, size)).fetchone()
                if row is not None:
                    self._move(row, JobState.QUEUED, None)
                else:
                    row = self._connection.execute(_FIND_QUEUED, (folder, size)).fetchone()
                if row is None:
                    continue
                self._connection.execute(
                    "UPDATE job SET attempts = attempts + 1, progress = 0, frames_per_s = 0, left_s = 0, due_s = ?,"
                    " worker_pid = ?, worker_start_ticks = ?, worker_boot = ? WHERE id = ?",
                    (
                        0.0 if limit_s is None else now_s + patience_s(limit_s, row["size"]),
                        worker.pid,
                        worker.start_ticks,
                        worker.boot_id,
                        row["id"],
                    ),
                )
                self._move(self._row(row["id"]), JobState.CLAIMED, None)
                return to_job(self._row(row["id"]))
        return None

    def beat(self, job: JobId, worker: WorkerIdentity, progress: Progress, due_s: float = 0.0) -> bool:
        """See `JobStore.beat`."""
        with self._transaction("beat"):
            values = (progress.share, progress.frames_per_s, progress.left_s, due_s)
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
            self._connection.execute("DELETE FROM stage_time WHERE job = ?", (job,))
            times = ((job, stage, seconds, staged.facts.frames) for stage, seconds in staged.stage_seconds.items())
            self._connection.executemany(_STAGE_TIME, times)
            self._move(row, JobState.STAGED, None)
            return True

    def finish(
        self,
        job: JobId,
        worker: WorkerIdentity,
        state: JobState,
        reason: Reason | None,
        not_before_s: float = 0.0,
        source_sha256: str | None = None,
    ) -> bool:
        """See `JobStore.finish`."""
        with self._transaction("finish"):
            row = self._held(job, worker)
            if row is None:
                return False
            self._connection.execute(
                "UPDATE job SET not_before_s = ?, not_before_boot = ? WHERE id = ?", (not_before_s, boot_id(), job)
            )
            self._move(row, state, reason, source_sha256)
            return True

    def give_back(self, job: JobId, worker: WorkerIdentity, reason: Reason | None, *, counts: bool = True) -> bool:
        """See `JobStore.give_back`."""
        with self._transaction("give back"):
            row = self._held(job, worker)
            if row is None:
                return False
            self._connection.execute(
                "UPDATE job SET attempts = attempts - 1, returns = returns + ? WHERE id = ?", (int(counts), job)
            )
            self._move(row, JobState.QUEUED, reason)
            return True

    def largest_queued(self, folder: FolderName) -> int:
        """See `JobStore.largest_queued`."""
        with self._translated("look up largest"):
            size = self._connection.execute(_LARGEST_QUEUED, (folder,)).fetchone()["size"]
        return int(size or 0)

    def held_back(self, folder: FolderName) -> Reason | None:
        """See `JobStore.held_back`."""
        with self._translated("look up held back"):
            row = self._connection.execute(_HELD_BACK, (folder,)).fetchone()
        return Reason(row["reason"]) if row is not None else None

    def claims(self) -> tuple[Claim, ...]:
        """See `JobStore.claims`."""
        with self._translated("list claims"):
            rows = self._connection.execute(_CLAIMS).fetchall()
        return tuple(
            Claim(
                to_job(row),
                WorkerIdentity(row["worker_pid"], row["worker_start_ticks"], row["worker_boot"]),
                row["due_s"],
                row["paused"] is not None,
            )
            for row in rows
        )

    # -- the publisher's side -----------------------------------------------------------------------------------------

    def staged_jobs(self, folder: FolderName, limit: int) -> tuple[Job, ...]:
        """See `JobStore.staged_jobs`."""
        with self._translated("list staged"):
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

    def publish(self, job: JobId, ledger: LedgerEnd | None = None) -> None:
        """See `JobStore.publish`."""
        with self._transaction("publish"):
            if ledger is not None:
                self._mark_ledger(ledger)
            self._move(self._row(job), JobState.PUBLISHED, None)

    def withdraw(self, job: JobId) -> None:
        """See `JobStore.withdraw`."""
        with self._transaction("withdraw"):
            row = self._row(job)
            if row["state"] == JobState.PUBLISHED:
                self._move(row, JobState.WITHDRAWN, None)
            self._connection.execute("UPDATE job SET published = NULL WHERE id = ?", (job,))
            self._connection.execute("DELETE FROM sidecar WHERE job = ?", (job,))

    def release(self, job: JobId, state: JobState, reason: Reason | None) -> None:
        """See `JobStore.release`."""
        with self._transaction("release"):
            self._connection.execute("UPDATE job SET published = NULL WHERE id = ?", (job,))
            self._move(self._row(job), state, reason)

    def latest(self, folder: FolderName, path: str) -> Job | None:
        """The newest job of a file."""
        with self._translated("look up job"):
            row = self._connection.execute(_LATEST, (folder, *self._spellings(folder, path))).fetchone()
        return None if row is None else to_job(row)

    def copies(
        self, folder: FolderName, after: JobId, limit: int, names: Mapping[bytes, str] = MappingProxyType({})
    ) -> tuple[Job, ...]:
        """Jobs of a folder that have a copy or are about to, by number, from behind `after` on.

        `names` tells names that were erased, as far as they are known, by their digests (`names_lying`).
        """
        with self._translated("list copies"):
            rows = self._connection.execute(_COPIES, (after, folder, limit)).fetchall()
        return tuple(to_job(row, names) for row in rows)

    def open_attempts(self, folder: FolderName) -> frozenset[tuple[JobId, int]]:
        """See `JobStore.open_attempts`."""
        with self._translated("list open jobs"):
            rows = self._connection.execute(
                "SELECT id, attempts FROM job WHERE folder = ? AND state IN ('claimed', 'staged')", (folder,)
            ).fetchall()
        return frozenset((JobId(row["id"]), row["attempts"]) for row in rows)

    # -- the status ---------------------------------------------------------------------------------------------------

    def note_folder(self, condition: FolderCondition) -> None:
        """See `JobStore.note_folder`."""
        counts = int(condition.rescan_only), condition.awaiting_regions, condition.unreadable
        with self._transaction("note folder"):
            self._connection.execute(
                "INSERT OR REPLACE INTO folder (name, settling, paused, rescan_only, awaiting_regions, unreadable)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (condition.folder, condition.settling, condition.paused, *counts),
            )

    def note_process(self, condition: ProcessCondition) -> None:
        """See `JobStore.note_process`; forgets processes of the same part that were noted on another boot."""
        worker = condition.worker
        identity = worker.pid, worker.start_ticks, worker.boot_id
        with self._transaction("note process"):
            self._connection.execute("DELETE FROM process WHERE boot <> ?", (boot_id(),))
            self._connection.execute(
                "INSERT OR REPLACE INTO process (part, pid, start_ticks, boot, device, degraded, models)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (condition.part, *identity, condition.device, int(condition.degraded), condition.models),
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
        with self._translated("read status"):
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
            folders = tuple(map(to_folder, execute("SELECT * FROM folder ORDER BY name")))
            processes = tuple(map(to_process, execute("SELECT * FROM process ORDER BY part, pid")))
            running = tuple(map(to_running, execute("SELECT * FROM job WHERE state = 'claimed' ORDER BY id")))
            rebuilds = tuple(
                Rebuild(row["at"], row["kept"], row["receipts"]) for row in execute("SELECT * FROM rebuild")
            )
        return Overview(counts, reasons, folders, processes, running, rebuilds)

    def workload(self) -> tuple[int, tuple[RunningJob, ...]]:
        """See `JobStore.workload`."""
        with self._translated("read workload"):
            waiting: int = self._connection.execute(_WAITING).fetchone()[0]
            return waiting, tuple(map(to_running, self._connection.execute(_RUNNING)))

    # -- within a transaction -----------------------------------------------------------------------------------------

    def _insert(self, folder: FolderName, file: FoundFile, *, redo: bool) -> JobId:
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
                *(now, now, now, redo),
            ),
        )
        job = JobId(int(cursor.lastrowid or 0))
        self._note(job, now, file.state, file.refusal, 0)
        self._owe_receipt(self._row(job), file.state, file.refusal)
        return job
