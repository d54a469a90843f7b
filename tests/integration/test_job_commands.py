"""What the operator looks at: the status, the list of jobs, one job, and a sheet of its copy."""

import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from blurd.adapters.store_view import QueueView
from blurd.contact_sheet import clock_time
from blurd.errors import Reason
from blurd.events import Part
from blurd.records import (
    FolderCondition,
    FolderName,
    JobId,
    JobState,
    ProcessCondition,
    Progress,
    WorkerIdentity,
)
from blurd.status_command import read_status
from blurd.status_page import age, page
from desk import FOLDER, ME, Desk
from videos import Form, pictures, read_stamp, write_clip

TELLING = "Erika"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def at_work(desk: Desk, device: str = "CPU", *, degraded: bool = False) -> None:
    """As if a watcher and a worker ran, which both are this very process."""
    desk.watched()
    desk.store.note_process(ProcessCondition(str(Part.WORK), ME, device, degraded, "faces, plates (12345678)"))


def shown(desk: Desk, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(page(read_status(desk.settings)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


# -- status ------------------------------------------------------------------------------------------------------------

KEYS_OF_A_FOLDER = {
    "settling", "awaiting_regions", "unreadable", "paused", "rescan_only", "queued", "running", "retrying", "staged",
    "published", "rejected", "failed", "vanished", "superseded", "withdrawn", "ignored", "reasons",
}  # fmt: skip
"""Those that scripts may know from earlier versions."""


def test_the_status_tells_what_waits_runs_and_was_done(desk: Desk) -> None:
    at_work(desk)
    desk.publish("a.jpg")
    desk.end("b.jpg", JobState.REJECTED, Reason.DAMAGED)
    desk.drop("c.jpg")
    running = desk.claim()
    desk.store.beat(running.id, ME, Progress(0.45, 12.34, 80.0))
    for name in ("d.jpg", "e.jpg"):
        desk.drop(name)
    status = read_status(desk.settings)
    folder = status["folders"]["photos"]
    assert set(folder) >= KEYS_OF_A_FOLDER
    assert (folder["published_today"], folder["queued"], folder["rejected"], status["workers"]) == (1, 2, 1, 1)
    assert 0 <= folder["oldest_waiting_s"] < 60
    lines = shown(desk).splitlines()
    assert lines[0] == f"running: watch {ME.pid}, work {ME.pid} on CPU"
    assert lines[1] == "workers: 1, models: faces, plates (12345678)"
    assert lines[2] == f"job {running.id} in photos: 45%, 12.3 frames/s, 0:01:20 left"
    assert lines[3].split() == ["folder", "waiting", "running", "today", "in", "all", "rejected", "failed", "oldest"]
    assert lines[4].split()[:7] == ["photos", "2", "1", "1", "1", "1", "0"]


def test_the_oldest_waiting_file_is_told_from_one_that_was_tried_again_lately(desk: Desk) -> None:
    """What waits since it was asked for again has not waited since it came."""
    job = desk.end("a.jpg", JobState.FAILED, Reason.WORKER_DIED)
    _age_all(desk, "2020-01-01T00:00:00+00:00")
    assert read_status(desk.settings)["folders"]["photos"]["oldest_waiting_s"] is None
    desk.blurd("retry", str(job))
    assert read_status(desk.settings)["folders"]["photos"]["oldest_waiting_s"] < 60
    _age_all(desk, "2020-01-01T00:00:00+00:00")
    assert read_status(desk.settings)["folders"]["photos"]["oldest_waiting_s"] > 86_400 * 365
    assert "d" in shown(desk).splitlines()[-1].split()


def _age_all(desk: Desk, at: str) -> None:
    writer = sqlite3.connect(desk.settings.queue_path)
    writer.execute("UPDATE job SET created_at = ?, changed_at = ?, waiting_since = ?", (at, at, at))
    writer.commit()
    writer.close()


def test_what_was_published_yesterday_was_not_published_today(desk: Desk) -> None:
    desk.publish("a.jpg")
    _age_all(desk, "2020-01-01T00:00:00+00:00")
    desk.publish("b.jpg")
    folder = read_status(desk.settings)["folders"]["photos"]
    assert (folder["published_today"], folder["published"]) == (1, 2)


def test_the_page_fits_eighty_columns_whatever_the_folders_are_called(desk: Desk) -> None:
    at_work(desk)
    status = read_status(desk.settings)
    numbers = dict.fromkeys(("queued", "published", "published_today", "rejected", "failed", "running"), 987_654)
    long = status["folders"].pop("photos") | numbers | {"paused": "outbound_strange", "oldest_waiting_s": 5e6}
    status["folders"]["a" * 32] = long
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(page(status))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("987654") == 6
    assert "57 d" in text
    assert "a" * 10 in text
    assert "blurd accept-folder NAME outbound" in " ".join(text.split())


def test_ages_are_told_in_one_number() -> None:
    told = {seconds: age(seconds) for seconds in (None, 0.0, 119.9, 120.0, 7199.0, 7200.0, 172_799.0, 172_800.0)}
    assert list(told.values()) == ["", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]


def _nothing(_: Desk) -> None:
    return


def _paused(desk: Desk) -> None:
    desk.store.note_folder(FolderCondition(FOLDER, 0, Reason.OUTBOUND_FULL, rescan_only=False))


def _failed(desk: Desk) -> None:
    desk.end("a.jpg", JobState.FAILED, Reason.WORKER_DIED)


def _rejected(desk: Desk) -> None:
    desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)


def _degraded(desk: Desk) -> None:
    at_work(desk, degraded=True)


def _worker_gone(desk: Desk) -> None:
    desk.store.forget_process(ProcessCondition(str(Part.WORK), ME))
    gone = WorkerIdentity(ME.pid, ME.start_ticks + 1, ME.boot_id)
    desk.store.note_process(ProcessCondition(str(Part.WORK), gone, "CPU"))


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (_nothing, 0, "running"),
        (_rejected, 0, "1 x damaged"),
        (_failed, 1, "1 x worker_died"),
        (_paused, 1, "photos: paused. The outbound folder has no room."),
        (_degraded, 1, "degraded: a worker runs on another device"),
        (_worker_gone, 1, "NOT running: work"),
    ],
)
def test_the_exit_code_tells_health_and_the_page_why(
    desk: Desk, change: Callable[[Desk], None], code: int, text: str
) -> None:
    at_work(desk)
    change(desk)
    result = desk.blurd("status")
    assert (result.returncode, text in " ".join(result.stdout.split())) == (code, True), result.stdout
    assert json.loads(desk.blurd("status", "--json").stdout)["healthy"] is (code == 0)


