"""`blurd setup-units`: drop-ins that systemd reads as they are meant, whatever a folder is called."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from blurd.errors import EquipmentError, Reason
from blurd.units import (
    ALERT_DROP_IN,
    ALERT_PATH_DROP_IN,
    TARGET_DROP_IN,
    WATCH_DROP_IN,
    WORK_DROP_IN,
    drop_ins,
    out_of_step,
    write_drop_ins,
)
from settings_for_units import ODD_PATHS, odd_settings, settings_of

UNITS = Path(__file__).parents[2] / "systemd"
MANAGER = Path("/usr/lib/systemd/systemd")
NOBODY = 65534
ROOT = Path("/")
HIDDEN = ("/tmp/a", "/var/tmp/a", "/dev/shm/a", "/run/blurd/a")  # noqa: S108


def watch_lines(*mount_points: str, **paths: str) -> list[str]:
    made = drop_ins(settings_of(paths), [ROOT, *map(Path, mount_points)])
    return made[WATCH_DROP_IN].splitlines()[2:]


@pytest.fixture(scope="module")
def read_by_systemd() -> dict[str, list[str]]:
    """What systemd's own manager understands of units and drop-ins: the lines of its dump, by unit."""
    if not MANAGER.exists():
        pytest.skip("needs systemd")
    with tempfile.TemporaryDirectory() as name:  # not pytest's: an unprivileged user must read it
        place = Path(name)
        for path in UNITS.iterdir():
            shutil.copy(path, place)
        (place / "blurd.target").write_text(
            (place / "blurd.target").read_text() + "[Unit]\nWants=blurd-alert.path blurd-alert.service\n"
        )  # so that the dump has them: nothing wants them before they are enabled
        write_drop_ins(odd_settings(), place / "root")
        shutil.copytree(place / "root/etc/systemd/system", place, dirs_exist_ok=True)
        for path in (place, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
        dump = subprocess.run(
            [*nobody, MANAGER, "--test", "--system", "--unit=blurd.target", "--no-pager"],
            env={**os.environ, "SYSTEMD_UNIT_PATH": name, "XDG_RUNTIME_DIR": f"{name}/none", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        ).stdout
    units: dict[str, list[str]] = {}
    for part in dump.split("\t-> Unit ")[1:]:
        title, _, rest = part.partition(":\n")
        units[title] = [line.strip("\t") for line in rest.splitlines()]
    if "blurd-watch.service" not in units:
        pytest.skip("this systemd does not dump units")
    return units


def test_systemd_reads_every_odd_path_as_it_is(read_by_systemd: dict[str, list[str]]) -> None:
    work = read_by_systemd["blurd-work@3.service"]
    for name, path in ODD_PATHS.items():
        assert f"BindPaths: -{path}/outbound/.blurd:/run/blurd/staging/{name}:norbind" in work
    watch = read_by_systemd["blurd-watch.service"]
    (writable,) = [line for line in watch if line.startswith("ReadWritePaths: ")]
    own = ["/data/cache", "/data/state 1"]
    folders = [
        f"{path}/{side}" for name, path in ODD_PATHS.items() if name != "home" for side in ("inbound", "outbound")
    ]
    assert writable == "ReadWritePaths: " + " ".join(f"-{path}" for path in sorted([*own, *folders]))
    assert "SupplementaryGroups: photo-desk" in watch


def test_a_home_is_empty_but_for_the_folders(read_by_systemd: dict[str, list[str]]) -> None:
    place = ODD_PATHS["home"]
    watch, work = (read_by_systemd[name] for name in ("blurd-watch.service", "blurd-work@1.service"))
    for folder in ("inbound", "outbound"):
        assert f"BindPaths: -{place}/{folder}:{place}/{folder}:rbind" in watch
        assert f"BindReadOnlyPaths: -{place}/{folder}:{place}/{folder}:rbind" in work


def test_the_target_wants_as_many_workers_as_the_settings(read_by_systemd: dict[str, list[str]]) -> None:
    wanted = {line.split()[1] for line in read_by_systemd["blurd.target"] if line.startswith("Wants: blurd-w")}
    assert wanted == {"blurd-watch.service", *(f"blurd-work@{number}.service" for number in (1, 2, 3))}


def test_a_worker_may_write_nothing_of_the_folders_but_staging(read_by_systemd: dict[str, list[str]]) -> None:
    work = read_by_systemd["blurd-work@1.service"]
    assert "ReadWritePaths: -/data/cache -/data/state 1" in work
    assert all(line.endswith(":norbind") and "/.blurd:" in line for line in work if line.startswith("BindPaths: "))


def test_no_folder_is_required(read_by_systemd: dict[str, list[str]]) -> None:
    """A missing share pauses its folder; it stops no unit, and so no other folder."""
    for name in ("blurd-watch.service", "blurd-work@1.service"):
        required = [
            line for line in read_by_systemd[name] if line.startswith(("RequiresMountsFor: /srv", "Requires: srv"))
        ]
        assert required == []
        for line in read_by_systemd[name]:
            if line.startswith("ReadWritePaths: "):
                assert all(part.startswith("-") for part in re.findall(r"(?: |^)(-?/(?:srv|data|home))", line))


def test_s25_the_writable_place_is_above_a_share_so_that_one_mounted_anew_is_seen() -> None:
    """A mount of the sandbox on or in a share would hide the share that is mounted there later."""
    assert watch_lines(a="/srv/a") == ['ReadWritePaths="-/srv/a/inbound"', 'ReadWritePaths="-/srv/a/outbound"']
    mounted = ("/srv/a/inbound", "/srv/a/outbound")
    assert watch_lines(*mounted, a="/srv/a") == ['ReadWritePaths="-/srv/a"']
    assert watch_lines("/mnt/nas", a="/mnt/nas/deep/down") == ['ReadWritePaths="-/mnt"']
    assert watch_lines("/data", a="/data/a")[1] == 'ReadWritePaths="-/data/a/outbound"'  # not the whole machine


def test_shares_of_the_fstab_count_before_they_are_mounted(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(
        "# one share\nnas:/x /srv/My\\040Share/a nfs nofail 0 0\nnone none swap sw 0 0\n"
    )
    write_drop_ins(settings_of({"a": "/srv/My Share/a"}), tmp_path)
    text = (tmp_path / "etc/systemd/system" / WATCH_DROP_IN).read_text()
    assert 'ReadWritePaths="-/srv/My Share"\n' in text


@pytest.mark.parametrize("path", [*HIDDEN, "/srv/a\nExecStart=/bin/sh"])
def test_a_folder_that_a_service_cant_have_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(EquipmentError) as caught:
        write_drop_ins(settings_of({"a": path}), tmp_path)
    assert caught.value.reason is Reason.UNITS_UNUSABLE
    assert "Folder a" in str(caught.value)
    assert not (tmp_path / "etc").exists()


def test_a_link_to_a_hidden_place_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    with pytest.raises(EquipmentError):
        drop_ins(settings_of({"a": str(tmp_path / "link")}), [ROOT])


def test_check_tells_what_is_out_of_step_and_setting_up_mends_it(tmp_path: Path) -> None:
    before = settings_of({"a": "/srv/a"})
    drop_in_paths = (WATCH_DROP_IN, WORK_DROP_IN, TARGET_DROP_IN, ALERT_DROP_IN, ALERT_PATH_DROP_IN)
    places = [tmp_path / "etc/systemd/system" / path for path in drop_in_paths]
    assert list(out_of_step(before, tmp_path)) == places
    assert list(write_drop_ins(before, tmp_path)) == places
    assert out_of_step(before, tmp_path) == ()
    assert write_drop_ins(before, tmp_path) == ()
    after = settings_of({"a": "/srv/a", "b": "/srv/b"})
    assert list(out_of_step(after, tmp_path)) == [*places[:2], places[3]]
    write_drop_ins(after, tmp_path)
    assert out_of_step(after, tmp_path) == ()
    places[1].write_text(places[1].read_text() + "ReadWritePaths=/\n")
    assert list(out_of_step(after, tmp_path)) == [places[1]]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in places)


def test_the_watcher_may_write_where_metrics_are_wanted_and_a_worker_may_not() -> None:
    made = drop_ins(settings_of({"a": "/srv/a"}, metrics={"directory": "/var/lib/prometheus/node-exporter"}), [ROOT])
    assert 'ReadWritePaths="-/var/lib/prometheus/node-exporter"' in made[WATCH_DROP_IN].splitlines()
    assert "prometheus" not in made[WORK_DROP_IN]


def test_who_delivers_alerts_sees_no_folder(read_by_systemd: dict[str, list[str]]) -> None:
    """As systemd reads it: everything of blurd is hidden but the spool, in a state directory of an odd name too."""
    lines = read_by_systemd["blurd-alert.service"]
    (hidden,) = [line for line in lines if line.startswith("InaccessiblePaths: ")]
    for path in ODD_PATHS.values():
        assert f"-{path}/inbound" in hidden
        assert f"-{path}/outbound" in hidden
    assert "BindPaths: -/data/state 1/alerts:/data/state 1/alerts:rbind" in lines
    assert "TemporaryFileSystem: /data/state 1:mode=0755" in lines
    assert any("/data/state 1/alerts/*.json" in line for line in read_by_systemd["blurd-alert.path"])


def test_the_command_writes_checks_and_explains(tmp_path: Path) -> None:
    config = tmp_path / "etc/blurd/blurd.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[folder]]\nname = "a"\ninbound = "/srv/a/in"\noutbound = "/srv/a/out"\n')

    def blurd(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "blurd", "setup-units", "--root", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert blurd("--check").returncode == 1
    written = blurd()
    assert written.returncode == 0
    assert "daemon-reload" in written.stdout
    assert blurd("--check").returncode == 0
    config.write_text(config.read_text() + '[[folder]]\nname = "b"\ninbound = "/tmp/b"\noutbound = "/srv/b/out"\n')
    refused = blurd()
    assert refused.returncode == 28
    assert "Folder b: /tmp/b lies in /tmp, which a service can't see" in refused.stderr


def test_without_the_right_to_write_it_says_so() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    code = (
        "import sys; from pathlib import Path; from blurd.units import write_drop_ins;"
        " from settings_for_units import settings_of; write_drop_ins(settings_of({'a': '/srv/a'}), Path(sys.argv[1]))"
    )
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        lower = (
            "import os, sys; import blurd.units, settings_for_units; os.setgroups([]); os.setgid(65534);"
            f" os.setuid(65534); exec({code!r})"
        )
        done = subprocess.run(
            [sys.executable, "-c", lower, name],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
    assert "EquipmentError" in done.stderr
    assert "Run it as root." in done.stderr
