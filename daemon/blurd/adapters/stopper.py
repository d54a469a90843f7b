"""Being asked to stop: SIGTERM and SIGINT, heard even while the main thread is deep inside a C library.

Python runs a signal's handler between two instructions of the main thread, which may be minutes away. The C part of
the handling writes to a descriptor at once; a thread of our own reads it.

Invariants
* `stop` is set as soon as the signal is there, and `asked` is called once.
* Where the work does not end within `patience_s` after that, `at_last` is called, once, in the other thread, and the
  process ends with status 0, whatever the main thread does.
"""

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from blurd.adapters.stop_event import StopEvent

_ASKED = frozenset({signal.SIGTERM, signal.SIGINT})


class Stopper(threading.Thread):
    """Listens from `start` on, until `finished`. Make it in the main thread, once a process."""

    def __init__(self, patience_s: float, asked: Callable[[], None], at_last: Callable[[], None]) -> None:
        super().__init__(name="stopper", daemon=True)
        self.stop = StopEvent()
        self._patience_s, self._asked, self._at_last = patience_s, asked, at_last
        self._finished = threading.Event()
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _ASKED:
            signal.signal(number, lambda _number, _frame: self.stop.set())

    def finished(self) -> None:
        """The work ended in time, or by itself."""
        self._finished.set()

    def run(self) -> None:
        """Wait for a signal, then for the work to end."""
        while not self._is_asked():
            pass
        self.stop.set()
        self._asked()
        if self._finished.wait(self._patience_s):
            return
        try:
            self._at_last()
        finally:
            os._exit(0)

    def _is_asked(self) -> bool:
        select.select([self._reading], [], [])
        with suppress(BlockingIOError):
            return not _ASKED.isdisjoint(os.read(self._reading, 64))
        return False
