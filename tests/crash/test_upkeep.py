"""The watcher dies at its operations while it takes originals away, puts receipts beside copies and marks batches."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from crash.harness import Ground, Run, small_jpeg, wait_for

FOLDER: dict[str, Any] = {
    "originals_days": 0.0,
    "sidecar_receipts": True,
    "batch_marker": "complete.json",
    "batch_quiet_s": 1.0,
}
NAMES = ("case/a.jpg", "case/b.jpg")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("upkeep")) as made:
        yield made


def played(ground: Ground, policy: str, kill_at: int, *, power: bool) -> bool:
    """One run with one death of the watcher; False where all was done before operation `kill_at`."""
    with ground.run(**FOLDER, originals=policy) as run:
        for number, name in enumerate(NAMES):
            run.drop(name, small_jpeg(number))
        worker = run.start("work", counted=power)
        watcher = run.start("watch", counted=True, kill_at=kill_at)
        died = False

        def done() -> bool:
            nonlocal watcher, worker, died
            if watcher.status() is not None and not died:
                died = True
                if power:
                    run.cut_power()
                    worker = run.start("work", counted=True)
                watcher = run.start("watch", counted=True)
            return is_done(run)

        wait_for(done, "end of it all")
        assert worker.end() in (0, -15)
        assert watcher.end() in (0, -15, -9)
        check(run, policy)
    return died


def is_done(run: Run) -> bool:
    """True where nothing is left to be done."""
    lying = {path.name for path in run.inbound.rglob("*.jpg") if ".blurd-originals" not in path.parts}
    told = [receipt for receipt in run.receipts() if receipt["event"].startswith("original_")]
    marked = (run.outbound / "case" / "complete.json").exists()
    return not lying and len(told) >= len(NAMES) and marked and not run.staged()


def check(run: Run, policy: str) -> None:
    """Everything once, every receipt in its place, no original gone that was to be kept."""
    receipts = run.receipts()
    kind = "original_archived" if policy == "archive" else "original_deleted"
    for event in ("published", kind):
        assert sorted(receipt["job"] for receipt in receipts if receipt["event"] == event) == [1, 2], event
    kept = run.inbound / ".blurd-originals"
    assert list((kept / "retiring").iterdir()) == []
    archived = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (kept / "archive").rglob("*.jpg")}
    sources = {receipt["source_sha256"] for receipt in receipts if receipt["event"] == "published"}
    assert archived == (sources if policy == "archive" else set())
    names = {path for path in run.visible() if not path.endswith("complete.json")}
    assert names == {*NAMES, *(f"{name}.receipt.json" for name in NAMES)}


@pytest.mark.parametrize(
    ("policy", "power"), [("archive", True), ("delete", False)], ids=["archive, power cut", "delete, killed"]
)
def test_a_death_at_some_operations(ground: Ground, policy: str, power: bool) -> None:  # noqa: FBT001
    """A few, others at each run of the suite; the campaign takes every one."""
    chance = random.Random()  # noqa: S311
    kill_at = chance.randrange(20, 70)
    while kill_at < 400 and played(ground, policy, kill_at, power=power):
        kill_at += chance.randrange(60, 120)


@pytest.mark.campaign
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("policy", ["archive", "delete"])
def test_a_death_at_every_operation(ground: Ground, policy: str, power: bool) -> None:  # noqa: FBT001
    """Operation 1, 2, 3 and so on, until all is done before it comes to the death."""
    kill_at = 1
    while played(ground, policy, kill_at, power=power):
        kill_at += 1
    assert kill_at > 100
