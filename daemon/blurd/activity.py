"""What blurd did in a month: the figures of the report, from the ledger, the queue and the settings. Changes nothing.

Where figures come from
* what was published, rejected, failed, withdrawn or retained: the ledger, which is complete and provable;
* what came in, and what was ignored: the queue, as far as it goes back (it may have been begun anew);
* what waited, and outages: the samples that the watcher took (`sampling.py`), as far as they go back;
* models and settings: those in force now.

Months and days are those of UTC. Lines of older versions say less; what they don't say is left out of a sum.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from blurd import __version__
from blurd.adapters.host import wall_clock
from blurd.adapters.ledger import Ledger
from blurd.adapters.models import read_manifest
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_samples import APPLIANCE, Outage, Sample
from blurd.config import FolderSettings, Settings
from blurd.core.receipts import (
    COPY_DELETED,
    FAILED,
    ORIGINAL_ARCHIVED,
    ORIGINAL_DELETED,
    PUBLISHED,
    REJECTED,
    WITHDRAWN,
    time_of,
)
from blurd.core.stages import IN_TURN
from blurd.errors import REASONS, BlurdError, Reason
from blurd.records import JobState

MOST_OUTAGES = 200
"""Rows of the list of outages; the longest."""


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC."""

    year: int
    month: int

    @property
    def begin(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return (self.begin + timedelta(days=32)).replace(day=1)

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.begin).days

    def holds(self, at: str) -> bool:
        """True for a time in it, as the ledger and the queue write times."""
        return _text(self.begin) <= at < _text(self.end)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


@dataclass
class FolderActivity:
    """What was done in one folder."""

    arrived: int = 0
    ignored: int = 0
    images: int = 0
    videos: int = 0
    rejected: int = 0
    failed: int = 0
    withdrawn: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    video_s: float = 0.0
    retained: Counter[str] = field(default_factory=Counter)

    @property
    def published(self) -> int:
        """Images and videos."""
        return self.images + self.videos

    def as_json(self) -> dict[str, Any]:
        """For the JSON form."""
        return {
            "arrived": self.arrived,
            "published": self.published,
            "images": self.images,
            "videos": self.videos,
            "rejected": self.rejected,
            "failed": self.failed,
            "ignored": self.ignored,
            "withdrawn": self.withdrawn,
            "source_bytes": self.source_bytes,
            "output_bytes": self.output_bytes,
            "video_hours": round(self.video_s / 3600, 3),
            "originals_archived": self.retained[ORIGINAL_ARCHIVED],
            "originals_deleted": self.retained[ORIGINAL_DELETED],
            "copies_deleted": self.retained[COPY_DELETED],
        }


@dataclass
class Activity:
    """What was done in a month."""

    month: Month
    folders: dict[str, FolderActivity] = field(default_factory=lambda: defaultdict(FolderActivity))
    reasons: Counter[str] = field(default_factory=Counter)
    published_by_day: Counter[int] = field(default_factory=Counter)
    refused_by_day: Counter[int] = field(default_factory=Counter)
    video_frames: int = 0
    video_work_s: float = 0.0
    images: int = 0
    image_work_s: float = 0.0
    wait_s: list[float] = field(default_factory=list)
    made_with: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    backlog: Mapping[str, Sequence[tuple[float, int]]] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    models: Sequence[Mapping[str, Any]] = ()
    policies: Sequence[Mapping[str, Any]] = ()

    @property
    def total(self) -> FolderActivity:
        """All folders together."""
        total = FolderActivity()
        for one in self.folders.values():
            for name, value in vars(one).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    @property
    def frames_per_s(self) -> float | None:
        """Frames of videos for each second of work on them."""
        return self.video_frames / self.video_work_s if self.video_work_s else None

    @property
    def images_per_s(self) -> float | None:
        """Images for each second of work on them."""
        return self.images / self.image_work_s if self.image_work_s else None

    def as_json(self) -> dict[str, Any]:
        """For the JSON form: counts, times and settings; no names but those of the folders in the settings."""
        waits = sorted(self.wait_s)
        return {
            "version": __version__,
            "made_at": wall_clock(),
            "month": str(self.month),
            "total": self.total.as_json(),
            "folders": {name: one.as_json() for name, one in sorted(self.folders.items())},
            "reasons": dict(self.reasons.most_common()),
            "published_by_day": dict(sorted(self.published_by_day.items())),
            "refused_by_day": dict(sorted(self.refused_by_day.items())),
            "video_frames_per_s": self.frames_per_s,
            "images_per_s": self.images_per_s,
            "seconds_until_published": {"median": _quantile(waits, 0.5), "p95": _quantile(waits, 0.95)},
            "outages": [
                {
                    "folder": one.folder or None,
                    "cause": one.cause,
                    "began": _stamp(one.began),
                    "ended": _stamp(one.ended),
                }
                for one in self.outages
            ],
            "made_with": [
                {"model_hash": model, "settings_hash": settings, "version": version, "copies": number}
                for (model, settings, version), number in self.made_with.most_common()
            ],
            "models": list(self.models),
            "policies": list(self.policies),
        }


