"""Taking back the jobs of workers that are gone or stuck: a real queue, real processes, no wall clock."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blurd.adapters.host import boot_clock_s, end_process, is_alive, process_start_ticks, this_process
from blurd.adapters.store import SqliteJobStore
from blurd.core.retry import MAX_RETURNS, RetryRule, patience_s
from blurd.errors import Reason
from blurd.events import Event, JobFailed, JobRecovered, JobReturned, WorkerStuck
from blurd.records import (
    FileStamp,
    FolderCondition,
    FolderName,
    FoundFile,
    JobId,
    JobState,
    Progress,
    WorkerIdentity,
)
from blurd.stages.recover import recover

FOLDER = FolderName("photos")
ME = this_process()
RULE = RetryRule(max_attempts=3, first_delay_s=10.0)
STAMP = FileStamp(100, 5, 6, 7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteJobStore]:
    opened = SqliteJobStore(tmp_path / "queue.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def sleeper() -> Iterator[tuple[subprocess.Popen[bytes], WorkerIdentity]]:
    """A process that lives and does nothing."""
    process = subprocess.Popen(["sleep", "600"])
    yield process, WorkerIdentity(process.pid, process_start_ticks(process.pid) or 0, ME.boot_id)
    process.kill()
    process.wait()


def held_by(store: SqliteJobStore, worker: WorkerIdentity, limit_s: float | None = None, path: str = "a") -> JobId:
    """A job that this worker claimed just now."""
    store.enqueue(FOLDER, [FoundFile(path, STAMP)])
    job = store.claim(worker, [FOLDER], boot_clock_s(), limit_s)
    assert job is not None
    return job.id


def look(store: SqliteJobStore) -> list[Event]:
    told: list[Event] = []
    recover(store, RULE, told.append)
    return told


def states(store: SqliteJobStore) -> dict[JobState, int]:
    return dict(store.overview().counts[FOLDER])


def test_a_worker_that_lives_and_goes_on_keeps_its_job(
    store: SqliteJobStore, sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity]
) -> None:
    _, worker = sleeper
    job = held_by(store, worker, 0.3)
    for _ in range(4):
        time.sleep(0.2)
        assert store.beat(job, worker, Progress(0.1), boot_clock_s() + 0.3)
        assert look(store) == []
    assert is_alive(worker)


def test_s37_a_worker_without_progress_is_ended_and_its_attempt_counts(
    store: SqliteJobStore, sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity]
) -> None:
    process, worker = sleeper
    process.send_signal(signal.SIGSTOP)  # it would not hear anything but SIGKILL
    job = held_by(store, worker, 0.0)
    store.beat(job, worker, Progress(0.5), boot_clock_s() - 0.1)
    assert look(store) == [WorkerStuck(job, FOLDER, worker.pid), JobRecovered(job, FOLDER, Reason.NO_PROGRESS)]
    assert process.wait(10) == -signal.SIGKILL
    assert states(store) == {JobState.DEFERRED: 1}


def test_a_worker_that_promised_no_sign_of_progress_is_left_alone(
    store: SqliteJobStore, sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity]
) -> None:
    held_by(store, sleeper[1])
    assert look(store) == []


def test_s27_a_hang_while_the_folder_is_paused_is_nobodys_fault(
    store: SqliteJobStore, sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity]
) -> None:
    """The share hangs, and the worker with it: the attempt is given back."""
    _, worker = sleeper
    job = held_by(store, worker, 0.0)
    store.beat(job, worker, Progress(0.5), boot_clock_s() - 0.1)
    store.note_folder(FolderCondition(FOLDER, 0, Reason.INBOUND_MISSING, rescan_only=False))
    assert look(store)[-1] == JobReturned(job, FOLDER)
    again = store.claim(ME, [FOLDER], boot_clock_s())
    assert again is not None
    assert (again.attempts, again.returns) == (1, 1)


def test_s38_a_dead_worker_s_job_is_deferred_and_in_the_end_failed(store: SqliteJobStore) -> None:
    gone = replace(ME, start_ticks=ME.start_ticks + 1)
    job = held_by(store, gone)
    for _ in range(2):
        assert look(store) == [JobRecovered(job, FOLDER, Reason.WORKER_DIED)]
        assert store.claim(gone, [FOLDER], boot_clock_s() + 100) is not None
    assert look(store) == [JobFailed(job, FOLDER, Reason.WORKER_DIED, 3)]


def test_a_process_whose_exit_status_is_all_that_is_left_is_dead() -> None:
    process = subprocess.Popen(["sleep", "600"])
    worker = WorkerIdentity(process.pid, process_start_ticks(process.pid) or 0, ME.boot_id)
    process.kill()
    deadline_s = time.monotonic() + 10
    while is_alive(worker):  # nobody waits for it yet
        assert time.monotonic() < deadline_s
    process.wait()


def test_another_process_with_the_number_is_never_ended(
    sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity],
) -> None:
    process, worker = sleeper
    assert end_process(replace(worker, start_ticks=worker.start_ticks - 1))
    assert end_process(replace(worker, boot_id="another boot"))
    assert process.poll() is None


def test_a_reboot_gives_the_attempt_back_ten_times(store: SqliteJobStore) -> None:
    before = replace(ME, boot_id="an earlier boot")
    job = held_by(store, before)
    for _ in range(MAX_RETURNS):
        assert look(store) == [JobReturned(job, FOLDER)]
        again = store.claim(before, [FOLDER], boot_clock_s())
        assert again is not None
        assert again.attempts == 1
    assert look(store) == [JobRecovered(job, FOLDER, Reason.WORKER_DIED)]


def test_delays_of_jobs_that_died_together_differ(store: SqliteJobStore, tmp_path: Path) -> None:
    gone = replace(ME, start_ticks=ME.start_ticks + 1)
    for number in range(20):
        held_by(store, gone, path=str(number))
    look(store)
    raw = sqlite3.connect(tmp_path / "queue.sqlite")
    due = [due_s for (due_s,) in raw.execute("SELECT not_before_s FROM job")]
    raw.close()
    assert len({round(due_s, 3) for due_s in due}) > 10
    assert max(due) - min(due) > 0.5


@pytest.mark.parametrize("year", [1970, 2099])
def test_s36_the_wall_clock_decides_nothing(
    store: SqliteJobStore,
    sleeper: tuple[subprocess.Popen[bytes], WorkerIdentity],
    monkeypatch: pytest.MonkeyPatch,
    year: int,
) -> None:
    """It jumps while a job runs, and while another waits for its next attempt: nothing stalls, nothing expires."""
    _, worker = sleeper
    running = held_by(store, worker, 600.0)
    waiting = held_by(store, ME, path="b")
    store.finish(waiting, ME, JobState.DEFERRED, Reason.READ_ERROR, boot_clock_s() + 1.0)

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("blurd.adapters.host.datetime", Jumped)
    monkeypatch.setattr(time, "time", lambda: datetime(year, 1, 1, tzinfo=UTC).timestamp())
    assert look(store) == []
    assert store.beat(running, worker, Progress(0.5), boot_clock_s() + 600)
    assert store.claim(ME, [FOLDER], boot_clock_s()) is None
    time.sleep(1.1)
    again = store.claim(ME, [FOLDER], boot_clock_s())
    assert again is not None
    assert again.id == waiting


def test_long_files_have_more_time() -> None:
    """What goes over a whole file without a sign of progress: hashing, reading packets, planning."""
    assert patience_s(600.0, 5 << 20) < 602
    assert patience_s(600.0, 100 << 30) > 100 * 1024 / 4
    assert patience_s(600.0, 0, 324_000) > 600 + 324_000 * 0.00045 * 4  # four times the planning that was measured
