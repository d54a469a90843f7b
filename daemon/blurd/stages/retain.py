"""Retain: take away originals whose verified copies were published, and copies that nobody fetched, once it is time.

An original (and the regions beside it), each step repeatable after a cut at any point
1. It is what was treated: its job is the newest for the path and published, its days are over, size and mtime are those
   of the job, and nobody has it open for writing, as far as that can be told.
2. That it is taken away is written down; then it is taken aside, where nobody can change it by its name.
3. What lies there is read: it must be the content that was treated, by its SHA-256, and still nobody's to write. Else,
   or where the settings keep originals by now, it goes back.
4. For an archive elsewhere: copied there, synced, read again and compared, then linked to its name.
5. The ledger is told; then it is moved into the archive below inbound, or unlinked; then the note of 2 goes.

A copy: written down, withdrawn (only by its SHA-256), the ledger told, the receipt beside it removed, the note removed.

Invariants
* Nothing goes that was not published and verified: rejected, failed, ignored and unknown files stay for ever.
* The ledger never tells of a file that stayed, but for one that was held up between the telling and the unlinking, and
  that goes as soon as the folder can be written.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from blurd.adapters.files import sha256_of, stamp_of, writer_gone
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import wall_clock, wall_clock_ago
from blurd.adapters.ledger import Ledger
from blurd.adapters.originals import OriginalsFolder
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_retention import Retired, Retiring
from blurd.core.naming import regions_path, sidecar_path, staged_name, withdrawn_name
from blurd.core.receipts import COPY_DELETED, ORIGINAL_ARCHIVED, ORIGINAL_DELETED
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.events import Event
from blurd.records import FolderName, Job, JobState
from blurd.upkeep_events import CopyDeleted, OriginalArchived, OriginalDeleted

BATCH_DAYS = 1.0
_NEW = 0
_ARCHIVED_MODE = 0o600


@dataclass(frozen=True, slots=True)
class RetentionTerms:
    """What the settings say: days after the publication; None takes nothing away of that kind."""

    originals_days: float | None
    archives: bool
    outbound_days: float | None
    hard_links: bool


@dataclass(frozen=True, slots=True)
class Due:
    """A file whose time is over: its job, where it lies, and its size in bytes."""

    job: Job
    path: str
    size: int


def due_originals(
    store: SqliteJobStore,
    folder: FolderName,
    inbound: InboundFolder,
    files: Iterable[tuple[str, os.stat_result]],
    days: float,
) -> Iterator[Due]:
    """Originals whose copies were published so many days ago, by what lies in inbound.

    One in a batch that was not told complete since waits for that, `BATCH_DAYS` at most: else it is never told.
    """
    before, before_at_most = wall_clock_ago(days), wall_clock_ago(days + BATCH_DAYS)
    batches = {batch.name: batch for batch in store.batches(folder)}
    for path, status in files:
        job = store.latest(folder, path)
        if job is None or job.state is not JobState.PUBLISHED or job.staged is None:
            continue
        known = store.is_known(folder, path, stamp_of(status), inbound.regions_stamp(path))
        ended_at, name = store.ended_at(job.id), path.partition("/")[0]
        told = batches.get(name)
        is_told = name == path or (told is not None and told.last_job >= job.id and told.changed_at >= ended_at)
        if known and job.staged.source_sha256 and "" < ended_at <= (before if is_told else before_at_most):
            yield Due(job, path, status.st_size)


def due_copies(
    store: SqliteJobStore, folder: FolderName, files: Iterable[tuple[str, int]], days: float
) -> Iterator[Due]:
    """Copies of ours that were published so many days ago, by what lies in outbound (path and size)."""
    before = wall_clock_ago(days)
    for path, size in files:
        job = store.copy_named(folder, path)
        ours = job is not None and job.staged is not None and size == job.staged.size
        if job is not None and ours and "" < store.ended_at(job.id) <= before:
            yield Due(job, path, size)


@dataclass
class Retainer:
    """Takes away what is due in one folder. `archive` is the folder elsewhere, where there is one."""

    folder: FolderName
    terms: RetentionTerms
    store: SqliteJobStore
    ledger: Ledger
    originals: OriginalsFolder
    outbound: OutboundFolder
    archive: OutboundFolder | None
    emit: Callable[[Event], None]

    def resume(self) -> None:
        """Bring to an end what was begun, whatever the settings say by now."""
        for retiring in self.store.retiring(self.folder):
            self._finish(retiring)

    def retire_original(self, due: Due) -> None:
        """Take an original away with its regions. Raises `EquipmentError`: nothing is lost, it is tried again."""
        copy = due.job.staged
        if copy is None or self._is_busy(due.path):
            return
        self._retire(Retiring(_NEW, due.job.id, Retired.ORIGINAL, due.path, due.size, copy.source_sha256))
        regions = regions_path(due.path)
        status = self.originals.status(regions)
        if copy.regions_sha256 is not None and status is not None and self.originals.status(due.path) is None:
            self._retire(Retiring(_NEW, due.job.id, Retired.REGIONS, regions, status.st_size, copy.regions_sha256))

    def retire_copy(self, due: Due) -> None:
        """Take a copy away, if it still is the one that was published."""
        copy = due.job.staged
        if copy is not None and self.outbound.is_content(due.path, copy.sha256):
            retiring = Retiring(_NEW, due.job.id, Retired.COPY, due.path, copy.size, copy.sha256)
            self._finish(self.store.begin_retiring(self.folder, retiring))

    def _is_busy(self, path: str) -> bool:
        """True where the file can't be had now, or somebody writes to it."""
        try:
            with self.originals.open(path, allow_hard_links=self.terms.hard_links) as file:
                return writer_gone(file) is False
        except BlurdError as error:
            if error.reason is Reason.INBOUND_MISSING:
                raise
            return True

    def _retire(self, wanted: Retiring) -> None:
        retiring = self.store.begin_retiring(self.folder, wanted)
        self.originals.take_aside(retiring.path, retiring.id)
        self._finish(retiring)

    def _finish(self, retiring: Retiring) -> None:
        if retiring.what is Retired.COPY:
            self._finish_copy(retiring)
            return
        aside = self.originals.open_aside(retiring.id)
        if aside is None:  # never taken, or all is done
            self.store.end_retiring(retiring)
            return
        with aside:
            sound = self.terms.originals_days is not None and _is_sound(aside, retiring)
            if sound and self.terms.archives and self.archive is not None:
                self._copy_elsewhere(self.archive, aside, retiring)
        if not sound:
            self.originals.put_back(retiring.id, retiring.path)
            self.store.end_retiring(retiring)
            return
        event = ORIGINAL_ARCHIVED if self.terms.archives else ORIGINAL_DELETED
        end = self.ledger.append(retiring.job, self._receipt(retiring), event)
        if self.terms.archives and self.archive is None:
            self.originals.archive_aside(retiring.id, retiring.path)
        else:
            self.originals.delete_aside(retiring.id)
        self.store.end_retiring(retiring, end)
        if retiring.what is Retired.ORIGINAL:
            told = OriginalArchived if self.terms.archives else OriginalDeleted
            self.emit(told(retiring.job, self.folder))

    def _finish_copy(self, retiring: Retiring) -> None:
        if not self.outbound.withdraw(retiring.path, retiring.sha256, withdrawn_name(retiring.job)):
            self.store.end_retiring(retiring)
            return
        end = self.ledger.append(retiring.job, self._receipt(retiring), COPY_DELETED)
        sidecar = self.store.sidecar(retiring.job)
        if sidecar is not None:
            self.outbound.withdraw(sidecar_path(retiring.path), sidecar, withdrawn_name(retiring.job))
            self.store.settle_sidecar(retiring.job, None)
        self.store.end_retiring(retiring, end)
        self.emit(CopyDeleted(retiring.job, self.folder))

    def _receipt(self, retiring: Retiring) -> dict[str, str | int | float | None]:
        of_copy = retiring.what is Retired.COPY
        days = self.terms.outbound_days if of_copy else self.terms.originals_days
        return {
            "folder": self.folder,
            "what": retiring.what,
            "retirement": retiring.id,
            "output_sha256" if of_copy else "source_sha256": retiring.sha256,
            "output_bytes" if of_copy else "source_bytes": retiring.size,
            "days": days,
            "retained_at": wall_clock(),
        }

    def _copy_elsewhere(self, archive: OutboundFolder, aside: BinaryIO, retiring: Retiring) -> None:
        """Copy, sync, compare, link; a copy that lies there already, from before a cut, suffices."""
        target = f"{self.folder}/{retiring.path}"
        try:
            if any(archive.copies(target, retiring.size, retiring.sha256)):
                return
            staged = staged_name(retiring.job, retiring.id)
            with archive.staged(staged, _ARCHIVED_MODE) as file:
                shutil.copyfileobj(aside, file)
                file.flush()
                status = os.fstat(aside.fileno())
                os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            _need_same(archive.open_staged(staged), retiring.sha256)
            while not archive.publish(staged, archive.free_name(target, staged)):
                pass  # taken meanwhile; the candidates are bounded
            archive.remove_staged(staged)
        except EquipmentError as error:
            raise EquipmentError(Reason.ARCHIVE_UNUSABLE, error.operation) from error


def _need_same(file: BinaryIO | None, sha256: str) -> None:
    if file is not None:
        with file:
            if sha256_of(file) == sha256:
                return
    raise EquipmentError(Reason.ARCHIVE_UNUSABLE, "compare with archive")


def _is_sound(file: BinaryIO, retiring: Retiring) -> bool:
    """True where this is the file that was treated, and nobody writes to it."""
    if writer_gone(file) is False or os.fstat(file.fileno()).st_size != retiring.size:
        return False
    return sha256_of(file) == retiring.sha256 and writer_gone(file) is not False
