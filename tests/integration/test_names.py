"""File names leave the queue when their time is over; everything else goes on as before."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.host import wall_clock
from blurd.adapters.ledger import Ledger
from blurd.adapters.names import make_key
from blurd.adapters.queue_file import set_aside
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_names import NameErasure
from blurd.adapters.store_notes import Note
from blurd.config import load_settings
from blurd.errors import EquipmentError, Reason
from blurd.events import Event, NamesErased
from blurd.housekeeping import BATCH, Housekeeping
from blurd.records import FolderName, FoundFile, JobId, JobState
from blurd.stages.rebuild import rebuild_if_needed
from desk import FOLDER, ME, Desk

TELLING = "B-AB 1234 Erika Mustermann"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def remains(desk: Desk, word: str = TELLING) -> dict[str, int]:
    """How often a word stands in the queue's files."""
    found = sorted(desk.settings.state.directory.glob("queue.sqlite*"))
    return {path.name: path.read_bytes().count(word.encode()) for path in found}


def furnish(desk: Desk) -> dict[str, JobId]:
    """A file of a telling name in each state in which a job can end."""
    jobs = {
        "published": desk.publish(f"{TELLING}/published.jpg"),
        "rejected": desk.end(f"{TELLING} rejected.jpg", JobState.REJECTED, Reason.DAMAGED),
        "failed": desk.end(f"{TELLING} failed.jpg", JobState.FAILED, Reason.WORKER_DIED),
        "ignored": desk.drop(f"{TELLING}.xml", Reason.NOT_MEDIA),
    }
    (desk.root / "in" / f"{TELLING}.xml").rename(desk.root / "in" / "plain.xml")
    (desk.root / "in" / "plain.xml").rename(desk.root / "in" / f"{TELLING}.xml")
    return jobs


def test_no_byte_of_a_name_is_left_in_the_queues_files(desk: Desk) -> None:
    """In numbers, so that rows moved between pages: what SQLite leaves there goes with the daily rewriting."""
    stamp = stamp_of(desk.config.stat())
    for start in range(0, 2000, 500):
        names = [f"day {n % 7}/{TELLING} {n * 7919 % 2000:04}{'x' * (n % 90)}.jpg" for n in range(start, start + 500)]
        desk.store.enqueue(FOLDER, [FoundFile(name, stamp, Reason.DAMAGED) for name in names])
    furnish(desk)
    writer = sqlite3.connect(desk.settings.queue_path)  # as if each had a copy: rows grow and move
    writer.execute(
        "UPDATE job SET published = CAST(path || '-2' AS BLOB), staged = json_object('target', CAST(path AS TEXT))"
    )
    writer.commit()
    writer.close()
    assert sum(remains(desk).values()) > 4000
    assert desk.erase_names() == 1000
    assert desk.erase_names() == 1000
    assert desk.erase_names() == 4
    assert remains(desk)["queue.sqlite-wal"] == 0
    assert remains(desk)["queue.sqlite"] < 100
    with closing(NameErasure(desk.settings.queue_path)) as queue:
        assert queue.is_scrub_due(wall_clock())
        assert queue.scrub()
        assert not queue.is_scrub_due("2000-01-01T00:00:00+00:00")
    assert remains(desk) == dict.fromkeys(remains(desk), 0)
    assert remains(desk, "Erika") == dict.fromkeys(remains(desk), 0)


def test_whoever_writes_the_queue_fills_what_is_overwritten_with_zeroes(desk: Desk) -> None:
    """Whatever SQLite was built to do by itself."""
    assert desk.store._connection.execute("PRAGMA secure_delete").fetchone()[0] == 1


def test_originals_that_are_still_there_are_not_taken_again_and_all_is_accounted_for(desk: Desk) -> None:
    """Also by a process that had the queue open when the first name was erased."""
    furnish(desk)
    before = desk.account(hashes=True).as_json()
    assert desk.erase_names() == 4
    assert desk.account(hashes=True).as_json() == before
    assert desk.account().foreign == []
    for path in (desk.root / "in").rglob("*.*"):
        name = str(path.relative_to(desk.root / "in"))
        assert desk.store.enqueue(FOLDER, [FoundFile(name, stamp_of(path.stat()))]) == ()
    (desk.root / "out" / TELLING / "published.jpg").unlink()
    assert desk.account().taken == 1
    source = desk.root / "in" / TELLING / "published.jpg"
    source.write_bytes(b"another version")
    assert len(desk.store.enqueue(FOLDER, [FoundFile(f"{TELLING}/published.jpg", stamp_of(source.stat()))])) == 1


