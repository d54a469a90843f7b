"""SIGHUP, as `systemctl reload` sends it: new settings are checked, then taken over between jobs, or not at all."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import Appliance
from crash.harness import Ground, Run, children, small_jpeg, wait_for


class Manager:
    """What systemd hears from a process."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def hears(self, text: str) -> bool:
        while True:
            try:
                self.heard += self.socket.recv(65_536).decode().split("\n")
            except BlockingIOError:
                return any(text in line for line in self.heard)


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[tuple[Appliance, Manager]]:
    """A real watcher with a service manager."""
    appliance = Appliance(tmp_path / "box")
    manager = Manager(tmp_path / "notify")
    appliance.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    appliance.start("watch")
    try:
        appliance.wait(lambda: manager.hears("READY=1"), "readiness")
        manager.heard.clear()
        yield appliance, manager
    finally:
        code = appliance.stop()
        manager.socket.close()
    assert code == 0


def reload(appliance: Appliance) -> None:
    assert appliance.process is not None
    appliance.process.send_signal(signal.SIGHUP)


def folder_text(root: Path, name: str) -> str:
    for side in ("in", "out"):
        (root / f"{name}-{side}").mkdir(exist_ok=True)
    return (
        f'\n[[folder]]\nname = "{name}"\ninbound = "{root}/{name}-in"\noutbound = "{root}/{name}-out"\nsettle_s = 0.0\n'
    )


def test_wrong_settings_change_nothing_and_are_told(watcher: tuple[Appliance, Manager]) -> None:
    appliance, manager = watcher
    sound = appliance.config.read_text()
    appliance.config.write_text(sound.replace("rescan_s = 2.0", 'rescan_s = "often"\nrescan = 1'))
    reload(appliance)
    appliance.wait(lambda: appliance.events("settings_refused"), "refusal")
    (event,) = appliance.events("settings_refused")
    assert (event["part"], event["errors"], event["restart_needed"]) == ("watch", 2, False)
    appliance.wait(lambda: manager.hears("STATUS=the new settings have 2 errors"), "status")
    assert manager.hears("RELOADING=1")
    assert manager.hears("READY=1")
    appliance.drop("1.jpg", small_jpeg(1))
    appliance.wait(lambda: appliance.events("job_queued"), "a file found under the old settings")
    appliance.config.write_text(sound + "\npriority = 3\n")
    reload(appliance)
    appliance.wait(lambda: appliance.events("settings_taken"), "new settings")
    manager.heard.clear()
    appliance.wait(lambda: manager.hears("STATUS=1 folders"), "a status without the complaint")


def test_folders_come_go_and_change(watcher: tuple[Appliance, Manager]) -> None:
    appliance, manager = watcher
    root = appliance.root
    first = appliance.config.read_text()
    appliance.config.write_text(first + folder_text(root, "yard"))
    reload(appliance)
    appliance.wait(lambda: [item for item in appliance.events("folder_watched") if item["folder"] == "yard"], "yard")
    assert appliance.events("settings_taken")[0]["setup_units"] is True
    appliance.wait(lambda: manager.hears("run blurd setup-units"), "status")
    (root / "yard-in/1.jpg").write_bytes(small_jpeg(1))
    appliance.drop("2.jpg", small_jpeg(2))
    appliance.wait(lambda: _queued(appliance) == {"photos": 1, "yard": 1}, "both files")
    appliance.config.write_text(
        first.replace(f"{root}/in", f"{root}/yard-in").replace("settle_s = 0.3", "settle_s = 0")
    )
    reload(appliance)
    appliance.wait(lambda: _queued(appliance) == {"photos": 2}, "the file in the folder's new place")
    assert len(appliance.events("settings_taken")) == 2
    assert appliance.events("process_started")[0]["pid"] == (appliance.process and appliance.process.pid)
    assert len(appliance.events("process_started")) == 1


def _queued(appliance: Appliance) -> dict[str, int]:
    return {name: folder["queued"] for name, folder in appliance.overview()["folders"].items()}


def test_another_state_directory_needs_a_restart(watcher: tuple[Appliance, Manager]) -> None:
    appliance, manager = watcher
    appliance.config.write_text(appliance.config.read_text().replace("/state", "/elsewhere"))
    reload(appliance)
    appliance.wait(lambda: manager.hears("state.directory changes with a restart alone"), "status")
    assert appliance.events("settings_refused")[0]["restart_needed"] is True
    assert not (appliance.root / "elsewhere").exists()


