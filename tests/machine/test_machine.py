"""A box from its installation to its end: the package, systemd and its sandbox, with everything that can happen to it.

Run by `packaging/test --system`. The tests are one story and run in their order; each leaves the machine serving.
"""

import io
import itertools
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from blurd.events import EVENTS
from clips import Look, render
from machine.booted import Machine, build_package, need_machine
from media import astronaut, rough
from videos import Form, write_clip

pytestmark = [pytest.mark.machine, pytest.mark.timeout(0)]

TELLING = "B-AB 1234 Erika Mustermann"
STREET = Look(faces=1, plates=0, sizes_px=(60.0, 80.0), speed=0.1, shake_px=1.0, noise=1.0, post=False)
UNITS = ("blurd-watch.service", "blurd-work@1.service")


@pytest.fixture(scope="module")
def box(suite: str) -> Iterator[Machine]:
    need_machine()
    with Machine(suite) as made:
        state = made.boot()
        assert state in ("running", "degraded")
        yield made


@pytest.fixture(scope="session")
def suite() -> str:
    return os.environ.get("BLURD_SUITE", "bookworm")


def portrait() -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGB", (700, 600), (90, 110, 130))
    picture.paste(Image.fromarray(astronaut()), (90, 40))
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()


def street(frames: int, ways: int = 1) -> bytes:
    """A face that moves through the picture, and back, as many ways as are wanted."""
    pictures = [picture for picture, _ in render(3, 320, 240, frames, look=STREET)]
    shown = itertools.chain.from_iterable(pictures[:: -1 if way % 2 else 1] for way in range(ways))
    file = io.BytesIO()
    write_clip(file, shown, Form())
    return file.getvalue()


@pytest.fixture(scope="module")
def long_video() -> bytes:
    """Half a minute's work: long enough that much can happen in its middle, on a busy machine too."""
    return street(200, ways=7)


def in_mid_job(box: Machine) -> None:
    box.wait(lambda: 0.02 < box.progress() < 0.7, "a job in its middle")


def kill_the_worker(box: Machine) -> None:
    box.wait(lambda: box.worker() > 0, "a worker")
    killed = box.worker()
    box.run("sh", "-c", f"kill -KILL {killed}")  # it may be on its way out already
    box.wait(lambda: box.worker() != killed, "its end")


def test_the_package_is_installed_and_blurd_runs(box: Machine) -> None:
    """One package, no question, no network: user, folders, units, models, and both kinds of process ready."""
    package = build_package(box.suite)
    said = box.run("dpkg", "--install", f"/mnt/{package.name}")
    assert said.returncode == 0, said.stdout + said.stderr
    box.wait(lambda: all(box.show(unit, "ActiveState") == "active" for unit in UNITS), "units that are ready")
    assert box.show("blurd.target", "UnitFileState") == "enabled"
    assert "no errors" in box.do("blurd", "check-config")
    assert box.do("blurd", "setup-units", "--check").endswith("in step")
    for unit in UNITS:
        assert box.show(unit, "User") == "blurd"
        assert "folders" in box.show(unit, "StatusText") or "job" in box.show(unit, "StatusText")
    inbound = box.inbound.stat()
    assert inbound.st_mode & 0o7777 == 0o2770


def test_photos_and_a_video_come_out_blurred(box: Machine) -> None:
    box.drop(f"{TELLING}/{TELLING}.jpg", portrait())
    box.drop("trip/film.mp4", street(40))
    copy, film = box.copy(f"{TELLING}/{TELLING}.jpg"), box.copy("trip/film.mp4")
    with Image.open(io.BytesIO(portrait())) as before, Image.open(copy) as after:
        face = (90 + 175, 40 + 60, 90 + 275, 40 + 190)
        assert rough(np.asarray(after.crop(face))) < 0.5 * rough(np.asarray(before.crop(face)))
    assert film.stat().st_size > 1000
    status = copy.stat()
    assert status.st_mode & 0o777 == 0o640
    assert status.st_gid == box.inbound.stat().st_gid
    assert box.run("blurd", "status").returncode == 0


