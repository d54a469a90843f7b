"""Events in a real journal: fields, priority, message id, and what the catalog says of them."""

import dataclasses
import enum
import json
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from blurd.adapters.journal import fields_of, message_of
from blurd.errors import Reason
from blurd.events import EVENTS, Event, JobRejected, JobWithdrawn, Part
from blurd.records import FolderName
from mounts import need_root

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
IN_A_JOURNAL = """
set -e
mount -t tmpfs run /run
mkdir -p /run/systemd/journal /run/log/journal
{journald} 2>/dev/null &
journald=$!
trap 'kill $journald' EXIT
until [ -S /run/systemd/journal/socket ] && [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
systemd-cat sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"' sh "$@"
journalctl -D /run/log/journal --sync 2>/dev/null || sleep 0.3
journalctl -D /run/log/journal -o json --no-pager
"""
SPEAK = """
from blurd.adapters.log import EventLog
from blurd.errors import Reason
from blurd.events import JobRejected, JobWithdrawn, Part
from blurd.records import FolderName
log = EventLog(Part.WORK)
log.emit(JobRejected(7, FolderName("photos"), Reason.DAMAGED))
log.emit(JobWithdrawn(8, FolderName("photos"), 9, False))
"""


def sample(event: type[Event]) -> Event:
    """An event with some value in every field."""
    hints = typing.get_type_hints(event)
    values: list[Any] = []
    for item in dataclasses.fields(event):
        kind = hints[item.name]
        enumeration = issubclass(kind, enum.Enum)
        values.append(next(iter(kind)) if enumeration else FolderName("a") if kind is FolderName else kind(3))
    return event(*values)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_entry_holds_the_typed_fields_and_a_short_line_of_them(event: type[Event]) -> None:
    made = sample(event)
    entry = fields_of(made, Part.WATCH)
    assert entry["MESSAGE_ID"] == event.message_id()
    assert entry["BLURD_EVENT"] == event.name
    assert entry["SYSLOG_IDENTIFIER"] == "blurd-watch"
    assert entry["PRIORITY"] in {"3", "4", "6"}
    assert {key for key in entry if key.startswith("BLURD_")} == {
        "BLURD_EVENT",
        *(f"BLURD_{name.upper()}" for name in made.values()),
    }
    assert all(key.replace("_", "").isalnum() and key.isupper() for key in entry)
    assert "\n" not in "".join(entry.values())
    words = {word.strip(",:") for word in message_of(made).split()}
    told = {*event.name.split("_"), *(part for name in made.values() for part in name.split("_"))}
    assert words <= told | {str(value) for value in made.values().values()}


def test_a_message_reads_like_a_sentence() -> None:
    assert message_of(JobRejected(7, FolderName("photos"), Reason.DAMAGED)) == (
        "job rejected: job 7, folder photos, reason damaged"
    )


def test_under_systemd_events_are_entries_of_the_journal() -> None:
    need_root()
    if not JOURNALD.exists() or shutil.which("systemd-cat") is None:
        pytest.skip("needs systemd-journald")
    script = IN_A_JOURNAL.format(journald=JOURNALD)
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-c", SPEAK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    ours = [entry for entry in entries if "BLURD_EVENT" in entry]
    assert [entry["BLURD_EVENT"] for entry in ours] == ["job_rejected", "job_withdrawn"], done.stderr
    first, second = ours
    assert first["_TRANSPORT"] == "journal"
    assert first["MESSAGE_ID"] == JobRejected.message_id()
    assert (first["PRIORITY"], first["BLURD_JOB"], first["BLURD_REASON"]) == ("4", "7", "damaged")
    assert first["MESSAGE"] == "job rejected: job 7, folder photos, reason damaged"
    assert second["BLURD_REMOVED"] == "0"
    assert second["MESSAGE_ID"] == JobWithdrawn.message_id()
    assert not any("job_rejected" in str(entry["MESSAGE"]) for entry in entries)  # and not as JSON beside


def test_elsewhere_events_are_lines_of_json(tmp_path: Path) -> None:
    """A stream that only claims to be the journal's is none."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        environment = {"JOURNAL_STREAM": "1:1"}
        subprocess.run([sys.executable, "-c", SPEAK], stderr=stream, env=environment, check=True)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["job_rejected", "job_withdrawn"]


def test_where_the_journal_takes_nothing_events_go_to_its_stream(tmp_path: Path) -> None:
    """The stream is there, the socket is not: nothing is lost, nothing raises."""
    need_root()
    log = tmp_path / "log"
    with log.open("w") as stream:
        script = 'mount -t tmpfs run /run; JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-c", SPEAK]
        subprocess.run(command, stderr=stream, check=True)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["job_rejected", "job_withdrawn"]
