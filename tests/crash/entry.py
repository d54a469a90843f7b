"""Real blurd processes that can be told to die: `python -m crash.entry`, driven over its standard input.

One process loads everything once and forks a child for each line of JSON that it reads; a child calls
`blurd.cli.main` and nothing else, so it is the product that runs. Around it, and never in it, the child
* counts its operations: all that changes a file, a folder or the database, and every look of the detector. It notes
  each in a file just before it is done, and kills itself with SIGKILL instead of doing operation N. Or it is asked to
  stop (SIGTERM) just before operation N of a publication, counted from the link of the copy on; where it `hangs` too,
  the thread that was to do that operation never comes back;
* finds "faces" with a detector that always sees one in the middle: here files and processes are tried, not models;
* waits in hundredths of seconds where the product waits in seconds.

Commands: {"arguments", "log", "operations", "kill_at", "stop_at", "hangs", "boot",
"jumping_clock"} answers {"pid"}; {"poll": pid} answers {"status"},
null while it runs. The end of standard input ends it and all children.
"""

import ctypes
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import blurd.open_folders
import blurd.retention
import blurd.run
import blurd.stages.batches
import blurd.watch
import blurd.work
from blurd.cli import main
from blurd.records import Box, Category, Detection, MediaKind, RgbPicture

_PR_SET_PDEATHSIG = 1
HANG_S = 1000.0
HEARD_S = 0.1
"""Within this time the main thread has heard of a signal and asked the others to stop."""


class Operations:
    """Counts and notes what a process does; ends it at `kill_at` (0: never). Operations happen one after the other."""

    def __init__(self, path: Path, kill_at: int = 0, stop_at: int = 0, *, hangs: bool = False) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._folder, self._kill_at, self._stop_at, self._hangs = path.parent, kill_at, stop_at, hangs
        self._lock = threading.RLock()
        self._publisher = self._published = 0
        self.count = 0

    def do(self, name: str, action: Callable[[], Any], **values: object) -> Any:
        """Note an operation and do it, or die."""
        self._stop_here(name)
        with self._lock:
            self.count += 1
            if self.count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            note = {"at": time.monotonic_ns(), "operation": name, **values}
            os.write(self._handle, json.dumps(note).encode() + b"\n")
            return action()

    def _stop_here(self, name: str) -> None:
        """Be asked to stop where it is time for that."""
        if name == "link" and not self._publisher:
            self._publisher = threading.get_ident()
        if threading.get_ident() != self._publisher:
            return
        self._published += 1
        if self._published == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(HANG_S if self._hangs else HEARD_S)

    def keep(self, path: str) -> str | None:
        """A second name for a file that is about to lose its own, so that a power cut can bring it back."""
        kept = self._folder / f"kept-{os.getpid()}-{self.count}"
        try:
            _LINK(path, kept)
        except OSError:
            return None
        return str(kept)


_OPEN, _LINK, _RENAME, _UNLINK, _MKDIR = os.open, os.link, os.rename, os.unlink, os.mkdir
_FSYNC, _FCHMOD, _FTRUNCATE, _PWRITE = os.fsync, os.fchmod, os.ftruncate, os.pwrite


def _absolute(path: Any, folder: int | None) -> str:
    base = _of(folder) if folder is not None else "/"
    return os.path.join(base, os.fsdecode(path))  # noqa: PTH118  names of any bytes


