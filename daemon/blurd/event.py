"""What an event is: a name, a severity, and typed fields that can hold no text.

Invariant: a field is a number, a truth value, a member of an enumeration or a `FolderName`; nothing else passes
`Event`'s check, so no file name, no text from a file and no text from a library can reach a log line.
"""

import enum
import uuid
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar

from blurd.records import FolderName

_NAMESPACE = uuid.UUID("3f0d5b0e-7f0a-4d3f-9d5e-0c8f3a5f6b11")


class Level(StrEnum):
    """Severity, in journald's terms."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Part(StrEnum):
    """Which process speaks."""

    WATCH = "watch"
    WORK = "work"
    RUN = "run"


class Device(StrEnum):
    """What inference runs on."""

    CPU = "CPU"
    GPU = "GPU"


class Hints(StrEnum):
    """How a folder learns of new files: by notification, or by the periodic scan alone."""

    NOTIFIED = "notified"
    RESCAN_ONLY = "rescan_only"


class Fault(StrEnum):
    """The class of an exception that nobody expected; `other` for those of libraries."""

    ASSERTION = "AssertionError"
    ATTRIBUTE = "AttributeError"
    BLURD = "BlurdError"
    FILE_EXISTS = "FileExistsError"
    FILE_NOT_FOUND = "FileNotFoundError"
    ILLEGAL_MOVE = "IllegalMoveError"
    IMPORT = "ImportError"
    INDEX = "IndexError"
    KEY = "KeyError"
    LOOKUP = "LookupError"
    MEMORY = "MemoryError"
    NAME = "NameError"
    NOT_IMPLEMENTED = "NotImplementedError"
    OS = "OSError"
    OVERFLOW = "OverflowError"
    PERMISSION = "PermissionError"
    RECURSION = "RecursionError"
    RUNTIME = "RuntimeError"
    STOP_ITERATION = "StopIteration"
    SYSTEM = "SystemError"
    TIMEOUT = "TimeoutError"
    TYPE = "TypeError"
    UNICODE = "UnicodeError"
    VALUE = "ValueError"
    ZERO_DIVISION = "ZeroDivisionError"
    OTHER = "other"

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        """The nearest class of the list that the exception belongs to."""
        names = {fault.value: fault for fault in cls}
        return next((names[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in names), cls.OTHER)


FieldValue = bool | int | float | enum.Enum | FolderName | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Subclasses name it and list its typed fields."""

    name: ClassVar[str]
    level: ClassVar[Level] = Level.INFO

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not isinstance(value, bool | int | float | enum.Enum | FolderName):
                raise TypeError("an event's field is a number, a truth value, an enumeration member or a folder name")

    @classmethod
    def message_id(cls) -> str:
        """The event's journal MESSAGE_ID: 32 hexadecimal digits, fixed by its name."""
        return uuid.uuid5(_NAMESPACE, cls.name).hex

    def values(self) -> dict[str, str | int | float | bool]:
        """The fields that are set, enumerations by their value."""
        found: dict[str, str | int | float | bool] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, enum.Enum):
                found[item.name] = str(value.value)
            elif value is not None:
                found[item.name] = value
        return found
