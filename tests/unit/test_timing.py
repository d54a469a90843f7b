"""The times of frames: the source's own, and mended only where they do not rise."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blurd.core.timing import FrameClock

TICK_S, NOMINAL = 0.001, 40


def times(*stamps: int | None) -> list[int]:
    clock = FrameClock(TICK_S, NOMINAL)
    return [clock.time(stamp) for stamp in stamps]


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, unique=True))
def test_times_that_rise_are_kept(stamps: list[int]) -> None:
    assert times(*sorted(stamps)) == sorted(stamps)


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1))
def test_times_always_rise(stamps: list[int | None]) -> None:
    found = times(*stamps)
    assert all(earlier < later for earlier, later in pairwise(found))


def test_a_frame_without_a_time_comes_a_frame_later() -> None:
    assert times(None, None, 100, None) == [0, 40, 100, 140]


def test_a_small_step_back_moves_on_by_a_tick_and_a_new_clock_goes_on_from_the_old() -> None:
    assert times(0, 40, 35, 80) == [0, 40, 41, 80]
    assert times(5000, 5040, 0, 40, 80) == [5000, 5040, 5080, 5120, 5160]
