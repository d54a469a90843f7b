"""The command `blurd status`. Part of the command line.

Exit code: 0 where all is well, 1 where it is not (`status.is_healthy`); with `--watch` as it was when it ended.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from blurd.adapters.host import midnight
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_view import QueueView
from blurd.arguments import settings_of_queue
from blurd.config import Settings
from blurd.errors import EquipmentError
from blurd.exit_codes import EXIT_PARTLY
from blurd.status import as_json
from blurd.status_page import page

WATCH_S = 2.0


def add_status_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "status",
        help="show what is waiting, running, done and refused",
        description="Show the processes, the running jobs and the folders: how many files wait (they settle, wait for"
        " regions, are queued, or are tried again), run, were published today and in all, were rejected or failed, and"
        " how long the oldest of the queued ones has waited. Exit code 0 where all is well, else 1: a process is"
        " missing or runs degraded, a folder is paused or can't be read in part, a job failed, or the state directory's"
        " disk is full.",
    )
    command.add_argument("--json", action="store_true", help="for scripts")
    command.add_argument(
        "--watch",
        type=_interval,
        nargs="?",
        const=WATCH_S,
        metavar="SECONDS",
        help=f"show it again every so many seconds (default: {WATCH_S:g}), until Ctrl-C",
    )
    command.set_defaults(command=_status)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400.0:  # noqa: PLR2004  said in the message
        raise argparse.ArgumentTypeError("write seconds, from 0.1 to 86400")
    return seconds


def _status(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    if options.watch is not None:
        return _watch(settings, options.watch, as_lines=options.json)
    status = read_status(settings)
    if options.json:
        print(json.dumps(status, indent=2))  # noqa: T201
    else:
        Console().print(page(status))
    return 0 if status["healthy"] else EXIT_PARTLY


def read_status(settings: Settings) -> dict[str, Any]:
    """The status now. Raises `EquipmentError` where the queue can't be read."""
    names = [folder.key for folder in settings.folder]
    with (
        closing(SqliteJobStore(settings.queue_path, read_only=True)) as store,
        closing(QueueView(settings.queue_path, read_only=True)) as view,
    ):
        return as_json(settings, store.overview(), view.figures(names, midnight()))


def _watch(settings: Settings, seconds: float, *, as_lines: bool) -> int:
    """Show it until Ctrl-C; a queue that can't be read for a while (it is begun anew) is waited for."""
    console = Console()
    healthy = False

    def look() -> tuple[dict[str, Any] | None, RenderableType]:
        nonlocal healthy
        try:
            status = read_status(settings)
        except EquipmentError as error:
            healthy = False
            return None, Text(str(error))
        healthy = bool(status["healthy"])
        return status, page(status)

    with suppress(KeyboardInterrupt):
        if as_lines or not console.is_terminal:
            _repeat(seconds, lambda: _print_one(console, *look(), as_line=as_lines))
        else:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                _repeat(seconds, lambda: live.update(look()[1], refresh=True))
    return 0 if healthy else EXIT_PARTLY


def _print_one(console: Console, status: dict[str, Any] | None, shown: RenderableType, *, as_line: bool) -> None:
    if not as_line:
        console.print(shown, Text(""))
    elif status is not None:
        print(json.dumps(status))  # noqa: T201
    sys.stdout.flush()


def _repeat(seconds: float, act: Callable[[], None]) -> None:
    while True:
        act()
        time.sleep(seconds)
