"""Proving the ledger: its chain line by line, its end against the queue, and the copies that are still there.

What is a fault, with the number of its line
* a line whose `previous` is not the hash of the line before: something was changed, left out or put in there;
* a line that is no receipt;
* a ledger that ends before where the queue knows that it ended, or has another line there: its end was cut off or
  written anew. Where the queue was begun anew meanwhile, it knows nothing older than its own first receipt;
* a copy in outbound that is not what its receipt says, and a published copy that no receipt tells of.

What is none: copies that are gone (fetched, or taken by retention), jobs that the queue has forgotten, and an
unfinished last line, which is cut off before the next one is written.

Invariant: nothing is changed; the ledger is read once, a line at a time, as far as it went when that began.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurd.adapters.files import sha256_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.tree import sizes_below
from blurd.config import FolderSettings, Settings
from blurd.core.receipts import PUBLISHED, WITHDRAWN, LedgerEnd, digest
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.records import FolderName, Job, JobId, JobState

SLICE = 1000


@dataclass
class Audit:
    """What was found. `faults` are sentences for the terminal; copies are named there by their jobs alone."""

    lines: int = 0
    unfinished: bool = False
    anchored: bool = False
    faults: list[str] = field(default_factory=list)
    copies: int = 0
    gone: int = 0
    not_looked_at: list[FolderName] = field(default_factory=list)
    untold: list[Job] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """True where nothing is wrong."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Counts, and the faults, which have no names."""
        return {
            "sound": self.is_sound,
            "lines": self.lines,
            "unfinished_line": self.unfinished,
            "end_known_to_queue": self.anchored,
            "copies_verified": self.copies,
            "copies_gone": self.gone,
            "folders_not_looked_at": list(self.not_looked_at),
            "faults": self.faults,
        }


def audit(settings: Settings) -> Audit:
    """Prove the ledger and the copies. Raises `EquipmentError` where ledger or queue can't be read at all."""
    found = Audit()
    with closing(SqliteJobStore(settings.queue_path, read_only=True)) as store:
        end = store.ledger_end()  # before the ledger is read: that may only grow meanwhile
        live = _prove_chain(settings.receipts_path, end, found)
        for folder in settings.folder:
            _prove_copies(settings, folder, store, live, found)
    _prove_untold(settings, found)
    return found


def _prove_chain(path: Path, end: LedgerEnd | None, found: Audit) -> set[tuple[str, str]]:
    """Look at every line; folder and hash of each copy that is published and was not withdrawn."""
    live: dict[tuple[str, int], str] = {}
    previous, offset, met = digest(b""), 0, end is None
    for line in _lines(path, found):
        found.lines += 1
        offset += len(line) + 1
        receipt = _parsed(line)
        if receipt is None:
            found.faults.append(f"line {found.lines} is no receipt")
        elif receipt.get("previous") != previous:
            found.faults.append(f"line {found.lines} does not follow from the line before it")
        previous = digest(line)
        if end is not None and offset == end.offset:
            met = True
            if previous != end.sha256:
                found.faults.append(f"line {found.lines} is not the one that the queue knows there")
        if receipt is not None:
            _follow(live, receipt)
    found.anchored = end is not None
    if not met and end is not None:
        where = f"ends at line {found.lines}, before" if offset < end.offset else "has no line that ends at"
        found.faults.append(f"the ledger {where} the end that the queue knows: lines were cut off or written anew")
    return {(folder, output) for (folder, _), output in live.items()}


def _lines(path: Path, found: Audit) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    found.unfinished = True
                    return
                yield line[:-1]
    except FileNotFoundError:
        return
    except OSError as error:
        raise EquipmentError(Reason.STATE_UNUSABLE, "read receipts") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        receipt = json.loads(line)
    except ValueError:
        return None
    return receipt if isinstance(receipt, dict) and isinstance(receipt.get("job"), int) else None


def _follow(live: dict[tuple[str, int], str], receipt: dict[str, Any]) -> None:
    key = str(receipt.get("folder")), receipt["job"]
    event = receipt.get("event", PUBLISHED)
    if event == PUBLISHED:
        live[key] = str(receipt.get("output_sha256"))
    elif event == WITHDRAWN:
        live.pop(key, None)


# -- copies -----------------------------------------------------------------------------------------------------------


def _prove_copies(
    settings: Settings, folder: FolderSettings, store: SqliteJobStore, live: set[tuple[str, str]], found: Audit
) -> None:
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    try:
        with guard.read_outbound() as outbound:
            lying = {path for path, _ in sizes_below(outbound)}
            for job in _published(store, folder.key, lying):
                _prove_copy(store, outbound, job, live, found)
    except EquipmentError:
        found.not_looked_at.append(folder.key)


def _published(store: SqliteJobStore, folder: FolderName, lying: set[str]) -> Iterator[Job]:
    names = store.names_lying(folder, lying)
    last = JobId(0)
    while jobs := store.copies(folder, last, SLICE, names):
        yield from (job for job in jobs if job.state is JobState.PUBLISHED)
        last = jobs[-1].id


def _prove_copy(
    store: SqliteJobStore, outbound: InboundFolder, job: Job, live: set[tuple[str, str]], found: Audit
) -> None:
    copy, name = job.staged, job.published
    if copy is None:
        return
    if (job.folder, copy.sha256) not in live:
        found.untold.append(job)
    if name is None or outbound.status(name) is None:
        found.gone += 1
        return
    found.copies += 1
    try:
        with outbound.open(name, allow_hard_links=True) as file:
            sound = sha256_of(file) == copy.sha256
    except BlurdError:
        sound = False
    if not sound:
        now = store.copy_named(job.folder, name)  # another may have taken its place meanwhile
        if now is not None and now.id == job.id:
            found.faults.append(f"the copy of job {job.id} is not what its receipt says")


def _prove_untold(settings: Settings, found: Audit) -> None:
    """Jobs without a receipt: those that were published while the ledger was read have one by now."""
    if not found.untold:
        return
    told = {
        (str(receipt.get("folder")), str(receipt.get("output_sha256")))
        for receipt in Ledger(settings.receipts_path).read()
    }
    for job in found.untold:
        if job.staged is not None and (job.folder, job.staged.sha256) not in told:
            found.faults.append(f"job {job.id} was published, and no receipt tells of its copy")
