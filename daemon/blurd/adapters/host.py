"""The machine: its boot, its clocks, its processes.

Invariants
* Due times in the queue are seconds of this boot's clock (`boot_clock_s`), together with the boot's id; the wall clock
  is for people and never decides anything.
* A process is known by its number, its start time and the boot's id: a number that was given out again is not it.
"""

import ctypes
import os
import resource
import select
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from blurd.records import WorkerIdentity

_ENDED = (b"Z", b"X")
"""States in which a process does nothing any more."""
_FIRST_TO_GO = 800
_UNTOUCHED_MEBIBYTES = 1024
"""Measured over photos and a 1080p video: 500 to 1000 more are asked for than are ever in use."""
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_PR_SET_PDEATHSIG = 1
_FUTEX_CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
"""The number of `futex(2)`, by which locks wait, on each kind of machine."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Names of glibc's `mallopt`."""


@cache
def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def boot_clock_s() -> float:
    """Seconds since boot, including sleep; never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_clock() -> str:
    """Now, for people: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def wall_clock_ago(days: float) -> str:
    """What the clock said so many days ago, as `wall_clock` tells it; the earliest time that it knows, if longer."""
    try:
        return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC).isoformat(timespec="seconds")


def midnight() -> str:
    """When today began on this machine's clock, as `wall_clock` tells times."""
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return today.astimezone(UTC).isoformat(timespec="seconds")


def seconds_since(text: str) -> float | None:
    """Seconds since a time that `wall_clock` told; none less than 0. None where it is no time."""
    try:
        return max(0.0, round((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds(), 1))
    except (ValueError, TypeError):
        return None


def process_start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is none, or only its exit status is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in _ENDED else int(fields[19])


def this_process() -> WorkerIdentity:
    """The identity of the calling process."""
    pid = os.getpid()
    return WorkerIdentity(pid, process_start_ticks(pid) or 0, boot_id())


def is_alive(worker: WorkerIdentity) -> bool:
    """True where that very process still runs."""
    return worker.boot_id == boot_id() and process_start_ticks(worker.pid) == worker.start_ticks


def end_process(worker: WorkerIdentity, within_s: float = 2.0) -> bool:
    """Kill that very process, whatever it does; True where it is gone. Another that got its number is never touched."""
    try:
        handle = os.pidfd_open(worker.pid)
    except OSError:
        return not is_alive(worker)
    try:
        if is_alive(worker):  # checked behind the handle: it can't be given another process any more
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], within_s)
    except OSError:
        return False  # another user's
    finally:
        os.close(handle)
    return not is_alive(worker)


def limit_memory(mebibytes: int) -> None:
    """Bound this process's own memory, and let it be the first to go when the machine has none left.

    RLIMIT_DATA counts what is asked for to be written to (heaps, stacks of threads), not what is mapped from files, of
    which inference has much. Some of it is never touched: `_UNTOUCHED_MEBIBYTES` come on top.
    """
    limit = mebibytes + _UNTOUCHED_MEBIBYTES << 20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_FIRST_TO_GO), encoding="ascii")


def machine_mebibytes() -> int:
    """The memory that there is: the machine's, or less where this process's control groups have a limit."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, IndexError):
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1].split(":", 2)[2].lstrip("/")
        folder = _CONTROL_GROUPS / group
        for place in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # no limit here: no file, or "max"
                least = min(least, int((place / "memory.max").read_text(encoding="ascii")))
            if place == _CONTROL_GROUPS:
                break
    return least >> 20


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written on a folder's disk. Raises `OSError`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def is_held_by_kernel(thread: int) -> bool:
    """True where a thread of this process, by its native id, waits in the kernel for anything but a lock.

    So waits one whose share hangs. One that runs, or waits for another thread, does not.
    """
    task = Path(f"/proc/self/task/{thread}")
    try:
        state = (task / "stat").read_bytes().rpartition(b")")[2].split()[0]
        if state == b"D":
            return True
        call = (task / "syscall").read_text(encoding="ascii").split()[0]
    except OSError:
        return False
    return call != "running" and int(call) not in (-1, _FUTEX_CALLS.get(os.uname().machine))


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent process dies, so that no orphan goes on working."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def return_memory_early() -> None:
    """Ask the C library to give the memory of pictures back as soon as they are done with; where it can't, nothing.

    Left to itself it keeps several heaps, and holes as large as pictures in them: a quarter of all memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)