def test_new_settings_are_taken_over_by_a_reload_or_refused(box: Machine) -> None:
    settings = box.root / "etc/blurd/blurd.toml"
    before = settings.read_text()
    watcher, worker = int(box.show("blurd-watch.service", "MainPID")), box.worker()

    def reload() -> None:
        box.do("systemctl", "reload", "blurd-watch.service")

    settings.write_text(before + "settle_s = 'soon'\n")
    reload()
    box.wait(lambda: "1 errors" in box.show("blurd-watch.service", "StatusText"), "a refusal")
    settings.write_text(before + "settle_s = 4.0\n")
    reload()
    box.wait(lambda: box.worker() not in (0, worker), "a fresh worker")
    box.wait(lambda: box.show("blurd-work@1.service", "ActiveState") == "active", "a worker that is ready")
    parts = {(event["BLURD_EVENT"], event["BLURD_PART"]) for event in box.events("settings_taken")}
    assert parts == {("settings_taken", "watch"), ("settings_taken", "work")}
    assert int(box.show("blurd-watch.service", "MainPID")) == watcher
    assert box.show("blurd-watch.service", "ActiveState") == "active"
    settings.write_text(before)
    reload()


ALERT = """#!/bin/sh
{ id -un; cat; ls /srv/blurd /var/lib/blurd 2>&1; } >>/var/told
exit 0
"""


def test_metrics_and_alerts_leave_the_sandbox(box: Machine) -> None:
    """Figures where node_exporter finds them; an alert in the hands of a program that sees no picture and no queue."""
    settings = box.root / "etc/blurd/blurd.toml"
    before = settings.read_text()
    tables = '[metrics]\ndirectory = "/var/lib/node-exporter"\nevery_s = 1.0\n[alerts]\nenabled = true\n'
    settings.write_text(before + tables)
    box.do("install", "-d", "-o", "blurd", "/var/lib/node-exporter")
    box.do("install", "-o", "blurd-alert", "-m", "600", "/dev/null", "/var/told")
    program = box.root / "etc/blurd/alert"
    program.write_text(ALERT)
    program.chmod(0o755)
    box.do("systemctl", "enable", "--now", "blurd-alert.path")
    box.do("blurd", "setup-units")
    box.do("systemctl", "daemon-reload")
    box.do("systemctl", "restart", "blurd-watch.service")
    figures = box.root / "var/lib/node-exporter/blurd.prom"
    box.wait(figures.exists, "figures")
    assert 'blurd_jobs_published_total{folder="photos"}' in figures.read_text()
    (box.inbound / "link.jpg").symlink_to("/etc/passwd")
    told = box.root / "var/told"
    box.wait(lambda: "No such" in told.read_text() or "denied" in told.read_text(), "an alert")
    text = told.read_text()
    assert text.startswith("blurd-alert\n")
    assert '"kind": "files_refused"' in text
    assert "photos\n" not in text
    assert "queue.sqlite" not in text
    box.wait(lambda: not list((box.root / "var/lib/blurd/alerts").glob("*.json")), "an empty spool")
    box.do("systemctl", "disable", "--now", "blurd-alert.path")
    program.unlink()
    (box.inbound / "link.jpg").unlink()
    for job in json.loads(box.do("blurd", "jobs", "--state", "rejected", "--json")):
        box.do("runuser", "-u", "blurd", "--", "blurd", "forget", str(job["job"]))
    settings.write_text(before)
    box.do("blurd", "setup-units")
    box.do("systemctl", "daemon-reload")
    box.do("systemctl", "restart", "blurd-watch.service")
    box.wait(lambda: box.show("blurd-watch.service", "ActiveState") == "active", "the watcher")


