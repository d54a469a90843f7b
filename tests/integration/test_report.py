"""The report: a month of processing from ledger, queue and samples, as JSON and as one page."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blurd.adapters.ledger import Ledger
from blurd.adapters.store_samples import Outage
from blurd.errors import Reason
from blurd.events import Part
from blurd.records import FolderCondition, FolderName, JobId, ProcessCondition
from blurd.sampling import Sampler
from desk import FOLDER, ME, Desk

BEGIN = datetime(2026, 2, 1, tzinfo=UTC)
NAMES = ("anna-schmidt", "case-4711", "B-XY 123")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def at(day: float) -> str:
    return (BEGIN + timedelta(days=day - 1)).isoformat(timespec="seconds")


def published(day: float, kind: str, **more: object) -> dict[str, object]:
    return {
        "folder": "photos",
        "kind": kind,
        "frames": 1,
        "output_bytes": 10,
        "source_bytes": 20,
        "model_hash": "ab" * 32,
        "settings_hash": "cd" * 32,
        "version": "0.1.0",
        "stage_seconds": {"analyse": 1.0, "plan": 0.0, "render": 0.5, "verify": 0.5, "decode": 0.3, "detect": 0.6},
        "queued_at": at(day - 0.01),
        "published_at": at(day),
        **more,
    }


def furnish(desk: Desk, most: int = 28) -> None:
    """A month with everything in it, and something before and after."""
    ledger, job = Ledger(desk.settings.receipts_path), 0

    def tell(values: dict[str, object], event: str = "published") -> None:
        nonlocal job
        job += 1
        ledger.append(JobId(job), values, event)  # type: ignore[arg-type]

    tell(published(0.5, "image"))
    for day in range(1, most + 1):
        for _ in range(1 + day * 7 % 11):
            tell(published(day + 0.3, "image"))
        tell(published(day + 0.5, "video", frames=3000, duration_s=1800.0))
        if day % 9 == 0:
            tell({"folder": "photos", "reason": "damaged", "finished_at": at(day + 0.6)}, "rejected")
    tell({"folder": "photos", "reason": "worker_died", "finished_at": at(3.6)}, "failed")
    tell({"folder": "photos", "retained_at": at(4.0), "what": "original", "retirement": 1}, "original_deleted")
    tell({"folder": "photos", "retained_at": at(4.0), "what": "regions", "retirement": 2}, "original_deleted")
    tell({"folder": "photos", "withdrawn_at": at(5.0)}, "withdrawn")
    tell(published(29.1, "image"))
    desk.store.note_folder(FolderCondition(FOLDER, 0, None, rescan_only=False))
    begin = int(BEGIN.timestamp())
    for hour in range(24 * most):
        waiting = max(0, (hour % 24 - 6) * 13 + hour // 24 * 2) if hour % 24 < 18 else 0
        desk.store._connection.execute(
            "INSERT INTO sample VALUES (?, 'photos', 0, ?, 1)", (begin + hour * 3600, waiting)
        )
    for outage in (
        Outage("photos", str(Reason.OUTBOUND_FULL), begin + 3600, begin + 7200),
        Outage("", "not_watching", begin - 3600, begin + 600),
        Outage("", "no_worker", begin + 20 * 86_400, begin + 20 * 86_400 + 90),
        Outage("photos", str(Reason.NOT_ANSWERING), begin + 40 * 86_400, None),
    ):
        desk.store.note_outage(outage)
    for name in NAMES:
        desk.drop(f"{name}/{name}.jpg")


def test_a_month_is_summed_up(desk: Desk) -> None:
    furnish(desk)
    found = json.loads(desk.blurd("report", "--month", "2026-02").stdout)
    images = sum(1 + day * 7 % 11 for day in range(1, 29))
    total = found["total"]
    assert (total["images"], total["videos"], total["published"]) == (images, 28, images + 28)
    assert (total["rejected"], total["failed"], total["withdrawn"]) == (3, 1, 1)
    assert total["video_hours"] == 14.0
    assert total["originals_deleted"] == 1
    assert found["reasons"] == {"damaged": 3, "worker_died": 1}
    assert found["video_frames_per_s"] == 1500.0
    assert found["images_per_s"] == 0.5
    assert found["seconds_until_published"]["median"] == 864.0
    assert found["made_with"][0]["copies"] == images + 28
    assert [(one["folder"], one["cause"], one["began"][:13]) for one in found["outages"]] == [
        (None, "not_watching", "2026-02-01T00"),
        ("photos", "outbound_full", "2026-02-01T01"),
        (None, "no_worker", "2026-02-21T00"),
    ]
    assert found["models"][0]["measured"]["thorough"]["coverage"] > 0.5
    assert found["policies"][0]["originals"] == "keep"


def test_the_page_stands_alone_and_has_no_name(desk: Desk) -> None:
    """No script, nothing from elsewhere, two diagrams, and nobody in it."""
    furnish(desk)
    page = desk.root / "report.html"
    figures = desk.root / "report.json"
    answer = desk.blurd("report", "--month", "2026-02", "--html", str(page), "--json", str(figures))
    assert (answer.returncode, answer.stdout) == (0, "")
    text = page.read_text()
    assert "February 2026" in text
    assert text.count("<svg") == 2
    assert "<script" not in text
    assert not re.findall(r"(?:src|href)=\"(?!#)", text.replace("xlink:href=", "href="))
    for shown in ("outbound", "damaged", "blurd was not running", "no worker was running", "originals kept"):
        assert shown in text
    for name in (*NAMES, "schmidt", str(desk.root)):
        assert name not in text
        assert name not in figures.read_text()


def test_a_month_without_anything_has_its_page_too(desk: Desk) -> None:
    page = desk.root / "report.html"
    assert desk.blurd("report", "--month", "1999-12", "--html", str(page)).returncode == 0
    assert "No samples of the backlog" in page.read_text()
    assert desk.blurd("report", "--month", "2026-13").returncode == 2


# -- samples ----------------------------------------------------------------------------------------------------------


class Clock:
    """Both clocks of the sampler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000
        monkeypatch.setattr("blurd.sampling.time", self)

    def time(self) -> float:
        return float(self.now)

    def monotonic(self) -> float:
        return float(self.now)


