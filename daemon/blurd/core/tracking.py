"""Following things from frame to frame: which hits are one face, or one plate, on its way. Pure.

Association in two steps, strong hits before weak ones (BYTE: Zhang et al. 2022, "ByteTrack"), over a constant-velocity
Kalman filter (Kalman 1960) on each of centre x, centre y, width and height, with the true time between frames. The
pairing is the cheapest in total (SciPy's `linear_sum_assignment`). Boxes are compared grown, the more the longer a thing
was not seen (buffered overlap: Yang et al. 2023, "C-BIoU"), so that small and quick things are not lost.

Invariants
* Every hit from its category's start threshold on belongs to exactly one track. There is no confirmation: a single hit
  is a track.
* A weak hit only continues a track, forwards or backwards in time; it begins none.
* No track goes over a scene cut, and none bridges more than `TrackRule.longest_gap_s`.
* Time and memory grow with the number of frames and hits, nothing else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from blurd.core.geometry import BoxArray, intersection_over_union
from blurd.records import Category, FrameObservation

_FORBIDDEN = 1e6
_START_SPEED_DEVIATION = 3.0
"""Deviation of an unknown speed, in sizes of the thing a second."""


@dataclass(frozen=True, slots=True)
class TrackRule:
    """How far association reaches.

    `reach` is how much boxes are grown on each side before they are compared, as a share of their size, and
    `reach_per_s` what is added for each second that the thing was not seen. Two boxes whose areas differ by more than
    `most_area_ratio` are never the same thing. Deviations are shares of the thing's size: of a detector's boxes, and
    of the change of speed within a second.
    """

    longest_gap_s: float = 1.0
    reach: float = 0.3
    reach_per_s: float = 1.5
    least_overlap: float = 0.05
    most_area_ratio: float = 5.0
    box_deviation: float = 0.08
    speed_deviation: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One thing: the frames (n,) in which it was found, rising, and its boxes there (n, 4)."""

    category: Category
    frames: NDArray[np.intp]
    boxes: BoxArray


@dataclass(slots=True)
class _Path:
    frames: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, frame: int, box: NDArray[np.float64]) -> None:
        self.frames.append(frame)
        self.boxes.append(box)


def track(
    observations: Iterable[FrameObservation], start_threshold: Callable[[Category], float], rule: TrackRule = TrackRule()
) -> tuple[Track, ...]:
    """All tracks of a video, in order of their beginnings."""
    hits = _Hits.gathered(observations, start_threshold)
    tracks = [found for category in Category for found in _tracks(category, hits, rule)]
    return tuple(sorted(tracks, key=lambda one: int(one.frames[0])))


@dataclass(slots=True)
class _Hits:
    """The hits of a video by category: their frames (n,), boxes (n, 4) and whether they are strong (n,)."""

    times_s: NDArray[np.float64]
    cuts: NDArray[np.intp]
    frames: dict[Category, NDArray[np.intp]]
    boxes: dict[Category, BoxArray]
    strong: dict[Category, NDArray[np.bool_]]

    @classmethod
    def gathered(cls, observations: Iterable[FrameObservation], threshold: Callable[[Category], float]) -> "_Hits":
        times_s: list[float] = []
        cuts: list[int] = []
        rows: dict[Category, list[tuple[int, float, float, float, float, bool]]] = {one: [] for one in Category}
        for frame, observation in enumerate(observations):
            times_s.append(observation.time_s)
            if observation.cut:
                cuts.append(frame)
            for hit in observation.detections:
                box, strong = hit.box, hit.score >= threshold(hit.category)
                rows[hit.category].append((frame, box.left, box.top, box.right, box.bottom, strong))
        tables = {one: np.array(found, np.float64).reshape(-1, 6) for one, found in rows.items()}
        return cls(
            np.array(times_s),
            np.array(cuts, np.intp),
            {one: table[:, 0].astype(np.intp) for one, table in tables.items()},
            {one: table[:, 1:5] for one, table in tables.items()},
            {one: table[:, 5] > 0 for one, table in tables.items()},
        )


def _tracks(category: Category, hits: _Hits, rule: TrackRule) -> Iterable[Track]:
    frames, boxes, strong = hits.frames[category], hits.boxes[category], hits.strong[category]
    if not len(frames):
        return
    follower = _Follower(rule)
    free = np.ones(len(frames), np.bool_)
    scenes = np.searchsorted(hits.cuts, np.arange(len(hits.times_s)), side="right")
    for frame, rows in _by_frame(frames):
        used = follower.step(frame, float(hits.times_s[frame]), int(scenes[frame]), boxes[rows], strong[rows])
        free[rows[used]] = False
    _extend_backwards(follower.paths, hits, (frames[free], boxes[free]), scenes, rule)
    for path in follower.paths:
        order = np.argsort(np.array(path.frames), kind="stable")
        yield Track(category, np.array(path.frames, np.intp)[order], np.array(path.boxes)[order])


