"""The ledger of receipts: an append-only file, one line of JSON for each thing done, chained line by line.

Invariants
* A line holds what `core/receipts.py` says: no name, no position, no count of persons.
* `previous` is the SHA-256 of the line before (of nothing for the first), so a line can't be changed or left out
  unnoticed.
* `event` says what a line tells: a job was published, was rejected or has failed, a copy was withdrawn, or
  retention took something away. A line without it is one of a published job.
* A thing is told once: `append` writes nothing for one that is among the last `TAIL_BYTES` already.
* `append` says where the ledger ends. The queue keeps that, so that an end that was cut off does not pass unnoticed.
* The line is durable when `append` returns. What follows the last line break is a line that was never finished (power
  cut, full disk): it is cut off before the next one. A finished line is never touched, readable or not; the chain goes
  on behind it.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blurd.core.receipts import PUBLISHED, WITHDRAWN, LedgerEnd, ReceiptValue, digest, is_same_receipt, line_of
from blurd.errors import EquipmentError, Reason
from blurd.records import JobId

__all__ = ["PUBLISHED", "WITHDRAWN", "Ledger", "LedgerEnd", "ReceiptValue"]

TAIL_BYTES = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Ledger:
    """The ledger file. Several threads and processes may append; each append locks the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, job: JobId, values: Mapping[str, ReceiptValue], event: str = PUBLISHED) -> LedgerEnd:
        """Write the job's receipt, unless it is there; where the ledger ends now.

        Raises `EquipmentError` with STATE_FULL or STATE_UNUSABLE.
        """
        with _translated("write receipt"):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)  # a lock of POSIX would not keep threads of one process apart
                if os.fstat(handle).st_size == 0:
                    self._sync_folder()
                return self._append(handle, job, event, values)
            finally:
                os.close(handle)

    def has(self, job: JobId, event: str = PUBLISHED) -> bool:
        """True where the job's receipt is among the last `TAIL_BYTES`."""
        return any(receipt["job"] == job and receipt["event"] == event for receipt in self.newest())

    def newest(self) -> tuple[dict[str, Any], ...]:
        """The readable receipts among the last `TAIL_BYTES`, oldest first."""
        with _translated("read receipts"):
            try:
                handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return ()
            try:
                lines, _ = _tail(handle)
            finally:
                os.close(handle)
        return tuple(_readable(lines))

    def read(self) -> Iterator[dict[str, Any]]:
        """All readable receipts, oldest first."""
        with _translated("read receipts"):
            try:
                with self._path.open("rb") as file:
                    yield from _readable(file)
            except FileNotFoundError:
                return

    def find(self, job: JobId, event: str = PUBLISHED) -> dict[str, Any] | None:
        """A job's receipt, the newest where there are several: mostly one of the last lines, else all are read."""
        found = [receipt for receipt in self.newest() if receipt["job"] == job and receipt["event"] == event]
        if not found:
            found = [receipt for receipt in self.read() if receipt["job"] == job and receipt["event"] == event]
        return found[-1] if found else None

    def _append(self, handle: int, job: JobId, event: str, values: Mapping[str, ReceiptValue]) -> LedgerEnd:
        lines, end = _tail(handle)
        last = lines[-1] if lines else b""
        if any(is_same_receipt(receipt, job, event, values) for receipt in _readable(lines)):
            return LedgerEnd(end, digest(last))
        written_line = line_of({"job": job, "event": event, **values, "previous": digest(last)})
        line = written_line + b"\n"
        os.ftruncate(handle, end)
        written = os.pwrite(handle, line, end)
        if written < len(line):  # a full disk takes what still fits, without an error
            os.ftruncate(handle, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
        return LedgerEnd(end + len(line), digest(written_line))

    def _sync_folder(self) -> None:
        """Make the file's name durable, before its first line: a receipt that a power cut takes away is none."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _tail(handle: int) -> tuple[list[bytes], int]:
    """The last finished lines, without their ends, at least one where there is one; and where the last one ends."""
    size = os.fstat(handle).st_size
    length = TAIL_BYTES
    while True:
        start = max(0, size - length)
        tail = os.pread(handle, size - start, start)
        whole = tail[: tail.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[1 if start else 0 : -1]
        if lines or start == 0:
            return lines, start + len(whole)
        length *= 4


def _readable(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The receipts in these lines; what is no receipt is passed over."""
    for line in lines:
        try:
            receipt = json.loads(line)
        except ValueError:
            continue
        if isinstance(receipt, dict) and isinstance(receipt.get("job"), int):
            yield {"event": PUBLISHED, **receipt}


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _NO_ROOM
        raise EquipmentError(Reason.STATE_FULL if full else Reason.STATE_UNUSABLE, operation) from error
