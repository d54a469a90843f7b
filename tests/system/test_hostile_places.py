"""One appliance, run as a plain user under a strict umask, whose folders are in trouble one by one.

Each folder has its own trouble, and the same process serves all of them, so that each test also shows that the others
go on. Mounts are real, in a namespace of their own.
"""

import errno
import io
import itertools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance import Appliance
from blurd.core.naming import INBOUND_MARKER, OUTBOUND_MARKER, note_path
from mounts import MountSpace, need_root
from pictures import png

USER = 61234
FOLDERS = ("fine", "hang", "full", "readonly", "broken", "quota", "unmounted")


class Heart:
    """systemd's side of the notification socket: when the watcher fed its watchdog."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.fed_s: list[float] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = self.socket.recv(4096)
            except OSError:
                return
            if b"WATCHDOG=1" in message and b"STATUS=%d folders" % len(FOLDERS) in message:
                self.fed_s.append(time.monotonic())

    def longest_gap_s(self, since_s: float) -> float:
        times = [since_s, *(fed_s for fed_s in self.fed_s if fed_s > since_s), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


class House(Appliance):
    """The appliance with its folders; `backing` is what the hanging share serves."""

    def __init__(self, root: Path, space: MountSpace) -> None:
        self.space = space
        self.backing = root / "backing"
        root.chmod(0o755)
        lines = [
            f'[state]\ndirectory = "{root}/state"',
            f'[models]\ncache = "{root}/cache"',
            "[work]\nretry_first_s = 0.2",
            "[watch]\nrescan_s = 2.0",
            "[defaults]\nsettle_s = 0.3\nreserve_mebibytes = 1",
        ]
        for name in FOLDERS:
            place = root / name
            for side in ("in", "out"):
                (place / side).mkdir(parents=True)
            lines.append(f'[[folder]]\nname = "{name}"\ninbound = "{place}/in"\noutbound = "{place}/out"')
        for name in ("state", "cache", "backing"):
            (root / name).mkdir()
        self.root = root
        self.config = root / "blurd.toml"
        self.config.write_text("\n".join(lines))
        self.log = root / "log.jsonl"
        self.process = None
        self.heart = Heart(root / "notify")
        self.environment = {"NOTIFY_SOCKET": str(root / "notify"), "HOME": str(root / "cache")}
        identity = ("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--")
        self.prefix = (*space.prefix, *identity, "sh", "-c", 'umask 077; exec "$@"', "sh")
        space.open_to_all(Path(sys.base_prefix))
        self._mount()
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(root)], check=True)

    def _mount(self) -> None:
        root, space = self.root, self.space
        self.hanging = space.fuse(self.backing, root / "hang" / "in")
        space.tmpfs(root / "full" / "out", "size=5m")
        space.tmpfs(root / "readonly" / "out")
        (root / "unmounted-backing").mkdir()
        space("mount", "--bind", root / "unmounted-backing", root / "unmounted" / "out")
        for name in ("broken", "quota"):
            (root / f"{name}-backing").mkdir()
            space.fuse(root / f"{name}-backing", root / name / "out")

    def at(self, path: str) -> Path:
        return self.space.at(self.root / path)

    def put(self, folder: str, name: str, content: bytes) -> Path:
        """Write into a folder's inbound as the user; complete at once."""
        partial, target = self.root / "dropping", self.root / folder / "in" / name
        partial.write_bytes(content)
        os.chown(partial, USER, USER)
        for parent in reversed(target.parents):
            if not parent.exists():
                parent.mkdir()
                os.chown(parent, USER, USER)
        partial.rename(target)
        return target

    def of(self, folder: str) -> dict[str, Any]:
        """What the status says of a folder."""
        found: dict[str, Any] = self.overview()["folders"][folder]
        return found

    def paused(self, folder: str, reason: str | None) -> None:
        self.wait(lambda: self.of(folder)["paused"] == reason, f"{folder} paused: {reason}")

    def published(self, path: str) -> Path:
        found = self.at(path)
        self.wait(found.exists, f"a copy at {path}")
        return found

    def told(self, event: str, folder: str) -> list[dict[str, Any]]:
        return [line for line in self.events(event) if line.get("folder") == folder]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    need_root()
    root = Path(tempfile.mkdtemp(prefix="blurd-", dir="/tmp"))  # a plain user can't enter pytest's folders
    try:
        with MountSpace() as space:
            made = House(root, space)
            made.start()
            try:
                made.wait(lambda: len(made.events("folder_watched")) == len(FOLDERS), "watched folders")
                yield made
            finally:
                code = made.stop()
                made.heart.socket.close()
            assert code == 0
    finally:
        shutil.rmtree(root)


def noise(kilobytes: int) -> bytes:
    """A PNG of about this size: grey noise doesn't pack."""
    side = int((kilobytes * 1024) ** 0.5)
    stream = io.BytesIO()
    grey = np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)
    Image.fromarray(grey).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def test_copies_have_the_folders_mode_whatever_the_umask(house: House) -> None:
    house.put("fine", "trip/day/a.png", png())
    copy = house.published("fine/out/trip/day/a.png")
    house.wait(lambda: stat.S_IMODE(copy.stat().st_mode) == 0o640, "the folder's mode")
    assert [stat.S_IMODE(copy.parents[number].stat().st_mode) for number in (0, 1)] == [0o750, 0o750]
    staging = house.at("fine/out/.blurd")
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700
    assert copy.stat().st_uid == USER


def test_s20_s21_every_name_comes_through_and_none_meets_another(house: House) -> None:
    """Names are bytes: line breaks, no UTF-8, a dash in front, names that differ in case or Unicode form only."""
    names = [
        "a\nb.png", "\udcff\udcfe.png", "-rf.png", "--", "$(id).png", "x" * 240 + ".png", "\u202egnp.exe.png",
        "Same.png", "same.png", "SAME.PNG", "\u00e9.png", "e\u0301.png", " .png", "'\";\\.png",
    ]  # fmt: skip
    for number, name in enumerate(names):
        house.put("fine", f"names/{name}", png(10 + number))
    house.put("fine", "names/" + "y" * 251 + ".png", png())
    out = house.at("fine/out/names")
    expected = {name if name.lower().endswith(".png") else name + ".png" for name in names}
    told = note_path("y" * 251 + ".png")
    house.wait(lambda: out.exists() and {path.name for path in out.iterdir()} == expected | {told}, "all the names")
    for number, name in enumerate(names):
        with Image.open(out / (name if name.lower().endswith(".png") else name + ".png")) as picture:
            assert picture.width == 10 + number
    house.wait(lambda: house.of("fine")["reasons"].get("name_too_long") == 1, "a refusal that says so")


def test_s19_what_may_not_be_read_is_told_once_and_taken_when_it_may(house: House) -> None:
    secret = house.put("fine", "secret.png", png())
    locked = house.put("fine", "locked/b.png", png()).parent
    secret.chmod(0)
    locked.chmod(0)
    house.wait(lambda: house.of("fine")["reasons"].get("no_permission") == 1, "a report")
    house.wait(lambda: house.of("fine")["failed"] == 1, "an end of the attempts")
    house.wait(lambda: house.of("fine")["unreadable"] == 1, "a folder that can't be read")
    (failed,) = house.told("job_failed", "fine")
    attempts = [line["attempt"] for line in house.told("job_deferred", "fine") if line["job"] == failed["job"]]
    assert attempts == [1, 2]
    before = len(house.log.read_bytes())
    time.sleep(4.5)  # two scans
    assert len(house.log.read_bytes()) == before
    assert len(house.told("places_unreadable", "fine")) == 1
    secret.chmod(0o640)
    locked.chmod(0o750)
    house.published("fine/out/secret.png")
    house.published("fine/out/locked/b.png")
    house.wait(lambda: house.of("fine")["unreadable"] == 0, "nothing unreadable")


def test_s28_a_file_too_large_for_the_room_waits_and_smaller_ones_go_on(house: House) -> None:
    large = png() + bytes(1300 << 10)  # the copy may need four times as much and a MiB; 1 MiB is kept in reserve
    house.put("full", "a large.png", large)
    house.wait(lambda: house.of("full")["paused"] == "outbound_short", "a reason")
    house.put("full", "b.png", png())
    house.published("full/out/b.png")
    assert not house.at("full/out/a large.png").exists()

    filler = house.at("full/out/filler")
    filler.write_bytes(bytes(4 << 20))
    house.paused("full", "outbound_full")
    house.put("full", "c.png", png())
    time.sleep(1.5)
    assert not house.at("full/out/c.png").exists()
    filler.unlink()
    house.published("full/out/c.png")

    house.space("mount", "-o", "remount,size=64m", house.root / "full" / "out")
    house.published("full/out/a large.png")
    house.paused("full", None)
    assert {line["attempt"] for line in house.told("job_claimed", "full")} == {1}
    assert not house.told("job_deferred", "full") + house.told("job_rejected", "full")


def test_s26_neither_watcher_nor_worker_writes_into_the_bare_mount_point(house: House) -> None:
    house.put("unmounted", "a.png", png())
    house.published("unmounted/out/a.png")
    out = house.root / "unmounted" / "out"
    house.space.while_busy("umount", out)
    house.put("unmounted", "b.png", png())
    house.paused("unmounted", "outbound_strange")
    time.sleep(3)
    assert list(out.iterdir()) == []
    assert len(house.told("job_claimed", "unmounted")) == 1
    house.space("mount", "--bind", house.root / "unmounted-backing", out)
    house.published("unmounted/out/b.png")
    house.paused("unmounted", None)


def test_s29_a_read_only_outbound_pauses_and_resumes(house: House) -> None:
    out = house.root / "readonly" / "out"
    house.space("mount", "-o", "remount,ro", out)
    house.paused("readonly", "outbound_read_only")
    house.put("readonly", "a.png", png())
    time.sleep(2.5)
    house.space("mount", "-o", "remount,rw", out)
    house.published("readonly/out/a.png")
    house.paused("readonly", None)
    assert [line["attempt"] for line in house.told("job_claimed", "readonly")] == [1]
    assert len(house.told("folder_paused", "readonly")) == 1


@pytest.mark.parametrize(
    ("folder", "code", "reason"),
    [("broken", errno.EIO, "write_error"), ("quota", errno.EDQUOT, "outbound_full")],
)
def test_s29_writes_that_fail_pause_the_folder_and_never_blame_the_file(
    house: House, folder: str, code: int, reason: str
) -> None:
    """The server of the share says so to every write, and nothing could tell beforehand."""
    fault = house.root / f"{folder}-backing.fault"
    fault.write_text(str(code))
    house.put(folder, "a.png", png())
    house.put(folder, "b.png", noise(70))
    house.paused(folder, reason)
    if code == errno.EIO:
        house.wait(lambda: len(house.told("job_returned", folder)) >= 2, "another try")
    fault.unlink()
    for name in ("a.png", "b.png"):
        with Image.open(house.published(f"{folder}/out/{name}")) as picture:
            picture.load()
    house.paused(folder, None)
    assert {line["attempt"] for line in house.told("job_claimed", folder)} == {1}
    assert not house.told("job_deferred", folder) + house.told("job_rejected", folder)
    assert len(house.told("folder_paused", folder)) == 1


def test_s27_a_share_that_hangs_holds_up_nothing_else(house: House) -> None:
    """The other folders go on, the watchdog is fed, the status says it, and everything goes on when it answers."""
    shutil.copyfile(house.put("fine", "before.png", png()), house.backing / "a.png")
    house.published("hang/out/a.png")
    house.hanging.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    try:
        (house.backing / "b.png").write_bytes(png())
        house.put("fine", "meanwhile.png", png())
        house.published("fine/out/meanwhile.png")
        house.paused("hang", "not_answering")
        house.put("fine", "meanwhile too.png", png())
        house.published("fine/out/meanwhile too.png")
        told = house.blurd("status")
        assert told.returncode == 1
        assert "does not answer" in " ".join(told.stdout.split())
        assert "does not answer" in house.blurd("check-config").stdout
        assert house.heart.longest_gap_s(stopped_s) < 10.0
        (watcher,) = [line["pid"] for line in house.events("process_started") if line["part"] == "watch"]
        os.kill(watcher, signal.SIGKILL)  # the next one meets the hanging share at its start
        house.put("fine", "after a restart.png", png())
        house.published("fine/out/after a restart.png")
    finally:
        house.hanging.send_signal(signal.SIGCONT)
    house.paused("hang", None)
    house.published("hang/out/b.png")


def test_the_read_lease_works_for_a_plain_owner_and_says_where_it_does_not(house: House) -> None:
    """As root it would work for the wrong reason."""
    code = (
        "import sys\nfrom blurd.adapters.files import writer_gone\n"
        "mine, other = (open(path, 'rb') for path in sys.argv[1:])\n"
        "print(writer_gone(mine), writer_gone(other))\n"
        "with open(sys.argv[1], 'ab'): print(writer_gone(mine))\n"
    )
    other = house.root / "other"
    other.write_bytes(b"x")
    other.chmod(0o644)
    mine = house.put("fine", "mine.part", b"x")
    command = [*house.prefix, sys.executable, "-c", code, str(mine), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "None", "False"], done.stderr


def test_sigio_does_not_end_the_watcher(house: House) -> None:
    """A writer that opens a file while the lease is held makes the kernel send it."""
    started = [line["pid"] for line in house.events("process_started") if line["part"] == "watch"]
    os.kill(started[-1], signal.SIGIO)
    house.put("fine", "after.png", png())
    house.published("fine/out/after.png")
    assert [line["pid"] for line in house.events("process_started") if line["part"] == "watch"] == started


def test_no_marker_is_ever_published_or_counted(house: House) -> None:
    for folder in FOLDERS:
        assert house.of(folder)["ignored"] == 0
        out = house.at(f"{folder}/out")
        assert (out / OUTBOUND_MARKER).exists()
        assert not list(out.rglob(INBOUND_MARKER))
