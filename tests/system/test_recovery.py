"""Workers that hang, crash, ask for too much or are asked to stop in mid-work: real processes, hostile decoders."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile
from appliance import Appliance, settings_text
from blurd.adapters.files import stamp_of
from blurd.adapters.host import this_process
from blurd.adapters.store import SqliteJobStore
from blurd.records import FolderName, FoundFile, JobState
from hostile import POISON_WIDTH, HostileAppliance
from media import flat_png

FOLDER = FolderName("photos")


def counts(made: Appliance) -> dict[str, int]:
    status = made.status()
    return {name: status[name] for name in ("published", "failed", "rejected", "queued", "running", "retrying")}


def poisoned(made: Appliance) -> None:
    """A poison picture first, then a good one."""
    made.drop("a poison.png", flat_png(POISON_WIDTH, 40))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("job_queued"), "the poison's job")
    made.drop("good.png", flat_png(60, 40))


def test_s37_a_decoder_that_loops_for_ever_is_ended_and_the_next_job_runs(tmp_path: Path) -> None:
    """It holds every lock of its process, so only another process can end it; each time the attempt counts."""
    made = HostileAppliance(tmp_path, "loop", "no_progress_s = 4.0\nmax_attempts = 2")
    poisoned(made)
    made.copy("good.png")
    made.wait(lambda: made.status()["failed"] == 1, "a verdict")
    assert made.stop() == 0
    assert counts(made) | {"published": 1, "failed": 1} == counts(made)
    assert made.status()["reasons"] == {"no_progress": 1}
    assert len(made.events("worker_stuck")) == 2
    assert [event["exit_status"] for event in made.events("worker_ended")] == [-signal.SIGKILL] * 2
    assert made.events("job_failed")[0]["reason"] == "no_progress"
    assert made.events("job_recovered")[0]["reason"] == "no_progress"


def test_s39_a_poison_file_has_three_attempts_and_the_daemon_goes_on(tmp_path: Path) -> None:
    made = HostileAppliance(tmp_path, "crash")
    poisoned(made)
    made.copy("good.png")
    made.wait(lambda: made.status()["failed"] == 1, "a verdict")
    time.sleep(3)  # it is left alone from now on
    assert made.process is not None
    assert made.process.poll() is None
    assert made.stop() == 0
    poison = made.events("job_queued")[0]["job"]
    assert [event["attempt"] for event in made.events("job_claimed") if event["job"] == poison] == [1, 2, 3]
    assert [event["exit_status"] for event in made.events("worker_ended")] == [-signal.SIGSEGV] * 3
    assert made.events("job_failed")[0]["reason"] == "worker_died"
    assert (tmp_path / "in" / "a poison.png").exists()
    assert [path.name for path in made.outputs()] == ["good.png"]


def test_s38_a_file_that_asks_for_too_much_memory_fails_alone(tmp_path: Path) -> None:
    """A real photo that the worker's own limit does not suffice for; it is never called damaged."""
    made = Appliance(tmp_path)
    limits = "[work]\nmemory_mebibytes = 512\nmax_attempts = 1"
    made.config.write_text(made.config.read_text().replace("[work]", limits))
    made.drop("a huge.png", flat_png(13_000, 14_000))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("job_queued"), "the huge one's job")
    made.drop("good.png", flat_png(60, 40))
    made.copy("good.png")
    made.wait(lambda: made.status()["failed"] == 1, "a verdict")
    assert made.stop() == 0
    assert made.status()["rejected"] == 0
    assert made.events("job_failed")[0]["reason"] == "out_of_memory"


@pytest.mark.campaign
def test_s38_a_library_that_never_stops_asking_is_refused_by_the_limit(tmp_path: Path) -> None:
    made = HostileAppliance(tmp_path, "greedy", "memory_mebibytes = 512\nmax_attempts = 1")
    poisoned(made)
    made.copy("good.png")
    made.wait(lambda: made.status()["failed"] == 1, "a verdict")
    assert made.stop() == 0
    assert made.status()["reasons"] == {"out_of_memory": 1}
    assert [event["exit_status"] for event in made.events("worker_ended")] == [0]  # a fresh process takes over


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A group of processes that the kernel holds to a limit, as a unit's MemoryMax= does: 1 GiB."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    older = next((path for kinds, path in groups.items() if "memory" in kinds.split(",")), None)
    place = Path("/sys/fs/cgroup") / (f"memory{older}" if older is not None else groups.get("", "/").lstrip("/"))
    group = place / f"blurd-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make a cgroup: {error.strerror}")
    try:
        limit = group / ("memory.max" if older is None else "memory.limit_in_bytes")
        if not limit.exists():
            pytest.skip("needs the memory controller")
        limit.write_text(str(1 << 30))
        for name in ("memory.swap.max", "memory.swappiness"):
            if (group / name).exists():
                (group / name).write_text("0")
        yield group
    finally:
        group.rmdir()


