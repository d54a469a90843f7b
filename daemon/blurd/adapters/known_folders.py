"""The mount guard: opens a pair's folders, and only if they are the ones that were served before.

A folder has a marker, a small file with a random id: `.blurd-folder` in inbound, `.blurd/folder` in outbound. The state
directory remembers the id and where the folder lay, in `folders/NAME.inbound.json` and `folders/NAME.outbound.json`.
The rule is `core/recognition.py`.

Invariants
* Nothing is written into a strange folder, the staging folder included: the guard is asked before it is made.
* Markers and notes are written by the watcher alone (`adopts`); workers, which see inbound read-only, only look.
  What the watcher has not noted yet, they take as it is.
* A marker is made aside, synced and renamed without overwriting: it is never half written, and nothing of another is
  touched. Whatever else bears its name is left alone, and counts as no marker.

DIAGNOSTICS: INBOUND_STRANGE, OUTBOUND_STRANGE, INBOUND_MISSING, OUTBOUND_MISSING; STATE_UNUSABLE where the note can't
be written. A note that can't be read makes the folder strange.
"""

import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from blurd.adapters.files import open_beneath
from blurd.adapters.folders import InboundFolder, OutboundFolder, rename_without_overwriting
from blurd.adapters.mounts import place_of
from blurd.adapters.originals import OriginalsFolder
from blurd.adapters.sharing import Sharing
from blurd.core.naming import INBOUND_MARKER, OUTBOUND_MARKER
from blurd.core.recognition import KnownFolder, Place, Side, Verdict, recognise
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName

MARK_AGAIN_AFTER_S = 60.0
"""How long a folder that can't be marked is left alone before the next try."""

_FIRST_LINE = re.compile(rb"blurd folder ([0-9a-f]{32})\n")
_EXPLANATION = "blurd recognises this folder by this file. Leave it here; it is never copied.\n"
_MARKERS = {Side.INBOUND: INBOUND_MARKER, Side.OUTBOUND: OUTBOUND_MARKER}
_STRANGE = {Side.INBOUND: Reason.INBOUND_STRANGE, Side.OUTBOUND: Reason.OUTBOUND_STRANGE}
_MISSING = {Side.INBOUND: Reason.INBOUND_MISSING, Side.OUTBOUND: Reason.OUTBOUND_MISSING}
_NO_MARKER = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO}
)
_UNREADABLE = (OSError, ValueError, TypeError, KeyError)


