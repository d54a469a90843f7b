"""A worker's view of its folders, in real mount namespaces: shares that are mounted after its start.

A `Machine` is a mount namespace whose mounts reach others, as those of a machine do. A service's namespace is made in
it with the mounts that its unit asks for (`systemd/`, `units.py`): what is mounted on the machine later arrives there.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mounts import need_root

WATCHER_VIEW = """
set -e
mount --bind {root} {root}
mount -o remount,bind,ro {root}
for name in in out; do if [ -d {root}/$name ]; then mount --bind {root}/$name {root}/$name; fi; done
for name in in out; do if [ -d {root}/$name ]; then mount -o remount,bind,rw {root}/$name; fi; done
exec "$@"
"""
"""What `blurd-watch.service` makes of plain folders: those that are there can be written, and nothing beside them."""

WORKER_VIEW = """
set -e
mount -t tmpfs -o mode=0755 run /run
mkdir -p /run/blurd/staging/photos
if [ -d {root}/out/.blurd ] && [ {bound} = yes ]; then
    mount --bind {root}/out/.blurd /run/blurd/staging/photos
fi
for point in $(awk '{{print $5}}' /proc/self/mountinfo | grep '^{root}'); do mount -o remount,bind,ro $point; done
exec "$@"
"""
"""What `blurd-work@.service` with its drop-in makes of the folders."""

LOOK = """
import sys
from pathlib import Path
from blurd.adapters.sandbox import FolderView
from blurd.records import FolderName
view = FolderView(FolderName("photos"), Path(sys.argv[1], "in"), Path(sys.argv[1], "out"))
for line in sys.stdin:
    print(view.fault(), view.is_usable(), flush=True)
