"""The root of a suite that a package is built in: made with debootstrap, with what the build needs mounted in it.

Invariants
* A root is made once and kept; nothing of the build's result lies in it but what is mounted there.
* Whoever mounts runs in a mount namespace of its own: the mounts are seen by nobody else, and end with the build.
* Every command that fails ends the build with a `BuildError`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SYSTEM = "libsystemd0,python3,systemd,systemd-sysv"
"""What a box has, or gets with the package."""
TOOLS = "ca-certificates,gcc,libc6-dev,libsystemd-dev,pkg-config,python3-dev,python3-venv"
"""What is needed to build, besides; with gcc comes objdump."""


class BuildError(Exception):
    """The build can't go on; the text says why and what to do."""


def say(text: str) -> None:
    """One line for whoever builds."""
    sys.stderr.write(f"build-deb: {text}\n")


def run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run one of our own commands; what it prints is for whoever builds."""
    done = subprocess.run(command, check=False, env=environment, stdout=sys.stderr)  # noqa: S603  our own commands
    if done.returncode != 0:
        raise BuildError(f"this failed: {' '.join(command[:6])}")


def output(*command: str) -> str:
    """What a command prints; nothing where it fails without a word, or is not there."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  our own commands
    return done.stdout.strip() if done.returncode == 0 or done.stdout else ""


def again_in_a_namespace() -> int | None:
    """Run this very command once more where its mounts are its own; its exit code. None where that has been done."""
    if os.environ.get("BLURD_BUILD_NAMESPACE") == str(os.getppid()):
        return None
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        say("a root of the suite is made with debootstrap: run this as root, after: apt-get install debootstrap")
        say("(for another distribution's suite its keys too: debian-archive-keyring, or ubuntu-keyring)")
        return 1
    environment = {**os.environ, "BLURD_BUILD_NAMESPACE": str(os.getpid())}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  ourselves


class SuiteRoot:
    """The root of one suite, at `path`; `epoch` is the time that everything built in it bears."""

    def __init__(self, suite: str, path: Path, epoch: int) -> None:
        self.suite, self.path, self.epoch = suite, path, epoch
        self._mounted: dict[Path, str] = {}

    def make(self) -> None:
        """Make it, unless it is there and what it has to be."""
        mark = self.path.with_name("root.made")
        wanted = f"{self.suite} {SYSTEM},{TOOLS}\n"
        if mark.exists() and mark.read_text(encoding="ascii") == wanted:
            return
        say(f"making a root of {self.suite}")
        shutil.rmtree(self.path, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={SYSTEM},{TOOLS}", self.suite, str(self.path))
        mark.write_text(wanted, encoding="ascii")

    def mount(self, places: Mapping[Path, str]) -> None:
        """Show folders of this machine at places of the root; and kernel file systems, the network's names and keys."""
        for source in (Path("/proc"), Path("/dev")):
            self._bind(source, str(source), "rbind")
        for source in (Path("/etc/resolv.conf"), Path("/etc/ssl/certs")):
            if source.exists():
                self._bind(source, str(source), "bind")
        for source, place in places.items():
            self._bind(source, place, "bind")
            self._mounted[source] = place

    def _bind(self, source: Path, place: str, option: str) -> None:
        point = self.path / place.lstrip("/")
        if source.is_dir():
            point.mkdir(parents=True, exist_ok=True)
        elif not point.exists() and not point.is_symlink():
            point.touch()
        run("mount", f"--{option}", str(source), str(point.resolve()))

    def run(self, *command: str) -> None:
        """Run a command inside."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        environment["SOURCE_DATE_EPOCH"] = str(max(self.epoch, 315_532_800))  # wheels are zip files: not before 1980
        environment["PIP_DISABLE_PIP_VERSION_CHECK"] = environment["PIP_NO_CACHE_DIR"] = "1"
        environment["PIP_ROOT_USER_ACTION"] = "ignore"
        run("chroot", str(self.path), *command, environment=environment)

    def output(self, *command: str) -> str:
        """What a command inside prints; paths below what is mounted may be those of this machine."""
        return output("chroot", str(self.path), *map(self._as_inside, command))

    def _as_inside(self, part: str) -> str:
        for source, place in self._mounted.items():
            if part.startswith(f"{source}/"):
                return f"{place}/{Path(part).relative_to(source)}"
        return part
