"""Hours of folders: ranges of the wall clock, across midnight, on days on which it is set."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.adapters.wall_time import rests_until, works_now
from blurd.core.hours import DAY_MIN, DayRange, is_open, minutes_to_rest, parse_hours

MINUTES = st.integers(0, DAY_MIN - 1)
RANGES = st.builds(DayRange, MINUTES, st.integers(0, DAY_MIN)).filter(lambda part: part.start != part.end)

At = Callable[[str], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """Set the time, in UTC, of a box in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    if time.tzname[0] != "CET":
        pytest.skip("needs tzdata")

    def set_to(text: str) -> None:
        moment_s = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        monkeypatch.setattr(time, "time", lambda: moment_s)

    yield set_to
    monkeypatch.undo()
    time.tzset()


def test_ranges_are_read() -> None:
    assert parse_hours("") == ()
    assert parse_hours("22:00-06:00, 12:30 - 13:30") == (DayRange(1320, 360), DayRange(750, 810))
    assert parse_hours("18:00-24:00") == (DayRange(1080, 1440),)


@pytest.mark.parametrize("text", ["22-6", "25:00-06:00", "22:00-24:30", "06:00-06:00", "22:00-06:00;", "a", "," * 30])
def test_what_is_no_range_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|beyond|range"):
        parse_hours(text)


def test_a_range_holds_its_first_minute_and_not_its_last() -> None:
    night = parse_hours("22:00-06:00")
    hours = [is_open(night, minute) for minute in (1319, 1320, 1439, 0, 359, 360, 720)]
    assert hours == [False, True, True, True, True, False, False]
    assert is_open((), 720)


@given(st.lists(RANGES, max_size=4), MINUTES)
def test_the_rest_ends_at_the_first_open_minute(ranges: list[DayRange], now: int) -> None:
    """Against every minute of the day, asked one by one."""
    wait = minutes_to_rest(ranges, lambda step: (now + step) % DAY_MIN)
    assert is_open(ranges, (now + wait) % DAY_MIN)
    assert not any(is_open(ranges, (now + step) % DAY_MIN) for step in range(wait))


def test_a_rest_is_told_in_the_time_of_the_place(at: At) -> None:
    night = parse_hours("22:00-06:00")
    at("2026-07-01T12:00:30")  # 14:00 in Berlin
    assert not works_now(night)
    assert rests_until(night) == "2026-07-01T22:00+02:00"
    at("2026-07-01T20:00:00")
    assert works_now(night)
    assert rests_until(night) is None


def test_the_hour_that_the_clock_leaves_out(at: At) -> None:
    """On 29 March 2026 Berlin's clock goes from 02:00 to 03:00."""
    at("2026-03-29T00:59:00")  # 01:59
    assert rests_until(parse_hours("02:30-05:00")) == "2026-03-29T03:00+02:00"
    assert rests_until(parse_hours("02:10-02:50")) == "2026-03-30T02:10+02:00"
    at("2026-03-29T01:00:00")  # 03:00
    assert works_now(parse_hours("02:30-05:00"))


def test_the_hour_that_comes_twice(at: At) -> None:
    """On 25 October 2026 Berlin's clock goes from 03:00 back to 02:00: a night is an hour longer, and ends at 06:00."""
    night, early = parse_hours("22:00-06:00"), parse_hours("02:00-02:30")
    for moment, in_night, in_early in (
        ("2026-10-25T00:15:00", True, True),  # 02:15, the first
        ("2026-10-25T00:45:00", True, False),
        ("2026-10-25T01:15:00", True, True),  # 02:15, the second
        ("2026-10-25T04:59:00", True, False),  # 05:59
        ("2026-10-25T05:00:00", False, False),
    ):
        at(moment)
        assert (works_now(night), works_now(early)) == (in_night, in_early), moment
