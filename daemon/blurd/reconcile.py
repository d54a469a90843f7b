"""`blurd reconcile`: account for every file. Walks inbound, outbound and the queue, and changes nothing.

Every file below inbound, but for those with temporary names, is counted once: published, rejected, failed, ignored, or
waiting (it settles, is queued, runs, waits for its next attempt or for publication, or its folder is paused). What is
left is unaccounted for, and so is a copy that is not what its receipt says.

Invariants
* The queue is opened for reading alone, and read in slices, so that nobody waits for this command.
* What moves while it is looked at is no fault: whatever seems unaccounted for, or left over in staging, is looked at
  again for as long as the watcher needs for a scan, before it is said.
* A copy whose name the queue has erased is found by the name's digest; a note at the share is one of ours.
* A copy that is gone from outbound was fetched by people, and a file there that blurd did not make is theirs: both are
  counted and are no fault.
* Receipts beside copies and markers of batches are ours, and what retention keeps below inbound is no file of a folder.
"""

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from blurd.adapters.files import sha256_of, stamp_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.host import is_alive
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.tree import sizes_below
from blurd.config import FolderSettings, Settings
from blurd.core.lifecycle import UNFINISHED
from blurd.core.naming import STAGING_FOLDER, parse_staged_name, sidecar_path
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.events import Part
from blurd.records import FolderCondition, Job, JobId, JobState
from blurd.stages.settle import walk

SLICE = 1000
LOOK_S = 0.5
AFTER_SCAN_S = 10.0
"""How much longer than the time between two scans something may stay unexplained."""

_STATES = {
    JobState.QUEUED: "queued",
    JobState.CLAIMED: "running",
    JobState.DEFERRED: "retrying",
    JobState.STAGED: "staged",
    JobState.PUBLISHED: "published",
    JobState.REJECTED: "rejected",
    JobState.FAILED: "failed",
    JobState.IGNORED: "ignored",
}
_WAITING = ("settling", "queued", "running", "retrying", "staged", "paused")
_FOUND = (*_WAITING, "published", "rejected", "failed", "ignored")


@dataclass
class Account:
    """What was found in one folder. Lists hold paths, for the terminal alone."""

    paused: Reason | None = None
    files: Counter[str] = field(default_factory=Counter)
    unaccounted: list[str] = field(default_factory=list)
    copies: int = 0
    taken: int = 0
    differing: list[str] = field(default_factory=list)
    notes: int = 0
    sidecars: int = 0
    markers: int = 0
    foreign: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    watched: bool = False

    @property
    def is_sound(self) -> bool:
        """True where everything is accounted for; left-overs in staging are a fault only while somebody clears them."""
        return not self.unaccounted and not self.differing and not (self.watched and self.orphans)

    def as_json(self) -> dict[str, Any]:
        """Counts alone."""
        return {
            "files": self.files.total() + len(self.unaccounted),
            "waiting": sum(self.files[state] for state in _WAITING),
            **{state: self.files[state] for state in _FOUND},
            "unaccounted": len(self.unaccounted),
            "pause": self.paused,
            "copies": self.copies,
            "copies_taken": self.taken,
            "copies_differing": len(self.differing),
            "notes": self.notes,
            "receipts_beside": self.sidecars,
            "batch_markers": self.markers,
            "foreign": len(self.foreign),
            "staging_orphans": len(self.orphans),
        }


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The accounts of all folders, and unfinished jobs of folders that the settings don't name any more."""

    folders: dict[str, Account]
    stranded: dict[str, int]

    @property
    def is_sound(self) -> bool:
        """True where nothing is unaccounted for."""
        return not self.stranded and all(account.is_sound for account in self.folders.values())

    def as_json(self) -> dict[str, Any]:
        """Counts alone, no names."""
        return {
            "sound": self.is_sound,
            "folders": {name: account.as_json() for name, account in self.folders.items()},
            "stranded": self.stranded,
        }