def test_the_doctor_finds_the_box_well_and_says_what_is_broken(box: Machine) -> None:
    """Seen as the user of the service: units that do not run or know the settings, a folder that is closed."""

    def wrong() -> dict[str, str]:
        findings = json.loads(box.run("blurd", "doctor", "--json").stdout)["findings"]
        return {item["subject"]: item["mend"] for item in findings if item["health"] == "wrong"}

    said = box.run("blurd", "doctor")
    assert said.returncode == 0, said.stdout
    assert "Units and settings are in step" in said.stdout
    assert "1 of 1 workers run" in said.stdout
    owned = box.do("find", "/srv/blurd", "/var/lib/blurd", "/var/cache/blurd", "-user", "root", "-type", "f")
    assert "doctor" not in owned
    assert not [line for line in owned.splitlines() if not line.startswith("/srv/blurd/photos/inbound/")]

    box.do("systemctl", "stop", "blurd-watch.service")
    assert wrong()["unit blurd-watch.service"] == "systemctl start blurd.target"
    box.do("systemctl", "start", "blurd.target")
    box.wait(lambda: box.show("blurd-watch.service", "ActiveState") == "active", "the watcher")

    settings = box.root / "etc/blurd/blurd.toml"
    before = settings.read_text()
    more = '\n[[folder]]\nname = "more"\ninbound = "/srv/more/inbound"\noutbound = "/srv/more/outbound"\n'
    settings.write_text(before + more)
    found = wrong()
    assert "blurd setup-units" in found["units"]
    assert "install -d" in found["folder more, inbound"]
    settings.write_text(before)

    box.outbound.chmod(0o500)
    assert "chgrp" in wrong()["folder photos, outbound"]
    box.outbound.chmod(0o2770)
    box.wait(lambda: box.status()["paused"] is None, "a folder that is served again")
    assert wrong() == {}


def test_s37_a_killed_worker_is_started_again_and_the_job_done(box: Machine, long_video: bytes) -> None:
    """SIGKILL, five times in a row: the unit does not fail for good, and the attempt of the queue is what counts."""
    box.drop("killed.mp4", long_video)
    in_mid_job(box)
    before = int(box.show("blurd-work@1.service", "NRestarts"))
    box.signal("KILL", box.worker())
    box.copy("killed.mp4")
    assert int(box.show("blurd-work@1.service", "NRestarts")) > before
    assert box.events("job_recovered")
    for _ in range(5):
        kill_the_worker(box)
    box.wait(lambda: box.show("blurd-work@1.service", "ActiveState") == "active", "a worker that is ready")


def test_a_frozen_worker_is_ended_by_the_watchdog(box: Machine, long_video: bytes) -> None:
    """SIGSTOP: no progress, so systemd ends it. Its patience is shortened for the test, as an operator could."""
    folder = box.root / "etc/systemd/system/blurd-work@.service.d"
    (folder / "test.conf").write_text("[Service]\nWatchdogSec=20\n")
    box.do("systemctl", "daemon-reload")
    box.do("systemctl", "restart", "blurd-work@1.service")
    box.drop("frozen.mp4", long_video)
    in_mid_job(box)
    frozen = box.worker()
    box.signal("STOP", frozen)
    box.wait(lambda: box.worker() not in (0, frozen), "another worker", 120)
    said = box.do("journalctl", "--no-pager", "-u", "blurd-work@1.service", "_PID=1")
    assert "Watchdog timeout" in said
    box.copy("frozen.mp4")
    (folder / "test.conf").unlink()
    box.do("systemctl", "daemon-reload")
    box.do("systemctl", "restart", "blurd-work@1.service")


def test_s28_a_full_outbound_pauses_and_resumes(box: Machine) -> None:
    """A second folder, on a small disk of its own: the settings change, the units follow, the other folder goes on."""
    settings = box.root / "etc/blurd/blurd.toml"
    more = '\n[[folder]]\nname = "small"\ninbound = "/srv/small/inbound"\noutbound = "/srv/small/outbound"\n'
    settings.write_text(settings.read_text() + more + "reserve_mebibytes = 4\n")
    box.do("install", "-d", "-o", "blurd", "-g", "blurd", "-m", "2770", "/srv/small/inbound", "/srv/small/outbound")
    box.do("mount", "-t", "tmpfs", "-o", "size=16m,mode=2770,uid=blurd,gid=blurd", "small", "/srv/small/outbound")
    follow_the_settings(box)
    box.wait(lambda: "small" in box.overview().get("folders", {}), "the folder in the status")
    box.do("dd", "if=/dev/zero", "of=/srv/small/outbound/filler", "bs=1M", "count=13")
    box.wait(lambda: box.overview()["folders"]["small"]["paused"] == "outbound_full", "a pause")
    (box.root / "srv/small/inbound/a.jpg").write_bytes(portrait())
    box.drop("meanwhile.jpg", portrait())
    box.copy("meanwhile.jpg")
    box.wait(lambda: box.overview()["folders"]["small"]["queued"] == 1, "a file that waits")
    assert box.run("blurd", "status").returncode == 1
    box.do("rm", "/srv/small/outbound/filler")
    box.wait(lambda: box.run("test", "-e", "/srv/small/outbound/a.jpg").returncode == 0, "a copy when there is room")
    assert {str(event["BLURD_ATTEMPT"]) for event in box.events("job_claimed")[-1:]} == {"1"}


