"""Publication: at most once, never over another file, repeatable after a cut at any step."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import this_process
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.events import Event, JobPublished, JobReturned, JobVanished, JobWithdrawn
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

FOLDER = FolderName("photos")
ME = this_process()
CONTENT = b"the masked copy"


class Bench:
    """A folder pair, a queue and a ledger, with jobs that are staged already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "in").mkdir()
        (root / "out").mkdir()
        self.store = SqliteJobStore(root / "queue.sqlite")
        self.ledger = Ledger(root / "receipts.jsonl")
        self.inbound = InboundFolder(root / "in")
        self.outbound = OutboundFolder(root / "out")
        self.events: list[Event] = []

    def close(self) -> None:
        self.inbound.close()
        self.outbound.close()
        self.store.close()

    def stage(self, path: str = "a.jpg", content: bytes = CONTENT) -> Job:
        source = self.root / "in" / path
        source.parent.mkdir(exist_ok=True, parents=True)
        source.write_bytes(b"the original")
        return self.stage_again(path, content)

    def stage_again(self, path: str, content: bytes) -> Job:
        """The same source, with the regions that lie beside it now."""
        stamp = stamp_of((self.root / "in" / path).stat())
        self.store.enqueue(FOLDER, [FoundFile(path, stamp, regions=self.inbound.regions_stamp(path))])
        job = self.store.claim(ME, [FOLDER], 0.0)
        assert job is not None
        name = f"job-{job.id}-1.staged"
        with self.outbound.staged(name, 0o644) as file:
            file.write(content)
        digest = hashlib.sha256(content).hexdigest()
        facts = MediaFacts(MediaKind.IMAGE, "jpeg", ".jpg", 4, 3, 1)
        staged = StagedCopy(name, path, len(content), digest, "11", facts, Verdict(1, 0), "22", "33", {"analyse": 0.5})
        assert self.store.stage(job.id, ME, staged)
        return self.job(job.id)

    def job(self, number: JobId) -> Job:
        return next(job for job in self.store.staged_jobs(FOLDER, 100) if job.id == number)

    def publish(self, job: Job) -> Event:
        events: list[Event] = []
        publish(self.store, self.ledger, self.inbound, self.outbound, job, {"version": "1"}, events.append)
        self.events = events
        return events[-1]

    def copies(self) -> dict[str, bytes]:
        out = self.root / "out"
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in out.rglob("*")
            if path.is_file() and ".blurd" not in path.parts
        }

    def receipts(self) -> list[dict[str, object]]:
        path = self.root / "receipts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def states(self) -> dict[JobState, int]:
        return dict(self.store.overview().counts[FOLDER])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_copy_is_published_with_a_receipt(bench: Bench) -> None:
    assert isinstance(bench.publish(bench.stage("trip/a.jpg")), JobPublished)
    assert bench.copies() == {"trip/a.jpg": CONTENT}
    assert bench.states() == {JobState.PUBLISHED: 1}
    assert bench.outbound.staged_names() == ()
    (receipt,) = bench.receipts()
    assert receipt["output_sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert "a.jpg" not in json.dumps(receipt)
    assert (bench.root / "in" / "trip" / "a.jpg").read_bytes() == b"the original"


def test_s07_the_same_name_twice_gives_two_copies(bench: Bench) -> None:
    bench.publish(bench.stage())
    (bench.root / "in" / "a.jpg").unlink()
    bench.publish(bench.stage(content=b"another"))
    assert bench.copies() == {"a.jpg": CONTENT, "a-2.jpg": b"another"}


def test_s06_a_source_that_was_replaced_is_not_published(bench: Bench) -> None:
    job = bench.stage()
    (bench.root / "in" / "a.jpg").write_bytes(b"a new version of it")
    assert isinstance(bench.publish(job), JobVanished)
    assert bench.copies() == {}
    assert bench.states() == {JobState.SUPERSEDED: 1}
    assert bench.outbound.staged_names() == ()


def test_s10_a_source_that_is_gone_is_not_published(bench: Bench) -> None:
    job = bench.stage()
    (bench.root / "in" / "a.jpg").unlink()
    bench.publish(job)
    assert bench.copies() == {}
    assert bench.states() == {JobState.VANISHED: 1}


def test_a_lost_staged_file_sends_the_job_back(bench: Bench) -> None:
    job = bench.stage()
    bench.outbound.remove_staged(f"job-{job.id}-1.staged")
    assert isinstance(bench.publish(job), JobReturned)
    assert bench.states() == {JobState.QUEUED: 1}
    assert bench.copies() == {}


def test_s33_a_cut_between_link_and_commit_publishes_once(bench: Bench) -> None:
    """The name was written down and linked; then the power went."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    bench.outbound.publish(f"job-{job.id}-1.staged", "a.jpg")
    bench.publish(bench.job(job.id))
    assert bench.copies() == {"a.jpg": CONTENT}
    assert bench.states() == {JobState.PUBLISHED: 1}
    assert len(bench.receipts()) == 1


def test_s33_a_cut_after_a_link_publishes_even_if_the_source_changed_meanwhile(bench: Bench) -> None:
    """What is visible already must have its receipt."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    bench.outbound.publish(f"job-{job.id}-1.staged", "a.jpg")
    (bench.root / "in" / "a.jpg").unlink()
    bench.publish(bench.job(job.id))
    assert bench.states() == {JobState.PUBLISHED: 1}


def test_s33_a_cut_after_a_rename_is_recognised_by_content(bench: Bench) -> None:
    """Without hard links the staged name is gone after publication."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    (bench.root / "out" / ".blurd" / f"job-{job.id}-1.staged").rename(bench.root / "out" / "a.jpg")
    bench.publish(bench.job(job.id))
    assert bench.copies() == {"a.jpg": CONTENT}
    assert bench.states() == {JobState.PUBLISHED: 1}


def test_s33_a_cut_between_receipt_and_commit_writes_one_receipt(bench: Bench) -> None:
    job = bench.stage()
    bench.ledger.append(job.id, {"version": "1"})
    bench.publish(job)
    assert [receipt["job"] for receipt in bench.receipts()] == [job.id]


def test_s33_a_copy_fetched_between_receipt_and_commit_is_not_put_there_again(bench: Bench) -> None:
    """The power went after the receipt; people took the copy before blurd was back."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    bench.outbound.publish(f"job-{job.id}-1.staged", "a.jpg")
    bench.ledger.append(job.id, {"version": "1"})
    (bench.root / "out" / "a.jpg").unlink()
    assert isinstance(bench.publish(bench.job(job.id)), JobPublished)
    assert bench.copies() == {}
    assert bench.states() == {JobState.PUBLISHED: 1}
    assert len(bench.receipts()) == 1
    assert bench.outbound.staged_names() == ()


def test_s34_a_name_written_down_but_not_linked_is_redone(bench: Bench) -> None:
    """Somebody else's file took the name meanwhile."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    (bench.root / "out" / "a.jpg").write_bytes(b"somebody else's")
    bench.publish(bench.job(job.id))
    assert bench.copies() == {"a.jpg": b"somebody else's", "a-2.jpg": CONTENT}


def test_receipts_are_chained(bench: Bench) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        bench.publish(bench.stage(name))
    lines = (bench.root / "receipts.jsonl").read_bytes().splitlines()
    previous = hashlib.sha256(b"").hexdigest()
    for line in lines:
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()


def test_a_half_written_receipt_is_cut_off(bench: Bench) -> None:
    bench.publish(bench.stage("a.jpg"))
    with (bench.root / "receipts.jsonl").open("ab") as ledger:
        ledger.write(b'{"job": 2, "fold')
    bench.publish(bench.stage("b.jpg"))
    assert len(bench.receipts()) == 2


# -- another version of the regions ------------------------------------------------------------------------------------


def regions(bench: Bench, content: bytes | None, path: str = "a.jpg") -> None:
    place = bench.root / "in" / f"{path}.regions.json"
    place.unlink(missing_ok=True)
    if content is not None:
        place.write_bytes(content)


def test_regions_that_arrive_change_and_go_leave_one_copy_each_time(bench: Bench) -> None:
    """The new copy is published first; then the old one is withdrawn, and the ledger tells both."""
    bench.publish(bench.stage("trip/a.jpg"))
    for number, content in enumerate((b"{}", b"{ }", None), start=1):
        regions(bench, content, "trip/a.jpg")
        copy = b"version %d" % number
        assert isinstance(bench.publish(bench.stage_again("trip/a.jpg", copy)), JobPublished)
        assert list(bench.copies().values()) == [copy]
        assert [type(event) for event in bench.events] == [JobWithdrawn, JobPublished]
    assert bench.states() == {JobState.PUBLISHED: 1, JobState.WITHDRAWN: 3}
    told = [(receipt["event"], receipt["job"], receipt.get("replaced_by")) for receipt in bench.receipts()]
    assert told == [
        ("published", 1, None), ("published", 2, None), ("withdrawn", 1, 2), ("published", 3, None),
        ("withdrawn", 2, 3), ("published", 4, None), ("withdrawn", 3, 4),
    ]  # fmt: skip
    assert {receipt.get("removed", True) for receipt in bench.receipts()} == {True}
    assert bench.outbound.staged_names() == ()


@pytest.mark.parametrize("changed", ["removed", "edited", "folder", "link"])
def test_what_is_not_our_copy_any_more_is_left_alone(bench: Bench, changed: str) -> None:
    bench.publish(bench.stage())
    copy = bench.root / "out" / "a.jpg"
    copy.unlink()
    if changed == "edited":
        copy.write_bytes(b"somebody's own work")
    elif changed == "folder":
        copy.mkdir()
    elif changed == "link":
        (bench.root / "elsewhere").write_bytes(CONTENT)
        copy.symlink_to(bench.root / "elsewhere")
    regions(bench, b"{}")
    bench.publish(bench.stage_again("a.jpg", b"new"))
    assert bench.states() == {JobState.PUBLISHED: 1, JobState.WITHDRAWN: 1}
    assert bench.receipts()[-1]["removed"] is (changed == "removed")
    assert copy.is_symlink() == (changed == "link")
    assert copy.is_dir() == (changed == "folder")
    if changed == "edited":
        assert bench.copies() == {"a.jpg": b"somebody's own work", "a-2.jpg": b"new"}
    if changed == "link":
        assert (bench.root / "elsewhere").read_bytes() == CONTENT


def test_a_new_copy_with_the_old_ones_name_and_content_stays(bench: Bench) -> None:
    """The old copy was removed by hand, and the new regions change nothing in the picture."""
    bench.publish(bench.stage())
    (bench.root / "out" / "a.jpg").unlink()
    regions(bench, b"{}")
    bench.publish(bench.stage_again("a.jpg", CONTENT))
    assert bench.copies() == {"a.jpg": CONTENT}
    assert bench.states() == {JobState.PUBLISHED: 1, JobState.WITHDRAWN: 1}


def test_a_new_medium_under_the_same_name_withdraws_nothing(bench: Bench) -> None:
    bench.publish(bench.stage())
    source = bench.root / "in" / "a.jpg"
    source.write_bytes(b"quite another original")
    regions(bench, b"{}")
    bench.publish(bench.stage_again("a.jpg", b"new"))
    assert bench.copies() == {"a.jpg": CONTENT, "a-2.jpg": b"new"}
    assert bench.states() == {JobState.PUBLISHED: 2}


def test_the_same_version_dropped_again_later_withdraws_nothing(bench: Bench) -> None:
    """Another medium had the name in between; its regions are not what changed."""
    source = bench.root / "in" / "a.jpg"
    bench.publish(bench.stage())
    first = source.stat()
    source.write_bytes(b"quite another original")
    bench.publish(bench.stage_again("a.jpg", b"another"))
    source.write_bytes(b"the original")
    os.utime(source, ns=(first.st_atime_ns, first.st_mtime_ns))
    bench.publish(bench.stage_again("a.jpg", b"again"))
    assert bench.copies() == {"a.jpg": CONTENT, "a-2.jpg": b"another", "a-3.jpg": b"again"}


def test_regions_that_changed_while_the_copy_waited_stop_it(bench: Bench) -> None:
    """Just before publication the regions are looked at once more; the copy made without them is thrown away."""
    bench.publish(bench.stage())
    regions(bench, b"{}")
    job = bench.stage_again("a.jpg", b"new")
    regions(bench, b"{ }")
    assert isinstance(bench.publish(job), JobVanished)
    assert bench.copies() == {"a.jpg": CONTENT}  # the old one stays until a new one is there
    assert bench.states() == {JobState.PUBLISHED: 1, JobState.SUPERSEDED: 1}


class CutError(Exception):
    """The power went."""


@pytest.mark.parametrize("step", ["outbound.withdraw", "ledger.append", "store.withdraw", "store.publish"])
@pytest.mark.parametrize("done", [False, True])
def test_s33_a_cut_at_any_step_of_a_withdrawal_is_mended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, done: bool  # noqa: FBT001
) -> None:  # fmt: skip
    bench.publish(bench.stage())
    regions(bench, b"{}")
    job = bench.stage_again("a.jpg", b"new")
    part, name = step.split(".")
    whole = getattr(getattr(bench, part), name)

    def cut(*arguments: object) -> object:
        if done:
            whole(*arguments)
        raise CutError

    with monkeypatch.context() as patched:
        patched.setattr(getattr(bench, part), name, cut)
        with pytest.raises(CutError):
            bench.publish(job)
    for waiting in bench.store.staged_jobs(FOLDER, 9):
        bench.publish(waiting)
    assert bench.copies() == {"a-2.jpg": b"new"}
    assert bench.states() == {JobState.PUBLISHED: 1, JobState.WITHDRAWN: 1}
    assert [receipt["event"] for receipt in bench.receipts()] == ["published", "published", "withdrawn"]


def test_a_copy_taken_aside_when_the_power_went_is_finished_or_put_back(bench: Bench) -> None:
    out = bench.root / "out"
    digest = hashlib.sha256(CONTENT).hexdigest()
    (out / ".blurd" / "job-1.withdrawn").write_bytes(CONTENT)
    assert bench.outbound.withdraw("a.jpg", digest, "job-1.withdrawn")
    (out / ".blurd" / "job-1.withdrawn").write_bytes(b"somebody's own work")
    assert not bench.outbound.withdraw("a.jpg", digest, "job-1.withdrawn")
    assert bench.copies() == {"a.jpg": b"somebody's own work"}
    assert bench.outbound.staged_names() == ()


def test_a_copy_linked_but_never_closed_is_withdrawn_too(bench: Bench) -> None:
    """Its job was superseded between the link and the receipt."""
    job = bench.stage()
    bench.store.intend(job.id, "a.jpg")
    bench.outbound.publish(f"job-{job.id}-1.staged", "a.jpg")
    regions(bench, b"{}")
    bench.publish(bench.stage_again("a.jpg", b"new"))
    assert bench.copies() == {"a-2.jpg": b"new"}
