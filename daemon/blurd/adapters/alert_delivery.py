"""Gives the alerts in the spool to a command of the operator's, one by one, until each was delivered.

The command gets the alert as JSON on its standard input, and its parts in the environment (`BLURD_ALERT_KIND`, ...).

Invariants
* An alert goes when the command has ended with status 0 for it, and not before. One that the command will not take does
  not keep the others from being tried.
* The command has `PATIENCE_S`, no more; then it and what it started are ended.
* What can't be read as an alert is removed: nobody could ever deliver it.
* Nothing is delivered from a spool that nothing can be removed from.
* Two that deliver from the same spool would tell everything twice: the spool is locked.
"""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blurd.adapters.alert_spool import waiting

PATIENCE_S = 60.0
PREFIX = "BLURD_ALERT_"
_MOST_BYTES = 65_536


@contextmanager
def sole_deliverer(spool: Path) -> Iterator[bool]:
    """Hold the spool; False where another holds it. Raises `OSError` where it can't be opened."""
    handle = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def deliver(spool: Path, command: Path, patience_s: float = PATIENCE_S) -> tuple[int, int]:
    """Try every alert once; how many were delivered, and how many remain. Raises `OSError` where the spool fails."""
    if not os.access(spool, os.W_OK | os.X_OK):  # what can't be removed would be delivered again and again
        raise PermissionError(spool)
    delivered = kept = 0
    for path in waiting(spool):
        text = _read(path)
        if text is not None and not _run(command, *text, patience_s):
            kept += 1
            continue
        path.unlink(missing_ok=True)
        delivered += text is not None
    return delivered, kept


def _read(path: Path) -> tuple[bytes, Mapping[str, Any]] | None:
    with suppress(OSError, ValueError):
        text = path.read_bytes()[:_MOST_BYTES]
        value = json.loads(text)
        if isinstance(value, dict):
            return text, value
    return None


def _run(command: Path, text: bytes, value: Mapping[str, Any], patience_s: float) -> bool:
    parts = {PREFIX + key.upper(): str(part) for key, part in value.items() if part is not None}
    try:
        process = subprocess.Popen(  # noqa: S603  the operator's own
            [command], stdin=subprocess.PIPE, env={**os.environ, **parts}, cwd="/", start_new_session=True
        )
    except OSError:
        return False
    try:
        process.communicate(text, timeout=patience_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return process.returncode == 0
