"""How the appliance bears a backlog: `PYTHONPATH=tests python tests/bench/backlog.py [--files 100000] [--burst]`.

Puts many small distinct photos into an inbound folder and starts `blurd watch`. Printed are what a file of the
first and of the last tenth costs, the watcher's peak memory, and with the whole backlog in the queue: how long a
status, a claim and a scan that finds nothing new take, and how many photos a second a worker treats (with a detector
that costs nothing, so that what is measured is the appliance's own share) beside the same with a short queue.
"""

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from blurd.adapters.folders import InboundFolder
from blurd.adapters.host import boot_clock_s, this_process
from blurd.adapters.store import SqliteJobStore
from blurd.config import load_settings
from blurd.core.naming import TEMPORARY_NAMES
from blurd.core.settling import SettleRule
from blurd.records import FolderName
from blurd.stages.settle import Settler
from crash.harness import Ground, Run, small_jpeg, wait_for

FOLDER = FolderName("a")
FILES_IN_A_FOLDER = 1000
PATIENCE_S = 1800.0


@dataclass
class Figures:
    """What was measured; rates are files a second, `ms` is processor time of the watcher for each file."""

    files: int
    first_tenth_ms: float = 0.0
    last_tenth_ms: float = 0.0
    intake_s: float = 0.0
    watch_peak_mib: float = 0.0
    status_s: float = 0.0
    status_command_s: float = 0.0
    claim_ms: float = 0.0
    rescan_s: float = 0.0
    work_rate: float = 0.0
    short_queue_work_rate: float = 0.0


def fill(folder: Path, count: int) -> None:
    """So many photos, each different: a comment makes the difference. A thousand in each folder."""
    plain = small_jpeg(0)
    for number in range(count):
        below = folder / f"{number // FILES_IN_A_FOLDER:04}"
        if number % FILES_IN_A_FOLDER == 0:
            below.mkdir()
        comment = b"\xff\xfe" + (10).to_bytes(2, "big") + f"{number:08}".encode()
        (below / f"{number:06}.jpg").write_bytes(plain[:2] + comment + plain[2:])


def jobs(run: Run, state: str = "%") -> int:
    """Jobs in the queue."""
    path = run.state / "queue.sqlite"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute("SELECT count(*) FROM job WHERE state LIKE ?", (state,)).fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # the tables are being made
    finally:
        connection.close()


@contextmanager
def watching(run: Run) -> Iterator[subprocess.Popen[bytes]]:
    """The real `blurd watch`."""
    with (run.root / "log.jsonl").open("ab") as log:
        command = [sys.executable, "-m", "blurd", "--config", str(run.config), "watch"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) / 1024


def take_in(run: Run, figures: Figures, *, burst: bool) -> None:
    """Start the watcher over all the files (before they come, for a burst), and wait until each has its job."""
    if not burst:
        fill(run.inbound, figures.files)
    samples: list[tuple[int, float]] = []
    """Files in the queue, and processor time that the watcher has used."""
    started_s = time.monotonic()
    with watching(run) as process:
        if burst:
            wait_for(lambda: "folder_watched" in (run.root / "log.jsonl").read_text(), "watched folder")
            fill(run.inbound, figures.files)
        while not samples or samples[-1][0] < figures.files:
            number = jobs(run)
            if number and (not samples or number > samples[-1][0]):
                samples.append((number, cpu_s(process.pid)))
                ended_s = time.monotonic()
            assert process.poll() is None
            assert time.monotonic() - started_s < PATIENCE_S
            time.sleep(0.02)
        figures.watch_peak_mib = peak_mib(process.pid)
    tenth = figures.files // 10
    figures.intake_s = ended_s - started_s
    figures.first_tenth_ms = cost_ms(samples, 0, tenth)
    figures.last_tenth_ms = cost_ms(samples, figures.files - tenth, figures.files)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used: unlike the time that passes, it does not count what else runs here."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_ms(samples: Sequence[tuple[int, float]], first: int, last: int) -> float:
    """Cost of a file between two numbers of files, as near to them as there are samples; 0 where there are too few."""
    some = [sample for sample in samples if first <= sample[0] <= last]
    if len(some) < 2:
        return 0.0
    return 1000 * (some[-1][1] - some[0][1]) / (some[-1][0] - some[0][0])


def timed(action: Callable[[], object], times: int) -> float:
    """Seconds for one of several."""
    started_s = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - started_s) / times


def ask(run: Run, figures: Figures) -> None:
    """Status and claims with the backlog there."""
    settings = load_settings(run.config)
    store = SqliteJobStore(settings.queue_path)
    me = this_process()

    def claim() -> None:
        job = store.claim(me, (FOLDER,), boot_clock_s())
        assert job is not None
        assert store.give_back(job.id, me, None)

    def scan() -> None:
        settler = Settler(FOLDER, SettleRule(1.0, 60.0), TEMPORARY_NAMES, store, hard_links=False)
        with InboundFolder(run.inbound) as inbound:
            assert list(settler.scan(inbound, time.monotonic())) == []

    try:
        figures.rescan_s = timed(scan, 1)
        figures.status_s = timed(store.overview, 5)
        figures.claim_ms = 1000 * timed(claim, 50)
    finally:
        store.close()
    command = [sys.executable, "-m", "blurd", "--config", str(run.config), "status", "--json"]
    figures.status_command_s = timed(lambda: subprocess.run(command, check=False, capture_output=True), 3)


def work(run: Run, seconds: float) -> float:
    """Photos that a watcher and a worker publish in a second."""
    process = run.start("run")
    while jobs(run, "published") < 20:
        time.sleep(0.05)
    before, started_s = jobs(run, "published"), time.monotonic()
    time.sleep(seconds)
    rate = (jobs(run, "published") - before) / (time.monotonic() - started_s)
    process.end()
    return rate


def measure(root: Path, files: int, work_s: float, *, burst: bool = False) -> Figures:
    """All figures; `root` is an empty folder. Nothing is worked on where `work_s` is 0."""
    figures = Figures(files)
    with Ground(root) as ground:
        with ground.run(rescan_s=60.0, settle_s=1.0) as run:
            take_in(run, figures, burst=burst)
            ask(run, figures)
            if work_s:
                figures.work_rate = work(run, work_s)
        if work_s:
            with ground.run(rescan_s=60.0) as run:
                fill(run.inbound, min(files, round(100 * work_s)))
                figures.short_queue_work_rate = work(run, work_s)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--burst", action="store_true", help="the files come while the watcher runs")
    parser.add_argument("--folder", type=Path, default=None, help="where the folders are made (a temporary one)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print(json.dumps(asdict(measure(root / "backlog", options.files, 20.0, burst=options.burst)), indent=2))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
