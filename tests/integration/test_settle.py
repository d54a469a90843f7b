"""Settling, against real files: which are found, which are refused, which wait."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from blurd.adapters.folders import InboundFolder
from blurd.adapters.store import SqliteJobStore
from blurd.core.naming import TEMPORARY_NAMES
from blurd.core.settling import SettleRule
from blurd.errors import Reason
from blurd.events import Event, FileIgnored, JobQueued
from blurd.records import FolderName, FoundFile, JobState
from blurd.stages.enqueue import enqueue
from blurd.stages.settle import MAX_DEPTH, Settler
from pictures import png

FOLDER = FolderName("photos")


class Bench:
    """A settler on a real folder, with a clock that the test moves."""

    def __init__(
        self,
        root: Path,
        *,
        others_ignored: bool = True,
        regions_required: bool = False,
        temporary: Sequence[str] = TEMPORARY_NAMES,
    ) -> None:
        self.root = root / "in"
        self.root.mkdir()
        self.store = SqliteJobStore(root / "queue.sqlite")
        self.settler = Settler(
            FOLDER,
            SettleRule(5.0, 600.0),
            temporary,
            self.store,
            hard_links=False,
            regions_required=regions_required,
            others_ignored=others_ignored,
        )
        self.now_s = 0.0

    def scan(self, after_s: float = 0.0) -> list[FoundFile]:
        self.now_s += after_s
        with InboundFolder(self.root) as inbound:
            return list(self.settler.scan(inbound, self.now_s))

    def settled(self) -> dict[str, Reason | None]:
        self.scan()
        return {file.path: file.refusal for file in self.scan(after_s=5.0)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_a_whole_file_is_found_after_the_settle_time(bench: Bench) -> None:
    (bench.root / "a.png").write_bytes(png())
    assert bench.scan() == []
    assert bench.settler.settling == 1
    assert bench.scan(4.9) == []
    (found,) = bench.scan(0.1)
    assert (found.path, found.refusal) == ("a.png", None)
    assert bench.settler.settling == 0


def test_a_found_file_is_queued_once(bench: Bench) -> None:
    (bench.root / "a.png").write_bytes(png())
    bench.scan()
    events: list[object] = []
    assert enqueue(bench.store, FOLDER, bench.scan(5.0), events.append) == 1
    assert bench.scan(5.0) == []
    assert bench.scan(5.0) == []
    assert len(events) == 1


def test_s08_the_tree_is_walked(bench: Bench) -> None:
    for place in ("a", "b/c", "-dash", "new\nline", "b\udcff"):
        (bench.root / place).mkdir(parents=True)
        (bench.root / place / "same.png").write_bytes(png())
    assert set(bench.settled()) == {
        "a/same.png", "b/c/same.png", "-dash/same.png", "new\nline/same.png", "b\udcff/same.png"
    }  # fmt: skip


def test_temporary_names_and_folders_are_left_alone(bench: Bench) -> None:
    (bench.root / ".hidden").mkdir()
    for name in (".hidden/a.png", "a.png.part", "a.tmp", ".b.png"):
        (bench.root / name).write_bytes(png())
    assert bench.settled() == {}
    with InboundFolder(bench.root) as inbound:
        assert list(bench.settler.look_at(inbound, [".hidden/a.png", "a.tmp"], 100.0)) == []
    assert bench.settler.settling == 0


def test_s04_a_renamed_file_is_one_job(bench: Bench) -> None:
    (bench.root / "x.tmp").write_bytes(png())
    bench.scan()
    (bench.root / "x.tmp").rename(bench.root / "x.png")
    assert bench.scan(5.0) == []
    assert [file.path for file in bench.scan(5.0)] == ["x.png"]


def test_s12_a_cut_file_waits_and_is_then_incomplete(bench: Bench) -> None:
    (bench.root / "cut.png").write_bytes(png()[:-5])
    (bench.root / "empty.jpg").write_bytes(b"")
    assert bench.settled() == {}
    assert {file.path: file.refusal for file in bench.scan(600.0)} == {
        "cut.png": Reason.INCOMPLETE, "empty.jpg": Reason.EMPTY_FILE,
    }  # fmt: skip


def test_a_cut_file_that_is_completed_is_taken(bench: Bench) -> None:
    path = bench.root / "cut.png"
    path.write_bytes(png()[:-5])
    assert bench.settled() == {}
    path.write_bytes(png())
    assert bench.settled() == {"cut.png": None}


def test_s01_a_file_that_is_being_written_waits(bench: Bench) -> None:
    with (bench.root / "a.png").open("wb") as writer:
        writer.write(png())
        writer.flush()
        assert bench.settled() == {}
        assert bench.scan(10_000.0) == []
    assert [file.path for file in bench.scan(60.0)] == ["a.png"]


def test_s02_space_set_aside_and_filled_later_waits(bench: Bench) -> None:
    """A mere length (truncate) is seen by its hole, even when nobody writes; blocks (fallocate) by their writer.

    Where the file system tells neither, the filled file is a new version with a job of its own.
    """
    content = png() + bytes(range(256)) * 64
    hole, allocated = bench.root / "hole.png", bench.root / "allocated.png"
    with hole.open("wb") as writer:
        writer.truncate(len(content))
        writer.write(content[:40])
    with allocated.open("wb") as writer:
        os.posix_fallocate(writer.fileno(), 0, len(content))
        writer.write(content[:40])
        writer.flush()
        assert [path.stat().st_size for path in (hole, allocated)] == [len(content)] * 2
        assert bench.settled() == {}
        assert bench.scan(500.0) == []
        writer.seek(0)
        writer.write(content)
    with hole.open("r+b") as writer:
        writer.write(content)
    assert bench.settled() == {"hole.png": None, "allocated.png": None}


def test_the_folders_marker_is_no_file_whatever_names_are_temporary(tmp_path: Path) -> None:
    bench = Bench(tmp_path, temporary=())
    (bench.root / ".blurd-folder").write_bytes(b"blurd folder " + b"0" * 32)
    (bench.root / ".hidden.png").write_bytes(png())
    assert bench.settled() == {".hidden.png": None}
    with InboundFolder(bench.root) as inbound:
        assert list(bench.settler.look_at(inbound, [".blurd-folder"], 100.0)) == []
    assert bench.settler.settling == 0
    bench.store.close()


def test_s16_s17_s18_odd_objects_are_refused_unopened(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (bench.root / "link.png").symlink_to(tmp_path / "secret.png")
    (bench.root / "folder").symlink_to(tmp_path)
    os.link(tmp_path / "secret.png", bench.root / "hard.png")
    os.mkfifo(bench.root / "pipe.png")
    assert bench.settled() == {
        "link.png": Reason.SYMBOLIC_LINK,
        "folder": Reason.SYMBOLIC_LINK,
        "hard.png": Reason.HARD_LINKED,
        "pipe.png": Reason.NOT_REGULAR,
    }


def test_s20_a_name_without_room_for_a_number_is_refused(bench: Bench) -> None:
    (bench.root / ("a" * 251 + ".png")).write_bytes(png())
    (bench.root / ("b" * 240 + ".png")).write_bytes(png())
    assert sorted(bench.settled().values(), key=str) == [None, Reason.NAME_TOO_LONG]


def test_s15_a_very_deep_tree_is_refused_where_it_gets_too_deep(bench: Bench) -> None:
    deep = bench.root
    for _ in range(MAX_DEPTH + 5):
        deep = deep / "d"
        deep.mkdir()
    (deep / "a.png").write_bytes(png())
    (refusal,) = bench.settled().values()
    assert refusal is Reason.NAME_TOO_LONG


def test_what_promises_a_medium_is_left_to_the_worker_to_judge(bench: Bench) -> None:
    (bench.root / "notes.JPG").write_bytes(b"hello")
    (bench.root / "clip.dav").write_bytes(b"hello")
    assert bench.settled() == {"notes.JPG": None, "clip.dav": None}


def test_what_is_no_medium_by_content_and_name_is_counted_and_left_alone(bench: Bench) -> None:
    """A recorder's export: a segment without a suffix is a medium; index, player and checksums are none."""
    (bench.root / "export").mkdir()
    (bench.root / "export" / "segment").write_bytes(png())
    for name in ("index.xml", "Player.exe", "checksums", "export.jpg.md5"):
        (bench.root / "export" / name).write_bytes(b"<index/>")
    ignored = {
        f"export/{name}": Reason.NOT_MEDIA for name in ("index.xml", "Player.exe", "checksums", "export.jpg.md5")
    }
    bench.scan()
    found = bench.scan(after_s=5.0)
    assert {file.path: file.refusal for file in found} == {"export/segment": None, **ignored}
    told: list[Event] = []
    enqueue(bench.store, FOLDER, found, told.append)
    assert {type(event) for event in told} == {JobQueued, FileIgnored}
    assert bench.store.overview().counts[FOLDER] == {JobState.QUEUED: 1, JobState.IGNORED: 4}
    assert bench.scan(after_s=10.0) == []
    assert bench.settler.settling == 0
    (bench.root / "export" / "index.xml").write_bytes(png())
    bench.scan()
    assert [file.path for file in bench.scan(after_s=5.0)] == ["export/index.xml"]


