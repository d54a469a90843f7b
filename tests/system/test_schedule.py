"""Hours of a folder, with real processes and a wall clock that is moved while they run."""

import io
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from appliance import Appliance
from crash.harness import small_jpeg
from videos import Form, pictures, write_clip


def clip(frames: int) -> bytes:
    stream = io.BytesIO()
    write_clip(stream, pictures(320, 240, frames), Form())
    return stream.getvalue()


def test_a_job_that_runs_when_the_hours_end_is_finished_and_the_next_waits_for_the_evening(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    try:
        berlin = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("needs tzdata")
    made = Appliance(tmp_path, hours="22:00-06:00")
    library, moved = tmp_path / "wall_clock.so", tmp_path / "moved"
    source = Path(__file__).parents[1] / "wall_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    made.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(moved), "TZ": "Europe/Berlin"}

    def show(hour: int, minute: int) -> None:
        """Let the clock of the place show this time, tomorrow."""
        now = datetime.now(berlin)
        wanted = (now + timedelta(days=1)).replace(hour=hour, minute=minute, second=0)
        moved.write_text(f"{round(wanted.timestamp() - now.timestamp())}\n")

    show(5, 50)
    made.start()
    try:
        made.drop("night.mp4", clip(200))
        made.wait(lambda: made.log.exists() and made.events("job_claimed"), "a claim")
        show(6, 0)
        made.drop("morning.jpg", small_jpeg(1))
        made.copy("night.mp4")
        made.wait(lambda: made.status()["queued"] == 1, "a queued photo")
        time.sleep(2.0)
        assert len(made.events("job_claimed")) == 1
        show(21, 59)
        time.sleep(1.0)
        assert made.status()["queued"] == 1
        show(22, 0)
        made.copy("morning.jpg")
    finally:
        code = made.stop()
    assert code == 0
    assert made.events("internal_error") == []
