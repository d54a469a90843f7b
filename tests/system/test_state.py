"""The state directory: damaged, full, shared, and left behind by a crash; real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import full_disk
from appliance import Appliance
from media import flat_png


def names(made: Appliance) -> set[str]:
    """Everything in outbound, staging included."""
    return {str(path.relative_to(made.root / "out")) for path in made.outputs()}


def receipts(made: Appliance) -> int:
    return len((made.root / "state" / "receipts.jsonl").read_bytes().splitlines())


def kill_all(made: Appliance) -> None:
    """As a power cut would: nobody says goodbye."""
    assert made.process is not None
    children = {event["pid"] for event in made.events("process_started") if event["part"] in ("watch", "work")}
    os.kill(made.process.pid, signal.SIGKILL)
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    made.process.wait(30)


def scribble(path: Path, start: int = 0) -> None:
    """Overwrite every page but the first few in place, as a failing disk would."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(start, size // 4096):
            file.seek(page * 4096)
            file.write(bytes([0xA5]) * 4096)


def test_s30_a_damaged_queue_is_begun_anew_at_the_start_and_in_mid_run(tmp_path: Path) -> None:
    """Nothing is published twice, one copy having been fetched; what arrives later is treated; it is said."""
    made = Appliance(tmp_path)
    for number in range(3):
        made.drop(f"{number}.png", flat_png(60 + number, 40))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("folder_watched") and made.status()["published"] == 3, "copies")
    kill_all(made)
    (tmp_path / "out" / "1.png").unlink()
    (tmp_path / "out" / ".blurd" / "job-1-1.staged").write_bytes(b"left by the crash")
    queue = tmp_path / "state" / "queue.sqlite"
    for side in ("-wal", "-shm"):
        (tmp_path / "state" / f"queue.sqlite{side}").unlink(missing_ok=True)
    scribble(queue)

    made.start()
    made.wait(lambda: len(made.events("job_recognised")) == 3, "three files recognised")
    made.drop("new.png", flat_png(70, 40))
    made.copy("new.png")
    made.wait(lambda: names(made) == {"0.png", "2.png", "new.png"}, "an empty staging folder")
    assert receipts(made) == 4
    assert made.status()["published"] == 4
    assert "begun anew" in made.blurd("status").stdout

    for name in ("queue.sqlite", "queue.sqlite-wal"):  # while both processes have it open
        scribble(tmp_path / "state" / name, start=1)
    made.drop("newer.png", flat_png(71, 40))
    made.copy("newer.png")
    made.wait(lambda: len(made.events("queue_set_aside")) == 2, "word of the second damage")
    made.wait(lambda: made.status()["published"] == 5, "all files accounted for")
    assert made.blurd("reconcile").returncode == 0
    assert made.stop() == 0
    assert names(made) == {"0.png", "2.png", "new.png", "newer.png"}
    assert receipts(made) == 5
    assert len(list((tmp_path / "state").glob("queue.sqlite.damaged-?"))) == 2


def test_s30_a_folder_that_the_damage_paused_is_told_to_resume_with_the_new_queue(tmp_path: Path) -> None:
    made = Appliance(tmp_path)
    made.start("watch")
    made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
    for name in ("queue.sqlite", "queue.sqlite-wal"):
        scribble(tmp_path / "state" / name, start=1)
    made.drop("new.png", flat_png(70, 40))
    made.wait(lambda: made.events("queue_set_aside"), "a queue begun anew")
    made.wait(lambda: made.events("folder_resumed"), "a resumption")
    assert made.stop() == 0
    assert [event["reason"] for event in made.events("folder_paused")] == ["queue_damaged"]


def test_s30_a_full_state_disk_stops_everything_and_passes_by_itself(tmp_path: Path) -> None:
    """On a disk of 3 MiB, in a mount namespace of its own."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount in a private namespace")
    environment = {**os.environ, "PYTHONPATH": str(Path(full_disk.__file__).parent)}
    command = ["unshare", "--mount", sys.executable, full_disk.__file__, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert result.stdout.splitlines()[-1:] == ["OK"], result.stderr[-3000:]


def test_s42_a_second_run_on_the_same_state_ends_and_the_first_goes_on(tmp_path: Path) -> None:
    made = Appliance(tmp_path)
    made.start()
    made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
    second = made.blurd("run")
    assert second.returncode == 15
    assert "Another blurd uses this state directory" in second.stderr
    assert "Traceback" not in second.stderr
    made.drop("a.png", flat_png(60, 40))
    made.copy("a.png")
    assert made.stop() == 0


def test_s35_orphans_in_staging_are_removed_at_the_start(tmp_path: Path) -> None:
    """And nothing else: what is not named like a staged file of a job is not ours."""
    made = Appliance(tmp_path)
    staging = tmp_path / "out" / ".blurd"
    staging.mkdir(mode=0o700)
    for name in ("job-7-1.staged", "job-7-2.staged", "somebody's.txt"):
        (staging / name).write_bytes(b"x")
    command = [sys.executable, "-m", "blurd", "--config", str(made.config), "watch"]
    with made.log.open("ab") as log:
        watcher = subprocess.Popen(command, stderr=log)
    try:
        made.wait(lambda: names(made) == {".blurd/somebody's.txt"}, "a clean staging folder")
        made.wait(lambda: made.events("staging_cleaned"), "word of it")
        assert made.events("staging_cleaned")[0]["files"] == 2
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(30) == 0
    finally:
        watcher.kill()


def test_a_worker_without_a_watcher_waits_for_work_and_stops_cleanly(tmp_path: Path) -> None:
    made = Appliance(tmp_path)
    command = [sys.executable, "-m", "blurd", "--config", str(made.config), "work"]
    with made.log.open("ab") as log:
        worker = subprocess.Popen(command, stderr=log)
    try:
        made.wait(lambda: made.events("process_started"), "a worker")
        time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
    assert made.events("process_stopped")
