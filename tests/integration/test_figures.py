"""What metrics and alerts ask of the queue and the machine: real SQLite, real files."""

import time
from pathlib import Path

import pytest

from blurd.adapters.host import boot_clock_s, this_process
from blurd.adapters.log import EventLog
from blurd.adapters.machine_load import GraphicsLoad, pressure_s
from blurd.adapters.store_figures import FigureStore, Totals
from blurd.config import check_settings
from blurd.core.exposition import Figure, exposition, labels
from blurd.errors import Reason
from blurd.events import Part
from blurd.findings import Deaths
from blurd.monitor import Monitor
from blurd.records import FileStamp, FolderName, FoundFile, JobState

A, B = FolderName("a"), FolderName("b")


def found(number: int, refusal: Reason | None = None) -> FoundFile:
    return FoundFile(f"{number}.jpg", FileStamp(10, number, number, number), refusal)


@pytest.fixture
def store(tmp_path: Path) -> FigureStore:
    return FigureStore(tmp_path / "queue.sqlite")


def test_what_happened_is_added_up_piece_by_piece_as_at_once(store: FigureStore) -> None:
    piece_by_piece, me = Totals(), this_process()
    for number in range(6):
        store.enqueue(A, [found(number), found(100 + number, Reason.SYMBOLIC_LINK)])
        job = store.claim(me, (A,), boot_clock_s())
        assert job is not None
        if number % 2:
            store.finish(job.id, me, JobState.FAILED, Reason.DAMAGED)
        else:
            store.finish(job.id, me, JobState.REJECTED, Reason.DAMAGED)
        store.add_up(piece_by_piece)
    at_once = Totals()
    store.add_up(at_once)
    assert piece_by_piece == at_once
    assert at_once.count(A, JobState.CLAIMED) == 6
    assert at_once.moves[A, JobState.REJECTED, "symbolic_link"] == 6
    assert at_once.moves[A, JobState.REJECTED, "damaged"] == 3
    assert at_once.count(B, JobState.CLAIMED) == 0
    store.close()


def test_the_oldest_and_the_newest_are_found(store: FigureStore) -> None:
    assert store.oldest_waiting(A) is None
    assert store.newest_file(A) is None
    store.enqueue(A, [found(1), found(2, Reason.SYMBOLIC_LINK)])
    store._connection.execute("UPDATE job SET waiting_since = '2020-01-01T00:00:00+00:00' WHERE id = 1")
    store._connection.execute("UPDATE job SET created_at = '2021-01-01T00:00:00+00:00' WHERE id = 2")
    assert store.oldest_waiting(A) == "2020-01-01T00:00:00+00:00"
    assert store.newest_file(A) == "2021-01-01T00:00:00+00:00"
    assert store.oldest_waiting(B) is None
    store.close()


def test_what_is_asked_again_and_again_costs_nothing_that_grows(store: FigureStore) -> None:
    """Each question finds its rows by an index; none walks over all jobs."""
    for text in ("_OLDEST", "_NEWEST", "_HAPPENED"):
        from blurd.adapters import store_figures

        query = getattr(store_figures, text)
        values = [A] * query.count("?") if "folder = ?" in query else [0] * query.count("?")
        plan = [row["detail"] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert not [step for step in plan if step.startswith("SCAN")], (text, plan)
    store.close()


def test_a_card_says_how_busy_it_was(tmp_path: Path) -> None:
    for card, name, text in (
        ("card0", "gt/gt0/rc6_residency_ms", "1000"),
        ("card1", "device/gpu_busy_percent", "42\n"),
        ("card2", "device/vendor", "0x1"),
    ):
        path = tmp_path / card / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    load = GraphicsLoad(tmp_path)
    assert dict(load.busy()) == {"card1": 0.42}
    time.sleep(0.2)
    (tmp_path / "card0/gt/gt0/rc6_residency_ms").write_text("1100")  # it slept for a tenth of a second
    assert 0.2 < load.busy()["card0"] < 0.95


def test_pressure_is_read_where_the_kernel_tells(tmp_path: Path) -> None:
    (tmp_path / "io").write_text(
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"
    )
    assert pressure_s(tmp_path) == {("io", "some"): 2.5, ("io", "full"): 1.0}
    assert pressure_s(tmp_path / "none") == {}


def test_deaths_are_those_of_the_last_hour() -> None:
    deaths = Deaths()
    assert [deaths.within_hour(total, now) for total, now in ((5, 0), (6, 10), (8, 20), (8, 3615), (8, 3625))] == [
        0,
        1,
        3,
        2,
        0,
    ]


@pytest.mark.parametrize("name", ["blurd_wait_total", "blurd_Wait", "jobs", "blurd_jobs{"])
def test_a_name_that_breaks_the_rules_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        Figure(name, "gauge", "Something.", {})


def test_a_label_can_t_hold_text() -> None:
    with pytest.raises(ValueError, match="label"):
        Figure("blurd_jobs", "gauge", "Jobs.", {labels(folder="Erika Mustermann"): 1})
    assert exposition([Figure("blurd_jobs", "gauge", "Jobs.", {(): 1})]).endswith("\nblurd_jobs 1\n")


def test_refusals_of_a_time_without_a_watcher_are_told_by_the_next(tmp_path: Path) -> None:
    folder = {"name": "a", "inbound": f"{tmp_path}/in", "outbound": f"{tmp_path}/out"}
    tables = {"state": {"directory": str(tmp_path)}, "alerts": {"enabled": True, "repeat_hours": 0.0}}
    settings = check_settings({**tables, "folder": [folder]})
    store = FigureStore(settings.queue_path)
    with (tmp_path / "log").open("w") as stream:
        for expected, number in ((0, 1), (1, 2), (1, 3)):
            store.enqueue(A, [found(number, Reason.SYMBOLIC_LINK)])
            spool = tmp_path / "alerts"
            before = len(list(spool.glob("*-files_refused.json")))
            Monitor(settings, EventLog(Part.WATCH, stream))._round()
            assert len(list(spool.glob("*-files_refused.json"))) - before == expected
    store.close()
