"""An appliance whose decoder is hostile: the product's own processes, started through this file, which replaces what
the named behaviour replaces before it calls the command line. A poison picture is one that is 99 pixels wide.

    python hostile.py BEHAVIOUR [-m blurd] ARGUMENTS
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from appliance import Appliance

POISON_WIDTH = 99
LONG_S = 1000


def is_poison(file: BinaryIO) -> bool:
    header = os.pread(file.fileno(), 24, 0)
    return header[:4] == b"\x89PNG" and int.from_bytes(header[16:20], "big") == POISON_WIDTH


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

    if behaviour in POISONS:
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
                env={**os.environ, "INTERPRETER": str(self.interpreter)},
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
