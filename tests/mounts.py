"""Real mounts for tests, in a mount namespace of their own: nothing outside sees them, and they end with it.

What lies under a mount (the bare mount point) is seen at the plain path, what is mounted there through `MountSpace.at`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

FUSE_DAEMON = Path(__file__).with_name("fuse_daemon.py")


def need_root() -> None:
    """Skip where mounts can't be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes mounts")
    probe = subprocess.run(["unshare", "-m", "--propagation", "private", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("needs a mount namespace of its own")


class MountSpace:
    """A mount namespace, for as long as a `with` block."""

    def __enter__(self) -> Self:
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 3600"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.prefix = ("nsenter", "-t", str(self._holder.pid), "-m", "--")
        self._daemons: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._daemons, self._holder):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def __call__(self, *command: str | Path) -> None:
        """Run a command inside."""
        done = subprocess.run([*self.prefix, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)

    def at(self, path: Path) -> Path:
        """What is at the path inside."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def tmpfs(self, point: Path, options: str = "size=16m") -> None:
        """Mount an empty file system in memory, writable for everybody."""
        self("mount", "-t", "tmpfs", "-o", f"mode=0777,{options}", "test", point)

    def open_to_all(self, path: Path) -> None:
        """Let every user reach a folder, such as a Python in root's home; inside alone, nothing is changed."""
        closed = [parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001]
        if closed:
            self("mount", "-t", "tmpfs", "-o", "mode=0755", "test", "/mnt")
            self("mkdir", "/mnt/aside")
            self("mount", "--bind", path, "/mnt/aside")
            self("mount", "-t", "tmpfs", "-o", "mode=0755", "test", closed[0])
            self("mkdir", "-p", path)
            self("mount", "--bind", "/mnt/aside", path)

    def while_busy(self, *command: str | Path) -> None:
        """Run a command that fails as long as somebody uses a mount."""
        for _ in range(100):
            try:
                self(*command)
            except AssertionError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(command)

    def fuse(self, backing: Path, point: Path) -> "subprocess.Popen[bytes]":
        """Mount a view of a folder, served by a process that can be stopped (tests/fuse_daemon.py)."""
        if not Path("/dev/fuse").exists():
            pytest.skip("needs FUSE")
        command = [*self.prefix, sys.executable, str(FUSE_DAEMON), str(backing), str(point)]
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"mounted\n"
        self._daemons.append(daemon)
        return daemon
