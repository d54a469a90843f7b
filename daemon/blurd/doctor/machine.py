"""The doctor's look at the machine around blurd: state directory, systemd's units, Samba's shares."""

import os
import pwd
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from blurd.adapters import tools
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.units import UnitState, is_systemd_there, unit_states
from blurd.config import Settings
from blurd.core.naming import STAGING_FOLDER
from blurd.core.shares import Exposure, Share, exposures, parse_shares
from blurd.doctor.finding import Finding, Health
from blurd.errors import REASONS, EquipmentError, Reason
from blurd.units import out_of_step

STATE_RESERVE_MEBIBYTES = 100
TARGET = "blurd.target"
WATCH = "blurd-watch.service"
WORKERS = "blurd-work@*.service"
RESTLESS = 10
"""So many restarts of a watcher are more than an accident. (Workers are replaced by rule.)"""
_SAMBA_PATIENCE_S = 20.0


# -- state ------------------------------------------------------------------------------------------------------------


def examine_state(settings: Settings, user: pwd.struct_passwd) -> Iterator[Finding]:
    """The state directory, its room, and the queue in it."""
    directory = settings.state.directory
    if not directory.is_dir():
        text = f"{directory} is not there: blurd has not run here yet, or its disk is not mounted."
        yield Finding("state", Health.NOTE, text, f"systemctl start {TARGET}")
        return
    if os.geteuid() == 0 and directory.stat().st_uid != user.pw_uid:
        text = f"{directory} does not belong to {user.pw_name}."
        yield Finding("state", Health.WRONG, text, f"chown -R {user.pw_name}: {directory}")
    status = os.statvfs(directory)
    free_mebibytes = (status.f_bavail * status.f_frsize) >> 20
    if free_mebibytes < STATE_RESERVE_MEBIBYTES:
        mend = f"make room: du -xhd1 {directory} | sort -h"
        yield Finding("state", Health.WRONG, f"Only {free_mebibytes} MiB are free for queue and receipts.", mend)
    else:
        yield Finding("state", Health.WELL, f"{directory} is there; {free_mebibytes} MiB are free.")
    if not settings.queue_path.exists():
        yield Finding("queue", Health.NOTE, "blurd has not run here yet.", f"systemctl start {TARGET}")
        return
    try:
        with closing(SqliteJobStore(settings.queue_path)) as store:
            paused = [condition for condition in store.overview().folders if condition.paused is not None]
    except EquipmentError as error:
        yield Finding("queue", Health.WRONG, REASONS[error.reason].meaning, REASONS[error.reason].remedy)
        return
    yield Finding("queue", Health.WELL, "The queue can be read.")
    for condition in paused:
        reason = REASONS[condition.paused or Reason.INTERNAL_ERROR]
        yield Finding(f"folder {condition.folder}", Health.WRONG, f"Paused. {reason.meaning}", reason.remedy)


# -- systemd ----------------------------------------------------------------------------------------------------------


def examine_units(settings: Settings) -> Iterator[Finding]:
    """Whether systemd runs blurd, and as it should."""
    if not is_systemd_there():
        yield Finding("systemd", Health.NOTE, "systemd does not run this machine; nothing was looked at.")
        return
    fixed = unit_states(TARGET, WATCH)
    if fixed is None:
        yield Finding("systemd", Health.WRONG, "systemd does not answer.", "systemctl status")
        return
    if any(unit.load == "not-found" for unit in fixed):
        text = "blurd's units are not installed: nothing starts it after a boot."
        yield Finding("systemd", Health.NOTE, text, "install blurd's package")
        return
    workers = unit_states(WORKERS) or ()
    running = sum(unit.active == "active" for unit in workers)
    for unit in (*fixed, *workers):
        yield from _unit(unit)
    yield from _step(settings)
    target = next(unit for unit in fixed if unit.name == TARGET)
    if target.enabled not in ("enabled", "static"):
        text = f"{TARGET} is {target.enabled or 'not enabled'}: blurd does not start after a boot."
        yield Finding("systemd", Health.WRONG, text, f"systemctl enable {TARGET}")
    if target.active == "active" and running == 0:
        yield Finding("systemd", Health.WRONG, "No worker runs.", f"systemctl restart {TARGET}")
    elif target.active == "active":
        yield Finding("systemd", Health.WELL, f"{WATCH} and {running} of {settings.work.workers} workers run.")


def _step(settings: Settings) -> Iterator[Finding]:
    try:
        stale = out_of_step(settings)
    except EquipmentError as error:
        text = f"{REASONS[error.reason].meaning} {error.detail}"
        yield Finding("units", Health.WRONG, text, REASONS[error.reason].remedy)
        return
    if stale:
        text = f"{len(stale)} drop-ins of the units are not what the settings want."
        mend = "blurd setup-units, and then what that says"
        yield Finding("units", Health.WRONG, text, mend)
    else:
        yield Finding("units", Health.WELL, "Units and settings are in step.")


def _unit(unit: UnitState) -> Iterator[Finding]:
    subject = f"unit {unit.name}"
    if unit.active == "failed":
        mend = f"journalctl -x -u {unit.name} -n 20; systemctl reset-failed {unit.name}; systemctl restart {TARGET}"
        yield Finding(subject, Health.WRONG, "The unit has failed.", mend)
    elif unit.active != "active" and unit.name in (TARGET, WATCH):
        yield Finding(subject, Health.WRONG, f"The unit is {unit.active}.", f"systemctl start {TARGET}")
    if unit.needs_reload:
        text = "The unit's file was changed and is not in use yet."
        yield Finding(subject, Health.WRONG, text, f"systemctl daemon-reload; systemctl restart {TARGET}")
    if unit.name == WATCH and unit.restarts >= RESTLESS:
        text = f"The watcher was started again {unit.restarts} times."
        yield Finding(subject, Health.NOTE, text, f"journalctl -x -u {WATCH}")


# -- Samba ------------------------------------------------------------------------------------------------------------


def examine_samba(settings: Settings) -> Iterator[Finding]:
    """Whether Samba shows what is nobody's business."""
    testparm = tools.find("testparm")
    if testparm is None:
        return
    answer = tools.ask([testparm, "-s"], _SAMBA_PATIENCE_S)
    if answer.status != 0:
        yield Finding("Samba", Health.NOTE, "Samba's configuration could not be read.", "testparm -s")
        return
    shares = parse_shares(answer.output)
    found = list(_exposures(settings, shares))
    yield from found
    if not found:
        yield Finding("Samba", Health.WELL, "No share shows a staging folder or lets guests in.")


def _exposures(settings: Settings, shares: tuple[Share, ...]) -> Iterator[Finding]:
    for folder in settings.folder:
        places = (_written(folder.inbound), _written(folder.outbound))
        for share, exposure in exposures(shares, *places):
            subject = f"Samba, share {share.name}"
            if exposure is Exposure.GUESTS:
                text = f"Everybody on the network may enter folder {folder.name} without a password."
                yield Finding(
                    subject, Health.WRONG, text, "set guest ok = no in the share, then: smbcontrol all reload-config"
                )
            else:
                text = f"The staging folder of folder {folder.name} can be reached through the share."
                mend = f"add veto files = /{STAGING_FOLDER}/ to the share, then: smbcontrol all reload-config"
                yield Finding(subject, Health.WRONG, text, mend)


def _written(path: Path) -> str:
    """A path as the settings have it, without `..`; links are not followed, for that may hang."""
    return os.path.normpath(path)
