"""The table of job states."""

import pytest

from blurd.core.lifecycle import MOVES, UNFINISHED, move
from blurd.errors import IllegalMoveError
from blurd.records import JobState

LEGAL = {
    ("queued", "claimed"), ("queued", "superseded"), ("queued", "vanished"),
    ("claimed", "staged"), ("claimed", "queued"), ("claimed", "deferred"), ("claimed", "rejected"),
    ("claimed", "failed"), ("claimed", "superseded"), ("claimed", "vanished"), ("claimed", "published"),
    ("staged", "published"), ("staged", "queued"), ("staged", "superseded"), ("staged", "vanished"),
    ("deferred", "queued"), ("deferred", "superseded"), ("deferred", "vanished"),
    ("rejected", "queued"), ("failed", "queued"), ("ignored", "queued"), ("published", "withdrawn"),
}  # fmt: skip


@pytest.mark.parametrize("current", JobState)
@pytest.mark.parametrize("target", JobState)
def test_a_move_is_legal_or_raises(current: JobState, target: JobState) -> None:
    if (current, target) in LEGAL:
        assert move(current, target) is target
    else:
        with pytest.raises(IllegalMoveError):
            move(current, target)


def test_every_state_stands_in_the_table() -> None:
    assert set(MOVES) == set(JobState)


def test_an_unfinished_job_can_reach_an_outcome() -> None:
    """From every unfinished state, published and vanished can be reached: no state is a trap."""
    for state in UNFINISHED:
        reached, frontier = {state}, [state]
        while frontier:
            for following in MOVES[frontier.pop()] - reached:
                reached.add(following)
                frontier.append(following)
        assert {JobState.PUBLISHED, JobState.VANISHED} <= reached


def test_a_published_job_changes_only_when_its_copy_is_withdrawn() -> None:
    assert MOVES[JobState.PUBLISHED] == {JobState.WITHDRAWN}
    assert MOVES[JobState.WITHDRAWN] == frozenset()
