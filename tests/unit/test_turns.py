"""Turns of folders: strict between priorities, fair among equals."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from blurd.core.turns import Turns
from blurd.records import FolderName

A, B, C = map(FolderName, ("a", "b", "c"))
LOTS = {A: 0.1, B: 0.2, C: 0.3}


def test_the_higher_priority_goes_first_always() -> None:
    turns = Turns({A: 0, B: 5, C: -5}, LOTS)
    for _ in range(10):
        assert turns.order([A, B, C]) == (B, A, C)
        turns.worked(B, 100.0)


def test_one_backlog_starves_none() -> None:
    """A hundred thousand files wait in a; b and c get as many turns all the same."""
    turns = Turns(dict.fromkeys(LOTS, 0), LOTS)
    served: Counter[FolderName] = Counter()
    for _ in range(300):
        first = turns.order([A, B, C])[0]
        served[first] += 1
        turns.worked(first, 1.0)
    assert served == {A: 100, B: 100, C: 100}


def test_long_videos_don_t_crowd_out_photos() -> None:
    """Half of the time each: after a video of an hour come photos for an hour."""
    turns = Turns({A: 0, B: 0}, LOTS)
    spent = {A: 0.0, B: 0.0}
    for _ in range(2000):
        first = turns.order([A, B])[0]
        seconds = 3600.0 if first == A else 2.0
        spent[first] += seconds
        turns.worked(first, seconds)
        assert abs(spent[A] - spent[B]) <= 3602.0


def test_idle_time_is_not_saved_up() -> None:
    """A folder that had nothing for long does not then keep the others waiting for as long."""
    turns = Turns({A: 0, B: 0}, LOTS)
    for _ in range(1000):
        turns.worked(A, 10.0)
    served = []
    for _ in range(6):
        first = turns.order([A, B])[0]
        served.append(first)
        turns.worked(first, 10.0)
    assert served.count(B) <= 4


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.floats(0, 1000)), max_size=60))
def test_every_folder_stands_in_the_order_once(work: list[tuple[FolderName, float]]) -> None:
    turns = Turns({A: 1, B: 0, C: 0}, LOTS)
    for folder, seconds in work:
        turns.worked(folder, seconds)
    order = turns.order([A, B, C])
    assert set(order) == {A, B, C}
    assert order[0] == A


def test_equals_that_never_worked_are_told_apart_by_lot() -> None:
    """A process that is replaced after each job begins with another folder each time."""
    assert Turns({A: 0, B: 0}, {A: 0.9, B: 0.1}).order([A, B]) == (B, A)
