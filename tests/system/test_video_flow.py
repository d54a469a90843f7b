"""Videos through the whole appliance: a recorder's export, stops, kills, and what is told meanwhile."""

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from appliance import Appliance
from blurd.records import Category
from clips import Look, Truth, render
from media import Pixels, rough
from variants import variant
from videos import Form, write_clip

STREET = Look(faces=1, plates=0, sizes_px=(60.0, 80.0), speed=0.1, shake_px=1.0, noise=1.0, post=False)

LONG_FRAMES = 400  # some seconds of work on a quick machine


def street(frames: int, sound: str = "") -> tuple[bytes, list[tuple[Pixels, tuple[Truth, ...]]]]:
    """A face that moves through the picture: the file, and each frame with its truth."""
    shown = list(render(3, 320, 240, frames, look=STREET))
    file = io.BytesIO()
    write_clip(file, (picture for picture, _ in shown), Form(sound=sound))
    return file.getvalue(), shown


def frames_of(path: Path) -> list[Pixels]:
    """Every frame, decoded without a complaint."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def streams_of(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


def receipts(made: Appliance) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.root / "state" / "receipts.jsonl").read_text().splitlines()]


def visible(made: Appliance) -> set[str]:
    """Everything in outbound, staging included."""
    return {str(path.relative_to(made.root / "out")) for path in made.outputs()}


def running(made: Appliance) -> dict[str, Any]:
    """The job that runs, or nothing."""
    jobs = made.overview()["running"] if made.log.exists() else []
    return jobs[0] if jobs else {}


def test_a_recorders_export_comes_out_file_by_file_and_nothing_else_does(tmp_path: Path) -> None:
    """Segments in three containers, an index, a player, checksums and a damaged segment, in a tree."""
    made = Appliance(tmp_path)
    content, shown = street(20, sound="aac")
    dav, avi = variant("dav_h264"), variant("avi_mjpeg")
    made.drop("export/ch1/a.mp4", content)
    made.drop("export/ch1/b.dav", dav.data)
    made.drop("export/ch2/c.avi", avi.data)
    made.drop("export/ch2/cut.mkv", b"\x1a\x45\xdf\xa3" + bytes(5000))
    for name in ("index.xml", "player/Player.exe", "player/codec.dll", "checksums"):
        made.drop(f"export/{name}", b"<index/>" * 200)
    made.start()
    copies = [made.copy(f"export/{name}") for name in ("ch1/a.mp4", "ch1/b.dav.mp4", "ch2/c.avi.mp4")]
    made.wait(lambda: made.status()["rejected"] == 1, "a verdict on the damaged segment")
    assert made.stop() == 0

    assert [len(frames_of(copy)) for copy in copies] == [20, dav.count, avi.count]
    assert [streams_of(copy) for copy in copies] == [["video"]] * 3
    assert visible(made) == {f"export/{name}" for name in ("ch1/a.mp4", "ch1/b.dav.mp4", "ch2/c.avi.mp4")}
    status = made.status()
    assert (status["published"], status["rejected"], status["ignored"]) == (3, 1, 4)
    assert status["settling"] + status["queued"] + status["failed"] == 0
    assert "4 x not_media" in made.blurd("status").stdout
    assert len(made.events("file_ignored")) == 4
    told = [receipt for receipt in receipts(made) if receipt["event"] == "published"]
    assert sorted(receipt["frames"] for receipt in told) == sorted([20, dav.count, avi.count])
    assert (made.root / "in" / "export" / "ch1" / "a.mp4").read_bytes() == content

    seen = 0
    for copy, (picture, truths) in zip(frames_of(copies[0]), shown, strict=True):
        for truth in truths:
            if truth.category is Category.FACE and truth.visible > 0.9:
                box = truth.box
                part = np.s_[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
                assert rough(copy[part]) < 0.5 * rough(picture[part])
                seen += 1
    assert seen >= 15


@pytest.fixture(scope="module")
def long_video() -> bytes:
    """Long enough that it can be interrupted in its middle."""
    return street(LONG_FRAMES)[0]


def test_s40_a_stop_in_the_middle_of_a_video_gives_it_back(tmp_path: Path, long_video: bytes) -> None:
    """The status tells how far it is; after a stop nothing is left but the original; a restart does the whole job."""
    made = Appliance(tmp_path)
    made.drop("long.mp4", long_video)
    made.start()
    job = made.wait(lambda: (job := running(made)).get("frames_per_s", 0) > 0 and job, "progress")
    assert 0 < job["progress"] < 1
    assert job["left_s"] > 0
    assert "frames/s" in made.blurd("status").stdout
    assert made.stop() == 0
    assert made.events("job_returned")
    assert made.status()["queued"] == 1
    assert visible(made) == set()
    made.start()
    assert len(frames_of(made.copy("long.mp4"))) == LONG_FRAMES
    assert made.stop() == 0
    assert made.events("job_claimed")[-1]["attempt"] == 1
    assert visible(made) == {"long.mp4"}


def test_s37_a_worker_killed_in_the_middle_of_a_video_is_replaced(tmp_path: Path, long_video: bytes) -> None:
    made = Appliance(tmp_path)
    made.drop("long.mp4", long_video)
    made.start()
    made.wait(lambda: running(made).get("progress", 0) > 0, "progress")
    (worker,) = {event["pid"] for event in made.events("process_started") if event["part"] == "work"}
    os.kill(worker, signal.SIGKILL)
    assert len(frames_of(made.copy("long.mp4"))) == LONG_FRAMES
    made.wait(lambda: visible(made) == {"long.mp4"}, "an empty staging folder")
    assert made.stop() == 0
    assert [event["attempt"] for event in made.events("job_claimed")] == [1, 2]
    assert made.events("job_recovered")
    assert made.status()["published"] == 1


def test_a_video_replaced_while_it_is_treated_leaves_a_copy_of_the_new_one_alone(
    tmp_path: Path, long_video: bytes
) -> None:
    made = Appliance(tmp_path)
    made.drop("long.mp4", long_video)
    made.start()
    made.wait(lambda: running(made).get("progress", 0) > 0, "progress")
    made.drop("long.mp4", street(12)[0])
    assert len(frames_of(made.copy("long.mp4"))) == 12
    made.wait(lambda: visible(made) == {"long.mp4"}, "an empty staging folder")
    assert made.stop() == 0
    status = made.status()
    assert (status["published"], status["superseded"]) == (1, 1)
