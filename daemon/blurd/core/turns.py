"""Whose turn it is: folders of a higher priority first, and fair turns between those of equal priority.

Fair is meant in time of work, not in files: a camera with videos of an hour and a desk with photos get half of the
time each, whatever waits at either. It is start-time fair queueing (P. Goyal, H. Vin, H. Cheng, 1997): each folder has
a tag, which grows by the time that its jobs take; the least tag goes first; a folder that had nothing to do begins at
the tag of the last one served, so that it neither saves time up nor owes any.

Invariants
* Priority is strict: while a folder has a job that can be done, none of lower priority is served.
* Who has worked least goes first, so nobody waits longer than all others take for one turn each.
* Equal tags are told apart by `lot`, a number drawn anew for each folder in each process: one that is replaced after
  every job does not always begin with the same folder.
"""

from collections.abc import Iterable, Mapping

from blurd.records import FolderName

LEAST_S = 0.01
"""What a job counts at least, so that a turn is a turn."""


class Turns:
    """The turns of one worker among its folders."""

    def __init__(self, priorities: Mapping[FolderName, int], lots: Mapping[FolderName, float]) -> None:
        self._priorities, self._lots = priorities, lots
        self._tags = dict.fromkeys(priorities, 0.0)
        self._served: dict[int, float] = {}

    def order(self, folders: Iterable[FolderName]) -> tuple[FolderName, ...]:
        """The folders, in the order in which they are asked for a job."""
        return tuple(sorted(folders, key=self._place))

    def worked(self, folder: FolderName, seconds: float) -> None:
        """Count a job of a folder that took so long."""
        start = self._start(folder)
        self._served[self._priorities[folder]] = start
        self._tags[folder] = start + max(LEAST_S, seconds)

    def _place(self, folder: FolderName) -> tuple[int, float, float]:
        return -self._priorities[folder], self._start(folder), self._lots[folder]

    def _start(self, folder: FolderName) -> float:
        return max(self._tags[folder], self._served.get(self._priorities[folder], 0.0))