def test_a_copy_whose_name_was_erased_still_owns_it_in_outbound(desk: Desk) -> None:
    """The same content dropped in anew is put beside it, and not taken for it."""
    first = desk.publish("a.jpg")
    desk.erase_names()
    (desk.root / "in" / "a.jpg").write_bytes(b"another")
    stamp = stamp_of((desk.root / "in" / "a.jpg").stat())
    desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp)])
    second = desk.publish_next()
    assert second != first
    assert sorted(desk.copies()) == ["a-2.jpg", "a.jpg"]


def test_what_is_not_at_its_end_keeps_its_name_and_so_does_what_ended_lately(desk: Desk) -> None:
    desk.end("late.jpg", JobState.REJECTED, Reason.DAMAGED)
    desk.drop("running.jpg")
    desk.claim()
    desk.drop("queued.jpg")
    with closing(NameErasure(desk.settings.queue_path)) as queue:
        assert queue.erase("2020-01-01T00:00:00+00:00", 100) == 0
        assert queue.erase(wall_clock(), 100) == 1
    latest = desk.store.latest(FOLDER, "running.jpg")
    assert latest is not None
    assert latest.path == "running.jpg"
    assert [claim.job.path for claim in desk.store.claims()] == ["running.jpg"]
    assert desk.claim().path == "queued.jpg"


def test_the_commands_say_so_in_clear_words(desk: Desk) -> None:
    jobs = furnish(desk)
    desk.erase_names()
    shown = desk.blurd("show", str(jobs["published"]))
    assert shown.returncode == 0
    assert "its name was erased on" in shown.stdout
    assert TELLING not in shown.stdout
    tried = desk.blurd("retry", str(jobs["rejected"]))
    assert (tried.returncode, "name of its file is erased" in tried.stderr) == (29, True)
    assert "blurd forget JOB" in tried.stderr
    everything = desk.blurd("retry", "--reason", "damaged")
    assert everything.stdout.startswith("0 back in the queue\n1 more can't be tried again.")
    assert desk.blurd("forget", str(jobs["rejected"])).returncode == 0
    assert desk.account().unaccounted == [f"{TELLING} rejected.jpg"]  # new to the next scan
    assert desk.blurd("jobs").stdout.count("photos") == 3


def test_a_copy_is_made_again_though_its_name_was_erased(desk: Desk) -> None:
    """The name comes back from the original, and the old copy is found by it and withdrawn."""
    first = desk.publish("trip/a.jpg")
    gone = desk.publish("gone.jpg")
    (desk.root / "in" / "gone.jpg").unlink()
    desk.erase_names()
    result = desk.blurd("redo", "--folder", "photos")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f"job {gone} is left as it is: source_vanished. Its original is gone.",
        "1 in the queue again, 1 left as they are",
    ]
    assert desk.publish_next(b"made anew") == gone + 1
    assert desk.copies() == {"gone.jpg": b"masked", "trip/a-2.jpg": b"made anew"}
    assert desk.blurd("show", str(first)).stdout.startswith(f"job {first} in photos: withdrawn")


def test_the_key_is_for_the_owner_alone(desk: Desk) -> None:
    desk.publish("a.jpg")
    assert not (desk.settings.state.directory / "names.key").exists()
    desk.erase_names()
    assert stat.S_IMODE((desk.settings.state.directory / "names.key").stat().st_mode) == 0o600


def test_a_key_that_was_made_before_a_cut_is_used(desk: Desk) -> None:
    """Cut off between the key and the first digest; nothing is erased yet then."""
    desk.publish("a.jpg")
    key = make_key(desk.settings.state.directory)
    desk.erase_names()
    assert (desk.settings.state.directory / "names.key").read_bytes() == key
    assert desk.account().is_sound


@pytest.mark.parametrize("damage", ["lost", "another"])
def test_a_queue_whose_key_is_lost_is_begun_anew_and_nothing_is_published_twice(desk: Desk, damage: str) -> None:
    desk.publish("a.jpg")
    desk.erase_names()
    key = desk.settings.state.directory / "names.key"
    key.unlink() if damage == "lost" else key.write_bytes(os.urandom(32))
    stamp = stamp_of((desk.root / "in" / "a.jpg").stat())
    with closing(SqliteJobStore(desk.settings.queue_path)) as late, pytest.raises(EquipmentError) as caught:
        late.is_known(FOLDER, "a.jpg", stamp)
    assert caught.value.reason is Reason.QUEUE_DAMAGED
    told = rebuild_if_needed(desk.settings.queue_path, Ledger(desk.settings.receipts_path), [FOLDER])
    assert told is not None
    assert told.receipts == 1
    with closing(SqliteJobStore(desk.settings.queue_path)) as anew:
        anew.list_present(FOLDER, [("a.jpg", stamp)])
        anew.enqueue(FOLDER, [FoundFile("a.jpg", stamp)])
        job = anew.claim(ME, [FOLDER], 0.0)
        assert job is not None
        assert anew.published_before(job, "id-a.jpg", None) is not None


