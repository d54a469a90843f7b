"""The ledger: what it tells of, and that nothing of it can be changed, left out or cut off unnoticed."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.ledger import Ledger
from blurd.adapters.queue_file import set_aside
from blurd.adapters.store import SqliteJobStore
from blurd.errors import EquipmentError, Reason
from blurd.records import FoundFile, JobId, JobState
from blurd.stages.publish import publish
from blurd.stages.rebuild import rebuild_if_needed
from blurd.stages.receipt import put_sidecars, write_outcomes
from desk import COPY, FOLDER, ME, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def ledger(desk: Desk) -> Ledger:
    return Ledger(desk.settings.receipts_path)


def told(desk: Desk) -> list[tuple[int, str]]:
    return [(receipt["job"], receipt["event"]) for receipt in ledger(desk).read()]


def faults(desk: Desk) -> list[str]:
    answer = desk.blurd("receipts", "verify", "--json")
    found = json.loads(answer.stdout)
    assert (answer.returncode == 0) is found["sound"] is (not found["faults"])
    return list(found["faults"])


def put(desk: Desk) -> None:
    with OutboundFolder(desk.root / "out") as outbound:
        put_sidecars(desk.store, ledger(desk), outbound, FOLDER, 0o640)


# -- what is told -----------------------------------------------------------------------------------------------------


def test_every_outcome_has_its_receipt(desk: Desk) -> None:
    """Refused before any work, rejected with a hash, failed, and failed again after a retry; ignored has none."""
    refused = desk.drop("empty.jpg", Reason.EMPTY_FILE)
    desk.drop("notes.txt", Reason.NOT_MEDIA)
    desk.drop("bad.jpg")
    job = desk.claim()
    assert desk.store.finish(job.id, ME, JobState.REJECTED, Reason.DAMAGED, 0.0, "ab" * 32)
    failed = desk.end("failed.jpg", JobState.FAILED, Reason.WORKER_DIED)
    published = desk.publish("good.jpg")
    write_outcomes(desk.store, ledger(desk), "1.0")
    outcomes = [(refused, "rejected"), (job.id, "rejected"), (failed, "failed")]
    assert sorted(told(desk)) == [*outcomes, (published, "published")]
    assert desk.blurd("retry", str(failed)).returncode == 0
    os.utime(desk.root / "in" / "failed.jpg")
    again = desk.claim()
    assert again.id == failed
    assert desk.store.finish(failed, ME, JobState.FAILED, Reason.NO_PROGRESS, 0.0)
    write_outcomes(desk.store, ledger(desk), "1.0")
    receipts = {receipt["event"]: receipt for receipt in ledger(desk).read() if receipt["job"] in (job.id, published)}
    rejected = receipts["rejected"]
    assert (rejected["reason"], rejected["source_sha256"], rejected["version"]) == ("damaged", "ab" * 32, "1.0")
    assert rejected["queued_at"] <= rejected["started_at"] <= rejected["finished_at"]
    good = receipts["published"]
    assert good["verified"] is True
    assert good["source_bytes"] == len("good.jpg")
    assert good["queued_at"] <= good["started_at"] <= good["finished_at"] <= good["published_at"]
    assert not any(name in json.dumps(rejected) for name in ("bad", "jpg"))
    assert faults(desk) == []


def test_a_receipt_that_is_cut_off_is_told_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, but the debt was not settled; and not written at all."""
    failed = desk.end("a.jpg", JobState.FAILED, Reason.WORKER_DIED)

    def full(*_: object) -> None:
        raise EquipmentError(Reason.STATE_FULL, "test")

    for owner, name in ((SqliteJobStore, "settle_outcome"), (Ledger, "append")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, full)
            with pytest.raises(EquipmentError):
                write_outcomes(desk.store, ledger(desk), "1")
    assert desk.blurd("forget", str(failed)).returncode == 0, "what the receipt says is settled already"
    write_outcomes(desk.store, ledger(desk), "1")
    assert told(desk) == [(failed, "failed")]
    assert desk.store.outcomes(9) == ()


