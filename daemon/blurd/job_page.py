"""One job, and jobs in a list: as plain values for scripts, and as text for a person. No file is touched.

Invariant: the list names nothing; a single job names its file, and no other page does.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from blurd.adapters.store_view import HistoryLine, JobLine, JobRecord
from blurd.core.advice import remedy
from blurd.core.naming import printable
from blurd.core.stages import IN_TURN
from blurd.errors import REASONS
from blurd.records import JobState

MEANINGS: Mapping[JobState, str] = {
    JobState.QUEUED: "It waits for a worker.",
    JobState.CLAIMED: "A worker treats it now.",
    JobState.STAGED: "Its copy is made and verified, and waits to be published.",
    JobState.PUBLISHED: "Its copy is in outbound.",
    JobState.DEFERRED: "It is tried again by itself in a while.",
    JobState.REJECTED: "It got no copy: it can't be treated as it is.",
    JobState.FAILED: "It got no copy: every allowed attempt failed.",
    JobState.SUPERSEDED: "The file was replaced; the new version has its own job.",
    JobState.VANISHED: "The file was removed before it was finished.",
    JobState.WITHDRAWN: "Its copy made way for that of a later job.",
    JobState.IGNORED: "It is no image or video, by content and by name.",
}


def lines_as_json(jobs: Sequence[JobLine]) -> list[dict[str, Any]]:
    """The list for scripts."""
    return [
        {
            "job": job.job,
            "folder": job.folder,
            "state": job.state,
            "reason": job.reason,
            "changed_at": job.changed_at,
            "attempts": job.attempts,
            "seconds": job.seconds,
        }
        for job in jobs
    ]


def print_lines(console: Console, jobs: Sequence[JobLine], limit: int) -> None:
    """The list for a person."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for title, right in (("job", True), ("folder", False), ("state", False), ("when", False), ("tries", True),
                         ("seconds", True), ("reason", False)):  # fmt: skip
        table.add_column(title, justify="right" if right else "left", overflow="fold", no_wrap=title == "when")
    for job in jobs:
        seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
        when = local(job.changed_at)
        table.add_row(str(job.job), job.folder, job.state, when, str(job.attempts), seconds, job.reason or "")
    console.print(table)
    if len(jobs) == limit:
        console.print(Text(f"The newest {limit}; more with --limit."))


def record_as_json(record: JobRecord) -> dict[str, Any]:
    """One job for scripts; the only JSON with names."""
    job, copy = record.job, record.job.staged
    return {
        "job": job.id,
        "folder": job.folder,
        "state": job.state,
        "reason": job.reason,
        "meaning": REASONS[job.reason].meaning if job.reason else None,
        "remedy": remedy(job.state, job.reason, job.id) if job.reason else None,
        "file": job.path or None,
        "copy": job.published if job.state is JobState.PUBLISHED else None,
        "note": record.note,
        "names_erased_at": record.names_erased_at,
        "redo": record.is_redo,
        "bytes": job.stamp.size,
        "created_at": record.created_at,
        "changed_at": record.changed_at,
        "attempts": job.attempts,
        "returns": job.returns,
        "progress": record.progress.share if job.state is JobState.CLAIMED else None,
        "made": None
        if copy is None
        else {
            "kind": copy.facts.kind,
            "format": copy.facts.format,
            "frames": copy.facts.frames,
            "duration_s": copy.facts.duration_s,
            "bytes": copy.size,
            "renders": copy.verdict.renders,
            "model_hash": copy.model_hash,
            "settings_hash": copy.settings_hash,
        },
        "stages": {
            str(stage): {"seconds": time.seconds, "frames": time.frames} for stage, time in record.stages.items()
        },
        "history": [
            {"at": step.at, "state": step.state, "reason": step.reason, "attempt": step.attempt}
            for step in record.history
        ],
    }


def print_record(console: Console, record: JobRecord) -> None:
    """One job for a person."""
    console.print(Group(*(Text(line) for line in _lines(record))), soft_wrap=True)


def _lines(record: JobRecord) -> Iterator[str]:
    job = record.job
    yield f"job {job.id} in {job.folder}: {job.state}" + (f", {job.reason}" if job.reason else "")
    yield f"  {MEANINGS[job.state]}"
    if job.reason:
        yield f"  {REASONS[job.reason].meaning}"
        yield f"  {remedy(job.state, job.reason, job.id)}"
    if job.state is JobState.CLAIMED:
        progress = record.progress
        left = timedelta(seconds=round(progress.left_s))
        yield f"  {progress.share:.0%} done, {progress.frames_per_s:.1f} frames/s, {left} left"
    yield from _names(record)
    yield f"size      {job.stamp.size} bytes"
    yield f"attempts  {job.attempts}" + (f", given back {job.returns} times" if job.returns else "")
    if record.is_redo:
        yield "redo      it makes a published copy again, and takes its place"
    yield from _made(record)
    yield "history"
    yield from (f"  {_step(step)}" for step in record.history)


def _names(record: JobRecord) -> Iterator[str]:
    job = record.job
    if record.names_erased_at is not None:
        yield f"file      its name was erased on {local(record.names_erased_at)} (state.names_days)"
        return
    yield f"file      {printable(job.path)}"
    if job.published is not None and job.state is JobState.PUBLISHED:
        yield f"copy      {printable(job.published)}"
    if record.note is not None:
        yield f"note      {printable(record.note)}"


def _made(record: JobRecord) -> Iterator[str]:
    copy = record.job.staged
    if copy is None or not record.stages:
        return
    facts = copy.facts
    length = f", {timedelta(seconds=round(facts.duration_s))} long" if facts.duration_s else ""
    again = f", rendered {copy.verdict.renders} times" if copy.verdict.renders > 1 else ""
    yield f"made      {facts.kind}, {facts.format}, {facts.frames} frames{length}, {copy.size} bytes{again}"
    yield "stages"
    for stage, time in record.stages.items():
        speed = f", {time.frames / time.seconds:.1f} frames/s" if time.seconds > 0 and time.frames > 1 else ""
        indent = "  " if stage in IN_TURN else "    "
        yield f"{indent}{stage:<{12 - len(indent)}}{time.seconds:.2f} s{speed}"


def _step(step: HistoryLine) -> str:
    tried = f", attempt {step.attempt}" if step.state is JobState.CLAIMED else ""
    return f"{local(step.at, seconds=True)}  {step.state}{tried}" + (f": {step.reason}" if step.reason else "")


def local(text: str, *, seconds: bool = False) -> str:
    """A time of the queue on this machine's clock; as it stands where it is none."""
    try:
        found = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return text
    return found.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
