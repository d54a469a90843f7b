"""The log: typed events, and nothing else. Under systemd entries of the journal, elsewhere JSON, one object a line.

Invariants
* `EventLog.emit` is the only way in; it takes an `Event`, whose fields can't hold text.
* Whatever a library logs or warns is reduced to its severity (`LibrarySpoke`); its text is thrown away, because it may
  quote a name or content. The same holds for an exception that nobody caught, in whatever thread: its class and its
  line number remain. What is printed past all this, to the process's own output, is `own_output.py`'s.
* Not more than `LIBRARY_LIMIT` lines of a library's are noted in one process, so no loop in a codec floods the log.
"""

import logging
import os
import sys
import threading
import traceback
import warnings
import zlib
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog

from blurd.adapters import journal
from blurd.events import Event, Fault, InternalError, LibrarySpoke, Part

LIBRARY_LIMIT = 20

_PACKAGE = Path(__file__).parents[1]


class EventLog:
    """Writes events. Safe to use from several threads."""

    def __init__(self, part: Part, stream: TextIO | None = None) -> None:
        self._part = part
        self._to_journal = stream is None and journal.is_connected()
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream or _own_standard_error()),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
        )

    def emit(self, event: Event) -> None:
        """Write one event."""
        if self._to_journal:
            try:
                journal.send(event, self._part)
            except OSError:
                pass  # the journal takes no entries just now; what is written to its stream it still may
            else:
                return
        values = event.values()
        self._log.msg(event.name, level=str(event.level), message_id=event.message_id(), **values)

    def capture_libraries(self) -> None:
        """Take over the root logger, warnings and uncaught exceptions of this process."""
        root = logging.getLogger()
        root.handlers[:] = [_LibraryHandler(self)]
        root.setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)
        warnings.simplefilter("ignore")
        sys.excepthook = self._uncaught
        sys.unraisablehook = self._unraisable
        threading.excepthook = self._in_thread

    def internal_error(self, error: BaseException) -> None:
        """Note a fault of our own: the line in our code where it surfaced, no text."""
        module, line = 0, 0
        for frame in traceback.extract_tb(error.__traceback__):
            path = Path(frame.filename)
            if path.is_relative_to(_PACKAGE):
                module, line = zlib.crc32(path.name.encode()), frame.lineno or 0
        self.emit(InternalError(self._part, module, line, Fault.of(error)))

    def _uncaught(self, _kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        self.internal_error(error)

    def _unraisable(self, found: "sys.UnraisableHookArgs") -> None:
        self.internal_error(found.exc_value or RuntimeError())

    def _in_thread(self, found: threading.ExceptHookArgs) -> None:
        self.internal_error(found.exc_value or RuntimeError())


def _own_standard_error() -> TextIO:
    """Standard error on a descriptor of its own: decoders that print to descriptor 2 are redirected while they work."""
    return os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")


class _LibraryHandler(logging.Handler):
    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log
        self._left = LIBRARY_LIMIT

    def emit(self, record: logging.LogRecord) -> None:
        if self._left > 0:
            self._left -= 1
            self._log.emit(LibrarySpoke(record.levelno))