def test_a_terminal_that_is_gone_still_ends_the_process(tmp_path: Path) -> None:
    appliance = Appliance(tmp_path)
    ours, theirs = pty.openpty()
    with appliance.log.open("ab") as log:
        command = [sys.executable, "-m", "blurd", "--config", str(appliance.config), "watch"]
        process = subprocess.Popen(command, stdin=theirs, stdout=log, stderr=log)
    try:
        appliance.wait(lambda: appliance.events("folder_watched"), "a watched folder")
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == -signal.SIGHUP
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)


# -- workers, with a detector that costs nothing ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("ground")) as made:
        yield made


def events(run: Run, name: str) -> list[dict[str, Any]]:
    path = run.root / "log.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["event"] == name]


def add_folder(run: Run, name: str, **keys: object) -> Callable[[int], None]:
    """Another folder; what puts numbered files into it."""
    for side in ("in", "out"):
        (run.root / f"{name}-{side}").mkdir()
    lines = {"settle_s": 0.0, "reserve_mebibytes": 0, **keys}
    text = [f'\n[[folder]]\nname = "{name}"', *(f"{key} = {json.dumps(value)}" for key, value in lines.items())]
    places = [f'{side}bound = "{run.root}/{name}-{side}"' for side in ("in", "out")]
    with run.config.open("a") as config:
        config.write("\n".join([*text, *places]) + "\n")
    return lambda number: _put(run.root / f"{name}-in/{number}.jpg", number)


def _put(path: Path, number: int) -> None:
    path.write_bytes(small_jpeg(number))


def test_a_worker_takes_new_settings_after_its_job_and_a_fresh_one_goes_on(ground: Ground) -> None:
    with ground.run() as run:
        process = run.start("run")
        run.drop("1.jpg", small_jpeg(1))
        wait_for(lambda: run.states() == {"published": 1}, "a copy")
        text = run.config.read_text()
        run.config.write_text(text.replace("[work]", "[work]\nworkers = 2"))
        os.kill(process.pid, signal.SIGHUP)
        wait_for(
            lambda: len([event for event in events(run, "process_started") if event["part"] == "work"]) == 3, "two"
        )
        wait_for(lambda: len(children(process.pid)) == 3, "a watcher and two workers")
        parts = {event["part"] for event in events(run, "settings_taken")}
        assert parts == {"run", "watch", "work"}
        run.drop("2.jpg", small_jpeg(2))
        wait_for(lambda: run.states() == {"published": 2}, "another copy")
        run.config.write_text(text)
        os.kill(process.pid, signal.SIGHUP)
        wait_for(lambda: len(children(process.pid)) == 2, "one worker again")
        assert process.end() == 0
        assert events(run, "internal_error") == []
        assert run.states() == {"published": 2}


def test_a_folder_works_in_its_hours_alone(ground: Ground) -> None:
    """Its files are queued meanwhile; another folder goes on; new hours are taken over, and the files are treated."""
    now = time.localtime()
    later = [(60 * now.tm_hour + now.tm_min + hours * 60) % 1440 for hours in (2, 3)]
    resting = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in later)
    with ground.run(hours=resting) as run:
        other = add_folder(run, "b")
        process = run.start("run")
        for number in range(3):
            run.drop(f"{number}.jpg", small_jpeg(number))
            other(100 + number)
        wait_for(lambda: run.states() == {"queued": 3, "published": 3}, "the other folder's copies")
        assert {event["folder"] for event in events(run, "job_claimed")} == {"b"}
        told = json.loads(blurd(run, "status", "--json").stdout)["folders"]
        assert told["a"]["rests_until"][11:16] == resting[:5]
        assert told["b"]["rests_until"] is None
        run.config.write_text(run.config.read_text().replace(resting, ""))
        os.kill(process.pid, signal.SIGHUP)
        wait_for(lambda: run.states() == {"published": 6}, "all copies")
        assert process.end() == 0


def blurd(run: Run, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blurd", "--config", str(run.config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def claimed(run: Run) -> list[str]:
    return [event["folder"] for event in events(run, "job_claimed")]


def test_equal_folders_have_turns_and_a_higher_one_goes_first(ground: Ground) -> None:
    """A backlog of 60 in one folder; 10 files each in two others, one of which has a higher priority."""
    with ground.run() as run:
        low, high = add_folder(run, "b"), add_folder(run, "c", priority=5)
        for number in range(60):
            run.drop(f"{number}.jpg", small_jpeg(number))
        for number in range(10):
            low(100 + number)
            high(200 + number)
        watcher = run.start("watch")
        wait_for(lambda: run.states() == {"queued": 80}, "80 jobs")
        worker = run.start("work")
        wait_for(lambda: run.states() == {"published": 80}, "80 copies")
        order = claimed(run)
        assert set(order[:10]) == {"c"}
        # Turns count in time, so one job that the machine held up may cost its folder some; none would be starving.
        assert order[10:50].count("b") >= 3
        assert worker.end() == 0
        assert watcher.end() == 0
