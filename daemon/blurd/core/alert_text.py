"""What an alert says to a person, in one sentence or two: made from its typed parts alone."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from blurd.core.alerting import Alert, AlertKind, AlertState, Finding
from blurd.errors import REASONS

_RAISED: Mapping[AlertKind, Callable[[Finding], str]] = MappingProxyType(
    {
        AlertKind.FOLDER_SILENT: lambda found: f"no new file for {found.value:.0f} hours (limit {found.threshold:g})",
        AlertKind.BACKLOG: lambda found: f"files that wait: {found.value:.0f} (limit {found.threshold:g})",
        AlertKind.FILES_REFUSED: lambda found: f"files that were rejected or failed: {found.value:.0f}",
        AlertKind.FOLDER_PAUSED: lambda _found: "the folder is paused",
        AlertKind.DEVICE_DEGRADED: lambda _found: "detection does not run on the device that it should, and is slower",
        AlertKind.WORKER_MISSING: lambda _found: "no worker runs: nothing is treated",
        AlertKind.WORKER_DYING: lambda found: f"workers that died within an hour: {found.value:.0f}",
        AlertKind.STATE_FULL: lambda _found: "the disk of the state directory has no room",
    }
)
_RESOLVED: Mapping[AlertKind, str] = MappingProxyType(
    {
        AlertKind.FOLDER_SILENT: "files come again",
        AlertKind.BACKLOG: "the backlog is worked off",
        AlertKind.FILES_REFUSED: "no more files are refused",
        AlertKind.FOLDER_PAUSED: "the folder is served again",
        AlertKind.DEVICE_DEGRADED: "detection runs as it should again",
        AlertKind.WORKER_MISSING: "a worker runs again",
        AlertKind.WORKER_DYING: "workers live again",
        AlertKind.STATE_FULL: "the disk of the state directory has room again",
    }
)


def sentence(alert: Alert) -> str:
    """What is the matter, where, why, and what to do."""
    finding = alert.finding
    kind, folder = finding.subject.kind, finding.subject.folder
    what = _RESOLVED[kind] if alert.state is AlertState.RESOLVED else _RAISED[kind](finding)
    where = f"folder {folder}: " if folder is not None else ""
    parts = [f"blurd, {where}{what}."]
    if finding.reason is not None:
        parts += [REASONS[finding.reason].meaning, REASONS[finding.reason].remedy]
    elif alert.state is not AlertState.RESOLVED:
        parts.append("See: blurd status")
    return " ".join(parts)
