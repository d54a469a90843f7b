"""The units, as systemd itself reads them: valid, locked down, and in step with the code."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from blurd.config import DEFAULT_PATH
from blurd.errors import Reason
from blurd.events import EVENTS
from blurd.exit_codes import EXIT_CODES, FATAL_EXIT_CODES
from blurd.units import write_drop_ins
from settings_for_units import odd_settings

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ("blurd-watch.service", "blurd-work@.service")
MOST_EXPOSED = 10
"""Tenths of a point: 1.0 at most."""
RELAXING = (
    "AmbientCapabilities=CAP_LEASE",
    "ProtectHome=tmpfs",
    "RestrictAddressFamilies=AF_UNIX",
    "ProtectProc=default",
    "ProcSubset=all",
    "RestrictSUIDSGID=no",
    "MemoryDenyWriteExecute=no",
    "SystemCallFilter=fchown",
    "PrivateDevices=no",
    "DeviceAllow=/dev/dri/renderD128 rw",
    "SupplementaryGroups=render",
    "RestrictSUIDSGID=no",
)
"""Lines that leave something open; above each stands why."""
STRICT = (
    "PrivateNetwork=yes",
    "IPAddressDeny=any",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "PrivateDevices=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "KeyringMode=private",
    "RemoveIPC=yes",
    "LimitCORE=0",
    "UMask=0077",
    "Restart=always",
    "StartLimitIntervalSec=0",
    "Type=notify",
)


def need(*command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    help_text = subprocess.run([command[0], "--help"], capture_output=True, text=True, check=False).stdout
    for option in command[1:]:
        if option not in help_text:
            pytest.skip(f"this {command[0]} lacks {option}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with the units, the drop-ins for odd folders, and the program, as a package leaves it."""
    made = tmp_path_factory.mktemp("root")
    units = made / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".target", ".slice", ".path"):
            shutil.copy(path, units)
    for name in (
        "sysinit.target",
        "basic.target",
        "shutdown.target",
        "multi-user.target",
        "local-fs.target",
        "paths.target",
        "network-online.target",
    ):
        (units / name).write_text("[Unit]\nDescription=of the system\n")
    program = made / "usr/bin/blurd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    shutil.copy(program, made / "usr/bin/sh")
    (made / "bin").symlink_to("usr/bin")
    write_drop_ins(odd_settings(), made)
    return made


@pytest.mark.parametrize("service", SERVICES)
def test_the_sandbox_leaves_little_open(service: str, root: Path) -> None:
    need("systemd-analyze", "--offline")
    result = run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNITS / service)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert found, result.stderr
    assert float(found[1]) <= MOST_EXPOSED / 10
    assert result.returncode == 0
    with_folders = run("systemd-analyze", "security", "--offline=true", "--root", root, "--threshold=10", service)
    assert with_folders.returncode == 0, with_folders.stdout[-300:] + with_folders.stderr


def test_the_graphics_unit_opens_one_device(root: Path, tmp_path: Path) -> None:
    need("systemd-analyze", "--offline")
    shutil.copytree(root, tmp_path / "root", dirs_exist_ok=True)
    target = tmp_path / "root/etc/systemd/system/blurd-work@.service.d"
    shutil.copy(UNITS / "igpu.conf", target)
    result = run(
        "systemd-analyze", "security", "--offline=true", "--root", tmp_path / "root", "--threshold=10", SERVICES[1]
    )
    assert result.returncode == 0, result.stdout[-300:]
    assert "DeviceAllow=" in result.stdout


@pytest.mark.parametrize(
    "unit", [*SERVICES, "blurd-alert.service", "blurd-alert.path", "blurd.target", "system-blurdwork.slice"]
)
def test_systemd_finds_nothing_wrong(unit: str, root: Path) -> None:
    """No unknown directive, no value that it ignores, no path that it can't read; in the drop-ins neither."""
    need("systemd-analyze", "--root")
    name = unit.replace("@.", "@1.")
    result = run("systemd-analyze", "verify", "--man=no", "--root", root, name)
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if "blurd" in line]
    assert complaints == []


def test_a_misspelt_directive_would_be_found(root: Path, tmp_path: Path) -> None:
    need("systemd-analyze", "--root")
    shutil.copytree(root, tmp_path / "root", dirs_exist_ok=True)
    unit = tmp_path / "root/usr/lib/systemd/system/blurd-watch.service"
    unit.write_text(unit.read_text().replace("PrivateTmp=", "PrivateTemp="))
    result = run("systemd-analyze", "verify", "--man=no", "--root", tmp_path / "root", "blurd-watch.service")
    assert "PrivateTemp" in result.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_what_must_be_strict_is(service: str) -> None:
    lines = (UNITS / service).read_text(encoding="utf-8").splitlines()
    assert [line for line in STRICT if line not in lines] == []


