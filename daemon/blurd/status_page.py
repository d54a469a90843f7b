"""The status for a person: a page that fits 80 columns. No file is named."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blurd.errors import REASONS, Reason
from blurd.events import Part

_WAITING = ("settling", "awaiting_regions", "queued", "retrying")
_AGES = ((172_800, 86_400, "d"), (7200, 3600, "h"), (120, 60, "min"), (0, 1, "s"))
"""From how many seconds on an age is told in which unit."""


def page(status: Mapping[str, Any]) -> RenderableType:
    """`status` is what `status.as_json` gives."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("folder", overflow="fold")
    for title in ("waiting", "running", "today", "in all", "rejected", "failed", "oldest"):
        table.add_column(title, justify="right", no_wrap=True)
    notes = list(_state_notes(status))
    for name, folder in status["folders"].items():
        waiting, running = sum(folder[state] for state in _WAITING), folder["running"] + folder["staged"]
        today = "" if folder["published_today"] is None else folder["published_today"]
        counts = waiting, running, today, folder["published"], folder["rejected"], folder["failed"]
        table.add_row(name, *map(str, counts), age(folder["oldest_waiting_s"]))
        notes.extend(_notes(name, folder))
    return Group(*(Text(line) for line in (*_process_lines(status), *_job_lines(status))), table, *map(Text, notes))


def age(seconds: float | None) -> str:
    """How long something has waited, in one number."""
    if seconds is None:
        return ""
    size, unit = next((size, unit) for least, size, unit in _AGES if seconds >= least)
    return f"{int(seconds // size)} {unit}"


def _process_lines(status: Mapping[str, Any]) -> Iterator[str]:
    alive = [item for item in status["processes"] if item["alive"]]
    if not alive:
        yield "not running: start it with `blurd run`"
        return
    yield "running: " + ", ".join(
        f"{item['part']} {item['pid']}"
        + (f" on {item['device']}" if item["device"] else "")
        + (" (degraded)" if item["degraded"] else "")
        for item in alive
    )
    parts = {item["part"] for item in alive}
    for missing in sorted({str(Part.WATCH), str(Part.WORK)} - parts):
        yield f"NOT running: {missing}"
    models = sorted({item["models"] for item in alive if item["models"]})
    if models:
        yield f"workers: {status['workers']}, models: {'; '.join(models)}"
    if any(item["degraded"] for item in alive):
        yield "degraded: a worker runs on another device than the settings ask for; see the log of blurd-work@1"


def _job_lines(status: Mapping[str, Any]) -> Iterator[str]:
    for item in status["running"]:
        left = timedelta(seconds=round(item["left_s"]))
        speed = f"{item['frames_per_s']:.1f} frames/s"
        yield f"job {item['job']} in {item['folder']}: {item['progress']:.0%}, {speed}, {left} left"


def _state_notes(status: Mapping[str, Any]) -> Iterator[str]:
    if status["state_full"]:
        text = REASONS[Reason.STATE_FULL]
        yield f"state: {text.meaning} {text.remedy}"
    for rebuild in status["rebuilds"]:
        kept = f"; the damaged one is kept as queue.sqlite.damaged-{rebuild['kept_as']}" if rebuild["kept_as"] else ""
        yield f"state: the queue was begun anew at {rebuild['at']} from {rebuild['receipts']} receipts{kept}."


def _notes(name: str, folder: Mapping[str, Any]) -> list[str]:
    notes = []
    if folder["paused"]:
        text = REASONS[Reason(folder["paused"])]
        notes.append(f"{name}: paused. {text.meaning} {text.remedy}")
    if folder["unreadable"]:
        notes.append(f"{name}: {folder['unreadable']} folders below inbound can't be read: give the user blurd access.")
    if folder["rescan_only"]:
        notes.append(f"{name}: no notifications here; new files are found by the periodic scan.")
    beside = {Reason.REGIONS_MISSING: folder["awaiting_regions"], Reason.NOT_MEDIA: folder["ignored"]}
    for code, number in (beside | folder["reasons"]).items():
        if number:
            text = REASONS[Reason(code)]
            notes.append(f"{name}: {number} x {code}. {text.meaning} {text.remedy}")
    return notes