def reconcile(settings: Settings, *, hashes: bool) -> Reconciliation:
    """Account for everything; with `hashes` the content of every copy is compared with its receipt too."""
    store = SqliteJobStore(settings.queue_path, read_only=True)
    try:
        folders = {folder.name: _Books(settings, folder, store, hashes=hashes).close() for folder in settings.folder}
        named = {folder.key for folder in settings.folder}
        counts = store.overview().counts
        stranded = {
            str(name): left
            for name, states in counts.items()
            if name not in named and (left := sum(states.get(state, 0) for state in UNFINISHED))
        }
    finally:
        store.close()
    return Reconciliation(folders, stranded)


class _Books:
    """One folder's account while it is drawn up."""

    def __init__(self, settings: Settings, folder: FolderSettings, store: SqliteJobStore, *, hashes: bool) -> None:
        self._settings, self._folder, self._store, self._hashes = settings, folder, store, hashes
        state = settings.state.directory
        self._guard = KnownFolders(state, folder.key, folder.inbound, folder.outbound, adopts=False)
        self._account = Account()
        self._pending: set[str] = set()

    def close(self) -> Account:
        """The finished account."""
        account = self._account
        self._look_at_state()
        try:
            with self._guard.open_inbound() as inbound:
                self._count_files(inbound)
                self._explain(inbound)
        except EquipmentError as error:
            account.paused = account.paused or error.reason
        with suppress(EquipmentError), self._guard.read_outbound() as outbound:
            self._count_copies(outbound)
        return account

    def _look_at_state(self) -> FolderCondition | None:
        """What the watcher last noted of the folder, and whether there is one."""
        overview = self._store.overview()
        account = self._account
        account.watched = any(process.part == Part.WATCH and is_alive(process.worker) for process in overview.processes)
        condition = next((item for item in overview.folders if item.folder == self._folder.key), None)
        account.paused = condition.paused if condition is not None and account.watched else None
        return condition

    # -- inbound ------------------------------------------------------------------------------------------------------

    def _count_files(self, inbound: InboundFolder) -> None:
        temporary = self._settings.watch.temporary_names
        unreadable = self._account.unaccounted.append
        for path, _ in walk(inbound, temporary, unreadable=unreadable):
            if not self._count(inbound, path):
                self._pending.add(path)

    def _count(self, inbound: InboundFolder, path: str) -> bool:
        """Count a file by the state of its job; False where this version of it has none."""
        try:
            status = inbound.status(path)
            if status is None:
                return True  # gone meanwhile
            regions = inbound.regions_stamp(path)
        except BlurdError:
            return False
        if not self._store.is_known(self._folder.key, path, stamp_of(status), regions):
            return False
        job = self._store.latest(self._folder.key, path)
        if job is None or job.state not in _STATES:
            return False
        self._account.files[_STATES[job.state]] += 1
        return True

    def _explain(self, inbound: InboundFolder) -> None:
        """Look again at what has no job, until the watcher must have seen it."""
        account = self._account
        deadline_s = time.monotonic() + self._settings.watch.rescan_s + AFTER_SCAN_S
        while self._pending:
            condition = self._look_at_state()
            if account.paused is not None:
                account.files["paused"] += len(self._pending)
                return
            settling = condition.settling + condition.awaiting_regions if condition and account.watched else 0
            if len(self._pending) <= settling or not account.watched or time.monotonic() > deadline_s:
                break
            time.sleep(LOOK_S)
            self._pending = {path for path in self._pending if not self._count(inbound, path)}
        else:
            return
        explained = min(settling, len(self._pending))
        account.files["settling"] += explained
        if explained < len(self._pending):
            account.unaccounted.extend(sorted(self._pending)[explained:])

    # -- outbound -----------------------------------------------------------------------------------------------------

    def _count_copies(self, outbound: InboundFolder) -> None:
        account = self._account
        lying = set(names_below(outbound))  # first: what is linked was written down before
        notes = lying & self._store.note_paths(self._folder.key)
        markers = lying & {batch.marker_path or "" for batch in self._store.batches(self._folder.key)}
        sidecars = self._store.sidecars(self._folder.key)
        lying -= notes | markers
        account.notes, account.markers = len(notes), len(markers)
        for job in self._jobs_with_copies(self._store.names_lying(self._folder.key, lying)):
            lying.discard(job.published or "")
            if job.id in sidecars and (beside := sidecar_path(job.published or "")) in lying:
                lying.discard(beside)
                account.sidecars += 1
            if job.state is JobState.PUBLISHED:
                self._compare(outbound, job)
        account.foreign.extend(sorted(lying))
        deadline_s = time.monotonic() + self._settings.watch.rescan_s + AFTER_SCAN_S
        account.orphans = self._orphans(outbound)
        while account.orphans and account.watched and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
            account.orphans = self._orphans(outbound)

    def _jobs_with_copies(self, names: Mapping[bytes, str]) -> Iterator[Job]:
        """`names` tells those that the queue has erased, by their digests."""
        last = JobId(0)
        while jobs := self._store.copies(self._folder.key, last, SLICE, names):
            yield from jobs
            last = jobs[-1].id

    def _compare(self, outbound: InboundFolder, job: Job) -> None:
        account, name, copy = self._account, job.published, job.staged
        account.copies += 1
        status = None if name is None else outbound.status(name)
        if name is None or status is None or copy is None:
            account.taken += 1
        elif not stat.S_ISREG(status.st_mode) or status.st_size != copy.size:
            account.differing.append(name)
        elif self._hashes:
            try:
                with outbound.open(name, allow_hard_links=True) as file:
                    if sha256_of(file) != copy.sha256:
                        account.differing.append(name)
            except BlurdError:
                account.differing.append(name)

    def _orphans(self, outbound: InboundFolder) -> list[str]:
        """Staged files that no job owns; listed before the queue is asked."""
        try:
            owners = {name: parse_staged_name(name) for name, _ in outbound.entries(STAGING_FOLDER)}
        except OSError:
            return []
        kept = self._store.open_attempts(self._folder.key)
        return sorted(name for name, owner in owners.items() if owner is not None and owner not in kept)


