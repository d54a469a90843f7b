"""The doctor's look at what tells others: the file of metrics, the spool of alerts. Made as the user who serves."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from blurd.adapters.alert_spool import spool_of, waiting
from blurd.adapters.units import is_systemd_there, unit_states
from blurd.config import Settings
from blurd.doctor.finding import Finding, Health
from blurd.monitor import METRICS_FILE

ALERT_PROGRAM = Path("/etc/blurd/alert")
ALERT_UNIT = "blurd-alert.path"
LATE = 10
"""So many times the interval without new figures are more than a busy machine."""
STALE_S = 3600.0
"""An alert that lies longer was not delivered."""


def is_wanted(settings: Settings) -> bool:
    """True where there is anything to look at."""
    return settings.metrics.place is not None or settings.alerts.enabled


def examine_telling(settings: Settings) -> Iterator[Finding]:
    """Both, where they are wanted."""
    if settings.metrics.place is not None:
        yield _metrics(settings, settings.metrics.place)
    if settings.alerts.enabled:
        yield from _alerts(spool_of(settings.state.directory))


def _metrics(settings: Settings, place: Path) -> Finding:
    if not place.is_dir():
        return Finding(
            "metrics", Health.WRONG, f"{place} is not there.", f"mkdir {place}, or correct metrics.directory"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("metrics", Health.WRONG, f"blurd may not write in {place}.", f"setfacl -m u:blurd:rwx {place}")
    file = place / METRICS_FILE
    if not file.exists():
        mend = "systemctl restart blurd.target; where blurd runs: blurd setup-units, and what that says"
        return Finding("metrics", Health.NOTE, "No figures have been written yet.", mend)
    age_s = time.time() - file.stat().st_mtime
    if age_s > LATE * settings.metrics.every_s:
        mend = "systemctl status blurd-watch; where it runs: blurd setup-units, and what that says"
        return Finding("metrics", Health.WRONG, f"The figures are {age_s:.0f} s old.", mend)
    return Finding("metrics", Health.WELL, f"{file} is {max(0.0, age_s):.0f} s old.")


def _alerts(spool: Path) -> Iterator[Finding]:
    try:
        lying = waiting(spool)
        oldest_s = time.time() - lying[0].stat().st_mtime if lying else 0.0
    except OSError:
        yield Finding("alerts", Health.WRONG, f"{spool} can't be read.", f"chown blurd: {spool}; chmod 770 {spool}")
        return
    if is_systemd_there():
        unit = next(iter(unit_states(ALERT_UNIT) or ()), None)
        if unit is not None and unit.active != "active":
            mend = f"put a program at {ALERT_PROGRAM}, then: systemctl enable --now {ALERT_UNIT}"
            yield Finding("alerts", Health.NOTE, "Nobody takes the alerts out of their spool.", mend)
            return
    if oldest_s > STALE_S:
        mend = f"journalctl -u blurd-alert.service -n 20; mend {ALERT_PROGRAM}, then: systemctl restart {ALERT_UNIT}"
        yield Finding("alerts", Health.WRONG, f"{len(lying)} alerts wait, one for {oldest_s / 3600:.0f} h.", mend)
    else:
        yield Finding("alerts", Health.WELL, f"{len(lying)} alerts wait.")