def _by_frame(frames: NDArray[np.intp]) -> Iterable[tuple[int, NDArray[np.intp]]]:
    starts = np.flatnonzero(np.diff(frames, prepend=frames[0] - 1))
    for start, stop in zip(starts, np.append(starts[1:], len(frames)), strict=True):
        yield int(frames[start]), np.arange(start, stop)


def _extend_backwards(
    paths: Sequence[_Path],
    hits: _Hits,
    weak: tuple[NDArray[np.intp], BoxArray],
    scenes: NDArray[np.intp],
    rule: TrackRule,
) -> None:
    """Give weak hits before a track's beginning to it, going back in time."""
    frames, boxes = weak
    begins = sorted(range(len(paths)), key=lambda number: -paths[number].frames[0])
    follower = _Follower(rule)
    events = sorted({*frames.tolist(), *(path.frames[0] for path in paths)}, reverse=True)
    next_begin = 0
    for frame in events:
        time_s, scene = -float(hits.times_s[frame]), -int(scenes[frame])
        low, high = np.searchsorted(frames, [frame, frame + 1])
        follower.step(frame, time_s, scene, boxes[low:high], np.zeros(high - low, np.bool_))
        while next_begin < len(begins) and paths[begins[next_begin]].frames[0] == frame:
            path = paths[begins[next_begin]]
            follower.take(path, path.boxes[0], time_s, _speed(path, hits.times_s))
            next_begin += 1


def _speed(path: _Path, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How fast a path began, in pixels a second, time running backwards."""
    if len(path.frames) < 2:  # noqa: PLR2004
        return np.zeros(4)
    step_s = max(float(times_s[path.frames[1]] - times_s[path.frames[0]]), 1e-3)
    return np.asarray((_centred(path.boxes[0]) - _centred(path.boxes[1])) / step_s, np.float64)


def _centred(boxes: BoxArray) -> NDArray[np.float64]:
    """Left, top, right, bottom to centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:4]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def _cornered(values: NDArray[np.float64]) -> BoxArray:
    half = np.maximum(values[..., 2:], 1.0) / 2
    return np.concatenate([values[..., :2] - half, values[..., :2] + half], axis=-1)


