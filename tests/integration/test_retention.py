"""Retention: only what was published and verified goes, only when it is time, and nothing is lost at any step."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from blurd.adapters.folders import OutboundFolder
from blurd.adapters.ledger import Ledger
from blurd.adapters.originals import OriginalsFolder
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_batches import Batch
from blurd.adapters.tree import sizes_below
from blurd.config import Settings, load_settings
from blurd.errors import EquipmentError, Reason
from blurd.events import Event
from blurd.records import JobId, JobState
from blurd.retention import terms_of
from blurd.stages.retain import Due, Retainer, due_copies, due_originals
from blurd.stages.settle import walk
from blurd.units import drop_ins
from desk import FOLDER, Desk

LONG_AGO = "2020-01-01T00:00:00+00:00"


class Box(Desk):
    """A desk whose folder has a retention."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.events = list[Event]()

    def set(self, **keys: object) -> None:
        """More keys of the folder."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        self.config.write_text("\n".join([self.config.read_text(), *lines]))
        self.settings = load_settings(self.config)

    def age(self, job: JobId) -> None:
        """As if it had been published long ago."""
        with closing(sqlite3.connect(self.settings.queue_path)) as queue, queue:
            queue.execute("UPDATE job SET changed_at = ? WHERE id = ?", (LONG_AGO, job))

    def old(self, path: str) -> JobId:
        job = self.publish(path)
        self.age(job)
        return job

    def round(self) -> None:
        """What the thread does once."""
        (folder,) = self.settings.folder
        terms = terms_of(folder)
        with ExitStack() as opened:
            originals = opened.enter_context(OriginalsFolder(folder.inbound))
            outbound = opened.enter_context(OutboundFolder(folder.outbound))
            elsewhere = folder.archive_elsewhere
            archive = None if elsewhere is None else opened.enter_context(OutboundFolder(elsewhere))
            ledger = Ledger(self.settings.receipts_path)
            retainer = Retainer(FOLDER, terms, self.store, ledger, originals, outbound, archive, self.events.append)
            retainer.resume()
            for due in self.due():
                retainer.retire_original(due)
            if terms.outbound_days is not None:
                with OriginalsFolder(folder.outbound) as lying:
                    copies = list(sizes_below(lying))
                for due in due_copies(self.store, FOLDER, copies, terms.outbound_days):
                    retainer.retire_copy(due)

    def due(self) -> list[Due]:
        (folder,) = self.settings.folder
        days = terms_of(folder).originals_days
        if days is None:
            return []
        with OriginalsFolder(folder.inbound) as inbound:
            return list(due_originals(self.store, FOLDER, inbound, walk(inbound, ()), days))

    def originals(self) -> dict[str, bytes]:
        """What people see in inbound."""
        inbound = self.root / "in"
        files = (path for path in sorted(inbound.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(inbound)): path.read_bytes() for path in files if ".blurd-originals" not in path.parts
        }

    def kept(self) -> dict[str, bytes]:
        """What lies below `.blurd-originals`."""
        own = self.root / "in" / ".blurd-originals"
        return {str(path.relative_to(own)): path.read_bytes() for path in sorted(own.rglob("*")) if path.is_file()}

    def told(self) -> list[tuple[int, str]]:
        """Lines of the ledger that retention wrote."""
        receipts = Ledger(self.settings.receipts_path).read()
        return [(receipt["job"], receipt["event"]) for receipt in receipts if "retirement" in receipt]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.store.close()


def test_only_what_was_published_long_enough_ago_is_deleted(box: Box) -> None:
    """Rejected, failed, ignored, waiting and unknown files stay, and so does what is not old enough."""
    box.set(originals="delete", originals_days=3.0)
    old = box.old("case/old.jpg")
    box.publish("young.jpg")
    box.end("rejected.jpg", JobState.REJECTED, Reason.DAMAGED)
    box.end("failed.jpg", JobState.FAILED, Reason.WORKER_DIED)
    box.drop("text.txt", Reason.NOT_MEDIA)
    box.drop("queued.jpg")
    (box.root / "in" / "unknown.jpg").write_bytes(b"new")
    before = box.originals()
    box.round()
    assert {path: content for path, content in before.items() if path != "case/old.jpg"} == box.originals()
    assert box.kept() == {}
    assert box.told() == [(old, "original_deleted")]
    assert [event.name for event in box.events] == ["original_deleted"]
    assert box.copies() != {}
    box.round()
    assert box.told() == [(old, "original_deleted")]


def test_an_original_waits_for_its_batch_but_not_for_ever(box: Box) -> None:
    """Were it taken away before, its batch would have no file left to be complete with."""
    box.set(originals="delete", originals_days=0.0)
    job = box.publish("case/a.jpg")
    loose = box.publish("loose.jpg")
    box.round()
    assert box.told() == [(loose, "original_deleted")]
    box.store.note_batch(FOLDER, Batch("case", job - 1, "2099-01-01T00:00:00+00:00"))
    box.round()
    assert len(box.told()) == 1, "it was told before this file came"
    box.store.note_batch(FOLDER, Batch("case", job, "2099-01-01T00:00:00+00:00"))
    box.round()
    assert box.told()[1:] == [(job, "original_deleted")]


def test_an_original_is_archived_below_inbound_and_no_scan_takes_it_again(box: Box) -> None:
    box.set(originals="archive", originals_days=0.0)
    job = box.old("case/a.jpg")
    box.round()
    assert box.originals() == {}
    assert box.kept() == {"archive/case/a.jpg": b"case/a.jpg"}
    assert (box.root / "in" / ".blurd-originals").stat().st_mode & 0o777 == 0o700
    assert box.told() == [(job, "original_archived")]
    with OriginalsFolder(box.root / "in") as inbound:
        assert list(walk(inbound, ())) == []


def test_an_original_is_archived_elsewhere_with_its_time(box: Box) -> None:
    archive = box.root / "archive"
    archive.mkdir()
    box.set(originals="archive", originals_days=0.0, archive=str(archive))
    box.old("case/a.jpg")
    mtime = (box.root / "in" / "case" / "a.jpg").stat().st_mtime_ns
    (archive / "photos" / "case").mkdir(parents=True)
    (archive / "photos" / "case" / "a.jpg").write_bytes(b"somebody else's")
    box.round()
    assert box.originals() == box.kept() == {}
    assert (archive / "photos" / "case" / "a.jpg").read_bytes() == b"somebody else's"
    archived = archive / "photos" / "case" / "a-2.jpg"
    assert archived.read_bytes() == b"case/a.jpg"
    assert archived.stat().st_mtime_ns == mtime


def test_a_file_with_another_content_goes_back(box: Box) -> None:
    """The same size and time, other bytes: it was not what was published."""
    box.set(originals="delete", originals_days=0.0)
    box.old("a.jpg")
    place = box.root / "in" / "a.jpg"
    times = place.stat()
    place.write_bytes(b"b.jpg")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    box.round()
    assert box.originals() == {"a.jpg": b"b.jpg"}
    assert box.told() == []
    assert box.kept() == {}


def test_a_file_that_somebody_writes_stays(box: Box) -> None:
    box.set(originals="delete", originals_days=0.0)
    box.old("a.jpg")
    with (box.root / "in" / "a.jpg").open("r+b"):
        box.round()
        assert box.originals() == {"a.jpg": b"a.jpg"}
    box.round()
    assert box.originals() == {}


def test_what_took_the_name_meanwhile_is_never_touched(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file under the old name, just as the original lies aside and turns out to be another one."""
    box.set(originals="delete", originals_days=0.0)
    box.old("a.jpg")
    place = box.root / "in" / "a.jpg"
    times = place.stat()
    place.write_bytes(b"b.jpg")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    take_aside = OriginalsFolder.take_aside

    def and_a_new_one_comes(folder: OriginalsFolder, path: str, number: int) -> bool:
        taken = take_aside(folder, path, number)
        place.write_bytes(b"new")
        return taken

    monkeypatch.setattr(OriginalsFolder, "take_aside", and_a_new_one_comes)
    box.round()
    assert box.originals() == {"a.jpg": b"new", "a-2.jpg": b"b.jpg"}
    assert box.told() == []


