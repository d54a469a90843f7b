"""Batches: told once when everything in a subfolder is accounted for, again when more is; and the marker."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.store import SqliteJobStore
from blurd.errors import EquipmentError, Reason
from blurd.events import Event
from blurd.records import JobState
from blurd.stages import batches
from blurd.stages.batches import Batches, BatchTerms
from blurd.stages.settle import walk
from blurd.upkeep_events import BatchCompleted
from desk import FOLDER, ME, Desk

MARKER = "complete.json"


class Bench(Desk):
    """A desk with the part of the watcher that tells of batches."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.events = list[Event]()
        self.now_s = 1000.0
        self.quiet_s, self.marker = 60.0, MARKER
        self.begin()

    def begin(self) -> None:
        """As a new process does."""
        self.batches = Batches(FOLDER, BatchTerms(self.quiet_s, self.marker, 0o640), self.store, self.events.append)

    def look(self, after_s: float = 0.0, pending: tuple[str, ...] = ()) -> list[tuple[int, ...]]:
        """One round, so much later; the counts of what was told in it."""
        self.now_s += after_s + batches.LOOK_EVERY_S
        del self.events[:]
        with InboundFolder(self.root / "in") as inbound, OutboundFolder(self.root / "out") as outbound:
            self.batches.keep(inbound, outbound, pending, lambda name: self._files(inbound, name))
        told = [event for event in self.events if isinstance(event, BatchCompleted)]
        return [(event.files, event.published, event.rejected, event.failed, event.ignored) for event in told]

    def _files(self, inbound: InboundFolder, name: str) -> list[str] | None:
        files = list(walk(inbound, (), name))
        known = all(self.store.is_known(FOLDER, path, stamp_of(status)) for path, status in files)
        return [path for path, _ in files] if known else None

    def marked(self) -> dict[str, int] | None:
        path = self.root / "out" / "case" / MARKER
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made: list[Bench] = []
    monkeypatch.setattr("blurd.stages.batches.time.monotonic", lambda: made[0].now_s if made else 1000.0)
    made.append(Bench(tmp_path))
    yield made[0]
    made[0].store.close()


def furnish(bench: Bench) -> None:
    """One file in each state that counts."""
    bench.publish("case/a.jpg")
    bench.publish("case/deep/b.jpg")
    bench.end("case/rejected.jpg", JobState.REJECTED, Reason.DAMAGED)
    bench.end("case/failed.jpg", JobState.FAILED, Reason.WORKER_DIED)
    bench.drop("case/index.txt", Reason.NOT_MEDIA)


def test_a_batch_is_told_once_when_it_was_quiet_long_enough(bench: Bench) -> None:
    furnish(bench)
    bench.publish("loose.jpg")
    assert bench.look() == []
    assert bench.look(50.0) == []
    assert bench.marked() is None
    assert bench.look(10.0) == [(5, 2, 1, 1, 1)]
    marked = bench.marked()
    assert marked is not None
    assert (marked["files"], marked["published"], marked["rejected"]) == (5, 2, 1)
    assert bench.account().foreign == []
    assert bench.account().markers == 1
    for _ in range(3):
        assert bench.look(4000.0) == []
    bench.begin()
    assert bench.look() == bench.look(100.0) == []


@pytest.mark.parametrize("state", ["queued", "running", "deferred", "staged", "settling", "unknown"])
def test_what_is_not_accounted_for_holds_a_batch_up(bench: Bench, state: str) -> None:
    furnish(bench)
    pending: tuple[str, ...] = ("case/more.jpg",) if state == "settling" else ()
    if state == "unknown":
        (bench.root / "in" / "case" / "more.jpg").write_bytes(b"nobody saw it yet")
    elif state != "settling":
        bench.drop("case/more.jpg")
    if state in ("running", "staged", "deferred"):
        if state == "staged":
            bench.stage_next()
        else:
            job = bench.claim()
            if state == "deferred":
                assert bench.store.finish(job.id, ME, JobState.DEFERRED, Reason.WORKER_DIED, 1e9)
    for _ in range(4):
        assert bench.look(100.0, pending) == []
    assert bench.marked() is None


