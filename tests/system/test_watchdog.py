"""systemd's watchdog is fed by progress alone; its status line tells what goes on, without a name."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from appliance import Appliance
from blurd.adapters import notify
from blurd.adapters.host import is_held_by_kernel
from blurd.core.retry import patience_s


class Manager:
    """systemd's side of the notification socket."""

    def __init__(self, root: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = root / "notify"
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.2)

    def close(self) -> None:
        self._socket.close()

    def hear(self, seconds: float, until: Callable[[dict[str, str]], bool] = lambda _: False) -> list[dict[str, str]]:
        """The messages of the next seconds, or up to the one that is waited for."""
        heard: list[dict[str, str]] = []
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            try:
                text = self._socket.recv(4096).decode()
            except TimeoutError:
                continue
            heard.append(dict(line.split("=", 1) for line in text.splitlines()))
            if until(heard[-1]):
                break
        return heard


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def start(manager: Manager, made: Appliance, *command: str) -> subprocess.Popen[bytes]:
    with made.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "60000000"},
        )


HOLD = """
import os, sys, threading
from pathlib import Path
import blurd.watch as watch
from blurd.adapters.log import EventLog
from blurd.config import load_settings
from blurd.events import Part
watch.STUCK_S, watch.RECOVER_EVERY_S = 1.0, 0.3
pipe = os.pipe()
lock = threading.Lock()
lock.acquire()
def spin():
    while True:
        pass
hold = {{"a share": lambda: os.read(pipe[0], 1), "a lock": lock.acquire, "nothing": spin}}["{what}"]
watch.FolderKeeper._serve = lambda keeper, store: hold()
read = lambda: load_settings(Path(sys.argv[1]))
watch.watch(read(), EventLog(Part.WATCH), read)
"""


@pytest.mark.parametrize(("what", "fed"), [("a share", True), ("a lock", False), ("nothing", False)])
def test_s27_the_watcher_is_fed_while_a_share_holds_a_folder_and_not_while_a_fault_does(
    manager: Manager, tmp_path: Path, what: str, *, fed: bool
) -> None:
    """A keeper that hangs in a share keeps nobody else; one that is stuck for another reason ends the process."""
    made = Appliance(tmp_path / "house")
    process = start(manager, made, "-c", HOLD.format(what=what), str(made.config))
    try:
        assert manager.hear(20, lambda message: "READY" in message)
        manager.hear(2.0)
        later = manager.hear(2.0)
        assert any("WATCHDOG" in message for message in later) == fed
    finally:
        process.kill()
        process.wait()


def test_a_thread_that_waits_for_the_kernel_is_told_from_one_that_waits_for_another() -> None:
    reader, writer = os.pipe()
    lock, event, done = threading.Lock(), threading.Event(), threading.Event()
    lock.acquire()

    def spin() -> None:
        while not done.is_set():
            pass

    acts: dict[str, Callable[[], Any]] = {
        "kernel": lambda: os.read(reader, 1),
        "lock": lambda: lock.acquire(timeout=60),
        "event": lambda: event.wait(60),
        "busy": spin,
    }
    threads = {name: threading.Thread(target=act, daemon=True) for name, act in acts.items()}
    for thread in threads.values():
        thread.start()
    time.sleep(0.3)
    held = {name: {is_held_by_kernel(thread.native_id or 0) for _ in range(20)} for name, thread in threads.items()}
    done.set()
    event.set()
    lock.release()
    os.write(writer, b"x")
    for thread in threads.values():
        thread.join(10)
    os.close(reader)
    os.close(writer)
    assert held == {"kernel": {True}, "lock": {False}, "event": {False}, "busy": {False}}
    assert not is_held_by_kernel(1 << 22)  # there is no such thread


def test_a_worker_tells_its_progress_and_asks_for_time_to_stop(manager: Manager, tmp_path: Path) -> None:
    """Fed while it idles and as frames get done; frozen it is not fed; asked to stop, it asks for time."""
    made = Appliance(tmp_path / "Erika")
    for number in range(3):
        stream = io.BytesIO()
        Image.effect_noise((3000, 2000), 60).convert("RGB").save(stream, "JPEG", quality=90)
        made.drop(f"Mustermann {number}.jpg", stream.getvalue())
    watcher = start(manager, made, "-m", "blurd", "--config", str(made.config), "watch")
    try:
        heard = manager.hear(30, lambda message: "3 waiting" in message.get("STATUS", ""))
        assert heard[-1]["STATUS"] == "1 folders, 3 waiting"
        worker = start(manager, made, "-m", "blurd", "--config", str(made.config), "work")
        heard = manager.hear(60, lambda message: "job " in message.get("STATUS", "") and "folders" in message["STATUS"])
        sizes = [path.stat().st_size for path in (made.root / "in").iterdir() if path.suffix == ".jpg"]
        longer = {str(round(patience_s(60, size) * 1_000_000)) for size in sizes}
        assert longer & {message.get("WATCHDOG_USEC") for message in heard}
        assert heard[-1]["STATUS"].startswith("1 folders, 2 waiting, job 1 at ")
        os.kill(watcher.pid, signal.SIGSTOP)
        os.kill(worker.pid, signal.SIGSTOP)
        manager.hear(0.5)
        assert manager.hear(3) == []
        os.kill(worker.pid, signal.SIGCONT)
        heard = manager.hear(60, lambda message: message.get("STATUS", "").startswith("job "))
        assert "WATCHDOG" in heard[-1]
        assert heard[-1]["STATUS"].endswith("waiting")
        worker.terminate()
        heard = manager.hear(30, lambda message: "STOPPING" in message)
        assert int(heard[-1]["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
        assert worker.wait(60) == 0
        os.kill(watcher.pid, signal.SIGCONT)
        watcher.terminate()
        heard += manager.hear(30, lambda message: "STOPPING" in message)
        assert watcher.wait(60) == 0
        assert not any("Mustermann" in value or "Erika" in value for message in heard for value in message.values())
    finally:
        watcher.kill()
        watcher.wait()


def test_a_manager_that_does_not_hear_ends_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the machine goes down, or the manager starts itself anew, nobody reads the socket."""
    gone = Manager(tmp_path)
    gone.close()
    for path in (gone.path, tmp_path / "never"):
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        notify.ready()
        notify.alive("1 waiting")
        notify.wait_longer(1.0)
        notify.stopping(1.0)