def test_the_page_is_shown_again_until_it_is_ended(desk: Desk) -> None:
    """On a terminal, as a person sees it; the second page has what came meanwhile."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "blurd", "--config", str(desk.config), "status", "--watch", "0.1"]
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    )
    os.close(theirs)
    try:
        _read_until(ours, b"not running")
        desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
        _read_until(ours, b"1 x damaged")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
        os.close(ours)


def _read_until(handle: int, wanted: bytes) -> None:
    seen, deadline_s = b"", time.monotonic() + 30
    while wanted not in seen:
        assert time.monotonic() < deadline_s, seen
        seen += os.read(handle, 4096)


def test_scripts_get_one_line_for_each_look(desk: Desk) -> None:
    command = [sys.executable, "-m", "blurd", "--config", str(desk.config), "status", "--json", "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
    assert [look["healthy"] for look in looks] == [False] * 3
    assert desk.blurd("status", "--watch", "0").returncode == 2


# -- jobs --------------------------------------------------------------------------------------------------------------


def listed(desk: Desk, *arguments: str) -> list[dict[str, Any]]:
    result = desk.blurd("jobs", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_jobs_are_listed_newest_change_first_without_names(desk: Desk) -> None:
    published = desk.publish(f"{TELLING}/a.jpg")
    rejected = desk.end(f"{TELLING}.jpg", JobState.REJECTED, Reason.DAMAGED)
    queued = desk.drop("c.jpg")
    jobs = listed(desk)
    assert [job["job"] for job in jobs] == [queued, rejected, published]
    assert [job["seconds"] for job in jobs] == [None, 0.0, 0.75]
    assert set(jobs[0]) == {"job", "folder", "state", "reason", "changed_at", "attempts", "seconds"}
    text = desk.blurd("jobs").stdout
    assert "damaged" in text
    assert TELLING not in text + json.dumps(jobs)
    _age(desk, queued, "2020-01-01T00:00:00+00:00")
    assert [job["job"] for job in listed(desk)] == [rejected, published, queued]


def _age(desk: Desk, job: JobId, at: str) -> None:
    writer = sqlite3.connect(desk.settings.queue_path)
    writer.execute("UPDATE job SET changed_at = ? WHERE id = ?", (at, job))
    writer.commit()
    writer.close()


def test_jobs_are_chosen_by_folder_state_and_time(desk: Desk) -> None:
    published = desk.publish("a.jpg")
    rejected = desk.end("b.jpg", JobState.REJECTED, Reason.DAMAGED)
    failed = desk.end("c.jpg", JobState.FAILED, Reason.WORKER_DIED)
    _age(desk, failed, "2020-01-01T12:00:00+00:00")

    def numbers(*arguments: str) -> list[int]:
        return [job["job"] for job in listed(desk, *arguments)]

    assert numbers("--folder", "photos") == [rejected, published, failed]
    assert numbers("--state", "failed,rejected") == [rejected, failed]
    assert numbers("--state", "published") == [published]
    assert numbers("--since", "2020-01-02") == [rejected, published]
    assert numbers("--since", "2020-01-01T11:00+00:00", "--state", "failed") == [failed]
    assert numbers("--since", "2020-01-01T13:00+00:00", "--state", "failed") == []
    assert numbers("--limit", "1") == [rejected]
    assert desk.blurd("jobs", "--folder", "elsewhere").returncode == 10
    for wrong in (("--state", "lost"), ("--since", "soon"), ("--limit", "0"), ("--limit", "x"), ("--folder", "A B")):
        assert desk.blurd("jobs", *wrong).returncode == 2


def test_the_list_is_bounded_unless_more_is_asked_for(desk: Desk) -> None:
    for number in range(25):
        desk.drop(f"{number}.jpg")
    assert len(listed(desk)) == 20
    assert len(listed(desk, "--limit", "100")) == 25
    assert "more with --limit" in desk.blurd("jobs").stdout
    assert max(map(len, desk.blurd("jobs").stdout.splitlines())) <= 80


def test_the_questions_are_answered_from_indexes(desk: Desk) -> None:
    """With 100,000 jobs a walk over all rows would cost a second; measured: 0.15 s for the whole status."""
    plans: list[str] = []
    view = QueueView(desk.settings.queue_path, read_only=True)
    execute = view._connection.execute
    statements: list[str] = []
    view._connection.set_trace_callback(statements.append)
    view.figures([FOLDER], "2020")
    view.latest(FOLDER, (JobState.FAILED,), "2020", 20)
    view.latest(None, tuple(JobState), "", 20)
    view.record(1)
    view._connection.set_trace_callback(None)
    for statement in statements:
        if statement.strip().upper().startswith("SELECT"):
            plans.extend(row["detail"] for row in execute(f"EXPLAIN QUERY PLAN {statement}"))
    view.close()
    assert len(plans) > 6
    walks = [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan and "INDEX" not in plan]
    assert walks == []


# -- show --------------------------------------------------------------------------------------------------------------


def test_one_job_is_shown_with_its_file_history_and_stage_times(desk: Desk) -> None:
    job = desk.publish("trip/\x1b[31mErika\udcff.jpg")
    result = desk.blurd("show", str(job))
    lines = result.stdout.splitlines()
    assert lines[0] == f"job {job} in photos: published"
    assert "file      trip/?[31mErika\ufffd.jpg" in lines
    assert "copy      trip/?[31mErika\ufffd.jpg" in lines
    assert "  analyse   0.50 s" in lines
    assert [line.split()[2] for line in lines[lines.index("history") + 1 :]] == [
        "queued", "claimed,", "staged", "published",
    ]  # fmt: skip
    told = json.loads(desk.blurd("show", str(job), "--json").stdout)
    assert told["file"] == "trip/\x1b[31mErika\udcff.jpg"
    assert told["stages"] == {
        "analyse": {"seconds": 0.5, "frames": 1},
        "render": {"seconds": 0.25, "frames": 1},
    }
    assert [step["state"] for step in told["history"]] == ["queued", "claimed", "staged", "published"]


def test_a_rejected_job_says_why_and_what_to_do(desk: Desk) -> None:
    rejected = desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
    failed = desk.end("b.jpg", JobState.FAILED, Reason.NO_PROGRESS)
    text = desk.blurd("show", str(rejected)).stdout
    assert "The content can't be decoded without errors." in text
    assert "Copy it again, or repair it, and drop that in." in text
    assert f"blurd retry {failed}" in desk.blurd("show", str(failed)).stdout
    assert desk.blurd("show", "99").returncode == 26


# -- the sheet ---------------------------------------------------------------------------------------------------------


def sheet(desk: Desk, job: int) -> tuple[subprocess.CompletedProcess[str], Image.Image | None]:
    target = desk.root / "sheet.png"
    result = desk.blurd("show", str(job), "--sheet", str(target))
    if result.returncode:
        assert not target.exists()
        return result, None
    with Image.open(target) as picture:
        picture.load()
        return result, picture.copy()


def test_a_photos_sheet_is_its_copy(desk: Desk) -> None:
    ramp = Image.fromarray(np.tile(np.arange(120, dtype=np.uint8), (80, 1)))
    stream = io.BytesIO()
    ramp.save(stream, "PNG")
    desk.drop("a.png")
    result, picture = sheet(desk, desk.publish_next(stream.getvalue()))
    assert picture is not None
    assert np.array_equal(np.asarray(picture.convert("L")), np.asarray(ramp))
    assert "sheet.png" in result.stdout


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_videos_sheet_has_frames_from_all_its_length(desk: Desk, rotation: int, tmp_path: Path) -> None:
    """Each in its own place, upright: told by the number that each frame bears."""
    clip = tmp_path / "clip.mp4"
    form = Form(rotation=rotation, options={"g": "10", "bf": "2"})
    write_clip(clip, pictures(320, 240, 48), form)
    desk.drop("a.mp4")
    _, picture = sheet(desk, desk.publish_next(clip.read_bytes()))
    assert picture is not None
    width, height = (320, 240) if rotation == 0 else (240, 320)
    assert picture.size == (4 * (width + 6) + 6, 3 * (height + 30) + 6)
    found = []
    for number in range(12):
        left, top = 6 + number % 4 * (width + 6), 6 + number // 4 * (height + 30) + 24
        tile = np.asarray(picture)[top : top + height, left : left + width]
        found.append(read_stamp(np.rot90(tile, -rotation // 90)))
    assert found == [4 * number + 2 for number in range(12)]


def test_times_on_the_sheet_are_those_of_a_clock() -> None:
    told = [clock_time(seconds) for seconds in (0.0, 0.04, 59.96, 3599.9, 36_000.0, 100_000.26)]
    assert told == ["0:00:00.0", "0:00:00.0", "0:01:00.0", "0:59:59.9", "10:00:00.0", "27:46:40.3"]


def test_a_short_video_has_as_many_pictures_as_frames(desk: Desk, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, pictures(320, 240, 48)[:3], Form())
    desk.drop("a.mp4")
    _, picture = sheet(desk, desk.publish_next(clip.read_bytes()))
    assert picture is not None
    assert picture.size == (3 * 326 + 6, 276)


def _replaced(path: Path) -> None:
    """Somebody put another picture there, such as the original."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _gone(path: Path) -> None:
    path.unlink()


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [_replaced, _gone, _linked])
def test_nothing_is_shown_but_the_copy_that_was_published(desk: Desk, change: Callable[[Path], None]) -> None:
    job = desk.publish("a.jpg")
    change(desk.root / "out" / "a.jpg")
    result, _ = sheet(desk, job)
    assert result.returncode in (30, 31)
    assert "Traceback" not in result.stderr
    if change is not _linked:
        assert "not there as it was published" in result.stderr


