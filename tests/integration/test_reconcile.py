"""Accounting for every file, trying again, forgetting: on real folders and a real queue, as a person calls them."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.store import SqliteJobStore
from blurd.errors import Reason
from blurd.reconcile import reconcile
from blurd.records import (
    FolderName,
    FoundFile,
    JobState,
    WorkerIdentity,
)
from desk import COPY, FOLDER, ME, Desk

NOBODY = WorkerIdentity(ME.pid, ME.start_ticks + 1, ME.boot_id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def furnish(desk: Desk) -> None:
    """One file in every state that a file can be in."""
    desk.end("rejected.jpg", JobState.REJECTED, Reason.DAMAGED)
    desk.end("failed.jpg", JobState.FAILED, Reason.WORKER_DIED)
    desk.end("retrying.jpg", JobState.DEFERRED, Reason.READ_ERROR)
    desk.publish("trip/published.jpg")
    desk.drop("ignored.xml", Reason.NOT_MEDIA)
    desk.drop("link.jpg", Reason.SYMBOLIC_LINK)
    desk.drop("running.jpg")
    desk.claim()
    desk.drop("queued.jpg")
    (desk.root / "in" / "half.part").write_bytes(b"not a file yet")


def test_p1_every_file_is_accounted_for_in_every_state(desk: Desk) -> None:
    furnish(desk)
    counts = desk.account().as_json()
    expected = {
        "files": 8, "published": 1, "rejected": 2, "failed": 1, "ignored": 1, "waiting": 3, "queued": 1, "running": 1,
        "retrying": 1, "unaccounted": 0, "copies": 1, "copies_taken": 0, "foreign": 0,
    }  # fmt: skip
    assert {key: counts[key] for key in expected} == expected


def test_reconcile_tells_a_person_and_a_script_without_names(desk: Desk) -> None:
    furnish(desk)
    (desk.root / "out" / "Erika.jpg").write_bytes(b"somebody's own")
    shown, script = desk.blurd("reconcile"), desk.blurd("reconcile", "--json")
    assert (shown.returncode, script.returncode) == (0, 0), shown.stderr
    assert "every file is accounted for" in shown.stdout
    assert "1 files in outbound that blurd did not put there" in shown.stdout
    assert json.loads(script.stdout)["folders"]["photos"]["foreign"] == 1
    for text in (shown.stdout, script.stdout):
        assert "Erika" not in text
        assert ".jpg" not in text
    assert "foreign: Erika.jpg" in desk.blurd("reconcile", "--names").stdout


def test_a_file_without_a_job_is_unaccounted_for_where_no_watcher_will_see_it(desk: Desk) -> None:
    (desk.root / "in" / "lost\nname.jpg").write_bytes(b"x")
    result = desk.blurd("reconcile", "--names")
    assert result.returncode == 1
    assert "no watcher runs" in result.stdout
    assert "unaccounted: lost?name.jpg" in result.stdout
    assert "Traceback" not in result.stderr


def test_files_that_settle_are_waiting_and_one_more_than_those_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (desk.root / "in" / name).write_bytes(b"x")
    desk.watched(settling=2)
    account = desk.account()
    assert (account.files["settling"], account.is_sound) == (2, True)
    monkeypatch.setattr("blurd.reconcile.AFTER_SCAN_S", 0.2)
    desk.watched(settling=1)
    account = desk.account()
    assert (account.files["settling"], len(account.unaccounted)) == (1, 1)


def test_a_file_that_gets_its_job_meanwhile_is_no_fault(desk: Desk) -> None:
    """The watcher finds it while the account is drawn up."""
    place = desk.root / "in" / "late.jpg"
    place.write_bytes(b"x")
    desk.watched()

    def later() -> None:
        time.sleep(1.0)
        store = SqliteJobStore(desk.settings.queue_path)
        store.enqueue(FOLDER, [FoundFile("late.jpg", stamp_of(place.stat()))])
        store.close()

    finder = threading.Thread(target=later)
    finder.start()
    account = desk.account()
    finder.join()
    assert (account.files["queued"], account.is_sound) == (1, True)


def test_s24_a_paused_or_missing_folder_waits(desk: Desk) -> None:
    (desk.root / "in" / "a.jpg").write_bytes(b"x")
    desk.watched(paused=Reason.OUTBOUND_FULL)
    account = desk.account()
    assert (account.files["paused"], account.is_sound) == (1, True)
    (desk.root / "in").rename(desk.root / "unmounted")
    assert desk.account().paused is Reason.OUTBOUND_FULL
    desk.watched()
    assert desk.account().paused is Reason.INBOUND_MISSING


def test_a_new_version_of_a_published_file_is_not_taken_for_the_old_one(desk: Desk) -> None:
    desk.publish("a.jpg")
    (desk.root / "in" / "a.jpg").write_bytes(b"another content")
    assert desk.account().unaccounted == ["a.jpg"]


def test_copies_are_there_taken_changed_or_foreign(desk: Desk) -> None:
    for name in ("kept.jpg", "fetched.jpg", "resized.jpg", "edited.jpg"):
        desk.publish(name)
    out = desk.root / "out"
    (out / "fetched.jpg").unlink()
    account = desk.account(hashes=True)
    assert (account.copies, account.taken, account.is_sound) == (4, 1, True)
    (out / "edited.jpg").write_bytes(COPY[::-1])
    assert desk.account().is_sound
    assert desk.account(hashes=True).differing == ["edited.jpg"]
    (out / "resized.jpg").write_bytes(b"")
    assert desk.account().differing == ["resized.jpg"]
    assert desk.blurd("reconcile").returncode == 1


def test_left_overs_in_staging_are_told_and_are_a_fault_where_a_watcher_should_clear_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publish("a.jpg")
    (desk.root / "out" / ".blurd" / "job-9-1.staged").write_bytes(b"half")
    assert len(desk.account().orphans) == 1
    assert desk.account().is_sound
    monkeypatch.setattr("blurd.reconcile.AFTER_SCAN_S", 0.2)
    desk.watched()
    assert not desk.account().is_sound


def test_jobs_of_a_folder_that_the_settings_do_not_name_are_told(desk: Desk) -> None:
    desk.store.enqueue(FolderName("gone"), [FoundFile("a.jpg", stamp_of(desk.config.stat()))])
    found = reconcile(desk.settings, hashes=False)
    assert (found.stranded, found.is_sound) == ({"gone": 1}, False)


def test_reconcile_changes_nothing_and_holds_up_nobody(desk: Desk) -> None:
    furnish(desk)
    everything = sorted(path for path in desk.root.rglob("*") if "queue.sqlite" not in path.name)
    stamps = [path.lstat().st_mtime_ns for path in everything]
    writer = sqlite3.connect(desk.settings.queue_path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")  # somebody writes all the while
    before = desk.account().as_json()
    writer.execute("ROLLBACK")
    writer.close()
    assert before["files"] == 8
    assert sorted(path for path in desk.root.rglob("*") if "queue.sqlite" not in path.name) == everything
    assert [path.lstat().st_mtime_ns for path in everything] == stamps


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything; needs to become somebody else")
def test_s19_a_folder_that_can_not_be_read_is_unaccounted_for(desk: Desk) -> None:
    """As an unprivileged user: what can't be looked into is said, not passed over."""
    (desk.root / "in" / "closed").mkdir(mode=0o700)
    (desk.root / "in" / "closed" / "a.jpg").write_bytes(b"x")
    desk.store.close()
    for path in (desk.root, *desk.root.parents):
        if path.owner() == "root" and not path.stat().st_mode & 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    for path in desk.root.rglob("*"):
        if path.name != "closed" and "closed" not in path.parts:
            path.chmod(0o777 if path.is_dir() else 0o666)
    code = (
        "import ctypes, encodings.ascii, os, sys; from blurd.cli import main; import blurd.reconcile;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "ctypes.CDLL(None).prctl(4, 1);"  # PR_SET_DUMPABLE: else /proc/self belongs to root
        f"sys.exit(main(['--config', '{desk.config}', 'reconcile', '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    desk.store = SqliteJobStore(desk.settings.queue_path)
    assert result.returncode == 1, result.stderr
    assert json.loads(result.stdout)["folders"]["photos"]["unaccounted"] == 1


# -- retry and forget --------------------------------------------------------------------------------------------------


def history(desk: Desk, job: int) -> list[str]:
    raw = sqlite3.connect(desk.settings.queue_path)
    rows = raw.execute("SELECT state FROM history WHERE job = ? ORDER BY rowid", (job,)).fetchall()
    raw.close()
    return [state for (state,) in rows]


def test_retry_of_one_job_keeps_its_history_and_begins_its_attempts_anew(desk: Desk) -> None:
    job = desk.end("a.jpg", JobState.FAILED, Reason.OUT_OF_MEMORY)
    result = desk.blurd("retry", str(job))
    assert (result.returncode, result.stdout) == (0, "1 back in the queue\n")
    assert history(desk, job) == ["queued", "claimed", "failed", "queued"]
    again = desk.claim()
    assert (again.id, again.attempts, again.returns) == (job, 1, 0)
    assert (desk.root / "in" / "a.jpg").exists()


def test_retry_by_reason_folder_and_all_failed(desk: Desk) -> None:
    for number, (state, reason) in enumerate(
        [
            (JobState.REJECTED, Reason.DAMAGED),
            (JobState.REJECTED, Reason.TOO_LARGE),
            (JobState.FAILED, Reason.WORKER_DIED),
            (JobState.FAILED, Reason.OUT_OF_MEMORY),
            (JobState.DEFERRED, Reason.OUT_OF_MEMORY),
        ]
    ):
        desk.end(f"{number}.jpg", state, reason)
    assert desk.blurd("retry", "--reason", "too_large").stdout == "1 back in the queue\n"
    assert desk.blurd("retry", "--reason", "out_of_memory", "--folder", "photos").stdout == "2 back in the queue\n"
    assert desk.blurd("retry", "--all-failed").stdout == "1 back in the queue\n"
    assert desk.states() == {JobState.QUEUED: 4, JobState.REJECTED: 1}


def test_retry_of_a_file_that_was_replaced_is_left_to_its_new_job(desk: Desk) -> None:
    old = desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
    os.utime(desk.root / "in" / "a.jpg", ns=(5, 5))
    new = desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp_of((desk.root / "in" / "a.jpg").stat()))])[0][0]
    result = desk.blurd("retry", str(old))
    assert result.returncode == 27
    assert f"the present one has job {new}" in result.stderr
    assert desk.blurd("retry", "--reason", "damaged").stdout == "0 back in the queue\n"


