"""Making copies again: the old copy stays until the new one is in its place, what can't be is left alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import this_process
from blurd.adapters.ledger import Ledger
from blurd.errors import Reason
from blurd.events import Event, JobPublished, JobWithdrawn
from blurd.records import FoundFile, JobId, JobState
from blurd.stages.publish import publish
from desk import FOLDER, Desk

ME = this_process()
AGAIN = b"made anew"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def redo(desk: Desk, *arguments: object) -> str:
    result = desk.blurd("redo", *map(str, arguments))
    assert result.returncode in (0, 1), result.stderr
    assert (result.returncode == 0) == (", 0 left" in result.stdout)
    return result.stdout


def state(desk: Desk, job: int) -> str:
    return str(json.loads(desk.blurd("show", str(job), "--json").stdout)["state"])


def test_the_old_copy_stays_until_the_new_one_is_in_its_place(desk: Desk) -> None:
    first = desk.publish("trip/a.jpg")
    assert redo(desk, first) == "1 in the queue again, 0 left as they are\n"
    second = JobId(first + 1)
    assert desk.copies() == {"trip/a.jpg": b"masked"}
    assert desk.account().as_json()["queued"] == 1
    desk.stage_next(AGAIN)
    assert desk.copies() == {"trip/a.jpg": b"masked"}
    (job,) = desk.store.staged_jobs(FOLDER, 9)
    told: list[Event] = []
    with InboundFolder(desk.root / "in") as inbound, OutboundFolder(desk.root / "out") as outbound:
        publish(desk.store, Ledger(desk.settings.receipts_path), inbound, outbound, job, {}, told.append)
    assert told == [JobWithdrawn(first, FOLDER, second, removed=True), JobPublished(second, FOLDER)]
    assert desk.copies() == {"trip/a-2.jpg": AGAIN}
    assert (state(desk, first), state(desk, second)) == ("withdrawn", "published")
    account = desk.account(hashes=True)
    assert (account.is_sound, account.foreign, account.files["published"]) == (True, [], 1)
    withdrawn = [line for line in Ledger(desk.settings.receipts_path).read() if line["event"] == "withdrawn"]
    assert [(line["job"], line["replaced_by"]) for line in withdrawn] == [(first, second)]


def test_it_can_be_made_again_and_again_and_the_first_name_comes_back(desk: Desk) -> None:
    job = desk.publish("a.jpg")
    for content, name in ((b"1", "a-2.jpg"), (b"2", "a.jpg"), (b"2", "a-2.jpg")):
        redo(desk, job)
        job = desk.publish_next(content)
        assert desk.copies() == {name: content}


def test_a_copy_that_people_changed_or_took_is_not_touched(desk: Desk) -> None:
    changed, taken = desk.publish("a.jpg"), desk.publish("b.jpg")
    (desk.root / "out" / "a.jpg").write_bytes(b"people wrote on it")
    (desk.root / "out" / "b.jpg").unlink()
    for job in (changed, taken):
        redo(desk, job)
        desk.publish_next(AGAIN)
    assert desk.copies() == {"a.jpg": b"people wrote on it", "a-2.jpg": AGAIN, "b.jpg": AGAIN}


def test_originals_that_are_gone_or_changed_are_said_and_nothing_is_changed(desk: Desk) -> None:
    gone, changed, regions, kept = (desk.publish(f"{name}.jpg") for name in ("gone", "changed", "regions", "kept"))
    (desk.root / "in" / "gone.jpg").unlink()
    (desk.root / "in" / "changed.jpg").write_bytes(b"another version")
    (desk.root / "in" / "regions.jpg.regions.json").write_text("{}")
    shown = redo(desk, "--folder", "photos").splitlines()
    changes = "Its original, or what belongs to it, has changed since, and has or gets its own job."
    assert shown == [
        f"job {gone} is left as it is: source_vanished. Its original is gone.",
        *(f"job {job} is left as it is: source_changed. {changes}" for job in (changed, regions)),
        "1 in the queue again, 3 left as they are",
    ]
    assert [state(desk, job) for job in (gone, changed, regions, kept)] == ["published"] * 4
    assert desk.claim().path == "kept.jpg"
    assert len(desk.copies()) == 4


def test_only_what_is_published_and_newest_is_made_again(desk: Desk) -> None:
    rejected = desk.end("r.jpg", JobState.REJECTED, Reason.DAMAGED)
    first = desk.publish("a.jpg")
    redo(desk, first)
    for job, text in ((rejected, "retry"), (first, "newer job"), (99, "number 99")):
        result = desk.blurd("redo", str(job))
        assert result.returncode in (26, 27)
        assert text in result.stderr
    assert redo(desk, "--folder", "photos") == "0 in the queue again, 0 left as they are\n"
    for wrong in ((), (str(first), "--folder", "photos"), ("--folder", "nowhere")):
        assert desk.blurd("redo", *wrong).returncode in (10, 27)
    assert desk.blurd("redo", "--since", "soon").returncode == 2


def test_since_chooses_by_the_time_of_publication(desk: Desk) -> None:
    desk.publish("a.jpg")
    assert redo(desk, "--since", "2999-01-01") == "0 in the queue again, 0 left as they are\n"
    assert redo(desk, "--since", "2020-01-01", "--folder", "photos") == "1 in the queue again, 0 left as they are\n"


def test_a_folder_that_is_not_there_is_left_as_it_is(desk: Desk) -> None:
    job = desk.publish("a.jpg")
    (desk.root / "in").rename(desk.root / "away")
    assert f"job {job} is left as it is: inbound_missing." in redo(desk, "--folder", "photos")
    (desk.root / "away").rename(desk.root / "in")
    assert redo(desk, job).startswith("1 in")


def test_what_can_not_be_made_again_leaves_the_old_copy(desk: Desk) -> None:
    """And may be tried again, as any other job."""
    first = desk.publish("a.jpg")
    redo(desk, first)
    again = desk.claim()
    assert desk.store.finish(again.id, ME, JobState.REJECTED, Reason.DAMAGED)
    assert desk.copies() == {"a.jpg": b"masked"}
    assert state(desk, first) == "published"
    assert "retry" in desk.blurd("redo", str(again.id)).stderr
    assert desk.blurd("retry", str(again.id)).returncode == 0
    desk.publish_next(AGAIN)
    assert desk.copies() == {"a-2.jpg": AGAIN}
    assert state(desk, first) == "withdrawn"


def test_an_original_that_goes_meanwhile_and_comes_back_still_replaces_its_copy(desk: Desk) -> None:
    """As on a share that is unmounted for a moment: the file returns with the same size and time."""
    first = desk.publish("a.jpg")
    stamp = stamp_of((desk.root / "in" / "a.jpg").stat())
    redo(desk, first)
    again = desk.claim()
    assert desk.store.finish(again.id, ME, JobState.VANISHED, Reason.SOURCE_VANISHED)
    assert state(desk, first) == "published"
    desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp)])
    desk.publish_next(AGAIN)
    assert desk.copies() == {"a-2.jpg": AGAIN}


def test_a_new_version_that_comes_meanwhile_gets_its_own_copy(desk: Desk) -> None:
    first = desk.publish("a.jpg")
    redo(desk, first)
    source = desk.root / "in" / "a.jpg"
    source.write_bytes(b"another version")
    desk.store.enqueue(FOLDER, [FoundFile("a.jpg", stamp_of(source.stat()))])
    desk.publish_next(AGAIN)
    assert desk.copies() == {"a.jpg": b"masked", "a-2.jpg": AGAIN}
    assert state(desk, first + 1) == "superseded"


def test_a_receipt_from_before_the_queue_was_begun_anew_does_not_stop_it(desk: Desk) -> None:
    """That the file was published is why it is made again."""
    first = desk.publish("a.jpg")
    stamp = stamp_of((desk.root / "in" / "a.jpg").stat())
    with desk.store._transaction("test"):
        desk.store._connection.execute("INSERT INTO receipt VALUES (99, 'photos', 'id-a.jpg', NULL, '{}')")
    desk.store.list_present(FOLDER, [("a.jpg", stamp)])
    redo(desk, first)
    assert desk.store.published_before(desk.claim(), "id-a.jpg", None) is None
