"""`blurd report`: a month of processing, for the file of data protection. Part of the command line. Changes nothing."""

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blurd.activity import Month, activity
from blurd.arguments import settings_of_queue

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def add_report_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "report",
        help="sum a month up, for the file of data protection",
        description="Sum a month up: files in and out, rejected by reason, hours of video, speed, backlog, outages,"
        " retention carried out, models and settings in force with their measured figures. Without --html the figures"
        " are printed as JSON. No names, but those of the folders in the settings.",
    )
    command.add_argument("--month", type=_month, metavar="YYYY-MM", help="which month, in UTC (default: this one)")
    command.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page there")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    command.set_defaults(command=_report)


def _month(text: str) -> Month:
    found = _MONTH.fullmatch(text)
    if found is None or int(found[1]) < 1970:  # noqa: PLR2004  the clock's first year
        raise argparse.ArgumentTypeError("write a month such as 2026-03")
    return Month(int(found[1]), int(found[2]))


def _report(options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    found = activity(settings_of_queue(options.config), options.month or Month(now.year, now.month))
    text = json.dumps(found.as_json(), indent=2) + "\n"
    if options.html:
        from blurd.report_page import report_page  # noqa: PLC0415  drawing takes long to load

        options.html.write_text(report_page(found), encoding="utf-8")
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    if not options.html and not options.json:
        print(text, end="")  # noqa: T201
    return 0
