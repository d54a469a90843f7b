"""The events of what tells others how blurd does, and of settings that change while it runs: of the closed list."""

from dataclasses import dataclass

from blurd.core.alerting import AlertKind, AlertState
from blurd.event import Event, Level, Part


@dataclass(frozen=True, slots=True)
class SettingsTaken(Event):
    """The settings were read anew and are sound; `setup_units` says that systemd's units must be brought in step."""

    name = "settings_taken"
    part: Part
    folders: int
    setup_units: bool


@dataclass(frozen=True, slots=True)
class SettingsRefused(Event):
    """The settings were read anew and are not in force: they have errors, or need a restart."""

    name = "settings_refused"
    level = Level.ERROR
    part: Part
    errors: int
    restart_needed: bool


@dataclass(frozen=True, slots=True)
class AlertWritten(Event):
    """An alert was put into the spool."""

    name = "alert_written"
    kind: AlertKind
    state: AlertState


@dataclass(frozen=True, slots=True)
class MonitoringTrouble(Event):
    """The file of metrics or an alert could not be written; `error` is the system's number (errno)."""

    name = "monitoring_trouble"
    level = Level.WARNING
    error: int


@dataclass(frozen=True, slots=True)
class MonitoringUsable(Event):
    """Metrics and alerts can be written again."""

    name = "monitoring_usable"


MONITOR_EVENTS: tuple[type[Event], ...] = (
    SettingsTaken,
    SettingsRefused,
    AlertWritten,
    MonitoringTrouble,
    MonitoringUsable,
)
