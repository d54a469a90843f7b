"""`blurd doctor`: each thing is broken for real, found, and told with what mends it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import let_others_reach, settings_text
from blurd.adapters.folders import OutboundFolder
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.units import _parse
from blurd.doctor import examine as round_
from blurd.doctor.finding import Health
from mounts import MountSpace, need_root
from samba import need_samba

PLAIN_USER = 61237


class Patient:
    """Settings with one pair of folders, as blurd leaves them after it has run."""

    def __init__(self, root: Path, **folder: object) -> None:
        self.root, self.config = root, root / "blurd.toml"
        for name in ("in", "out", "state", "cache"):
            (root / name).mkdir()
        self.config.write_text(settings_text(root, **folder))
        OutboundFolder(root / "out").close()
        SqliteJobStore(root / "state" / "queue.sqlite").close()
        self.prefix: tuple[str, ...] = ()

    def doctor(self, *arguments: str, code: int | None = None) -> "subprocess.CompletedProcess[str]":
        command = [*self.prefix, sys.executable, "-m", "blurd", "--config", str(self.config), "doctor", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr + done.stdout
        assert code is None or done.returncode == code, done.stdout
        return done

    def leave_out_models(self) -> None:
        """For rounds that are about something else: a missing model is told at once, a test of one takes a while."""
        text = self.config.read_text().replace("[models]", '[models]\ndirectory = "/nonexistent"')
        self.config.write_text(text)

    def folder(self, health: str | None = None) -> list[dict[str, Any]]:
        """What the doctor finds about the folders, of one kind or all."""
        findings = json.loads(self.doctor("--json", "--part", "folder:photos").stdout)["findings"]
        return [item for item in findings if health in (None, item["health"])]

    def wrong(self) -> dict[str, Any]:
        """The one thing that is wrong with the folders."""
        (found,) = self.folder("wrong")
        assert found["mend"]
        return found


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where models are compiled to, once."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def space() -> Iterator[MountSpace]:
    need_root()
    with MountSpace() as made:
        yield made


def test_a_healthy_blurd_is_told_to_be_so_and_left_as_it_was(patient: Patient, compiled: Path) -> None:
    """The whole round, models included; nothing of the doctor's remains."""
    patient.config.write_text(patient.config.read_text().replace(str(patient.root / "cache"), str(compiled)))
    before = sorted(patient.root.rglob("*"))
    text = " ".join(patient.doctor(code=0).stdout.split())
    for part in ("1 folders, no errors", "A new file is noticed at once", "takes copies, published by hard link"):
        assert part in text
    for part in (
        "still being written is seen",
        "The queue can be read",
        "thorough detector: face, plate",
        "nothing is wrong",
    ):
        assert part in text
    made = {path for path in sorted(patient.root.rglob("*")) if path not in before}
    assert {path.parent.name for path in made} <= {"state"}  # SQLite's own files


def test_settings_that_are_wrong_are_all_told(patient: Patient) -> None:
    patient.config.write_text('[state]\ndirectory = 7\n[defaults]\nstyle = "none"\n')
    findings = json.loads(patient.doctor("--json", code=1).stdout)
    assert findings["healthy"] is False
    told = [item["text"] for item in findings["findings"]]
    assert any(text.startswith("state.directory") for text in told)
    assert any(text.startswith("defaults.style") for text in told)
    assert all("blurd check-config" in item["mend"] for item in findings["findings"])


@pytest.mark.parametrize("side", ["in", "out"])
def test_a_missing_folder(patient: Patient, side: str) -> None:
    shutil.rmtree(patient.root / side)
    found = patient.wrong()
    assert "is not there" in found["text"]
    assert f"install -d -m 2770 -g GROUP {patient.root / side}" in found["mend"]
    assert not (patient.root / side).exists()


def test_s26_the_bare_mount_point_of_a_share(space: MountSpace, patient: Patient) -> None:
    """Known with the share mounted, looked at without it."""
    from blurd.adapters.known_folders import KnownFolders
    from blurd.config import load_settings

    (folder,) = load_settings(patient.config).folder
    guard = KnownFolders(patient.root / "state", folder.key, folder.inbound, folder.outbound, adopts=True)
    guard.open_inbound().close()
    guard.open_outbound().close()
    assert patient.folder("wrong") == []
    patient.prefix = space.prefix
    space.tmpfs(patient.root / "out")
    space("mkdir", patient.root / "out" / ".blurd")
    found = patient.wrong()
    assert "bare mount point" in found["text"]
    assert "blurd accept-folder" in found["mend"]


