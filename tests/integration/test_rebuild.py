"""A queue that is damaged, lost, or older than its receipts: set aside, begun anew, nothing published twice."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import source_hashes, stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import this_process
from blurd.adapters.ledger import TAIL_BYTES, Ledger
from blurd.adapters.queue_file import KEPT, is_damage_noted, is_damaged, note_damage
from blurd.adapters.store import SqliteJobStore
from blurd.core.naming import TEMPORARY_NAMES
from blurd.errors import EquipmentError, Reason
from blurd.events import QueueSetAside
from blurd.records import (
    FolderName,
    FoundFile,
    Job,
    JobId,
    JobState,
    MediaFacts,
    MediaKind,
    StagedCopy,
    Verdict,
)
from blurd.stages.publish import publish
from blurd.stages.rebuild import rebuild_if_needed
from blurd.stages.settle import walk

FOLDER = FolderName("photos")
ME = this_process()
FACTS = MediaFacts(MediaKind.IMAGE, "jpeg", ".jpg", 4, 3, 1)


class Box:
    """A folder pair with its queue and ledger; files are queued, treated and published by hand."""

    def __init__(self, root: Path) -> None:
        self.root, self.queue = root, root / "queue.sqlite"
        for name in ("in", "out"):
            (root / name).mkdir()
        self.ledger = Ledger(root / "receipts.jsonl")
        self.inbound, self.outbound = InboundFolder(root / "in"), OutboundFolder(root / "out")

    def drop(self, path: str, content: bytes = b"an original") -> None:
        place = self.root / "in" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def serve(self) -> dict[str, str]:
        """Everything that is there goes its way, as the processes would do it; what happened to each file."""
        store = SqliteJobStore(self.queue)
        if store.is_unlisted(FOLDER):
            store.list_present(FOLDER, [(path, stamp_of(status)) for path, status in self.files()])
        store.enqueue(FOLDER, [FoundFile(path, stamp_of(status)) for path, status in self.files()])
        told = {}
        while (job := store.claim(ME, [FOLDER], 0.0)) is not None:
            told[job.path] = self._treat(store, job)
        store.close()
        return told

    def files(self) -> list[tuple[str, os.stat_result]]:
        return list(walk(self.inbound, TEMPORARY_NAMES))

    def _treat(self, store: SqliteJobStore, job: Job) -> str:
        with self.inbound.open(job.path, allow_hard_links=False) as file:
            source_sha256, source_id = source_hashes(file, job.path)
        before = store.published_before(job, source_id, None)
        if before is not None:
            name = next(self.outbound.copies(before.target, before.size, before.sha256), None)
            assert store.recognise(job.id, ME, before, name)
            return f"recognised as {name}"
        name = f"job-{job.id}-{job.attempts}.staged"
        copy = b"masked " + (self.root / "in" / job.path).read_bytes()
        with self.outbound.staged(name, 0o644) as staged:
            staged.write(copy)
        digest = hashlib.sha256(copy).hexdigest()
        target = StagedCopy(
            name, job.path, len(copy), digest, source_sha256, FACTS, Verdict(1, 0), "m", "s", source_id=source_id
        )
        assert store.stage(job.id, ME, target)
        (staged_job,) = store.staged_jobs(FOLDER, 9)
        publish(store, self.ledger, self.inbound, self.outbound, staged_job, {}, lambda _: None)
        return "published"

    def mend(self) -> QueueSetAside | None:
        return rebuild_if_needed(self.queue, self.ledger, [FOLDER])

    def copies(self) -> set[str]:
        out = self.root / "out"
        return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and ".blurd" not in path.parts}

    def receipts(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.root / "receipts.jsonl").read_text().splitlines()]

    def states(self) -> dict[JobState, int]:
        store = SqliteJobStore(self.queue)
        try:
            return dict(store.overview().counts.get(FOLDER, {}))
        finally:
            store.close()

    def close(self) -> None:
        self.inbound.close()
        self.outbound.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    for name in ("a.jpg", "trip/b.jpg", "c.jpg"):
        made.drop(name, b"original of " + name.encode())
    made.serve()
    yield made
    made.close()


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for position in range(4096, len(content), 997):
        content[position] ^= 0xFF
    path.write_bytes(content)


def header_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 0x10
    path.write_bytes(content)


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def no_database(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>" * 400)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


DAMAGES = [scribbled, header_flipped, truncated, no_database, emptied, removed]


@pytest.mark.parametrize("damage", DAMAGES)
def test_s30_a_damaged_or_lost_queue_is_begun_anew_and_nothing_is_published_twice(
    box: Box, damage: Callable[[Path], None]
) -> None:
    """People have fetched one copy meanwhile, removed one original, and dropped another file."""
    (box.root / "out" / "trip" / "b.jpg").unlink()
    (box.root / "in" / "c.jpg").unlink()
    box.drop("new.jpg")
    damage(box.queue)
    told = box.mend()
    assert told is not None
    assert told.receipts == 3
    kept = sorted(path.name for path in box.root.glob("queue.sqlite.damaged-*"))
    assert kept == ([] if damage is removed else ["queue.sqlite.damaged-1"])
    assert box.serve() == {"a.jpg": "recognised as a.jpg", "trip/b.jpg": "recognised as None", "new.jpg": "published"}
    assert box.copies() == {"a.jpg", "c.jpg", "new.jpg"}
    assert box.states() == {JobState.PUBLISHED: 3}
    receipts = box.receipts()
    assert [receipt["event"] for receipt in receipts] == ["published"] * 4
    assert len({receipt["job"] for receipt in receipts}) == 4  # numbers go on, so no receipt is swallowed
    assert box.mend() is None
    assert box.serve() == {}


def test_s30_the_status_tells_of_it(box: Box) -> None:
    no_database(box.queue)
    box.mend()
    store = SqliteJobStore(box.queue)
    (rebuild,) = store.overview().rebuilds
    store.close()
    assert (rebuild.kept, rebuild.receipts) == (1, 3)


def test_s30_a_file_dropped_again_after_the_damage_is_new(box: Box) -> None:
    """Only what lay there when the queue was begun anew is recognised; the same drop later wants its copy again."""
    content = (box.root / "in" / "a.jpg").read_bytes()
    (box.root / "in" / "a.jpg").unlink()
    (box.root / "out" / "a.jpg").unlink()
    no_database(box.queue)
    box.mend()
    box.serve()
    box.drop("a.jpg", content)
    assert box.serve() == {"a.jpg": "published"}
    assert "a.jpg" in box.copies()


def test_s30_the_same_content_under_another_name_still_gets_its_copy(box: Box) -> None:
    """It was never published, though its content was, under another name."""
    box.drop("twin.jpg", (box.root / "in" / "a.jpg").read_bytes())
    (box.root / "out" / "a.jpg").unlink()
    no_database(box.queue)
    box.mend()
    told = box.serve()
    assert (told["a.jpg"], told["twin.jpg"]) == ("recognised as None", "published")


def test_s30_a_copy_that_was_linked_but_has_no_receipt_yet_is_not_put_there_twice(box: Box) -> None:
    """The power went between the link and the receipt, and took the queue with it."""
    lines = (box.root / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    (box.root / "receipts.jsonl").write_bytes(b"".join(lines[:-1]))
    scribbled(box.queue)
    assert box.mend() is not None
    assert "published" in box.serve().values()
    assert box.copies() == {"a.jpg", "trip/b.jpg", "c.jpg"}


def test_s30_a_copy_made_under_other_regions_is_withdrawn_as_ever(box: Box) -> None:
    """The regions arrived while the queue was lost: the new copy takes the old one's place."""
    no_database(box.queue)
    box.mend()
    store = SqliteJobStore(box.queue)
    store.list_present(FOLDER, [(path, stamp_of(status)) for path, status in box.files()])
    regions = box.root / "in" / "a.jpg.regions.json"
    regions.write_bytes(b"{}")
    stamp = stamp_of((box.root / "in" / "a.jpg").stat())
    store.enqueue(FOLDER, [FoundFile("a.jpg", stamp, regions=stamp_of(regions.stat()))])
    job = store.claim(ME, [FOLDER], 0.0)
    assert job is not None
    with box.inbound.open("a.jpg", allow_hard_links=False) as file:
        source_sha256, source_id = source_hashes(file, "a.jpg")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert store.published_before(job, source_id, digest) is None
    ((earlier, copy),) = store.versions_before(job, source_id)
    store.remember(job, earlier, copy, "a.jpg")
    assert store.versions_before(job, source_id) == ()
    name = f"job-{job.id}-1.staged"
    with box.outbound.staged(name, 0o644) as staged:
        staged.write(b"masked more")
    sha256 = hashlib.sha256(b"masked more").hexdigest()
    store.stage(job.id, ME, StagedCopy(name, "a.jpg", 11, sha256, source_sha256, FACTS, Verdict(1, 0), "m", "s"))
    (waiting,) = store.staged_jobs(FOLDER, 9)
    publish(store, box.ledger, box.inbound, box.outbound, waiting, {}, lambda _: None)
    store.close()
    assert box.copies() == {"a-2.jpg", "trip/b.jpg", "c.jpg"}
    assert [receipt["event"] for receipt in box.receipts()][-2:] == ["published", "withdrawn"]


