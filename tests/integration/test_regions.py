"""A file's own regions, from the file beside it to the copy that is withdrawn: real folders, a real queue."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.host import this_process
from blurd.adapters.regions import MOST_BYTES, MOST_REGIONS, parse_regions, read_regions
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_schema import MIGRATIONS
from blurd.core.naming import TEMPORARY_NAMES, is_regions, medium_of, regions_path
from blurd.core.settling import SettleRule
from blurd.core.zones import Region, Unit
from blurd.errors import EquipmentError, InputError, Reason
from blurd.records import FileStamp, FolderCondition, FolderName, FoundFile, JobState
from blurd.stages.settle import Settler

FOLDER = FolderName("photos")
ME = this_process()
STAMP = FileStamp(100, 5, 6, 7)
BOX = {"class": "face", "box": [0.1, 0.2, 0.3, 0.4]}
SOUND = json.dumps({"regions": [BOX]}).encode()
OTHER = json.dumps({"regions": [BOX, BOX]}).encode()


def parsed(**region: Any) -> tuple[Region, ...]:
    return parse_regions(json.dumps({"regions": [{"class": "region", **region}]}).encode())


# -- what is written in the file ---------------------------------------------------------------------------------------


def test_boxes_polygons_times_and_units_are_read() -> None:
    document = {
        "unit": "px",
        "regions": [
            {"class": "plate", "box": [1, 2, 30, 40], "from_s": 1.5, "to_s": 4},
            {"class": "region", "polygon": [[0, 0], [50, 0], [50.5, 50]]},
        ],
    }
    corners = ((1.0, 2.0), (30.0, 2.0), (30.0, 40.0), (1.0, 40.0))
    expected = (
        Region(corners, Unit.PIXEL, is_box=True, from_s=1.5, to_s=4.0),
        Region(((0.0, 0.0), (50.0, 0.0), (50.5, 50.0)), Unit.PIXEL),
    )
    assert parse_regions(json.dumps(document).encode()) == expected
    assert parse_regions(b"\xef\xbb\xbf" + json.dumps(document).encode()) == expected
    assert parse_regions(b'{"regions": []}') == ()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"hello", b"{}", b'{"regions": {}}',
        b'{"regions": [], "extra": 1}', b'{"regions": [], "unit": "cm"}', b"[" * 100_000,
        b'{"regions": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"regions": [{"class": "face", "box": [0, 0, NaN, 1]}]}',
        b'{"regions": [{"class": "face", "box": [0, 0, 1e999, 1]}]}',
        b" " * (MOST_BYTES + 1),
        json.dumps({"regions": [BOX] * (MOST_REGIONS + 1)}).encode(),
    ],
)  # fmt: skip
def test_a_file_of_regions_that_is_not_sound_has_its_reason(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_regions(content)
    assert caught.value.reason is Reason.REGIONS_INVALID


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ({}, "either a polygon or a box"),
        ({"box": [0, 0, 1, 1], "polygon": [[0, 0], [1, 0], [1, 1]]}, "either a polygon or a box"),
        ({"box": [0, 0, 1]}, "Field required"),
        ({"box": ["0", 0, 1, 1]}, "valid number"),
        ({"box": [True, 0, 1, 1]}, "valid number"),
        ({"box": [0.5, 0, 0.2, 1]}, "left, top, right, bottom"),
        ({"box": [0, 0, 0, 1]}, "encloses nothing"),
        ({"box": [0, 0, 30, 1]}, "between 0 and 1"),
        ({"polygon": [[0, 0], [1, 1]]}, "3 to 64 points"),
        ({"polygon": [[0, 0], [1, 1], [1, 0], [0, 0.5]]}, "cross"),
        ({"polygon": [[0, 0], [1, 1], [2, 2]]}, "encloses nothing"),
        ({"box": [0, 0, 1, 1], "from_s": 5, "to_s": 4}, "from_s comes before"),
        ({"box": [0, 0, 1, 1], "from_s": -1}, "greater than or equal"),
        ({"box": [0, 0, 1, 1], "class": "dog"}, "'region', 'face' or 'plate'"),
        ({"box": [0, 0, 1, 1], "Erika Mustermann": 4}, "Extra inputs"),
    ],
)
def test_a_faulty_region_says_what_is_wrong(region: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        parsed(**region)
    assert "Erika" not in caught.value.detail


def test_names_of_regions() -> None:
    assert regions_path("a/b.mp4") == "a/b.mp4.regions.json"
    assert medium_of("a/b.mp4.regions.json") == "a/b.mp4"
    assert medium_of("a/b.mp4") == "a/b.mp4"
    assert not is_regions("a/b.json")


# -- opening it --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inbound(tmp_path: Path) -> Iterator[InboundFolder]:
    (tmp_path / "in").mkdir()
    with InboundFolder(tmp_path / "in") as folder:
        yield folder


def reason_of(inbound: InboundFolder, expected: FileStamp | None) -> Reason:
    with pytest.raises(InputError) as caught:
        read_regions(inbound, "a.jpg", expected, allow_hard_links=False)
    return caught.value.reason


def test_regions_are_read_in_the_expected_version_only(inbound: InboundFolder, tmp_path: Path) -> None:
    assert read_regions(inbound, "a.jpg", None, allow_hard_links=False).sha256 is None
    path = tmp_path / "in" / "a.jpg.regions.json"
    path.write_bytes(SOUND)
    assert reason_of(inbound, None) is Reason.SOURCE_CHANGED
    found = read_regions(inbound, "a.jpg", inbound.regions_stamp("a.jpg"), allow_hard_links=False)
    assert len(found.regions) == 1
    assert len(str(found.sha256)) == 64
    assert reason_of(inbound, STAMP) is Reason.SOURCE_CHANGED


def test_s16_s17_s18_odd_objects_in_the_place_of_regions_reject_the_file(
    inbound: InboundFolder, tmp_path: Path
) -> None:
    """They are opened through no link, and never ignored."""
    (tmp_path / "elsewhere").write_bytes(SOUND)
    path = tmp_path / "in" / "a.jpg.regions.json"
    path.symlink_to(tmp_path / "elsewhere")
    assert reason_of(inbound, inbound.regions_stamp("a.jpg")) is Reason.REGIONS_INVALID
    path.unlink()
    os.link(tmp_path / "elsewhere", path)
    assert reason_of(inbound, inbound.regions_stamp("a.jpg")) is Reason.REGIONS_INVALID
    path.unlink()
    os.mkfifo(path)
    assert reason_of(inbound, inbound.regions_stamp("a.jpg")) is Reason.REGIONS_INVALID
    path.unlink()
    path.mkdir()
    assert reason_of(inbound, inbound.regions_stamp("a.jpg")) is Reason.REGIONS_INVALID


def test_a_name_too_long_for_regions_has_none(inbound: InboundFolder) -> None:
    assert inbound.regions_stamp("a" * 250) is None


# -- settling ----------------------------------------------------------------------------------------------------------


class Bench:
    """A settler and a queue on a real folder, with a clock that the test moves."""

    def __init__(self, root: Path, *, required: bool = False) -> None:
        self.root = root / "in"
        self.root.mkdir(exist_ok=True)
        self.store = SqliteJobStore(root / "queue.sqlite")
        self.settler = Settler(
            FOLDER, SettleRule(5.0, 600.0), TEMPORARY_NAMES, self.store, hard_links=False, regions_required=required
        )
        self.now_s = 0.0

    def scan(self, after_s: float = 0.0) -> list[FoundFile]:
        self.now_s += after_s
        with InboundFolder(self.root) as inbound:
            found = list(self.settler.scan(inbound, self.now_s))
        self.store.enqueue(FOLDER, found)
        return found

    def settled(self) -> list[FoundFile]:
        return [*self.scan(), *self.scan(5.0)]

    def write(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        return path

    def counts(self) -> dict[JobState, int]:
        return dict(self.store.overview().counts.get(FOLDER, {}))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_regions_belong_to_their_file_and_are_no_file_themselves(bench: Bench) -> None:
    bench.write("a.jpg", b"medium")
    path = bench.write("a.jpg.regions.json", SOUND)
    bench.write("orphan.mp4.regions.json", SOUND)
    (found,) = bench.settled()
    assert (found.path, found.refusal, found.regions) == ("a.jpg", None, stamp_of(path.stat()))
    assert bench.scan(600.0) == []
    assert bench.settler.settling == 0


def test_regions_that_arrive_change_or_go_queue_the_file_anew(bench: Bench) -> None:
    bench.write("a.jpg", b"medium")
    assert len(bench.settled()) == 1
    path = bench.write("a.jpg.regions.json", SOUND)
    assert [file.regions is None for file in bench.settled()] == [False]
    path.write_bytes(OTHER)
    assert len(bench.settled()) == 1
    path.unlink()
    assert [file.regions is None for file in bench.settled()] == [True]
    assert bench.settled() == []
    assert bench.counts() == {JobState.SUPERSEDED: 3, JobState.QUEUED: 1}


def test_regions_settle_with_their_file(bench: Bench) -> None:
    """A change of the regions begins the wait anew; so does their arrival."""
    bench.write("a.jpg", b"medium")
    bench.scan()
    bench.write("a.jpg.regions.json", SOUND)
    assert bench.scan(4.0) == []
    bench.write("a.jpg.regions.json", OTHER)
    assert bench.scan(4.0) == []
    assert bench.scan(4.0) == []
    assert len(bench.scan(1.0)) == 1


def test_s01_regions_that_are_being_written_are_waited_for(bench: Bench) -> None:
    bench.write("a.jpg", b"medium")
    with (bench.root / "a.jpg.regions.json").open("wb") as writer:
        writer.write(SOUND)
        writer.flush()
        assert bench.settled() == []
        assert bench.scan(10_000.0) == []
    assert len(bench.scan(60.0)) == 1


@pytest.mark.parametrize("content", [b"", SOUND[:-1], b'{"regions": ['])
def test_s05_regions_that_stay_cut_off_reject_the_file_in_the_end(bench: Bench, content: bytes) -> None:
    bench.write("a.jpg", b"medium")
    path = bench.write("a.jpg.regions.json", content)
    assert bench.settled() == []
    assert [file.refusal for file in bench.scan(600.0)] == [Reason.REGIONS_INVALID]
    path.write_bytes(SOUND)
    assert [file.refusal for file in bench.settled()] == [None]


def test_a_hint_at_regions_looks_at_their_file(bench: Bench) -> None:
    bench.write("a.jpg", b"medium")
    bench.write("a.jpg.regions.json", SOUND)
    with InboundFolder(bench.root) as inbound:
        assert list(bench.settler.look_at(inbound, ["a.jpg.regions.json"], 0.0)) == []
        assert [file.path for file in bench.settler.look_at(inbound, ["a.jpg.regions.json"], 5.0)] == ["a.jpg"]
        assert list(bench.settler.look_at(inbound, ["b.jpg.regions.json"], 9.0)) == []


def test_a_folder_that_requires_regions_holds_files_until_theirs_are_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, required=True)
    bench.write("a.jpg", b"medium")
    gone = bench.write("b.jpg", b"medium")
    assert bench.settled() == []
    assert (bench.settler.awaiting_regions, bench.settler.settling) == (2, 0)
    bench.write("a.jpg.regions.json", b'{"regions": []}')
    gone.unlink()
    assert [file.path for file in bench.settled()] == ["a.jpg"]
    assert (bench.settler.awaiting_regions, bench.settler.settling) == (0, 0)
    bench.store.close()


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_the_version_of_a_job_is_the_file_and_its_regions(bench: Bench) -> None:
    store = bench.store
    regions = FileStamp(9, 8, 7, 2**64 - 1)
    store.enqueue(FOLDER, [FoundFile("a", STAMP, regions=regions)])
    job = store.claim(ME, [FOLDER], 0.0)
    assert job is not None
    assert job.regions == regions
    assert store.is_known(FOLDER, "a", STAMP, FileStamp(9, 8, 0, 0))  # across a remount
    assert not store.is_known(FOLDER, "a", STAMP, None)
    assert not store.is_known(FOLDER, "a", STAMP, FileStamp(9, 9, 7, 2**64 - 1))


def test_s41_an_older_queue_is_migrated_step_by_step(tmp_path: Path) -> None:
    """Every older version, with jobs in it, becomes this one; its jobs are those of files without regions."""
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"queue-{version}.sqlite"
        raw = sqlite3.connect(path)
        for script in MIGRATIONS[:version]:
            raw.executescript(script)
        raw.execute(f"PRAGMA user_version = {version}")
        raw.execute(
            "INSERT INTO job (folder, path, size, mtime_ns, ctime_ns, inode, state, created_at, changed_at)"
            " VALUES ('photos', ?, 100, 5, 6, 7, 'queued', '', '')",
            (b"a.jpg",),
        )
        raw.execute("INSERT INTO folder (name, settling, rescan_only) VALUES ('photos', 3, 0)")
        raw.commit()
        raw.close()
        store = SqliteJobStore(path)
        assert store.is_known(FOLDER, "a.jpg", STAMP, None)
        assert not store.is_known(FOLDER, "a.jpg", STAMP, STAMP)
        assert store.overview().folders == (FolderCondition(FOLDER, 3, None, rescan_only=False),)
        job = store.claim(ME, [FOLDER], 0.0)
        assert job is not None
        assert job.regions is None
        store.close()
        again = sqlite3.connect(path)
        assert again.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        again.close()


def test_a_migration_that_is_cut_off_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is one transaction: what a failing step began is undone."""
    path = tmp_path / "queue.sqlite"
    raw = sqlite3.connect(path)
    raw.executescript(MIGRATIONS[0])
    raw.execute("PRAGMA user_version = 1")
    raw.close()
    with monkeypatch.context() as patched:
        broken = (MIGRATIONS[0], MIGRATIONS[1] + "; ALTER TABLE nowhere ADD COLUMN nothing INTEGER")
        patched.setattr("blurd.adapters.store_schema.MIGRATIONS", broken)
        with pytest.raises(EquipmentError):
            SqliteJobStore(path)
    SqliteJobStore(path).close()