def names_below(outbound: InboundFolder) -> Iterator[str]:
    """The path of every file below outbound, staging left out."""
    return (path for path, _ in sizes_below(outbound))


def print_reconciliation(
    console: Console, found: Reconciliation, printable: Callable[[str], str], *, names: bool
) -> None:
    """For a person; with `names` what is not in order is listed by its path."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("folder")
    titles = ("files", "published", "rejected", "failed", "ignored", "waiting", "unaccounted")
    for title in titles:
        table.add_column(title, justify="right")
    notes: list[Text] = []
    for name, account in found.folders.items():
        counts = account.as_json()
        table.add_row(name, *(str(counts[title]) for title in titles))
        notes.extend(Text(f"{name}: {note}") for note in _notes(account, counts))
        if names:
            notes.extend(
                Text(f"  {kind}: {printable(path)}")
                for kind, paths in (
                    ("unaccounted", account.unaccounted),
                    ("differs", account.differing),
                    ("foreign", account.foreign),
                    ("left in staging", account.orphans),
                )
                for path in paths
            )
    for name, number in found.stranded.items():
        notes.append(Text(f"{number} unfinished jobs of folder {name}, which the settings do not name."))
    verdict = "every file is accounted for" if found.is_sound else "NOT everything is accounted for"
    console.print(Group(table, *notes, Text(verdict)), soft_wrap=True)


def _notes(account: Account, counts: dict[str, Any]) -> Iterator[str]:
    waiting = ", ".join(f"{counts[state]} {state}" for state in _WAITING if counts[state])
    if waiting:
        yield f"waiting: {waiting}"
    if account.paused is not None:
        yield f"paused ({account.paused})"
    if account.unaccounted and not account.watched:
        yield "no watcher runs: start blurd, and look again"
    yield f"{account.copies} copies published, {account.taken} of them no longer in outbound"
    if account.notes:
        yield f"{account.notes} notes about rejected or failed files in outbound"
    if account.sidecars:
        yield f"{account.sidecars} receipts beside copies"
    if account.markers:
        yield f"{account.markers} markers of complete batches"
    if account.differing:
        yield f"{len(account.differing)} copies are not what was published"
    if account.foreign:
        yield f"{len(account.foreign)} files in outbound that blurd did not put there"
    if account.orphans:
        yield f"{len(account.orphans)} files left in staging" + (
            "" if account.watched else "; removed at the next start"
        )
