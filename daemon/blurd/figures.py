"""The figures that blurd gives to Prometheus, made from one reading of queue and machine. No question is asked here."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from blurd import __version__
from blurd.adapters.store_figures import Totals
from blurd.adapters.wall_time import works_now
from blurd.config import Settings
from blurd.core.exposition import Figure, Labels, labels
from blurd.core.stages import Stage
from blurd.errors import Reason
from blurd.records import FolderCondition, FolderName, JobState, Overview, ProcessCondition


@dataclass(frozen=True)
class Reading:
    """One look at everything. Times are seconds since the epoch, spans are seconds."""

    settings: Settings
    overview: Overview
    totals: Totals
    workers: tuple[ProcessCondition, ...]
    """Those that live."""
    worker_starts: int
    worker_deaths: int
    last_progress_s: float
    now_s: float
    oldest: Mapping[FolderName, str]
    """Since when the oldest unfinished job waits, where there is one, ISO 8601."""
    free_bytes: Mapping[tuple[str, str], int]
    """By folder (empty for the state directory) and place."""
    pressure_s: Mapping[tuple[str, str], float]
    graphics_busy: Mapping[str, float]
    state_full: bool
    alerts_waiting: int

    def condition(self, folder: FolderName) -> FolderCondition | None:
        """What the watcher says of a folder."""
        return next((found for found in self.overview.folders if found.folder == folder), None)

    def age_s(self, at: str | None) -> float:
        """How long ago a time of the queue is; 0 for none."""
        return max(0.0, self.now_s - datetime.fromisoformat(at).timestamp()) if at else 0.0


def figures(reading: Reading) -> Iterator[Figure]:
    """All of them, in the order of the file."""
    yield _gauge("build_info", "The version of blurd; always 1.", {labels(version=__version__): 1})
    yield from _queue(reading)
    yield from _folders(reading)
    yield from _happened(reading)
    yield from _workers(reading)
    yield from _machine(reading)


def _gauge(name: str, meaning: str, series: Mapping[Labels, float]) -> Figure:
    return Figure(f"blurd_{name}", "gauge", meaning, series)


def _counter(name: str, meaning: str, series: Mapping[Labels, float]) -> Figure:
    return Figure(f"blurd_{name}_total", "counter", meaning, series)


def _queue(reading: Reading) -> Iterator[Figure]:
    names = [folder.key for folder in reading.settings.folder]
    counts = reading.overview.counts
    yield _gauge(
        "jobs",
        "Jobs in the queue by folder and state.",
        {labels(folder=n, state=s): counts.get(n, {}).get(s, 0) for n in names for s in JobState},
    )
    yield _gauge(
        "oldest_waiting_seconds",
        "Age of the oldest file that is queued and has no outcome yet; 0 where none waits.",
        {labels(folder=name): round(reading.age_s(reading.oldest.get(name)), 1) for name in names},
    )
    speeds = dict.fromkeys(names, 0.0)
    for job in reading.overview.running:
        speeds[job.folder] = speeds.get(job.folder, 0.0) + job.progress.frames_per_s
    yield _gauge(
        "running_frames_per_second",
        "Frames that the running jobs of a folder treat in a second.",
        {labels(folder=name): round(speed, 2) for name, speed in speeds.items()},
    )


def _folders(reading: Reading) -> Iterator[Figure]:
    folders = reading.settings.folder
    found = {folder.key: reading.condition(folder.key) for folder in folders}
    paused = {name: condition.paused if condition is not None else None for name, condition in found.items()}
    yield _gauge(
        "folder_paused",
        "1 while a folder can't be served.",
        {labels(folder=n): int(r is not None) for n, r in paused.items()},
    )
    yield _gauge(
        "folder_pause_info",
        "Why a folder is paused; 1 for each that is.",
        {labels(folder=name, reason=str(reason)): 1 for name, reason in paused.items() if reason is not None},
    )
    yield _gauge(
        "folder_resting",
        "1 while a folder's hours have not come.",
        {labels(folder=folder.name): int(not works_now(folder.open_hours)) for folder in folders},
    )
    for name, meaning, field in (
        ("folder_settling_files", "Files that are not taken yet, for they may still be written.", "settling"),
        (
            "folder_files_awaiting_regions",
            "Files that wait for the regions that their folder requires.",
            "awaiting_regions",
        ),
        ("folder_unreadable_directories", "Directories below inbound that can't be read.", "unreadable"),
    ):
        yield _gauge(name, meaning, {labels(folder=key): getattr(value, field, 0) for key, value in found.items()})


def _happened(reading: Reading) -> Iterator[Figure]:
    totals = reading.totals
    names = [folder.key for folder in reading.settings.folder]
    yield _counter(
        "attempts",
        "Attempts at jobs: how often a worker took one.",
        {labels(folder=name): totals.count(name, JobState.CLAIMED) for name in names},
    )
    yield _counter(
        "jobs_published",
        "Copies that were published.",
        {labels(folder=name): totals.count(name, JobState.PUBLISHED) for name in names},
    )
    for name, state, meaning in (
        ("jobs_rejected", JobState.REJECTED, "Files that can't be treated, by reason."),
        ("jobs_failed", JobState.FAILED, "Jobs whose every attempt failed, by the last reason."),
        ("jobs_deferred", JobState.DEFERRED, "Attempts that failed and are followed by another, by reason."),
    ):
        series = {
            labels(folder=folder, reason=reason or str(Reason.INTERNAL_ERROR)): number
            for (folder, found, reason), number in sorted(totals.moves.items())
            if found is state
        }
        yield _counter(name, meaning, series)
    yield _counter("frames", "Frames of finished copies; a photo has one.", {(): totals.frames})
    yield _counter(
        "stage_seconds",
        "Time spent on finished copies by stage; decode, detect and encode are parts of analyse and render.",
        {labels(stage=stage): round(totals.stage_seconds.get(stage, 0.0), 3) for stage in Stage},
    )
    yield _gauge(
        "last_progress_timestamp_seconds",
        "When a job last came on: a state that changed, or a frame that was treated.",
        {(): round(reading.last_progress_s, 1)},
    )


def _workers(reading: Reading) -> Iterator[Figure]:
    devices = {} if reading.workers else {"none": 0}
    for worker in reading.workers:
        devices[worker.device or "none"] = devices.get(worker.device or "none", 0) + 1
    yield _gauge(
        "workers",
        "Workers that run, by the device of their detection.",
        {labels(device=d): n for d, n in devices.items()},
    )
    yield _gauge("workers_wanted", "Workers that the settings ask for.", {(): reading.settings.work.workers})
    degraded = sum(worker.degraded for worker in reading.workers)
    yield _gauge(
        "workers_degraded", "Workers whose detection does not run on the device that it should.", {(): degraded}
    )
    yield _counter(
        "worker_starts", "Workers that were started, those that replace others too.", {(): reading.worker_starts}
    )
    yield _counter("worker_deaths", "Workers that ended without saying so.", {(): reading.worker_deaths})


def _machine(reading: Reading) -> Iterator[Figure]:
    yield _gauge(
        "disk_free_bytes",
        "Room on the disk of a folder's outbound, and of the state directory.",
        {labels(folder=folder, place=place): free for (folder, place), free in reading.free_bytes.items()},
    )
    yield _gauge(
        "state_full", "1 while the disk of the state directory has hardly room.", {(): int(reading.state_full)}
    )
    yield _counter(
        "pressure_stalled_seconds",
        "Time in which some, or all, tasks of the machine waited for a resource.",
        {labels(resource=resource, share=share): value for (resource, share), value in reading.pressure_s.items()},
    )
    yield _gauge(
        "graphics_busy_ratio",
        "Share of time that a graphics unit was busy since the last writing; where its driver says so.",
        {labels(card=card): round(busy, 3) for card, busy in reading.graphics_busy.items()},
    )
    yield _gauge("alerts_waiting", "Alerts that lie in the spool.", {(): reading.alerts_waiting})
    yield _gauge("written_timestamp_seconds", "When these figures were written.", {(): round(time.time(), 1)})