def test_a_copy_is_found_for_its_sheet_though_its_name_was_erased(desk: Desk) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "navy").save(stream, "PNG")
    desk.drop("trip/a.png")
    job = desk.publish_next(stream.getvalue())
    desk.erase_names()
    result, picture = sheet(desk, job)
    assert picture is not None, result.stderr
    assert picture.size == (40, 30)
    (desk.root / "out" / "trip" / "a.png").unlink()
    (desk.root / "sheet.png").unlink()
    assert sheet(desk, job)[0].returncode == 31


def test_there_is_no_sheet_of_what_has_no_copy(desk: Desk) -> None:
    rejected = desk.end("a.jpg", JobState.REJECTED, Reason.DAMAGED)
    assert sheet(desk, rejected)[0].returncode == 27
    job = desk.publish("b.jpg")
    unwritable = desk.blurd("show", str(job), "--sheet", str(desk.root / "absent" / "sheet.png"))
    assert unwritable.returncode != 0
    assert "Traceback" not in unwritable.stderr


def test_the_folder_name_of_an_argument_is_checked_against_the_settings(desk: Desk) -> None:
    assert FolderName("photos") == FOLDER
    for command in (("jobs",), ("redo",), ("retry", "--all-failed")):
        assert desk.blurd(*command, "--folder", "elsewhere").returncode == 10
