"""`blurd retention`: what retention would take away now. Part of the command line. Changes nothing."""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from blurd.adapters.store import SqliteJobStore
from blurd.arguments import settings_of_queue
from blurd.config import FolderSettings
from blurd.core.naming import printable
from blurd.retention import Forecast, forecast
from blurd.stages.retain import Due


def add_retention_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "retention",
        help="show what would be archived or deleted now",
        description="Show what the folders' retention would take away now: originals whose verified copies were"
        " published long enough ago, and copies that nobody fetched. A dry run: nothing is changed, and no content is"
        " read. The watcher carries it out, after it has compared each file's content with its receipt.",
    )
    command.add_argument("--names", action="store_true", help="list the files")
    command.add_argument("--json", action="store_true", help="for scripts: counts, no names")
    command.set_defaults(command=_retention)


def _retention(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    with closing(SqliteJobStore(settings.queue_path, read_only=True)) as store:
        found = list(forecast(settings, store))
    if options.json:
        print(json.dumps({item.folder.name: _as_json(item) for item in found}, indent=2))  # noqa: T201
        return 0
    for item in found:
        for sentence in _sentences(item, names=options.names):
            print(sentence)  # noqa: T201
    return 0


def _as_json(item: Forecast) -> dict[str, Any]:
    return {
        "originals": item.folder.originals,
        "originals_days": item.folder.originals_days,
        "outbound_days": item.folder.outbound_days,
        "originals_due": _count(item.originals),
        "copies_due": _count(item.copies),
    }


def _count(due: Sequence[Due] | None) -> dict[str, int] | None:
    return None if due is None else {"files": len(due), "bytes": sum(item.size for item in due)}


def _sentences(item: Forecast, *, names: bool) -> Iterator[str]:
    folder = item.folder
    yield f"{folder.name}: {_rule(folder)}"
    for due, what, wanted in (
        (
            item.originals,
            "originals would be " + ("archived" if folder.originals == "archive" else "deleted"),
            folder.originals != "keep",
        ),
        (item.copies, "copies would be deleted", folder.outbound_days > 0),
    ):
        if not wanted:
            continue
        if due is None:
            yield "  the folder can't be looked at now"
            continue
        yield f"  {len(due)} {what} now, {sum(one.size for one in due) / 1e6:.1f} MB"
        if names:
            yield from (f"    {printable(one.path)}" for one in due)


def _rule(folder: FolderSettings) -> str:
    originals = "originals stay"
    if folder.originals != "keep":
        done = "archived" if folder.originals == "archive" else "deleted"
        originals = f"originals are {done} {folder.originals_days:g} days after the publication"
    copies = f"copies are deleted after {folder.outbound_days:g} days" if folder.outbound_days else "copies stay"
    return f"{originals}; {copies}"
