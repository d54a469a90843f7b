"""systemd's notification socket: ready, status, watchdog, stopping. Silent where there is no systemd.

Invariants
* A status holds numbers, never a name.
* Nothing here raises: a manager that does not hear now (it restarts, or the machine goes down) ends no work.
"""

import os
import time
from contextlib import suppress

from systemd.daemon import notify

_remarks: list[str] = []


def ready() -> None:
    """The process is ready for work."""
    _tell("READY=1")


def alive(status: str) -> None:
    """Feed the watchdog and show a status line. To be called where something was done, never by a clock."""
    _tell("WATCHDOG=1\nSTATUS=" + "; ".join((*_remarks, status)))


def remark(text: str) -> None:
    """Show this before every status line from now on; nothing, for an empty text."""
    _remarks[:] = [text] if text else []


def reloading() -> None:
    """New settings are being looked at; `ready` ends that."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def wait_longer(extra_s: float) -> None:
    """Let the watchdog wait this much longer than the unit says, from now on; 0 is as the unit says."""
    unit_usec = os.environ.get("WATCHDOG_USEC", "")
    if unit_usec.isdecimal() and int(unit_usec) > 0:
        _tell(f"WATCHDOG_USEC={int(unit_usec) + round(extra_s * 1_000_000)}")


def stopping(patience_s: float) -> None:
    """The process is about to end and needs at most this long; to be called again where it needs longer."""
    _tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(patience_s * 1_000_000)}\nSTATUS=stopping")


def _tell(message: str) -> None:
    with suppress(OSError):
        notify(message)