def activity(settings: Settings, month: Month) -> Activity:
    """Gather a month's figures. Raises `EquipmentError` where ledger or queue can't be read."""
    found = Activity(month)
    for folder in settings.folder:
        found.folders[folder.name] = FolderActivity()
    for receipt in Ledger(settings.receipts_path).read():
        if month.holds(time_of(receipt)):
            _count(found, receipt)
    since, until = int(month.begin.timestamp()), int(month.end.timestamp())
    with closing(SqliteJobStore(settings.queue_path, read_only=True)) as store:
        for (name, state), number in store.jobs_made(_text(month.begin), _text(month.end)).items():
            found.folders[name].arrived += number
            if state == JobState.IGNORED:
                found.folders[name].ignored += number
        found.backlog = _backlog(store.samples(since, until), month)
        found.outages = [_within(outage, since, until) for outage in store.outages(since, until)]
    found.models = _models(settings)
    found.policies = [_policy(folder) for folder in settings.folder]
    return found


def _count(found: Activity, receipt: Mapping[str, Any]) -> None:
    folder, event = found.folders[str(receipt.get("folder"))], receipt["event"]
    day = int(time_of(receipt)[8:10])
    if event == PUBLISHED:
        found.published_by_day[day] += 1
        _count_published(found, folder, receipt)
    elif event in (REJECTED, FAILED):
        found.refused_by_day[day] += 1
        found.reasons[str(receipt.get("reason"))] += 1
        if event == REJECTED:
            folder.rejected += 1
        else:
            folder.failed += 1
    elif event == WITHDRAWN:
        folder.withdrawn += 1
    elif receipt.get("what") != "regions":
        folder.retained[event] += 1


def _count_published(found: Activity, folder: FolderActivity, receipt: Mapping[str, Any]) -> None:
    seconds = receipt.get("stage_seconds") or {}
    work_s = sum(float(seconds.get(stage, 0.0)) for stage in IN_TURN)
    folder.source_bytes += int(receipt.get("source_bytes") or 0)
    folder.output_bytes += int(receipt.get("output_bytes") or 0)
    if receipt.get("kind") == "video":
        folder.videos += 1
        folder.video_s += float(receipt.get("duration_s") or 0.0)
        found.video_frames += int(receipt.get("frames") or 0)
        found.video_work_s += work_s
    else:
        folder.images += 1
        found.images += 1
        found.image_work_s += work_s
    made = (str(receipt.get(key) or "") for key in ("model_hash", "settings_hash", "version"))
    model, settings, version = made
    found.made_with[model, settings, version] += 1
    if receipt.get("queued_at"):
        waited = datetime.fromisoformat(receipt["published_at"]) - datetime.fromisoformat(receipt["queued_at"])
        found.wait_s.append(max(0.0, waited.total_seconds()))


def _backlog(samples: Iterable[Sample], month: Month) -> dict[str, list[tuple[float, int]]]:
    """By folder: day of the month with its fraction, from 1.0 on, and the number of files that waited or ran."""
    begin = month.begin.timestamp()
    found: dict[str, list[tuple[float, int]]] = {}
    for sample in samples:
        if sample.folder != APPLIANCE:
            number = sample.settling + sample.waiting + sample.running
            found.setdefault(sample.folder, []).append((1.0 + (sample.at - begin) / 86_400, number))
    return found


def _within(outage: Outage, since: int, until: int) -> Outage:
    ended = None if outage.ended is None else min(outage.ended, until)
    return Outage(outage.folder, outage.cause, max(outage.began, since), ended)


def _models(settings: Settings) -> list[Mapping[str, Any]]:
    """The models in force with their measured figures; none where they can't be read."""
    try:
        manifest = read_manifest(settings.models.directory)
    except BlurdError:
        return []
    return [
        {
            "name": entry.name,
            "categories": [str(category) for category in entry.categories],
            "origin": entry.source.origin,
            "licence": entry.source.licence,
            "thresholds": {str(category): one.start for category, one in entry.thresholds.items()},
            "sha256": entry.files[0].weights_sha256,
            "measured": {profile: dict(figures) for profile, figures in entry.measured.items()},
        }
        for entry in manifest.model
    ]


def _policy(folder: FolderSettings) -> Mapping[str, Any]:
    """A folder's settings in force, without its places."""
    value = folder.model_dump(mode="json", exclude={"inbound", "outbound", "archive"})
    return {**value, "zone": len(folder.zone), "settings_hash": folder.hash}


def _outage(outage: Outage) -> dict[str, str | None]:
    times = {"began": _stamp(outage.began), "ended": _stamp(outage.ended)}
    return {"folder": outage.folder or None, "cause": outage.cause, **times}


def _stamp(at: int | None) -> str | None:
    return None if at is None else _text(datetime.fromtimestamp(at, UTC))


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def meaning(reason: str) -> str:
    """A reason's code in plain words; the code itself where this version does not know it."""
    try:
        return REASONS[Reason(reason)].meaning
    except ValueError:
        return reason
