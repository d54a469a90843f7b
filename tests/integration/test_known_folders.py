"""The mount guard's markers and notes, on real folders; with real mounts in tests/system/test_mounts.py."""

import json
import os
import stat
from pathlib import Path

import pytest

from blurd.adapters import known_folders as module
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.mounts import place_of
from blurd.core.recognition import Side
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName

MARKER, STAGED_MARKER = ".blurd-folder", ".blurd/folder"


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("in", "out", "state"):
            (root / name).mkdir()

    def guard(self, *, adopts: bool = True) -> KnownFolders:
        return KnownFolders(
            self.root / "state", FolderName("photos"), self.root / "in", self.root / "out", adopts=adopts
        )

    def open(self, *, adopts: bool = True) -> None:
        guard = self.guard(adopts=adopts)
        guard.open_inbound().close()
        guard.open_outbound().close()

    def refusal(self, side: Side = Side.INBOUND, *, adopts: bool = True) -> Reason:
        guard = self.guard(adopts=adopts)
        with pytest.raises(EquipmentError) as caught:
            (guard.open_inbound() if side is Side.INBOUND else guard.open_outbound()).close()
        return caught.value.reason

    def note(self, side: str = "inbound") -> Path:
        return self.root / "state" / "folders" / f"photos.{side}.json"

    def elsewhere(self, side: str = "inbound") -> None:
        """As if the folder had lain on another file system before."""
        note = self.note(side)
        value = json.loads(note.read_text())
        value["place"].update(source="nas:/export", kind="nfs4", uuid=None)
        note.write_text(json.dumps(value))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_use_adopts_what_is_there(bench: Bench) -> None:
    bench.open()
    for side, path in (("inbound", f"in/{MARKER}"), ("outbound", f"out/{STAGED_MARKER}")):
        marker = (bench.root / path).read_text()
        assert json.loads(bench.note(side).read_text())["marker"] in marker.splitlines()[0]
    assert stat.S_IMODE((bench.root / "out" / ".blurd").stat().st_mode) == 0o700
    assert sorted(path.name for path in (bench.root / "in").iterdir()) == [MARKER]
    assert sorted(path.name for path in (bench.root / "out").iterdir()) == [".blurd"]
    before = bench.note().stat().st_mtime_ns
    bench.open()
    assert bench.note().stat().st_mtime_ns == before


def test_a_state_directory_that_was_emptied_takes_the_marker_that_is_there(bench: Bench) -> None:
    bench.open()
    marker = (bench.root / "in" / MARKER).read_bytes()
    bench.note().unlink()
    bench.open()
    assert (bench.root / "in" / MARKER).read_bytes() == marker


def test_s24_s26_a_folder_on_another_file_system_without_the_marker_is_strange(bench: Bench) -> None:
    """Neither watcher nor worker opens it, and nothing is written there."""
    bench.open()
    for side, reason in ((Side.INBOUND, Reason.INBOUND_STRANGE), (Side.OUTBOUND, Reason.OUTBOUND_STRANGE)):
        bench.elsewhere(side)
        folder = bench.root / ("in" if side is Side.INBOUND else "out")
        folder.rename(bench.root / f"known {side}")
        folder.mkdir()
        for adopts in (True, False):
            assert bench.refusal(side, adopts=adopts) is reason
        assert list(folder.iterdir()) == []
        folder.rmdir()
        (bench.root / f"known {side}").rename(folder)
    bench.open()  # the known ones, by their markers


def test_a_marker_of_another_folder_makes_it_strange(bench: Bench) -> None:
    bench.open()
    (bench.root / "in" / MARKER).write_text("blurd folder " + "0" * 32 + "\n")
    assert bench.refusal() is Reason.INBOUND_STRANGE