def test_s29_a_read_only_outbound(space: MountSpace, patient: Patient) -> None:
    patient.prefix = space.prefix
    space("mount", "--bind", "-o", "ro", patient.root / "out", patient.root / "out")
    found = patient.wrong()
    assert "mounted read-only" in found["text"]
    assert "remount,rw" in found["mend"]


def test_s28_a_full_outbound(space: MountSpace, patient: Patient) -> None:
    patient.prefix = space.prefix
    space.tmpfs(patient.root / "out", "size=16m")
    space("mkdir", patient.root / "out" / ".blurd")
    found = patient.wrong()
    assert "pauses" in found["text"]
    assert "100 MiB are the reserve" in found["text"]


def test_folders_that_the_service_may_not_enter(space: MountSpace) -> None:
    """Looked at as root, who may everything: the doctor sees with the eyes of the state directory's owner."""
    root = Path(tempfile.mkdtemp(prefix="blurd-", dir="/tmp"))  # a plain user can't enter pytest's folders
    try:
        root.chmod(0o755)
        patient = Patient(root)
        patient.leave_out_models()
        patient.prefix = space.prefix
        space.open_to_all(Path(sys.base_prefix))
        for path in (*root.rglob("*"), root / "state"):
            os.chown(path, PLAIN_USER, PLAIN_USER)
        own = subprocess.run(["grep", "-v", "^doctored:", "/etc/passwd"], capture_output=True, text=True, check=True)
        (root / "passwd").write_text(f"{own.stdout}doctored:x:{PLAIN_USER}:{PLAIN_USER}::/:/bin/false\n")
        space("mount", "--bind", root / "passwd", "/etc/passwd")
        for name in ("in", "out"):
            os.chown(root / name, 0, 0)
            (root / name).chmod(0o755)
        findings = json.loads(patient.doctor("--json", code=1).stdout)["findings"]
        wrong = [item for item in findings if item["health"] == "wrong" and item["subject"] != "models"]
        assert [item["subject"] for item in wrong] == ["folder photos, outbound"]
        assert f"can't be written by user {PLAIN_USER}" in wrong[0]["text"]
        assert "chgrp" in wrong[0]["mend"]
        assert any("may be written here" in item["text"] for item in findings)  # inbound: read-only is well
        (root / "in").chmod(0o700)
        findings = json.loads(patient.doctor("--json", code=1).stdout)["findings"]
        assert any(f"can't be read by user {PLAIN_USER}" in item["text"] for item in findings)
    finally:
        shutil.rmtree(root)


def test_s15_a_share_without_notifications_is_noted(space: MountSpace, patient: Patient) -> None:
    patient.prefix = space.prefix
    (patient.root / "there").mkdir()
    space.fuse(patient.root / "there", patient.root / "in")
    (note,) = [item for item in patient.folder("note") if "does not tell" in item["text"]]
    assert "scan every 2 s" in note["text"]
    assert "watch.rescan_s" in note["mend"]
    assert list((patient.root / "there").iterdir()) == []


