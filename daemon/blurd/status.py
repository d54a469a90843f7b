"""`blurd status`: what the appliance is doing, for a person (80 columns) or a script (JSON). Reads the queue only."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from blurd.adapters.host import is_alive
from blurd.adapters.queue_file import is_full
from blurd.adapters.wall_time import rests_until
from blurd.config import FolderSettings, Settings
from blurd.errors import REASONS, Reason
from blurd.events import Part
from blurd.records import JobState, Overview, Progress

_COLUMNS = (
    ("queued", (JobState.QUEUED,)),
    ("running", (JobState.CLAIMED,)),
    ("retrying", (JobState.DEFERRED,)),
    ("staged", (JobState.STAGED,)),
    ("published", (JobState.PUBLISHED,)),
    ("rejected", (JobState.REJECTED,)),
    ("failed", (JobState.FAILED,)),
)


def as_json(settings: Settings, overview: Overview) -> dict[str, Any]:
    """The status as plain values; `healthy` as the exit code says it."""
    return {
        "healthy": is_healthy(settings, overview),
        "processes": [
            {
                "part": process.part,
                "pid": process.worker.pid,
                "alive": is_alive(process.worker),
                "device": process.device,
                "degraded": process.degraded,
            }
            for process in overview.processes
        ],
        "running": [{"job": job.job, "folder": job.folder, **_progress(job.progress)} for job in overview.running],
        "state_full": is_full(settings.state.directory),
        "rebuilds": [
            {"at": rebuild.at, "kept_as": rebuild.kept, "receipts": rebuild.receipts} for rebuild in overview.rebuilds
        ],
        "folders": {folder.name: _folder(overview, folder) for folder in settings.folder},
    }


def _folder(overview: Overview, folder: FolderSettings) -> dict[str, Any]:
    name = folder.key
    counts = overview.counts.get(name, {})
    condition = next((item for item in overview.folders if item.folder == name), None)
    return {
        "settling": condition.settling if condition else 0,
        "awaiting_regions": condition.awaiting_regions if condition else 0,
        "unreadable": condition.unreadable if condition else 0,
        "paused": condition.paused if condition else None,
        "rescan_only": condition.rescan_only if condition else None,
        "rests_until": rests_until(folder.open_hours),
        **{title: sum(counts.get(state, 0) for state in states) for title, states in _COLUMNS},
        "vanished": counts.get(JobState.VANISHED, 0),
        "superseded": counts.get(JobState.SUPERSEDED, 0),
        "withdrawn": counts.get(JobState.WITHDRAWN, 0),
        "ignored": counts.get(JobState.IGNORED, 0),
        "reasons": {str(reason): number for reason, number in overview.reasons.get(name, {}).items()},
    }


def is_healthy(settings: Settings, overview: Overview) -> bool:
    """True where watcher and a worker run, undegraded, no folder is paused or can't be read in part, and no job failed.

    The queue's disk must have room, too. A rejected file is a verdict, not a fault of the appliance.
    """
    running = {process.part for process in overview.processes if is_alive(process.worker)}
    names = {folder.key for folder in settings.folder}
    return (
        {str(Part.WATCH), str(Part.WORK)} <= running
        and not is_full(settings.state.directory)
        and not any(process.degraded for process in overview.processes if is_alive(process.worker))
        and not any(item.paused or item.unreadable for item in overview.folders if item.folder in names)
        and not any(overview.counts.get(name, {}).get(JobState.FAILED) for name in names)
    )


def _progress(progress: Progress) -> dict[str, float]:
    return {"progress": progress.share, "frames_per_s": progress.frames_per_s, "left_s": progress.left_s}


def print_status(console: Console, settings: Settings, overview: Overview) -> None:
    """The status for a person."""
    console.print(_page(as_json(settings, overview)))


def _page(status: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("folder")
    for title in ("settling", *(title for title, _ in _COLUMNS)):
        table.add_column(title, justify="right")
    notes = list(_state_notes(status))
    for name, folder in status["folders"].items():
        table.add_row(name, str(folder["settling"]), *(str(folder[title]) for title, _ in _COLUMNS))
        notes.extend(_notes(name, folder))
    processes = [
        f"{item['part']} {item['pid']}"
        + (f" on {item['device']}" if item["device"] else "")
        + (" (degraded)" if item["degraded"] else "")
        for item in status["processes"]
        if item["alive"]
    ]
    first = "running: " + ", ".join(processes) if processes else "not running: start it with `blurd run`"
    jobs = [
        f"job {item['job']} in {item['folder']}: {item['progress']:.0%}, {item['frames_per_s']:.1f} frames/s, "
        f"{timedelta(seconds=round(item['left_s']))} left"
        for item in status["running"]
    ]
    return Group(Text(first), *(Text(job) for job in jobs), table, *(Text(note) for note in notes))


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
    if folder["rests_until"]:
        notes.append(f"{name}: rests until {folder['rests_until']}; files are found and queued.")
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
