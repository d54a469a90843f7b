"""The commands that look at jobs: jobs, show. Part of the command line. Nothing is changed.

`jobs` names no file. `show` is the only command that does, for the person at this terminal.
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.ledger import PUBLISHED, Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_view import JobRecord, QueueView
from blurd.arguments import count, folder_name, moment, need_folder, settings_of_queue, states
from blurd.config import Settings
from blurd.core.naming import printable
from blurd.errors import EquipmentError, Reason
from blurd.exit_codes import EXIT_OTHER
from blurd.job_page import lines_as_json, print_lines, print_record, record_as_json
from blurd.records import JobState

LIMIT = 20


def add_job_commands(commands: Any) -> None:
    """Add them to the parser's sub-commands."""
    command = commands.add_parser(
        "jobs",
        help="list jobs, the newest change first",
        description="List jobs by their latest change. No names are shown; for those see: blurd show JOB.",
    )
    command.add_argument("--folder", type=folder_name, metavar="NAME", help="only of this folder")
    command.add_argument(
        "--state", type=states, metavar="LIST", help=f"only in these states: {', '.join(JobState)}; separated by commas"
    )
    command.add_argument("--since", type=moment, metavar="DATE", help="only those that changed since then")
    command.add_argument("--limit", type=count, default=LIMIT, metavar="N", help=f"at most so many (default: {LIMIT})")
    command.add_argument("--json", action="store_true", help="for scripts")
    command.set_defaults(command=_jobs)

    command = commands.add_parser(
        "show",
        help="show one job: its file, its history, why, and what to do",
        description="Show everything that the queue knows of a job. The only command that shows names.",
    )
    command.add_argument("job", type=int, metavar="JOB", help="the number of the job, as log, note and list have it")
    command.add_argument("--json", action="store_true", help="for scripts")
    command.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="write a picture of the published copy there (PNG): a photo, or frames of a video with their times",
    )
    command.set_defaults(command=_show)


def _jobs(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    need_folder(settings, options.folder)
    with closing(QueueView(settings.queue_path, read_only=True)) as queue:
        wanted = options.state or tuple(JobState)
        found = queue.latest(options.folder, wanted, options.since or "", options.limit)
    if options.json:
        print(json.dumps(lines_as_json(found), indent=2))  # noqa: T201
    else:
        print_lines(Console(), found, options.limit)
    return 0


def _show(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    with closing(QueueView(settings.queue_path, read_only=True)) as queue:
        record = queue.record(options.job)
    if record is None:
        raise EquipmentError(Reason.NO_SUCH_JOB, "look up job", f"No job has the number {options.job}.")
    if options.sheet is not None:
        return _write_sheet(settings, record, options.sheet)
    if options.json:
        print(json.dumps(record_as_json(record), indent=2))  # noqa: T201
    else:
        print_record(Console(), record)
    return 0


def _write_sheet(settings: Settings, record: JobRecord, target: Path) -> int:
    from blurd.contact_sheet import sheet  # noqa: PLC0415

    job = record.job
    folder = settings.folder_named(job.folder)
    if job.state is not JobState.PUBLISHED or job.staged is None:
        raise EquipmentError(Reason.JOB_NOT_SUITABLE, "draw sheet", f"Job {job.id} is {job.state}: it has no copy.")
    if folder is None:
        raise EquipmentError(Reason.SETTINGS_INVALID, "draw sheet", f"There is no folder {job.folder} any more.")
    receipts = (line for line in Ledger(settings.receipts_path).read() if line["event"] == PUBLISHED)
    told = next((line for line in receipts if line["job"] == job.id), {})
    sha256 = str(told.get("output_sha256", job.staged.sha256))
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    with guard.read_outbound() as outbound:
        name = job.published or _name_lying(settings, record)
        if name is None:
            raise EquipmentError(Reason.COPY_DIFFERS, "find copy", "No file has its name any more.")
        drawn = sheet(settings, folder, outbound, name, sha256)
    try:
        drawn.save(target, "PNG")
    except OSError as error:
        print(f"blurd: {printable(str(target))} can't be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        return EXIT_OTHER
    print(f"the copy of job {job.id}: {printable(str(target))}")  # noqa: T201
    return 0


def _name_lying(settings: Settings, record: JobRecord) -> str | None:
    """The copy's name, found by its digest among what lies in outbound, once it is erased."""
    from blurd.reconcile import names_below  # noqa: PLC0415

    job, folder = record.job, settings.folder_named(record.job.folder)
    if folder is None or record.names_erased_at is None:
        return None
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    with (
        guard.read_outbound() as outbound,
        closing(SqliteJobStore(settings.queue_path, read_only=True)) as store,
        closing(QueueView(settings.queue_path, read_only=True)) as queue,
    ):
        return queue.name_by_digest(job.id, store.names_lying(job.folder, names_below(outbound)))
