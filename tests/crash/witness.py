"""A process that sees all that ever appears below a folder of outbound folders: `python -m crash.witness FOLDER NOTES`.

Everything outside the staging folders is opened as soon as it is seen, by notification and by looking all the time,
and its path and SHA-256 are noted as a line of JSON. What is half-made for a moment has a hash that no receipt knows.
A file whose name ends in `.marker` is noted after all that was there before it.
"""

import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from blurd.core.naming import STAGING_FOLDER

LOOK_EVERY_S = 0.02


class Witness(FileSystemEventHandler):
    """Notes each version of each file once."""

    def __init__(self, folder: Path, notes: TextIO) -> None:
        self._folder, self._notes = folder, notes
        self._seen: set[tuple[str, int, int, int, int]] = set()
        self._lock = threading.Lock()

    def on_any_event(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path and not event.is_directory:
                self.look(os.fsdecode(path))

    def look(self, path: str) -> None:
        """Open and note what lies at a path, if it is new."""
        if f"/{STAGING_FOLDER}" in path:
            return
        if path.endswith(".marker"):
            self.look_everywhere()
        try:
            found = os.stat(path)  # noqa: PTH116  names of any bytes
            version = (path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if version in self._seen:
                return
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            return
        with self._lock:
            if version not in self._seen:
                self._seen.add(version)
                note = {"path": os.path.relpath(path, self._folder), "sha256": digest, "size": found.st_size}
                self._notes.write(json.dumps(note) + "\n")
                self._notes.flush()

    def look_everywhere(self) -> None:
        """Look at all that is there."""
        for folder, below, names in os.walk(self._folder):
            below[:] = [name for name in below if name != STAGING_FOLDER]
            for name in names:
                if not name.endswith(".marker"):
                    self.look(os.path.join(folder, name))  # noqa: PTH118


def main() -> None:
    """Watch until standard input ends."""
    folder = Path(sys.argv[1])
    with Path(sys.argv[2]).open("a", encoding="utf-8") as notes:
        witness = Witness(folder, notes)
        observer = InotifyObserver()
        observer.schedule(witness, str(folder), recursive=True)
        observer.start()
        ended = threading.Event()

        def wait() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        print("ready", flush=True)  # noqa: T201
        while not ended.is_set():
            started_s = time.monotonic()
            witness.look_everywhere()
            ended.wait(max(LOOK_EVERY_S, 3 * (time.monotonic() - started_s)))
        observer.stop()
        observer.join()


if __name__ == "__main__":
    main()
