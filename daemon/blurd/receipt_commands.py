"""`blurd receipts`: prove the ledger, or hand a part of it out. Part of the command line. Changes nothing."""

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from blurd.adapters.ledger import Ledger
from blurd.arguments import moment, settings_of_queue
from blurd.audit import Audit, audit
from blurd.core.receipts import line_of, time_of
from blurd.exit_codes import EXIT_PARTLY


def add_receipt_commands(commands: Any) -> None:
    """Add them to the parser's sub-commands."""
    command = commands.add_parser(
        "receipts",
        help="prove the ledger of receipts, or export a part of it",
        description="The ledger has a line for every job that was published, rejected or failed, for every copy that"
        " was withdrawn, and for all that retention took away: hashes, sizes, times and settings, no names.",
    )
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser(
        "verify",
        help="prove the chain and the copies that are still there",
        description="Follow the chain line by line, compare its end with what the queue knows, and read every copy that"
        " is still in outbound. Exit code 1 where something is wrong; copies that are gone are counted, and no error.",
    )
    action.add_argument("--json", action="store_true", help="for scripts: counts and faults, no names")
    action.set_defaults(command=_verify)

    action = actions.add_parser(
        "export",
        help="write receipts to standard output, one line of JSON each",
        description="Write the ledger's lines of a time to standard output, as they are.",
    )
    action.add_argument(
        "--since", type=moment, required=True, metavar="DATE", help="from this date, or date and time, on"
    )
    action.add_argument("--until", type=_end, metavar="DATE", help="up to the end of this date, or to this time")
    action.set_defaults(command=_export)


def _end(text: str) -> str:
    """The first moment after a date; a date and time itself."""
    first = moment(text)
    if len(text) > len("2026-03-31"):
        return first
    day = datetime.fromisoformat(text).astimezone() + timedelta(days=1)
    return day.astimezone(UTC).isoformat(timespec="seconds")


def _verify(options: argparse.Namespace) -> int:
    found = audit(settings_of_queue(options.config))
    if options.json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201
    else:
        for sentence in _sentences(found):
            print(sentence)  # noqa: T201
    return 0 if found.is_sound else EXIT_PARTLY


def _sentences(found: Audit) -> Iterator[str]:
    yield from (f"FAULT: {fault}" for fault in found.faults)
    if found.unfinished:
        yield "The last line is unfinished (a power cut, or it is being written); it is cut off before the next one."
    if not found.anchored:
        yield "The queue does not know yet where the ledger ended, so an end that was cut off can't be told."
    for name in found.not_looked_at:
        yield f"Folder {name} can't be looked at; its copies are not verified."
    yield f"{found.lines} receipts, {found.copies} copies read, {found.gone} no longer in outbound"
    yield "every receipt follows from the one before" if found.is_sound else "the ledger is NOT in order"


def _export(options: argparse.Namespace) -> int:
    settings = settings_of_queue(options.config)
    for receipt in Ledger(settings.receipts_path).read():
        at = time_of(receipt)
        if at >= options.since and (options.until is None or at < options.until):
            print(line_of(receipt).decode())  # noqa: T201
    return 0
