"""From detections to masks. Pure.

Of an image each page is masked for itself. Of a video each thing is masked along its track: what a detector missed in
single frames is bridged, what it saw too late or too early is padded, and masks move steadily.

Invariants
* Every hit at or above its category's start threshold is masked, in a video weaker ones that belong to a track too.
* A mask's box contains its detection's box, grown on each side by a share of the box's own size; smoothing only adds.
* Nothing is masked across a scene cut for what was seen on its other side.
* A repair only adds masks.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurd.core.change import ChangeRule
from blurd.core.geometry import BoxArray, grow
from blurd.core.outlines import DIRECTIONS, WHOLE, polygon
from blurd.core.tables import MaskTable
from blurd.core.tracking import Track, TrackRule, slope, track
from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle, Timeline

REPAIR_GROWTH = 0.3
"""Growth of the solid mask over a detection that was left, on each side; doubled for each generous repair."""
_SPEED_FINDS = 2
"""From how many finds a speed is taken at least, where a track has as many."""
_END_FINDS = 5
"""From how many finds, at most, the masks around a jump come."""
_NEAR = 0.75
"""How far the centres of near boxes lie apart at most, along each axis: 1 where the boxes just touch."""


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """How one category is masked: from which score, in what outline, grown by what share on each side, in what style.

    Without a style the folder's holds.
    """

    start_threshold: float
    shape: MaskShape
    growth: float
    style: MaskStyle | None = None


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How a folder's media are masked, and when a video's frames are looked at."""

    style: MaskStyle
    categories: Mapping[Category, CategoryRule]
    change: ChangeRule = ChangeRule()  # noqa: RUF009  frozen

    def start_threshold(self, category: Category) -> float:
        """The score from which a hit is masked; infinite for a category that the folder does not mask."""
        rule = self.categories.get(category)
        return rule.start_threshold if rule is not None else float("inf")


@dataclass(frozen=True, slots=True)
class MotionRule:
    """How masks of a video follow their things.

    Within `steady_s` around a frame the largest size counts, and places are means weighted by a Gaussian of that
    deviation. Where a thing was not found, its mask reaches over where it would be on its way between the finds, and
    where it would be if it went on from the find before or came to the one after as it moved there, within `speed_s`,
    slower and slower (`damping_s`). There it grows too, on each side, by a share of its size: between finds by
    `gap_growth_per_s` for each second beyond `steady_s` to the nearest one, at most by `most_growth`, and for `pad_s`
    before the first and after the last by `pad_growth_per_s`. A box that comes nearer to the picture's edge than
    `edge_share` of its size is extended beyond it.
    """

    pad_s: float = 0.5
    speed_s: float = 0.25
    damping_s: float = 0.5
    pad_growth_per_s: float = 0.3
    steady_s: float = 0.12
    gap_growth_per_s: float = 0.8
    most_growth: float = 0.4
    edge_share: float = 0.15
    tracks: TrackRule = TrackRule()  # noqa: RUF009  frozen


def masks_of(detections: Sequence[Detection], rules: MaskRules) -> tuple[Mask, ...]:
    """The masks for one frame's detections."""
    return tuple(
        _shaped(detection.category, grow(detection.box, rules.categories[detection.category].growth), outline, rules)
        for detection in detections
        if detection.score >= rules.start_threshold(detection.category)
        for outline in (detection.outline or WHOLE,)
    )


def plan_video(
    observations: Sequence[FrameObservation],
    rules: MaskRules,
    size_px: tuple[int, int],
    motion: MotionRule = MotionRule(),
) -> Timeline:
    """The masks of a video whose upright pictures have this width and height."""
    scenes = Scenes.of(observations)
    wanted = (_of_interest(one, rules) for one in observations)
    tracks = track(wanted, rules.start_threshold, motion.tracks)
    spans = [(one.category, *span) for one in tracks for span in _spans(one, scenes, size_px, motion)]
    frames = np.concatenate([np.zeros(0, np.intp), *(first + np.arange(len(boxes)) for _, first, boxes in spans)])
    numbers = np.repeat(np.arange(len(spans)), [len(boxes) for _, _, boxes in spans])
    rows = np.concatenate([np.zeros((0, 4 + len(WHOLE))), *(boxes for _, _, boxes in spans)])
    order = np.argsort(frames, kind="stable")
    ends = np.searchsorted(frames[order], np.arange(len(scenes.times_s)), side="right")
    table, start = MaskTable(), 0
    for end in ends.tolist():
        table.append([_mask(spans[numbers[row]][0], rows[row], rules) for row in order[start:end]])
        start = end
    return Timeline(table)


