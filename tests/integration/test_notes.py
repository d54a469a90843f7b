"""The people at the share are told of a file that got no copy, by a note that is written once and removed in time."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.store import SqliteJobStore
from blurd.core.naming import MAX_NAME_BYTES, byte_length, is_note, note_path
from blurd.core.settling import SettleRule
from blurd.errors import EquipmentError, Reason
from blurd.records import FoundFile, JobId, JobState
from blurd.stages.notes import LOOK_EVERY_S, Notes
from blurd.stages.settle import Settler
from desk import FOLDER, Desk
from pictures import png

NOTE = "a.jpg.rejected.txt"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def keep(desk: Desk, days: float = 30.0, *, wanted: bool = True) -> None:
    """One round of a keeper that has just begun: everything is due."""
    notes = Notes(FOLDER, 0o640, days, wanted=wanted)
    with InboundFolder(desk.root / "in") as inbound, OutboundFolder(desk.root / "out") as outbound:
        notes.keep(desk.store, inbound, outbound)


def reject(desk: Desk, path: str = "a.jpg", reason: Reason = Reason.DAMAGED) -> JobId:
    return desk.end(path, JobState.REJECTED, reason)


def lying(desk: Desk) -> list[str]:
    return sorted(desk.copies())


def test_a_rejected_file_is_told_of_where_its_copy_would_be(desk: Desk) -> None:
    job = reject(desk, "trip/a.jpg")
    keep(desk)
    note = desk.root / "out" / "trip" / NOTE
    text = " ".join(note.read_text(encoding="utf-8").split())
    assert "blurd made no copy of this file: trip/a.jpg Why The content can't be decoded without errors." in text
    assert "What to do Copy it again, or repair it, and drop that in." in text
    assert f"blurd show {job}" in text
    assert max(map(len, note.read_text(encoding="utf-8").splitlines())) <= 80
    assert stat.S_IMODE(note.stat().st_mode) == 0o640
    assert [path.name for path in (desk.root / "out" / ".blurd").iterdir()] == []


def test_a_failed_file_is_not_said_to_be_tried_again_by_itself(desk: Desk) -> None:
    job = desk.end("a.jpg", JobState.FAILED, Reason.WORKER_DIED)
    keep(desk)
    text = " ".join((desk.root / "out" / NOTE).read_text().split())
    assert f"Every allowed attempt failed. To try it once more: blurd retry {job}" in text
    assert "by itself. Whoever" not in text
    assert "It is tried again" not in text


def test_nobody_is_told_of_what_is_no_medium_waits_or_was_published(desk: Desk) -> None:
    desk.publish("b.jpg")
    desk.drop("index.xml", Reason.NOT_MEDIA)
    desk.drop("c.jpg")
    keep(desk)
    assert lying(desk) == ["b.jpg"]


def test_the_note_stays_while_the_file_is_tried_again_and_goes_with_its_copy(desk: Desk) -> None:
    job = reject(desk)
    keep(desk)
    desk.blurd("retry", str(job))
    keep(desk)
    assert lying(desk) == [NOTE]
    desk.publish_next()
    keep(desk)
    assert lying(desk) == ["a.jpg"]
    assert desk.account().as_json()["notes"] == 0


def test_a_file_that_is_rejected_again_for_another_reason_has_one_note_that_says_so(desk: Desk) -> None:
    job = reject(desk)
    keep(desk)
    desk.blurd("retry", str(job))
    assert desk.store.finish(desk.claim().id, desk.store.claims()[0].worker, JobState.REJECTED, Reason.ANIMATED)
    keep(desk)
    assert lying(desk) == [NOTE]
    assert "animation" in desk.copies()[NOTE].decode()


def _vanish(desk: Desk, _job: JobId) -> None:
    (desk.root / "in" / "a.jpg").unlink()


def _replace(desk: Desk, _job: JobId) -> None:
    path = desk.root / "in" / "a.jpg"
    path.write_bytes(b"another version")
    desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp_of(path.stat()))])


def _forget(desk: Desk, job: JobId) -> None:
    assert desk.blurd("forget", str(job)).returncode == 0


@pytest.mark.parametrize("end", [_vanish, _replace, _forget])
def test_the_note_goes_when_the_original_is_gone_or_replaced_or_the_job_forgotten(
    desk: Desk, end: Callable[[Desk, JobId], None]
) -> None:
    job = reject(desk)
    reject(desk, "b.jpg")
    keep(desk)
    end(desk, job)
    keep(desk)
    assert lying(desk) == ["b.jpg" + NOTE[5:]]
    keep(desk)
    assert lying(desk) == ["b.jpg" + NOTE[5:]]


def test_nobody_is_told_of_a_file_that_is_gone_already(desk: Desk) -> None:
    reject(desk)
    (desk.root / "in" / "a.jpg").unlink()
    keep(desk)
    assert lying(desk) == []
    assert desk.store.notes_due(FOLDER, 9) == ()


def test_what_others_put_there_is_neither_overwritten_nor_removed(desk: Desk) -> None:
    theirs = desk.root / "out" / NOTE
    theirs.write_text("somebody's own")
    job = reject(desk)
    keep(desk)
    assert lying(desk) == ["a.jpg.rejected-2.txt", NOTE]
    (desk.root / "out" / "a.jpg.rejected-2.txt").write_text("edited: asked Erika for it")
    desk.blurd("forget", str(job))
    keep(desk)
    assert desk.copies() == {NOTE: b"somebody's own", "a.jpg.rejected-2.txt": b"edited: asked Erika for it"}
    assert len(desk.account().foreign) == 2


def test_a_note_that_people_removed_stays_away(desk: Desk) -> None:
    job = reject(desk)
    keep(desk)
    (desk.root / "out" / NOTE).unlink()
    keep(desk)
    assert lying(desk) == []
    desk.blurd("forget", str(job))
    keep(desk)
    assert lying(desk) == []


def test_a_folder_that_wants_no_notes_has_none_and_gets_them_back(desk: Desk) -> None:
    reject(desk)
    keep(desk, wanted=False)
    assert lying(desk) == []
    keep(desk)
    assert lying(desk) == [NOTE]
    keep(desk, wanted=False)
    assert lying(desk) == []
    keep(desk)
    assert lying(desk) == [NOTE]


def test_the_note_goes_when_names_must_and_the_name_goes_after_it(desk: Desk) -> None:
    reject(desk)
    keep(desk)
    assert desk.erase_names() == 0
    keep(desk, days=1e-9)
    assert lying(desk) == []
    assert desk.erase_names() == 1
    keep(desk)
    assert lying(desk) == []


def test_a_copy_that_still_stands_needs_no_note_when_making_it_again_failed(desk: Desk) -> None:
    job = desk.publish("a.jpg")
    assert desk.blurd("redo", str(job)).returncode == 0
    again = desk.claim()
    assert desk.store.finish(again.id, desk.store.claims()[0].worker, JobState.REJECTED, Reason.DAMAGED)
    keep(desk)
    assert desk.copies() == {"a.jpg": b"masked"}


def test_reconcile_counts_notes_and_takes_none_for_a_copy_or_for_somebody_elses_file(desk: Desk) -> None:
    reject(desk)
    keep(desk)
    account = desk.account(hashes=True)
    assert (account.notes, account.copies, account.foreign, account.is_sound) == (1, 0, [], True)
    assert "1 notes about rejected or failed files" in desk.blurd("reconcile").stdout


def test_a_full_disk_lets_the_note_wait_and_pauses_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reject(desk)

    def full(*_: object) -> None:
        raise EquipmentError(Reason.OUTBOUND_FULL, "create staged")

    with monkeypatch.context() as patched:
        patched.setattr(OutboundFolder, "staged", full)
        keep(desk)
    assert lying(desk) == []
    keep(desk)
    assert lying(desk) == [NOTE]


def test_a_place_where_no_note_can_be_put_is_passed_over(desk: Desk) -> None:
    """Somebody's file lies where the folder would have to be; the other notes are written."""
    (desk.root / "out" / "trip").write_text("a file")
    reject(desk, "trip/a.jpg")
    reject(desk, "b.jpg")
    keep(desk)
    assert lying(desk) == ["b.jpg.rejected.txt", "trip"]
    assert desk.store.notes_due(FOLDER, 9) == ()


