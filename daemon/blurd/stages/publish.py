"""Publish: link a verified copy into outbound, write its receipt, withdraw what it replaces, close its job.

The order, each step repeatable after a cut at any point
1. The source and its regions are still the version that was treated; else the result is thrown away.
2. A free name is chosen and written down, then linked and synced. A name that already is this copy counts as linked.
3. The receipt is written (once a job).
4. Copies of the same content under other regions, or that this job was to make again, are withdrawn: each is removed
   with the receipt beside it, noted in the ledger, its job closed.
5. The job is closed, then the staged name is removed.

Invariants
* Nothing is overwritten; a copy is published at most once: a job with a receipt never again, and where this very
  content lies under the wanted name already and no job has that name (the queue was begun anew, or the job forgotten),
  it is the copy.
* Nothing but a copy of our own, by its SHA-256, is ever removed, and only after the one that replaces it is visible.
* A lost staged file sends the job back to the queue.
"""

from collections.abc import Callable, Mapping

from blurd.adapters.files import sha256_of, stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import wall_clock
from blurd.adapters.ledger import Ledger
from blurd.core.naming import sidecar_path, withdrawn_name
from blurd.core.receipts import WITHDRAWN, ReceiptValue, published_receipt
from blurd.errors import Reason
from blurd.events import Event, JobPublished, JobReturned, JobVanished, JobWithdrawn
from blurd.ports import JobStore
from blurd.records import Job, JobState, StagedCopy, same_regions


def publish(
    store: JobStore,
    ledger: Ledger,
    inbound: InboundFolder,
    outbound: OutboundFolder,
    job: Job,
    receipt: Mapping[str, ReceiptValue],
    emit: Callable[[Event], None],
) -> None:
    """Publish one staged job; `receipt` is what the caller adds to its receipt (versions, policy).

    Raises `EquipmentError` where outbound or the state directory can't be written: the job stays staged.
    """
    staged = job.staged
    if staged is None:
        store.release(job.id, JobState.QUEUED, Reason.STAGED_LOST)
        emit(JobReturned(job.id, job.folder))
        return
    if not _is_linked(ledger, outbound, job, staged):
        lost = _lost(inbound, outbound, job, staged)
        if lost is not None:
            store.release(job.id, lost, _REASONS[lost])
            outbound.remove_staged(staged.name)
            emit(_ended(job, lost))
            return
        adopted = _adopted(store, outbound, job, staged)
        if adopted is not None:
            store.intend(job.id, adopted)
        while adopted is None:
            name = outbound.free_name(staged.target, staged.name)
            store.intend(job.id, name)
            if outbound.publish(staged.name, name):
                break
    times = store.times_of(job.id)
    told = {**receipt, **published_receipt(job.folder, staged, wall_clock())}
    end = ledger.append(job.id, {**told, "source_bytes": job.stamp.size, "attempts": job.attempts, **times})
    for before in store.copies_replaced_by(job):
        emit(_withdraw(store, ledger, outbound, before, job))
    store.publish(job.id, end)
    outbound.remove_staged(staged.name)
    emit(JobPublished(job.id, job.folder))


def _withdraw(store: JobStore, ledger: Ledger, outbound: OutboundFolder, before: Job, job: Job) -> JobWithdrawn:
    """Take away the copy of an earlier job, which `job` replaces."""
    copy = before.staged
    if copy is None:
        raise AssertionError("the store names copies only")
    name = before.published  # None where it was erased, and can't be told from its file's
    gone = name is not None and store.is_name_taken_over(before)
    removed = gone or (name is not None and outbound.withdraw(name, copy.sha256, withdrawn_name(before.id)))
    sidecar = store.sidecar(before.id)
    if name is not None and sidecar is not None:
        outbound.withdraw(sidecar_path(name), sidecar, withdrawn_name(before.id))
    values: dict[str, ReceiptValue] = {
        "folder": before.folder,
        "output_sha256": copy.sha256,
        "removed": removed,
        "replaced_by": job.id,
        "withdrawn_at": wall_clock(),
    }
    ledger.append(before.id, values, WITHDRAWN)
    store.withdraw(before.id)
    return JobWithdrawn(before.id, before.folder, job.id, removed)


_REASONS = {
    JobState.QUEUED: Reason.STAGED_LOST,
    JobState.VANISHED: Reason.SOURCE_VANISHED,
    JobState.SUPERSEDED: Reason.SOURCE_CHANGED,
}


def _adopted(store: JobStore, outbound: OutboundFolder, job: Job, staged: StagedCopy) -> str | None:
    """The name under which this very content lies in outbound though no job says so."""
    found = outbound.copies(staged.target, staged.size, staged.sha256)
    return next((name for name in found if not store.is_name_owned(job, name)), None)


def _is_linked(ledger: Ledger, outbound: OutboundFolder, job: Job, staged: StagedCopy) -> bool:
    """True where an earlier run linked this copy to the name it wrote down, and was cut off after that.

    Where it even wrote the receipt, people may have taken the copy away since.
    """
    if job.published is None:
        return False
    if ledger.has(job.id):
        return True
    if outbound.is_published(staged.name, job.published):
        return True
    with_staged = outbound.open_staged(staged.name)
    if with_staged is not None:
        with_staged.close()
        return False
    found = outbound.open_published(job.published)
    if found is None:
        return False
    with found:
        return sha256_of(found) == staged.sha256


def _lost(inbound: InboundFolder, outbound: OutboundFolder, job: Job, staged: StagedCopy) -> JobState | None:
    """Where the job goes instead of being published; None where all is well."""
    status = inbound.status(job.path)
    if status is None:
        return JobState.VANISHED
    if not stamp_of(status).same_content(job.stamp):
        return JobState.SUPERSEDED
    if not same_regions(inbound.regions_stamp(job.path), job.regions):
        return JobState.SUPERSEDED
    file = outbound.open_staged(staged.name)
    if file is None:
        return JobState.QUEUED
    file.close()
    return None


def _ended(job: Job, state: JobState) -> Event:
    if state is JobState.QUEUED:
        return JobReturned(job.id, job.folder)
    return JobVanished(job.id, job.folder, _REASONS[state])