def test_a_refusal_is_no_publication_for_a_queue_that_is_begun_anew(desk: Desk) -> None:
    desk.publish("a.jpg")
    last = desk.end("b.jpg", JobState.REJECTED, Reason.DAMAGED)
    write_outcomes(desk.store, ledger(desk), "1")
    desk.store.close()
    set_aside(desk.settings.queue_path)
    event = rebuild_if_needed(desk.settings.queue_path, ledger(desk), [FOLDER])
    assert event is not None
    assert event.receipts == 1
    desk.store = SqliteJobStore(desk.settings.queue_path)
    assert desk.drop("c.jpg") == last + 1


# -- verify -----------------------------------------------------------------------------------------------------------


def furnish(desk: Desk) -> list[JobId]:
    return [desk.publish(f"{number}.jpg") for number in range(4)]


def test_copies_that_are_gone_and_forgotten_jobs_are_no_fault(desk: Desk) -> None:
    jobs = furnish(desk)
    (desk.root / "out" / "1.jpg").unlink()
    assert desk.blurd("forget", str(jobs[2])).returncode == 0
    found = json.loads(desk.blurd("receipts", "verify", "--json").stdout)
    assert found["sound"]
    assert (found["lines"], found["copies_verified"], found["copies_gone"]) == (4, 2, 1)


def test_a_changed_copy_is_a_fault_also_once_its_name_was_erased(desk: Desk) -> None:
    jobs = furnish(desk)
    (desk.root / "out" / "1.jpg").write_bytes(COPY.upper())
    assert faults(desk) == [f"the copy of job {jobs[1]} is not what its receipt says"]
    desk.erase_names()
    assert faults(desk) == [f"the copy of job {jobs[1]} is not what its receipt says"]


@pytest.mark.parametrize("line", [0, 1, 3])
def test_an_edited_line_is_named(desk: Desk, line: int) -> None:
    furnish(desk)
    path = desk.settings.receipts_path
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace('"frames": 1', '"frames": 2')
    path.write_text("".join(lines))
    where = "line 4 is not the one that the queue knows there" if line == 3 else f"line {line + 2} does not follow"
    (fault,) = faults(desk)
    assert fault.startswith(where)


def test_a_line_that_was_taken_out_is_noticed(desk: Desk) -> None:
    jobs = furnish(desk)
    path = desk.settings.receipts_path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    found = faults(desk)
    assert found[0] == "line 2 does not follow from the line before it"
    assert any("ends at line 3" in fault for fault in found)
    assert jobs


@pytest.mark.parametrize("left", [0, 2])
def test_an_end_that_was_cut_off_is_noticed(desk: Desk, left: int) -> None:
    """Whole lines are gone: the chain of what is left is sound, and the queue knows better."""
    furnish(desk)
    path = desk.settings.receipts_path
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:left]))
    knows = "the end that the queue knows: lines were cut off or written anew"
    assert faults(desk)[0] == f"the ledger ends at line {left}, before {knows}"


def test_a_ledger_that_was_written_anew_as_a_whole_is_noticed(desk: Desk) -> None:
    """With a chain of its own, as long as the first: only its end gives it away."""
    furnish(desk)
    path = desk.settings.receipts_path
    receipts = list(ledger(desk).read())
    path.unlink()
    for receipt in receipts:
        values = {key: value for key, value in receipt.items() if key not in ("job", "event", "previous")}
        ledger(desk).append(JobId(receipt["job"]), {**values, "frames": 7})
    assert faults(desk) == ["line 4 is not the one that the queue knows there"]


def test_an_unfinished_line_is_told_and_no_fault(desk: Desk) -> None:
    furnish(desk)
    with desk.settings.receipts_path.open("ab") as file:
        file.write(b'{"job": 9')
    answer = desk.blurd("receipts", "verify")
    assert answer.returncode == 0
    assert "unfinished" in answer.stdout


# -- export -----------------------------------------------------------------------------------------------------------


