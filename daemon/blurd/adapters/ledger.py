"""The ledger of receipts: an append-only file, one line of JSON a published (or withdrawn) copy, chained line by line.

Invariants
* A line holds hashes, sizes, counts of frames and settings: no name, no position, no count of persons.
* `previous` is the SHA-256 of the line before (of nothing for the first), so a line can't be changed or left out
  unnoticed.
* `event` says what a line tells: `published`, or `withdrawn` for a copy that another version took the place of.
* A job has at most one line of each: `append` does nothing for one that is among the last `TAIL_BYTES` already.
* The line is durable when `append` returns. A half-written last line (power cut) is cut off before the next one.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from blurd.errors import EquipmentError, Reason
from blurd.records import JobId

TAIL_BYTES = 1 << 20
PUBLISHED = "published"
WITHDRAWN = "withdrawn"

ReceiptValue = str | int | float | bool | Mapping[str, float] | None


class Ledger:
    """The ledger file. Several threads and processes may append; each append locks the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, job: JobId, values: Mapping[str, ReceiptValue], event: str = PUBLISHED) -> None:
        """Write the job's receipt, unless it is there. Raises `EquipmentError(STATE_UNUSABLE)`."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            try:
                os.lockf(handle, os.F_LOCK, 0)
                if os.fstat(handle).st_size == 0:
                    self._sync_folder()
                self._append(handle, job, event, values)
            finally:
                os.close(handle)
        except OSError as error:
            raise EquipmentError(Reason.STATE_UNUSABLE, "write receipt") from error

    def _sync_folder(self) -> None:
        """Make the file's name durable, before its first line: a receipt that a power cut takes away is none."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @staticmethod
    def _append(handle: int, job: JobId, event: str, values: Mapping[str, ReceiptValue]) -> None:
        size = os.fstat(handle).st_size
        start = max(0, size - TAIL_BYTES)
        tail = os.pread(handle, size - start, start)
        whole = tail[: tail.rfind(b"\n") + 1]
        lines = whole.splitlines()
        written = (json.loads(line) for line in lines[1 if start else 0 :])
        if any(line["job"] == job and line.get("event", PUBLISHED) == event for line in written):
            return
        previous = hashlib.sha256(lines[-1]).hexdigest() if lines else hashlib.sha256(b"").hexdigest()
        line = json.dumps({"job": job, "event": event, **values, "previous": previous}, sort_keys=True).encode() + b"\n"
        end = start + len(whole)
        os.ftruncate(handle, end)
        os.pwrite(handle, line, end)
        os.fsync(handle)
