"""What the appliance is doing, as plain values: for `blurd status` and for scripts. Reads the queue only.

`status_page` shows it to a person. No file is named.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from blurd.adapters.host import is_alive, seconds_since
from blurd.adapters.queue_file import is_full
from blurd.adapters.store_view import FolderFigures
from blurd.config import Settings
from blurd.events import Part
from blurd.records import FolderName, JobState, Overview, Progress

_COLUMNS = (
    ("queued", (JobState.QUEUED,)),
    ("running", (JobState.CLAIMED,)),
    ("retrying", (JobState.DEFERRED,)),
    ("staged", (JobState.STAGED,)),
    ("published", (JobState.PUBLISHED,)),
    ("rejected", (JobState.REJECTED,)),
    ("failed", (JobState.FAILED,)),
)


_UNKNOWN: Mapping[FolderName, FolderFigures] = MappingProxyType({})


def as_json(
    settings: Settings, overview: Overview, figures: Mapping[FolderName, FolderFigures] = _UNKNOWN
) -> dict[str, Any]:
    """The status as plain values; `healthy` as the exit code says it.

    Keys are only ever added. `figures` tells what was published since midnight; where it is left out, those are None.
    """
    return {
        "healthy": is_healthy(settings, overview),
        "processes": [
            {
                "part": process.part,
                "pid": process.worker.pid,
                "alive": is_alive(process.worker),
                "device": process.device,
                "degraded": process.degraded,
                "models": process.models,
            }
            for process in overview.processes
        ],
        "running": [{"job": job.job, "folder": job.folder, **_progress(job.progress)} for job in overview.running],
        "workers": sum(process.part == Part.WORK and is_alive(process.worker) for process in overview.processes),
        "state_full": is_full(settings.state.directory),
        "rebuilds": [
            {"at": rebuild.at, "kept_as": rebuild.kept, "receipts": rebuild.receipts} for rebuild in overview.rebuilds
        ],
        "folders": {folder.name: _folder(overview, folder.key, figures.get(folder.key)) for folder in settings.folder},
    }


def _folder(overview: Overview, name: FolderName, figures: FolderFigures | None) -> dict[str, Any]:
    counts = overview.counts.get(name, {})
    condition = next((item for item in overview.folders if item.folder == name), None)
    since = None if figures is None else figures.waiting_since
    return {
        "published_today": None if figures is None else figures.published,
        "waiting_since": since,
        "oldest_waiting_s": None if since is None else seconds_since(since),
        "settling": condition.settling if condition else 0,
        "awaiting_regions": condition.awaiting_regions if condition else 0,
        "unreadable": condition.unreadable if condition else 0,
        "paused": condition.paused if condition else None,
        "rescan_only": condition.rescan_only if condition else None,
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
