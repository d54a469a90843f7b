"""The commands that look through the queue and tend it: reconcile, retry, forget. Part of the command line.

All of them are safe while everything runs. `reconcile` changes nothing; the others move jobs through the lifecycle
table alone, and leave every file where it is.
"""

import argparse
import json
from contextlib import closing
from typing import Any

from rich.console import Console

from blurd.adapters.store_admin import QueueAdministration
from blurd.arguments import folder_name, need_folder, reason, settings_of_queue
from blurd.core.lifecycle import RETRIABLE
from blurd.core.naming import printable
from blurd.errors import REASONS, EquipmentError, Reason
from blurd.exit_codes import EXIT_PARTLY
from blurd.records import JobState


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
    chosen.add_argument("--reason", type=reason, metavar="CODE", help="all that ended with this reason")
    chosen.add_argument("--all-failed", action="store_true", help="all that failed after their last attempt")
    command.add_argument("--folder", type=folder_name, metavar="NAME", help="only of this folder")
    command.set_defaults(command=_retry)

    command = commands.add_parser(
        "forget",
        help="drop a finished job",
        description="Drop a finished job from the queue. If its file is still there it is taken anew by the next scan."
        " Receipt and copy of a published file stay; a new copy is put beside it unless it is the same.",
    )
    command.add_argument("job", type=int, metavar="JOB", help="the number of the job, as the log has it")
    command.set_defaults(command=_forget)


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
    need_folder(settings, options.folder)
    if options.folder is not None and options.job is not None:
        raise EquipmentError(Reason.JOB_NOT_SUITABLE, "retry", "--folder goes with --reason and --all-failed only.")
    with closing(QueueAdministration(settings.queue_path)) as queue:
        if options.job is not None:
            queue.retry(options.job)
            number, erased = 1, 0
        else:
            states = (JobState.FAILED,) if options.all_failed else tuple(sorted(RETRIABLE))
            number = queue.retry_all(states, options.reason, options.folder)
            erased = queue.count_erased(states, options.reason, options.folder)
    print(f"{number} back in the queue")  # noqa: T201
    if erased:
        print(f"{erased} more can't be tried again. {REASONS[Reason.NAME_ERASED].meaning}")  # noqa: T201
    return 0


def _forget(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    with closing(QueueAdministration(settings.queue_path)) as queue:
        state = queue.forget(options.job)
    kept = "; its copy and its receipt stay" if state is JobState.PUBLISHED else ""
    print(f"job {options.job} ({state}) is forgotten{kept}")  # noqa: T201
    return 0
