"""inotify, through watchdog: hints that something changed in a folder.

Invariants
* A hint is only a path below inbound; the scan looks for itself. Lost hints cost time, never a file.
* At most `MAX_HINTS` paths are remembered; beyond that the hint is "look everywhere".
* Where watches can't be had (too many, no support) `start` or `is_whole` says so and the periodic scan does it alone.
"""

import errno
import os
import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

MAX_HINTS = 10_000
_NO_WATCHES_LEFT = frozenset({errno.ENOSPC, errno.ENOMEM, errno.EMFILE})


class FolderWatcher:
    """Watches one inbound tree. Hints are collected until `take`."""

    def __init__(self, inbound: Path, wake: threading.Event) -> None:
        self._inbound = inbound
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._everywhere = False
        self._observer: BaseObserver | None = None
        self._inotify: _Inotify | None = None

    def start(self) -> bool:
        """Begin to watch; False where the kernel gives no watches."""
        try:
            inotify = _Inotify()
        except OSError:
            return False
        inotify.start()
        observer = BaseObserver(InotifyEmitter, inotify_fd=inotify)
        try:
            observer.schedule(_Handler(self), str(self._inbound), recursive=True)
            observer.start()
        except OSError:
            inotify.stop()
            inotify.join()
            return False
        self._observer, self._inotify = observer, inotify
        return True

    def stop(self) -> None:
        """End watching and wait for the threads."""
        if self._observer is not None and self._inotify is not None:
            self._observer.stop()
            self._observer.join()
            self._inotify.stop()
            self._inotify.join()
            self._observer = self._inotify = None

    def is_alive(self) -> bool:
        """False where nothing is watched any more: unmounted, removed, or a thread has ended."""
        observer, inotify = self._observer, self._inotify
        if observer is None or inotify is None or inotify.unmounted:
            return False
        return all(thread.is_alive() for thread in (observer, inotify, *observer.emitters))

    def is_whole(self) -> bool:
        """True while everything below is watched; False where the kernel refused a watch on some folder."""
        inotify = self._inotify
        return self.is_alive() and inotify is not None and not inotify.refused

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


class _Inotify(InotifyFD):
    """One inotify instance for one folder, so that one that hangs holds up no other; it knows what it does not see."""

    unmounted = False
    refused = False

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Add a watch; the library goes on without it where the kernel has none left, and only we remember."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            self.refused |= error.errno in _NO_WATCHES_LEFT
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        """Hand an event on; the kernel tells of an unmount once, and no event follows."""
        self.unmounted |= bool(event.mask & InotifyConstants.IN_UNMOUNT)
        super().handle_event(event)


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
