"""The journal of systemd, natively: an event's fields stay fields, and `journalctl -x` explains it by its message id.

Invariants
* An entry's text is built from the event's typed fields alone, as are all other fields.
* Nothing is sent but to the journal that standard error is connected to (`JOURNAL_STREAM`): a process that a person
  starts, or whose output goes to a file, does not write there.
"""

import os
from pathlib import Path
from types import MappingProxyType

from systemd.journal import sendv

from blurd.events import Event, Level, Part

PREFIX = "BLURD_"
"""Begins the name of each of an event's own fields; the rest is the field's name in capitals."""
_PRIORITIES = MappingProxyType({Level.INFO: 6, Level.WARNING: 4, Level.ERROR: 3})
"""`syslog(3)`."""
_SOCKET = Path("/run/systemd/journal/socket")
_STANDARD_ERROR = 2


def is_connected() -> bool:
    """True where standard error is the journal's own stream."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(_STANDARD_ERROR)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def fields_of(event: Event, part: Part) -> dict[str, str]:
    """The entry for an event."""
    values = {key: str(int(value) if isinstance(value, bool) else value) for key, value in event.values().items()}
    own = {PREFIX + key.upper(): value for key, value in values.items()}
    return {
        "MESSAGE": message_of(event),
        "MESSAGE_ID": event.message_id(),
        "PRIORITY": str(_PRIORITIES[event.level]),
        "SYSLOG_IDENTIFIER": f"blurd-{part}",
        PREFIX + "EVENT": event.name,
        **own,
    }


def message_of(event: Event) -> str:
    """A short line for a person: the event's name, and its fields in their order."""
    title = event.name.replace("_", " ")
    values = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in event.values().items())
    return f"{title}: {values}" if values else title


def send(event: Event, part: Part) -> None:
    """Write an event to the journal. Raises `OSError` where there is none; the library itself would be silent."""
    if not _SOCKET.exists():
        raise FileNotFoundError(_SOCKET)
    sendv(*(f"{key}={value}" for key, value in fields_of(event, part).items()))
