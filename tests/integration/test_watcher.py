"""Hints from inotify, on a real folder."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters import watcher as module
from blurd.adapters.watcher import FolderWatcher

PATIENCE_S = 10.0


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watcher(tmp_path: Path, wake: threading.Event) -> Iterator[FolderWatcher]:
    made = FolderWatcher(tmp_path, wake)
    assert made.start()
    yield made
    made.stop()


def hinted(watcher: FolderWatcher, path: str) -> bool:
    """True once the path, a folder above it, or everything was hinted at."""
    deadline_s = time.monotonic() + PATIENCE_S
    seen: set[str] = set()
    while time.monotonic() < deadline_s:
        paths, everywhere = watcher.take()
        seen |= paths
        if everywhere or any(path == hint or path.startswith(hint + "/") for hint in seen):
            return True
        time.sleep(0.02)
    return False


def test_a_new_file_wakes_the_scan(watcher: FolderWatcher, wake: threading.Event, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert wake.wait(PATIENCE_S)
    assert hinted(watcher, "a.jpg")


def test_s14_a_tree_moved_in_is_hinted_at(watcher: FolderWatcher, tmp_path_factory: pytest.TempPathFactory,
                                          tmp_path: Path) -> None:  # fmt: skip
    tree = tmp_path_factory.mktemp("elsewhere") / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "a.jpg").write_bytes(b"x")
    tree.rename(tmp_path / "tree")
    assert hinted(watcher, "tree/deep/a.jpg")


def test_a_rename_hints_at_the_new_name(watcher: FolderWatcher, tmp_path: Path) -> None:
    (tmp_path / "a.tmp").write_bytes(b"x")
    (tmp_path / "a.tmp").rename(tmp_path / "a.jpg")
    assert hinted(watcher, "a.jpg")


def test_a_name_that_is_no_text_is_hinted_at(watcher: FolderWatcher, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))).write_bytes(b"x")
    assert hinted(watcher, "\udcff.jpg")


def test_too_many_hints_mean_look_everywhere(
    tmp_path: Path, wake: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HINTS", 3)
    watcher = FolderWatcher(tmp_path, wake)
    for number in range(5):
        watcher.hint(str(tmp_path / f"{number}.jpg"))
    paths, everywhere = watcher.take()
    assert (len(paths), everywhere) == (3, True)
    assert watcher.take() == (frozenset(), False)


def test_s15_a_folder_without_watches_is_said_so(tmp_path: Path, wake: threading.Event) -> None:
    assert not FolderWatcher(tmp_path / "absent", wake).start()