def _of(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def count_files(operations: Operations) -> None:  # noqa: C901  one short function for each that is replaced
    """Put counting versions of the functions that change files in the place of the plain ones."""

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        def action() -> int:
            return _OPEN(path, flags, mode, dir_fd=dir_fd)

        if not flags & os.O_CREAT:
            return action()
        name = _absolute(path, dir_fd)
        return cast("int", operations.do("create", action, path=name, new=not os.path.lexists(name)))

    def link(source: Any, target: Any, **options: Any) -> None:
        path = _absolute(target, options.get("dst_dir_fd"))
        operations.do("link", lambda: _LINK(source, target, **options), path=path)

    def rename(source: Any, target: Any, **options: Any) -> None:
        before, after = _absolute(source, options.get("src_dir_fd")), _absolute(target, options.get("dst_dir_fd"))
        operations.do("rename", lambda: _RENAME(source, target, **options), path=after, before=before)

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        name = _absolute(path, dir_fd)
        if os.path.lexists(name):
            kept = operations.keep(name)
            operations.do("unlink", lambda: _UNLINK(path, dir_fd=dir_fd), path=name, kept=kept)
        else:
            _UNLINK(path, dir_fd=dir_fd)

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = _absolute(path, dir_fd)
        if os.path.lexists(name):
            _MKDIR(path, mode, dir_fd=dir_fd)
        else:
            operations.do("mkdir", lambda: _MKDIR(path, mode, dir_fd=dir_fd), path=name)

    def fsync(handle: int) -> None:
        operations.do("fsync", lambda: _FSYNC(handle), path=_of(handle), size=os.fstat(handle).st_size)

    def ftruncate(handle: int, length: int) -> None:
        operations.do("write", lambda: _FTRUNCATE(handle, length), path=_of(handle), size=os.fstat(handle).st_size)

    def pwrite(handle: int, data: Any, offset: int) -> int:
        def action() -> int:
            return _PWRITE(handle, data, offset)

        return cast("int", operations.do("write", action, path=_of(handle), size=os.fstat(handle).st_size))

    def fchmod(handle: int, mode: int) -> None:
        operations.do("fchmod", lambda: _FCHMOD(handle, mode))

    replaced: Mapping[str, Callable[..., Any]] = {
        "open": open_, "link": link, "rename": rename, "unlink": unlink, "mkdir": mkdir,
        "fsync": fsync, "ftruncate": ftruncate, "pwrite": pwrite, "fchmod": fchmod,
    }  # fmt: skip
    for name, function in replaced.items():
        setattr(os, name, function)


def count_statements(operations: Operations) -> None:
    """Count every statement that changes the queue, and the commit of a transaction that did."""

    class Counted(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            def action() -> sqlite3.Cursor:
                return sqlite3.Connection.execute(self, sql, *arguments)

            verb = (sql.split(None, 1) or [""])[0].upper()
            if verb == "BEGIN":
                self._before = self.total_changes
            changes = verb in {"INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"}
            if changes or (verb == "COMMIT" and self.total_changes != getattr(self, "_before", -1)):
                return cast("sqlite3.Cursor", operations.do("commit" if verb == "COMMIT" else "statement", action))
            return action()

    connect = sqlite3.connect
    sqlite3.connect = lambda *given, **options: connect(*given, factory=Counted, **options)  # type: ignore[assignment]


class OneFace:
    """A detector that sees one face in the middle of everything."""

    device, degraded, model_hash = "CPU", False, "0" * 64
    categories = frozenset(Category)

    def __init__(self, operations: Operations | None) -> None:
        self._operations = operations

    def start_threshold(self, category: Category) -> float:
        del category
        return 0.5

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        def action() -> tuple[Detection, ...]:
            height, width = picture.shape[:2]
            box = Box(0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height)
            inside = part is None or (
                part.left <= box.left and part.top <= box.top and box.right <= part.right and box.bottom <= part.bottom
            )
            return (Detection(Category.FACE, box, 0.9),) if inside else ()

        return action() if self._operations is None else cast("Any", self._operations.do("detect", action))

    def rest(self) -> None:
        """Nothing to give back."""


class OneFaceDetectors(Mapping[MediaKind, OneFace]):
    """In the place of `equipment.Detectors`."""

    operations: Operations | None = None
    categories, label = OneFace.categories, "one face (00000000)"

    def __init__(self, *_: object) -> None:
        self._one = OneFace(self.operations)

    @property
    def first(self) -> OneFace:
        return self._one

    def of(self, _: object) -> "OneFaceDetectors":
        return self

    def start_threshold(self, category: Category) -> float:
        return self._one.start_threshold(category)

    def __getitem__(self, kind: MediaKind) -> OneFace:
        return self._one

    def __iter__(self) -> Iterator[MediaKind]:
        return iter(MediaKind)

    def __len__(self) -> int:
        return len(MediaKind)


class ForkedChild:
    """What `blurd run` uses of a `Popen`, for a child that is forked: it has everything loaded already."""

    def __init__(self, command: Sequence[str], **_: object) -> None:
        self.status: int | None = None
        asked = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, asked)
        self.pid = os.fork()
        if self.pid == 0:
            for number in asked:  # else its parent's own way of hearing them would swallow one, until it has its own
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, asked)
        if self.pid == 0:
            _serve(command[3:])

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        deadline_s = time.monotonic() + (timeout or 60.0)
        while self.poll() is None:
            if time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 60.0)
            time.sleep(0.01)
        return cast("int", self.status)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _serve(arguments: Sequence[str]) -> None:
    """Be a blurd process, and end."""
    code = 99
    try:
        code = main(arguments)
    finally:
        os._exit(code)


def _put(module: ModuleType, **values: object) -> None:
    """Replace names of a module; one that is not there any more is a fault of this file."""
    for name, value in values.items():
        assert hasattr(module, name), name
        setattr(module, name, value)


def _hasten() -> None:
    _put(blurd.watch, PUBLISH_EVERY_S=0.02, RECOVER_EVERY_S=0.02, PAUSED_LOOK_S=0.02)
    _put(blurd.work, IDLE_S=0.01, Detectors=OneFaceDetectors)
    _put(blurd.open_folders, FOLDER_PAUSE_S=0.01)
    _put(blurd.retention, EVERY_S=0.05)
    _put(blurd.stages.batches, LOOK_EVERY_S=0.02)
    _put(blurd.run, FIRST_PAUSE_S=0.01, LOOK_S=0.01, LONGEST_PAUSE_S=0.05)
    _put(subprocess, Popen=ForkedChild)


def _become(order: Mapping[str, Any]) -> None:
    """The child's side of a fork."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for handle, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(handle, target)
    boot = order.get("boot")
    if boot is not None:
        for name, module in list(sys.modules.items()):
            if name.startswith("blurd.") and hasattr(module, "boot_id"):
                _put(module, boot_id=lambda: boot)
    if order.get("jumping_clock"):
        jumps = random.Random(1)  # noqa: S311
        for name, module in list(sys.modules.items()):
            if name.startswith("blurd.") and hasattr(module, "wall_clock"):
                _put(module, wall_clock=lambda: f"{jumps.randrange(1970, 2107)}-01-01T00:00:00+00:00")
        plain = time.time
        _put(time, time=lambda: plain() + jumps.uniform(-1.7e9, 4e9))
    if order.get("hangs"):
        _put(blurd.watch, STOP_S=0.3)
    if order.get("operations"):
        orders = {name: order[name] for name in ("kill_at", "stop_at", "hangs") if name in order}
        operations = Operations(Path(order["operations"]), **orders)
        OneFaceDetectors.operations = operations
        count_files(operations)
        count_statements(operations)
    _serve(order["arguments"])


def _drive() -> None:
    _hasten()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            child = os.fork()
            if child == 0:
                _become(order)
            answer = {"pid": child}
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    _drive()