def test_s25_a_folder_that_is_made_after_the_start_is_served(box: Machine) -> None:
    """It was in the settings before it was there: the watcher and the worker take themselves a fresh view."""
    settings = box.root / "etc/blurd/blurd.toml"
    before = settings.read_text()
    more = '\n[[folder]]\nname = "later"\ninbound = "/data/later/inbound"\noutbound = "/data/later/outbound"\n'
    settings.write_text(before + more)
    follow_the_settings(box)
    box.wait(lambda: box.overview()["folders"]["later"]["paused"] == "inbound_missing", "a pause")
    box.do("install", "-d", "-o", "blurd", "-g", "blurd", "-m", "2770", "/data/later/inbound", "/data/later/outbound")
    (box.root / "data/later/inbound/a.jpg").write_bytes(portrait())
    box.wait(lambda: box.run("test", "-e", "/data/later/outbound/a.jpg").returncode == 0, "a copy")
    settings.write_text(before)
    follow_the_settings(box)


def follow_the_settings(box: Machine) -> None:
    """What `blurd setup-units` says is to be done."""
    said = box.do("blurd", "setup-units")
    assert said.splitlines()[-1].startswith("then: ")
    box.do("sh", "-c", said.splitlines()[-1].removeprefix("then: "))
    box.wait(lambda: all(box.show(unit, "ActiveState") == "active" for unit in UNITS), "units that are ready")


def test_s40_a_reboot_in_mid_job_loses_nothing(box: Machine, long_video: bytes) -> None:
    box.drop("rebooted.mp4", long_video)
    in_mid_job(box)
    box.shut_down()
    assert not (box.outbound / "rebooted.mp4").exists()
    box.boot()
    box.copy("rebooted.mp4")
    claims = box.events("job_claimed")
    assert {claim["BLURD_ATTEMPT"] for claim in claims if claim["BLURD_JOB"] == claims[-1]["BLURD_JOB"]} == {"1"}


def test_s33_a_power_cut_in_mid_job_loses_nothing(box: Machine, long_video: bytes) -> None:
    box.drop("cut.mp4", long_video)
    in_mid_job(box)
    box.cut_power()
    box.boot()
    box.copy("cut.mp4")
    assert [path.name for path in box.outbound.glob("cut*")] == ["cut.mp4"]


def test_s41_an_upgrade_in_mid_job_loses_nothing(box: Machine, long_video: bytes) -> None:
    """The job goes back to the queue without blame; settings, queue and receipts are kept; the new version does it."""
    higher = build_package(box.suite, "99.0.0")
    box.drop("upgraded.mp4", long_video)
    in_mid_job(box)
    settings = (box.root / "etc/blurd/blurd.toml").read_bytes()
    published = box.status()["published"]
    said = box.run("dpkg", "--install", f"/mnt/{higher.name}")
    assert said.returncode == 0, said.stdout + said.stderr
    assert box.do("blurd", "--version") == "blurd 99.0.0"
    assert (box.root / "etc/blurd/blurd.toml").read_bytes() == settings
    box.copy("upgraded.mp4")
    assert box.status()["published"] == published + 1
    assert box.events("job_returned")
    assert box.events("job_claimed")[-1]["BLURD_ATTEMPT"] == "1"


