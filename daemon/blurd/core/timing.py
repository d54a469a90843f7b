"""The times of a copy's frames: the source's own, mended only where no player could use them. Pure.

Invariants
* Times grow strictly: an encoder that reorders frames needs that.
* A source whose times grow strictly keeps every one of them.
"""

from dataclasses import dataclass, field

_BACKWARD_JUMP_S = 1.0
"""A step back by more is a new clock, as when a recorder was set or a segment was appended."""


@dataclass(slots=True)
class FrameClock:
    """Gives each frame its time, in ticks; one for each pass, so that every pass has the same times.

    `tick_s` is the length of a tick, `nominal` the ticks between two frames of a source that does not say.
    """

    tick_s: float
    nominal: int
    _shift: int = 0
    _last: int | None = field(default=None)

    def time(self, stamp: int | None) -> int:
        """The time of the next frame, whose own stamp is `stamp` ticks, or None where it has none."""
        if self._last is None:
            self._last = stamp if stamp is not None else 0
            return self._last
        wanted = self._last + self.nominal if stamp is None else stamp + self._shift
        if wanted <= self._last:
            if stamp is not None and (self._last - wanted) * self.tick_s > _BACKWARD_JUMP_S:
                self._shift += self._last + self.nominal - wanted
                wanted = self._last + self.nominal
            else:
                wanted = self._last + 1
        self._last = wanted
        return wanted
