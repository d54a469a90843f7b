"""The spool of alerts: small JSON files in a folder of the state directory, that another unit gives to a command.

Invariants
* A file holds kinds, folders' names, reasons and numbers, and a sentence made from them; no file's name.
* At most `MOST` files: the oldest goes for the newest, and the number of those that went is told in the next one.
* A file is there whole, or not at all; it goes when it was delivered.
* What was told and is not over outlives the process, in a file beside the spool.

Who delivers is another user, of blurd's group: folder and files are open to that group and to nobody else.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from blurd.adapters.host import wall_clock
from blurd.adapters.small_files import replace
from blurd.core.alert_text import sentence
from blurd.core.alerting import Alarms, Alert, AlertKind, AlertState, Subject
from blurd.records import FolderName

MOST = 100
_FOLDER_MODE = 0o770
_FILE_MODE = 0o640


def spool_of(state_directory: Path) -> Path:
    """Where the alerts lie."""
    return state_directory / "alerts"


class AlertSpool:
    """The writer's side. Use from one thread."""

    def __init__(self, state_directory: Path) -> None:
        self._folder = spool_of(state_directory)
        self._memory = state_directory / "alerts.json"
        self._dropped = 0
        self._last = 0

    def write(self, alert: Alert) -> None:
        """Put an alert into the spool. Raises `OSError`."""
        with suppress(FileExistsError):
            self._folder.mkdir(mode=_FOLDER_MODE)
        if self._folder.stat().st_mode & 0o777 != _FOLDER_MODE:
            self._folder.chmod(_FOLDER_MODE)
        present = waiting(self._folder)
        for old in present[: max(0, len(present) - MOST + 1)]:
            old.unlink(missing_ok=True)
            self._dropped += 1
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)
        name = f"{self._last:015d}-{alert.finding.subject.kind}.json"
        replace(self._folder / name, json.dumps(self._value(alert)) + "\n", _FILE_MODE, durable=True)
        self._dropped = 0

    def remember(self, alarms: Alarms, seen: int) -> None:
        """Keep what was told, and up to which entry of the queue's history. Raises `OSError`."""
        value = {"standing": _listed(alarms.standing), "told": _listed(alarms.told), "seen": seen}
        replace(self._memory, json.dumps(value) + "\n", 0o600)

    def recall(self) -> tuple[dict[Subject, float], dict[Subject, float], int | None]:
        """What an earlier process told: what is not over, when each was told, and up to which entry of the history.

        Nothing where that can't be read.
        """
        try:
            value = json.loads(self._memory.read_text(encoding="utf-8"))
            return _unlisted(value["standing"]), _unlisted(value["told"]), int(value["seen"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}, None

    def _value(self, alert: Alert) -> dict[str, Any]:
        finding = alert.finding
        value: dict[str, Any] = {
            "at": wall_clock(),
            "kind": str(finding.subject.kind),
            "state": str(alert.state),
            "folder": finding.subject.folder,
            "reason": str(finding.reason) if finding.reason is not None else None,
            "text": sentence(alert),
            "dropped_before": self._dropped,
        }
        if alert.state is not AlertState.RESOLVED:
            value |= {"value": round(finding.value, 1), "threshold": finding.threshold}
        return value


def waiting(spool: Path) -> list[Path]:
    """The alerts in the spool, oldest first. Raises `OSError` where the spool can't be read."""
    try:
        found = [path for path in spool.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(found)


def _listed(times: Mapping[Subject, float]) -> list[list[Any]]:
    return [[str(subject.kind), subject.folder, at_s] for subject, at_s in times.items()]


def _unlisted(rows: list[list[Any]]) -> dict[Subject, float]:
    return {
        Subject(AlertKind(kind), FolderName(folder) if folder is not None else None): float(at_s)
        for kind, folder, at_s in rows
    }
