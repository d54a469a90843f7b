"""A real smbd on loopback with the shares of packaging/samba, in a mount namespace that has its own users.

Nothing of it is the machine's: port, passwords, locks and logs are the test's, the users exist inside alone.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest

from mounts import MountSpace

SHARES = Path(__file__).parents[1] / "packaging" / "samba" / "blurd.conf"
PASSWORD = "nicht-geheim"  # noqa: S105  for this server alone
BLURD, ANNA, OTTO, GROUP = 61234, 61235, 61236, 61234
"""A colleague who is in the group, and one who is not."""
_USERS = f"""\
blurd:x:{BLURD}:{GROUP}:blurd:/nonexistent:/usr/sbin/nologin
anna:x:{ANNA}:{ANNA}:Anna:/nonexistent:/usr/sbin/nologin
otto:x:{OTTO}:{OTTO}:Otto:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = f"blurd:x:{GROUP}:anna\nanna:x:{ANNA}:\notto:x:{OTTO}:\n"


def need_samba() -> None:
    """Skip where Samba is not installed."""
    for program in ("smbd", "smbclient", "smbpasswd", "testparm"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"needs {program}: apt-get install samba smbclient")


class SambaServer:
    """smbd over two folders, for as long as a `with` block."""

    def __init__(self, space: MountSpace, root: Path, inbound: Path, outbound: Path) -> None:
        self.space, self.root = space, root
        for name in ("private", "lock", "state", "cache", "run", "rpc", "log"):
            (root / name).mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        shares = SHARES.read_text().replace("/srv/blurd/photos/inbound", str(inbound))
        shares = shares.replace("/srv/blurd/photos/outbound", str(outbound))
        self.config = root / "smb.conf"
        self.config.write_text(self._global() + shares)
        self._users()

    def _global(self) -> str:
        root = self.root
        return f"""\
[global]
    server role = standalone server
    interfaces = 127.0.0.1/8
    bind interfaces only = yes
    smb ports = {self.port}
    smb2 max write = 65536
    disable netbios = yes
    load printers = no
    disable spoolss = yes
    private dir = {root}/private
    lock directory = {root}/lock
    state directory = {root}/state
    cache directory = {root}/cache
    pid directory = {root}/run
    ncalrpc dir = {root}/rpc
    log file = {root}/log/%m
    log level = 0
"""

    def _users(self) -> None:
        for name, lines in (("passwd", _USERS), ("group", _GROUPS)):
            own = self.root / name
            own.write_text(Path(f"/etc/{name}").read_text() + lines)
            self.space("mount", "--bind", own, f"/etc/{name}")

    def __enter__(self) -> Self:
        for user in ("anna", "otto"):
            command = [*self.space.prefix, "smbpasswd", "-c", str(self.config), "-s", "-a", user]
            subprocess.run(command, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True)
        command = [
            *self.space.prefix,
            "setpriv",
            "--pdeathsig",
            "TERM",
            "smbd",
            "-F",
            "--no-process-group",
            "-s",
            str(self.config),
        ]
        log = (self.root / "smbd.log").open("wb")
        # It ends its whole process group when it ends.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        deadline_s = time.monotonic() + 30
        while self.ask("anna", "outbound", "ls").returncode != 0:
            assert self.process.poll() is None, "smbd did not start"
            assert time.monotonic() < deadline_s, self.ask("anna", "outbound", "ls").stdout
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def client(self, user: str, share: str, command: str) -> list[str]:
        """The command line of a client. `user` "" is a guest."""
        who = ["-U", f"{user}%{PASSWORD}"] if user else ["-N"]
        base = ["smbclient", f"//127.0.0.1/{share}", "-p", str(self.port), "-s", str(self.config), *who]
        return [*self.space.prefix, *base, "-c", command]

    def ask(self, user: str, share: str, command: str) -> "subprocess.CompletedProcess[str]":
        """Let a client do something, to its end."""
        return subprocess.run(
            self.client(user, share, command), capture_output=True, text=True, timeout=60, check=False
        )

    def put(self, name: str, content: bytes) -> None:
        """Copy a file in."""
        local = self.root / "local"
        local.write_bytes(content)
        folder, _, name = name.rpartition("/")
        done = self.ask("anna", "inbound", f'cd "/{folder}"; put {local} "{name}"')
        assert done.returncode == 0, done.stdout

    def begin(self, name: str) -> "subprocess.Popen[bytes]":
        """Begin to copy a file in: what is written to the process' input goes there at once."""
        command = self.client("anna", "inbound", f'iosize 16384; put - "{name}"')
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_as_blurd() -> tuple[str, ...]:
    """What the watcher's unit gives: blurd's user and group, CAP_LEASE, a closed umask."""
    identity = ("setpriv", f"--reuid={BLURD}", f"--regid={GROUP}", "--clear-groups")
    lease = ("--inh-caps=-all,+lease", "--ambient-caps=-all,+lease", "--bounding-set=-all,+lease")
    return (*identity, *lease, "--", "sh", "-c", 'umask 077; exec "$@"', "sh")


def own(path: Path, mode: int) -> None:
    """Give a folder to blurd."""
    os.chown(path, BLURD, GROUP)
    path.chmod(mode)
