"""The command `blurd doctor`. Part of the command line.

Exit codes: 0 nothing is wrong (there may be notes), 1 something is; with `--part`, the same for that part.
"""

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from blurd.config import DEFAULT_PATH
from blurd.core.naming import printable
from blurd.doctor.finding import Finding, Health
from blurd.exit_codes import EXIT_PARTLY

_INDENT = " " * 7


def add_doctor_command(commands: Any) -> None:
    """Add it to the parser's sub-commands."""
    command = commands.add_parser(
        "doctor",
        help="look for whatever keeps blurd from working, and say how to mend it",
        description="Look at the settings, the state, the folders (as the user who serves them), the models (with a"
        " test), systemd's units and Samba's shares. Says what is wrong and the command that mends it. Writes nothing"
        " but a hidden file in inbound and one in the staging folder, and removes them. Exit code 1 where something is"
        " wrong, 0 else.",
    )
    command.add_argument("--json", action="store_true", help="for monitoring")
    command.add_argument("--part", metavar="PART", help="only models, or folder:NAME, as the user who calls")
    command.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from blurd.doctor.examine import examine, examine_part  # noqa: PLC0415

    config = options.config or DEFAULT_PATH
    found = examine_part(config, options.part) if options.part else examine(config)
    findings = _as_json(found) if options.json else _as_text(found)
    return EXIT_PARTLY if any(finding.health is Health.WRONG for finding in findings) else 0


def _as_json(found: Iterable[Finding]) -> Sequence[Finding]:
    findings = tuple(found)
    healthy = not any(finding.health is Health.WRONG for finding in findings)
    document = {"healthy": healthy, "findings": [finding.as_json() for finding in findings]}
    print(json.dumps(document, indent=2))  # noqa: T201
    return findings


def _as_text(found: Iterable[Finding]) -> Sequence[Finding]:
    findings = []
    width = max(40, shutil.get_terminal_size().columns)
    for finding in found:
        findings.append(finding)
        text = printable(f"{finding.subject}: {finding.text}")
        lines = textwrap.wrap(text, width, initial_indent=f"{finding.health:<7}", subsequent_indent=_INDENT)
        mend = [f"{_INDENT}mend: {printable(finding.mend)}"] if finding.mend else []  # whole, to be copied
        print("\n".join((*lines, *mend)), flush=True)  # noqa: T201
    wrong = sum(finding.health is Health.WRONG for finding in findings)
    notes = sum(finding.health is Health.NOTE for finding in findings)
    print(f"{wrong} wrong, {notes} notes" if wrong else f"nothing is wrong, {notes} notes")  # noqa: T201
    return findings
