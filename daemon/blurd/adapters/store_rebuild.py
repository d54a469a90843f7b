"""A queue that was begun anew from the receipts: what was published before is recognised, and not published again.

How
* `begin` takes the receipts in, and goes on counting jobs where the lost queue ended.
* `list_present` notes which files lie in a folder then, by path, size and mtime: only they are recognised. A file that
  is dropped later is new, whatever its content.
* `published_before` is asked by the worker, once it has hashed a file; `recognise` closes the job then.
* A copy made under other regions gets its job back (`remember`), so that it is withdrawn when the new one is published.

Invariants
* `begin` is one transaction: cut off, the queue is older than its receipts and is begun anew again.
* A receipt is used once.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from blurd.adapters.host import wall_clock
from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import dump_regions, dump_staged, to_blob
from blurd.core.lifecycle import UNFINISHED
from blurd.core.naming import copy_path, staged_name
from blurd.records import (
    FileStamp,
    FolderName,
    Job,
    JobId,
    JobState,
    MediaFacts,
    MediaKind,
    StagedCopy,
    Verdict,
    WorkerIdentity,
)

_KEPT = (
    "source_sha256", "output_sha256", "output_bytes", "kind", "format", "suffix", "frames", "renders", "model_hash",
    "settings_hash",
)  # fmt: skip
"""What a receipt says of a copy, as far as the queue needs it."""
_CONTRADICTING = (UNFINISHED - {JobState.STAGED}) | {JobState.REJECTED, JobState.FAILED, JobState.IGNORED}
"""States that a job with a receipt never has: the receipt is written while it is staged."""
_FIND = """
    SELECT receipt.* FROM receipt JOIN present USING (folder)
        WHERE folder = ? AND source_id = ? AND path = ? AND size = ? AND mtime_ns = ? ORDER BY job DESC
"""
_REMEMBER = """
    INSERT INTO job (id, folder, path, size, mtime_ns, ctime_ns, inode, regions, state, staged, published,
        created_at, changed_at) SELECT ?, folder, path, size, mtime_ns, ctime_ns, inode, ?, ?, ?, ?, ?, ?
        FROM job WHERE id = ?
