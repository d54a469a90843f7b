"""A process's view of the folders under its unit, and how it notices that it is out of date.

A worker's unit makes everything read-only, inbound and outbound too, and binds the staging folder of each outbound to
`STAGING_VIEWS/NAME`, which alone is writable (`blurd setup-units`). Bound there and not in its own place, because a
mount below a share keeps the share, in the worker's view, when it is unmounted and mounted anew.

A share that is mounted after the worker's start does arrive in its view, but as it was mounted: writable. One that is
unmounted leaves the view, but not the staging folder that was bound. Neither can be mended from inside: the process
must end and be started again.

The watcher's unit makes everything read-only but the folders that are there when it starts (or the places above their
shares). A plain folder that is made later, or made anew, can't be written by it: the same helps.

Invariants
* A view in which inbound or outbound could be written is never worked with.
* Where a fresh view would show the same, the process does not end for it again and again: one that found the staging
  folder elsewhere at its start lives for `PATIENCE_S`, serving other folders meanwhile.
"""

import os
import time
from pathlib import Path

from blurd.adapters.mount_table import mounts
from blurd.core.naming import STAGING_FOLDER
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, ViewFault

STAGING_VIEWS = Path("/run/blurd/staging")
"""Where `blurd-work@.service.d/folders.conf` binds the staging folders, each under its folder's name."""
PATIENCE_S = 60.0

_Identity = tuple[int, int]


def staging_view(name: FolderName) -> Path:
    """Where a sandboxed worker finds the staging folder of this folder's outbound."""
    return STAGING_VIEWS / name


class ViewOutdated(Exception):  # noqa: N818  not an error: a share was mounted
    """The process must end for a fresh view of a folder."""

    def __init__(self, folder: FolderName, fault: ViewFault) -> None:
        super().__init__(folder, fault)
        self.folder, self.fault = folder, fault


class FolderView:
    """What a worker sees of one pair of folders. Made when the process starts; asking may hang where a share does."""

    def __init__(self, name: FolderName, inbound: Path, outbound: Path) -> None:
        self._name, self._inbound, self._outbound, self._staging = name, inbound, outbound, staging_view(name)
        self._made_s = time.monotonic()
        self._first: list[_Identity | None] = []

    def need_current(self) -> None:
        """Raises `ViewOutdated`, or OUTBOUND_READ_ONLY where no copy can be staged and a fresh view would not help."""
        fault = self.fault()
        if fault is not None:
            raise ViewOutdated(self._name, fault)
        if not self.is_usable():
            raise EquipmentError(Reason.OUTBOUND_READ_ONLY, "look at staging")

    def look(self) -> int:
        """The same, as a probe asks it: there is no room to tell of."""
        self.need_current()
        return 0

    def fault(self) -> ViewFault | None:
        """Why the process must end for a fresh view; None where it need not."""
        if _is_exposed(self._inbound):
            return ViewFault.INBOUND_WRITABLE
        if _is_exposed(self._outbound):
            return ViewFault.OUTBOUND_WRITABLE
        there = _identity(self._outbound / STAGING_FOLDER)
        if not self._first:
            self._first.append(there)
        if there is None or there == _identity(self._staging):
            return None
        changed = there != self._first[0]
        return ViewFault.STAGING_ELSEWHERE if changed or time.monotonic() - self._made_s > PATIENCE_S else None

    def is_usable(self) -> bool:
        """True where copies can be staged: the staging folder is the one in outbound, and on a mount for writing."""
        there = _identity(self._outbound / STAGING_FOLDER)
        return there is not None and there == _identity(self._staging) and _is_writable(self._staging)


def is_closed_by_view(folder: Path) -> bool:
    """True where the folder is there and can't be written for its mount alone, while its file system would take it.

    That is what a sandbox makes; what a person mounts read-only at a place of its own looks the same.
    """
    place = Path(os.path.realpath(folder))
    if not place.is_dir():
        return False
    above = [
        mount for mount in reversed(mounts()) if place.is_relative_to(mount.point)
    ]  # the upper one of a place first
    holder = max(above, key=lambda mount: len(mount.point.parts), default=None)
    return holder is not None and holder.is_closed


def _is_exposed(folder: Path) -> bool:
    """True where the folder, or something that is mounted below it, could be written."""
    if _is_writable(folder):
        return True
    place = Path(os.path.realpath(folder))
    return any(mount.point.is_relative_to(place) and not mount.read_only for mount in mounts() if mount.point != place)


def _is_writable(path: Path) -> bool:
    """True where the path is there and its mount is not read-only."""
    try:
        return not os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino
