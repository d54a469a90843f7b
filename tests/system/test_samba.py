"""People at a share: a real smbd with the shares of packaging/samba, smbclient copying in, `blurd run` at work."""

import io
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance import Appliance
from mounts import MountSpace, need_root
from samba import GROUP, SambaServer, need_samba, own, run_as_blurd


def photo(seed: int, height: int = 40) -> bytes:
    """A picture that does not compress, so that it reaches the server in several pieces."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, 640, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


class Office(Appliance):
    """blurd, as its own user, behind Samba."""

    def __init__(self, root: Path, space: MountSpace) -> None:
        super().__init__(root, incomplete_after_s=2.0, classes=["plate"])
        for name in ("state", "cache"):
            (root / name).mkdir()
            own(root / name, 0o750)
        for name in ("in", "out"):
            own(root / name, 0o2770)
        root.chmod(0o755)
        space.open_to_all(Path(sys.base_prefix))
        self.prefix = (*space.prefix, *run_as_blurd())
        self.environment = {"HOME": str(root / "cache")}
        self.server = SambaServer(space, root / "samba", root / "in", root / "out")


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    need_root()
    need_samba()
    root = Path(tempfile.mkdtemp(prefix="blurd-", dir="/tmp"))  # a plain user can't enter pytest's folders
    try:
        with MountSpace() as space:
            made = Office(root, space)
            with made.server:
                made.start()
                made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
                yield made
                assert made.stop() == 0
    finally:
        shutil.rmtree(root)


def test_a_copy_can_be_taken_away_by_colleagues_and_is_never_executable(office: Office) -> None:
    """Dropped in through the share, taken and removed through the share; nobody else may."""
    office.server.put("for anna.png", photo(1))
    copy = office.copy("for anna.png")
    for path in (copy, office.root / "in" / "for anna.png"):
        status = path.stat()
        assert status.st_gid == GROUP
        assert not status.st_mode & 0o111
        assert status.st_mode & stat.S_IRGRP
    assert office.server.ask("otto", "outbound", "ls").returncode != 0
    assert office.server.ask("", "outbound", "ls").returncode != 0
    fetched = office.server.root / "fetched.png"
    assert office.server.ask("anna", "outbound", f'get "for anna.png" {fetched}').returncode == 0
    assert fetched.read_bytes() == copy.read_bytes()
    assert office.server.ask("anna", "outbound", 'del "for anna.png"').returncode == 0
    assert not copy.exists()
    assert office.server.ask("anna", "inbound", 'del "for anna.png"').returncode == 0
    assert not (office.root / "in" / "for anna.png").exists()


def test_staging_and_markers_can_not_be_reached(office: Office) -> None:
    office.wait((office.root / "out" / ".blurd").exists, "a staging folder")
    for share, name in (("outbound", ".blurd"), ("inbound", ".blurd-folder")):
        assert (office.root / {"outbound": "out", "inbound": "in"}[share] / name).exists()
        assert name not in office.server.ask("anna", share, "ls").stdout
        assert office.server.ask("anna", share, f"ls {name}").returncode != 0
    assert office.server.ask("anna", "outbound", "cd .blurd").returncode != 0


def test_s01_a_slow_copy_is_taken_when_it_is_closed(office: Office) -> None:
    """The client pauses for longer than settle_s and incomplete_after_s; the file is open meanwhile."""
    content = photo(2, 800)
    client = office.server.begin("slow.png")
    assert client.stdin is not None
    client.stdin.write(content[: len(content) // 2])
    client.stdin.flush()
    slow = office.root / "in" / "slow.png"
    office.wait(lambda: slow.exists() and slow.stat().st_size > 0, "the first part")
    before = office.status()
    time.sleep(3.5)
    after = office.status()
    assert after["rejected"] == before["rejected"]
    assert not (office.root / "out" / "slow.png").exists()
    client.stdin.write(content[len(content) // 2 :])
    client.stdin.close()
    assert client.wait(30) == 0
    with Image.open(office.copy("slow.png")) as copy:
        copy.load()
        assert copy.size == (640, 800)


def test_s04_a_temporary_name_is_left_alone_until_it_is_renamed(office: Office) -> None:
    office.server.put("film.png.part", photo(3))
    time.sleep(2)
    assert not list((office.root / "out").glob("film*"))
    assert office.server.ask("anna", "inbound", 'rename "film.png.part" "film.png"').returncode == 0
    office.copy("film.png")
    assert not list((office.root / "out").glob("film*part*"))


def test_s07_a_file_that_is_overwritten_is_treated_again(office: Office) -> None:
    office.server.put("again.png", photo(4, 40))
    office.copy("again.png")
    office.server.put("again.png", photo(5, 44))
    with Image.open(office.copy("again-2.png")) as copy:
        assert copy.size == (640, 44)


def test_s05_a_copy_that_breaks_off_is_reported_and_the_next_one_taken(office: Office) -> None:
    """The client dies in mid-copy; half a file is no photo. The file comes whole the second time."""
    content = photo(6, 800)
    client = office.server.begin("broken.png")
    assert client.stdin is not None
    client.stdin.write(content[: len(content) // 2])
    client.stdin.flush()
    broken = office.root / "in" / "broken.png"
    office.wait(lambda: broken.exists() and broken.stat().st_size > 0, "the first part")
    client.kill()
    client.wait()
    client.stdin.close()
    office.wait(lambda: office.status()["reasons"].get("incomplete") == 1, "a report")
    assert broken.exists()
    assert not (office.root / "out" / "broken.png").exists()
    office.server.put("broken.png", content)
    with Image.open(office.copy("broken.png")) as copy:
        copy.load()
        assert copy.size == (640, 800)


def test_p1_every_file_of_the_share_is_accounted_for(office: Office) -> None:
    """Folders made by clients are mirrored, and nothing waits for ever."""
    done = office.server.ask("anna", "inbound", "mkdir trip; cd trip; mkdir day")
    assert done.returncode == 0
    office.server.put("trip/day/deep.png", photo(7))
    copy = office.copy("trip/day/deep.png")
    assert copy.parent.stat().st_gid == GROUP
    office.wait(lambda: not any(office.status()[key] for key in ("settling", "queued", "running", "staged")), "rest")
    assert office.status()["failed"] == 0
