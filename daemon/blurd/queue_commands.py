"""The commands that look through the queue and tend it: reconcile, retry, forget. Part of the command line.

All of them are safe while everything runs. `reconcile` changes nothing; the others move jobs through the lifecycle
table alone, and leave every file where it is.
"""

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from blurd.adapters.store_admin import QueueAdministration
from blurd.config import DEFAULT_PATH, Settings, load_settings
from blurd.core.lifecycle import RETRIABLE
from blurd.core.naming import printable
from blurd.errors import EXIT_PARTLY, EquipmentError, Reason
from blurd.records import FolderName, JobState


def add_queue_commands(commands: Any) -> None:
    """Add them to the parser's sub-commands."""
    command = commands.add_parser(
        "reconcile",
        help="account for every file in inbound, outbound and the queue",
        description="Count every file as published, rejected, failed, ignored or waiting. Changes nothing, and may be"
        " run at any time. Exit code 1 where something is unaccounted for.",
    )
    command.add_argument("--json", action="store_true", help="for scripts: counts, no names")
    command.add_argument("--names", action="store_true", help="list what is not in order by its path")
    command.add_argument("--hashes", action="store_true", help="read every copy and compare it with its receipt")
    command.set_defaults(command=_reconcile)

    command = commands.add_parser(
        "retry",
        help="try rejected or failed files again",
        description="Put jobs back into the queue, with new attempts. The files stay where they are.",
    )
    chosen = command.add_mutually_exclusive_group(required=True)
    chosen.add_argument("job", type=int, nargs="?", metavar="JOB", help="the number of one job, as the log has it")
    chosen.add_argument("--reason", type=_reason, metavar="CODE", help="all that ended with this reason")
    chosen.add_argument("--all-failed", action="store_true", help="all that failed after their last attempt")
    command.add_argument("--folder", type=_folder_name, metavar="NAME", help="only of this folder")
    command.set_defaults(command=_retry)

    command = commands.add_parser(
        "forget",
        help="drop a finished job",
        description="Drop a finished job from the queue. If its file is still there it is taken anew by the next scan."
        " Receipt and copy of a published file stay; a new copy is put beside it unless it is the same.",
    )
    command.add_argument("job", type=int, metavar="JOB", help="the number of the job, as the log has it")
    command.set_defaults(command=_forget)


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("there is no such reason; see: blurd status") from error


def _folder_name(text: str) -> FolderName:
    try:
        return FolderName(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def settings_of_queue(config: Path | None) -> Settings:
    """The settings of a blurd that has run before. Raises STATE_UNUSABLE where it has not."""
    settings = load_settings(config or DEFAULT_PATH)
    if not settings.queue_path.exists():
        raise EquipmentError(Reason.STATE_UNUSABLE, "open queue", "blurd has not run here yet.")
    return settings


def _reconcile(options: argparse.Namespace) -> int:
    from blurd.reconcile import print_reconciliation, reconcile  # noqa: PLC0415

    found = reconcile(settings_of_queue(options.config), hashes=options.hashes)
    if options.json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201
    else:
        print_reconciliation(Console(), found, printable, names=options.names)
    return 0 if found.is_sound else EXIT_PARTLY


def _retry(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    if options.folder is not None and settings.folder_named(options.folder) is None:
        raise EquipmentError(Reason.SETTINGS_INVALID, "retry", f"There is no folder {options.folder}.")
    if options.folder is not None and options.job is not None:
        raise EquipmentError(Reason.JOB_NOT_SUITABLE, "retry", "--folder goes with --reason and --all-failed only.")
    with closing(QueueAdministration(settings.queue_path)) as queue:
        if options.job is not None:
            queue.retry(options.job)
            number = 1
        else:
            states = (JobState.FAILED,) if options.all_failed else tuple(sorted(RETRIABLE))
            number = queue.retry_all(states, options.reason, options.folder)
    print(f"{number} back in the queue")  # noqa: T201
    return 0


def _forget(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    with closing(QueueAdministration(settings.queue_path)) as queue:
        state = queue.forget(options.job)
    kept = "; its copy and its receipt stay" if state is JobState.PUBLISHED else ""
    print(f"job {options.job} ({state}) is forgotten{kept}")  # noqa: T201
    return 0
