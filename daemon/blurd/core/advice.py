"""What people are told of a file that got no copy: why, and what they can do. For the note at the share and `show`."""

import re
import textwrap

from blurd.core.naming import printable
from blurd.errors import REASONS, Reason
from blurd.records import Job, JobId, JobState

WIDTH = 76
_NUMBER = re.compile(r"blurd\s+show\s+([0-9]{1,18})\s*\Z")
_ONLY_WHILE_IT_IS_TRIED = frozenset({Reason.WORKER_DIED, Reason.NO_PROGRESS, Reason.STAGED_LOST})
"""Reasons whose remedy is that blurd tries again by itself, which it does no more once the job has failed."""


def remedy(state: JobState, reason: Reason, job: int) -> str:
    """What to do about a job in this state."""
    text = REASONS[reason].remedy
    if state is not JobState.FAILED:
        return text
    again = f"Every allowed attempt failed. To try it once more: blurd retry {job}"
    return again if reason in _ONLY_WHILE_IT_IS_TRIED else f"{text} {again}"


def note_text(job: Job) -> str:
    """The note for the people at the share. The same for the same job in the same state."""
    if job.reason is None:
        raise ValueError("a job without a reason was not refused")
    return "\n".join(
        (
            "blurd made no copy of this file:",
            "",
            f"    {printable(job.path)}",
            "",
            "Why",
            _indented(REASONS[job.reason].meaning),
            "",
            "What to do",
            _indented(remedy(job.state, job.reason, job.id)),
            "",
            *textwrap.wrap(
                "The original is where it was, unchanged. This note goes away by itself once there is a copy, or the"
                f" original is replaced or removed. Whoever looks after blurd finds more with: blurd show {job.id}",
                WIDTH,
            ),
            "",
        )
    )


def numbered(text: str) -> JobId | None:
    """The number of the job that a note is about; None where it names none."""
    found = _NUMBER.search(text)
    return JobId(int(found[1])) if found else None


def _indented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
