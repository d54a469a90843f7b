"""systemd's notification socket: ready, status, watchdog, stopping. Silent where there is no systemd.

A status holds numbers and folders' short names, never a file's name.
"""

from systemd.daemon import notify


def ready() -> None:
    """The process is ready for work."""
    notify("READY=1")


def alive(status: str) -> None:
    """Feed the watchdog and show a status line. To be called where something was done, never by a clock."""
    notify(f"WATCHDOG=1\nSTATUS={status}")


def show(status: str) -> None:
    """Show a status line; the watchdog is not fed."""
    notify(f"STATUS={status}")


def stopping(patience_s: float) -> None:
    """The process is about to end and needs at most this long; to be called again where it needs longer."""
    notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(patience_s * 1_000_000)}\nSTATUS=stopping")
