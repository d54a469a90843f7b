"""Rebuild: see to it, before anything else, that the queue is whole and no older than its receipts.

What is published already must never be published again, so the ledger has the last word: a queue that never gave the
numbers which the newest receipts name (it was lost, or an old backup was put back), or that thinks their jobs are still
to be done (its log was lost), is set aside like a damaged one and begun anew. So is one that can't tell any more which
files it knows, for their names were erased and the key to their digests is lost.

How a file is recognised then: the worker hashes it, as it always does first, and finds the receipt by the hash of
content and path (`source_id`). `watch` hashes nothing. People may have taken the copy away; the receipt suffices.
"""

from collections.abc import Iterable
from pathlib import Path

from blurd.adapters.ledger import PUBLISHED, Ledger
from blurd.adapters.queue_file import is_damaged, last_job, set_aside
from blurd.adapters.store import SqliteJobStore
from blurd.events import QueueSetAside
from blurd.records import FolderName


def rebuild_if_needed(queue: Path, ledger: Ledger, folders: Iterable[FolderName]) -> QueueSetAside | None:
    """Check the queue; begin a new one where that is needed, and tell of it.

    The caller holds the state directory. Raises `EquipmentError` where the queue can't be read or written at all, or
    is of a newer version.
    """
    if not is_damaged(queue) and not _is_behind(queue, ledger):
        return None
    last = last_job(queue)
    kept = set_aside(queue) if queue.exists() else 0
    store = SqliteJobStore(queue)
    try:
        receipts = store.begin(ledger.read(), last, folders, kept)
    finally:
        store.close()
    return QueueSetAside(kept, receipts)


def _is_behind(queue: Path, ledger: Ledger) -> bool:
    published = [receipt["job"] for receipt in ledger.newest() if receipt["event"] == PUBLISHED]
    if not queue.exists():
        return bool(published)
    store = SqliteJobStore(queue)
    try:
        return store.contradicts(published) or not store.knows_its_names()
    finally:
        store.close()
