"""A running appliance for tests: real processes, real folders, nothing replaced."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blurd.adapters.store import SqliteJobStore
from blurd.config import load_settings
from blurd.core.naming import INBOUND_MARKER, OUTBOUND_MARKER, is_note
from blurd.status import as_json

PATIENCE_S = 120.0
_NOTE = re.compile(r"blurd made no copy of this file:\n.*\nblurd finds more with: blurd show [0-9]+\n", re.DOTALL)


def settings_text(root: Path, **folder: object) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in folder.items()]
    return "\n".join(
        [
            f'[state]\ndirectory = "{root}/state"',
            f'[models]\ncache = "{root}/cache"',
            "[work]\nretry_first_s = 0.2",
            "[watch]\nrescan_s = 2.0",
            f'[[folder]]\nname = "photos"\ninbound = "{root}/in"\noutbound = "{root}/out"\nsettle_s = 0.3',
            *lines,
        ]
    )


def let_others_reach(place: Path) -> None:
    """Open a place of the tests, and all above it that is theirs, to other users."""
    top = Path(tempfile.gettempdir())
    for path in (place, *(parent for parent in place.parents if top in parent.parents)):
        path.chmod(0o755)


class Appliance:
    """A running `blurd run` and its folders."""

    def __init__(self, root: Path, **folder: object) -> None:
        self.root = root
        for name in ("in", "out"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.config = root / "blurd.toml"
        self.config.write_text(settings_text(root, **folder))
        self.log = root / "log.jsonl"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}

    def start(self, part: str = "run") -> None:
        command = [*self.prefix, sys.executable, "-m", "blurd", "--config", str(self.config), part]
        environment = {**os.environ, **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def blurd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.prefix, sys.executable, "-m", "blurd", "--config", str(self.config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def overview(self) -> dict[str, Any]:
        """What `blurd status --json` says, without starting a process for it."""
        settings = load_settings(self.config)
        store = SqliteJobStore(settings.queue_path)
        try:
            return as_json(settings, store.overview())
        finally:
            store.close()

    def status(self) -> dict[str, Any]:
        """What `blurd status --json` says of the folder."""
        folder: dict[str, Any] = self.overview()["folders"]["photos"]
        return folder

    def drop(self, name: str, content: bytes) -> Path:
        """Write beside the folder, then move in: complete at once."""
        target = self.root / "in" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = self.root / "dropping"
        partial.write_bytes(content)
        partial.rename(target)
        return target

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if result := condition():
                return result
            time.sleep(0.1)
        raise AssertionError(f"{what}: {self.log.read_text()[-3000:]}")

    def outputs(self) -> list[Path]:
        """Every file below outbound, staged ones too; only the folder's own marker and whole notes are left out."""
        out = self.root / "out"
        left_out = {out / OUTBOUND_MARKER, *self.notes()}
        return [path for path in out.rglob("*") if path.is_file() and path not in left_out]

    def notes(self) -> list[Path]:
        """The notes in outbound about files that got no copy, each as a whole."""
        below = (path for path in (self.root / "out").rglob("*.txt") if ".blurd" not in path.parts)
        found = [path for path in below if is_note(path.name) and path.is_file()]
        return [path for path in found if _NOTE.fullmatch(path.read_text(encoding="utf-8"))]

    def inputs(self) -> list[Path]:
        """Whatever lies below inbound and is no folder; only the folder's own marker is left out."""
        inbound = self.root / "in"
        found = [path for path in inbound.rglob("*") if not path.is_dir() or path.is_symlink()]
        return [path for path in found if path != inbound / INBOUND_MARKER]

    def copy(self, name: str) -> Path:
        path = self.root / "out" / name
        self.wait(path.exists, f"a copy of {name}")
        return path

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]