def test_capabilities_are_one_and_none() -> None:
    watch, work = ((UNITS / service).read_text(encoding="utf-8") for service in SERVICES)
    assert "\nCapabilityBoundingSet=CAP_LEASE\n" in watch
    assert "PrivateUsers=yes" not in watch  # a lease in a user namespace would not count
    assert "\nCapabilityBoundingSet=\n" in work
    assert "\nPrivateUsers=yes\n" in work
    assert "MemoryDenyWriteExecute=yes" in watch


def test_names_can_be_opened_beneath_a_folder() -> None:
    """`RestrictSUIDSGID=yes` answers every `openat2(2)`, by which all of inbound is opened, with ENOSYS."""
    for service in SERVICES:
        assert "\nRestrictSUIDSGID=no\n" in (UNITS / service).read_text(encoding="utf-8")


def test_each_line_that_relaxes_says_why() -> None:
    for path in (*(UNITS / service for service in SERVICES), UNITS / "igpu.conf"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if line in RELAXING:
                assert lines[number - 1].startswith("#"), f"{path.name}: {line}"


def test_starting_again_is_given_up_only_where_it_cant_help() -> None:
    """Each listed exit code ends a process for good; a disk, a lock or a device may come back by itself."""
    lasting = {Reason.SETTINGS_INVALID, Reason.SCHEMA_NEWER}
    of_models = {Reason.MODEL_MISSING, Reason.MODEL_HASH, Reason.MODEL_INVALID}
    for service, reasons in zip(SERVICES, (lasting, lasting | of_models), strict=True):
        text = (UNITS / service).read_text(encoding="utf-8")
        (line,) = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
        listed = set(map(int, line.split()))
        assert listed == {EXIT_CODES[reason] for reason in reasons}
        assert listed <= FATAL_EXIT_CODES


def test_the_units_read_the_settings_that_the_command_reads() -> None:
    for service in SERVICES:
        text = (UNITS / service).read_text(encoding="utf-8")
        assert "--config" not in text
    assert str(DEFAULT_PATH) == "/etc/blurd/blurd.toml"


def _catalog() -> dict[str, str]:
    """The entries by message id."""
    text = (UNITS / "blurd.catalog").read_text(encoding="utf-8")
    parts = re.split(r"^-- ([0-9a-f]{32})$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_catalog_explains_every_event_and_nothing_else() -> None:
    entries = _catalog()
    assert set(entries) == {event.message_id() for event in EVENTS}
    for event in EVENTS:
        header, _, body = entries[event.message_id()].strip().partition("\n\n")
        assert header.startswith("Subject: ")
        assert "Defined-By: blurd" in header
        text = re.sub(r"\n# \w+\Z", "", body.strip())
        assert len(text.split("\n\n")) == 2, f"{event.name}: what happened, and what to do"


def test_the_catalog_names_fields_that_its_events_have() -> None:
    entries = _catalog()
    for event in EVENTS:
        known = {f"BLURD_{name.upper()}" for name in event.__dataclass_fields__}
        assert set(re.findall(r"@(\w+)@", entries[event.message_id()])) <= known, event.name


def test_the_journal_takes_the_catalog(tmp_path: Path) -> None:
    need("journalctl", "--update-catalog")
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(UNITS / "blurd.catalog", place)
    made = run("journalctl", f"--root={tmp_path}", "--update-catalog")
    assert (made.returncode, made.stderr) == (0, "")
    listed = run("journalctl", f"--root={tmp_path}", "--list-catalog").stdout
    assert {line.split()[0] for line in listed.splitlines()} == {event.message_id() for event in EVENTS}


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    need("systemd-sysusers", "--root")
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "blurd.sysusers")
    assert made.returncode == 0, made.stderr
    assert ":/var/lib/blurd:" in (tmp_path / "etc/passwd").read_text()
    if shutil.which("systemd-tmpfiles") and tmp_path.owner() == "root":
        made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", UNITS / "blurd.tmpfiles")
        assert made.returncode == 0, made.stderr
        for name in ("inbound", "outbound"):
            assert (tmp_path / "srv/blurd/photos" / name).stat().st_mode & 0o7777 == 0o2770