def pause(desk: Desk, reason: Reason | None) -> None:
    desk.store.note_folder(FolderCondition(FolderName("photos"), 2, reason, rescan_only=False))


def test_outages_are_noted_from_a_minute_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short pause is none; one that lasts is seen while it does; a stop of the watcher is a gap between samples."""
    clock, sampler = Clock(monkeypatch), Sampler()
    desk.store.note_process(ProcessCondition(str(Part.WORK), ME))

    def look(after_s: int) -> list[tuple[str, str, int, int | None]]:
        clock.now += after_s
        sampler.look(desk.store)
        found = desk.store.outages(0, 2**40)
        return [(one.folder, one.cause, one.began, one.ended) for one in found]

    pause(desk, None)
    assert look(0) == []
    pause(desk, Reason.OUTBOUND_FULL)
    assert look(2) == []
    pause(desk, None)
    assert look(30) == []
    pause(desk, Reason.OUTBOUND_FULL)
    began = clock.now + 2
    assert look(2) == []
    assert look(60) == [("photos", "outbound_full", began, None)]
    pause(desk, None)
    assert look(10) == [("photos", "outbound_full", began, began + 70)]
    sampler.leave(desk.store)
    stopped, sampler = clock.now, Sampler()
    assert look(1000)[1:] == [("", "not_watching", stopped, stopped + 1000)]
    sampler = Sampler()
    assert len(look(-5000)) == 2, "a clock that was set back makes no outage"


def test_samples_are_thinned_and_bounded(desk: Desk) -> None:
    desk.watched()
    desk.drop("a.jpg")
    now, day = 1_700_000_000, 86_400
    for age in (900 * day, 100 * day, 100 * day - 60, 100 * day - 4000, day, day - 60):
        desk.store.take_sample(now - age)
    desk.store.take_sample(now)
    kept = [(now - one.at) for one in desk.store.samples(0, 2**40) if one.folder]
    assert kept[-3:] == [day, day - 60, 0], "of the last days all"
    assert 900 * day not in kept
    assert len({(now - age) // 3600 for age in kept[:-3]}) == len(kept[:-3]) == 2, "of what is older one an hour"
    assert [one.waiting for one in desk.store.samples(now, 2**40) if one.folder] == [1]