def test_wrong_numbers_states_and_names_are_said(desk: Desk) -> None:
    published = desk.publish("a.jpg")
    queued = desk.drop("b.jpg")
    cases = [
        (("retry", "99"), 26, "No job has the number 99"),
        (("forget", "99"), 26, "No job has the number 99"),
        (("retry", str(published)), 27, f"Job {published} is published"),
        (("retry", str(queued)), 27, f"Job {queued} is queued"),
        (("forget", str(queued)), 27, f"Job {queued} is queued, not finished"),
        (("retry", "--reason", "bad_weather"), 2, "no such reason"),
        (("retry", "--all-failed", "--folder", "videos"), 10, "no folder videos"),
        (("retry",), 2, "required"),
        (("retry", "1", "--all-failed"), 2, "not allowed with"),
    ]
    before = desk.states()
    for arguments, code, text in cases:
        result = desk.blurd(*arguments)
        assert (result.returncode, text in result.stderr, "Traceback" in result.stderr) == (code, True, False), result
    assert desk.states() == before


def test_a_forgotten_file_is_new_to_the_queue_and_its_number_is_not_used_again(desk: Desk) -> None:
    job = desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
    stamp = stamp_of((desk.root / "in" / "a.jpg").stat())
    assert desk.store.is_known(FOLDER, "a.jpg", stamp)
    result = desk.blurd("forget", str(job))
    assert (result.returncode, result.stdout) == (0, f"job {job} (rejected) is forgotten\n")
    assert not desk.store.is_known(FOLDER, "a.jpg", stamp)
    assert history(desk, job) == []
    ((again, _),) = desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp)])
    assert again > job