def test_s27_a_share_that_hangs_holds_up_nothing(
    space: MountSpace, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (patient.root / "there").mkdir()
    daemon = space.fuse(patient.root / "there", patient.root / "in")
    text = patient.config.read_text().replace(f'"{patient.root}/in"', f'"{space.at(patient.root / "in")}"')
    patient.config.write_text(text)
    daemon.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(round_, "FOLDER_PATIENCE_S", 2.0)
    try:
        (found,) = round_._ask_child(patient.config, "folder:photos", None)
    finally:
        daemon.send_signal(signal.SIGCONT)
    assert found.health is Health.WRONG
    assert "has not answered for 2 s" in found.text


@pytest.mark.parametrize(("damage", "text"), [("missing", "is missing"), ("wrong", "not the file that")])
def test_s44_a_model_that_is_not_the_right_one(patient: Patient, damage: str, text: str) -> None:
    models = patient.root / "models"
    ignored = shutil.ignore_patterns("training")
    shutil.copytree(Path(__file__).parents[2] / "models", models, ignore=ignored)
    (binary,) = (models / "face").glob("*.bin")
    if damage == "missing":
        binary.unlink()
    else:
        binary.write_bytes(binary.read_bytes()[:-1] + b"x")
    patient.config.write_text(patient.config.read_text().replace("[models]", f'[models]\ndirectory = "{models}"'))
    (found,) = json.loads(patient.doctor("--json", "--part", "models", code=1).stdout)["findings"]
    assert text in found["text"]
    assert "--reinstall" in found["mend"]


def test_s43_a_gpu_that_is_not_there_is_noted(patient: Patient, compiled: Path) -> None:
    if list(Path("/dev").glob("dri/render*")):
        pytest.skip("needs a machine without a GPU")
    text = patient.config.read_text().replace(str(patient.root / "cache"), str(compiled))
    patient.config.write_text('[detection]\ndevice = "GPU"\n' + text)
    findings = json.loads(patient.doctor("--json", "--part", "models", code=0).stdout)["findings"]
    assert any("the CPU does the work" in item["text"] and item["health"] == "note" for item in findings)


def test_s30_a_damaged_queue_and_a_folder_that_is_paused(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_, "_ask_child", lambda *_: [])
    queue = patient.root / "state" / "queue.sqlite"
    for aside in queue.parent.glob("queue.sqlite-*"):
        aside.unlink()
    queue.write_bytes(b"no database" * 1000)
    found = [item for item in round_.examine(patient.config) if item.subject == "queue"]
    assert [item.health for item in found] == [Health.WRONG]
    assert found[0].mend


def test_samba_that_shows_too_much(space: MountSpace, patient: Patient) -> None:
    """A real testparm over a real configuration."""
    need_samba()
    smb = patient.root / "smb.conf"
    out = patient.root / "out"
    smb.write_text(f"[global]\n[copies]\npath = {out}\nguest ok = yes\n[fine]\npath = {out}\nveto files = /.blurd/\n")
    space("mount", "--bind", smb, "/etc/samba/smb.conf")
    patient.prefix = space.prefix
    patient.leave_out_models()
    findings = json.loads(patient.doctor("--json", code=1).stdout)["findings"]
    told = [(item["subject"], item["mend"]) for item in findings if item["subject"].startswith("Samba")]
    assert [subject for subject, _ in told] == ["Samba, share copies"] * 2
    assert any("veto files = /.blurd/" in mend for _, mend in told)
    assert any("guest ok = no" in mend for _, mend in told)


def test_what_systemctl_prints_is_understood() -> None:
    text = (
        "Id=blurd-watch.service\nLoadState=loaded\nActiveState=failed\nUnitFileState=disabled\nNRestarts=12\n"
        "NeedDaemonReload=yes\n\nId=blurd.target\nLoadState=not-found\nActiveState=inactive\nNeedDaemonReload=no\n"
    )
    watch, target = _parse(text)
    assert (watch.active, watch.enabled, watch.restarts, watch.needs_reload) == ("failed", "disabled", 12, True)
    assert (target.load, target.restarts, target.needs_reload) == ("not-found", 0, False)


def told(patient: Patient) -> dict[str, tuple[str, str]]:
    """Health and text of what is found about metrics and alerts."""
    findings = json.loads(patient.doctor("--json", "--part", "telling").stdout)["findings"]
    assert all(item["mend"] for item in findings if item["health"] != "ok")
    return {item["subject"]: (item["health"], item["text"]) for item in findings}


def test_metrics_and_alerts_that_reach_nobody_are_found(patient: Patient) -> None:
    place, spool = patient.root / "metrics", patient.root / "state/alerts"
    with patient.config.open("a") as config:
        config.write(f'\n[metrics]\ndirectory = "{place}"\nevery_s = 1.0\n[alerts]\nenabled = true\n')
    assert told(patient)["metrics"] == ("wrong", f"{place} is not there.")
    place.mkdir()
    assert told(patient)["metrics"][0] == "note"
    (place / "blurd.prom").write_text("")
    spool.mkdir()
    (spool / "1-backlog.json").write_text("{}")
    assert [health for health, _ in told(patient).values()] == ["ok", "ok"]
    for path in (place / "blurd.prom", spool / "1-backlog.json"):
        os.utime(path, (0, 0))
    assert [health for health, _ in told(patient).values()] == ["wrong", "wrong"]
    patient.leave_out_models()
    assert "The figures are" in " ".join(patient.doctor(code=1).stdout.split())


def test_metrics_that_blurd_may_not_write_are_found(patient: Patient) -> None:
    need_root()
    place = patient.root / "metrics"
    place.mkdir(mode=0o755)
    with patient.config.open("a") as config:
        config.write(f'\n[metrics]\ndirectory = "{place}"\n')
    let_others_reach(patient.root)
    patient.config.chmod(0o644)
    patient.prefix = ("setpriv", f"--reuid={PLAIN_USER}", f"--regid={PLAIN_USER}", "--clear-groups")
    assert told(patient)["metrics"] == ("wrong", f"blurd may not write in {place}.")
