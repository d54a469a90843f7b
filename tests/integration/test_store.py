"""The queue, on a real SQLite file."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blurd.adapters.host import boot_clock_s, boot_id, is_alive, this_process
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_admin import QueueAdministration
from blurd.adapters.store_schema import MIGRATIONS
from blurd.errors import EquipmentError, IllegalMoveError, Reason
from blurd.records import (
    FileStamp,
    FolderCondition,
    FolderName,
    FoundFile,
    Job,
    JobId,
    JobState,
    MediaFacts,
    MediaKind,
    ProcessCondition,
    Progress,
    StagedCopy,
    Verdict,
    WorkerIdentity,
)

FOLDER = FolderName("photos")
STAMP = FileStamp(100, 5, 6, 7)
ME = this_process()
OTHER = WorkerIdentity(ME.pid, ME.start_ticks + 1, ME.boot_id)
STAGED = StagedCopy(
    "job-1-1.staged", "a/\udcff.jpg", 10, "00", "11", MediaFacts(MediaKind.IMAGE, "jpeg", ".jpg", 4, 3, 1),
    Verdict(1, 0), "22", "33", {"analyse": 0.5},
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteJobStore]:
    opened = SqliteJobStore(tmp_path / "state" / "queue.sqlite")
    yield opened
    opened.close()


def queue(store: SqliteJobStore, path: str = "a.jpg", stamp: FileStamp = STAMP) -> JobId | None:
    made = store.enqueue(FOLDER, [FoundFile(path, stamp)])
    return made[0][0] if made else None


def claim(store: SqliteJobStore, now_s: float = 0.0) -> Job:
    job = store.claim(ME, [FOLDER], now_s)
    assert job is not None
    return job


def nothing_to_claim(store: SqliteJobStore, now_s: float = 0.0) -> bool:
    return store.claim(ME, [FOLDER], now_s) is None


def state_of(store: SqliteJobStore) -> dict[JobState, int]:
    return dict(store.overview().counts.get(FOLDER, {}))


def test_a_version_of_a_file_gets_one_job(store: SqliteJobStore) -> None:
    assert queue(store) is not None
    assert queue(store) is None
    assert store.is_known(FOLDER, "a.jpg", STAMP)
    assert not store.is_known(FOLDER, "a.jpg", replace(STAMP, mtime_ns=9))
    assert not store.is_known(FolderName("other"), "a.jpg", STAMP)


def test_identity_across_a_remount_is_size_and_mtime(store: SqliteJobStore) -> None:
    queue(store)
    assert queue(store, stamp=replace(STAMP, inode=2**64 - 1, ctime_ns=99)) is None


def test_a_new_version_supersedes_the_unfinished_job(store: SqliteJobStore) -> None:
    queue(store)
    assert queue(store, stamp=replace(STAMP, size=101)) is not None
    assert state_of(store) == {JobState.SUPERSEDED: 1, JobState.QUEUED: 1}


def test_a_worker_learns_that_its_job_was_superseded(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    assert store.beat(job.id, ME, Progress(0.5))
    queue(store, stamp=replace(STAMP, size=101))
    assert not store.beat(job.id, ME, Progress(0.6))
    assert not store.stage(job.id, ME, STAGED)
    assert not store.finish(job.id, ME, JobState.REJECTED, Reason.DAMAGED)
    assert not store.give_back(job.id, ME, None)


def test_a_file_that_came_back_is_taken_again(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    store.finish(job.id, ME, JobState.VANISHED, Reason.SOURCE_VANISHED)
    assert queue(store) is not None


def test_an_unreadable_file_is_taken_again_when_its_permissions_change(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    store.finish(job.id, ME, JobState.FAILED, Reason.NO_PERMISSION)
    assert queue(store) is None
    assert queue(store, stamp=replace(STAMP, ctime_ns=7)) is not None


def test_a_refused_file_is_rejected_at_once(store: SqliteJobStore) -> None:
    store.enqueue(FOLDER, [FoundFile("link", STAMP, Reason.SYMBOLIC_LINK)])
    assert nothing_to_claim(store)
    assert store.overview().reasons == {FOLDER: {Reason.SYMBOLIC_LINK: 1}}


def test_the_attempt_is_counted_by_the_claim_and_survives_a_crash(store: SqliteJobStore, tmp_path: Path) -> None:
    queue(store)
    job = claim(store)
    assert (job.attempts, job.state) == (1, JobState.CLAIMED)
    again = SqliteJobStore(tmp_path / "state" / "queue.sqlite")  # another process's view, without a clean close
    (seen,) = again.claims()
    again.close()
    assert seen.job.attempts == 1
    assert seen.worker == ME


def test_only_the_holder_changes_a_claimed_job(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    assert not store.beat(job.id, OTHER, Progress(0.1))
    assert not store.stage(job.id, OTHER, STAGED)
    assert not store.finish(job.id, OTHER, JobState.FAILED, Reason.WORKER_DIED)
    assert store.stage(job.id, ME, STAGED)


def test_giving_back_returns_the_attempt(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    assert store.give_back(job.id, ME, None)
    again = claim(store)
    assert (again.id, again.attempts, again.returns) == (job.id, 1, 1)


def test_a_deferred_job_waits_for_its_time(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store, 100.0)
    store.finish(job.id, ME, JobState.DEFERRED, Reason.READ_ERROR, 110.0)
    assert nothing_to_claim(store, 109.0)
    again = claim(store, 110.0)
    assert (again.id, again.attempts) == (job.id, 2)


def test_a_deferred_job_is_due_at_once_after_a_reboot(store: SqliteJobStore, tmp_path: Path) -> None:
    queue(store)
    job = claim(store)
    store.finish(job.id, ME, JobState.DEFERRED, Reason.READ_ERROR, 1e9)
    raw = sqlite3.connect(tmp_path / "state" / "queue.sqlite")
    raw.execute("UPDATE job SET not_before_boot = 'an earlier boot'")
    raw.commit()
    raw.close()
    assert claim(store, 0.0).id == job.id


def test_oldest_first(store: SqliteJobStore) -> None:
    ids = [queue(store, name) for name in ("c", "a", "b")]
    assert [claim(store).id for _ in range(3)] == ids


def test_a_staged_copy_comes_back_as_it_was(store: SqliteJobStore) -> None:
    queue(store, "a/\udcff.jpg")
    job = claim(store)
    store.stage(job.id, ME, STAGED)
    assert store.open_attempts(FOLDER) == {(job.id, 1)}
    (staged,) = store.staged_jobs(FOLDER, 10)
    assert staged.path == "a/\udcff.jpg"
    assert staged.staged == STAGED
    store.intend(job.id, "a/\udcff-2.jpg")
    (staged,) = store.staged_jobs(FOLDER, 10)
    assert staged.published == "a/\udcff-2.jpg"
    store.publish(job.id)
    assert state_of(store) == {JobState.PUBLISHED: 1}
    assert store.open_attempts(FOLDER) == frozenset()


def test_an_illegal_move_raises_and_changes_nothing(store: SqliteJobStore) -> None:
    job = queue(store)
    assert job is not None
    with pytest.raises(IllegalMoveError):
        store.publish(job)
    assert state_of(store) == {JobState.QUEUED: 1}


def test_two_workers_never_get_the_same_job(tmp_path: Path) -> None:
    """Eight threads, each on its own connection, claim 200 jobs."""
    path = tmp_path / "queue.sqlite"
    first = SqliteJobStore(path)
    first.enqueue(FOLDER, [FoundFile(f"{n}.jpg", STAMP) for n in range(200)])
    claimed: list[int] = []

    def work() -> None:
        store = SqliteJobStore(path)
        while (job := store.claim(ME, [FOLDER], 0.0)) is not None:
            claimed.append(job.id)
        store.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    assert len(claimed) == 200
    assert len(set(claimed)) == 200


def test_the_overview_shows_folders_processes_and_progress(store: SqliteJobStore) -> None:
    queue(store)
    job = claim(store)
    store.beat(job.id, ME, Progress(0.25, 12.5, 3.0))
    store.note_folder(FolderCondition(FOLDER, 3, Reason.OUTBOUND_FULL, rescan_only=True))
    process = ProcessCondition("work", ME, "CPU", degraded=True)
    store.note_process(process)
    overview = store.overview()
    assert overview.folders == (FolderCondition(FOLDER, 3, Reason.OUTBOUND_FULL, rescan_only=True),)
    assert overview.processes == (process,)
    assert [(item.job, item.progress) for item in overview.running] == [(job.id, Progress(0.25, 12.5, 3.0))]
    store.forget_process(process)
    assert store.overview().processes == ()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    SqliteJobStore(path).close()
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(EquipmentError) as caught:
        SqliteJobStore(path)
    assert caught.value.reason is Reason.SCHEMA_NEWER


def test_stage_times_are_kept_for_the_last_copy_made(store: SqliteJobStore, tmp_path: Path) -> None:
    """Recorded with the copy in one transaction; a copy that is made again brings its own."""

    def times() -> list[tuple[object, ...]]:
        reader = sqlite3.connect(tmp_path / "state" / "queue.sqlite")
        found = reader.execute("SELECT job, stage, seconds, frames FROM stage_time ORDER BY stage").fetchall()
        reader.close()
        return found

    queue(store)
    job = claim(store)
    assert times() == []
    store.stage(job.id, ME, replace(STAGED, stage_seconds={"analyse": 0.5, "plan": 0.1}))
    assert times() == [(job.id, "analyse", 0.5, 1), (job.id, "plan", 0.1, 1)]
    store.release(job.id, JobState.QUEUED, Reason.STAGED_LOST)
    store.stage(claim(store).id, ME, STAGED)
    assert times() == [(job.id, "analyse", 0.5, 1)]
    store.release(job.id, JobState.VANISHED, Reason.SOURCE_VANISHED)
    admin = QueueAdministration(tmp_path / "state" / "queue.sqlite")
    admin.forget(job.id)
    admin.close()
    assert times() == []


def test_a_damaged_queue_is_an_error_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(EquipmentError) as caught:
        SqliteJobStore(path)
    assert caught.value.reason is Reason.QUEUE_DAMAGED


def test_a_process_is_known_beyond_its_number() -> None:
    assert is_alive(ME)
    assert not is_alive(OTHER)
    assert not is_alive(replace(ME, boot_id="another boot"))
    assert boot_id() == ME.boot_id
    assert boot_clock_s() > 0


def test_s28_a_file_too_large_for_the_room_is_passed_over(store: SqliteJobStore) -> None:
    """Queued or due again, the smaller one goes first; without a limit the older one does."""
    queue(store, "large.jpg", replace(STAMP, size=1000))
    queue(store, "small.jpg", replace(STAMP, size=10))
    assert store.largest_queued(FOLDER) == 1000
    small = store.claim(ME, [FOLDER], 0.0, largest={FOLDER: 999})
    assert small is not None
    assert small.path == "small.jpg"
    assert store.claim(ME, [FOLDER], 0.0, largest={FOLDER: 999}) is None
    assert store.claim(ME, [FOLDER], 0.0, largest={FOLDER: -1}) is None
    large = claim(store)
    assert large.path == "large.jpg"
    assert store.largest_queued(FOLDER) == 0
    assert store.finish(large.id, ME, JobState.DEFERRED, Reason.READ_ERROR, 5.0)
    assert store.claim(ME, [FOLDER], 6.0, largest={FOLDER: 999}) is None
    assert claim(store, 6.0).id == large.id


def test_s28_a_job_that_its_folder_held_back_costs_nothing_and_says_why(store: SqliteJobStore) -> None:
    queue(store)
    assert store.held_back(FOLDER) is None
    for _ in range(30):
        job = claim(store)
        assert (job.attempts, job.returns) == (1, 0)
        assert store.held_back(FOLDER) is None
        assert store.give_back(job.id, ME, Reason.OUTBOUND_FULL, counts=False)
        assert store.held_back(FOLDER) is Reason.OUTBOUND_FULL
    assert store.held_back(FolderName("other")) is None


def test_two_processes_that_make_the_queue_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite itself does not wait where the write-ahead log is turned on."""
    path = tmp_path / "queue.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.execute, ("ROLLBACK",))
    timer.start()
    SqliteJobStore(path).close()
    timer.join()
    other.close()
