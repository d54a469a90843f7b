"""Recognising a folder: is the one that lies at a path now the one that was served before? Pure.

A share that is not mounted leaves its bare mount point behind, and a folder of the same name may lie on another disk.
Either looks like "everything was deleted", and copies written there are lost to sight.

The rule, in this order
1. Nothing is known yet: what is there is adopted.
2. Known and found marker: they decide, wherever the folder lies now.
3. One of them lacks (the folder is read-only, or somebody removed the marker): it is the same folder where it lies at
   the same place of the same file system; the marker is written anew where it can be.

Invariants
* Device and inode numbers decide nothing: they change with a remount.
* In doubt the folder is strange, and a person decides.
"""

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Which folder of a pair."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a folder lies: a file system (its source, its kind, its UUID where the kernel tells) and the path in it."""

    source: str
    kind: str
    path: str
    uuid: str | None = None

    def is_same(self, other: "Place") -> bool:
        """True for the same path in the same file system; a UUID outdoes the source, which is a disk's name today."""
        if self.path != other.path or self.kind != other.kind:
            return False
        if self.uuid is not None and other.uuid is not None:
            return self.uuid == other.uuid
        return self.source == other.source


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """What is remembered of a folder: the path in the settings, the id in its marker (None: it has none), its place."""

    path: str
    marker: str | None
    place: Place


class Verdict(StrEnum):
    """What a folder is."""

    NEW = "new"
    KNOWN = "known"
    UNMARKED = "unmarked"
    """The known one, without its marker."""
    STRANGE = "strange"


def recognise(known: KnownFolder | None, path: str, marker: str | None, place: Place) -> Verdict:
    """What the folder found at the settings' `path` is, from its marker and its place."""
    if known is None or known.path != path:
        return Verdict.NEW
    if marker is not None and known.marker is not None:
        return Verdict.KNOWN if marker == known.marker else Verdict.STRANGE
    if not place.is_same(known.place):
        return Verdict.STRANGE
    return Verdict.UNMARKED if marker is None else Verdict.KNOWN
