"""Nothing that tells of a person leaves blurd but through the copies and the operator's own queue.

One appliance, real processes, goes through all that can happen to files whose names, contents and metadata tell of
somebody, in the hands of libraries that say what they know in every way they can. Then everything that others may read
is searched. To have another output searched, add it to `searched`.
"""

import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from appliance import Appliance
from crash.harness import children
from hostile import TALKERS, HostileAppliance
from videos import Form, pictures, write_clip

NAME = "Erika Mustermann B-AB 1234"
TELLING = re.compile(rb"Erika|Mustermann|B-AB|1234|Gartenweg|52[.,]5163|13[.,]3777", re.IGNORECASE)
"""A person, a plate, an address, a place. `1234` must not come from a number of blurd's own: `without_numbers`."""
COMMENT = f"{NAME}, Gartenweg 7, 52.5163 13.3777"
TABLES = """
[metrics]
directory = "{root}/metrics"
every_s = 1.0
[alerts]
enabled = true
paused_minutes = 0.0
repeat_hours = 0.0
"""


def png(width: int, height: int = 40) -> bytes:
    stream, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", COMMENT)
    Image.new("RGB", (width, height), (width, 90, 110)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = COMMENT
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 58.68), 3: "E", 4: (13.0, 22.0, 39.72)}
    stream = io.BytesIO()
    Image.effect_noise((320, 200), 90).convert("RGB").save(stream, "JPEG", exif=exif, quality=90)
    return stream.getvalue()


def video() -> bytes:
    stream = io.BytesIO()
    write_clip(stream, pictures(96, 64, 12), Form())
    return stream.getvalue()


class Secretary(threading.Thread):
    """Writes down the titles of all processes and the names in folders for temporary files, while they last."""

    def __init__(self, root: Path, temporary: Path) -> None:
        super().__init__(daemon=True)
        self._places = (temporary, root / "out/.blurd", root / "state", root / "metrics")
        self.pid = 0
        self.titles: set[bytes] = set()
        self.names: set[bytes] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            for pid in (self.pid, *children(self.pid)) if self.pid else ():
                self.titles |= set(_titles(pid))
            for place in self._places:
                self.names |= {os.fsencode(path.relative_to(place)) for path in place.rglob("*")}


def _titles(pid: int) -> Iterator[bytes]:
    for path in (Path(f"/proc/{pid}/cmdline"), *Path(f"/proc/{pid}/task").glob("*/comm")):
        try:
            yield path.read_bytes()
        except OSError:
            continue


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Appliance, Secretary]]:
    """An appliance after all that can happen."""
    root = tmp_path_factory.mktemp("privacy")
    made = HostileAppliance(root, "talkative", "max_attempts = 2", other_files="report", incomplete_after_s=0.5)
    for name in ("metrics", "tmp"):
        (root / name).mkdir()
    with made.config.open("a") as config:
        config.write(TABLES.format(root=root))
    made.environment["TMPDIR"] = str(root / "tmp")
    secretary = Secretary(root, root / "tmp")
    made.start()
    try:
        assert made.process is not None
        secretary.pid = made.process.pid
        secretary.start()
        drop_everything(made)
        happen(made)
        secretary.ended.set()
        secretary.join()
        yield made, secretary
    finally:
        secretary.ended.set()
        code = made.stop()
    assert code == 0


def drop_everything(made: Appliance) -> None:
    """Good and bad photos and videos, regions, links, and what is no media."""
    inbound = made.root / "in" / NAME
    made.drop(f"{NAME}/{NAME} good.jpg", jpeg())
    made.drop(f"{NAME}/{NAME} cut.jpg", jpeg()[:-3000] + COMMENT.encode() * 40)
    made.drop(f"{NAME}/{NAME} damaged.png", png(60)[:-40] + COMMENT.encode())
    made.drop(f"{NAME}/{NAME}.txt", COMMENT.encode() * 100)
    made.drop(f"{NAME}/{NAME} text.jpg", COMMENT.encode() * 100)
    whole = video()
    made.drop(f"{NAME}/{NAME}.mp4", whole)
    half = len(whole) // 3
    made.drop(f"{NAME}/{NAME} damaged.mp4", whole[:half] + COMMENT.encode() + whole[half + len(COMMENT) :])
    regions = json.dumps({"regions": [{"class": NAME, "box": COMMENT}]})
    made.drop(f"{NAME}/{NAME} regions.jpg.regions.json", regions.encode())
    made.drop(f"{NAME}/{NAME} regions.jpg", jpeg())
    (inbound / f"{NAME} link.jpg").symlink_to(inbound / f"{NAME} good.jpg")
    for width, what in TALKERS.items():
        made.drop(f"{NAME}/{NAME} {what}.png", png(width))


