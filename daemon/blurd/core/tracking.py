"""Following things from frame to frame: which hits are one face, or one plate, on its way. Pure.

Association in two steps, strong hits before weak ones (BYTE: Zhang et al. 2022, "ByteTrack"), over a constant-velocity
Kalman filter (Kalman 1960) on each of centre x, centre y, width and height, with the true time between frames. The
pairing is the cheapest in total (SciPy's `linear_sum_assignment`). Boxes are compared grown (buffered overlap: Yang et
al. 2023, "C-BIoU"), the more the less the filter knows of the place: so things that are small, quick, new or long
unseen are not lost.

Invariants
* Every hit from its category's start threshold on belongs to exactly one track. There is no confirmation: a single hit
  is a track.
* A weak hit only continues a track, forwards or backwards in time; it begins none.
* No track goes over a scene cut, and none bridges more than `TrackRule.longest_gap_s`.
* Time and memory grow with the number of frames and hits, nothing else.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from blurd.core.geometry import BoxArray, areas
from blurd.core.outlines import WHOLE
from blurd.records import Category, FrameObservation

_FORBIDDEN = 1e6
_OUTWARDS = np.array([-1.0, -1.0, 1.0, 1.0])
_PLACE, _PLACE_SPREAD, _LAST = 0, 2, 5
"""Rows of a state."""
_SPEED_HITS = 5
"""From how many of its first hits a path's speed is taken when it is followed back."""
_Path = list[int]
"""The rows of one thing's hits, in the order in which they were found."""


@dataclass(frozen=True, slots=True)
class TrackRule:
    """How far association reaches.

    Boxes are grown on each side before they are compared, by `reach` of their size and by `reach_deviations` of the
    filter's standard deviation. Two boxes whose areas differ by more than `most_area_ratio` are never the same thing.
    Deviations are shares of the thing's size: of a detector's boxes, of a speed that is not known yet, a second, and of
    the change of speed within a second.
    """

    longest_gap_s: float = 1.0
    reach: float = 0.3
    reach_deviations: float = 2.0
    least_overlap: float = 0.05
    most_area_ratio: float = 5.0
    box_deviation: float = 0.08
    start_speed_deviation: float = 3.0
    speed_deviation: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One thing: the frames (n,) in which it was found, rising, its boxes (n, 4) and its outlines (n, 16) there."""

    category: Category
    frames: NDArray[np.intp]
    boxes: BoxArray
    outlines: NDArray[np.float64]


def track(
    observations: Iterable[FrameObservation],
    start_threshold: Callable[[Category], float],
    rule: TrackRule = TrackRule(),
) -> tuple[Track, ...]:
    """All tracks of a video, in order of their beginnings."""
    tracks = [
        Track(category, hits.frames[rows], hits.boxes[rows], hits.outlines[rows])
        for category, hits in _gathered(observations, start_threshold).items()
        for rows in _paths(hits, rule)
    ]
    return tuple(sorted(tracks, key=lambda one: int(one.frames[0])))


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """A video's hits of one category in order: frames (n,), boxes (n, 4), whether they are strong (n,).

    And of each hit's frame, when it is shown (n,) and which scene it belongs to (n,); of each hit its outline (n, 16).
    """

    frames: NDArray[np.intp]
    boxes: BoxArray
    strong: NDArray[np.bool_]
    times_s: NDArray[np.float64]
    scenes: NDArray[np.intp]
    outlines: NDArray[np.float64]


def _gathered(
    observations: Iterable[FrameObservation], threshold: Callable[[Category], float]
) -> dict[Category, _Hits]:
    times_s, scenes, scene = array("d"), array("q"), 0
    rows: dict[Category, array[float]] = {}
    for frame, observation in enumerate(observations):
        scene += observation.cut
        times_s.append(observation.time_s)
        scenes.append(scene)
        for hit in observation.detections:
            box, strong = hit.box, hit.score >= threshold(hit.category)
            row = rows.setdefault(hit.category, array("d"))
            row.extend((frame, box.left, box.top, box.right, box.bottom, strong, *(hit.outline or WHOLE)))
    rising_s = np.maximum.accumulate(np.array(times_s, np.float64))
    hits = {}
    for category, numbers in rows.items():
        table = np.array(numbers, np.float64).reshape(-1, 6 + len(WHOLE))
        frames = table[:, 0].astype(np.intp)
        hits[category] = _Hits(
            frames, table[:, 1:5], table[:, 5] > 0, rising_s[frames], np.array(scenes, np.intp)[frames], table[:, 6:]
        )
    return hits


def _paths(hits: _Hits, rule: TrackRule) -> Iterator[NDArray[np.intp]]:
    """The rows of each thing's hits, rising."""
    forwards = _Follower(hits, rule)
    for row, end in _by_frame(hits.frames):
        forwards.step(hits.times_s[row], hits.scenes[row], np.arange(row, end))
    _extend_backwards(forwards, hits, rule)
    for path in forwards.paths:
        yield np.sort(np.array(path, np.intp))