def test_s30_a_lost_log_is_noticed_by_the_receipts(box: Box) -> None:
    """The last commits were in the log only: the file behind it is sound, and wrong."""
    held = SqliteJobStore(box.queue)  # keeps the log from being folded in
    held.claims()
    box.drop("d.jpg", b"in the log alone")
    box.serve()
    for name in ("queue.sqlite", "receipts.jsonl"):
        shutil.copy(box.root / name, box.root / f"{name}.copy")
    held.close()
    (box.root / "queue.sqlite.copy").rename(box.queue)
    for side in ("-wal", "-shm"):
        (box.root / f"queue.sqlite{side}").unlink(missing_ok=True)
    assert not is_damaged(box.queue)
    assert box.mend() is not None
    assert set(box.serve().values()) == {f"recognised as {name}" for name in ("a.jpg", "trip/b.jpg", "c.jpg", "d.jpg")}


def test_s30_an_old_backup_of_the_queue_is_not_believed(box: Box) -> None:
    shutil.copy(box.queue, box.root / "backup")
    box.drop("d.jpg", b"later")
    box.serve()
    shutil.copy(box.root / "backup", box.queue)
    assert box.mend() is not None
    assert box.serve()["d.jpg"] == "recognised as d.jpg"


def test_s30_damage_met_in_mid_run_is_noted_for_the_watcher(box: Box) -> None:
    store = SqliteJobStore(box.queue)
    store.close()
    content = bytearray(box.queue.read_bytes())
    raw = sqlite3.connect(box.queue)
    (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job_by_state'").fetchone()
    raw.close()
    content[(page - 1) * 4096 : page * 4096] = bytes([0xA5]) * 4096
    box.queue.write_bytes(content)
    store = SqliteJobStore(box.queue)
    with pytest.raises(EquipmentError) as caught:
        store.staged_jobs(FOLDER, 9)
    store.close()
    assert caught.value.reason is Reason.QUEUE_DAMAGED
    assert is_damage_noted(box.queue)
    assert box.mend() is not None
    assert not is_damage_noted(box.queue)


def test_s30_who_still_has_the_old_queue_open_marks_nothing_in_the_new_one(box: Box) -> None:
    """A worker meets the damage again after the queue was begun anew: that is not done a second time."""
    late = SqliteJobStore(box.queue)
    no_database(box.root / "queue.sqlite")
    assert box.mend() is not None
    assert not late.is_current()
    note_damage(box.queue, late._opened)
    assert not is_damage_noted(box.queue)
    assert box.mend() is None
    late.close()


def test_s30_a_cut_while_the_queue_is_begun_anew_is_mended(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    no_database(box.queue)
    with monkeypatch.context() as patched:
        patched.setattr(SqliteJobStore, "begin", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            box.mend()
    assert box.mend() is not None
    assert set(box.serve().values()) == {f"recognised as {name}" for name in ("a.jpg", "trip/b.jpg", "c.jpg")}


def test_s30_not_more_than_a_few_damaged_queues_are_kept(box: Box) -> None:
    for _ in range(KEPT + 2):
        no_database(box.queue)
        assert box.mend() is not None
    kept = sorted(path.name for path in box.root.glob("queue.sqlite.damaged-*"))
    assert kept == [f"queue.sqlite.damaged-{number}" for number in range(3, 3 + KEPT)]


def test_s30_a_newer_queue_is_refused_and_not_touched(box: Box) -> None:
    raw = sqlite3.connect(box.queue)
    raw.execute("PRAGMA user_version = 9999")
    raw.close()
    before = box.queue.read_bytes()
    with pytest.raises(EquipmentError) as caught:
        box.mend()
    assert caught.value.reason is Reason.SCHEMA_NEWER
    assert box.queue.read_bytes() == before


# -- the ledger --------------------------------------------------------------------------------------------------------


def chain_holds(path: Path) -> bool:
    previous = hashlib.sha256(b"").hexdigest()
    for line in path.read_bytes().splitlines():
        try:
            told = json.loads(line)["previous"]
        except ValueError:
            told = previous  # a damaged line can't tell; the next one is chained to what it is now
        if told != previous:
            return False
        previous = hashlib.sha256(line).hexdigest()
    return True


@pytest.mark.parametrize("end", [b'{"job": 9, "ev', b"\x00" * 3000, b"\x00" * (2 * TAIL_BYTES), b"\xff\xfe garbage"])
def test_s30_an_unfinished_last_receipt_is_cut_off_and_the_chain_goes_on(box: Box, end: bytes) -> None:
    path = box.root / "receipts.jsonl"
    before = path.read_bytes()
    with path.open("ab") as ledger:
        ledger.write(end)
    assert [receipt["job"] for receipt in box.ledger.read()] == [1, 2, 3]
    box.ledger.append(JobId(4), {"folder": "photos"})
    assert path.read_bytes().startswith(before)
    assert [receipt["job"] for receipt in box.ledger.read()] == [1, 2, 3, 4]
    assert chain_holds(path)


def test_s30_a_damaged_receipt_among_others_stays_and_the_chain_goes_on_behind_it(box: Box) -> None:
    path = box.root / "receipts.jsonl"
    with path.open("ab") as ledger:
        ledger.write(b"\x00\x00 not a receipt\n")
    box.ledger.append(JobId(4), {"folder": "photos"})
    assert [receipt["job"] for receipt in box.ledger.read()] == [1, 2, 3, 4]
    assert b"not a receipt" in path.read_bytes()
    assert chain_holds(path)


def test_s30_a_receipt_that_fits_only_in_part_is_not_taken_for_written(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is almost full takes what still fits and raises nothing."""
    path = box.root / "receipts.jsonl"
    before = path.read_bytes()
    whole = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda handle, data, offset: whole(handle, data[:20], offset))
        with pytest.raises(EquipmentError) as caught:
            box.ledger.append(JobId(4), {"folder": "photos"})
    assert caught.value.reason is Reason.STATE_FULL
    assert path.read_bytes() == before


def test_no_name_can_be_guessed_from_a_receipt(box: Box) -> None:
    """The source's mark depends on its whole content: without the file, a guessed name can't be tested."""
    (receipt, *_) = box.receipts()
    content = (box.root / "in" / "a.jpg").read_bytes()
    assert receipt["source_id"] == hashlib.sha256(content + b"a.jpg").hexdigest()
    assert receipt["source_id"] != hashlib.sha256(str(receipt["source_sha256"]).encode() + b"a.jpg").hexdigest()
    assert "a.jpg" not in json.dumps(receipt)