def happen(made: Appliance) -> None:
    """Wait for every verdict; then a pause, wrong settings, a retry."""
    expected = {"job_published", "job_rejected", "job_failed", "job_deferred", "file_refused", "library_spoke"}

    def done() -> bool:
        found = {name for name in expected if made.events(name)}
        status = made.status()
        waiting = status["queued"] + status["running"] + status["retrying"] + status["staged"] + status["settling"]
        return found == expected and status["failed"] == 2 and not waiting

    until_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until_s, made.status()
        time.sleep(0.1)
    (made.root / "out").rename(made.root / "away")
    made.wait(lambda: made.status()["paused"] is not None, "a pause")
    (made.root / "away").rename(made.root / "out")
    made.wait(lambda: not made.status()["paused"], "the end of the pause")
    sound = made.config.read_text()
    made.config.write_text(sound.replace("rescan_s = 2.0", f'rescan_s = "{NAME}"'))
    assert made.process is not None
    os.kill(made.process.pid, 1)
    made.wait(lambda: made.events("settings_refused"), "refused settings")
    made.config.write_text(sound)
    made.blurd("retry", "--reason", "internal_error")
    made.wait(lambda: made.status()["failed"] == 2 and len(made.events("job_failed")) == 3, "the same verdict again")
    made.wait((made.root / "metrics/blurd.prom").exists, "metrics")
    time.sleep(1.2)  # figures and alerts of the last events


def searched(made: Appliance, secretary: Secretary) -> dict[str, bytes]:
    """All that others may read, by what it is."""
    state, page, figures = made.root / "state", made.root / "report.html", made.root / "report.json"
    assert made.blurd("report", "--html", str(page), "--json", str(figures)).returncode == 0
    return {
        "log and standard output": made.log.read_bytes(),
        "ledger": (state / "receipts.jsonl").read_bytes(),
        "metrics": (made.root / "metrics/blurd.prom").read_bytes(),
        "alerts": b"".join(path.read_bytes() for path in sorted((state / "alerts").iterdir())),
        "alerts told": (state / "alerts.json").read_bytes(),
        "known folders": b"".join(path.read_bytes() for path in sorted((state / "folders").iterdir())),
        "status": made.blurd("status").stdout.encode(),
        "status as JSON": made.blurd("status", "--json").stdout.encode(),
        "reconcile": made.blurd("reconcile").stdout.encode(),
        "report": page.read_bytes(),
        "report as JSON": figures.read_bytes(),
        "exported receipts": made.blurd("receipts", "export", "--since", "2000-01-01").stdout.encode(),
        "jobs": made.blurd("jobs").stdout.encode(),
        "titles of processes and threads": b"\n".join(secretary.titles),
        "names of temporary, staged and state files": b"\n".join(secretary.names),
    }


def without_numbers(text: bytes) -> bytes:
    """Take away what is a number or a hash of blurd's own: digits that happen to stand in it tell nothing."""
    text = re.sub(rb'"(time|at)": ?"[^"]*"', b"", text)
    return re.sub(rb"(?<![A-Za-z0-9-])([0-9]+\.?[0-9]*(e-?[0-9]+)?|[0-9a-f-]{32,64})(?![A-Za-z0-9-])", b"", text)


def test_p5_nothing_that_others_read_tells_of_a_person(scene: tuple[Appliance, Secretary]) -> None:
    made, secretary = scene
    outputs = searched(made, secretary)
    for what, text in outputs.items():
        assert text, f"{what}: nothing was searched"
        found = TELLING.search(without_numbers(text))
        assert found is None, f"{what}: {text[max(0, text.find(found[0]) - 200) :][:400]!r}"


def test_p5_the_search_would_find_something(scene: tuple[Appliance, Secretary]) -> None:
    """Every token is found where it may stand: in the queue and in inbound."""
    made, _ = scene
    queue = b"".join(path.read_bytes() for path in (made.root / "state").glob("queue.sqlite*"))
    assert TELLING.search(without_numbers(queue))
    for told in ("Erika", "B-AB 1234", "Gartenweg 7"):
        assert TELLING.search(without_numbers(json.dumps({"text": told}).encode()))


def test_p5_every_line_is_an_event_of_the_closed_list(scene: tuple[Appliance, Secretary]) -> None:
    from blurd.events import EVENTS

    made, _ = scene
    known = {event.name: event for event in EVENTS}
    for line in made.log.read_text().splitlines():
        value = json.loads(line)  # anything else was printed past the log
        fields = set(value) - {"event", "level", "message_id", "time"}
        assert fields <= set(known[value["event"]].__dataclass_fields__), value
    faults = {(event["fault"], event["part"]) for event in made.events("internal_error")}
    assert {("TypeError", "work"), ("KeyError", "work"), ("OSError", "work")} <= faults
    assert 0 in {event["severity"] for event in made.events("library_spoke")}


def test_nothing_stays_in_the_folder_for_temporary_files(scene: tuple[Appliance, Secretary]) -> None:
    made, _ = scene
    left = list((made.root / "tmp").rglob("*"))
    for path in left:
        assert not TELLING.search(os.fsencode(path.name))
        if path.is_file():
            assert not TELLING.search(path.read_bytes())
    shutil.rmtree(made.root / "tmp", ignore_errors=True)
    (made.root / "tmp").mkdir()
