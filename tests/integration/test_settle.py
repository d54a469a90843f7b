"""Settling, against real files: which are found, which are refused, which wait."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.folders import InboundFolder
from blurd.adapters.store import SqliteJobStore
from blurd.core.naming import TEMPORARY_NAMES
from blurd.core.settling import SettleRule
from blurd.errors import Reason
from blurd.records import FolderName, FoundFile
from blurd.stages.enqueue import enqueue
from blurd.stages.settle import MAX_DEPTH, Settler

FOLDER = FolderName("photos")


def png() -> bytes:
    """A whole picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class Bench:
    """A settler on a real folder, with a clock that the test moves."""

    def __init__(self, root: Path) -> None:
        self.root = root / "in"
        self.root.mkdir()
        self.store = SqliteJobStore(root / "queue.sqlite")
        self.settler = Settler(FOLDER, SettleRule(5.0, 600.0), TEMPORARY_NAMES, self.store, hard_links=False)
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


def test_what_is_no_image_is_left_to_the_worker_to_judge(bench: Bench) -> None:
    (bench.root / "notes.txt").write_bytes(b"hello")
    assert bench.settled() == {"notes.txt": None}


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
