"""Many files at once: all are found, in bounded memory, and none costs more because of the others."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.backlog import measure

MOST_MIB = 150.0


@pytest.mark.parametrize("burst", [False, True], ids=["there already", "burst"])
def test_s13_thousands_of_files_are_all_found(tmp_path: Path, burst: bool) -> None:  # noqa: FBT001
    """`measure` goes on only when each file has its one job."""
    figures = measure(tmp_path / "backlog", 3000, 0.0, burst=burst)
    assert figures.watch_peak_mib < MOST_MIB
    assert figures.status_s < 1.0
    assert figures.claim_ms < 500.0


@pytest.mark.campaign
@pytest.mark.parametrize("burst", [False, True], ids=["there already", "burst"])
def test_s13_a_hundred_thousand_files(tmp_path: Path, burst: bool) -> None:  # noqa: FBT001
    """The last ten thousand cost no more than the first, and are worked on as fast as with a short queue."""
    figures = measure(tmp_path / "backlog", 100_000, 20.0, burst=burst)
    print(json.dumps(asdict(figures)))  # noqa: T201
    assert figures.watch_peak_mib < MOST_MIB
    if not burst:  # the files of a burst come at the speed of the one who writes them
        assert figures.last_tenth_ms < 1.5 * figures.first_tenth_ms
    assert figures.work_rate > 0.5 * figures.short_queue_work_rate
    assert figures.status_s < 1.0
    assert figures.claim_ms < 500.0
