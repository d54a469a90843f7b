"""What the crash proofs share: a place for one run, the processes in it, and the promises that must hold at its end."""

import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from blurd.adapters.store_rows import to_job
from blurd.core.advice import note_text
from blurd.core.naming import note_path
from crash.power import undo_unsynced
from videos import Form, pictures, write_clip

TESTS = Path(__file__).parents[1]
PATIENCE_S = 60.0
FINAL = ("published", "rejected", "ignored", "superseded", "withdrawn")


def small_jpeg(number: int) -> bytes:
    """A small picture that no other number gives."""
    tile = np.full((32, 48, 3), 90, np.uint8)
    tile[:4, :32] = np.array([255 * (number >> bit & 1) for bit in range(32)], np.uint8)[np.newaxis, :, np.newaxis]
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=90)
    return file.getvalue()


def tiny_video() -> bytes:
    """Six frames."""
    file = io.BytesIO()
    write_clip(file, pictures(64, 48, 6), Form())
    return file.getvalue()


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class Forge:
    """The process that blurd processes are forked from; see `entry.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.entry"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": str(TESTS), "OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, **order: object) -> Any:
        """One command and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and with it all that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Process:
    """One blurd process."""

    def __init__(self, forge: Forge, **order: object) -> None:
        self._forge = forge
        self.pid: int = forge.ask(**order)["pid"]
        self._status: int | None = None

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        if self._status is None:
            self._status = self._forge.ask(poll=self.pid)["status"]
        return self._status

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait, and return the exit status."""
        if self.status() is None:
            os.kill(self.pid, number)
        wait_for(lambda: self.status() is not None, "an end")
        assert self._status is not None
        return self._status


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds; fail where it does not."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"no {what} within {patience_s} s"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(number) for number in text.split()]


class Ground:
    """Where crash runs take place: one forge and one witness for many runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.outbound = root, root / "out"
        self.outbound.mkdir(parents=True)
        self.forge = Forge()
        self._notes = root / "witness.jsonl"
        self._notes.touch()
        self._witness = subprocess.Popen(
            [sys.executable, "-m", "crash.witness", str(self.outbound), str(self._notes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert self._witness.stdout is not None
        assert self._witness.stdout.readline() == b"ready\n"
        self._runs = 0
        self._markers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forge.close()
        assert self._witness.stdin is not None
        assert self._witness.stdout is not None
        self._witness.stdin.close()
        self._witness.wait(30)
        self._witness.stdout.close()

    def seen(self, name: str) -> list[Mapping[str, Any]]:
        """All versions of all files that the witness ever saw in one run's outbound folder."""
        self._markers += 1
        marker = self.outbound / f"{self._markers}.marker"
        marker.touch()
        wait_for(lambda: f'"{marker.name}"'.encode() in self._notes.read_bytes(), "sign of the witness")
        marker.unlink()
        notes = [json.loads(line) for line in self._notes.read_text(encoding="utf-8").splitlines()]
        return [note for note in notes if note["path"].startswith(f"{name}/")]

    @contextmanager
    def run(self, rescan_s: float = 1.0, **folder: object) -> Iterator["Run"]:
        """A fresh place; taken away where all went well."""
        self._runs += 1
        run = Run(self, f"run-{self._runs}", rescan_s, folder)
        try:
            yield run
        finally:
            run.kill_all()
        run.remove()


class Run:
    """One appliance of a watcher and a worker with folders of its own."""

    def __init__(self, ground: Ground, name: str, rescan_s: float, folder: Mapping[str, object]) -> None:
        self._ground, self.name = ground, name
        self.root, self.outbound = ground.root / name, ground.outbound / name
        self.inbound, self.state = self.root / "in", self.root / "state"
        for path in (self.inbound, self.state, self.outbound):
            path.mkdir(parents=True)
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in {"settle_s": 0.0, "reserve_mebibytes": 0, **folder}.items()
        ]
        self.config = self.root / "blurd.toml"
        self.config.write_text(
            "\n".join(
                [
                    f'[state]\ndirectory = "{self.state}"',
                    f'[models]\ncache = "{self.root}/cache"',
                    "[work]\nretry_first_s = 0.0\nmax_attempts = 20",
                    f"[watch]\nrescan_s = {rescan_s}",
                    f'[[folder]]\nname = "a"\ninbound = "{self.inbound}"\noutbound = "{self.outbound}"',
                    *lines,
                ]
            )
        )
        self._processes: list[Process] = []
        self._orders = 0
        self._boot = 0

    def start(
        self,
        *arguments: str,
        kill_at: int = 0,
        stop_at: int = 0,
        hangs: bool = False,
        counted: bool = False,
        jumping_clock: bool = False,
    ) -> Process:
        """Start `blurd ARGUMENTS`; one that counts its operations dies, or is asked to stop, before one of them."""
        self._orders += 1
        order: dict[str, object] = {
            "arguments": ["--config", str(self.config), *arguments],
            "log": str(self.root / "log.jsonl"),
            "boot": f"boot-{self._boot}",
            "jumping_clock": jumping_clock,
        }
        if kill_at or stop_at or counted:
            order |= {"operations": str(self.root / f"operations-{self._orders}.jsonl")}
            order |= {"kill_at": kill_at, "stop_at": stop_at, "hangs": hangs}
        process = Process(self._ground.forge, **order)
        self._processes.append(process)
        return process

    def operations(self) -> list[Mapping[str, Any]]:
        """What all counted processes of this run did so far, oldest first."""
        notes = [
            json.loads(line)
            for path in self.root.glob("operations-*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return sorted(notes, key=lambda note: note["at"])

    def cut_power(self) -> None:
        """Kill all, and take back what was not synced. The next processes run on another boot."""
        self.kill_all()
        undo_unsynced(self.operations())
        for path in self.root.glob("operations-*.jsonl"):
            path.unlink()
        self._boot += 1

    def kill_all(self) -> None:
        """SIGKILL for all that still runs."""
        for process in self._processes:
            process.end(signal.SIGKILL)
        self._processes.clear()

    def remove(self) -> None:
        """Take the run's folders away. Children of what was killed die a moment later, and may write until then."""
        for place in (self.root, self.outbound):
            wait_for(lambda place=place: _is_removed(place), "an end of all writing")  # type: ignore[misc]

    def drop(self, name: str, content: bytes) -> None:
        """Put a file into inbound, complete at once."""
        target = self.inbound / name
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = self.root / "dropping"
        beside.write_bytes(content)
        beside.rename(target)

    def jobs(self) -> list[sqlite3.Row]:
        """The queue's rows."""
        path = self.state / "queue.sqlite"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute("SELECT * FROM job ORDER BY id").fetchall()
        except sqlite3.OperationalError:
            return []  # the first process is making the tables
        finally:
            connection.close()

    def states(self) -> Counter[str]:
        """How many jobs are in which state."""
        return Counter(row["state"] for row in self.jobs())

    def is_done(self, expected: Mapping[str, int]) -> bool:
        """True where so many jobs are in each of these states and none is unfinished."""
        found = self.states()
        return all(found[state] >= number for state, number in expected.items()) and set(found) <= set(FINAL)

    def receipts(self) -> list[dict[str, Any]]:
        """The ledger's lines, whose chain must be whole."""
        path = self.state / "receipts.jsonl"
        previous, found = sha256(b""), []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            receipt = json.loads(line)
            assert receipt["previous"] == previous, "the chain of receipts is broken"
            previous = sha256(line)
            found.append(receipt)
        return found

    def visible(self) -> dict[str, str]:
        """What lies in outbound, with its SHA-256."""
        return {
            str(path.relative_to(self.outbound)): sha256(path.read_bytes())
            for path in self.outbound.rglob("*")
            if path.is_file() and ".blurd" not in path.parts
        }

    def staged(self) -> list[str]:
        """What jobs left, or still have, in the staging folder."""
        return sorted(path.name for path in (self.outbound / ".blurd").glob("job-*"))

    def check_promises(self, expected_states: Mapping[str, int], expected_names: Sequence[str]) -> None:
        """Nothing lost, nothing twice, nothing half-made ever seen, nothing unverified, one receipt for each job."""
        assert self.states() == Counter(expected_states)
        visible, receipts, jobs = self.visible(), self.receipts(), self.jobs()
        refused = [to_job(row) for row in jobs if row["state"] in ("rejected", "failed")]
        notes = {note_path(job.path): sha256(note_text(job).encode()) for job in refused}
        """What may lie there beside the copies: the run may have ended before they were written."""
        assert notes.items() >= {path: visible.pop(path) for path in notes if path in visible}.items()
        assert sorted(visible) == sorted(expected_names)
        published = [receipt for receipt in receipts if receipt["event"] == "published"]
        withdrawn = {receipt["job"] for receipt in receipts if receipt["event"] == "withdrawn"}
        ended_well = {row["id"] for row in jobs if row["state"] in ("published", "withdrawn")}
        assert sorted(receipt["job"] for receipt in published) == sorted(ended_well), "one receipt for each job"
        assert withdrawn == {row["id"] for row in jobs if row["state"] == "withdrawn"}
        by_job = {receipt["job"]: receipt for receipt in published}
        for row in jobs:
            if row["state"] == "published":
                path = os.fsdecode(row["published"])
                assert visible[path] == by_job[row["id"]]["output_sha256"], "a copy is not the verified one"
                source = self.inbound / os.fsdecode(row["path"])
                assert sha256(source.read_bytes()) == by_job[row["id"]]["source_sha256"], "an original was changed"
        verified = {receipt["output_sha256"] for receipt in published}
        for note in self._ground.seen(self.name):
            assert note["sha256"] in verified | set(notes.values()), f"seen in outbound and in no receipt: {note}"


def _is_removed(place: Path) -> bool:
    with suppress(OSError):
        shutil.rmtree(place)
    return not place.exists()
