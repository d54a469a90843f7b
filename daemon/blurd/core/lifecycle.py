"""The states of a job, and every move between them, in one table.

    queued ----> claimed ----> staged ----> published
      ^  ^         | | |          |
      |  |         | | +-> rejected, failed --(retry)--> queued
      |  +---------+ |            |
      |  (given back)+-> deferred --(time)--> queued
      +------------- staged file lost --------+
    queued, claimed, deferred, staged ----> superseded (source replaced) | vanished (source gone)
    claimed ----> published (a receipt from before the queue was rebuilt tells so)
    published ----> withdrawn (another copy of the same source was published: its regions changed, or it was made again)

Recovery, for each state, at start and whenever a process died
* queued: nothing to do; the next free worker claims it.
* claimed: where the worker is gone (other boot, no such process, or its number belongs to a later process) the job
  is deferred with `worker_died`, or failed after the last attempt; after a reboot it goes back to queued and the
  attempt is given back. A worker that lives and shows no progress in time (`retry.patience_s`) is ended, and its job
  goes the same way with `no_progress`. Its staged files carry the job's number and are removed.
* staged: the publisher goes on. It wrote down the name before linking; a staged file that is already linked there is
  recognised (same inode, or same SHA-256 where the link was a rename) and not published again. A staged file that is
  lost sends the job back to queued.
* deferred: due again at its time on this boot's clock, at once after a reboot.
* published: final, until its copy is withdrawn. The copy is taken away before the withdrawal is written down, and
  the job that takes its place is closed after that, so a cut repeats the step.
* ignored: final; a job begins and ends so where the file is no medium by content and by name.
* rejected, failed, superseded, vanished, withdrawn: final. rejected, failed and ignored go back to queued when asked.

A queue that is lost (damaged, or older than its receipts) is begun anew: every inbound file gets a new job. One that a
receipt tells of goes claimed -> published when its content is known, and nothing is published again; every other is
treated as if it had just arrived. Job numbers go on where the old queue ended.

Asked for by the operator
* retry: rejected, failed, ignored, deferred -> queued; attempts and returns start anew, the history stays.
* redo: the file of a published job gets a new job, queued. Nothing moves before its copy is published: then the old job
  goes to withdrawn. Where the new one ends otherwise the old copy stays.
* forget: a job in one of the states of `FINISHED` leaves the table with its history. It is no move: the file, if it is
  still there, is new to the queue then.

Invariants
* A state changes only by `move`; an illegal move raises `IllegalMoveError`, which is our bug.
* An attempt is counted by the move to claimed and given back only by `claimed -> queued`.
"""

from types import MappingProxyType

from blurd.errors import IllegalMoveError
from blurd.records import JobState

_S = JobState

MOVES: MappingProxyType[JobState, frozenset[JobState]] = MappingProxyType(
    {
        _S.QUEUED: frozenset({_S.CLAIMED, _S.SUPERSEDED, _S.VANISHED}),
        _S.CLAIMED: frozenset(
            {_S.STAGED, _S.QUEUED, _S.DEFERRED, _S.REJECTED, _S.FAILED, _S.SUPERSEDED, _S.VANISHED, _S.PUBLISHED},
        ),
        _S.STAGED: frozenset({_S.PUBLISHED, _S.QUEUED, _S.SUPERSEDED, _S.VANISHED}),
        _S.DEFERRED: frozenset({_S.QUEUED, _S.SUPERSEDED, _S.VANISHED}),
        _S.REJECTED: frozenset({_S.QUEUED}),
        _S.FAILED: frozenset({_S.QUEUED}),
        _S.PUBLISHED: frozenset({_S.WITHDRAWN}),
        _S.SUPERSEDED: frozenset(),
        _S.VANISHED: frozenset(),
        _S.WITHDRAWN: frozenset(),
        _S.IGNORED: frozenset({_S.QUEUED}),
    }
)

UNFINISHED: frozenset[JobState] = frozenset({_S.QUEUED, _S.CLAIMED, _S.STAGED, _S.DEFERRED})
"""States in which a job still owes an outcome."""

FINISHED: frozenset[JobState] = frozenset(JobState) - UNFINISHED
"""States in which nobody works on the job any more."""

RETRIABLE: frozenset[JobState] = frozenset({_S.REJECTED, _S.FAILED, _S.IGNORED, _S.DEFERRED})
"""States from which a job is tried anew when somebody asks."""


def move(current: JobState, target: JobState) -> JobState:
    """The new state, where the table allows the move; else `IllegalMoveError`."""
    if target not in MOVES[current]:
        raise IllegalMoveError(current, target)
    return target
