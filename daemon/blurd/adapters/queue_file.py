"""The queue's database as a file: whether it is whole, and setting a damaged one aside.

Invariants
* Whoever meets damage leaves a mark beside the file, with the file's inode; only the watcher, which alone holds the
  state directory, acts on it. Who still has a file open that was set aside marks nothing in the new one.
* A damaged file is renamed with its log and kept, the newest `KEPT` of them; it is never written again.
* A file that is locked, unreadable or on a full disk is not called damaged.

DIAGNOSTICS: `EquipmentError` with STATE_FULL or STATE_UNUSABLE.
"""

import errno
import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from blurd.adapters.host import free_bytes
from blurd.errors import EquipmentError, Reason

KEPT = 3
"""How many damaged files are kept; each can be as large as the queue."""
_SIDES = ("", "-wal", "-shm")
_NUMBERED = re.compile(r"\.damaged-([0-9]{1,9})\Z")
_MARK = ".damage-met"
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
"""The byte of an extended result code that holds the primary one."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAY_BE_FULL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What SQLite also says on a full disk, over its shared memory and a log that can't be made."""
_HARDLY_ROOM_BYTES = 1 << 20


def reason_of(error: Exception, path: Path) -> Reason:
    """What an error of SQLite or of the disk means for the queue at `path`."""
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes what it can't read
        return Reason.QUEUE_DAMAGED
    if isinstance(error, OSError):
        return Reason.STATE_FULL if error.errno in _NO_ROOM else Reason.STATE_UNUSABLE
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL or (code in _MAY_BE_FULL and is_full(path.parent)):
        return Reason.STATE_FULL
    return Reason.QUEUE_DAMAGED if code in _DAMAGE_CODES else Reason.STATE_UNUSABLE


def is_full(folder: Path) -> bool:
    """True where there is hardly room on the folder's disk."""
    try:
        return free_bytes(folder) < _HARDLY_ROOM_BYTES
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at the path: device and inode; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def note_damage(path: Path, met_in: tuple[int, int] | None) -> None:
    """Leave the mark that damage was met in that file. Where even that fails, it will be met again."""
    if met_in is not None:
        with suppress(OSError):
            _mark(path).write_text(f"{met_in[1]}\n", encoding="ascii")


def is_damage_noted(path: Path) -> bool:
    """True where somebody met damage in the file that stands there now, not in one that was set aside since."""
    present = identity(path)
    try:
        return present is not None and int(_mark(path).read_text(encoding="ascii")) == present[1]
    except (OSError, ValueError):
        return False


def is_damaged(path: Path) -> bool:
    """True where damage was met, or SQLite's quick check finds some. The caller holds the state directory.

    Reads every page once: 0.1 s for 100,000 jobs. What the quick check can't see is noted when it is met.
    """
    if is_damage_noted(path):
        return True
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        reason = reason_of(error, path)
        if reason is Reason.QUEUE_DAMAGED:
            return True
        raise EquipmentError(reason, "check queue") from error


def last_job(path: Path) -> int:
    """The highest job number that the file ever gave; 0 where it can't be read any more, or is not there."""
    if not path.exists():  # opening it would make one
        return 0
    with (
        suppress(sqlite3.Error, UnicodeDecodeError),
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'job'").fetchone()
        return int(row[0]) if row is not None and isinstance(row[0], int) else 0
    return 0


def set_aside(path: Path) -> int:
    """Rename the database with its log, durably; its number."""
    try:
        taken = _numbers(path)
        number = max(taken, default=0) + 1
        for old in sorted(taken)[: max(0, len(taken) + 1 - KEPT)]:
            for side in _SIDES:
                _aside(path, old, side).unlink(missing_ok=True)
        # The log first: the old log must never stand beside a new database.
        for side in reversed(_SIDES):
            with suppress(FileNotFoundError):
                path.with_name(path.name + side).rename(_aside(path, number, side))
        _mark(path).unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EquipmentError(reason_of(error, path), "set the queue aside") from error
    return number


def remove_set_aside(path: Path, before_s: float) -> None:
    """Remove the damaged files that were last written before that time: they are full of names."""
    try:
        for number in _numbers(path):
            database = _aside(path, number, "")
            if database.exists() and database.stat().st_mtime < before_s:
                for side in reversed(_SIDES):
                    _aside(path, number, side).unlink(missing_ok=True)
    except OSError as error:
        raise EquipmentError(reason_of(error, path), "remove the queue set aside") from error


def _mark(path: Path) -> Path:
    return path.with_name(path.name + _MARK)


def _aside(path: Path, number: int, side: str) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}{side}")


def _numbers(path: Path) -> frozenset[int]:
    found = (_NUMBERED.search(other.name) for other in path.parent.glob(f"{path.name}.damaged-*"))
    return frozenset(int(match[1]) for match in found if match)
