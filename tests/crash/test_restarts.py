"""Starts, restarts and clocks, with real processes."""

import time
from collections.abc import Iterator

import pytest

from crash.harness import Ground, small_jpeg, wait_for


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("restarts")) as made:
        yield made


def test_s35_orphans_in_staging_are_removed_at_the_start(ground: Ground) -> None:
    """Those of jobs that are over or were never there; what is not ours stays."""
    with ground.run() as run:
        run.drop("a.jpg", small_jpeg(1))
        main = run.start("run")
        wait_for(lambda: run.is_done({"published": 1}), "copy")
        assert main.end() == 0
        staging = run.outbound / ".blurd"
        for name in ("job-1-1.staged", "job-1-7.staged", "job-4711-1.staged", "somebody.else"):
            (staging / name).write_bytes(b"left over")
        run.start("watch")
        wait_for(lambda: [path.name for path in staging.iterdir()] == ["somebody.else"], "clean staging folder")
        run.check_promises({"published": 1}, ["a.jpg"])


def test_s36_a_wall_clock_that_jumps_decides_nothing(ground: Ground) -> None:
    """Every look at it gives another year; files settle, fail, are tried again and come out as on any day."""
    with ground.run(settle_s=0.3, incomplete_after_s=1.0) as run:
        for number in range(5):
            run.drop(f"{number}.jpg", small_jpeg(number))
        run.drop("cut.jpg", small_jpeg(9)[:200])
        started_s = time.monotonic()
        watch, work = run.start("watch", jumping_clock=True), run.start("work", jumping_clock=True)
        wait_for(lambda: run.is_done({"published": 5, "rejected": 1}), "outcome")
        assert 0.9 < time.monotonic() - started_s < 20.0
        assert len({row["created_at"] for row in run.jobs()}) > 1
        assert watch.end() == work.end() == 0
        run.check_promises({"published": 5, "rejected": 1}, [f"{number}.jpg" for number in range(5)])