def test_s38_a_worker_that_the_kernel_ends_for_its_memory_is_replaced(tmp_path: Path, memory_group: Path) -> None:
    """Its own limit lies higher here, so the kernel's is the one that it meets. The attempt counts."""
    made = HostileAppliance(tmp_path, "hungry", "memory_mebibytes = 16384\nmax_attempts = 1")
    confined = f'case "$*" in *" work "*) echo $$ > {memory_group}/cgroup.procs ;; esac\n'
    made.interpreter.write_text(made.interpreter.read_text().replace("\n", f"\n{confined}", 1))
    poisoned(made)
    made.copy("good.png")
    made.wait(lambda: made.status()["failed"] == 1, "a verdict")
    made.wait(lambda: [path.name for path in made.outputs()] == ["good.png"], "the other copy, and nothing half-made")
    assert made.stop() == 0
    assert made.status()["rejected"] == 0
    assert made.status()["reasons"] == {"worker_died": 1}
    assert [event["exit_status"] for event in made.events("worker_ended")] == [-signal.SIGKILL]


def queued(root: Path) -> SqliteJobStore:
    """A queue with one job, and the settings of a worker that serves it."""
    for name in ("in", "out"):
        (root / name).mkdir()
    (root / "blurd.toml").write_text(settings_text(root))
    source = root / "in" / "a.png"
    source.write_bytes(flat_png(60, 40))
    store = SqliteJobStore(root / "state" / "queue.sqlite")
    store.enqueue(FOLDER, [FoundFile("a.png", stamp_of(source.stat()))])
    return store


@pytest.mark.parametrize(
    "stage", ["analyse", *(pytest.param(stage, marks=pytest.mark.campaign) for stage in ("plan", "render", "verify"))]
)
def test_s40_a_stop_is_heard_at_every_stage_deep_inside_a_library(tmp_path: Path, stage: str) -> None:
    """The main thread never comes back. The job does, with its attempt, and nothing stays in staging."""
    store = queued(tmp_path)
    reached = tmp_path / "reached"
    command = [sys.executable, hostile.__file__, stage, "--config", str(tmp_path / "blurd.toml"), "work"]
    worker = subprocess.Popen(command, env={**os.environ, "REACHED": str(reached)}, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 60
        while not reached.exists():
            assert time.monotonic() < deadline_s
            assert worker.poll() is None
            time.sleep(0.05)
        asked_s = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert time.monotonic() - asked_s < 10
    finally:
        worker.kill()
    assert store.overview().counts == {FOLDER: {JobState.QUEUED: 1}}
    assert store.overview().processes == ()
    job = store.claim(this_process(), [FOLDER], 0.0)
    assert job is not None
    assert (job.attempts, job.returns) == (1, 1)
    assert [path.name for path in (tmp_path / "out").rglob("*")] == [".blurd"]
    store.close()


def test_s40_a_watcher_stops_in_the_middle_of_finding_files(tmp_path: Path) -> None:
    """A thousand files settle, and copies wait for publication; what was begun is whole, the rest is found again."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "blurd.toml").write_text(settings_text(tmp_path))
    content = flat_png(60, 40)
    for number in range(1000):
        (tmp_path / "in" / f"{number}.png").write_bytes(content)
    command = [sys.executable, "-m", "blurd", "--config", str(tmp_path / "blurd.toml"), "watch"]
    watcher = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        queue = tmp_path / "state" / "queue.sqlite"
        number = 0
        deadline_s = time.monotonic() + 60
        while number == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
            if queue.exists():
                store = SqliteJobStore(queue)
                number = sum(store.overview().counts.get(FOLDER, {}).values())
                store.close()
        asked_s = time.monotonic()
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(30) == 0
        assert time.monotonic() - asked_s < 12
    finally:
        watcher.kill()
