"""Deciding what follows a failed attempt. Pure: the clock and the random number are arguments."""

from dataclasses import dataclass

from blurd.errors import Disposition
from blurd.records import JobState

_SLOWEST_BYTES_PER_S = 4 << 20
"""How fast at least a file is read, or a copy written, from end to end."""
_SLOWEST_FRAME_S = 0.02
"""How long at most a frame takes in a step that goes over all of them at once."""

MAX_RETURNS = 10
"""How often a clean stop or a reboot gives an attempt back before it counts after all."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often a job is tried, and how the delay between attempts grows (doubling from first to longest)."""

    max_attempts: int
    first_delay_s: float = 10.0
    longest_delay_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state that a failed job moves to; `delay_s` is set for deferred jobs."""

    state: JobState
    delay_s: float = 0.0


def outcome(disposition: Disposition, attempts: int, rule: RetryRule, jitter: float) -> Outcome:
    """What follows a failed attempt.

    `attempts` counts the failed one; `jitter` in 0..1 spreads the delay over 75 % to 125 % so that jobs that failed
    together don't return together.
    """
    if disposition is Disposition.REJECT:
        return Outcome(JobState.REJECTED)
    if disposition is Disposition.VANISH:
        return Outcome(JobState.VANISHED)
    if disposition in (Disposition.PAUSE, Disposition.STOP):
        return Outcome(JobState.QUEUED)
    if attempts >= rule.max_attempts:
        return Outcome(JobState.FAILED)
    doubled = rule.first_delay_s * 2.0 ** (max(attempts, 1) - 1)
    return Outcome(JobState.DEFERRED, min(doubled, rule.longest_delay_s) * (0.75 + 0.5 * jitter))


def after_return(attempts: int, returns: int, rule: RetryRule, jitter: float) -> Outcome:
    """What follows a stop without blame (clean stop, reboot): queued, until that happened too often."""
    if returns < MAX_RETURNS:
        return Outcome(JobState.QUEUED)
    return outcome(Disposition.RETRY, attempts, rule, jitter)


def patience_s(limit_s: float, source_bytes: int, frames: int = 0) -> float:
    """How long a worker may show no progress over a file.

    Progress is shown frame by frame; hashing, reading all packets and planning go over the whole file without, so a
    long file has more time than the settings' limit.
    """
    return limit_s + source_bytes / _SLOWEST_BYTES_PER_S + frames * _SLOWEST_FRAME_S
