"""Being asked to stop, by a signal: an event whose `set` may be called by a signal's handler.

A plain `threading.Event` may not: its lock may be held by the very thread that the handler interrupts, in `wait` or in
`set`, and the handler then waits for that thread, which is itself, for ever.

Invariant: `set` takes no lock and never blocks; a `wait` that is under way ends at once.
"""

import os
import select
import threading
from contextlib import suppress


class StopEvent(threading.Event):
    """An event that is set once and stays set. For as long as its process."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        """Ask to stop."""
        self._asked = True
        with suppress(BlockingIOError):  # full: it has been asked often enough
            os.write(self._writing, b"\0")

    def is_set(self) -> bool:
        """True from the first `set` on."""
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; whether it is set."""
        if not self._asked:
            select.select([self._reading], [], [], timeout)
        return self._asked
