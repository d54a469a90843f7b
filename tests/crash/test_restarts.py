"""Starts, restarts and clocks, with real processes."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crash.harness import Ground, children, small_jpeg, wait_for


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("restarts")) as made:
        yield made


def test_s35_orphans_in_staging_are_removed_at_the_start(ground: Ground) -> None:
    """Those of jobs that are over or were never there; what is not ours stays."""
    with ground.run() as run:
        run.drop("a.jpg", small_jpeg(1))
        main = run.start("run")
        wait_for(lambda: run.is_done({"published": 1}), "copy")
        assert main.end() == 0
        staging = run.outbound / ".blurd"
        for name in ("job-1-1.staged", "job-1-7.staged", "job-4711-1.staged", "somebody.else"):
            (staging / name).write_bytes(b"left over")
        run.start("watch")
        assert run.staged()
        wait_for(lambda: not run.staged(), "clean staging folder")
        assert (staging / "somebody.else").read_bytes() == b"left over"
        run.check_promises({"published": 1}, ["a.jpg"])


def test_s36_a_wall_clock_that_jumps_decides_nothing(ground: Ground) -> None:
    """Every look at it gives another year; files settle, fail, are tried again and come out as on any day."""
    with ground.run(settle_s=0.3, incomplete_after_s=1.0) as run:
        for number in range(5):
            run.drop(f"{number}.jpg", small_jpeg(number))
        run.drop("cut.jpg", small_jpeg(9)[:200])
        started_s = time.monotonic()
        watch, work = run.start("watch", jumping_clock=True), run.start("work", jumping_clock=True)
        wait_for(lambda: run.is_done({"published": 5, "rejected": 1}), "outcome")
        assert 0.9 < time.monotonic() - started_s < 20.0
        assert len({row["created_at"] for row in run.jobs()}) > 1
        assert watch.end() == work.end() == 0
        run.check_promises({"published": 5, "rejected": 1}, [f"{number}.jpg" for number in range(5)])


def test_p7_originals_are_never_modified(ground: Ground) -> None:
    """Content, name, times, mode, owner and links of what is published, rejected and ignored."""

    def all_there_is() -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in originals:
            status = path.lstat()
            kept = (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_size)
            times = status.st_mtime_ns, status.st_ctime_ns
            found[str(path)] = (*kept, *times, path.read_bytes())
        return found

    with ground.run() as run:
        run.drop("a.jpg", small_jpeg(1))
        run.drop("sub/b.jpg", small_jpeg(2))
        run.drop("bad.jpg", b"\x7fELF" + bytes(500))
        run.drop("notes.txt", b"notes")
        originals = [path for path in run.inbound.rglob("*") if path.is_file()]
        assert len(originals) == 4
        before = all_there_is()
        run.start("run")
        wait_for(lambda: run.is_done({"published": 2, "rejected": 1, "ignored": 1}), "verdicts")
        run.check_promises({"published": 2, "rejected": 1, "ignored": 1}, ["a.jpg", "sub/b.jpg"])
        assert all_there_is() == before


def test_p6_no_process_opens_a_network(ground: Ground) -> None:
    """While files are found, treated and published, no socket of any internet protocol is there."""
    with ground.run() as run:
        main = run.start("run")
        for number in range(40):
            run.drop(f"{number}.jpg", small_jpeg(number))
        seen: set[str] = set()

        def looked_at_while_it_works() -> bool:
            seen.update(*(sockets(pid) for pid in (main.pid, *children(main.pid))))
            return run.is_done({"published": 40})

        wait_for(looked_at_while_it_works, "copies")
        assert len(children(main.pid)) == 2
    assert not seen


def sockets(pid: int) -> set[str]:
    """The internet sockets that a process has open."""
    held = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                held.add(str(entry.readlink()))
    inodes: set[str] = set()
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "icmp", "icmp6"):
        table = Path("/proc/net") / name
        if table.exists():
            inodes.update(field for line in table.read_text().splitlines()[1:] for field in line.split()[8:10])
    return {socket for socket in held if socket.startswith("socket:") and socket[8:-1] in inodes}


def test_the_sockets_of_a_process_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert sockets(os.getpid())