"""
_SOME_REGIONS = FileStamp(0, 0, 0, 0)
"""A stamp that no regions have: those of an earlier version are known by their hash alone."""


class RebuiltStore(QueueFile):
    """The part of the queue that knows the time before it was begun."""

    def begin(
        self, receipts: Iterable[Mapping[str, Any]], last_job: int, folders: Iterable[FolderName], kept: int
    ) -> int:
        """Take in what the ledger tells; returns how many copies it tells of. `kept` numbers the file set aside."""
        with self._transaction("rebuild"):
            execute = self._connection.execute
            for receipt in receipts:
                last_job = max(last_job, receipt["job"])
                if receipt["event"] == "withdrawn":
                    execute("DELETE FROM receipt WHERE job = ?", (receipt["job"],))
                elif receipt["event"] == "published" and receipt.get("source_id"):
                    told = json.dumps({key: receipt[key] for key in _KEPT})
                    values = (receipt["job"], receipt["folder"], receipt["source_id"], receipt["regions_sha256"], told)
                    execute("INSERT OR REPLACE INTO receipt VALUES (?, ?, ?, ?, ?)", values)
            execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('job', ?)", (last_job,))
            for folder in folders:
                execute("INSERT INTO unlisted VALUES (?)", (folder,))
            number: int = execute("SELECT count(*) FROM receipt").fetchone()[0]
            execute("INSERT INTO rebuild VALUES (?, ?, ?)", (wall_clock(), kept, number))
        return number

    def contradicts(self, jobs: Iterable[int]) -> bool:
        """True where the queue is older than these jobs' receipts: it never gave their numbers, or is behind."""
        with self._translated("compare with receipts"):
            execute = self._connection.execute
            last = execute("SELECT seq FROM sqlite_sequence WHERE name = 'job'").fetchone()
            for job in jobs:
                if last is None or job > last["seq"]:
                    return True
                row = execute("SELECT state FROM job WHERE id = ?", (job,)).fetchone()
                if row is not None and row["state"] in _CONTRADICTING:
                    return True
        return False

    def is_unlisted(self, folder: FolderName) -> bool:
        """True where the queue was begun anew and this folder's files were not listed yet."""
        with self._translated("look up folder"):
            return self._connection.execute("SELECT 1 FROM unlisted WHERE folder = ?", (folder,)).fetchone() is not None

    def list_present(self, folder: FolderName, files: Iterable[tuple[str, FileStamp]]) -> None:
        """Note the files that a folder holds."""
        with self._transaction("list files"):
            self._connection.executemany(
                "INSERT OR REPLACE INTO present VALUES (?, ?, ?, ?)",
                ((folder, to_blob(path), stamp.size, stamp.mtime_ns) for path, stamp in files),
            )
            self._connection.execute("DELETE FROM unlisted WHERE folder = ?", (folder,))

    def published_before(self, job: Job, source_id: str, regions_sha256: str | None) -> StagedCopy | None:
        """See `JobStore.published_before`."""
        with self._translated("look up job"):
            if self._row(job.id)["redo"]:
                return None  # that it was published is why it is made again
        found = self._receipts(job, source_id)
        return next((_copy(job, row) for row in found if row["regions_sha256"] == regions_sha256), None)

    def versions_before(self, job: Job, source_id: str) -> tuple[tuple[JobId, StagedCopy], ...]:
        """See `JobStore.versions_before`."""
        return tuple((JobId(row["job"]), _copy(job, row)) for row in self._receipts(job, source_id))

    def remember(self, job: Job, earlier: JobId, copy: StagedCopy, published: str) -> None:
        """See `JobStore.remember`."""
        regions = None if copy.regions_sha256 is None else dump_regions(_SOME_REGIONS)
        now = wall_clock()
        state = JobState.PUBLISHED
        with self._transaction("remember"):
            values = (earlier, regions, state, dump_staged(copy), to_blob(published), now, now, job.id)
            self._connection.execute(_REMEMBER, values)
            self._note(earlier, now, state, None, 0)
            self._connection.execute("DELETE FROM receipt WHERE job = ?", (earlier,))

    def _receipts(self, job: Job, source_id: str) -> list[sqlite3.Row]:
        stamp = job.stamp
        values = (job.folder, source_id, to_blob(job.path), stamp.size, stamp.mtime_ns)
        with self._translated("look up receipt"):
            return self._connection.execute(_FIND, values).fetchall()

    def recognise(self, job: JobId, worker: WorkerIdentity, copy: StagedCopy, published: str | None) -> bool:
        """See `JobStore.recognise`."""
        with self._transaction("recognise"):
            row = self._held(job, worker)
            if row is None:
                return False
            name = None if published is None else to_blob(published)
            execute = self._connection.execute
            execute("UPDATE job SET staged = ?, published = ? WHERE id = ?", (dump_staged(copy), name, job))
            execute("DELETE FROM present WHERE folder = ? AND path = ?", (row["folder"], row["path"]))
            execute(
                "DELETE FROM receipt WHERE job = (SELECT max(job) FROM receipt WHERE folder = ? AND source_id = ?"
                " AND regions_sha256 IS ?)",
                (row["folder"], copy.source_id, copy.regions_sha256),
            )
            self._move(row, JobState.PUBLISHED, None)
            return True


def _copy(job: Job, row: sqlite3.Row) -> StagedCopy:
    """What a receipt says of a file's copy."""
    told = json.loads(row["copy"])
    return StagedCopy(
        name=staged_name(job.id, job.attempts),
        target=copy_path(job.path, told["suffix"]),
        size=told["output_bytes"],
        sha256=told["output_sha256"],
        source_sha256=told["source_sha256"],
        facts=MediaFacts(MediaKind(told["kind"]), told["format"], told["suffix"], 0, 0, told["frames"]),
        verdict=Verdict(told["renders"], 0),
        model_hash=told["model_hash"],
        settings_hash=told["settings_hash"],
        regions_sha256=row["regions_sha256"],
        source_id=row["source_id"],
    )
