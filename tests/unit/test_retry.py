"""What follows a failed attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.retry import MAX_RETURNS, RetryRule, after_return, outcome
from blurd.errors import REASONS, Disposition, Reason
from blurd.records import JobState

RULE = RetryRule(max_attempts=3, first_delay_s=10.0, longest_delay_s=100.0)


def test_every_reason_says_what_it_means_and_what_to_do() -> None:
    for reason in Reason:
        assert REASONS[reason].meaning.endswith(".")
        assert REASONS[reason].remedy


@pytest.mark.parametrize(
    ("disposition", "attempts", "state"),
    [
        (Disposition.REJECT, 1, JobState.REJECTED),
        (Disposition.VANISH, 1, JobState.VANISHED),
        (Disposition.PAUSE, 3, JobState.QUEUED),
        (Disposition.STOP, 3, JobState.QUEUED),
        (Disposition.RETRY, 1, JobState.DEFERRED),
        (Disposition.RETRY, 2, JobState.DEFERRED),
        (Disposition.RETRY, 3, JobState.FAILED),
    ],
)
def test_the_disposition_decides(disposition: Disposition, attempts: int, state: JobState) -> None:
    assert outcome(disposition, attempts, RULE, 0.5).state is state


@given(st.integers(1, 19), st.floats(0, 1))
def test_delays_grow_and_stay_bounded(attempts: int, jitter: float) -> None:
    rule = RetryRule(max_attempts=20, first_delay_s=10.0, longest_delay_s=100.0)
    delay_s = outcome(Disposition.RETRY, attempts, rule, jitter).delay_s
    assert 7.5 <= delay_s <= 125.0
    assert delay_s <= 1.25 * 10.0 * 2 ** (attempts - 1)


def test_a_clean_stop_gives_the_attempt_back_ten_times() -> None:
    assert MAX_RETURNS == 10
    assert after_return(1, 9, RULE, 0.5).state is JobState.QUEUED
    assert after_return(1, 10, RULE, 0.5).state is JobState.DEFERRED
    assert after_return(3, 10, RULE, 0.5).state is JobState.FAILED
