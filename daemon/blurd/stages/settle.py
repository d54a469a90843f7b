"""Settle: find inbound files and decide which are complete. Reads structure, never decodes.

Invariants
* Only regular files, reached through no link, are ever opened; everything else is refused with a reason, unopened.
* A file that has a job for its very version costs one look-up and nothing more.
* What is held in memory is one small value a file that is still settling; a file with a job is forgotten.
* The looks that are due stand in a heap: what one file costs does not grow with the number of those that settle.
* Depth is bounded by `MAX_DEPTH`; what lies deeper is refused with NAME_TOO_LONG, not skipped in silence.
* Only a whole file whose content and name are those of no medium, and that has no regions, is ignored.
* A file's own regions settle with it and are never a file to treat; without their file they are left alone.
* The folder's own marker is no file to treat, and what retention keeps below inbound is none either.
* `beat` is called for every file looked at, so that a long scan is told from one that hangs.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from blurd.adapters.files import FileReader, fully_allocated, stamp_of, writer_gone
from blurd.adapters.folders import InboundFolder
from blurd.adapters.regions import is_cut_off, open_regions
from blurd.core.containers import Completeness, completeness, identify
from blurd.core.naming import (
    INBOUND_MARKER,
    ORIGINALS_FOLDER,
    fits,
    is_note,
    is_regions,
    is_temporary,
    medium_of,
    promises_medium,
)
from blurd.core.settling import Evidence, SettleRule, Sighting, Step, incomplete_reason, judge, sight
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.ports import JobStore
from blurd.records import FileStamp, FolderName, FoundFile

MAX_DEPTH = 64
_OWN = frozenset({INBOUND_MARKER, ORIGINALS_FOLDER})
"""Our own below inbound: never looked at, whatever the temporary names are."""


class Settler:
    """Follows the files of one inbound folder until each has a job. One thread."""

    def __init__(
        self,
        folder: FolderName,
        rule: SettleRule,
        temporary: Sequence[str],
        store: JobStore,
        *,
        hard_links: bool,
        regions_required: bool = False,
        others_ignored: bool = True,
    ) -> None:
        self._folder = folder
        self._rule = rule
        self._temporary = temporary
        self._store = store
        self._hard_links = hard_links
        self._regions_required = regions_required
        self._others_ignored = others_ignored
        self.beat: Callable[[], None] = _nothing
        self._unreadable = 0
        self._seen: dict[str, Sighting] = {}
        self._looks: list[tuple[float, str]] = []
        self._awaiting: dict[str, FileStamp] = {}

    @property
    def settling(self) -> int:
        """Files that are not complete yet."""
        return len(self._seen)

    def pending(self) -> Collection[str]:
        """The files that are not complete yet, or wait for regions."""
        return self._seen.keys() | self._awaiting.keys()

    @property
    def awaiting_regions(self) -> int:
        """Files that wait for regions which the folder requires."""
        return len(self._awaiting)

    @property
    def unreadable(self) -> int:
        """Folders below inbound that could not be read since the last scan began."""
        return self._unreadable

    def next_look_s(self) -> float | None:
        """When the next settling file is due for a look, on the monotonic clock."""
        return self._looks[0][0] if self._looks else None

    def scan(self, inbound: InboundFolder, now_s: float) -> Iterator[FoundFile]:
        """Look at the whole tree; forget settling files that are gone."""
        present: set[str] = set()
        self._unreadable = 0
        for path, status in walk(inbound, self._temporary, unreadable=self._count_unreadable):
            present.add(path)
            yield from self._look(inbound, path, status, now_s)
        for path in (self._seen.keys() | self._awaiting.keys()) - present:
            self._forget(path)

    def look_at(self, inbound: InboundFolder, paths: Iterable[str], now_s: float) -> Iterator[FoundFile]:
        """Look at certain files, and at everything below certain folders."""
        for path in dict.fromkeys(map(medium_of, paths)):
            parts = path.split("/")
            status = self._status(inbound, path)
            if status is None:
                self._forget(path)
            elif parts[0] in _OWN or any(is_temporary(part, self._temporary) for part in parts):
                continue
            elif stat.S_ISDIR(status.st_mode):
                for below, below_status in walk(inbound, self._temporary, path, len(parts), self._count_unreadable):
                    yield from self._look(inbound, below, below_status, now_s)
            else:
                yield from self._look(inbound, path, status, now_s)

    def _status(self, inbound: InboundFolder, path: str) -> os.stat_result | None:
        """What lies at the path; None also where a folder above may not be entered, which the scan counts."""
        try:
            return inbound.status(path)
        except EquipmentError as error:
            if error.reason is Reason.NO_PERMISSION:
                return None
            raise

    def _count_unreadable(self, _path: str) -> None:
        self._unreadable += 1

    def look_at_due(self, inbound: InboundFolder, now_s: float) -> Iterator[FoundFile]:
        """Look at the settling files whose time has come."""
        for path in self._take_due(now_s):
            yield from self.look_at(inbound, (path,), now_s)
            seen = self._seen.get(path)
            if seen is not None and seen.look_again_s <= now_s:
                heappush(self._looks, (seen.look_again_s, path))

    def _take_due(self, now_s: float) -> tuple[str, ...]:
        """The settling files whose time has come, taken off the queue of looks."""
        due: dict[str, None] = {}
        while self._looks and self._looks[0][0] <= now_s:
            time_s, path = heappop(self._looks)
            seen = self._seen.get(path)
            if seen is not None and seen.look_again_s == time_s:  # else it was seen, or forgotten, meanwhile
                due[path] = None
        return tuple(due)

    def _note(self, path: str, sighting: Sighting) -> None:
        before = self._seen.get(path)
        self._seen[path] = sighting
        if before is None or before.look_again_s != sighting.look_again_s:
            heappush(self._looks, (sighting.look_again_s, path))

    def _look(self, inbound: InboundFolder, path: str, status: os.stat_result, now_s: float) -> Iterator[FoundFile]:
        self.beat()
        stamp, regions = stamp_of(status), inbound.regions_stamp(path)
        if self._store.is_known(self._folder, path, stamp, regions):
            self._forget(path)
            return
        awaited = self._regions_required and regions is None
        if awaited and (not self._may_be_other(path, regions) or self._awaiting.get(path) == stamp):
            self._await_regions(path, stamp)
            return
        self._awaiting.pop(path, None)
        sighting, step = sight(self._seen.get(path), stamp, now_s, self._rule, regions)
        self._note(path, sighting)
        if step is Step.WAIT:
            return
        refusal = self._refusal(path, status)
        if refusal is None:
            step, refusal = self._judge(inbound, path, regions, now_s)
        if step is Step.WAIT:
            return
        if awaited and refusal is None:
            self._await_regions(path, stamp)
            return
        self._seen.pop(path, None)
        yield FoundFile(path, stamp, refusal, regions)

    def _judge(
        self, inbound: InboundFolder, path: str, regions: FileStamp | None, now_s: float
    ) -> tuple[Step, Reason | None]:
        """What a look into the file says: wait, or take it, refused with a reason or not."""
        try:
            look = self._look_inside(inbound, path, regions)
        except BlurdError as error:
            if error.reason in (Reason.SOURCE_VANISHED, Reason.SOURCE_CHANGED):
                del self._seen[path]
                return Step.WAIT, None
            # Anything else is for the worker to meet: it counts attempts and says why.
            look = _Look(Evidence(None, None, Completeness.UNDETERMINED))
        sighting, step = judge(self._seen[path], look.evidence, now_s, self._rule)
        self._note(path, sighting)
        if not look.known and self._may_be_other(path, regions):
            return step, Reason.NOT_MEDIA
        if step is Step.INCOMPLETE:
            return step, Reason.REGIONS_INVALID if look.regions_cut_off else incomplete_reason(self._seen[path].stamp)
        return step, None

    def _may_be_other(self, path: str, regions: FileStamp | None) -> bool:
        """Whether the file is to be ignored should its content be unknown; a note of another blurd always is."""
        return (self._others_ignored or is_note(path)) and regions is None and not promises_medium(path)

    def _await_regions(self, path: str, stamp: FileStamp) -> None:
        self._seen.pop(path, None)
        self._awaiting[path] = stamp

    def _forget(self, path: str) -> None:
        self._seen.pop(path, None)
        self._awaiting.pop(path, None)

    def _refusal(self, path: str, status: os.stat_result) -> Reason | None:
        if stat.S_ISLNK(status.st_mode):
            return Reason.SYMBOLIC_LINK
        if stat.S_ISDIR(status.st_mode) or not fits(path):
            return Reason.NAME_TOO_LONG
        if not stat.S_ISREG(status.st_mode):
            return Reason.NOT_REGULAR
        if status.st_nlink > 1 and not self._hard_links:
            return Reason.HARD_LINKED
        return None

    def _look_inside(self, inbound: InboundFolder, path: str, regions: FileStamp | None) -> "_Look":
        """What a look into the file and into its regions gives."""
        with inbound.open(path, allow_hard_links=self._hard_links) as file:
            reader = FileReader(file)
            found = Evidence(
                writer_gone=writer_gone(file),
                fully_allocated=fully_allocated(file),
                container=completeness(reader),
            )
            known = identify(reader) is not None
        if regions is None or found.container is Completeness.INCOMPLETE or found.writer_gone is False:
            return _Look(found, known)
        with open_regions(inbound, path, allow_hard_links=self._hard_links) as file:
            if writer_gone(file) is False:
                return _Look(replace(found, writer_gone=False), known)
            cut_off = is_cut_off(file)
        return _Look(replace(found, container=Completeness.INCOMPLETE) if cut_off else found, known, cut_off)


def walk(
    inbound: InboundFolder,
    temporary: Sequence[str],
    path: str = "",
    depth: int = 0,
    unreadable: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, os.stat_result]]:
    """All that lies below a folder and is to have a job in the end, with its status; what is too deep as the folder.

    Calls `unreadable` with folders that are there and can't be read.
    """
    folders: list[tuple[str, os.stat_result]] = []
    try:
        for name, status in inbound.entries(path):
            below = f"{path}/{name}" if path else name
            if below in _OWN or is_temporary(name, temporary):
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append((below, status))
            elif not is_regions(name):
                yield below, status
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # what can't be read must not pass for empty
            unreadable(path)
        return  # the next scan looks again
    for below, status in folders:
        if depth + 1 < MAX_DEPTH:
            yield from walk(inbound, temporary, below, depth + 1, unreadable)
        else:
            yield below, status


@dataclass(frozen=True, slots=True)
class _Look:
    """A look into a file: whether its format is known, and whether it is its regions that are cut off."""

    evidence: Evidence
    known: bool = True
    regions_cut_off: bool = False


def _nothing() -> None:
    """Nobody wants to know."""
