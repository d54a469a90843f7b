"""Receipts of files that got no copy, and receipts beside copies. What `watch` does besides publishing.

Each step repeatable after a cut at any point
* A rejection or a failure is written into the ledger, then it is no longer owed.
* A receipt beside a copy (`NAME.receipt.json`) is staged, linked, then its hash is written down. It has the bytes that
  the ledger's line gives, so one that lies there already is recognised.

Invariants
* Nothing is overwritten: where another file has the name, no receipt is put there; the ledger has it all the same. An
  older receipt of our own, whose copy was fetched, makes room.
* A copy that was fetched meanwhile gets none.
"""

import hashlib

from blurd.adapters.folders import OutboundFolder
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.core.naming import sidecar_path, staged_name, withdrawn_name
from blurd.core.receipts import sidecar_text
from blurd.records import FolderName, Job

SLICE = 100
_NO_ATTEMPT = 0
"""No attempt at a file has this number, so no copy is ever staged under a receipt's name."""


def write_outcomes(store: SqliteJobStore, ledger: Ledger, version: str) -> None:
    """Write the receipts that rejected and failed jobs owe. Raises where the state directory can't be written."""
    for outcome in store.outcomes(SLICE):
        end = ledger.append(outcome.job, {"version": version, **outcome.values}, outcome.event)
        store.settle_outcome(outcome, end)


def put_sidecars(
    store: SqliteJobStore, ledger: Ledger, outbound: OutboundFolder, folder: FolderName, mode: int
) -> None:
    """Put the receipts beside the copies that are to have one. Raises as writing outbound does: they stay owed."""
    for job in store.sidecars_owed(folder, SLICE):
        store.settle_sidecar(job.id, _put(store, ledger, outbound, job, mode))


def _put(store: SqliteJobStore, ledger: Ledger, outbound: OutboundFolder, job: Job, mode: int) -> str | None:
    """The hash of the receipt that lies beside the copy now; None where there is to be none."""
    receipt = ledger.find(job.id)
    if receipt is None or job.published is None or not outbound.is_taken(job.published):
        return None
    content, target = sidecar_text(receipt), sidecar_path(job.published)
    sha256 = hashlib.sha256(content).hexdigest()
    if outbound.is_content(target, sha256):
        return sha256
    for earlier, stale in store.sidecars_at(job.folder, job.published):
        outbound.withdraw(target, stale, withdrawn_name(earlier))
        store.settle_sidecar(earlier, None)
    staged = staged_name(job.id, _NO_ATTEMPT)
    with outbound.staged(staged, mode) as file:
        file.write(content)
    done = outbound.publish(staged, target)
    outbound.remove_staged(staged)
    return sha256 if done else None
