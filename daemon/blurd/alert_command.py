"""`blurd deliver-alerts`: gives waiting alerts to the operator's command. Runs outside of blurd's sandbox.

Part of the command line. `blurd-alert.service` runs it, as a user of its own; see `packaging/alerts/`.
"""

import argparse
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from blurd.adapters.alert_delivery import deliver, sole_deliverer
from blurd.adapters.alert_spool import spool_of
from blurd.config import DEFAULT_PATH, StateSettings
from blurd.errors import EquipmentError, Reason
from blurd.exit_codes import EXIT_PARTLY

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 3600.0


def add_alert_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "deliver-alerts",
        help="give waiting alerts to a command, such as one that sends mail",
        description="Run COMMAND for each alert in the spool, with the alert as JSON on its standard input and its"
        " parts in the environment (BLURD_ALERT_KIND, _STATE, _FOLDER, _REASON, _VALUE, _TEXT, ...). An alert is"
        " removed when the command has ended with status 0; else it is tried again, later and later. Ends when none"
        " waits.",
    )
    command.add_argument("program", type=Path, metavar="COMMAND", help="the program, an absolute path")
    command.add_argument("--once", action="store_true", help="try each alert once; exit code 1 where one remains")
    command.set_defaults(command=_deliver)


def _deliver(options: argparse.Namespace) -> int:
    spool = spool_of(_state_directory(options.config or DEFAULT_PATH))
    if not spool.exists():
        return 0
    try:
        with sole_deliverer(spool) as is_sole:
            return _until_none_waits(spool, options.program, once=options.once) if is_sole else EXIT_PARTLY
    except OSError as error:
        raise EquipmentError(Reason.STATE_UNUSABLE, "deliver alerts") from error


def _until_none_waits(spool: Path, program: Path, *, once: bool) -> int:
    pause_s = FIRST_PAUSE_S
    while True:
        delivered, kept = deliver(spool, program)
        if not kept or once:
            return EXIT_PARTLY if kept else 0
        if delivered:
            pause_s = FIRST_PAUSE_S
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _state_directory(config: Path) -> Path:
    """Where the settings have it, even where they have an error elsewhere: that is when alerts matter."""
    usual = StateSettings().directory
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        document = tomllib.loads(config.read_text(encoding="utf-8"))
        return Path(document.get("state", {}).get("directory", usual))
    return usual
