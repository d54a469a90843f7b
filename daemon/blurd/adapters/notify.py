"""systemd's notification socket: ready, status, watchdog, stopping. Silent where there is no systemd."""

from systemd.daemon import notify


def ready() -> None:
    """The process is ready for work."""
    notify("READY=1")


def alive(status: str) -> None:
    """Feed the watchdog and show a status line (numbers only, no names)."""
    notify(f"WATCHDOG=1\nSTATUS={status}")


def stopping() -> None:
    """The process is about to end."""
    notify("STOPPING=1")