class _Follower:
    """The tracks that are alive, as arrays with a row for each, and all paths.

    The filter's four values do not depend on each other, so its matrices are kept as three numbers for each value: the
    variances of place and speed, and their covariance.
    """

    def __init__(self, rule: TrackRule) -> None:
        self._rule = rule
        self.paths: list[_Path] = []
        self._alive: list[_Path] = []
        self._place = np.zeros((0, 4))
        self._speed = np.zeros((0, 4))
        self._spread = np.zeros((0, 3, 4))
        self._last = np.zeros((0, 4))
        self._seen_s = np.zeros(0)
        self._now_s = 0.0
        self._scene = 0

    def step(
        self, frame: int, time_s: float, scene: int, boxes: BoxArray, strong: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """Go on to a frame with these hits; returns the rows of those that now belong to a track."""
        if scene != self._scene:
            self._keep(np.zeros(len(self._alive), np.bool_))
            self._scene = scene
        self._keep(time_s - self._seen_s <= self._rule.longest_gap_s + 1e-9)
        self._predict(time_s)
        free = np.ones(len(self._alive), np.bool_)
        used: list[int] = []
        for chosen in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            rows, columns = self._pairs(np.flatnonzero(free), boxes[chosen], time_s)
            for row, column in zip(rows, chosen[columns], strict=True):
                self._alive[row].add(frame, boxes[column])
                used.append(int(column))
            self._correct(rows, boxes[chosen[columns]], time_s)
            free[rows] = False
            if chosen.size and strong[chosen[0]]:
                for column in np.setdiff1d(chosen, chosen[columns]):
                    path = _Path()
                    path.add(frame, boxes[column])
                    self.paths.append(path)
                    self.take(path, boxes[column], time_s, np.zeros(4))
                    used.append(int(column))
                free = np.append(free, np.zeros(len(self._alive) - len(free), np.bool_))
        return np.array(used, np.intp)

    def take(self, path: _Path, box: NDArray[np.float64], time_s: float, speed: NDArray[np.float64]) -> None:
        """Follow a path from this box, which it has now, on."""
        place = _centred(box)
        size = float(np.sqrt(place[2] * place[3]))
        spread = np.zeros((1, 3, 4))
        spread[0, 0] = (self._rule.box_deviation * size) ** 2
        spread[0, 2] = (_START_SPEED_DEVIATION * size) ** 2
        self._alive.append(path)
        self._place = np.vstack([self._place, place])
        self._speed = np.vstack([self._speed, speed])
        self._spread = np.concatenate([self._spread, spread])
        self._last = np.vstack([self._last, box])
        self._seen_s = np.append(self._seen_s, time_s)

    def _keep(self, wanted: NDArray[np.bool_]) -> None:
        if wanted.all():
            return
        self._alive = [path for path, kept in zip(self._alive, wanted, strict=True) if kept]
        self._place, self._speed = self._place[wanted], self._speed[wanted]
        self._spread, self._seen_s = self._spread[wanted], self._seen_s[wanted]
        self._last = self._last[wanted]

    def _predict(self, time_s: float) -> None:
        step_s = max(0.0, time_s - self._now_s)
        self._now_s = time_s
        if not len(self._alive):
            return
        self._place = self._place + self._speed * step_s
        size = np.sqrt(np.maximum(self._place[:, 2:3] * self._place[:, 3:4], 1.0))
        push = (self._rule.speed_deviation * size) ** 2 * step_s
        place, both, speed = self._spread[:, 0], self._spread[:, 1], self._spread[:, 2]
        self._spread = np.stack(
            [
                place + 2 * step_s * both + step_s**2 * speed + push * step_s**2 / 3,
                both + step_s * speed + push * step_s / 2,
                speed + push,
            ],
            axis=1,
        )

    def _correct(self, rows: NDArray[np.intp], boxes: BoxArray, time_s: float) -> None:
        if not len(rows):
            return
        measured = _centred(boxes)
        size = np.sqrt(measured[:, 2:3] * measured[:, 3:4])
        place, both, speed = self._spread[rows, 0], self._spread[rows, 1], self._spread[rows, 2]
        total = place + (self._rule.box_deviation * size) ** 2
        off = measured - self._place[rows]
        self._place[rows] += place / total * off
        self._speed[rows] += both / total * off
        self._spread[rows] = np.stack(
            [place - place * place / total, both - place * both / total, speed - both * both / total], axis=1
        )
        self._seen_s[rows], self._last[rows] = time_s, boxes

    def _pairs(
        self, rows: NDArray[np.intp], boxes: BoxArray, time_s: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows of tracks and of boxes that belong together."""
        none = np.zeros(0, np.intp)
        if not len(rows) or not len(boxes):
            return none, none
        expected = _cornered(self._place[rows])
        reach = self._rule.reach + self._rule.reach_per_s * (time_s - self._seen_s[rows])
        overlap = np.maximum(*(_buffered(one, boxes, reach[:, None]) for one in (expected, self._last[rows])))
        plain = intersection_over_union(expected, boxes)
        areas = [np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (expected, boxes)]
        ratio = areas[0][:, None] / np.maximum(areas[1][None, :], 1e-6)
        possible = (overlap >= self._rule.least_overlap) & (
            np.abs(np.log(np.maximum(ratio, 1e-6))) <= np.log(self._rule.most_area_ratio)
        )
        cost = np.where(possible, 2.0 - overlap - plain, _FORBIDDEN)
        first, second = linear_sum_assignment(cost)
        paired = possible[first, second]
        return rows[first[paired]], np.asarray(second[paired], np.intp)


def _buffered(first: BoxArray, second: BoxArray, reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of boxes (n, 4) and (m, 4), both grown on each side by `reach` (n, 1) of the first's size."""
    extra = reach * np.concatenate([first[:, 2:] - first[:, :2]] * 2, axis=1)
    sign = np.array([-1.0, -1.0, 1.0, 1.0])
    grown_first = first + extra * sign
    grown_second = second[None, :, :] + (extra * sign)[:, None, :]
    low = np.maximum(grown_first[:, None, :2], grown_second[..., :2])
    high = np.minimum(grown_first[:, None, 2:], grown_second[..., 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=-1)
    area_first = np.prod(grown_first[:, 2:] - grown_first[:, :2], axis=-1)[:, None]
    area_second = np.prod(grown_second[..., 2:] - grown_second[..., :2], axis=-1)
    shares: NDArray[np.float64] = common / np.maximum(area_first + area_second - common, 1e-6)
    return shares
