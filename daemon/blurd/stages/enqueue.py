"""Enqueue: give every settled file its job, in slices of one transaction each.

Invariant: should the transaction fail, nothing is lost: the files have no job, so the next scan finds them anew.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from blurd.events import Event, FileIgnored, FileRefused, JobQueued
from blurd.ports import JobStore
from blurd.records import FolderName, FoundFile, JobId, JobState

SLICE = 500


def enqueue(store: JobStore, folder: FolderName, found: Iterable[FoundFile], emit: Callable[[Event], None]) -> int:
    """Queue all files found; returns how many jobs were made."""
    made = 0
    remaining = iter(found)
    while files := tuple(islice(remaining, SLICE)):
        for job, file in store.enqueue(folder, files):
            made += 1
            emit(_told(job, folder, file))
    return made


def _told(job: JobId, folder: FolderName, file: FoundFile) -> Event:
    if file.refusal is None:
        return JobQueued(job, folder)
    return FileIgnored(job, folder) if file.state is JobState.IGNORED else FileRefused(job, folder, file.refusal)
