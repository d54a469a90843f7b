"""The doctor's round: settings, state, folders, models, units, shares.

Folders and models are looked at by children, one for each, that run as the user who serves them: permissions are that
user's, nothing is left behind that is not, and one that hangs holds up nobody.

Invariants
* Always ends, in the time of the slowest child at most, with a verdict on everything.
* Changes nothing but what `folders.py` tells.
"""

import json
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from blurd.adapters import tools
from blurd.config import Settings, load_settings
from blurd.doctor.equipment import examine_models
from blurd.doctor.finding import Finding, Health
from blurd.doctor.folders import examine_folder
from blurd.doctor.machine import examine_samba, examine_state, examine_units
from blurd.doctor.telling import examine_telling, is_wanted
from blurd.errors import EquipmentError

SERVICE_USER = "blurd"
MODELS = "models"
TELLING = "telling"
FOLDER_PATIENCE_S = 20.0
MODELS_PATIENCE_S = 180.0
_CHILDREN_AT_ONCE = 8


def examine(config: Path) -> Iterator[Finding]:
    """Everything, in the order in which it should be mended."""
    try:
        settings = load_settings(config)
    except EquipmentError as error:
        for line in error.detail.splitlines():
            yield Finding("settings", Health.WRONG, line, f"edit {config}, then: blurd check-config")
        return
    yield Finding("settings", Health.WELL, f"{config}: {len(settings.folder)} folders, no errors.")
    me, user = os.geteuid(), _service_user(settings)
    if me not in (0, user.pw_uid):
        text = f"Looked at with your own eyes, not those of {user.pw_name}, who does the work."
        yield Finding("user", Health.NOTE, text, "sudo blurd doctor")
    yield from examine_state(settings, user)
    parts = [*(f"folder:{folder.name}" for folder in settings.folder), MODELS]
    parts += [TELLING] if is_wanted(settings) else []
    eyes = user if me == 0 and user.pw_uid != 0 else None
    with ThreadPoolExecutor(_CHILDREN_AT_ONCE) as pool:
        for findings in pool.map(lambda part: _ask_child(config, part, eyes), parts):
            yield from findings
    yield from examine_units(settings)
    yield from examine_samba(settings)


def examine_part(config: Path, part: str) -> Iterator[Finding]:
    """What one child looks at."""
    settings = load_settings(config)
    if part == MODELS:
        yield from examine_models(settings)
    if part == TELLING:
        yield from examine_telling(settings)
    for folder in settings.folder:
        if part == f"folder:{folder.name}":
            yield from examine_folder(settings, folder)


def _service_user(settings: Settings) -> pwd.struct_passwd:
    """Who serves: the owner of the state directory, else the package's user, else who asks."""
    with suppress(OSError, KeyError):
        return pwd.getpwuid(settings.state.directory.stat().st_uid)
    with suppress(KeyError):
        return pwd.getpwnam(SERVICE_USER)
    return pwd.getpwuid(os.geteuid())


def _ask_child(config: Path, part: str, user: pwd.struct_passwd | None) -> Sequence[Finding]:
    patience_s = MODELS_PATIENCE_S if part == MODELS else FOLDER_PATIENCE_S
    command = [sys.executable, "-m", "blurd", "--config", str(config.absolute()), "doctor", "--json", "--part", part]
    answer = tools.ask(command, patience_s, user)
    subject = part.replace(":", " ")
    try:
        return [Finding.from_json(values) for values in json.loads(answer.output)["findings"]]
    except (ValueError, TypeError, KeyError):
        if answer.status is None and part != MODELS:
            text = f"The file system has not answered for {patience_s:.0f} s."
            return [
                Finding(
                    subject, Health.WRONG, text, "check the server, the network or the disk behind it: dmesg | tail"
                )
            ]
        text = f"Looking at it {'took too long' if answer.status is None else f'ended with status {answer.status}'}."
        return [Finding(subject, Health.WRONG, text, _again(config, part, user))]


def _again(config: Path, part: str, user: pwd.struct_passwd | None) -> str:
    as_user = f"runuser -u {user.pw_name} -- " if user is not None else ""
    return f"{as_user}blurd --config {config} doctor --part {part}  (the settings must be readable by that user)"