class KnownFolders:
    """The guard of one pair of folders. Belongs to one thread."""

    def __init__(
        self,
        state: Path,
        folder: str,
        inbound: Path,
        outbound: Path,
        *,
        adopts: bool,
        staging: Path | None = None,
    ) -> None:
        self._notes = state / "folders"
        self._folder = folder
        self._paths = {Side.INBOUND: inbound, Side.OUTBOUND: outbound}
        self._adopts = adopts
        self._staging = staging
        self._mark_not_before_s: dict[Side, float] = {}

    def open_inbound(self) -> InboundFolder:
        """A handle on the inbound folder. Raises `EquipmentError` where it is missing or strange."""
        return InboundFolder(self._paths[Side.INBOUND], lambda handle: self._admit(Side.INBOUND, handle))

    def open_originals(self) -> OriginalsFolder:
        """The inbound folder, to take originals out of it. Raises as `open_inbound`."""
        return OriginalsFolder(self._paths[Side.INBOUND], lambda handle: self._admit(Side.INBOUND, handle))

    def open_outbound(self, sharing: Sharing | None = None) -> OutboundFolder:
        """A handle on the outbound folder. Raises `EquipmentError` where it is missing, strange or not writable."""
        path, staging = self._paths[Side.OUTBOUND], self._staging
        return OutboundFolder(path, lambda handle: self._admit(Side.OUTBOUND, handle), staging=staging, sharing=sharing)

    def read_outbound(self) -> InboundFolder:
        """A handle on the outbound folder that only reads: staging is not made. Raises as `open_outbound`."""
        return InboundFolder(self._paths[Side.OUTBOUND], lambda handle: self._admit(Side.OUTBOUND, handle))

    @classmethod
    def of_archive(cls, state: Path, folder: FolderName, archive: Path, *, adopts: bool) -> Self:
        """The guard of a folder's archive elsewhere, which is looked after as an outbound folder is."""
        return cls(state, f"{folder}.archive", archive, archive, adopts=adopts)

    def known(self, side: Side) -> KnownFolder | None:
        """What is remembered of a folder; None where nothing is, or nothing that can be read."""
        try:
            return self._read_note(side)
        except _UNREADABLE:
            return None

    def accept(self, side: Side) -> Place:
        """Remember the folder that is there now as the right one, by a person's decision; returns its place."""
        with self._missing(side):
            handle = os.open(self._paths[side], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                marker, place = _read_marker(handle, _MARKERS[side]), place_of(handle)
            finally:
                os.close(handle)
        self._write_note(side, KnownFolder(str(self._paths[side]), marker, place))
        return place

    def _admit(self, side: Side, handle: int) -> None:
        known, marker, place, verdict = self._look(side, handle)
        if verdict is Verdict.STRANGE:
            raise EquipmentError(_STRANGE[side], "recognise folder")
        if not self._adopts:
            return
        if marker is None and verdict is not Verdict.KNOWN:
            wanted = known.marker if known is not None and verdict is Verdict.UNMARKED else None
            marker = self._mark(side, handle, wanted or secrets.token_hex(16))
        if marker is None and known is not None and verdict is Verdict.UNMARKED:
            marker = known.marker
        noted = KnownFolder(str(self._paths[side]), marker, place)
        if noted != known:
            self._write_note(side, noted)

    def _look(self, side: Side, handle: int) -> tuple[KnownFolder | None, str | None, Place, Verdict]:
        with self._missing(side):
            marker, place = _read_marker(handle, _MARKERS[side]), place_of(handle)
        try:
            known = self._read_note(side)
        except _UNREADABLE as error:
            raise EquipmentError(_STRANGE[side], "read note of folder") from error
        return known, marker, place, recognise(known, str(self._paths[side]), marker, place)

    def _mark(self, side: Side, handle: int, marker: str) -> str | None:
        """Write the marker; the id that it has afterwards, None where it can't be written."""
        now_s = time.monotonic()
        if now_s < self._mark_not_before_s.get(side, 0.0):
            return None
        written = None
        with suppress(OSError):  # read-only or full: the place has to do
            _write_marker(handle, _MARKERS[side], marker)
            written = _read_marker(handle, _MARKERS[side])
        if written is None:
            self._mark_not_before_s[side] = now_s + MARK_AGAIN_AFTER_S
        return written

    # -- the notes in the state directory -----------------------------------------------------------------------------

    def _note(self, side: Side) -> Path:
        return self._notes / f"{self._folder}.{side}.json"

    def _read_note(self, side: Side) -> KnownFolder | None:
        try:
            value = json.loads(self._note(side).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        return KnownFolder(value["path"], value["marker"], Place(**value["place"]))

    def _write_note(self, side: Side, known: KnownFolder) -> None:
        """Replace the note, durably; it belongs to whom the state directory belongs to, whoever writes it."""
        note = self._note(side)
        beside = note.with_suffix(".new")
        try:
            owner = self._notes.parent.stat()
            _make_folder(self._notes, owner)
            with beside.open("w", encoding="ascii") as file:
                _give_to(file.fileno(), owner)
                json.dump(asdict(known), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(note)
            _sync(self._notes)
        except OSError as error:
            raise EquipmentError(Reason.STATE_UNUSABLE, "note folder") from error

    @contextmanager
    def _missing(self, side: Side) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EquipmentError(_MISSING[side], "open folder") from error


def _read_marker(handle: int, path: str) -> str | None:
    """The id in the marker; None where there is none that can be read. Raises `OSError` where the folder is sick."""
    try:
        marker = open_beneath(handle, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in _NO_MARKER:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(marker).st_mode):
            return None
        found = _FIRST_LINE.match(os.read(marker, 256))
    finally:
        os.close(marker)
    return found[1].decode("ascii") if found else None


def _write_marker(handle: int, path: str, marker: str) -> None:
    """Make the marker where nothing bears its name. Raises `OSError` where it can't be written."""
    head, _, name = path.rpartition("/")
    if head:
        with suppress(FileExistsError):
            os.mkdir(head, 0o700, dir_fd=handle)
            os.fsync(handle)
    folder = open_beneath(handle, head or ".", os.O_RDONLY | os.O_DIRECTORY)
    beside = f"{name}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(beside, flags, 0o644, dir_fd=folder), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(f"blurd folder {marker}\n{_EXPLANATION}".encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        if not rename_without_overwriting(folder, beside, folder, name):
            os.unlink(beside, dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_folder(path: Path, owner: os.stat_result) -> None:
    try:
        path.mkdir(mode=0o750)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
    _sync(path.parent)


def _give_to(handle: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    os.fchmod(handle, 0o640)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
