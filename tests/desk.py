"""An appliance at rest, for tests: folders, queue and ledger in whatever state a test makes, and the command line."""

import hashlib
import io
import os
import subprocess
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

from appliance import settings_text
from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.host import this_process, wall_clock
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_names import NameErasure
from blurd.cli import main
from blurd.config import Settings, load_settings
from blurd.errors import Reason
from blurd.events import Part
from blurd.reconcile import Account, reconcile
from blurd.records import (
    FolderCondition,
    FolderName,
    FoundFile,
    Job,
    JobId,
    JobState,
    MediaFacts,
    MediaKind,
    ProcessCondition,
    StagedCopy,
    Verdict,
)
from blurd.stages.publish import publish

FOLDER = FolderName("photos")
ME = this_process()
COPY = b"masked"


class Desk:
    """An appliance at rest: folders, queue and ledger, in the states that the test makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("in", "out"):
            (root / name).mkdir()
        self.config = root / "blurd.toml"
        self.config.write_text(settings_text(root).replace("rescan_s = 2.0", "rescan_s = 1.0"))
        self.settings: Settings = load_settings(self.config)
        self.store = SqliteJobStore(self.settings.queue_path)

    def blurd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, in this process: a new one costs seconds."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(["--config", str(self.config), *arguments])
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def drop(self, path: str, refusal: Reason | None = None) -> JobId:
        """A file with its job."""
        place = self.root / "in" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(os.fsencode(path))
        ((job, _),) = self.store.enqueue(FOLDER, [FoundFile(path, stamp_of(place.stat()), refusal)])
        return job

    def claim(self) -> Job:
        job = self.store.claim(ME, [FOLDER], 0.0)
        assert job is not None
        return job

    def end(self, path: str, state: JobState, reason: Reason) -> JobId:
        self.drop(path)
        job = self.claim()
        assert self.store.finish(job.id, ME, state, reason, 1e9)
        return job.id

    def publish(self, path: str) -> JobId:
        self.drop(path)
        return self.publish_next()

    def publish_next(self, content: bytes = COPY) -> JobId:
        """Treat and publish the job that is next in the queue."""
        self.stage_next(content)
        (staged_job,) = self.store.staged_jobs(FOLDER, 9)
        with InboundFolder(self.root / "in") as inbound, OutboundFolder(self.root / "out") as outbound:
            ledger = Ledger(self.settings.receipts_path)
            publish(self.store, ledger, inbound, outbound, staged_job, {}, lambda _: None)
        return staged_job.id

    def stage_next(self, content: bytes = COPY) -> JobId:
        """Treat the job that is next in the queue."""
        job = self.claim()
        name = f"job-{job.id}-1.staged"
        with OutboundFolder(self.root / "out") as outbound, outbound.staged(name, 0o644) as file:
            file.write(content)
        facts = MediaFacts(MediaKind.IMAGE, "jpeg", ".jpg", 4, 3, 1)
        digest = hashlib.sha256(content).hexdigest()
        seconds = {"analyse": 0.5, "render": 0.25}
        staged = StagedCopy(
            name,
            job.path,
            len(content),
            digest,
            hashlib.sha256(os.fsencode(job.path)).hexdigest(),
            facts,
            Verdict(1, 0),
            "2",
            "3",
            seconds,
            source_id=f"id-{job.path}",
        )
        assert self.store.stage(job.id, ME, staged)
        return job.id

    def watched(self, settling: int = 0, paused: Reason | None = None) -> None:
        """As if a watcher ran, which is this very process."""
        self.store.note_process(ProcessCondition(str(Part.WATCH), ME))
        self.store.note_folder(FolderCondition(FOLDER, settling, paused, rescan_only=False))

    def account(self, *, hashes: bool = False) -> Account:
        return reconcile(self.settings, hashes=hashes).folders["photos"]

    def states(self) -> dict[JobState, int]:
        return dict(self.store.overview().counts.get(FOLDER, {}))

    def copies(self) -> dict[str, bytes]:
        """What people see in outbound."""
        out = self.root / "out"
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file() and ".blurd" not in path.parts
        }

    def erase_names(self) -> int:
        """Erase all names that may go, as if every job had ended long ago; of how many jobs."""
        with closing(NameErasure(self.settings.queue_path)) as queue:
            return queue.erase(wall_clock(), 1000)
