"""`blurd redo`: make copies again with today's models and settings. Part of the command line.

A published job gets a new one for the same file, which `publish` lets take its place: the old copy stays visible until
the new one is verified and linked, and is withdrawn then.

Invariants
* Only the newest job of a file is made again, only while it is published, and only while its original is there as it
  was; whatever else is left as it is, and said.
* A name that was erased is found again by its digest, from the files that are in inbound.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.store_redo import Candidate, Order, RedoQueue
from blurd.arguments import folder_name, moment, need_folder, settings_of_queue
from blurd.config import Settings
from blurd.errors import REASONS, EquipmentError, Reason
from blurd.exit_codes import EXIT_PARTLY
from blurd.records import FolderName, JobId, same_regions
from blurd.stages.settle import walk

SHOWN = 20
"""So many jobs that are left as they are get a line of their own; the rest is counted."""


def add_redo_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "redo",
        help="make copies again, with today's models and settings",
        description="Queue published files once more. The old copy stays until the new one is verified and in its"
        " place in outbound; then it is withdrawn. Where the old copy's name is still taken the new one gets a number."
        " Files whose original is gone or changed are left as they are. Exit code 1 where there were such.",
    )
    command.add_argument("job", type=int, nargs="?", metavar="JOB", help="the number of one job, as the log has it")
    command.add_argument("--folder", type=folder_name, metavar="NAME", help="all published files of this folder")
    command.add_argument("--since", type=moment, metavar="DATE", help="all that were published since then")
    command.set_defaults(command=_redo)


def _redo(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    need_folder(settings, options.folder)
    chosen = options.folder is not None or options.since is not None
    if (options.job is None) == (not chosen):
        raise EquipmentError(Reason.JOB_NOT_SUITABLE, "redo", "Name either one job, or --folder, --since or both.")
    with closing(RedoQueue(settings.queue_path)) as queue:
        found = [queue.candidate(options.job)] if options.job is not None else queue.candidates(*_which(options))
        number, left = redo(settings, queue, found)
    for job, reason in left[:SHOWN]:
        print(f"job {job} is left as it is: {reason}. {_WHY.get(reason, REASONS[reason].meaning)}")  # noqa: T201
    if len(left) > SHOWN:
        print(f"and {len(left) - SHOWN} more")  # noqa: T201
    print(f"{number} in the queue again, {len(left)} left as they are")  # noqa: T201
    return EXIT_PARTLY if left else 0


_WHY: Mapping[Reason, str] = {
    Reason.SOURCE_VANISHED: "Its original is gone.",
    Reason.SOURCE_CHANGED: "Its original, or what belongs to it, has changed since, and has or gets its own job.",
    Reason.JOB_NOT_SUITABLE: "It has moved on meanwhile.",
    Reason.SETTINGS_INVALID: "The settings have no folder of that name any more.",
}


def _which(options: argparse.Namespace) -> tuple[FolderName | None, str]:
    return options.folder, options.since or ""


def redo(
    settings: Settings, queue: RedoQueue, candidates: Sequence[Candidate]
) -> tuple[int, list[tuple[JobId, Reason]]]:
    """Queue these jobs' files once more; how many, and which were left as they are and why."""
    orders: list[Order] = []
    left: list[tuple[JobId, Reason]] = []
    by_folder: dict[FolderName, list[Candidate]] = {}
    for candidate in candidates:
        by_folder.setdefault(candidate.folder, []).append(candidate)
    for name, found in by_folder.items():
        for candidate, order in _orders(settings, queue, name, found):
            if isinstance(order, Order):
                orders.append(order)
            else:
                left.append((candidate.job, order))
    done = queue.redo(orders)
    left.extend((order.job, Reason.JOB_NOT_SUITABLE) for order in orders if order.job not in done)
    return len(done), sorted(left)


def _orders(
    settings: Settings, queue: RedoQueue, name: FolderName, found: Sequence[Candidate]
) -> Iterator[tuple[Candidate, Order | Reason]]:
    """For each of a folder's candidates what is to be made again, or why it can't be."""
    folder = settings.folder_named(name)
    if folder is None:
        yield from ((candidate, Reason.SETTINGS_INVALID) for candidate in found)
        return
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    try:
        with guard.open_inbound() as inbound:
            names: Mapping[bytes, str] = {}
            if any(candidate.path is None for candidate in found):
                names = queue.names_lying(name, (path for path, _ in walk(inbound, settings.watch.temporary_names)))
            for candidate in found:
                path = candidate.path or names.get(candidate.digest)
                yield candidate, _order(inbound, candidate, path)
    except EquipmentError as error:
        if error.reason not in (Reason.INBOUND_MISSING, Reason.INBOUND_STRANGE):
            raise
        yield from ((candidate, error.reason) for candidate in found)


def _order(inbound: InboundFolder, candidate: Candidate, path: str | None) -> Order | Reason:
    status = None if path is None else inbound.status(path)
    if path is None or status is None:
        return Reason.SOURCE_VANISHED
    stamp, regions = stamp_of(status), inbound.regions_stamp(path)
    if not stamp.same_content(candidate.stamp) or not same_regions(regions, candidate.regions):
        return Reason.SOURCE_CHANGED
    return Order(candidate.job, path, stamp)
