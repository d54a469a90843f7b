"""The whole appliance as a user starts it: real processes, real pictures, nothing replaced.

One `blurd run` serves all tests of this module; each uses names of its own.
"""

import io
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance import Appliance, settings_text
from blurd.adapters.files import stamp_of
from media import astronaut, rough

TELLING = "B-AB 1234 Erika Mustermann"


def scene(faces: int = 2, size: tuple[int, int] = (1200, 800)) -> Image.Image:
    """The astronaut, `faces` times, on a plain ground."""
    picture = Image.new("RGB", size, (90, 110, 130))
    portrait = Image.fromarray(astronaut())
    for number in range(faces):
        picture.paste(portrait.resize((500, 500)), (50 + 560 * number, 150))
    return picture


def jpeg(faces: int = 2, **options: Any) -> bytes:
    stream = io.BytesIO()
    scene(faces).save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    made = Appliance(tmp_path_factory.mktemp("appliance"))
    made.start()
    yield made
    assert made.stop() == 0


def decode(path: Path) -> Image.Image:
    """A picture, wholly read; raises where it is damaged."""
    with Image.open(path) as picture:
        picture.load()
        return picture.copy()


def test_a_photo_comes_out_with_its_faces_blurred(appliance: Appliance) -> None:
    original = jpeg(exif=exif())
    source = appliance.drop("trip/day 1/two faces.jpg", original)
    copy = appliance.copy("trip/day 1/two faces.jpg")
    before, after = scene(), decode(copy)
    assert after.size == before.size
    for left in (50, 610):
        face = (left + 175, 210, left + 275, 340)  # the astronaut's face in the photo, at this scale
        assert rough(after.crop(face)) < 0.4 * rough(before.crop(face))
        rocket = (left + 330, 300, left + 480, 450)
        assert rough(after.crop(rocket)) > 0.8 * rough(before.crop(rocket))
    assert source.read_bytes() == original
    assert TELLING.encode() not in copy.read_bytes()
    assert not after.getexif()


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010E] = TELLING
    return made