def _by_frame(frames: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """The first row of each frame's hits, and the first one after them."""
    borders = np.flatnonzero(np.diff(frames, prepend=-1, append=-1)).tolist()
    return pairwise(borders)


def _extend_backwards(forwards: "_Follower", hits: _Hits, rule: TrackRule) -> None:
    """Give weak hits before a path's beginning to it, going back in time."""
    free = np.ones(len(hits.frames), np.bool_)
    begins: dict[int, _Path] = {}
    for path in forwards.paths:
        free[path] = False
        begins[path[0]] = path
    backwards = _Follower(hits, rule)
    for row, end in reversed(list(_by_frame(hits.frames))):
        rows = np.arange(row, end)
        beginning = [begins[one] for one in range(row, end) if one in begins]
        if not beginning and not free[row:end].any():
            continue
        backwards.step(-hits.times_s[row], -hits.scenes[row], rows[free[row:end]])
        for path in beginning:
            first = np.array(path[:_SPEED_HITS], np.intp)
            speed = slope(-hits.times_s[first], _centred(hits.boxes[first]), rule)
            backwards.take(path, path[0], speed)


def slope(times_s: NDArray[np.float64], places: NDArray[np.float64], rule: TrackRule) -> NDArray[np.float64]:
    """How fast places (n, k) move, in units a second: a least-squares fit that expects rest where n says little.

    A ridge regression whose weight is the ratio of the two variances, so that two boxes that tremble in neighbouring
    frames are no movement.
    """
    offset_s = times_s - times_s.mean()
    doubt = (rule.box_deviation / rule.start_speed_deviation) ** 2
    fitted: NDArray[np.float64] = offset_s @ places / (offset_s @ offset_s + doubt)
    return fitted


def _centred(boxes: BoxArray) -> NDArray[np.float64]:
    """Left, top, right, bottom to centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:4]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def _cornered(values: NDArray[np.float64]) -> BoxArray:
    half = np.maximum(values[..., 2:], 1.0) / 2
    return np.concatenate([values[..., :2] - half, values[..., :2] + half], axis=-1)


class _Follower:
    """All paths that began, and those that are alive as an array with a row for each.

    The filter's four values do not depend on each other, so its matrices are kept as three numbers for each value: the
    variances of place and speed, and their covariance. The sixth row of a state is the box that was seen last.
    """

    def __init__(self, hits: _Hits, rule: TrackRule) -> None:
        self._hits = hits
        self._rule = rule
        self.paths: list[_Path] = []
        self._alive: list[_Path] = []
        self._states = np.zeros((0, 6, 4))
        self._seen_s = np.zeros(0)
        self._now_s = 0.0
        self._scene = 0

    def step(self, now_s: float, scene: int, rows: NDArray[np.intp]) -> None:
        """Go on to a frame with these hits; what is strong and belongs to no path begins one."""
        self._move(now_s, scene)
        free = np.ones(len(self._alive), np.bool_)
        strong = self._hits.strong[rows]
        used: set[int] = set()
        for chosen in (rows[strong], rows[~strong]):
            followed, found = self._pairs(np.flatnonzero(free), chosen)
            if len(found):
                self._correct(followed, found)
                free[followed] = False
                used.update(found.tolist())
        for row in rows[strong].tolist():
            if row not in used:
                self.paths.append([])
                self.take(self.paths[-1], row, np.zeros(4))
                self.paths[-1].append(row)

    def take(self, path: _Path, row: int, speed: NDArray[np.float64]) -> None:
        """Follow a path from this hit, which it has now, on."""
        box = self._hits.boxes[row]
        place = _centred(box)
        variance = np.full(4, place[2] * place[3])
        spreads = self._rule.box_deviation**2 * variance, 0 * variance, self._rule.start_speed_deviation**2 * variance
        self._alive.append(path)
        self._states = np.concatenate([self._states, [np.stack([place, speed, *spreads, box])]])
        self._seen_s = np.append(self._seen_s, self._now_s)

    def _move(self, now_s: float, scene: int) -> None:
        """Let the states go on to a moment, without those of another scene or unseen for too long."""
        wanted = now_s - self._seen_s <= (self._rule.longest_gap_s + 1e-9 if scene == self._scene else -1.0)
        step_s = max(0.0, now_s - self._now_s)
        self._now_s, self._scene = now_s, scene
        if not wanted.all():
            self._alive = [path for path, kept in zip(self._alive, wanted, strict=True) if kept]
            self._states, self._seen_s = self._states[wanted], self._seen_s[wanted]
        if not self._alive:
            return
        place, speed, place_spread, both_spread, speed_spread, _ = self._states.transpose(1, 0, 2)
        place += speed * step_s
        push = self._rule.speed_deviation**2 * np.maximum(place[:, 2:3] * place[:, 3:4], 1.0) * step_s
        place_spread += step_s * (2 * both_spread + step_s * (speed_spread + push / 3))
        both_spread += step_s * (speed_spread + push / 2)
        speed_spread += push

    def _correct(self, followed: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
        """Give the hits of these rows to the paths that are alive at these places."""
        boxes = self._hits.boxes[rows]
        measured = _centred(boxes)
        place, speed, place_spread, both_spread, speed_spread, _ = self._states[followed].transpose(1, 0, 2)
        total = place_spread + self._rule.box_deviation**2 * measured[:, 2:3] * measured[:, 3:4]
        place_gain, speed_gain, off = place_spread / total, both_spread / total, measured - place
        self._states[followed] = np.stack(
            [
                place + place_gain * off,
                speed + speed_gain * off,
                place_spread - place_gain * place_spread,
                both_spread - place_gain * both_spread,
                speed_spread - speed_gain * both_spread,
                boxes,
            ],
            axis=1,
        )
        self._seen_s[followed] = self._now_s
        for one, row in zip(followed.tolist(), rows.tolist(), strict=True):
            self._alive[one].append(row)

    def _pairs(self, free: NDArray[np.intp], rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of the paths alive at `free` go on with which of these hits: their places, and the hits' rows."""
        if not len(free) or not len(rows):
            return free[:0], rows[:0]
        states, boxes = self._states[free], self._hits.boxes[rows]
        expected, last = _cornered(states[:, _PLACE]), states[:, _LAST]
        doubt = self._rule.reach_deviations * np.sqrt(states[:, _PLACE_SPREAD, :2])
        extra = self._rule.reach * states[:, _PLACE, 2:] + doubt
        both = np.concatenate([expected, last, expected]), np.concatenate([extra, extra, 0 * extra])
        grown, grown_last, plain = _overlaps(*both, boxes).reshape(3, len(free), len(rows))
        overlap = np.maximum(grown, grown_last)
        ratio = areas(last)[:, None] / areas(boxes)
        most = self._rule.most_area_ratio
        possible = (overlap >= self._rule.least_overlap) & (ratio <= most) & (ratio * most >= 1.0)
        cost = np.where(possible, 2.0 - overlap - plain, _FORBIDDEN)
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  a third of a second that photos need not wait

        first, second = linear_sum_assignment(cost)
        paired = possible[first, second]
        return free[first[paired]], rows[second[paired]]


def _overlaps(first: BoxArray, extra: NDArray[np.float64], second: BoxArray) -> NDArray[np.float64]:
    """Overlaps (n, m) of boxes (n, 4) and (m, 4), both grown on each side by the first's `extra` (n, 2) in pixels."""
    outwards = _OUTWARDS * np.concatenate([extra, extra], axis=1)
    one, other = (first + outwards)[:, None], second + outwards[:, None]
    common_sides = np.maximum(np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]), 0.0)
    sides, other_sides = one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2]
    common = common_sides[..., 0] * common_sides[..., 1]
    both = sides[..., 0] * sides[..., 1] + other_sides[..., 0] * other_sides[..., 1]
    shares: NDArray[np.float64] = common / np.maximum(both - common, 1e-6)
    return shares