"""


class Machine:
    """A mount namespace with a pair of folders, each on a share of its own, that passes its mounts on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("in", "out"):
            (root / name).mkdir(parents=True)
        script = f"mount --bind {root} {root} && mount --make-shared {root} && echo ready && exec sleep 600"
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"
        self.services: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        everything: list[subprocess.Popen[Any]] = [*self.services, self.holder]
        for process in everything:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def inside(self, *command: str | Path) -> list[str]:
        return ["nsenter", "-t", str(self.holder.pid), "-m", "--", *map(str, command)]

    def __call__(self, *command: str | Path) -> str:
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def share(self, name: str, *, staging: bool = True) -> None:
        """Mount an empty share at one of the folders."""
        self("mount", "-t", "tmpfs", "-o", "mode=0777,size=32m", "share", self.root / name)
        if name == "out" and staging:
            self("mkdir", "-m", "0700", self.root / "out/.blurd")

    def unshare(self, name: str) -> None:
        self("umount", self.root / name)

    def service(self, view: str, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A process in a view of its own, which the machine's mounts reach."""
        own = ["unshare", "-m", "--propagation", "slave", "sh", "-c", view, "sh", *map(str, command)]
        process = subprocess.Popen(self.inside(*own), text=True, **options)
        self.services.append(process)
        return process

    def look(self, *, bound: bool = True) -> Callable[[], tuple[str, bool]]:
        """A sandboxed process that tells, whenever it is asked, what is wrong with its view."""
        view = WORKER_VIEW.format(root=self.root, bound="yes" if bound else "no")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self.service(view, sys.executable, "-c", LOOK, self.root, **pipes)

        def ask() -> tuple[str, bool]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            fault, usable = process.stdout.readline().split()
            return fault, usable == "True"

        assert ask()  # it has started
        return ask


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    need_root()
    made = Machine(tmp_path / "root")
    yield made
    made.close()


@pytest.mark.parametrize(("name", "fault"), [("in", "inbound_writable"), ("out", "outbound_writable")])
def test_s25_a_share_that_is_mounted_later_is_seen_as_writable(machine: Machine, name: str, fault: str) -> None:
    """The unit made everything read-only when the worker started; what comes later it can't."""
    other = {"in": "out", "out": "in"}[name]
    machine.share(other)
    ask = machine.look()
    assert ask() == ("None", name == "in")
    machine.share(name)
    assert ask()[0] == fault
    fresh = machine.look()
    assert fresh() == ("None", True)


def test_a_mount_below_inbound_is_seen_too(machine: Machine) -> None:
    machine.share("in")
    machine.share("out")
    machine("mkdir", machine.root / "in/camera 1")
    ask = machine.look()
    assert ask() == ("None", True)
    machine("mount", "-t", "tmpfs", "camera", machine.root / "in/camera 1")
    assert ask()[0] == "inbound_writable"


def test_s25_a_share_that_is_mounted_anew_is_not_hidden_by_the_old_one(machine: Machine) -> None:
    """Staging is bound aside: below the share it would keep the old one in the worker's view."""
    machine.share("in")
    machine.share("out")
    ask = machine.look()
    assert ask() == ("None", True)
    machine.unshare("out")
    assert ask() == ("None", False)  # the bare mount point: nothing is staged there, and the process stays
    machine("mkdir", "-m", "0700", machine.root / "out/.blurd")
    assert ask()[0] == "staging_elsewhere"
    machine.share("out")
    assert ask()[0] == "outbound_writable"
    assert machine.look()() == ("None", True)


def test_a_staging_folder_that_is_made_later_asks_for_a_fresh_view(machine: Machine) -> None:
    machine.share("in")
    machine.share("out", staging=False)
    ask = machine.look()
    assert ask() == ("None", False)
    machine("mkdir", "-m", "0700", machine.root / "out/.blurd")
    assert ask()[0] == "staging_elsewhere"


def test_where_a_fresh_view_would_be_the_same_the_process_stays(machine: Machine) -> None:
    """Units that don't know the folder, and an outbound that takes no writing: no process is ended over and over."""
    machine.share("in")
    machine.share("out")
    unknown = machine.look(bound=False)
    assert [unknown() for _ in range(3)] == [("None", False)] * 3
    machine("mount", "-o", "remount,ro", machine.root / "out")
    assert machine.look()() == ("None", False)


def test_the_writable_place_of_the_watcher_follows_the_shares_and_one_on_a_share_would_not(machine: Machine) -> None:
    """Why `units.py` makes the folder above a share writable, and never the share itself."""
    machine.share("out")
    machine("touch", machine.root / "out/old")
    views = {
        "above": f"mount --rbind {machine.root} {machine.root}",
        "on": f"mount --bind {machine.root}/out {machine.root}/out",
        "in": f"mount --bind {machine.root}/out/.blurd {machine.root}/out/.blurd",
    }
    seen = {}
    processes = {
        name: machine.service(f'{view} && exec "$@"', "sh", "-c", "echo; read _; ls -A $0/out", machine.root,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, view in views.items()
    }  # fmt: skip
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()
    machine.unshare("out")
    machine.share("out")
    machine("touch", machine.root / "out/new")
    for name, process in processes.items():
        seen[name] = process.communicate("\n", timeout=20)[0].split()
    assert seen == {"above": [".blurd", "new"], "on": [".blurd", "old"], "in": [".blurd", "old"]}


def test_a_share_on_a_plain_folder_reaches_a_watcher_whose_writable_place_is_the_folder(machine: Machine) -> None:
    view = f'mount --bind {machine.root}/out {machine.root}/out && exec "$@"'
    script = "echo; for _ in 1 2 3; do read _; touch $0/out/mine && ls -A $0/out | tr '\\n' ' '; echo; done"
    process = machine.service(view, "sh", "-c", script, machine.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()

    def look() -> list[str]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return process.stdout.readline().split()

    assert look() == ["mine"]
    machine.share("out")
    assert look() == [".blurd", "mine"]
    machine.unshare("out")
    assert look() == ["mine"]


# -- the whole worker -------------------------------------------------------------------------------------------------


class House:
    """A watcher on the machine, and sandboxed workers that are started again as their unit would."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine, self.place, self.log = machine, place, place / "log.jsonl"
        self.config = place / "blurd.toml"
        root = machine.root
        self.config.write_text(
            f'[state]\ndirectory = "{place}/state"\n[models]\ncache = "{place}/cache"\n[watch]\nrescan_s = 1.0\n'
            f'[[folder]]\nname = "photos"\ninbound = "{root}/in"\noutbound = "{root}/out"\nsettle_s = 0.2\n'
            "reserve_mebibytes = 1\n"
        )

    def watch(self) -> None:
        self._start('exec "$@"', "watch")

    def sandboxed_watch(self) -> subprocess.Popen[str]:
        return self._start(WATCHER_VIEW.format(root=self.machine.root), "watch", "--sandboxed")

    def work(self) -> subprocess.Popen[str]:
        return self._start(WORKER_VIEW.format(root=self.machine.root, bound="yes"), "work", "--sandboxed")

    def _start(self, view: str, *command: str) -> subprocess.Popen[str]:
        with self.log.open("a") as log:
            blurd = [sys.executable, "-m", "blurd", "--config", str(self.config), *command]
            return self.machine.service(view, *blurd, stdout=log, stderr=log)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what}: {self.log.read_text()[-2000:]}")

    def drop(self, name: str) -> None:
        stream = io.BytesIO()
        Image.new("RGB", (64, 48), "navy").save(stream, "PNG")
        place = Path(f"/proc/{self.machine.holder.pid}/root{self.machine.root}/in")
        (place / ".partial").write_bytes(stream.getvalue())
        (place / ".partial").rename(place / name)

    def published(self, number: int) -> bool:
        return len(self.events("job_published")) == number


def test_s25_a_worker_ends_for_a_fresh_view_before_it_takes_a_file(machine: Machine, tmp_path: Path) -> None:
    """Copies come out while the worker can write nothing but staging; once it could, it takes nothing more."""
    house = House(machine, tmp_path)
    machine.share("in")
    machine.share("out")
    house.watch()
    worker = house.work()
    house.drop("first.png")
    house.wait(lambda: house.log.exists() and house.published(1), "a copy")
    inside = ["nsenter", "-t", str(_child_of(worker.pid)), "-m", "--"]
    for path in ("in/x", "out/x", "out/.blurd/x", "in/first.png"):
        done = subprocess.run(
            [*inside, "sh", "-c", f": >> {machine.root}/{path}"], capture_output=True, text=True, check=False
        )
        assert "Read-only file system" in done.stderr
    machine("mount", "-t", "tmpfs", "-o", "mode=0777,size=32m", "share", machine.root / "in")
    assert worker.wait(30) == 0
    (told,) = house.events("sandbox_outdated")
    assert (told["folder"], told["sign"]) == ("photos", "inbound_writable")
    machine.unshare("in")  # a share that came and went: the watcher knows the first one still
    worker = house.work()
    house.drop("second.png")
    house.wait(lambda: house.published(2), "a second copy")
    assert [event["attempt"] for event in house.events("job_claimed")] == [1, 1]


def _child_of(pid: int) -> int:
    """The process itself: nsenter and unshare end in it, or have it as their child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def test_a_worker_that_could_write_from_the_start_ends_before_it_loads_anything(
    machine: Machine, tmp_path: Path
) -> None:
    house = House(machine, tmp_path)
    machine.share("in")
    machine.share("out")
    worker = house._start('exec "$@"', "work", "--sandboxed")
    assert worker.wait(30) == 0
    assert [event["sign"] for event in house.events("sandbox_outdated")] == ["inbound_writable"]
    assert house.events("detector_ready") == []
    assert os.listdir(tmp_path / "root/in") == []  # noqa: PTH208


def test_a_watcher_ends_for_a_fresh_view_of_folders_that_are_made_later(machine: Machine, tmp_path: Path) -> None:
    """Its sandbox lets it write what was there when it started; the next one serves them."""
    house = House(machine, tmp_path)
    machine("rmdir", machine.root / "in", machine.root / "out")
    watcher = house.sandboxed_watch()
    house.wait(lambda: house.log.exists() and house.events("folder_paused"), "a pause")
    machine("mkdir", "-m", "0777", machine.root / "in", machine.root / "out")
    assert watcher.wait(30) == 0
    assert [event["sign"] for event in house.events("sandbox_outdated")] == ["outbound_closed"]
    assert house.events("process_stopped")
    house.sandboxed_watch()
    house.wait(lambda: house.events("folder_watched") and house.events("folder_resumed"), "a folder that is served")
    assert [event["reason"] for event in house.events("folder_paused")] == ["inbound_missing"]


def test_a_watcher_stays_where_a_fresh_view_would_be_the_same(machine: Machine, tmp_path: Path) -> None:
    """Outbound is mounted for reading only by a person: told, and no reason to start again and again."""
    house = House(machine, tmp_path)
    machine("mount", "--bind", machine.root / "out", machine.root / "out")
    machine("mount", "-o", "remount,bind,ro", machine.root / "out")
    watcher = house._start('exec "$@"', "watch", "--sandboxed")
    house.wait(lambda: house.log.exists() and house.events("folder_paused"), "a pause")
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(3)
    assert [event["reason"] for event in house.events("folder_paused")] == ["outbound_read_only"]
    assert house.events("sandbox_outdated") == []
