"""Opening, staging and publishing, on real files."""

import errno
import os
import socket
import stat
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from blurd.adapters.files import FileReader, fully_allocated, stamp_of, writer_gone
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.trouble import writing
from blurd.errors import BlurdError, EquipmentError, InputError, Reason


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path


def reason_of(place: Path, path: str) -> Reason:
    with InboundFolder(place / "in") as inbound, pytest.raises(InputError) as caught:
        inbound.open(path, allow_hard_links=False)
    return caught.value.reason


def publish(outbound: OutboundFolder, name: str, content: bytes, target: str) -> bool:
    with outbound.staged(name, 0o640) as file:
        file.write(content)
    return outbound.publish(name, target)


def test_a_plain_file_is_opened(place: Path) -> None:
    (place / "in" / "sub").mkdir()
    (place / "in" / "sub" / "a\nb\xff.jpg").write_bytes(b"content")
    with InboundFolder(place / "in") as inbound:
        with inbound.open("sub/a\nb\xff.jpg", allow_hard_links=False) as file:
            assert file.read() == b"content"
            assert FileReader(file).read_at(3, 100) == b"tent"
        assert inbound.status("sub/absent") is None


def test_s16_a_symbolic_link_is_refused_wherever_it_stands(place: Path) -> None:
    (place / "secret").write_bytes(b"x")
    (place / "real").mkdir()
    (place / "real" / "a.jpg").write_bytes(b"x")
    (place / "in" / "link.jpg").symlink_to(place / "secret")
    (place / "in" / "folder").symlink_to(place / "real")
    assert reason_of(place, "link.jpg") is Reason.SYMBOLIC_LINK
    assert reason_of(place, "folder/a.jpg") is Reason.SYMBOLIC_LINK
    assert reason_of(place, "../secret") is Reason.SYMBOLIC_LINK
    assert reason_of(place, str(place / "secret")) is Reason.SYMBOLIC_LINK


def test_s17_a_hard_link_is_refused_unless_allowed(place: Path) -> None:
    (place / "secret").write_bytes(b"x")
    os.link(place / "secret", place / "in" / "a.jpg")
    assert reason_of(place, "a.jpg") is Reason.HARD_LINKED
    with InboundFolder(place / "in") as inbound, inbound.open("a.jpg", allow_hard_links=True) as file:
        assert file.read() == b"x"


def test_s18_a_pipe_socket_or_device_never_blocks(place: Path) -> None:
    os.mkfifo(place / "in" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "in" / "socket"))
        assert reason_of(place, "pipe") is Reason.NOT_REGULAR
        assert reason_of(place, "socket") is Reason.NOT_REGULAR
    (place / "in" / "folder").mkdir()
    assert reason_of(place, "folder") is Reason.NOT_REGULAR


def test_a_missing_file_has_vanished(place: Path) -> None:
    assert reason_of(place, "a.jpg") is Reason.SOURCE_VANISHED
    assert reason_of(place, "sub/a.jpg") is Reason.SOURCE_VANISHED


def test_a_missing_folder_pauses(place: Path) -> None:
    for make, reason in ((InboundFolder, Reason.INBOUND_MISSING), (OutboundFolder, Reason.OUTBOUND_MISSING)):
        with pytest.raises(EquipmentError) as caught:
            make(place / "absent")
        assert caught.value.reason is reason


def test_a_lease_tells_an_open_writer(place: Path) -> None:
    path = place / "in" / "a.jpg"
    with path.open("wb") as writer, path.open("rb") as file:
        writer.write(b"x")
        assert writer_gone(file) is False
    with path.open("rb") as file:
        assert writer_gone(file) is True
        with path.open("r+b") as writer:  # the lease was given back: this must not block
            writer.write(b"y")


def test_a_hole_tells_a_preallocated_file(place: Path) -> None:
    path = place / "in" / "a.mp4"
    with path.open("w+b") as file:
        file.truncate(1 << 20)
        assert fully_allocated(file) is False
        file.write(b"x" * (1 << 20))
        file.flush()
        assert fully_allocated(file) is True


def test_publication_links_and_never_overwrites(place: Path) -> None:
    with OutboundFolder(place / "out") as outbound:
        assert publish(outbound, "job-1-1.staged", b"first", "a/b/c.jpg")
        assert not publish(outbound, "job-2-1.staged", b"second", "a/b/c.jpg")
        assert outbound.free_name("a/b/c.jpg", "job-2-1.staged") == "a/b/c-2.jpg"
        assert outbound.publish("job-2-1.staged", "a/b/c-2.jpg")
    assert (place / "out/a/b/c.jpg").read_bytes() == b"first"
    assert (place / "out/a/b/c-2.jpg").read_bytes() == b"second"
    assert stat.S_IMODE((place / "out/a/b/c.jpg").stat().st_mode) == 0o640