def _of_interest(observation: FrameObservation, rules: MaskRules) -> FrameObservation:
    """The observation with hits of the masked categories alone."""
    if all(hit.category in rules.categories for hit in observation.detections):
        return observation
    hits = tuple(hit for hit in observation.detections if hit.category in rules.categories)
    return FrameObservation(observation.index, observation.time_s, hits, observation.cut, observation.analysed)


@dataclass(frozen=True, slots=True, eq=False)
class Scenes:
    """The frames' times (n,), and the first frame of each scene after a cut, rising."""

    times_s: NDArray[np.float64]
    cuts: tuple[int, ...]

    @classmethod
    def of(cls, observations: Sequence[FrameObservation]) -> "Scenes":
        """From observations."""
        times_s, cuts = np.empty(len(observations)), []
        for place, observation in enumerate(observations):
            times_s[place] = observation.time_s
            if observation.cut:
                cuts.append(place)
        return cls(times_s, tuple(cuts))

    def around(self, first: int, last: int, reach_s: float) -> tuple[int, int]:
        """The frames, end exclusive, of the same scene that lie at most `reach_s` before `first` or after `last`."""
        scene = bisect_right(self.cuts, first)
        begin = self.cuts[scene - 1] if scene else 0
        end = self.cuts[scene] if scene < len(self.cuts) else len(self.times_s)
        slack_s = reach_s + 1e-9
        start = int(np.searchsorted(self.times_s, self.times_s[first] - slack_s, side="left"))
        stop = int(np.searchsorted(self.times_s, self.times_s[last] + slack_s, side="right"))
        return max(begin, start), min(end, stop)


def _mask(category: Category, row: NDArray[np.float64], rules: MaskRules) -> Mask:
    """Grown, and moved outwards to eighths of a pixel: thousands of masks are packed more tightly so."""
    grown = grow(Box(*row[:4].tolist()), rules.categories[category].growth)
    left, top = math.floor(8 * grown.left) / 8, math.floor(8 * grown.top) / 8
    right, bottom = math.ceil(8 * grown.right) / 8, math.ceil(8 * grown.bottom) / 8
    return _shaped(category, Box(left, top, right, bottom), row[4:].tolist(), rules)


def _shaped(category: Category, box: Box, outline: Sequence[float], rules: MaskRules) -> Mask:
    """The mask in a grown box. A polygon that would be the box anyway is drawn as one."""
    rule = rules.categories[category]
    style = rule.style or rules.style
    if rule.shape is not MaskShape.POLYGON:
        return Mask(box, rule.shape, style)
    corners = polygon(box, outline)
    if len(corners) == 4:  # noqa: PLR2004  no corner is cut off
        return Mask(box, MaskShape.RECTANGLE, style)
    return Mask.polygon(corners, style)


def _spans(one: Track, scenes: Scenes, size_px: tuple[int, int], motion: MotionRule) -> Iterator[tuple[int, BoxArray]]:
    """A track's masks, as first frames and boxes from there on.

    Where it jumps, it may have taken another thing's find while its own was missed. So there it is masked as if it
    ended and began anew, too.
    """
    yield _span(one, scenes, size_px, motion)
    jumps = _jumps(one, scenes.times_s[one.frames])
    if not len(jumps):
        return
    for piece in np.split(np.arange(len(one.frames)), jumps):
        for end in (piece,) if len(piece) <= 2 * _END_FINDS else (piece[:_END_FINDS], piece[-_END_FINDS:]):
            piece_of = Track(one.category, one.frames[end], one.boxes[end], one.outlines[end])
            yield _span(piece_of, scenes, size_px, motion)


