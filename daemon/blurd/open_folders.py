"""Which folders a worker claims from now, in which order, and up to which size: the right ones, answering, with room.

Invariants
* A folder works in its hours alone; those that do are asked in the order of `core/turns.py`.
* A folder that is missing, strange, full or not answering is left alone for a while, the longer the longer nothing gets
  through; no other folder waits for it.
* A file whose copy turned out not to fit holds back those of its size and above alone.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blurd.adapters.folders import OutboundFolder
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.media import kind_of
from blurd.adapters.probe import ANSWER_PATIENCE_S, FolderProbe
from blurd.adapters.sandbox import FolderView, staging_view
from blurd.adapters.wall_time import works_now
from blurd.config import FolderSettings
from blurd.core.space import expected_bytes, largest_source_bytes
from blurd.core.turns import Turns
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, Job

FOLDER_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
TOO_LARGE_PAUSE_S = 10.0
MORE_ROOM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _TooLarge:
    """A source that did not fit: its size, the room there was, and until when its like are left alone."""

    size: int
    room: int
    until_s: float


class OpenFolders:
    """The folders of one worker; `views` is what a sandboxed one sees of each, empty for one without a sandbox."""

    def __init__(
        self, state_directory: Path, folders: Sequence[FolderSettings], views: Mapping[FolderName, FolderView]
    ) -> None:
        self._state_directory = state_directory
        self._views = views
        self._guards = {folder.key: self._guard(folder) for folder in folders}
        self._probes = {folder.key: FolderProbe(f"probe-{folder.name}", self._look(folder)) for folder in folders}
        self._paused_until: dict[FolderName, float] = {}
        self._pauses: dict[FolderName, float] = {}
        self._last_rooms: Mapping[FolderName, int] = {}
        self._too_large: dict[FolderName, _TooLarge] = {}
        self._hours = {folder.key: folder.open_hours for folder in folders}
        lots = {folder.key: random.random() for folder in folders}  # noqa: S311  spreads turns, guards nothing
        self._turns = Turns({folder.key: folder.priority for folder in folders}, lots)

    def guard(self, name: FolderName) -> KnownFolders:
        """What opens the two folders, if they are the ones known."""
        return self._guards[name]

    def largest_sources(self) -> Mapping[FolderName, int]:
        """The size in bytes of the largest source to claim, for each folder that can be served now, in their turn.

        Raises `ViewOutdated` where the process must end for a fresh view of one.
        """
        rooms = self._last_rooms = self._rooms()
        return {name: self._largest_source(name, rooms[name]) for name in self._turns.order(rooms)}

    @contextmanager
    def turn(self, name: FolderName) -> Iterator[None]:
        """The work on a job of the folder: it is the folder's turn, as long as it takes."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self._turns.worked(name, time.monotonic() - started_s)

    def hold_back(self, job: Job, reason: Reason) -> None:
        """Leave the folder, or only its files of this size and above, alone; ever longer while nothing gets through."""
        now_s = time.monotonic()
        if reason in (Reason.OUTBOUND_SHORT, Reason.OUTBOUND_FULL):
            room = self._last_rooms.get(job.folder, 0)
            self._too_large[job.folder] = _TooLarge(job.stamp.size, room, now_s + TOO_LARGE_PAUSE_S)
        if reason is not Reason.OUTBOUND_SHORT:
            pause_s = self._pauses.get(job.folder, FOLDER_PAUSE_S)
            self._paused_until[job.folder] = now_s + pause_s
            self._pauses[job.folder] = min(2 * pause_s, LONGEST_PAUSE_S)

    def got_through(self, name: FolderName) -> None:
        """A job of the folder came to an end: the next pause is a short one."""
        self._pauses.pop(name, None)

    def _guard(self, folder: FolderSettings) -> KnownFolders:
        staging = staging_view(folder.key) if folder.key in self._views else None
        state = self._state_directory
        return KnownFolders(state, folder.key, folder.inbound, folder.outbound, adopts=False, staging=staging)

    def _look(self, folder: FolderSettings) -> Callable[[], int]:
        """How a probe's thread asks whether both folders are there and the right ones: room beyond the reserve."""
        guard, view = self._guard(folder), self._views.get(folder.key)

        def look() -> int:
            if view is not None:
                view.need_current()
            with guard.open_inbound(), guard.open_outbound() as outbound:
                return outbound.free_bytes() - folder.reserve_bytes

        return look

    def _rooms(self) -> dict[FolderName, int]:
        """Room in the folders that can be served now; the others are left alone for a while, and hold up nobody."""
        now_s = time.monotonic()
        rooms: dict[FolderName, int] = {}
        for name, probe in self._probes.items():
            if self._paused_until.get(name, 0.0) > now_s or not works_now(self._hours[name]):
                continue
            room = probe.room(ANSWER_PATIENCE_S)
            if room is None or room < 0:
                self._paused_until[name] = now_s + FOLDER_PAUSE_S
            else:
                rooms[name] = room
        return rooms

    def _largest_source(self, name: FolderName, room: int) -> int:
        """The largest source to claim: what may fit, and for a while less than one that turned out not to."""
        largest = largest_source_bytes(room)
        tried = self._too_large.get(name)
        if tried is None or time.monotonic() > tried.until_s or room > tried.room + MORE_ROOM_BYTES:
            return largest
        return min(largest, tried.size - 1)


def need_room(outbound: OutboundFolder, folder: FolderSettings, job: Job, source: BinaryIO) -> None:
    """Raises OUTBOUND_SHORT where the copy may not fit."""
    if expected_bytes(kind_of(source), job.stamp.size) > outbound.free_bytes() - folder.reserve_bytes:
        raise EquipmentError(Reason.OUTBOUND_SHORT, "check room")