def test_a_note_at_the_share_goes_before_the_name(desk: Desk) -> None:
    """Its row bears the name; it is the keeper that removes both (`test_notes.py`)."""
    job = desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
    writer = sqlite3.connect(desk.settings.queue_path)
    writer.execute("INSERT INTO note (job, folder, path, sha256) VALUES (?, 'photos', x'61', '')", (job,))
    writer.commit()
    writer.close()
    assert desk.erase_names() == 0
    desk.store.forget_note(job)
    assert desk.erase_names() == 1


def test_a_note_of_a_folder_that_the_settings_do_not_name_any_more_keeps_no_name(desk: Desk) -> None:
    """Nobody can remove the note itself any more; the name in the queue goes all the same, and no other."""
    stamp = stamp_of(desk.config.stat())
    desk.store.enqueue(FolderName("gone"), [FoundFile(f"{TELLING}.jpg", stamp, Reason.DAMAGED)])
    desk.store.enqueue(FOLDER, [FoundFile("kept.jpg", stamp, Reason.DAMAGED)])
    for folder, name in ((FolderName("gone"), f"{TELLING}.jpg"), (FOLDER, "kept.jpg")):
        job = desk.store.latest(folder, name)
        assert job is not None
        desk.store.intend_note(job, Note(job.id, f"{name}.rejected.txt", ""))
    assert keep_house(desk, 1e-9) == [NamesErased(1)]
    assert sum(remains(desk).values()) == 0
    assert desk.store.note_paths(FOLDER) == {"kept.jpg.rejected.txt"}


# -- housekeeping ------------------------------------------------------------------------------------------------------


def keep_house(desk: Desk, days: float, looks: int = 1) -> list[Event]:
    text = desk.config.read_text().replace("[state]", f"[state]\nnames_days = {days}")
    told: list[Event] = []
    path = desk.root / "house.toml"
    path.write_text(text)
    house = Housekeeping(load_settings(path), told.append)
    for _ in range(looks):
        house.look()
    return told


def test_the_watcher_erases_in_small_batches_and_rewrites_the_file_in_the_end(desk: Desk) -> None:
    stamp = stamp_of(desk.config.stat())
    files = [FoundFile(f"{TELLING} {number}.jpg", stamp, Reason.DAMAGED) for number in range(BATCH + 5)]
    desk.store.enqueue(FOLDER, files)
    assert keep_house(desk, 1e-9, looks=3) == [NamesErased(BATCH), NamesErased(5)]
    assert sum(remains(desk).values()) == 0
    raw = sqlite3.connect(desk.settings.queue_path)
    assert raw.execute("SELECT count(*) FROM names_key WHERE scrubbed_at IS NOT NULL").fetchone() == (1,)
    raw.close()


def test_names_stay_as_long_as_the_settings_say(desk: Desk) -> None:
    furnish(desk)
    assert keep_house(desk, 0.0) == []
    assert keep_house(desk, 30.0) == []
    assert sum(remains(desk).values()) > 0


def test_a_queue_that_was_set_aside_goes_too(desk: Desk) -> None:
    """It is full of names."""
    furnish(desk)
    desk.store.close()
    number = set_aside(desk.settings.queue_path)
    desk.store = SqliteJobStore(desk.settings.queue_path)
    kept = desk.settings.state.directory / f"queue.sqlite.damaged-{number}"
    keep_house(desk, 30.0)
    assert kept.exists()
    os.utime(kept, (0, 0))
    keep_house(desk, 30.0)
    assert not list(desk.settings.state.directory.glob("*damaged*"))


def test_a_reader_that_stays_holds_up_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log can't be emptied then; names are erased all the same, and the log is emptied another time."""
    monkeypatch.setattr("blurd.adapters.store_names.PATIENCE_MS", 50)
    desk.publish(f"{TELLING}.jpg")
    reader = sqlite3.connect(desk.settings.queue_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM job").fetchall()
    assert desk.erase_names() == 1
    with closing(NameErasure(desk.settings.queue_path)) as queue:
        assert not queue.empty_log()
        reader.execute("ROLLBACK")
        reader.close()
        assert queue.empty_log()
    assert remains(desk)["queue.sqlite-wal"] == 0
