"""Processes are killed at each of their operations, and at any time under load; the promises hold all the same.

A death is SIGKILL, which leaves all that was written, or a power cut, which takes back all that was not synced.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crash.harness import Ground, Run, children, small_jpeg, tiny_video, wait_for

PARTS = ("watch", "work")
REGIONS = b'{"regions": [{"class": "region", "box": [0.0, 0.0, 0.5, 0.5]}]}'
STATES = {"published": 4, "withdrawn": 1, "rejected": 1, "ignored": 1}
ENDED = (0, -signal.SIGTERM)
"""How a process ends that is asked to: by itself, or by the signal where it had not begun to listen."""
NAMES = ("a-2.jpg", "sub/b.jpg", "sub/deeper/c.jpg", "v.mp4")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("crash")) as made:
        yield made


VIDEO: list[bytes] = []


def prepare(run: Run) -> None:
    """Photos in a tree, a video, one file that is rejected and one that is ignored."""
    if not VIDEO:
        VIDEO.append(tiny_video())
    for number, name in enumerate(("a.jpg", "sub/b.jpg", "sub/deeper/c.jpg")):
        run.drop(name, small_jpeg(number))
    run.drop("v.mp4", VIDEO[0])
    run.drop("bad.jpg", b"\x7fELF" + bytes(500))
    run.drop("notes.txt", b"notes")


def played(run: Run, victim: str, kill_at: int, *, power: bool) -> bool:
    """Play the script with one death; False where the script ended before operation `kill_at`."""
    prepare(run)
    running = {part: run.start(part, counted=True, kill_at=kill_at if part == victim else 0) for part in PARTS}
    died = False

    def mended() -> None:
        """Start again whatever has died."""
        nonlocal died
        status = running[victim].status()
        if status is None or died:
            return
        assert status == -9
        died = True
        if power:
            run.cut_power()
            running.update({part: run.start(part, counted=True) for part in PARTS})
        else:
            running[victim] = run.start(victim, counted=True)

    def done(published: int, withdrawn: int) -> bool:
        mended()
        return run.is_done({"published": published, "withdrawn": withdrawn, "rejected": 1, "ignored": 1})

    wait_for(lambda: done(4, 0), "first outcome")
    run.drop("a.jpg.regions.json", REGIONS)
    wait_for(lambda: done(4, 1), "second outcome")
    for process in running.values():
        status = process.end()
        if status == -9 and not died:  # it died when all was done: start it once more, to see what it makes of that
            mended()
            assert all(later.end() in ENDED for later in running.values())
            break
        assert status in ENDED
    run.check_promises(STATES, NAMES)
    return died


def test_a_run_without_a_death_ends_well_and_counts_enough(ground: Ground) -> None:
    """The measure of the others: the script reaches every kind of operation."""
    with ground.run() as run:
        assert not played(run, "watch", 0, power=False)
        kinds = {note["operation"] for note in run.operations()}
    assert kinds == {
        "create", "link", "rename", "unlink", "mkdir", "fsync", "write", "fchmod", "statement", "commit", "detect"
    }  # fmt: skip


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("victim", PARTS)
def test_s33_s34_a_death_at_some_operations(ground: Ground, victim: str, power: bool) -> None:  # noqa: FBT001
    """A spread of operations, another at each run of the suite; the campaign takes every one."""
    chance = random.Random()  # noqa: S311
    step = {"watch": 40, "work": 20}[victim]
    first = chance.randrange(1, step)
    for kill_at in range(first, 10_000, step):
        with ground.run() as run:
            try:
                if not played(run, victim, kill_at, power=power):
                    return
            except AssertionError as error:
                raise AssertionError(f"{victim} at operation {kill_at}, power cut: {power}: {error}") from error


@pytest.mark.campaign
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("victim", PARTS)
def test_s33_s34_a_death_at_every_operation(ground: Ground, victim: str, power: bool) -> None:  # noqa: FBT001
    """Operation 1, 2, 3 and so on, until the script ends before it comes to the death."""
    deaths = 0
    for kill_at in range(1, 10_000):
        with ground.run() as run:
            try:
                if not played(run, victim, kill_at, power=power):
                    break
            except AssertionError as error:
                raise AssertionError(f"{victim} at operation {kill_at}, power cut: {power}: {error}") from error
        deaths += 1
    print(f"{victim}, power cut {power}: {deaths} deaths, every promise kept")  # noqa: T201
    assert deaths > {"watch": 80, "work": 60}[victim]


def load(run: Run, kills: int, chance: random.Random) -> tuple[int, Counter[str]]:
    """`blurd run` under load while its processes are killed at any time; how many files, and who died how often."""
    main = run.start("run")
    dropped, died = 0, Counter[str]()
    while sum(died.values()) < kills:
        for _ in range(chance.randrange(12)):
            folder = chance.choice(("", "x/", f"y{dropped % 7}/z/"))
            run.drop(f"{folder}{dropped}.jpg", small_jpeg(dropped))
            dropped += 1
        time.sleep(chance.random() * 0.3)
        victim = chance.choice(children(main.pid) or [0])
        part = part_of(victim)
        if part is not None:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                died[part] += 1
    wait_for(lambda: run.is_done({"published": dropped}), "end of the work", 600.0)
    wait_for(lambda: not run.staged(), "empty staging folder")
    assert main.end() == 0
    return dropped, died


def part_of(pid: int) -> str | None:
    """Whether a process is a watcher or a worker: a watcher holds the lock of the state directory."""
    try:
        held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
    except (FileNotFoundError, ProcessLookupError):
        return None
    if not any("queue.sqlite" in path for path in held):
        return None  # it has hardly begun
    return "watch" if any(path.endswith("watch.lock") for path in held) else "work"


def random_kills(ground: Ground, kills: int, seed: int) -> Counter[str]:
    """So many deaths under load, and the promises."""
    with ground.run() as run:
        dropped, died = load(run, kills, random.Random(seed))  # noqa: S311
        names = [str(path.relative_to(run.inbound)) for path in run.inbound.rglob("*.jpg")]
        assert len(names) == dropped
        run.check_promises({"published": dropped}, names)
    return died


def test_s37_random_deaths_under_load(ground: Ground) -> None:
    """Another seed at each run of the suite."""
    died = random_kills(ground, 15, time.time_ns())
    assert died["watch"] >= 1
    assert died["work"] >= 1


@pytest.mark.campaign
def test_s37_five_hundred_random_deaths_under_load(ground: Ground) -> None:
    """Watchers and workers, at any time; every file comes out once."""
    died = random_kills(ground, 500, 1)
    print(f"random deaths: {dict(died)}")  # noqa: T201
    assert died["watch"] > 150
    assert died["work"] > 150