def test_s41_going_back_to_a_version_that_cant_read_the_queue_is_refused(box: Machine) -> None:
    """Nothing is replaced, and the newer version goes on."""
    (schema,) = (box.root / "usr/lib/blurd").glob("lib/python3.*/site-packages/blurd/adapters/store_schema.py")
    text = schema.read_text()
    schema.write_text(f'{text}\n\nMIGRATIONS = (*MIGRATIONS, "CREATE TABLE of_tomorrow (at TEXT NOT NULL) STRICT")\n')
    box.do("systemctl", "restart", *UNITS)
    (lower,) = (path for path in (box.folder / "packages").glob("blurd_*.deb") if "_99" not in path.name)
    said = box.run("dpkg", "--install", f"/mnt/{lower.name}")
    assert said.returncode != 0
    assert "its queue was written by a newer version" in said.stderr
    assert box.do("blurd", "--version") == "blurd 99.0.0"
    box.wait(lambda: all(box.show(unit, "ActiveState") == "active" for unit in UNITS), "units that are ready")
    box.drop("refused.jpg", portrait())
    box.copy("refused.jpg")
    box.do("systemctl", "stop", "blurd.target")
    connection = sqlite3.connect(box.root / "var/lib/blurd/queue.sqlite")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("DROP TABLE of_tomorrow")
    connection.execute(f"PRAGMA user_version = {version - 1}")
    connection.close()
    schema.write_text(text)
    box.do("systemctl", "start", "blurd.target")


def test_p6_no_process_has_a_network_socket(box: Machine, long_video: bytes) -> None:
    """inet, inet6, packet, netlink: none, in mid-work; what there is are unix sockets. And no interface but lo."""
    box.drop("listened.mp4", long_video)
    in_mid_job(box)
    for unit in UNITS:
        for process in box.processes(unit):
            held = set(re.findall(r"socket:\[(\d+)\]", box.do("ls", "-l", f"/proc/{process}/fd")))
            # Standard output is a socket of the machine's own network: systemd has made it.
            tables = box.do("cat", f"/proc/{process}/net/unix", "/proc/1/net/unix").splitlines()
            unix = {line.split()[6] for line in tables if not line.startswith("Num")}
            others = " ".join(
                box.run("cat", f"/proc/{process}/net/{kind}").stdout
                for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink")
            )
            assert held - unix == set()
            assert not held & set(others.split())
            assert re.findall(r"^ *(\w+):", box.do("cat", f"/proc/{process}/net/dev"), re.MULTILINE) == ["lo"]
    box.copy("listened.mp4")


