"""Rows of the queue's tables as values, and values as columns. No SQL, no connection."""

import json
import os
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from blurd.adapters.names import is_digest
from blurd.errors import Reason
from blurd.records import (
    FileStamp,
    FolderCondition,
    FolderName,
    Job,
    JobId,
    JobState,
    MediaFacts,
    MediaKind,
    ProcessCondition,
    Progress,
    RunningJob,
    StagedCopy,
    Verdict,
    WorkerIdentity,
    same_regions,
)

_INTEGERS_END = 2**63
_NONE: Mapping[bytes, str] = MappingProxyType({})


def to_blob(path: str) -> bytes:
    """A path's bytes."""
    return os.fsencode(path)


def to_signed(number: int) -> int:
    """SQLite's integers are signed; some file systems use all 64 bits of an inode number."""
    return number if number < _INTEGERS_END else number - 2 * _INTEGERS_END


def _unsigned(number: int) -> int:
    return number if number >= 0 else number + 2 * _INTEGERS_END


def to_path(blob: bytes) -> str:
    """A path with surrogate escapes."""
    return os.fsdecode(blob)


def _stamp(row: sqlite3.Row) -> FileStamp:
    return FileStamp(row["size"], row["mtime_ns"], row["ctime_ns"], _unsigned(row["inode"]))


def dump_regions(stamp: FileStamp | None) -> str | None:
    """The column `regions`."""
    return None if stamp is None else json.dumps([stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode])


def _regions(row: sqlite3.Row) -> FileStamp | None:
    return FileStamp(*json.loads(row["regions"])) if row["regions"] else None


def is_same_version(row: sqlite3.Row, stamp: FileStamp, regions: FileStamp | None) -> bool:
    """True where the job answers for this version of the file and of its regions: same sizes and mtimes.

    A job that ended because its file was gone, or whose copy was withdrawn, answers for nothing: the file may come
    back. A file that could not be read is taken again when its permissions changed (ctime).
    """
    if row["state"] in (JobState.VANISHED, JobState.SUPERSEDED, JobState.WITHDRAWN):
        return False
    if row["state"] == JobState.FAILED and row["reason"] == Reason.NO_PERMISSION:
        return _stamp(row) == stamp and _regions(row) == regions
    return _stamp(row).same_content(stamp) and same_regions(_regions(row), regions)


def to_job(row: sqlite3.Row, names: Mapping[bytes, str] = _NONE) -> Job:
    """A row of the table job; `names` tells paths by the digests that took their places."""
    return Job(
        id=JobId(row["id"]),
        folder=FolderName(row["folder"]),
        path=_name(row["path"], names) or "",
        stamp=_stamp(row),
        state=JobState(row["state"]),
        attempts=row["attempts"],
        returns=row["returns"],
        reason=Reason(row["reason"]) if row["reason"] else None,
        not_before_s=row["not_before_s"],
        staged=_load(row["staged"]) if row["staged"] else None,
        published=_name(row["published"], names),
        regions=_regions(row),
    )


def _name(blob: bytes | None, names: Mapping[bytes, str]) -> str | None:
    """A column that holds a path, its digest, or nothing."""
    if blob is None or is_digest(blob):
        return names.get(blob or b"")
    return os.fsdecode(blob)


def to_running(row: sqlite3.Row) -> RunningJob:
    """A row of the table job whose job runs."""
    progress = Progress(row["progress"], row["frames_per_s"], row["left_s"])
    return RunningJob(JobId(row["id"]), FolderName(row["folder"]), progress)


def to_folder(row: sqlite3.Row) -> FolderCondition:
    """A row of the table folder."""
    paused = Reason(row["paused"]) if row["paused"] else None
    counts = row["awaiting_regions"], row["unreadable"]
    return FolderCondition(FolderName(row["name"]), row["settling"], paused, bool(row["rescan_only"]), *counts)


def to_process(row: sqlite3.Row) -> ProcessCondition:
    """A row of the table process."""
    worker = WorkerIdentity(row["pid"], row["start_ticks"], row["boot"])
    return ProcessCondition(row["part"], worker, row["device"], bool(row["degraded"]), row["models"])


def dump_staged(staged: StagedCopy) -> str:
    """The column `staged`."""
    facts = staged.facts
    value: dict[str, Any] = {
        "name": staged.name,
        "target": staged.target,
        "size": staged.size,
        "sha256": staged.sha256,
        "source_sha256": staged.source_sha256,
        "facts": [
            facts.kind,
            facts.format,
            facts.suffix,
            facts.width_px,
            facts.height_px,
            facts.frames,
            facts.duration_s,
        ],
        "verdict": [staged.verdict.renders, staged.verdict.masks_added],
        "model_hash": staged.model_hash,
        "settings_hash": staged.settings_hash,
        "stage_seconds": dict(staged.stage_seconds),
        "regions_sha256": staged.regions_sha256,
        "source_id": staged.source_id,
        "made_with": dict(staged.made_with),
    }
    return json.dumps(value)


def without_names(staged: str) -> str:
    """The column `staged`, once names are erased."""
    return json.dumps({**json.loads(staged), "target": ""})


def _load(text: str) -> StagedCopy:
    value = json.loads(text)
    kind, *rest = value["facts"]
    value["facts"] = MediaFacts(MediaKind(kind), *rest)
    value["verdict"] = Verdict(*value["verdict"])
    return StagedCopy(**value)
