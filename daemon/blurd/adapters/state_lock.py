"""The lock on the state directory: one watcher uses it at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blurd.errors import EquipmentError, Reason


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Hold the state directory. Raises STATE_LOCKED where another watcher has it, STATE_UNUSABLE where it can't be."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(directory / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise EquipmentError(Reason.STATE_UNUSABLE, "open state directory") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EquipmentError(Reason.STATE_LOCKED, "lock state directory") from error
        yield
    finally:
        os.close(handle)