def test_a_forgotten_copy_that_is_made_again_the_same_is_not_put_there_twice(desk: Desk) -> None:
    """Its receipt stays, the copy stays, and the new job takes it for its own."""
    job = desk.publish("a.jpg")
    result = desk.blurd("forget", str(job))
    assert "its copy and its receipt stay" in result.stdout
    assert desk.account().foreign == ["a.jpg"]
    again = desk.publish("a.jpg")
    assert [path.name for path in (desk.root / "out").iterdir() if path.is_file()] == ["a.jpg"]
    receipts = [json.loads(line) for line in desk.settings.receipts_path.read_text().splitlines()]
    assert [receipt["job"] for receipt in receipts] == [job, again]
    assert desk.account().foreign == []


def test_s07_the_same_file_dropped_twice_still_gives_two_copies(desk: Desk) -> None:
    """Taking a copy for one's own is only for names that no job has."""
    desk.publish("a.jpg")
    (desk.root / "in" / "a.jpg").unlink()
    desk.publish("a.jpg")
    assert sorted(path.name for path in (desk.root / "out").iterdir() if path.is_file()) == ["a-2.jpg", "a.jpg"]


def test_status_and_reconcile_read_a_queue_without_changing_it(desk: Desk, tmp_path: Path) -> None:
    """One of an older version is not migrated by looking at it, and one that is not there is not made."""
    desk.store.close()
    raw = sqlite3.connect(desk.settings.queue_path)
    raw.execute("PRAGMA user_version = 1")
    raw.close()
    for name in ("status", "reconcile"):
        result = desk.blurd(name)
        assert result.returncode == 16
        assert "Start blurd once" in result.stderr
    raw = sqlite3.connect(desk.settings.queue_path)
    assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    raw.execute("PRAGMA user_version = 9999")
    raw.close()
    for command in (("status",), ("reconcile",), ("retry", "1")):
        result = desk.blurd(*command)
        assert (result.returncode, "newer version" in result.stderr) == (17, True), result.stderr
    (tmp_path / "state" / "queue.sqlite").unlink()
    assert desk.blurd("reconcile").returncode == 16
    assert not (tmp_path / "state" / "queue.sqlite").exists()


@pytest.mark.parametrize("part", ["watch", "work"])
def test_s41_a_downgrade_is_refused_with_a_clear_text(desk: Desk, part: str) -> None:
    desk.publish("a.jpg")
    raw = sqlite3.connect(desk.settings.queue_path)
    raw.execute("PRAGMA user_version = 9999")
    raw.close()
    command = [sys.executable, "-m", "blurd", "--config", str(desk.config), part]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 17
    assert "written by a newer version of blurd" in result.stderr
    assert "Traceback" not in result.stderr
    assert list((desk.root / "state").glob("*damaged*")) == []
