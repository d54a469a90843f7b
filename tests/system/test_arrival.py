"""How files arrive: a real `blurd watch` (and once a whole appliance) beside real writers."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import Appliance, settings_text
from mounts import need_root
from pictures import png

BURST, CHAINS, DEPTH = 3000, 60, 12
YEAR_S = 366 * 86_400


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Appliance]:
    appliance = Appliance(tmp_path)
    yield appliance
    if appliance.process is not None and appliance.process.poll() is None:
        assert appliance.stop() == 0


def watching(made: Appliance, times: int = 1) -> None:
    made.start("watch")
    made.wait(lambda: len(made.events("folder_watched")) == times, "a watched folder")


def test_s13_s14_a_burst_and_trees_that_grow_while_they_are_found_are_found_whole(made: Appliance) -> None:
    """The short form: some thousands at once, and folders made one below the other with a file in the last."""
    watching(made)
    (made.root / "burst").mkdir()
    for number in range(BURST):
        (made.root / "burst" / f"{number}.png").write_bytes(png())
    (made.root / "burst").rename(made.root / "in" / "burst")
    for number in range(CHAINS):
        deepest = made.root / "in" / f"chain {number}" / Path(*"d" * DEPTH)
        deepest.mkdir(parents=True)
        (deepest / "a.png").write_bytes(png())
    made.wait(lambda: made.status()["queued"] == BURST + CHAINS, "every file queued")
    assert made.status()["settling"] == 0
    assert len(made.events("job_queued")) == BURST + CHAINS


def test_s11_a_restart_in_the_middle_of_a_copy_does_not_take_half_of_it(made: Appliance) -> None:
    """The writer outlives the watcher; then it is gone, and what it left is half a file."""
    content = png(5000) + b"trailer"
    half, path = len(content) // 2, made.root / "in" / "a.png"
    watching(made)
    with path.open("wb", buffering=0) as writer:
        writer.write(content[:half])
        made.wait(lambda: made.status()["settling"] == 1, "a settling file")
        assert made.stop() == 0
        watching(made, 2)
        time.sleep(1)
        assert made.status()["queued"] == 0
    time.sleep(1)
    assert made.status()["queued"] == 0
    assert made.stop() == 0
    watching(made, 3)
    path.write_bytes(content)
    made.wait(lambda: made.status()["queued"] == 1, "a job")
    assert len(made.events("job_queued")) == 1


@pytest.mark.parametrize(("limit", "value"), [("max_inotify_watches", 2), ("max_inotify_instances", 0)])
def test_s15_without_enough_watches_the_scan_finds_everything_and_the_status_says_so(
    made: Appliance, limit: str, value: int
) -> None:
    """The kernel's own limits, in a user namespace of its own: ENOSPC for the watches, EMFILE for the instances."""
    need_root()
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    made.prefix = ("unshare", "--user", "--map-root-user", "--", "sh", "-c", script, "sh")
    for number in range(5):
        (made.root / "in" / str(number)).mkdir()
    watching(made)
    made.wait(lambda: made.status()["rescan_only"], "a status that says so")
    (made.root / "in" / "4" / "a.png").write_bytes(png())
    made.wait(lambda: made.status()["queued"] == 1, "a job")
    assert made.events("folder_watched")[-1]["hints"] == "rescan_only"
    assert "no notifications here" in made.blurd("status").stdout
    assert not made.events("internal_error")


def test_s09_s23_s36_same_content_false_names_and_a_wall_clock_that_jumps(made: Appliance) -> None:
    """The whole appliance, ten years back and forth while files settle, wait and are done; mtimes lie as well."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library, moved = made.root / "wall_clock.so", made.root / "moved"
    source = Path(__file__).parents[1] / "wall_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    moved.write_text("0")
    made.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(moved)}
    made.config.write_text(settings_text(made.root).replace("settle_s = 0.3", "settle_s = 1.0"))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("detector_ready"), "a worker")

    for number, years in enumerate((-10, 20, 0)):
        path = made.drop(f"{number}.png", png(20 + number))
        mtime_s = (0, 4_000_000_000, 1_000_000_000)[number]
        os.utime(path, (mtime_s, mtime_s))
        time.sleep(0.3)  # it settles
        moved.write_text(str(years * YEAR_S))
        started_s = time.monotonic()
        made.copy(f"{number}.png")
        assert time.monotonic() - started_s < 30
    assert {line["time"][:4] for line in made.events("job_published")} > {str(time.gmtime().tm_year)}

    made.drop("again.png", png(20))  # the same content as 0.png
    made.copy("again.png")

    false = {
        "program.jpg": b"\x7fELF" + bytes(2000),
        "page.mp4": b"<!doctype html><p>hello" * 50,
        "run.png": b"#!/bin/sh\n",
    }
    for name, content in false.items():
        made.drop(name, content)
    made.wait(lambda: made.status()["reasons"].get("unknown_format") == len(false), "rejections")
    assert sorted(path.name for path in made.outputs()) == ["0.png", "1.png", "2.png", "again.png"]
    assert all((made.root / "in" / name).read_bytes() == content for name, content in false.items())