def test_an_empty_file_with_an_other_name_is_ignored_once_it_stays_empty(bench: Bench) -> None:
    (bench.root / "done").write_bytes(b"")
    assert bench.settled() == {}
    bench.scan(after_s=300.0)
    assert [(file.path, file.refusal) for file in bench.scan(after_s=600.0)] == [("done", Reason.NOT_MEDIA)]


def test_a_file_with_regions_is_never_ignored(bench: Bench) -> None:
    (bench.root / "index.xml").write_bytes(b"<index/>")
    (bench.root / "index.xml.regions.json").write_bytes(b'{"unit": "share", "regions": []}')
    assert bench.settled() == {"index.xml": None}


def test_other_files_can_be_reported(tmp_path: Path) -> None:
    bench = Bench(tmp_path, others_ignored=False)
    (bench.root / "index.xml").write_bytes(b"<index/>")
    assert bench.settled() == {"index.xml": None}
    bench.store.close()


def test_other_files_wait_for_no_regions(tmp_path: Path) -> None:
    """Where regions are required, a medium waits for them whatever it is called, and an index is ignored."""
    bench = Bench(tmp_path, regions_required=True)
    (bench.root / "index.xml").write_bytes(b"<index/>")
    for name in ("a.png", "segment"):
        (bench.root / name).write_bytes(png())
    assert bench.settled() == {"index.xml": Reason.NOT_MEDIA}
    assert bench.settler.awaiting_regions == 2
    bench.scan(after_s=10.0)
    assert (bench.settler.awaiting_regions, bench.settler.settling) == (2, 1)  # the index has no job in this test
    (bench.root / "segment.regions.json").write_bytes(b'{"unit": "share", "regions": []}')
    assert bench.settled() == {"index.xml": Reason.NOT_MEDIA, "segment": None}


