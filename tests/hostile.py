"""An appliance whose decoder is hostile: the product's own processes, started through this file, which replaces what
the named behaviour replaces before it calls the command line. A poison picture is one that is 99 pixels wide.

    python hostile.py BEHAVIOUR [-m blurd] ARGUMENTS
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from appliance import Appliance
from blurd.errors import InputError, Reason

POISON_WIDTH = 99
LONG_S = 1000


def width_of(file: BinaryIO) -> int:
    """A PNG picture's; 0 for others."""
    header = os.pread(file.fileno(), 24, 0)
    return int.from_bytes(header[16:20], "big") if header[:4] == b"\x89PNG" else 0


def is_poison(file: BinaryIO) -> bool:
    return width_of(file) == POISON_WIDTH


def hang_with_every_lock() -> None:
    """A loop inside a library that never lets Python's other threads run."""
    ctypes.PyDLL(None).sleep(LONG_S)


def hang_deaf() -> None:
    """Stay inside one C call whatever signals come, while other threads run: a lock that nobody opens."""
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def greedy() -> None:
    kept: list[bytearray] = []
    while True:
        kept.append(bytearray(64 << 20))


def talk(file: BinaryIO) -> None:
    """Say the file's name in every way in which a library can say something."""
    name = str(Path(f"/proc/self/fd/{file.fileno()}").readlink())

    class Unraisable:
        def __del__(self) -> None:
            raise OSError(name)

    def fail() -> None:
        raise KeyError(name)

    print(name)  # noqa: T201
    print(name, file=sys.stderr)  # noqa: T201
    os.write(1, name.encode())
    os.write(2, name.encode() * 2000)  # more than a pipe holds
    ctypes.CDLL(None).puts(name.encode())
    ctypes.CDLL(None).perror(name.encode())
    logging.getLogger("a.library").error(name)
    warnings.warn(name, stacklevel=1)
    Unraisable()
    thread = threading.Thread(target=fail, name="libraries-own")
    thread.start()
    thread.join()


TALKERS = {96: "talks", 97: "raises", 98: "rejects", POISON_WIDTH: "crashes"}
"""What a talkative appliance does with pictures of these widths, after it has said their names."""


def talkative(real: Callable[..., Any]) -> Callable[..., Any]:
    """A treatment that talks."""

    def treat(source: BinaryIO, *rest: Any) -> Any:
        end = TALKERS.get(width_of(source))
        if end is not None:
            talk(source)
        name = str(Path(f"/proc/self/fd/{source.fileno()}").readlink())
        if end == "crashes":
            print("terminate called after throwing " + name, file=sys.stderr, flush=True)  # noqa: T201
            crash()
        if end == "raises":
            raise TypeError(name)
        if end == "rejects":
            raise InputError(Reason.DAMAGED, name, name)
        return real(source, *rest)

    return treat


def hungry() -> None:
    """Take memory, and use it: what is only asked for costs nothing yet."""
    kept: list[bytes] = []
    while True:
        kept.append(bytes([len(kept) % 255 + 1]) * (16 << 20))


POISONS: dict[str, Callable[[], None]] = {
    "loop": hang_with_every_lock,
    "crash": crash,
    "greedy": greedy,
    "hungry": hungry,
}


def arm(behaviour: str) -> None:
    """Replace what the behaviour replaces."""
    import blurd.pipeline
    import blurd.work

    if behaviour == "talkative":
        worker: Any = blurd.work
        worker.treat = talkative(worker.treat)
    elif behaviour in POISONS:
        work: Any = blurd.work
        real = work.treat

        def treat(source: BinaryIO, *rest: Any) -> Any:
            if is_poison(source):
                POISONS[behaviour]()
            return real(source, *rest)

        work.treat = treat
    else:  # a stage that is deep in a library when the stop comes
        blurd.work.STOP_S = 1.0

        def deep(*_: Any) -> Any:
            Path(os.environ["REACHED"]).touch()
            hang_deaf()

        setattr(blurd.pipeline, behaviour, deep)


class HostileAppliance(Appliance):
    """`blurd run` whose children behave so."""

    def __init__(self, root: Path, behaviour: str, work: str = "", **folder: object) -> None:
        super().__init__(root, **folder)
        self.config.write_text(self.config.read_text().replace("[work]", f"[work]\n{work}"))
        self.behaviour = behaviour
        self.interpreter = root / "interpreter"
        self.interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {behaviour} "$@"\n')
        self.interpreter.chmod(0o755)

    def start(self, part: str = "run") -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.interpreter), "--config", str(self.config), part],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment, "INTERPRETER": str(self.interpreter)},
            )


if __name__ == "__main__":
    from blurd.cli import main

    chosen, *arguments = sys.argv[1:]
    if arguments[:2] == ["-m", "blurd"]:
        arguments = arguments[2:]
    if "run" in arguments:
        sys.executable = os.environ["INTERPRETER"]
    else:
        arm(chosen)
    sys.exit(main(arguments))