@pytest.mark.parametrize("treated", [True, False])
def test_regions_go_with_their_original_if_they_are_those_that_were_treated(box: Box, treated: bool) -> None:  # noqa: FBT001
    box.set(originals="archive", originals_days=0.0)
    box.old("a.jpg")
    (box.root / "in" / "a.jpg.regions.json").write_bytes(b"regions")
    (box.root / "in" / "b.jpg.regions.json").write_bytes(b"of nobody")
    status = (box.root / "in" / "a.jpg.regions.json").stat()
    stamp = json.dumps([status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    sha256 = hashlib.sha256(b"regions" if treated else b"others").hexdigest()
    with closing(sqlite3.connect(box.settings.queue_path)) as queue, queue:
        queue.execute("UPDATE job SET regions = ?, staged = json_set(staged, '$.regions_sha256', ?)", (stamp, sha256))
    box.round()
    left = {} if treated else {"a.jpg.regions.json": b"regions"}
    assert box.originals() == {**left, "b.jpg.regions.json": b"of nobody"}
    assert box.kept() == {
        "archive/a.jpg": b"a.jpg",
        **({"archive/a.jpg.regions.json": b"regions"} if treated else {}),
    }


def test_a_copy_that_nobody_fetched_is_removed(box: Box) -> None:
    """A changed one and one of somebody else stay."""
    box.set(outbound_days=2.0)
    old = box.old("case/a.jpg")
    box.publish("young.jpg")
    changed = box.old("changed.jpg")
    (box.root / "out" / "changed.jpg").write_bytes(b"MASKED")
    (box.root / "out" / "foreign.jpg").write_bytes(b"masked")
    box.round()
    assert box.copies() == {"changed.jpg": b"MASKED", "foreign.jpg": b"masked", "young.jpg": b"masked"}
    assert box.told() == [(old, "copy_deleted")]
    assert changed not in [job for job, _ in box.told()]
    assert box.states() == {JobState.PUBLISHED: 3}
    assert len(box.originals()) == 3


def test_a_file_whose_name_was_erased_from_the_queue_goes_too(box: Box) -> None:
    box.set(originals="delete", originals_days=0.0, outbound_days=0.001)
    job = box.old("case/a.jpg")
    assert box.erase_names() == 1
    box.round()
    assert box.originals() == box.copies() == {}
    assert box.told() == [(job, "original_deleted"), (job, "copy_deleted")]


STEPS = (
    (OriginalsFolder, "take_aside"),
    (OriginalsFolder, "open_aside"),
    (OriginalsFolder, "archive_aside"),
    (OriginalsFolder, "delete_aside"),
    (OutboundFolder, "publish"),
    (OutboundFolder, "withdraw"),
    (Ledger, "append"),
    (SqliteJobStore, "begin_retiring"),
    (SqliteJobStore, "end_retiring"),
)


def fails(before: bool, function: Callable[..., Any]) -> Callable[..., Any]:  # noqa: FBT001
    def failing(*arguments: Any, **options: Any) -> Any:
        if not before:
            done = function(*arguments, **options)
            if hasattr(done, "close"):
                done.close()
        raise EquipmentError(Reason.WRITE_ERROR, "test")

    return failing


ELSEWHERE = ("publish", "append", "delete_aside")
"""Steps that are others where the archive is another folder."""
CUTS = [
    (place, before, policy)
    for place in STEPS
    for before in (True, False)
    for policy in ("delete", "archive", "elsewhere")
    if (policy == "elsewhere") <= (place[1] in ELSEWHERE) and (policy == "archive") <= (place[1] != "withdraw")
]


@pytest.mark.parametrize(
    ("place", "before", "policy"), CUTS, ids=[f"{name}-{before}-{policy}" for (_, name), before, policy in CUTS]
)
def test_a_cut_at_any_step_loses_nothing_and_is_made_good(
    box: Box,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[type, str],
    before: bool,  # noqa: FBT001
    policy: str,
) -> None:
    archive = box.root / "archive"
    archive.mkdir()
    keys: dict[str, object] = {"originals": "delete" if policy == "delete" else "archive", "originals_days": 0.0}
    box.set(**keys, outbound_days=0.001, **({"archive": str(archive)} if policy == "elsewhere" else {}))
    job = box.old("case/a.jpg")
    owner, name = place
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fails(before, getattr(owner, name)))
        with suppress(EquipmentError):
            box.round()
    told = box.told()
    if policy != "delete" or (job, "original_deleted") not in told:
        everywhere = [*box.originals().values(), *box.kept().values()]
        everywhere += [path.read_bytes() for path in archive.rglob("*.jpg")]
        assert b"case/a.jpg" in everywhere, "an original is nowhere"
    box.round()
    assert box.originals() == box.copies() == {}
    assert box.kept() == ({"archive/case/a.jpg": b"case/a.jpg"} if policy == "archive" else {})
    assert [path.read_bytes() for path in archive.rglob("*.jpg")] == ([b"case/a.jpg"] if policy == "elsewhere" else [])
    gone = "original_deleted" if policy == "delete" else "original_archived"
    assert sorted(box.told()) == sorted([(job, gone), (job, "copy_deleted")])
    assert box.store.retiring(FOLDER) == ()


def test_what_was_begun_goes_back_where_originals_are_kept_by_now(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.set(originals="delete", originals_days=0.0)
    box.old("a.jpg")
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", fails(True, Ledger.append))
        with pytest.raises(EquipmentError):
            box.round()
    assert box.originals() == {}
    box.config.write_text(box.config.read_text().replace('"delete"', '"keep"'))
    box.settings = load_settings(box.config)
    box.round()
    assert box.originals() == {"a.jpg": b"a.jpg"}
    assert box.told() == []


def test_the_command_shows_what_would_go_and_changes_nothing(box: Box) -> None:
    box.set(originals="delete", originals_days=1.0, outbound_days=5.0)
    box.old("case/a.jpg")
    box.publish("young.jpg")
    before = box.originals(), box.copies()
    shown = box.blurd("retention", "--names")
    assert shown.returncode == 0
    assert "1 originals would be deleted now" in shown.stdout
    assert "1 copies would be deleted now" in shown.stdout
    assert "case/a.jpg" in shown.stdout
    assert "young.jpg" not in shown.stdout
    assert "case" not in box.blurd("retention", "--json").stdout
    assert (box.originals(), box.copies()) == before


def served(box: Box) -> Settings:
    """The settings with places that a service can see."""
    box.config.write_text(box.config.read_text().replace(str(box.root), "/srv/blurd"))
    return load_settings(box.config)


def test_the_watcher_alone_may_write_an_archive_elsewhere(box: Box) -> None:
    """In the drop-ins that the units get; an archive that nothing is put into is in none."""
    box.set(originals="archive", archive="/srv/archive")
    texts = {path.parts[0]: text for path, text in drop_ins(served(box), ()).items()}
    assert 'ReadWritePaths="-/srv/archive"' in texts["blurd-watch.service.d"]
    assert "/srv/archive" not in texts["blurd-work@.service.d"]
    box.config.write_text(box.config.read_text().replace('"archive"', '"keep"'))
    assert "/srv/archive" not in "".join(drop_ins(served(box), ()).values())
