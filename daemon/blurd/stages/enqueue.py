"""Enqueue: give every settled file its job, in slices of one transaction each.

Invariant: should the transaction fail, nothing is lost: the files have no job, so the next scan finds them anew.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from blurd.events import Event, FileRefused, JobQueued
from blurd.ports import JobStore
from blurd.records import FolderName, FoundFile

SLICE = 500


def enqueue(store: JobStore, folder: FolderName, found: Iterable[FoundFile], emit: Callable[[Event], None]) -> int:
    """Queue all files found; returns how many jobs were made."""
    made = 0
    remaining = iter(found)
    while files := tuple(islice(remaining, SLICE)):
        for job, file in store.enqueue(folder, files):
            made += 1
            emit(JobQueued(job, folder) if file.refusal is None else FileRefused(job, folder, file.refusal))
    return made
