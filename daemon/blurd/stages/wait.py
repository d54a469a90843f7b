"""Wait: use the queue, and where its disk is full, wait until there is room.

Invariants
* Nothing is given up and nothing goes on meanwhile: the step is done when there is room, or the process is stopped.
* One line in the log for the trouble, one for its end.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from blurd.adapters.queue_file import is_damage_noted
from blurd.adapters.store import SqliteJobStore
from blurd.errors import EquipmentError, Reason
from blurd.events import Event, Part, StateTrouble, StateUsable

PAUSE_S = 2.0

T = TypeVar("T")


class StopRequested(Exception):  # noqa: N818  not an error: somebody asked
    """The process was asked to end."""


def patiently(act: Callable[[], T], stop: threading.Event, part: Part, emit: Callable[[Event], None]) -> T:
    """Do `act`, as soon as there is room for it. Raises `StopRequested` when asked to stop before that."""
    waited = False
    while True:
        try:
            result = act()
        except EquipmentError as error:
            if error.reason is not Reason.STATE_FULL:
                raise
            if not waited:
                emit(StateTrouble(part, error.reason))
            waited = True
            if stop.wait(PAUSE_S):
                raise StopRequested from None
        else:
            if waited:
                emit(StateUsable(part))
            return result


def open_queue(path: Path, stop: threading.Event, part: Part, emit: Callable[[Event], None]) -> SqliteJobStore:
    """The queue, once the watcher has set aside what is damaged. Raises as `patiently` does."""

    def act() -> SqliteJobStore:
        if is_damage_noted(path):
            emit(StateTrouble(part, Reason.QUEUE_DAMAGED))
        while is_damage_noted(path):
            if stop.wait(PAUSE_S):
                raise StopRequested
        return SqliteJobStore(path)

    return patiently(act, stop, part, emit)
