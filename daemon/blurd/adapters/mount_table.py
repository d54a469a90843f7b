"""The tables of what is mounted (`/proc/self/mountinfo`) and of what is to be mounted (`/etc/fstab`). Touches no mount.

Invariants
* Paths are those of the calling process's own view; blanks in them, written in octal, are blanks again.
* A line that is not understood is left out.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: its number, which folder of its file system it shows and where, from what, of which kind.

    `read_only` where it takes no writing: the mount itself, or the whole file system. `is_closed` where the mount alone
    does not.
    """

    number: int
    root: str
    point: Path
    source: str
    kind: str
    read_only: bool
    is_closed: bool


def mounts() -> tuple[Mount, ...]:
    """Everything that this process sees mounted, lower ones of the same place first. Raises `OSError`."""
    return tuple(_mounts(_MOUNTINFO.read_bytes()))


def mounts_to_come(fstab: Path) -> frozenset[Path]:
    """The mount points in an fstab; none where there is none."""
    try:
        lines = fstab.read_bytes().splitlines()
    except OSError:
        return frozenset()
    entries = (line.split() for line in lines if not line.lstrip().startswith(b"#"))
    return frozenset(_path(entry[1]) for entry in entries if len(entry) > 1 and entry[1].startswith(b"/"))


def _mounts(table: bytes) -> Iterator[Mount]:
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if len(fields) > 5 and len(rest) > 2:  # noqa: PLR2004  `proc_pid_mountinfo(5)`: point 5th, options 6th, then after the dash
            closed, sealed = (b"ro" in options.split(b",") for options in (fields[5], rest[2]))
            root, source, kind = _text(fields[3]), _text(rest[1]), _text(rest[0])
            yield Mount(int(fields[0]), root, _path(fields[4]), source, kind, closed or sealed, closed and not sealed)


def _path(field: bytes) -> Path:
    return Path(_text(field))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field))
