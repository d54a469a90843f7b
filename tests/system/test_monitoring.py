"""Metrics and alerts of a real watcher, and alerts delivered by what the unit runs. Nothing is decoded here."""

import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance import Appliance, let_others_reach
from blurd import alert_command
from blurd.adapters.alert_spool import MOST, AlertSpool, spool_of, waiting
from blurd.core.alerting import Alert, AlertKind, AlertState, Finding, Subject
from blurd.records import FolderName
from crash.harness import small_jpeg
from mounts import need_root

ROOT = Path(__file__).parents[2]
MONITORING, EXAMPLES = ROOT / "packaging/monitoring", ROOT / "packaging/alerts"
TELLING = "Erika Mustermann B-AB 1234"
TABLES = """
[metrics]
directory = "{root}/node exporter"
every_s = 1.0
[alerts]
enabled = true
paused_minutes = 0.0
worker_missing_minutes = 0.0
repeat_hours = 0.0
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A watcher with a rejected file and two that wait."""
    made = Appliance(tmp_path_factory.mktemp("monitored"), backlog_files=1, hours="00:00-23:59, 23:59-00:00")
    (made.root / "node exporter").mkdir()
    with made.config.open("a") as config:
        config.write(TABLES.format(root=made.root))
    made.start("watch")
    try:
        made.wait(lambda: metrics(made), "metrics")
        (made.root / f"in/{TELLING}.jpg").symlink_to("/etc/passwd")
        made.drop(f"{TELLING} 1.jpg", small_jpeg(1))
        made.drop("2.jpg", small_jpeg(2))
        made.wait(lambda: value(made, "blurd_jobs", state="queued") == 2, "two queued jobs")
        made.wait(lambda: value(made, "blurd_jobs", state="rejected") == 1, "a rejected job")
        yield made
    finally:
        code = made.stop()
    assert code == 0


def text(box: Appliance) -> str:
    path = box.root / "node exporter/blurd.prom"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def metrics(box: Appliance) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text(box))}


def value(box: Appliance, name: str, **labels: str) -> float | None:
    samples = [sample for family in metrics(box).values() for sample in family.samples if sample.name == name]
    return next((sample.value for sample in samples if labels.items() <= sample.labels.items()), None)


def alerts(box: Appliance) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in waiting(spool_of(box.root / "state"))]


def test_an_independent_parser_reads_all_figures(box: Appliance) -> None:
    found = metrics(box)
    assert value(box, "blurd_jobs_rejected_total", folder="photos", reason="symbolic_link") == 1
    assert value(box, "blurd_jobs", folder="photos", state="rejected") == 1
    assert value(box, "blurd_oldest_waiting_seconds", folder="photos") is not None
    assert value(box, "blurd_workers", device="none") == 0
    assert value(box, "blurd_folder_resting", folder="photos") == 0
    assert (value(box, "blurd_disk_free_bytes", place="state") or 0) > 0
    assert (value(box, "blurd_disk_free_bytes", place="outbound", folder="photos") or 0) > 0
    assert abs(time.time() - (value(box, "blurd_last_progress_timestamp_seconds") or 0)) < 600
    if Path("/proc/pressure/cpu").exists():
        assert (value(box, "blurd_pressure_stalled_seconds_total", resource="cpu", share="some") or 0) > 0
    for name, family in found.items():
        assert family.type in ("gauge", "counter"), name
        assert len(family.documentation) > 15, name
        for sample in family.samples:
            assert sample.name == (f"{name}_total" if family.type == "counter" else name)