def test_a_picture_without_faces_is_published_too(appliance: Appliance) -> None:
    appliance.drop("empty room.png", _png(Image.new("RGB", (64, 48), "navy")))
    assert decode(appliance.copy("empty room.png")).getpixel((5, 5)) == (0, 0, 128)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_a_file_written_slowly_is_taken_when_it_is_complete(appliance: Appliance) -> None:
    content = jpeg(1)
    path = appliance.root / "in" / "slow.jpg"
    with path.open("wb") as writer:
        for start in range(0, len(content), len(content) // 8):
            writer.write(content[start : start + len(content) // 8])
            writer.flush()
            time.sleep(0.2)
            assert not (appliance.root / "out" / "slow.jpg").exists()
    assert decode(appliance.copy("slow.jpg")).size == (1200, 800)


def test_bad_input_ends_in_a_stated_verdict(appliance: Appliance) -> None:
    """Not an image, truncated, a program, a web page: rejected with a reason, originals untouched, nothing out."""
    bad = {
        "notes.jpg": b"just some text\n" * 50,
        "program.jpg": b"\x7fELF" + bytes(2000),
        "page.png": b"<!doctype html><html><body>hello</body></html>",
        "broken.png": _broken_png(),
        "animation.gif": _gif(),
    }
    for name, content in bad.items():
        appliance.drop("bad/" + name, content)
    appliance.wait(lambda: appliance.status()["rejected"] >= len(bad), "five rejections")
    reasons = appliance.status()["reasons"]
    assert reasons["unknown_format"] == 3
    assert set(reasons) <= {"unknown_format", "damaged", "unsupported_format", "animated"}
    for name, content in bad.items():
        assert (appliance.root / "in" / "bad" / name).read_bytes() == content
    told = {f"{name}.rejected.txt" for name in bad}
    appliance.wait(lambda: {path.name for path in appliance.notes()} >= told, "five notes")
    assert {path.name for path in (appliance.root / "out" / "bad").iterdir()} == told
    text = appliance.blurd("status")
    assert text.returncode == 0  # a verdict, not a fault
    assert "unknown_format" in text.stdout
    assert "whatever the name says" in " ".join(text.stdout.split())


def _broken_png() -> bytes:
    content = bytearray(_png(scene(1)))
    for position in range(2000, len(content) - 100, 997):
        content[position] ^= 0x55
    return bytes(content)


def _gif() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 200)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def test_s07_a_new_version_under_the_same_name_gets_its_own_copy(appliance: Appliance) -> None:
    appliance.drop("again.png", _png(Image.new("RGB", (40, 40), "red")))
    appliance.copy("again.png")
    appliance.drop("again.png", _png(Image.new("RGB", (41, 40), "blue")))
    assert decode(appliance.copy("again-2.png")).size == (41, 40)
    assert decode(appliance.root / "out" / "again.png").size == (40, 40)


def test_s37_a_killed_worker_is_replaced_and_the_job_done(appliance: Appliance) -> None:
    """SIGKILL in the middle of a job: the attempt counts, the next worker finishes it."""
    done = {event["job"] for event in appliance.events("job_claimed")}
    stream = io.BytesIO()
    scene(2).resize((2400, 1600)).save(stream, "JPEG", quality=85)
    appliance.drop("large.jpg", stream.getvalue())
    appliance.wait(lambda: {event["job"] for event in appliance.events("job_claimed")} - done, "a claim")
    worker = appliance.events("process_started")[-1]
    workers = [event["pid"] for event in appliance.events("process_started") if event["part"] == "work"]
    assert worker
    os.kill(workers[-1], signal.SIGKILL)
    appliance.copy("large.jpg")
    assert appliance.events("job_recovered")
    claims = [event for event in appliance.events("job_claimed") if event["job"] not in done]
    assert [event["attempt"] for event in claims][-1] == 2


def test_p5_no_name_and_nothing_from_a_file_reaches_the_log(appliance: Appliance) -> None:
    """Promise 5, driven with telling names through success and failure."""
    appliance.drop(f"{TELLING}/{TELLING}.jpg", jpeg(1, exif=exif()))
    appliance.drop(f"{TELLING}/{TELLING} broken.jpg", jpeg(1)[:-4000] + TELLING.encode())
    appliance.drop(f"{TELLING}/{TELLING}.txt", TELLING.encode() * 100)
    (appliance.root / "in" / TELLING / f"{TELLING} link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(appliance.root / "in" / TELLING / f"{TELLING} pipe.jpg")
    appliance.copy(f"{TELLING}/{TELLING}.jpg")
    before = appliance.status()
    appliance.wait(lambda: {"symbolic_link", "not_regular"} <= set(appliance.status()["reasons"]), "refusals")
    assert before["published"] >= 1
    outputs = [
        appliance.log.read_text(),
        (appliance.root / "state" / "receipts.jsonl").read_text(),
        appliance.blurd("status").stdout,
        appliance.blurd("status", "--json").stdout,
        appliance.blurd("jobs", "--limit", "1000").stdout,
        appliance.blurd("jobs", "--limit", "1000", "--json").stdout,
    ]
    for output in outputs:
        for word in ("Erika", "Mustermann", "1234", "two faces", "passwd"):
            assert word not in output
    known = {"time", "event", "level", "message_id"}
    for line in outputs[0].splitlines():
        for key, value in json.loads(line).items():
            assert key in known or not isinstance(value, str) or len(value) < 33


def test_p3_nothing_half_made_was_ever_visible(appliance: Appliance) -> None:
    """Everything in outbound decodes, and staging is emptied when nothing runs."""
    appliance.wait(lambda: not any(appliance.status()[key] for key in ("queued", "running", "staged")), "an idle queue")
    appliance.wait(
        lambda: [path.name for path in (appliance.root / "out" / ".blurd").iterdir()] == ["folder"],
        "an empty staging folder",
    )
    copies = appliance.outputs()
    assert copies
    for path in copies:
        assert ".blurd" not in path.parts
        decode(path)


def test_s42_a_second_blurd_on_the_same_state_ends(appliance: Appliance) -> None:
    result = appliance.blurd("watch")
    assert result.returncode == 15
    assert "Another blurd uses this state directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_p1_every_file_is_accounted_for(appliance: Appliance) -> None:
    """Promise 1: published, rejected, ignored or waiting, and nothing else."""
    status = appliance.status()
    files = appliance.inputs()
    ended = status["published"] + status["rejected"] + status["failed"] + status["ignored"]
    waiting = status["settling"] + status["queued"] + status["running"] + status["retrying"] + status["staged"]
    replaced = 1  # again.png
    assert ended + waiting == len(files) + replaced


def test_s40_a_stop_gives_the_job_back_and_a_restart_does_it(tmp_path: Path) -> None:
    made = Appliance(tmp_path)
    stream = io.BytesIO()
    scene(2).resize((2400, 1600)).save(stream, "JPEG", quality=85)
    made.drop("large.jpg", stream.getvalue())
    made.start()
    made.wait(lambda: made.log.exists() and made.events("job_claimed"), "a claim")
    assert made.stop() == 0
    assert made.events("job_returned")
    assert made.status()["queued"] == 1
    assert made.outputs() == []
    made.start()
    made.copy("large.jpg")
    assert made.stop() == 0
    assert made.events("job_claimed")[-1]["attempt"] == 1


@pytest.mark.parametrize(("damage", "code", "text"), [("missing", 11, "model is missing"), ("wrong", 12, "manifest")])
def test_s44_without_the_right_model_nothing_comes_out(tmp_path: Path, damage: str, code: int, text: str) -> None:
    models = tmp_path / "models"
    shutil.copytree(Path(__file__).parents[2] / "models", models, ignore=shutil.ignore_patterns("training"))
    (binary,) = (models / "face").glob("*.bin")
    if damage == "missing":
        binary.unlink()
    else:
        content = bytearray(binary.read_bytes())
        content[len(content) // 2] ^= 1
        binary.write_bytes(bytes(content))
    made = Appliance(tmp_path)
    made.config.write_text(made.config.read_text().replace("[models]", f'[models]\ndirectory = "{models}"'))
    made.drop("a.jpg", jpeg(1))
    result = made.blurd("run")
    assert result.returncode == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "out").rglob("*.jpg")) == []


def test_s28_a_full_outbound_pauses_and_resumes(tmp_path: Path) -> None:
    """The reserve is larger than any disk; then it is not. No attempt is spent meanwhile."""
    made = Appliance(tmp_path, reserve_mebibytes=1 << 40)
    made.drop("a.jpg", jpeg(1))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("job_queued"), "a queued job")
    made.wait(lambda: made.status()["paused"] == "outbound_full", "a pause")
    time.sleep(3)
    assert made.events("job_claimed") == []
    assert len(made.events("folder_paused")) == 1
    assert made.blurd("status").returncode == 1
    assert made.stop() == 0
    made.config.write_text(settings_text(tmp_path))
    made.start()
    made.copy("a.jpg")
    assert made.events("job_claimed")[-1]["attempt"] == 1
    assert made.stop() == 0


def test_s24_a_missing_inbound_pauses_the_folder_and_judges_nothing(tmp_path: Path) -> None:
    made = Appliance(tmp_path)
    made.start()
    made.drop("a.jpg", jpeg(1))
    made.copy("a.jpg")
    (tmp_path / "in").rename(tmp_path / "unmounted")
    made.wait(lambda: made.events("folder_paused"), "a pause")
    assert made.status()["paused"] == "inbound_missing"
    (tmp_path / "unmounted").rename(tmp_path / "in")
    made.wait(lambda: made.events("folder_resumed"), "a resumption")
    made.drop("b.jpg", jpeg(1))
    made.copy("b.jpg")
    assert made.status()["published"] == 2
    assert made.stop() == 0


def test_the_stamp_of_a_file_outlives_a_restart(tmp_path: Path) -> None:
    """A published original that is still there is not taken again after a restart."""
    made = Appliance(tmp_path)
    source = made.drop("a.jpg", jpeg(1))
    made.start()
    made.copy("a.jpg")
    assert made.stop() == 0
    before = stamp_of(source.stat())
    made.start()
    made.wait(lambda: len(made.events("folder_watched")) == 2, "a second start")
    time.sleep(2)
    assert made.stop() == 0
    assert stamp_of(source.stat()) == before
    assert len(made.events("job_queued")) == 1


def test_regions_are_waited_for_masked_and_replace_the_copy_when_they_change(tmp_path: Path) -> None:
    """Zone and regions end up in the copy; each version of the regions leaves one copy; bad ones reject the file."""
    made = Appliance(tmp_path, regions="required")
    zone = "polygon = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]"
    made.config.write_text(f"{made.config.read_text()}\n[[folder.zone]]\n{zone}\n")
    ramp = np.tile((np.arange(160) % 4 * 60).astype(np.uint8), (120, 1))
    made.drop("a.png", _png(Image.fromarray(ramp)))
    made.start()
    made.wait(lambda: made.log.exists() and made.events("folder_watched"), "a watched folder")
    made.wait(lambda: made.status()["awaiting_regions"] == 1, "a file that waits for its regions")
    assert "regions_missing" in made.blurd("status").stdout

    made.drop("a.png.regions.json", _regions([0.5, 0.5, 0.75, 1.0]))
    first = np.asarray(decode(made.copy("a.png")))
    changed = np.zeros((120, 160), np.bool_)
    changed[:60, :40] = changed[60:, 80:120] = True
    assert np.array_equal(first[~changed], ramp[~changed])
    assert all(rough(part.T) < 0.2 * rough(ramp.T) for part in (first[:60, :40], first[60:, 80:120]))

    made.drop("a.png.regions.json", _regions([0.5, 0.0, 0.75, 0.5]))
    second = np.asarray(decode(made.copy("a-2.png")))
    made.wait(lambda: made.status()["withdrawn"] == 1, "a withdrawn copy")
    assert np.array_equal(second[60:], ramp[60:])
    assert not (tmp_path / "out" / "a.png").exists()

    made.drop("a.png.regions.json", b'{"regions": [{"class": "face"}]}')
    made.wait(lambda: made.status()["reasons"].get("regions_invalid") == 1, "a rejection")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["a-2.png"]
    assert made.status()["published"] == 1
    receipts = [json.loads(line) for line in (tmp_path / "state" / "receipts.jsonl").read_text().splitlines()]
    assert [receipt["event"] for receipt in receipts] == ["published", "published", "withdrawn"]
    assert len({receipt.get("regions_sha256") for receipt in receipts[:2]} - {None}) == 2
    assert len(made.events("job_withdrawn")) == 1
    assert made.stop() == 0


def _regions(box: list[float]) -> bytes:
    return json.dumps({"regions": [{"class": "region", "box": box}]}).encode()
