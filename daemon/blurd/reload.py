"""New settings while the process runs: SIGHUP, which is what `systemctl reload` sends.

Invariants
* Settings with an error change nothing: the old ones stay in force; the log, and the line that `systemctl status`
  shows, say so until there are better ones.
* The process itself decides when it takes the new ones over: between two jobs, or two rounds.
* Where a person waits at a terminal, SIGHUP still says that the terminal is gone, and ends the process.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType

from blurd.adapters import notify
from blurd.config import Settings
from blurd.errors import EquipmentError
from blurd.events import Event, Part
from blurd.monitor_events import SettingsRefused, SettingsTaken

_OF_THE_WATCHER = frozenset({"watch", "metrics", "alerts"})
"""Tables that workers don't look at."""


class Reload:
    """The settings of this process: those in force, and newer ones once asked for. Make it in the main thread."""

    def __init__(
        self, part: Part, settings: Settings, read: Callable[[], Settings], emit: Callable[[Event], None]
    ) -> None:
        self._part, self._read, self._emit = part, read, emit
        self.settings = settings
        self._asked = False
        self._next: Settings | None = None
        if not os.isatty(0):
            signal.signal(signal.SIGHUP, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def is_due(self) -> bool:
        """True where there are new settings for this process to take over. Reads them when they were asked for."""
        if self._asked:
            self._asked = False
            notify.reloading()
            self._look()
            notify.ready()
        return self._next is not None

    def take(self) -> Settings:
        """The settings in force from now on."""
        if self._next is not None:
            self.settings, self._next = self._next, None
        return self.settings

    def _look(self) -> None:
        self._next = None
        try:
            found = self._read()
        except EquipmentError as error:
            errors = len(error.detail.splitlines())
            self._refuse(errors, f"the new settings have {errors} errors and are not in force: blurd check-config")
            return
        if found.state.directory != self.settings.state.directory:
            self._refuse(0, "state.directory changes with a restart alone; the new settings are not in force")
            return
        setup = needs_setup(self.settings, found)
        notify.remark(
            "folders, groups or workers changed: run blurd setup-units, and then what it says" if setup else ""
        )
        self._emit(SettingsTaken(self._part, len(found.folder), setup_units=setup))
        if concerns(self._part, self.settings, found):
            self._next = found

    def _refuse(self, errors: int, remark: str) -> None:
        notify.remark(remark)
        self._emit(SettingsRefused(self._part, errors, restart_needed=errors == 0))


def concerns(part: Part, before: Settings, after: Settings) -> bool:
    """True where the change means something to that kind of process."""
    names = set(Settings.model_fields) - (_OF_THE_WATCHER if part is Part.WORK else set())
    return any(getattr(before, name) != getattr(after, name) for name in names)


def needs_setup(before: Settings, after: Settings) -> bool:
    """True where systemd's units must be brought in step with what changed: places, groups, number of workers."""
    return _of_units(before) != _of_units(after)


def _of_units(settings: Settings) -> object:
    folders = {(folder.name, folder.inbound, folder.outbound, folder.output_group) for folder in settings.folder}
    return folders, settings.work.workers, settings.models.cache, settings.metrics.directory