def _jumps(one: Track, found_s: NDArray[np.float64]) -> NDArray[np.intp]:
    """The finds that lie neither near the one before nor where the two before lead to."""
    steps_s = np.maximum(np.diff(found_s), 1e-6)[:, None]
    led = one.boxes[:-1].copy()
    led[1:] += np.diff(one.boxes, axis=0)[:-1] * (steps_s[1:] / steps_s[:-1])
    return np.flatnonzero(~_near(one.boxes[:-1], one.boxes[1:]) & ~_near(led, one.boxes[1:])) + 1


def _near(first: BoxArray, second: BoxArray) -> NDArray[np.bool_]:
    """Whether boxes lie more over each other than beside."""
    away = np.abs(first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    reach = _NEAR * (first[:, 2:] - first[:, :2] + second[:, 2:] - second[:, :2]) / 2
    near: NDArray[np.bool_] = np.all(away <= reach, axis=1)
    return near


def _span(one: Track, scenes: Scenes, size_px: tuple[int, int], motion: MotionRule) -> tuple[int, BoxArray]:
    """The first frame in which a track is masked, and from there its boxes and outlines, (n, 4 + 16).

    They are not grown by the category's rule yet. An outline holds what the finds around show, both of them.
    """
    start, stop = scenes.around(int(one.frames[0]), int(one.frames[-1]), motion.pad_s)
    frames, times_s, found_s = np.arange(start, stop), scenes.times_s[start:stop], scenes.times_s[one.frames]
    boxes = np.stack([np.interp(times_s, found_s, one.boxes[:, side]) for side in range(4)], axis=1)
    boxes = _hulls(boxes, _steady(boxes, times_s, motion.steady_s))
    away_s = np.full(len(frames), np.inf)
    after = np.searchsorted(one.frames, frames, side="left")
    for forwards, finds in ((True, np.searchsorted(one.frames, frames, side="right") - 1), (False, after)):
        known = (finds >= 0) & (finds < len(found_s))
        ahead_s = times_s[known] - found_s[finds[known]]
        away_s[known] = np.minimum(away_s[known], np.abs(ahead_s))
        carried = _carried_on(one, found_s, finds[known], ahead_s, motion, forwards=forwards)
        boxes[known] = _hulls(boxes[known], carried)
    between = (frames > one.frames[0]) & (frames < one.frames[-1])
    gap, pad = (away_s - motion.steady_s) * motion.gap_growth_per_s, away_s * motion.pad_growth_per_s
    share = np.clip(np.where(between, gap, pad), 0.0, motion.most_growth)
    sides = boxes[:, 2:] - boxes[:, :2]
    extra = np.maximum(sides, np.sqrt(sides.prod(axis=1, keepdims=True))) * share[:, None]
    masked = _over_the_edge(boxes + np.tile(extra, 2) * (-1, -1, 1, 1), size_px, motion.edge_share)
    return start, np.concatenate([masked, _outlines(one, frames, masked)], axis=1)


def _outlines(one: Track, frames: NDArray[np.intp], boxes: BoxArray) -> NDArray[np.float64]:
    """The outlines (n, 16) of a track in these frames, in boxes that may reach farther than those that were found.

    An outline that is stretched with its box could leave what it held before, so it is widened by the share by which
    the box's edges moved: a point of the thing moves no farther within its box than they did. So each holds what both
    finds around show.
    """
    if (one.outlines >= WHOLE).all():
        return np.tile(WHOLE, (len(frames), 1))
    last = len(one.frames) - 1
    before = np.clip(np.searchsorted(one.frames, frames, side="right") - 1, 0, last)
    after = np.clip(np.searchsorted(one.frames, frames, side="left"), 0, last)
    widest = np.maximum(one.outlines[before], one.outlines[after])
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    off = np.maximum(
        np.abs(boxes - one.boxes[before]).reshape(-1, 2, 2).max(axis=1) / sides,
        np.abs(boxes - one.boxes[after]).reshape(-1, 2, 2).max(axis=1) / sides,
    )
    numbers: NDArray[np.float64] = np.minimum(widest + off @ np.abs(DIRECTIONS).T, WHOLE)
    return numbers


def _hulls(first: BoxArray, second: BoxArray) -> BoxArray:
    return np.concatenate([np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])], axis=1)