def test_new_files_take_the_marker_away_and_are_told_when_they_are_done(bench: Bench) -> None:
    furnish(bench)
    bench.look()
    assert bench.look(100.0) != []
    bench.drop("case/new.jpg")
    assert bench.look() == []
    assert bench.marked() is None
    bench.publish_next(b"new copy")
    assert bench.look(30.0) == []
    assert bench.look(61.0) == [(6, 3, 1, 1, 1)]
    marked = bench.marked()
    assert marked is not None
    assert marked["files"] == 6


def test_a_retry_that_succeeds_is_told(bench: Bench) -> None:
    bench.publish("case/a.jpg")
    failed = bench.end("case/b.jpg", JobState.FAILED, Reason.WORKER_DIED)
    bench.look()
    assert bench.look(100.0) == [(2, 1, 0, 1, 0)]
    assert bench.blurd("retry", str(failed)).returncode == 0
    with_later_clock(bench, failed)
    assert bench.look() == []
    assert bench.marked() is None
    bench.publish_next(b"b copy")
    with_later_clock(bench, failed)
    bench.look()
    assert bench.look(100.0) == [(2, 2, 0, 0, 0)]


def with_later_clock(bench: Bench, job: int) -> None:
    """Times are kept in seconds, and a test is faster."""
    with closing(sqlite3.connect(bench.settings.queue_path)) as queue, queue:
        queue.execute("UPDATE job SET changed_at = '2099-01-01T00:00:00+00:00' WHERE id = ?", (job,))


def test_originals_that_go_make_no_batch_new_and_an_empty_folder_is_none(bench: Bench) -> None:
    furnish(bench)
    (bench.root / "in" / "empty").mkdir()
    bench.look()
    assert bench.look(100.0) != []
    (bench.root / "in" / "case" / "deep" / "b.jpg").unlink()
    bench.begin()
    assert bench.look() == bench.look(100.0) == bench.look(4000.0) == bench.look(100.0) == []
    assert bench.marked() is not None


def test_another_file_in_the_markers_place_stays(bench: Bench) -> None:
    furnish(bench)
    (bench.root / "out" / "case" / MARKER).write_text('{"mine": 1}')
    bench.look()
    assert bench.look(100.0) != []
    bench.drop("case/new.jpg")
    bench.look()
    assert bench.marked() == {"mine": 1}


def test_a_marker_that_people_changed_is_theirs(bench: Bench) -> None:
    furnish(bench)
    bench.look()
    assert bench.look(100.0) != []
    (bench.root / "out" / "case" / MARKER).write_text('{"mine": 1}')
    bench.drop("case/new.jpg")
    bench.look()
    assert bench.marked() == {"mine": 1}


@pytest.mark.parametrize("step", ["publish", "note_batch"])
def test_a_cut_is_made_good_by_the_next_process(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    furnish(bench)
    bench.look()

    def cut(*_: object) -> None:
        raise EquipmentError(Reason.WRITE_ERROR, "test")

    with monkeypatch.context() as patched:
        patched.setattr(OutboundFolder if step == "publish" else SqliteJobStore, step, cut)
        with pytest.raises(EquipmentError):
            bench.look(100.0)
    bench.begin()
    bench.look()
    assert bench.look(100.0) == [(5, 2, 1, 1, 1)]
    assert bench.marked() is not None
    assert bench.account().foreign == []


def test_a_batch_that_is_gone_is_forgotten_with_its_name(bench: Bench) -> None:
    furnish(bench)
    bench.look()
    assert bench.look(100.0) != []
    shutil.rmtree(bench.root / "in" / "case")
    bench.look(4000.0)
    assert bench.store.batches(FOLDER) != (), "its marker lies in outbound"
    (bench.root / "out" / "case" / MARKER).unlink()
    bench.look(4000.0)
    assert bench.store.batches(FOLDER) == ()
