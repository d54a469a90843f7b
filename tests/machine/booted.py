"""A booted Debian: a root made with debootstrap, the package installed in it, systemd as its first process.

The machine is a container of systemd-nspawn: its own systemd, users, journal, boot id, network (none), on this kernel.
What it serves, /srv/blurd, is a folder of this machine, so that tests drop files in and look at copies from outside.

Invariants
* The base root is made once for each suite and never changed; each run works on a copy.
* Nothing runs when the object is closed; whoever calls does so in a mount namespace of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "machine"
PACKAGES = "dbus,libgcc-s1,libstdc++6,libsystemd0,python3,systemd,systemd-sysv,zlib1g"
"""What the package depends on; the box has no network to fetch it from."""
BOOT_PATIENCE_S = 180.0
PATIENCE_S = 300.0


def need_machine() -> None:
    """Skip where no machine can be booted."""
    if os.geteuid() != 0:
        pytest.skip("needs root: boots a machine")
    for program, package in (("systemd-nspawn", "systemd-container"), ("debootstrap", "debootstrap")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install {package}")


def build_package(suite: str, version: str | None = None) -> Path:
    """The package for a suite, as packaging/build-deb makes it."""
    command = [
        str(ROOT / "packaging" / "build-deb"),
        "--suite",
        suite,
        "--quick",
        "--output",
        str(WORK / suite / "packages"),
    ]
    done = subprocess.run(
        [*command, *(("--version", version) if version else ())], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.strip())


class Machine:
    """One machine, from its installation to its end."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.folder = WORK / suite
        self.root = self.folder / "root"
        self.data = self.folder / "data"
        self.inbound, self.outbound = self.data / "photos" / "inbound", self.data / "photos" / "outbound"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._binds = [f"--bind={self.data}:/srv/blurd", f"--bind-ro={self.folder / 'packages'}:/mnt"]

    def __enter__(self) -> Self:
        self._make_base()
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        (self.folder / "packages").mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.folder / "base"), str(self.root)], check=True)
        (self.root / "var/log/journal").mkdir(exist_ok=True)  # the journal outlives a reboot
        (self.root / "etc/hostname").write_text("box\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()

    def _make_base(self) -> None:
        mark, base = self.folder / "base.made", self.folder / "base"
        if mark.exists() and mark.read_text() == PACKAGES:
            return
        shutil.rmtree(base, ignore_errors=True)
        base.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", self.suite, str(base)], check=True)
        mark.write_text(PACKAGES)

    # -- its life -----------------------------------------------------------------------------------------------------

    def boot(self) -> str:
        """Start it and wait until its systemd says that it has; what it says."""
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ]
        # Recent systemd starts on this machine's older cgroup hierarchy only if told so; elsewhere this means nothing.
        command += ["--setenv=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "--console=pipe", f"--directory={self.root}"]
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [*command, *self._binds, "--boot"], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        deadline_s = time.monotonic() + BOOT_PATIENCE_S
        while True:
            self._leader = self._find_leader()
            state = self.run("systemctl", "is-system-running").stdout.strip() if self._leader else ""
            if state in ("running", "degraded"):
                # A container has a boot id of its own, laid over the kernel's; in units, which have /proc mounted anew,
                # the kernel's shows. On a real machine there is one.
                self.run("umount", "/proc/sys/kernel/random/boot_id")
                return state
            assert self._process.poll() is None, "the machine did not boot; see build/machine/*/console.log"
            assert time.monotonic() < deadline_s, f"the machine did not boot in time: {state}"
            time.sleep(0.5)

    def _find_leader(self) -> int:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return 0

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as root."""
        inside = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd=/",
        ]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        return subprocess.run(
            [*inside, *command], capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment
        )

    def do(self, *command: str) -> str:
        """Run a command inside that must succeed; what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def signal(self, name: str, process: int) -> None:
        """Send a signal to a process, by its number inside."""
        self.do("sh", "-c", f"kill -{name} {process}")

    def cut_power(self) -> None:
        """Everything inside is gone at once."""
        if self._process is None:
            return
        if self._leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)  # the first of a pid namespace: all others go with it
        else:
            self._process.kill()
        self._process.wait(60)
        self._process, self._leader = None, 0

    def shut_down(self) -> float:
        """Power off as an operator does; the seconds that it took."""
        assert self._process is not None
        began_s = time.monotonic()
        self.run("systemctl", "poweroff")
        self._process.wait(PATIENCE_S)
        self._process, self._leader = None, 0
        return time.monotonic() - began_s

    # -- what it does -------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if result := condition():
                return result
            time.sleep(0.2)
        raise AssertionError(f"{what}\n{self.run('blurd', 'status').stdout}\n{self._tail()}")

    def _tail(self) -> str:
        return self.run("journalctl", "--no-pager", "-n", "60", "-o", "short-monotonic").stdout

    def drop(self, name: str, content: bytes) -> Path:
        """Write beside the folder, then move in: complete at once."""
        target, partial = self.inbound / name, self.data / "dropping"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.chmod(0o644)
        partial.rename(target)
        return target

    def copy(self, name: str) -> Path:
        path = self.outbound / name
        self.wait(path.exists, f"a copy of {name}")
        return path

    def overview(self) -> dict[str, Any]:
        done = self.run("blurd", "status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return found

    def status(self) -> dict[str, Any]:
        folder: dict[str, Any] = self.overview().get("folders", {}).get("photos", {})
        return folder

    def show(self, unit: str, key: str) -> str:
        """One property of a unit."""
        return self.do("systemctl", "show", "--value", f"--property={key}", unit)

    def worker(self) -> int:
        """The process of the first worker, by its number inside."""
        return int(self.show("blurd-work@1.service", "MainPID"))

    def processes(self, unit: str) -> list[str]:
        """The numbers of all processes of a unit."""
        wanted = self.show(unit, "ControlGroup")
        found = self.do("sh", "-c", f"grep -ls '{wanted}$' /proc/[0-9]*/cgroup | cut -d/ -f3")
        return found.split()

    def progress(self) -> float:
        """How far the running job is; 0 where none is."""
        running = self.overview().get("running") or [{}]
        return float(running[0].get("progress", 0.0))

    def journal(self) -> Iterator[Mapping[str, Any]]:
        """Every entry of every boot."""
        for line in self.do("journalctl", "--no-pager", "--output=json", "--all", "--merge").splitlines():
            yield json.loads(line)

    def events(self, name: str) -> list[Mapping[str, Any]]:
        found = self.run("journalctl", "--no-pager", "--output=json", "--all", f"BLURD_EVENT={name}").stdout
        return [json.loads(line) for line in found.splitlines()]
