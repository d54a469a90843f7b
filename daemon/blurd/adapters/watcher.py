"""inotify, through watchdog: hints that something changed in a folder.

Invariants
* A hint is only a path below inbound; the scan looks for itself. Lost hints cost time, never a file.
* At most `MAX_HINTS` paths are remembered; beyond that the hint is "look everywhere".
* Where watches can't be had (too many, no support) `start` says so and the periodic scan does it alone.
"""

import os
import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

MAX_HINTS = 10_000


class FolderWatcher:
    """Watches one inbound tree. Hints are collected until `take`."""

    def __init__(self, inbound: Path, wake: threading.Event) -> None:
        self._inbound = inbound
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._everywhere = False
        self._observer: InotifyObserver | None = None

    def start(self) -> bool:
        """Begin to watch; False where the kernel gives no watches."""
        observer = InotifyObserver()
        handler = _Handler(self)
        try:
            observer.schedule(handler, str(self._inbound), recursive=True)
            observer.start()
        except OSError:
            return False
        self._observer = observer
        return True

    def stop(self) -> None:
        """End watching and wait for the thread."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def is_alive(self) -> bool:
        """False where the watching thread has ended."""
        return self._observer is not None and self._observer.is_alive()

    def take(self) -> tuple[frozenset[str], bool]:
        """The paths (files or folders) hinted at since the last call, and whether to look everywhere."""
        with self._lock:
            taken, everywhere = frozenset(self._paths), self._everywhere
            self._paths.clear()
            self._everywhere = False
        return taken, everywhere

    def hint(self, path: bytes | str) -> None:
        """Note that something changed at an absolute path."""
        relative = os.path.relpath(os.fsdecode(path), self._inbound)
        with self._lock:
            if relative == "." or relative.startswith("..") or len(self._paths) >= MAX_HINTS:
                self._everywhere = True
            else:
                self._paths.add(relative)
        self._wake.set()


class _Handler(FileSystemEventHandler):
    def __init__(self, watcher: FolderWatcher) -> None:
        self._watcher = watcher

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write"):
            return
        if event.is_directory and event.event_type == "modified":
            return  # the entry that changed in it has an event of its own
        self._watcher.hint(event.src_path)
        if event.dest_path:
            self._watcher.hint(event.dest_path)
