"""Publication: at most once, never over another file, repeatable after a cut at any step."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import this_process
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.events import Event, JobPublished, JobReturned, JobVanished
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

    def close(self) -> None:
        self.inbound.close()
        self.outbound.close()
        self.store.close()

    def stage(self, path: str = "a.jpg", content: bytes = CONTENT) -> Job:
        source = self.root / "in" / path
        source.parent.mkdir(exist_ok=True, parents=True)
        source.write_bytes(b"the original")
        self.store.enqueue(FOLDER, [FoundFile(path, stamp_of(source.stat()))])
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
        return publish(self.store, self.ledger, self.inbound, self.outbound, job, {"version": "1"})

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
