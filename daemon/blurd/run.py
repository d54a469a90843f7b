"""`blurd run`: the watcher and the workers as children in the foreground, for a desk, a container or a test.

Invariants
* A child that dies is started again, after a pause that grows while it keeps dying and shrinks once it works.
* A child that says "no work is possible" (a STOP reason) ends the whole run with its exit code.
* When this process ends, however it ends, its children end.
* SIGHUP: sound new settings are passed on to the children, which take them over in their own time.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from blurd.adapters.log import EventLog
from blurd.adapters.stop_event import StopEvent
from blurd.config import Settings
from blurd.events import Part, ProcessStarted, ProcessStopped, WorkerEnded
from blurd.exit_codes import FATAL_EXIT_CODES
from blurd.reload import Reload

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 30.0
STOP_PATIENCE_S = 60.0
LOOK_S = 0.1


@dataclass
class _Child:
    """One process to keep alive."""

    part: Part
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    not_before_s: float = 0.0
    is_wanted: bool = True

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)  # noqa: S603  our own command line
        self.started_s = time.monotonic()

    def signal(self, number: int) -> None:
        """Send it a signal, where it runs."""
        if self.process is not None:
            self.process.send_signal(number)

    def ended(self) -> int | None:
        """Its exit status, once; a time for its next start is set."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            return None
        now_s = time.monotonic()
        healthy = status == 0 or now_s - self.started_s > HEALTHY_S
        self.pause_s = FIRST_PAUSE_S if healthy else min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.not_before_s = now_s + (0.0 if status == 0 else self.pause_s)
        self.process = None
        return status


class _Family:
    """The watcher, and as many workers as the settings say."""

    def __init__(self, settings: Settings, config: Path) -> None:
        self._base = [sys.executable, "-m", "blurd", "--config", str(config)]
        self.children = [_Child(Part.WATCH, [*self._base, "watch", "--child"])]
        self.size(settings.work.workers)

    def size(self, workers: int) -> None:
        """Have so many workers; those that are too many end after they gave their jobs back."""
        present = [child for child in self.children if child.part is Part.WORK and child.is_wanted]
        for _ in range(workers - len(present)):
            self.children.append(_Child(Part.WORK, [*self._base, "work", "--child"]))
        for child in present[workers:]:
            child.is_wanted = False
            child.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send all of them a signal."""
        for child in self.children:
            child.signal(number)


def run(settings: Settings, config: Path, log: EventLog, read: Callable[[], Settings]) -> int:
    """Run everything until asked to stop; `read` reads the settings anew. Returns the exit code."""
    stop = StopEvent()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    reload = Reload(Part.RUN, settings, read, log.emit)
    family = _Family(settings, config)
    log.emit(ProcessStarted(Part.RUN, os.getpid(), len(settings.folder)))
    try:
        return _keep(family, stop, log, reload)
    finally:
        _end(family.children)
        log.emit(ProcessStopped(Part.RUN, os.getpid()))


def _keep(family: _Family, stop: threading.Event, log: EventLog, reload: Reload) -> int:
    while not stop.wait(LOOK_S):
        if reload.is_due():
            family.size(reload.take().work.workers)
            family.signal(signal.SIGHUP)
        for child in tuple(family.children):
            pid = child.process.pid if child.process is not None else 0
            status = child.ended()
            if status is not None:
                if status in FATAL_EXIT_CODES:
                    return status
                log.emit(WorkerEnded(pid, status))
            if child.process is None and not child.is_wanted:
                family.children.remove(child)
            elif child.process is None and time.monotonic() >= child.not_before_s:
                child.start()
    return 0


def _end(children: Sequence[_Child]) -> None:
    processes = [child.process for child in children if child.process is not None]
    for process in processes:
        process.terminate()
    deadline_s = time.monotonic() + STOP_PATIENCE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