def test_a_worker_has_a_limit_on_its_memory(box: Machine) -> None:
    group = box.show("blurd-work@1.service", "ControlGroup")
    for place in (f"/sys/fs/cgroup{group}/memory.max", f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"):
        found = box.run("cat", place)
        if found.returncode == 0:
            assert int(found.stdout) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            return
    pytest.skip("needs the memory controller inside the machine")


def test_p5_the_journal_holds_events_of_the_closed_list_and_no_name(box: Machine) -> None:
    """Over all boots: whatever blurd's processes wrote is an event; nothing anywhere names a file."""
    known = {event.message_id() for event in EVENTS}
    ours = 0
    for entry in box.journal():
        text = " ".join(str(value) for value in entry.values())
        for word in ("Erika", "Mustermann", "B-AB", "killed.mp4", "frozen.mp4", "meanwhile.jpg"):
            assert word not in text, entry
        if str(entry.get("_SYSTEMD_UNIT", "")).startswith("blurd-") and entry.get("_PID") != "1":
            assert entry.get("MESSAGE_ID") in known, entry
            ours += 1
    assert ours > 50


def test_p1_everything_is_accounted_for(box: Machine) -> None:
    status = box.status()
    files = [path for path in box.inbound.rglob("*") if path.is_file() and not path.name.startswith(".")]
    copies = [path for path in box.outbound.rglob("*") if path.is_file() and ".blurd" not in path.parts]
    assert status["published"] == len(files) == len(copies)
    assert [status[key] for key in ("queued", "running", "retrying", "staged", "rejected", "failed")] == [0] * 6


def test_it_stops_within_the_timeout_and_gives_the_job_back(box: Machine, long_video: bytes) -> None:
    box.drop("stopped.mp4", long_video)
    in_mid_job(box)
    began_s = time.monotonic()
    before = box.show("blurd-watch.service", "MainPID")
    box.do("systemctl", "stop", "blurd.target")
    assert time.monotonic() - began_s < 60
    for unit in UNITS:
        assert box.show(unit, "Result") == "success"
        assert box.show(unit, "ActiveState") == "inactive"
    assert box.status()["queued"] == 1
    box.do("systemctl", "start", "blurd.target")
    box.wait(lambda: box.show("blurd-watch.service", "ActiveState") == "active", "the watcher")
    assert box.show("blurd-watch.service", "MainPID") != before
    box.copy("stopped.mp4")


def staged(box: Machine) -> list[str]:
    return [path.name for path in (box.outbound / ".blurd").glob("job-*")]


def test_removal_and_purge_leave_originals_copies_and_receipts(box: Machine, long_video: bytes) -> None:
    """Originals and copies are people's; the ledger of receipts accounts for them. What can be made again goes.

    Removed in mid-job: that job goes back to the queue, which is kept, and nothing half-made stays.
    """
    box.wait(lambda: not staged(box), "the end of what was published last")
    before = sorted(str(path) for path in box.data.rglob("*"))
    receipts = (box.root / "var/lib/blurd/receipts.jsonl").read_bytes()
    removed = box.drop("removed.mp4", long_video)
    in_mid_job(box)
    box.do("dpkg", "--remove", "blurd")
    before = sorted((*before, str(removed)))
    assert box.do("find", "/proc", "-maxdepth", "1", "-user", "blurd") == ""
    assert (box.root / "etc/blurd/blurd.toml").exists()
    said = box.run("dpkg", "--purge", "blurd")
    assert said.returncode == 0, said.stderr
    assert "/var/lib/blurd" in said.stderr + said.stdout
    assert sorted(str(path) for path in box.data.rglob("*")) == before
    assert (box.root / "var/lib/blurd/receipts.jsonl").read_bytes() == receipts
    assert (box.root / "var/lib/blurd/queue.sqlite").exists()
    for gone in ("etc/blurd/blurd.toml", "var/cache/blurd", "usr/lib/blurd", "usr/bin/blurd"):
        assert not (box.root / gone).exists(), gone
    assert not list((box.root / "etc/systemd/system").glob("blurd*"))
    assert not (box.root / "etc/systemd/system/multi-user.target.wants/blurd.target").is_symlink()


def test_settings_without_a_folder_start_nothing_and_the_package_says_what_to_do(box: Machine) -> None:
    """An operator's own settings are there before the package; after a mend blurd starts on what it had left."""
    settings = box.root / "etc/blurd/blurd.toml"
    settings.parent.mkdir()
    (package,) = (box.folder / "packages").glob("blurd_99*.deb")
    settings.write_bytes(b"[watch\xff")
    said = box.run("dpkg", "--force-confold", "--install", f"/mnt/{package.name}")
    assert said.returncode == 0, said.stderr
    assert "is not UTF-8 text" in said.stderr
    settings.write_text("[watch]\nrescan_s = 30.0\n")
    said = box.run("/var/lib/dpkg/info/blurd.postinst", "configure", "")
    assert said.returncode == 0, said.stderr
    assert "add at least one [[folder]] table" in said.stderr
    assert "systemctl start blurd.target" in said.stderr
    assert box.show("blurd.target", "ActiveState") == "inactive"
    assert box.show("blurd.target", "UnitFileState") == "enabled"
    copies = sorted(["removed.mp4", *(path.name for path in box.outbound.glob("*.mp4"))])
    folder = 'name = "photos"\ninbound = "/srv/blurd/photos/inbound"\noutbound = "/srv/blurd/photos/outbound"\n'
    settings.write_text(f"{settings.read_text()}[[folder]]\n{folder}")
    box.do("blurd", "setup-units")
    box.do("systemctl", "daemon-reload")
    box.do("systemctl", "start", "blurd.target")
    box.drop("after.jpg", portrait())
    box.copy("after.jpg")
    box.copy("removed.mp4")
    assert sorted(path.name for path in box.outbound.glob("*.mp4")) == copies  # what was done before is known still
