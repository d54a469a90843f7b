"""Damaged media through real processes: every file ends in a verdict, and nobody but the worker is ever in danger."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import media
import variants
from blurd.errors import REASONS, Disposition, Reason
from crash.harness import FINAL, Ground, Run
from mutants import mutant

STUCK_S: Final = 60.0
"""Longest time that a job may take: the originals take a fraction of a second."""
LARGEST_KIB: Final = 1_500 << 10
"""Most that a worker may take; the originals need some 300 MiB."""
WATCH_LARGEST_KIB: Final = 150 << 10


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("damage")) as made:
        yield made


@dataclass
class Tally:
    """What became of the mutants."""

    verdicts: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    largest_kib: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> str:
        return json.dumps({
            "verdicts": self.verdicts, "by_kind": self.by_kind, "crashes": self.crashes, "stuck": self.stuck,
            "largest_mib": {part: size >> 10 for part, size in self.largest_kib.items()},
        }, indent=1, sort_keys=True)  # fmt: skip


def originals() -> dict[str, tuple[str, bytes]]:
    """Every format that is read: name, suffix and content."""
    images = {item.name: (f".{item.form}", item.data) for item in media.variants()}
    return images | {item.name: (item.suffix, item.data) for item in variants.variants()}


def peak_kib(pid: int) -> int:
    """The most memory that a process ever had."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")), 0)


def serve(run: Run, names: Sequence[str]) -> Tally:
    """Let a watcher and a worker treat all that was dropped; start the worker again whenever it ends."""
    tally = Tally()
    watch, work = run.start("watch"), run.start("work")
    claimed, since_s = "", time.monotonic()
    while True:
        jobs = run.jobs()
        states = Counter(row["state"] for row in jobs)
        if len({row["path"] for row in jobs}) == len(names) and set(states) <= {*FINAL, "failed"}:
            break
        assert watch.status() is None, "the watcher died"
        running = next(
            (f"{os.fsdecode(row['path'])} {row['attempts']}" for row in jobs if row["state"] == "claimed"), ""
        )
        if running != claimed:
            claimed, since_s = running, time.monotonic()
        if claimed and time.monotonic() - since_s > STUCK_S:
            tally.stuck.append(claimed)
            work.end(signal.SIGKILL)
        if not claimed and not states["queued"] and time.monotonic() - since_s > STUCK_S:
            raise AssertionError(f"nothing moves: {states}, {len(jobs)} of {len(names)}")
        for part, process in (("watch", watch), ("work", work)):
            tally.largest_kib[part] = max(tally.largest_kib[part], peak_kib(process.pid))
        if work.status() is not None:
            if work.status() != 0:
                tally.crashes.append(f"{claimed} {work.status()}")
            work = run.start("work")
        time.sleep(0.05)
    assert watch.end() == work.end() == 0
    for row in run.jobs():
        verdict = row["reason"] if row["state"] in ("rejected", "failed") else row["state"]
        tally.verdicts[verdict] += 1
        tally.by_kind[f"{os.fsdecode(row['path']).split('.')[-2]} {verdict}"] += 1
    return tally


def try_mutants(ground: Ground, number_of_each: int, names: Sequence[str] | None = None, salt: str = "") -> Tally:
    """So many mutants of each original, all at once in inbound; what must hold of every one."""
    whole = originals()
    contents = [data for _, data in whole.values()]
    with ground.run(incomplete_after_s=0.3) as run:
        dropped = []
        for name in names or whole:
            suffix, data = whole[name]
            for number in range(number_of_each):
                kind, made = mutant(data, contents, f"{name} {number} {salt}")
                dropped.append(f"{name}-{number}.{kind}{suffix}")
                run.drop(dropped[-1], made)
        tally = serve(run, dropped)
        unclear = [
            (os.fsdecode(row["path"]), row["state"], row["reason"])
            for row in run.jobs()
            if row["state"] == "failed"
            or (row["state"] == "rejected" and REASONS[Reason(row["reason"])].disposition is not Disposition.REJECT)
        ]
        assert not unclear, f"no verdict on the file: {unclear}\n{tally.as_json()}"
        published = tally.verdicts["published"]
        run.check_promises(run.states(), [os.fsdecode(row["published"]) for row in run.jobs() if row["published"]])
    assert not tally.stuck, tally.stuck
    assert tally.largest_kib["work"] < LARGEST_KIB
    assert tally.largest_kib["watch"] < WATCH_LARGEST_KIB
    assert published + sum(tally.verdicts[reason] for reason in Reason) == len(dropped)
    return tally


SOME = (
    "jpeg_420", "png_type2_8bit", "webp_75", "tiff_3x8_tiled", "bmp_rgb", "heic", "avif", "mp4_h264", "mkv_h265",
    "webm_vp9", "avi_mjpeg", "ts_h264", "dav_h264", "wmv_wmv2",
)  # fmt: skip


def test_s45_damaged_media_end_in_a_verdict_and_the_watcher_lives(ground: Ground) -> None:
    """Others at each run of the suite; a crash of the worker is no fault, a lost file is."""
    tally = try_mutants(ground, 4, SOME, salt=str(time.time_ns()))
    assert sum(tally.verdicts.values()) == 4 * len(SOME)


@pytest.mark.campaign
def test_s45_thousands_of_damaged_media(ground: Ground) -> None:
    """Every format, at least 3,000 files."""
    tally = try_mutants(ground, 16)
    print(tally.as_json())  # noqa: T201
    assert sum(tally.verdicts.values()) >= 3000
