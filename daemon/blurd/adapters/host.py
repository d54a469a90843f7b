"""The machine: its boot, its clocks, its processes.

Invariants
* Due times in the queue are seconds of this boot's clock (`boot_clock_s`), together with the boot's id; the wall clock
  is for people and never decides anything.
* A process is known by its number, its start time and the boot's id: a number that was given out again is not it.
"""

import ctypes
import os
import signal
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from blurd.records import WorkerIdentity

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


def process_start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def this_process() -> WorkerIdentity:
    """The identity of the calling process."""
    pid = os.getpid()
    return WorkerIdentity(pid, process_start_ticks(pid) or 0, boot_id())


def is_alive(worker: WorkerIdentity) -> bool:
    """True where that very process still runs."""
    return worker.boot_id == boot_id() and process_start_ticks(worker.pid) == worker.start_ticks


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
