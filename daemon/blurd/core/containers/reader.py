"""Bounded reading: the small random-access port of the parsers, and the view through which all of them read.

Invariants
* A view hands out at most `READ_BUDGET_BYTES` in at most `READ_BUDGET_CALLS` reads; then `ExhaustedError`.
* A read past the end raises `ShortError`; a parser that finds nonsense raises `MalformedError`. Nothing else leaves a
  parser, whatever the bytes are, and the functions of this package turn all three into values.
"""

import struct
from dataclasses import dataclass, field
from typing import Protocol

READ_BUDGET_BYTES = 512 << 20
READ_BUDGET_CALLS = 400_000


class Reader(Protocol):
    """Random access to one file."""

    @property
    def size(self) -> int:
        """Length of the file in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, at most `length`, fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class BytesReader:
    """A reader over bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Part of the bytes."""
        return self.data[offset : offset + length]


class ParseError(Exception):
    """Base of the three ways in which parsing ends early; never leaves this package's public functions."""


class ShortError(ParseError):
    """The file ends before what its structure announces."""


class MalformedError(ParseError):
    """The structure contradicts itself; more bytes would not mend it."""


class ExhaustedError(ParseError):
    """The budget for reading is spent."""


@dataclass(slots=True)
class View:
    """A reader with a budget; every read is complete or raises."""

    reader: Reader
    bytes_left: int = READ_BUDGET_BYTES
    calls_left: int = READ_BUDGET_CALLS
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.reader.size

    def some(self, offset: int, length: int) -> bytes:
        """At most `length` bytes; fewer only where the file ends."""
        if offset < 0 or length < 0:
            raise MalformedError
        length = min(length, max(0, self.size - offset))
        self.bytes_left -= length
        self.calls_left -= 1
        if self.bytes_left < 0 or self.calls_left < 0:
            raise ExhaustedError
        return self.reader.read_at(offset, length) if length else b""

    def exactly(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""
        data = self.some(offset, length)
        if len(data) != length:
            raise ShortError
        return data

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        """Integers by a `struct` layout."""
        return struct.unpack(layout, self.exactly(offset, struct.calcsize(layout)))