@pytest.mark.parametrize("side", list(Side))
def test_a_marker_that_somebody_removed_is_written_anew(bench: Bench, side: Side) -> None:
    bench.open()
    marker = bench.root / ("in/" + MARKER if side is Side.INBOUND else "out/" + STAGED_MARKER)
    before = marker.read_bytes()
    marker.unlink()
    bench.open(adopts=False)
    assert not marker.exists()  # a worker only looks
    bench.open()
    assert marker.read_bytes() == before


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "text", "empty"])
def test_s16_s18_whatever_bears_the_markers_name_is_left_alone(bench: Bench, kind: str) -> None:
    """Somebody at the share can't lead the guard elsewhere, block it, or have it overwrite something."""
    victim = bench.root / "victim"
    victim.write_text("blurd folder " + "1" * 32 + "\n")
    marker = bench.root / "in" / MARKER
    match kind:
        case "link":
            marker.symlink_to(victim)
        case "pipe":
            os.mkfifo(marker)
        case "folder":
            marker.mkdir()
        case _:
            marker.write_text("mine" if kind == "text" else "")
    (bench.root / "in" / f"{MARKER}.new").symlink_to(victim)
    before = os.lstat(marker)
    bench.open()
    bench.open()
    assert os.lstat(marker).st_ino == before.st_ino
    assert victim.read_text() == "blurd folder " + "1" * 32 + "\n"
    assert json.loads(bench.note().read_text())["marker"] is None
    bench.elsewhere()
    assert bench.refusal() is Reason.INBOUND_STRANGE


def test_a_cut_while_the_marker_is_written_leaves_none_and_the_next_look_makes_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "rename_without_overwriting", cut)
        with pytest.raises(KeyboardInterrupt):
            bench.open()
    assert not (bench.root / "in" / MARKER).exists()
    bench.open()
    assert sorted(path.name for path in (bench.root / "in").iterdir()) == [MARKER]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"path": 1}', "\xff"])
def test_a_note_that_cant_be_read_fails_closed_and_can_be_accepted(bench: Bench, content: str) -> None:
    bench.open()
    bench.note().write_text(content, encoding="latin-1")
    assert bench.refusal() is Reason.INBOUND_STRANGE
    assert bench.guard().known(Side.INBOUND) is None
    bench.guard(adopts=False).accept(Side.INBOUND)
    bench.open()


def test_an_accepted_folder_is_the_known_one(bench: Bench) -> None:
    bench.open()
    bench.elsewhere()
    (bench.root / "in" / MARKER).unlink()
    assert bench.refusal() is Reason.INBOUND_STRANGE
    place = bench.guard(adopts=False).accept(Side.INBOUND)
    assert place.path.endswith("/in")
    assert not (bench.root / "in" / MARKER).exists()  # the command may run as another user: the watcher marks
    bench.open()
    assert (bench.root / "in" / MARKER).exists()


def test_a_new_path_in_the_settings_is_adopted(bench: Bench) -> None:
    bench.open()
    bench.elsewhere()
    (bench.root / "in").rename(bench.root / "old")
    (bench.root / "new").mkdir()
    guard = KnownFolders(
        bench.root / "state", FolderName("photos"), bench.root / "new", bench.root / "out", adopts=True
    )
    guard.open_inbound().close()
    assert (bench.root / "new" / MARKER).exists()


def test_a_missing_folder_pauses(bench: Bench) -> None:
    (bench.root / "in").rmdir()
    (bench.root / "out").rmdir()
    assert bench.refusal() is Reason.INBOUND_MISSING
    assert bench.refusal(Side.OUTBOUND) is Reason.OUTBOUND_MISSING


def test_a_place_has_the_real_path_even_with_blanks_and_odd_bytes(tmp_path: Path) -> None:
    odd = tmp_path / "a b\n\\040\udcff"
    odd.mkdir()
    handle = os.open(odd, os.O_RDONLY)
    try:
        place = place_of(handle)
    finally:
        os.close(handle)
    assert place.path.endswith(f"/{tmp_path.name}/{odd.name}")
    assert place.kind
