"""Folders on real mounts that go, come back, are replaced; a real `blurd watch`, in a namespace of its own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import Appliance, settings_text
from blurd.core.naming import INBOUND_MARKER, OUTBOUND_MARKER
from mounts import MountSpace, need_root
from pictures import png


@pytest.fixture
def space() -> Iterator[MountSpace]:
    need_root()
    with MountSpace() as made:
        yield made


@pytest.fixture
def watched(space: MountSpace, tmp_path: Path) -> Iterator[Appliance]:
    """Nothing is scanned again by the clock: what is found is found by notification, or because a folder came back."""
    made = Appliance(tmp_path)
    made.config.write_text(settings_text(tmp_path).replace("rescan_s = 2.0", "rescan_s = 3600.0"))
    made.prefix = space.prefix
    yield made
    if made.process is not None and made.process.poll() is None:
        assert made.stop() == 0


def start(made: Appliance) -> None:
    made.start("watch")
    made.wait(lambda: made.events("folder_watched"), "a watched folder")
    made.wait(lambda: made.status()["rescan_only"] is False, "a status")


def paused(made: Appliance, reason: str | None) -> None:
    made.wait(lambda: made.status()["paused"] == reason, f"paused: {reason}")


def image(space: MountSpace, path: Path) -> None:
    """A real file system in a file."""
    space("truncate", "-s", "16M", path)
    space("mkfs.ext4", "-q", "-m", "0", path)


def test_s24_s25_an_unmounted_inbound_pauses_and_its_files_are_known_when_it_is_back(
    space: MountSpace, watched: Appliance, tmp_path: Path
) -> None:
    """The device number changes with the remount; no file is taken twice, none is called gone."""
    inbound, disk = tmp_path / "in", tmp_path / "disk.img"
    image(space, disk)
    space("mount", "-o", "loop", disk, inbound)
    for name in ("a.png", "b.png"):
        (space.at(inbound) / name).write_bytes(png())
    start(watched)
    watched.wait(lambda: watched.status()["queued"] == 2, "two jobs")
    device = space.at(inbound).stat().st_dev

    space.while_busy("umount", inbound)
    paused(watched, "inbound_strange")
    assert list(inbound.iterdir()) == []  # the bare mount point got no marker

    (tmp_path / "other.img").touch()
    space("truncate", "-s", "1M", tmp_path / "other.img")
    space("losetup", "-f", tmp_path / "other.img")  # takes the loop device that the disk had
    try:
        space("mount", "-o", "loop", disk, inbound)
        assert space.at(inbound).stat().st_dev != device
        paused(watched, None)
        time.sleep(1)
        (space.at(inbound) / "c.png").write_bytes(png())  # seen by notification: watches are set anew
        watched.wait(lambda: watched.status()["queued"] == 3, "a third job")
        # Gone and back between two looks: nobody sees the folder missing, but its watches ended.
        space.while_busy("sh", "-c", f"umount '{inbound}' && mount -o loop '{disk}' '{inbound}'")
        time.sleep(1.5)
        (space.at(inbound) / "d.png").write_bytes(png())
        watched.wait(lambda: watched.status()["queued"] == 4, "a fourth job")
    finally:
        space("sh", "-c", f"losetup -d $(losetup -n -O NAME -j '{tmp_path / 'other.img'}')")
    status = watched.status()
    assert (status["vanished"], status["superseded"], status["settling"]) == (0, 0, 0)
    assert len(watched.events("job_queued")) == 4
    assert {line["reason"] for line in watched.events("folder_paused")} == {"inbound_strange"}


def test_s26_nothing_is_written_into_the_bare_mount_point_of_outbound(
    space: MountSpace, watched: Appliance, tmp_path: Path
) -> None:
    outbound, backing = tmp_path / "out", tmp_path / "backing"
    backing.mkdir()
    space("mount", "--bind", backing, outbound)
    start(watched)
    assert (backing / OUTBOUND_MARKER).exists()
    space.while_busy("umount", outbound)
    paused(watched, "outbound_strange")
    watched.drop("a.png", png())
    time.sleep(2.5)
    assert list(outbound.iterdir()) == []
    assert watched.events("job_queued") == []
    space("mount", "--bind", backing, outbound)
    paused(watched, None)
    watched.wait(lambda: watched.status()["queued"] == 1, "a job")


def test_s24_another_disk_is_taken_only_when_a_person_says_so(
    space: MountSpace, watched: Appliance, tmp_path: Path
) -> None:
    """The new disk has the place and the kind of the old one. Files of the old one stay accounted for."""
    inbound = tmp_path / "in"
    image(space, tmp_path / "old.img")
    image(space, tmp_path / "new.img")
    space("mount", "-o", "loop", tmp_path / "old.img", inbound)
    (space.at(inbound) / "a.png").write_bytes(png())
    start(watched)
    watched.wait(lambda: watched.status()["queued"] == 1, "a job")
    space.while_busy("umount", inbound)
    space("mount", "-o", "loop", tmp_path / "new.img", inbound)
    (space.at(inbound) / "b.png").write_bytes(png())
    paused(watched, "inbound_strange")
    text = watched.blurd("status").stdout
    assert "accept-folder NAME inbound" in " ".join(text.split())
    assert watched.status()["queued"] == 1
    assert not (space.at(inbound) / INBOUND_MARKER).exists()

    told = watched.blurd("accept-folder", "photos", "inbound")
    assert told.returncode == 0
    assert "known before" in told.stdout
    paused(watched, None)
    watched.wait(lambda: watched.status()["queued"] == 2, "a second job")
    watched.wait((space.at(inbound) / INBOUND_MARKER).exists, "a marker")
    assert watched.blurd("accept-folder", "nobody", "inbound").returncode == 10


def test_s24_a_read_only_inbound_is_recognised_by_its_place(
    space: MountSpace, watched: Appliance, tmp_path: Path
) -> None:
    inbound, backing = tmp_path / "in", tmp_path / "backing"
    backing.mkdir()
    (backing / "a.png").write_bytes(png())
    space("mount", "--bind", backing, inbound)
    space("mount", "-o", "remount,ro,bind", inbound)
    start(watched)
    watched.wait(lambda: watched.status()["queued"] == 1, "a job")
    assert [path.name for path in backing.iterdir()] == ["a.png"]
    space.while_busy("umount", inbound)
    paused(watched, "inbound_strange")
    space("mount", "--bind", backing, inbound)
    paused(watched, None)
    assert len(watched.events("job_queued")) == 1
    paused(watched, None)
    assert len(watched.events("job_queued")) == 1