def _steady(boxes: BoxArray, times_s: NDArray[np.float64], width_s: float) -> BoxArray:
    """Centres smoothed, each with the largest size nearby: a mask that neither trembles nor pulsates."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    total, weights, large = centres.copy(), np.ones((len(boxes), 1)), sizes.copy()
    first = np.arange(len(boxes))
    for distance in range(1, len(boxes)):
        first = first[first + distance < len(boxes)]
        first = first[times_s[first + distance] - times_s[first] <= 2 * width_s]
        if not len(first):
            break
        second = first + distance
        weight = np.exp(-0.5 * np.square((times_s[second] - times_s[first]) / width_s))[:, None]
        for one, other in ((first, second), (second, first)):
            total[one] += weight * centres[other]
            weights[one] += weight
            large[one] = np.maximum(large[one], sizes[other])
    smooth = total / weights
    return np.concatenate([smooth - large / 2, smooth + large / 2], axis=1)


def _carried_on(
    one: Track,
    found_s: NDArray[np.float64],
    finds: NDArray[np.intp],
    ahead_s: NDArray[np.float64],
    motion: MotionRule,
    *,
    forwards: bool,
) -> BoxArray:
    """Boxes (n, 4) of a track if it went on from these finds (n,), as it moved until or from there, for `ahead_s`."""
    speeds = np.zeros((len(found_s), 2))
    centres = (one.boxes[:, :2] + one.boxes[:, 2:]) / 2
    for find in np.unique(finds[ahead_s != 0]).tolist():
        if forwards:
            begin = int(np.searchsorted(found_s, found_s[find] - motion.speed_s, side="left"))
            near = slice(max(0, min(begin, find + 1 - _SPEED_FINDS)), find + 1)
        else:
            end = int(np.searchsorted(found_s, found_s[find] + motion.speed_s, side="right"))
            near = slice(find, max(end, find + _SPEED_FINDS))
        speeds[find] = slope(found_s[near], centres[near], motion.tracks)
    way_s = np.sign(ahead_s) * motion.damping_s * (1 - np.exp(-np.abs(ahead_s) / motion.damping_s))
    carried: BoxArray = one.boxes[finds] + np.tile(way_s[:, None] * speeds[finds], 2)
    return carried


def _over_the_edge(boxes: BoxArray, size_px: tuple[int, int], share: float) -> BoxArray:
    """Boxes near an edge of the picture reach beyond it: what leaves is cut off there, and its box shrinks."""
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    reach = share * sizes
    low = np.where(boxes[:, :2] < reach, np.minimum(boxes[:, :2], -reach), boxes[:, :2])
    limits = np.array(size_px, np.float64)
    high = np.where(boxes[:, 2:] > limits - reach, np.maximum(boxes[:, 2:], limits + reach), boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def spread_leaks(
    leaks: Mapping[int, tuple[Detection, ...]], observations: Sequence[FrameObservation], reach_s: float
) -> dict[int, tuple[Detection, ...]]:
    """Leaks of a video, seen in single frames, in all frames of the scene that lie within `reach_s` around."""
    scenes = Scenes.of(observations)
    spread: dict[int, tuple[Detection, ...]] = {}
    for index, found in leaks.items():
        for frame in range(*scenes.around(index, index, reach_s)):
            spread[frame] = (*spread.get(frame, ()), *found)
    return spread


def repair(timeline: Timeline, leaks: Mapping[int, tuple[Detection, ...]], generosity: int) -> Timeline:
    """The timeline with a solid rectangle over each leak; `generosity` doubles its growth so many times."""
    growth = REPAIR_GROWTH * 2**generosity

    def frames() -> Iterator[Sequence[Mask]]:
        for index, masks in enumerate(timeline.frames):
            found = leaks.get(index, ())
            yield (*masks, *(Mask(grow(leak.box, growth), MaskShape.RECTANGLE, MaskStyle.SOLID) for leak in found))

    return Timeline(MaskTable(frames()))
