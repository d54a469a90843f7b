"""How busy the machine is: the kernel's pressure figures, and how busy its graphics units are, where they say so.

Invariant: what can't be read is left out; nothing here raises or waits.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_PRESSURE = Path("/proc/pressure")
_CARDS = Path("/sys/class/drm")
_TOTAL = re.compile(r"^(some|full) .*\btotal=([0-9]+)$", re.MULTILINE)
_IDLE_FILES = (
    "gt/gt0/rc6_residency_ms",
    "power/rc6_residency_ms",
    "device/tile0/gt0/gtidle/idle_residency_ms",
)
"""Where Intel's two drivers (i915, in two forms, and xe) count the milliseconds that a card slept."""
_BUSY_FILE = "device/gpu_busy_percent"
"""Where AMD's driver says it outright."""


def pressure_s(root: Path = _PRESSURE) -> Mapping[tuple[str, str], float]:
    """Seconds since boot in which some, or all, tasks waited for a resource: by resource and share."""
    found = {}
    for resource in ("cpu", "io", "memory"):
        with suppress(OSError):
            text = (root / resource).read_text(encoding="ascii")
            for share, microseconds in _TOTAL.findall(text):
                found[resource, share] = int(microseconds) / 1_000_000
    return found


class GraphicsLoad:
    """The share of time that each card was busy since it was asked last, 0..1."""

    def __init__(self, root: Path = _CARDS) -> None:
        self._root = root
        self._before: dict[str, tuple[float, float]] = {}

    def busy(self) -> Mapping[str, float]:
        """By the card's name, `card0`; those that don't say are left out, all others at their first time."""
        return dict(self._look(time.monotonic()))

    def _look(self, now_s: float) -> Iterator[tuple[str, float]]:
        for card in sorted(self._root.glob("card[0-9]")):
            percent = _number(card / _BUSY_FILE)
            if percent is not None:
                yield card.name, min(1.0, percent / 100)
                continue
            idle_ms = next((found for name in _IDLE_FILES if (found := _number(card / name)) is not None), None)
            if idle_ms is None:
                continue
            before = self._before.get(card.name)
            self._before[card.name] = now_s, idle_ms / 1000
            if before is not None and now_s > before[0]:
                idle = (idle_ms / 1000 - before[1]) / (now_s - before[0])
                yield card.name, min(1.0, max(0.0, 1.0 - idle))


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
