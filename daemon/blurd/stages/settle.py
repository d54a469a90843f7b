"""Settle: find inbound files and decide which are complete. Reads structure, never decodes.

Invariants
* Only regular files, reached through no link, are ever opened; everything else is refused with a reason, unopened.
* A file that has a job for its very version costs one look-up and nothing more.
* What is held in memory is one small value a file that is still settling; a file with a job is forgotten.
* Depth is bounded by `MAX_DEPTH`; what lies deeper is refused with NAME_TOO_LONG, not skipped in silence.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from blurd.adapters.files import FileReader, fully_allocated, stamp_of, writer_gone
from blurd.adapters.folders import InboundFolder
from blurd.core.containers import Completeness, completeness
from blurd.core.naming import fits, is_temporary
from blurd.core.settling import Evidence, SettleRule, Sighting, Step, incomplete_reason, judge, sight
from blurd.errors import BlurdError, Reason
from blurd.ports import JobStore
from blurd.records import FolderName, FoundFile

MAX_DEPTH = 64


class Settler:
    """Follows the files of one inbound folder until each has a job. One thread."""

    def __init__(
        self, folder: FolderName, rule: SettleRule, temporary: Sequence[str], store: JobStore, *, hard_links: bool
    ) -> None:
        self._folder = folder
        self._rule = rule
        self._temporary = temporary
        self._store = store
        self._hard_links = hard_links
        self._seen: dict[str, Sighting] = {}

    @property
    def settling(self) -> int:
        """Files that are not complete yet."""
        return len(self._seen)

    def next_look_s(self) -> float | None:
        """When the next settling file is due for a look, on the monotonic clock."""
        return min((sighting.look_again_s for sighting in self._seen.values()), default=None)

    def scan(self, inbound: InboundFolder, now_s: float) -> Iterator[FoundFile]:
        """Look at the whole tree; forget settling files that are gone."""
        present: set[str] = set()
        for path, status in self._walk(inbound, "", 0):
            present.add(path)
            yield from self._look(inbound, path, status, now_s)
        for path in self._seen.keys() - present:
            del self._seen[path]

    def look_at(self, inbound: InboundFolder, paths: Iterable[str], now_s: float) -> Iterator[FoundFile]:
        """Look at certain files, and at everything below certain folders."""
        for path in paths:
            parts = path.split("/")
            status = inbound.status(path)
            if status is None:
                self._seen.pop(path, None)
            elif any(is_temporary(part, self._temporary) for part in parts):
                continue
            elif stat.S_ISDIR(status.st_mode):
                for below, below_status in self._walk(inbound, path, len(parts)):
                    yield from self._look(inbound, below, below_status, now_s)
            else:
                yield from self._look(inbound, path, status, now_s)

    def look_at_due(self, inbound: InboundFolder, now_s: float) -> Iterator[FoundFile]:
        """Look at the settling files whose time has come."""
        due = [path for path, sighting in self._seen.items() if sighting.look_again_s <= now_s]
        return self.look_at(inbound, due, now_s)

    def _walk(self, inbound: InboundFolder, path: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        folders: list[tuple[str, os.stat_result]] = []
        try:
            for name, status in inbound.entries(path):
                if is_temporary(name, self._temporary):
                    continue
                below = f"{path}/{name}" if path else name
                if stat.S_ISDIR(status.st_mode):
                    folders.append((below, status))
                else:
                    yield below, status
        except OSError:
            return  # the folder is gone or can't be read: the next scan looks again
        for below, status in folders:
            if depth + 1 < MAX_DEPTH:
                yield from self._walk(inbound, below, depth + 1)
            else:
                yield below, status

    def _look(self, inbound: InboundFolder, path: str, status: os.stat_result, now_s: float) -> Iterator[FoundFile]:
        stamp = stamp_of(status)
        if self._store.is_known(self._folder, path, stamp):
            self._seen.pop(path, None)
            return
        self._seen[path], step = sight(self._seen.get(path), stamp, now_s, self._rule)
        if step is Step.WAIT:
            return
        refusal = self._refusal(path, status)
        if refusal is None:
            try:
                evidence = self._evidence(inbound, path)
            except BlurdError as error:
                if error.reason is Reason.SOURCE_VANISHED:
                    del self._seen[path]
                    return
                # Anything else is for the worker to meet: it counts attempts and says why.
                evidence = Evidence(writer_gone=None, fully_allocated=None, container=Completeness.UNDETERMINED)
            self._seen[path], step = judge(self._seen[path], evidence, now_s, self._rule)
            if step is Step.WAIT:
                return
            refusal = incomplete_reason(stamp) if step is Step.INCOMPLETE else None
        del self._seen[path]
        yield FoundFile(path, stamp, refusal)

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

    def _evidence(self, inbound: InboundFolder, path: str) -> Evidence:
        with inbound.open(path, allow_hard_links=self._hard_links) as file:
            return Evidence(
                writer_gone=writer_gone(file),
                fully_allocated=fully_allocated(file),
                container=completeness(FileReader(file)),
            )
