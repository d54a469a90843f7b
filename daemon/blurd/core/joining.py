"""What several networks found of one class in one picture, as one list. Pure.

Two networks' scores mean different things, so they are brought onto the scale of the first: its floor and its start
threshold are reached where the other network's own are. So one threshold in a folder's settings holds for all, and a
hit that any of them would have masked alone is masked.

Invariant: nothing that reaches its own network's start threshold falls under the first one's by being joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blurd.core.geometry import HitArray, MergeRule, merge, whole_pixels, with_outlines


@dataclass(frozen=True, slots=True)
class Scale:
    """What a network's scores mean: from which on it reports hits, and from which on a single one is masked."""

    floor: float
    start: float


def rescaled(hits: HitArray, scale: Scale, wanted: Scale) -> HitArray:
    """Hits with their scores on another scale, straight between 0, floor, start and 1."""
    if scale == wanted:
        return hits
    places, values = [0.0, scale.floor, scale.start, 1.0], [0.0, wanted.floor, wanted.start, 1.0]
    knots = dict(zip(places, values, strict=True))  # of two in one place the later, higher one counts
    changed = hits.copy()
    changed[:, 4] = np.interp(hits[:, 4], list(knots), list(knots.values()))
    return changed


def join(groups: Sequence[HitArray], rule: MergeRule) -> HitArray:
    """One hit for each thing that any of the networks found; each group is one network's, on one scale."""
    if len(groups) == 1:
        return groups[0]
    if any(group.shape[1] != groups[0].shape[1] for group in groups):
        groups = [with_outlines(group) for group in groups]
    return whole_pixels(merge(np.concatenate(groups), rule))