def test_receipts_of_a_time_are_exported(desk: Desk) -> None:
    days = "2026-01-31T23:00:00", "2026-02-01T00:00:00", "2026-02-28T12:00:00", "2026-03-01T00:00:00"
    for number, day in enumerate(days):
        ledger(desk).append(JobId(number), {"published_at": f"{day}+00:00"})
    ledger(desk).append(JobId(9), {"finished_at": "2026-02-03T00:00:00+00:00", "reason": "damaged"}, "rejected")
    time = "--since", "2026-02-01T00:00:00+00:00", "--until", "2026-03-01T00:00:00+00:00"
    answer = desk.blurd("receipts", "export", *time)
    assert [json.loads(line)["job"] for line in answer.stdout.splitlines()] == [1, 2, 9]
    assert desk.blurd("receipts", "export", "--since", "yesterday").returncode == 2


# -- beside the copies ------------------------------------------------------------------------------------------------


def test_a_receipt_lies_beside_its_copy_and_goes_with_it(desk: Desk) -> None:
    desk.drop("case/a.jpg")
    job = desk.stage_next()
    desk.store.want_sidecar(job)
    put(desk)
    assert desk.copies() == {}, "not before the copy"
    _publish_staged(desk)
    put(desk)
    beside = json.loads(desk.copies()["case/a.jpg.receipt.json"])
    assert (beside["job"], beside["output_bytes"]) == (job, len(COPY))
    assert (desk.account().sidecars, desk.account().foreign) == (1, [])
    assert desk.blurd("redo", str(job)).returncode == 0
    desk.publish_next(b"another")
    assert sorted(desk.copies()) == ["case/a-2.jpg"]


def _publish_staged(desk: Desk) -> None:
    (job,) = desk.store.staged_jobs(FOLDER, 9)
    with InboundFolder(desk.root / "in") as inbound, OutboundFolder(desk.root / "out") as outbound:
        publish(desk.store, ledger(desk), inbound, outbound, job, {}, lambda _: None)


@pytest.mark.parametrize("step", ["settle_sidecar", "publish"])
def test_a_receipt_beside_a_copy_survives_a_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    job = desk.publish("a.jpg")
    desk.store.want_sidecar(job)

    def cut(*_: object, **__: object) -> None:
        raise EquipmentError(Reason.WRITE_ERROR, "test")

    with monkeypatch.context() as patched:
        patched.setattr(OutboundFolder if step == "publish" else SqliteJobStore, step, cut)
        with pytest.raises(EquipmentError):
            put(desk)
    put(desk)
    assert sorted(desk.copies()) == ["a.jpg", "a.jpg.receipt.json"]
    assert desk.store.sidecars_owed(FOLDER, 9) == ()


def test_another_file_in_a_receipts_place_stays_and_an_old_receipt_makes_room(desk: Desk) -> None:
    first = desk.publish("a.jpg")
    desk.store.want_sidecar(first)
    put(desk)
    old = desk.copies()["a.jpg.receipt.json"]
    (desk.root / "out" / "a.jpg").unlink()
    (desk.root / "in" / "a.jpg").unlink()
    (desk.root / "in" / "a.jpg").write_bytes(b"another")
    second = _publish_again(desk)
    desk.store.want_sidecar(second)
    put(desk)
    new = desk.copies()["a.jpg.receipt.json"]
    assert new != old
    (desk.root / "out" / "b.jpg.receipt.json").write_bytes(b"people's")
    third = desk.publish("b.jpg")
    desk.store.want_sidecar(third)
    put(desk)
    assert desk.copies()["b.jpg.receipt.json"] == b"people's"
    assert desk.store.sidecar(third) is None


def _publish_again(desk: Desk) -> JobId:
    status = (desk.root / "in" / "a.jpg").stat()
    desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp_of(status))])
    return desk.publish_next(b"another copy")


def test_threads_that_write_at_once_lose_no_receipt(tmp_path: Path) -> None:
    """The watcher's folders and its housekeeping write side by side."""
    ledger = Ledger(tmp_path / "receipts.jsonl")

    def write(first: int) -> None:
        for job in range(first, first + 60):
            ledger.append(JobId(job), {"number": job})

    threads = [threading.Thread(target=write, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipt["job"] for receipt in ledger.read()) == sorted(
        1000 * number + job for number in range(4) for job in range(60)
    )