def test_s33_a_copy_that_is_linked_already_is_recognised(place: Path) -> None:
    with OutboundFolder(place / "out") as outbound:
        publish(outbound, "job-1-1.staged", b"first", "c.jpg")
        assert outbound.is_published("job-1-1.staged", "c.jpg")
        assert outbound.free_name("c.jpg", "job-1-1.staged") == "c.jpg"
        assert not outbound.is_published("job-2-1.staged", "c.jpg")


def test_staging_is_invisible_and_private(place: Path) -> None:
    with OutboundFolder(place / "out") as outbound:
        with outbound.staged("job-1-1.staged", 0o644) as file:
            staged = place / "out" / ".blurd" / "job-1-1.staged"
            assert stat.S_IMODE(staged.stat().st_mode) == 0o600
            file.write(b"x")
        assert stat.S_IMODE(staged.stat().st_mode) == 0o644
        assert stat.S_IMODE(staged.parent.stat().st_mode) == 0o700
        assert outbound.staged_names() == ("job-1-1.staged",)


def test_an_error_removes_the_staged_file(place: Path) -> None:
    with OutboundFolder(place / "out") as outbound:
        with pytest.raises(InputError), outbound.staged("job-1-1.staged", 0o644) as file:
            _fail(file)
        assert outbound.staged_names() == ()
        outbound.remove_staging()
    assert list((place / "out").iterdir()) == []


def test_publication_follows_no_link_in_outbound(place: Path) -> None:
    """Somebody who can write to outbound can't make blurd write elsewhere."""
    (place / "elsewhere").mkdir()
    (place / "out" / "sub").symlink_to(place / "elsewhere")
    (place / "out" / "a.jpg").symlink_to(place / "elsewhere" / "a.jpg")
    with OutboundFolder(place / "out") as outbound:
        with pytest.raises(BlurdError):
            publish(outbound, "job-1-1.staged", b"x", "sub/a.jpg")
        assert outbound.free_name("a.jpg", "job-1-1.staged") == "a-2.jpg"
        assert not outbound.publish("job-1-1.staged", "a.jpg")
    assert list((place / "elsewhere").iterdir()) == []


def test_without_hard_links_publication_renames_and_never_overwrites(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without links (exFAT, some network mounts) refuses link(2) with EPERM."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with OutboundFolder(place / "out") as outbound:
        assert publish(outbound, "job-1-1.staged", b"first", "c.jpg")
        assert not publish(outbound, "job-2-1.staged", b"second", "c.jpg")
    assert (place / "out" / "c.jpg").read_bytes() == b"first"


def test_concurrent_publication_gives_each_copy_its_own_name(place: Path) -> None:
    """Many publishers want the same name at once."""

    def work(number: int) -> None:
        with OutboundFolder(place / "out") as outbound:
            name = f"job-{number}-1.staged"
            with outbound.staged(name, 0o644) as file:
                file.write(str(number).encode())
            while not outbound.publish(name, outbound.free_name("a.jpg", name)):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.read_bytes()) for path in (place / "out").glob("a*.jpg")) == list(range(16))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, Reason.OUTBOUND_FULL),
        (errno.EDQUOT, Reason.OUTBOUND_FULL),
        (errno.EROFS, Reason.OUTBOUND_READ_ONLY),
        (errno.ESTALE, Reason.OUTBOUND_MISSING),
        (errno.EIO, Reason.WRITE_ERROR),
    ],
)
def test_trouble_with_outbound_never_blames_the_input(code: int, reason: Reason) -> None:
    with pytest.raises(EquipmentError) as caught, writing("test"):
        _raise(code)
    assert caught.value.reason is reason


def test_a_stamp_is_the_files_identity(place: Path) -> None:
    path = place / "in" / "a.jpg"
    path.write_bytes(b"123")
    status = path.stat()
    stamp = stamp_of(status)
    assert (stamp.size, stamp.mtime_ns, stamp.inode) == (3, status.st_mtime_ns, status.st_ino)


def _fail(file: BinaryIO) -> None:
    file.write(b"half")
    raise InputError(Reason.DAMAGED, "test")


def _raise(code: int) -> None:
    raise OSError(code, "")