def test_a_queue_that_was_begun_anew_replaces_the_note_of_the_one_before(desk: Desk) -> None:
    """Known by its text; one that people wrote on, or about something else, is theirs."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        reject(desk, name)
    keep(desk)
    with (desk.root / "out" / "b.jpg.rejected.txt").open("a") as theirs:
        theirs.write("asked for it")
    desk.store.close()
    desk.settings.queue_path.unlink()
    desk.store = SqliteJobStore(desk.settings.queue_path)
    reject(desk, "other.jpg")
    jobs = [reject(desk, name) for name in ("a.jpg", "b.jpg")]
    reject(desk, "c.jpg", Reason.ANIMATED)
    keep(desk)
    assert lying(desk) == [
        NOTE, "b.jpg.rejected-2.txt", "b.jpg.rejected.txt", "c.jpg.rejected-2.txt", "c.jpg.rejected.txt",
        "other.jpg.rejected.txt",
    ]  # fmt: skip
    assert f"blurd show {jobs[0]}\n" in desk.copies()[NOTE].decode()
    assert desk.copies()["b.jpg.rejected.txt"].endswith(b"asked for it")


class Cut(BaseException):
    """As if the process was killed here."""


STEPS: tuple[tuple[Any, str], ...] = (
    (SqliteJobStore, "intend_note"),
    (SqliteJobStore, "settle_note"),
    (SqliteJobStore, "forget_note"),
    (OutboundFolder, "publish"),
    (OutboundFolder, "remove_staged"),
    (OutboundFolder, "withdraw"),
)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_cut_at_any_step_is_made_good_by_the_next_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, *, before: bool
) -> None:
    """Of writing, and of removing: one note afterwards, then none, and nothing else."""
    job = reject(desk)
    original = getattr(owner, step)

    def cut(*values: Any, **named: Any) -> None:
        if not before:
            original(*values, **named)
        raise Cut

    for wanted in ([NOTE], []):
        if not wanted:
            desk.blurd("forget", str(job))
        with monkeypatch.context() as patched:
            patched.setattr(owner, step, cut)
            try:
                keep(desk)
            except Cut:
                desk.store.close()
                desk.store = SqliteJobStore(desk.settings.queue_path)
        keep(desk)
        assert lying(desk) == wanted
        assert desk.store.note_paths(FOLDER) == frozenset(wanted)
    (desk.root / "in" / "a.jpg").unlink()
    account = desk.account()
    assert (account.is_sound, account.foreign, account.orphans) == (True, [], [])


def test_the_keeper_looks_for_what_is_out_of_date_now_and_then_alone(desk: Desk) -> None:
    """What is due is written at once; a removal is worth a look every few seconds."""
    job = reject(desk)
    notes = Notes(FOLDER, 0o640, 30.0, wanted=True)
    with InboundFolder(desk.root / "in") as inbound, OutboundFolder(desk.root / "out") as outbound:
        notes.keep(desk.store, inbound, outbound)
        desk.blurd("forget", str(job))
        reject(desk, "b.jpg")
        notes.keep(desk.store, inbound, outbound)
    assert lying(desk) == [NOTE, "b.jpg.rejected.txt"]
    assert LOOK_EVERY_S <= 5.0


def test_a_note_of_another_blurd_in_inbound_is_ignored_and_a_picture_of_that_name_is_not(desk: Desk) -> None:
    """Even where other files are reported: a note about a note would be one too many."""
    (desk.root / "in" / "a.jpg.rejected.txt").write_text("blurd made no copy of this file:")
    (desk.root / "in" / "b.rejected-2.txt").write_bytes(png())
    (desk.root / "in" / "c.txt").write_text("a plain text")
    settler = Settler(FOLDER, SettleRule(0.0, 1.0), (), desk.store, hard_links=False, others_ignored=False)
    with InboundFolder(desk.root / "in") as inbound:
        found = {file.path: file.state for now_s in (0.0, 5.0, 10.0) for file in settler.scan(inbound, now_s)}
    assert found["a.jpg.rejected.txt"] is JobState.IGNORED
    assert found["b.rejected-2.txt"] is JobState.QUEUED
    assert found["c.txt"] is not JobState.IGNORED


def test_a_notes_name_is_cut_where_it_would_be_too_long() -> None:
    for name in ("a" * 255, "trip/" + "é" * 127, "\udcff" * 255):
        path = note_path(name)
        assert byte_length(path.rpartition("/")[2]) <= MAX_NAME_BYTES - 7
        assert is_note(path)
        os.fsencode(path)
    assert note_path("trip/a.jpg") == "trip/a.jpg.rejected.txt"
    assert not is_note("a.jpg")
