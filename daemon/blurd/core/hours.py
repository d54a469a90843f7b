"""The hours in which a folder works: ranges of the day's minutes on the wall clock of the place, across midnight too.

Invariants
* Membership is asked of the minute that the wall clock shows. So a day on which the clock is set forward or back needs
  no rule of its own: an hour that comes twice counts twice, one that is left out never comes.
* A range holds its first minute and not its last. One whose end lies before its start goes on past midnight.
* No ranges are all hours.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

DAY_MIN = 24 * 60
MOST_RANGES = 24
LOOK_AHEAD_MIN = 3 * DAY_MIN
"""No folder rests longer, unless its only range lies in the hour that the clock leaves out: then for a day more."""

_RANGE = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01][0-9]|2[0-4]):([0-5][0-9])\Z")


@dataclass(frozen=True, slots=True)
class DayRange:
    """From a minute of the day to another, 0..1440; across midnight where it ends before it begins."""

    start: int
    end: int

    def __contains__(self, minute: int) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def parse_hours(text: str) -> tuple[DayRange, ...]:
    """The ranges of `22:00-06:00, 12:30-13:30`; none for an empty text. Raises `ValueError` with what to write."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > MOST_RANGES:
        raise ValueError(f"write at most {MOST_RANGES} ranges")
    return tuple(map(_parse, parts))


def _parse(text: str) -> DayRange:
    found = _RANGE.match(text)
    if found is None:
        raise ValueError('write ranges such as "22:00-06:00", with commas between, or "" for all hours')
    first, first_minute, last, last_minute = map(int, found.groups())
    start, end = 60 * first + first_minute, 60 * last + last_minute
    if end > DAY_MIN:
        raise ValueError("24:00 is the end of the day, no range goes beyond it")
    if start == end:
        raise ValueError('a range ends at another time than it begins; leave hours = "" for all hours')
    return DayRange(start, end)


def is_open(ranges: Iterable[DayRange], minute: int) -> bool:
    """True where the folder works at this minute of the day."""
    ranges = tuple(ranges)
    return not ranges or any(minute in part for part in ranges)


def minutes_to_rest(ranges: Iterable[DayRange], minute_after: Callable[[int], int]) -> int:
    """After how many minutes the folder works again; 0 where it does now.

    `minute_after(n)` is the minute of the day that the wall clock shows n minutes from now.
    """
    ranges = tuple(ranges)
    steps = range(LOOK_AHEAD_MIN)
    return next((step for step in steps if is_open(ranges, minute_after(step))), LOOK_AHEAD_MIN)