def test_names_bear_base_units_and_no_series_stands_twice(box: Appliance) -> None:
    series = [line.rpartition(" ")[0] for line in text(box).splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    for name in {line.partition("{")[0].partition(" ")[0] for line in series}:
        assert not re.search(r"(_ms|_mebibytes|_percent|_minutes|_hours)(_|\Z)", name), name


def test_promtool_finds_nothing_wrong(box: Appliance) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text(box), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rules = [promtool, "check", "rules", str(MONITORING / "alert-rules.yml")]
    done = subprocess.run(rules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_and_rules_ask_for_figures_that_are_written(box: Appliance) -> None:
    written = set(re.findall(r"^# TYPE (\S+) ", text(box), re.MULTILINE))
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += re.findall(r"expr: (.*(?:\n          .*)*)", (MONITORING / "alert-rules.yml").read_text())
    names = {name for expression in asked for name in re.findall(r"\bblurd_[a-z_]+", expression)}
    assert len(names) > 15
    assert names <= written


def test_a_collector_finds_a_whole_file_that_it_may_read(box: Appliance) -> None:
    folder = box.root / "node exporter"
    until_s = time.monotonic() + 2.5
    while time.monotonic() < until_s:
        seen = text(box)
        assert seen.endswith("\n")
        assert "blurd_written_timestamp_seconds " in seen
        assert {path.name for path in folder.glob("*.prom")} == {"blurd.prom"}
    assert (folder / "blurd.prom").stat().st_mode & 0o777 == 0o644


def test_alerts_tell_what_begins_and_what_is_over(box: Appliance) -> None:
    def told(kind: str, state: str, **parts: object) -> Any:
        return [
            alert
            for alert in alerts(box)
            if (alert["kind"], alert["state"]) == (kind, state) and parts.items() <= alert.items()
        ]

    box.wait(lambda: told("files_refused", "notice", folder="photos", reason="symbolic_link"), "notice")
    box.wait(lambda: told("backlog", "raised", folder="photos", value=2.0, threshold=1.0), "backlog")
    box.wait(lambda: told("worker_missing", "raised", folder=None), "missing worker")
    (box.root / "out").rename(box.root / "away")
    box.wait(lambda: told("folder_paused", "raised", folder="photos", reason="outbound_missing"), "paused folder")
    (box.root / "away").rename(box.root / "out")
    box.wait(lambda: told("folder_paused", "resolved", folder="photos"), "resumed folder")
    assert all(alert["text"].startswith("blurd, ") for alert in alerts(box))
    spool = spool_of(box.root / "state")
    assert spool.stat().st_mode & 0o777 == 0o770
    assert {path.stat().st_mode & 0o777 for path in spool.iterdir()} == {0o640}
    assert len(box.events("alert_written")) >= 5


def unit_command(box: Appliance, program: Path) -> list[str]:
    """What `blurd-alert.service` runs, with this appliance's settings and another program."""
    unit = (ROOT / "systemd/blurd-alert.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    blurd, *rest = shlex.split(line)
    assert blurd == "/usr/bin/blurd"
    own = [str(program) if word == "/etc/blurd/alert" else word for word in rest]
    return [sys.executable, "-m", "blurd", "--config", str(box.config), *own]


def script(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def run(*command: str) -> int:
    return subprocess.run(command, check=False, timeout=60).returncode


def test_the_unit_s_command_delivers_each_alert_once_and_keeps_it_until_then(box: Appliance, tmp_path: Path) -> None:
    box.wait(lambda: alerts(box), "alerts")
    before = waiting(spool_of(box.root / "state"))
    refuses = script(tmp_path / "refuses", "cat >/dev/null; exit 75")
    assert run(*unit_command(box, refuses), "--once") == 1
    assert set(before) <= set(waiting(spool_of(box.root / "state")))
    told = tmp_path / "told"
    takes = script(tmp_path / "takes", f'cat >>"{told}"; echo "$BLURD_ALERT_KIND" >>"{told}.kinds"')
    assert run(*unit_command(box, takes)) == 0
    assert not set(before) & set(waiting(spool_of(box.root / "state")))
    delivered = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(delivered) >= len(before)
    assert [alert["kind"] for alert in delivered] == (tmp_path / "told.kinds").read_text().split()
    assert "Mustermann" not in told.read_text()


def written_alert(state: Path, kind: AlertKind = AlertKind.BACKLOG) -> Path:
    spool = AlertSpool(state)
    before = set(waiting(spool_of(state))) if spool_of(state).exists() else set()
    spool.write(Alert(AlertState.RAISED, Finding(Subject(kind, FolderName("photos")), 7.0, 5.0)))
    (written,) = set(waiting(spool_of(state))) - before  # two of one moment may stand in any order
    return written


def test_the_spool_is_bounded_and_says_what_it_dropped(tmp_path: Path) -> None:
    spool = AlertSpool(tmp_path)
    for number in range(MOST + 3):
        spool.write(Alert(AlertState.RAISED, Finding(Subject(AlertKind.BACKLOG, FolderName("photos")), float(number))))
    found = [json.loads(path.read_text()) for path in waiting(spool_of(tmp_path))]
    assert len(found) == MOST
    assert (found[0]["value"], found[-1]["value"]) == (3.0, MOST + 2.0)
    assert sum(alert["dropped_before"] for alert in found) >= 1


def test_a_command_that_fails_is_asked_later_and_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_alert(tmp_path)
    pauses: list[float] = []
    count = tmp_path / "count"
    program = script(tmp_path / "program", f'echo >>"{count}"; [ "$(wc -l <"{count}")" -gt 10 ]')
    monkeypatch.setattr(alert_command, "time", SimpleNamespace(sleep=pauses.append))
    assert alert_command._until_none_waits(spool_of(tmp_path), program, once=False) == 0
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert waiting(spool_of(tmp_path)) == []


def test_a_damaged_alert_goes_and_one_that_is_refused_keeps_no_other(tmp_path: Path) -> None:
    refused = written_alert(tmp_path, AlertKind.STATE_FULL)
    taken = written_alert(tmp_path)
    damaged = spool_of(tmp_path) / "1-damaged.json"
    damaged.write_bytes(b"\xff{")
    config = tmp_path / "blurd.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}"\n[[folder]]\nname = "UNSOUND"\n')  # an error, elsewhere
    program = script(tmp_path / "program", '[ "$BLURD_ALERT_KIND" = backlog ]')
    base = [sys.executable, "-m", "blurd", "--config", str(config), "deliver-alerts", "--once"]
    assert run(*base, str(program)) == 1
    assert (refused.exists(), taken.exists(), damaged.exists()) == (True, False, False)
    assert run(*base, str(tmp_path / "not-there")) == 1
    assert refused.exists()


def test_nothing_is_delivered_from_a_spool_that_can_t_be_emptied(tmp_path: Path) -> None:
    """It would be delivered again and again."""
    need_root()
    written_alert(tmp_path)
    told = tmp_path / "told"
    told.write_text("")
    told.chmod(0o666)
    let_others_reach(tmp_path)
    spool_of(tmp_path).chmod(0o755)  # another user's, who may not write there
    program = script(tmp_path / "program", f'cat >>"{told}"')
    config = tmp_path / "blurd.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}"\n')
    other = ["setpriv", "--reuid=61237", "--regid=61237", "--clear-groups"]
    base = [sys.executable, "-m", "blurd", "--config", str(config), "deliver-alerts", "--once"]
    assert run(*other, *base, str(program)) == 16
    assert told.read_text() == ""


def test_the_examples_send_a_mail_and_a_web_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if len(posted) > 1 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "url").write_text(f"http://127.0.0.1:{server.server_port}/hook\n")
    letter = tmp_path / "letter"
    monkeypatch.setenv("SENDMAIL", str(script(tmp_path / "sendmail", f'cat >"{letter}"')))
    monkeypatch.setenv("BLURD_ALERT_URL_FILE", str(tmp_path / "url"))
    config = tmp_path / "blurd.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}"\n')
    base = [sys.executable, "-m", "blurd", "--config", str(config), "deliver-alerts", "--once"]
    written_alert(tmp_path)
    assert run(*base, str(EXAMPLES / "mail")) == 0
    assert f"Subject: blurd on {os.uname().nodename}: backlog raised" in letter.read_text()
    assert "files that wait: 7 (limit 5)" in letter.read_text()
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    alert = written_alert(tmp_path)
    assert run(*base, str(EXAMPLES / "webhook")) == 1  # the server failed: the alert is kept
    assert alert.exists()
    assert run(*base, str(EXAMPLES / "webhook")) == 0
    server.shutdown()
    server.server_close()
    assert json.loads(posted[1])["kind"] == "backlog"
