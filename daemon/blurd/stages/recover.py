"""Recover: take back the jobs of workers that died, and end those that show no progress.

What becomes of a job stands in `core/lifecycle.py`, recovery of claimed. A worker that is stuck may hold every lock of
its process, so it is ended from here, by its identity, and its job is taken back only once it is gone.
"""

import random
from collections.abc import Callable

from blurd.adapters.host import boot_clock_s, boot_id, end_process, is_alive
from blurd.core.retry import RetryRule, after_return, outcome
from blurd.errors import Disposition, Reason
from blurd.events import Event, JobFailed, JobRecovered, JobReturned, WorkerStuck
from blurd.ports import JobStore
from blurd.records import Claim, JobState


def recover(store: JobStore, rule: RetryRule, emit: Callable[[Event], None]) -> None:
    """Look at every claimed job once."""
    for claim in store.claims():
        reason = Reason.WORKER_DIED
        if is_alive(claim.worker):
            if not _is_overdue(claim) or not end_process(claim.worker):
                continue
            reason = Reason.NO_PROGRESS
            emit(WorkerStuck(claim.job.id, claim.job.folder, claim.worker.pid))
        _take_back(store, rule, emit, claim, reason)


def _is_overdue(claim: Claim) -> bool:
    return 0.0 < claim.due_s < boot_clock_s()


def _take_back(store: JobStore, rule: RetryRule, emit: Callable[[Event], None], claim: Claim, reason: Reason) -> None:
    job, worker = claim.job, claim.worker
    jitter = random.random()  # noqa: S311  spreads retries, guards nothing
    # Nobody's fault: a reboot, or a share that hangs (its folder is paused for it).
    blameless = worker.boot_id != boot_id() or (claim.paused and reason is Reason.NO_PROGRESS)
    if blameless and after_return(job.attempts, job.returns, rule, jitter).state is JobState.QUEUED:
        if store.give_back(job.id, worker, None):
            emit(JobReturned(job.id, job.folder))
        return
    after = outcome(Disposition.RETRY, job.attempts, rule, jitter)
    if store.finish(job.id, worker, after.state, reason, boot_clock_s() + after.delay_s):
        if after.state is JobState.FAILED:
            emit(JobFailed(job.id, job.folder, reason, job.attempts))
        else:
            emit(JobRecovered(job.id, job.folder, reason))
