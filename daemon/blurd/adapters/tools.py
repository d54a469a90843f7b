"""Other programs that are asked something: `systemctl`, `testparm`, blurd itself as another user.

Invariants
* No shell, no input, a time limit; what a program prints is data, cut at `MAX_OUTPUT_BYTES`.
* A program that is not installed, fails to start or does not answer is an `Answer` too, never an exception.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

MAX_OUTPUT_BYTES = 4 << 20
KILL_PATIENCE_S = 1.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Administrators' tools are found even where the caller's PATH lacks their folders."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said: its exit status, None where it did not end in time."""

    status: int | None
    output: str


def find(program: str) -> str | None:
    """Where a program is installed; None where it is not."""
    return shutil.which(program, path=_PATH)


def ask(command: Sequence[str], patience_s: float, user: pwd.struct_passwd | None = None) -> Answer:
    """Run a command to its end (as another user, with that user's groups, where one is given; needs root)."""
    groups = None if user is None else os.getgrouplist(user.pw_name, user.pw_gid)
    try:
        process = subprocess.Popen(  # noqa: S603  our own command line
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=groups,
        )
    except OSError:
        return Answer(127, "")
    try:
        output, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        with suppress(subprocess.TimeoutExpired):  # it may hang in a file system for as long as that likes
            process.wait(KILL_PATIENCE_S)
        return Answer(None, "")
    return Answer(process.returncode, output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace"))
