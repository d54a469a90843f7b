"""Events of faults in blurd itself and of what libraries say; a part of the closed list in `events.py`."""

from dataclasses import dataclass

from blurd.event import Event, Fault, Level, Part


@dataclass(frozen=True, slots=True)
class LibrarySpoke(Event):
    """A library logged something; its text is withheld, because it may quote names or content."""

    name = "library_spoke"
    level = Level.WARNING
    severity: int


@dataclass(frozen=True, slots=True)
class InternalError(Event):
    """A fault in blurd itself: its class, the CRC-32 of the module's file name (`work.py`), and the line in it."""

    name = "internal_error"
    level = Level.ERROR
    part: Part
    module: int
    line: int
    fault: Fault = Fault.OTHER


FAULT_EVENTS: tuple[type[Event], ...] = (LibrarySpoke, InternalError)