def test_s10_a_file_that_goes_while_settling_is_forgotten(bench: Bench) -> None:
    (bench.root / "a.png").write_bytes(png())
    bench.scan()
    (bench.root / "a.png").unlink()
    assert bench.scan(5.0) == []
    assert bench.settler.settling == 0


def test_due_files_are_looked_at_without_a_scan(bench: Bench) -> None:
    (bench.root / "a.png").write_bytes(png())
    bench.scan()
    assert bench.settler.next_look_s() == 5.0
    with InboundFolder(bench.root) as inbound:
        assert list(bench.settler.look_at_due(inbound, 4.0)) == []
        assert [file.path for file in bench.settler.look_at_due(inbound, 5.0)] == ["a.png"]


def test_a_hint_at_a_folder_looks_at_everything_below(bench: Bench) -> None:
    (bench.root / "a" / "b").mkdir(parents=True)
    (bench.root / "a" / "b" / "c.png").write_bytes(png())
    with InboundFolder(bench.root) as inbound:
        assert list(bench.settler.look_at(inbound, ["a"], 0.0)) == []
        assert [file.path for file in bench.settler.look_at(inbound, ["a"], 5.0)] == ["a/b/c.png"]


def test_every_settling_file_is_looked_at_when_it_is_due(bench: Bench) -> None:
    """Whatever scans, hints, changes and departures come between: no look is forgotten, none comes late."""
    chance = random.Random(4)  # noqa: S311
    names = [f"{number}.png" for number in range(30)]
    for _ in range(400):
        path = bench.root / chance.choice(names)
        match chance.randrange(5):
            case 0:
                path.write_bytes(png()[: chance.choice((20, None))])
            case 1:
                path.unlink(missing_ok=True)
            case 2:
                bench.scan(chance.random())
            case _:
                bench.now_s += chance.random() * 3
        with InboundFolder(bench.root) as inbound:
            if chance.random() < 0.3:
                enqueue(bench.store, FOLDER, bench.settler.look_at(inbound, (path.name,), bench.now_s), lambda _: None)
            enqueue(bench.store, FOLDER, bench.settler.look_at_due(inbound, bench.now_s), lambda _: None)
        waiting = [sighting.look_again_s for sighting in bench.settler._seen.values()]
        assert all(look_s > bench.now_s for look_s in waiting)
        next_s = bench.settler.next_look_s()
        assert not waiting or (next_s is not None and next_s <= min(waiting))
    assert waiting
