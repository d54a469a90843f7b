"""The wall clock of the place: what a clock on the wall beside the box shows, with its summer and winter time.

Invariant: the time zone is the machine's as it is now; it may be changed while the process runs.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from blurd.core.hours import DayRange, is_open, minutes_to_rest


def minute_of_day(at_s: float) -> int:
    """The minute of the day, 0..1439, that the wall clock shows at a time since the epoch."""
    shown = time.localtime(at_s)
    return 60 * shown.tm_hour + shown.tm_min


def works_now(ranges: Sequence[DayRange]) -> bool:
    """True where a folder of these hours works now."""
    if not ranges:
        return True
    time.tzset()
    return is_open(ranges, minute_of_day(time.time()))


def rests_until(ranges: Sequence[DayRange]) -> str | None:
    """When a folder of these hours works again, as ISO 8601 with the place's offset; None where it does now."""
    if not ranges:
        return None
    time.tzset()
    now_s = time.time() // 60 * 60
    minutes = minutes_to_rest(ranges, lambda step: minute_of_day(now_s + 60 * step))
    if not minutes:
        return None
    return datetime.fromtimestamp(now_s + 60 * minutes, UTC).astimezone().isoformat(timespec="minutes")
