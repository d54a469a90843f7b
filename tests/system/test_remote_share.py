"""A share of another machine: what is changed there is not announced here. A FUSE file system stands for it."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from appliance import Appliance, settings_text
from mounts import MountSpace, need_root
from pictures import png

RESCAN_S = 3.0
SETTLE_S = 0.3
SLACK_S = 3.0
"""For a scan to end and the loops to come round, on a busy machine."""


@pytest.fixture
def space() -> Iterator[MountSpace]:
    need_root()
    with MountSpace() as made:
        yield made


def queued(made: Appliance, number: int) -> bool:
    return len(made.events("job_queued")) == number


def test_a_file_that_comes_unannounced_is_found_within_the_interval(space: MountSpace, tmp_path: Path) -> None:
    """Written on the other machine, it gives no event here: three times the scan alone finds it, in its time."""
    there = tmp_path / "other machine"
    there.mkdir()
    made = Appliance(tmp_path)
    made.config.write_text(settings_text(tmp_path).replace("rescan_s = 2.0", f"rescan_s = {RESCAN_S}"))
    space.fuse(there, tmp_path / "in")
    made.prefix = space.prefix
    made.start("watch")
    try:
        made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
        for number in range(3):
            time.sleep(0.7 * number)  # at different moments between two scans
            written_s = time.monotonic()
            (there / f"{number}.png").write_bytes(png())
            made.wait(partial(queued, made, number + 1), "a queued file")
            assert time.monotonic() - written_s < RESCAN_S + SETTLE_S + SLACK_S
        (there / "deep" / "er").mkdir(parents=True)
        (there / "deep" / "er" / "a.png").write_bytes(png())
        made.wait(partial(queued, made, 4), "a file in a new folder")
    finally:
        assert made.stop() == 0


def test_changes_there_are_really_not_announced(space: MountSpace, tmp_path: Path) -> None:
    """The proof above would mean nothing if they were: with no scan by the clock nothing is found."""
    there = tmp_path / "other machine"
    there.mkdir()
    made = Appliance(tmp_path)
    made.config.write_text(settings_text(tmp_path).replace("rescan_s = 2.0", "rescan_s = 3600.0"))
    space.fuse(there, tmp_path / "in")
    made.prefix = space.prefix
    made.start("watch")
    try:
        made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
        time.sleep(1)
        (there / "a.png").write_bytes(png())
        time.sleep(2 * (RESCAN_S + SETTLE_S))
        assert made.events("job_queued") == []
        (space.at(tmp_path / "in") / "b.png").write_bytes(png())  # written here: that is announced
        made.wait(lambda: made.events("job_queued"), "a queued file")
    finally:
        assert made.stop() == 0
