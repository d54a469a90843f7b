"""What is printed past the log: by a codec, a driver or the C library, to descriptors 1 and 2 of this process.

Such text may quote a file's name, so it is counted as `LibrarySpoke` with severity 0, and thrown away. The log itself
writes to the journal's socket, or to a descriptor that was made before.

Invariants
* Who prints never waits: what does not fit into the pipe is lost. A library that prints while it holds Python's lock
  would otherwise wait for the thread that reads, and that one for the lock.
* What a process that dies prints with its last breath goes nowhere.
* When the block ends both descriptors are what they were: a sentence for a person at the terminal comes through.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from blurd.events import Event, LibrarySpoke

PRINTED = 0
"""The severity of what was printed, not logged."""
MOST_TOLD = 20
_DESCRIPTORS = (1, 2)
_SLICE = 65_536


@contextmanager
def own_output_withheld(emit: Callable[[Event], None]) -> Iterator[None]:
    """Keep what anybody prints to standard output and error from whoever reads them, for the time of the block."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    reader = threading.Thread(target=_count, args=(reading, emit), name="own-output", daemon=True)
    reader.start()
    before = {number: _copy(number) for number in _DESCRIPTORS}
    _flush()
    for number in _DESCRIPTORS:
        os.dup2(writing, number)
    os.close(writing)
    try:
        yield
    finally:
        _flush()
        for number, saved in before.items():
            _put_back(number, saved)
        reader.join(1.0)


def _count(reading: int, emit: Callable[[Event], None]) -> None:
    """Read until nobody can write any more."""
    told = 0
    while os.read(reading, _SLICE):
        if told < MOST_TOLD:
            emit(LibrarySpoke(PRINTED))
        told += 1
    os.close(reading)


def _copy(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:
        return None  # the process was started without it


def _put_back(number: int, saved: int | None) -> None:
    if saved is None:
        os.close(number)
        return
    os.dup2(saved, number)
    os.close(saved)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # gone, full, or never there
            stream.flush()
