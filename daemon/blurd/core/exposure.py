"""How well a video's masks hide its objects over time: what a person who steps through the copy would see. Pure.

Definitions
* An **object-frame** is one object in one frame. It is **covered** where the masks of that frame, counted as they are
  drawn, replace at least `COVERED_SHARE` of the object's box, cut at the picture's border. Coverage is the share of
  object-frames that are covered, that of a track the share of its own.
* An object-frame that is ignored, or whose box lies outside the picture, counts neither way.
* An **exposure** is a run of object-frames of one track that are not covered. It lasts from the moment when its first
  frame appears until its last one is replaced by the next. A frame in which the object is ignored neither ends nor
  lengthens it; one in which the object is not annotated ends it.
* **Flicker** is how often the masks of an object go on or off, per second of its presence: changes between covered and
  not covered from one of its frames to the next one, over the time for which its frames are shown. Coming into view and
  leaving it is no change.
* **Over-blur** is the area under the masks and outside every annotated box, as a share of the picture, averaged over
  frames. Ignored objects are objects here.
* An **identity change** is an object that is followed by one track and later by another (Bernardin, Stiefelhagen,
  Evaluating multiple object tracking performance: the CLEAR MOT metrics, 2008): tracks match objects where their
  intersection over union reaches `MATCHED_IOU`, an object keeps its last track while it does, all others are matched
  for the largest sum.

Boxes are in pixels of the upright picture, times in seconds.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from blurd.core.accuracy import COVERED_SHARE
from blurd.core.geometry import clip, intersection_over_union, overlap
from blurd.core.masking import covered_share, covers, drawn_box
from blurd.records import Box, Category, Mask

MATCHED_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Sighting:
    """One annotated object in one frame; `track` names the object over time."""

    track: str
    category: Category
    box: Box
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Film:
    """What the measures need to know of the video. `times_s` has one entry more than frames: when the last one ends."""

    width_px: int
    height_px: int
    times_s: Sequence[float]

    def __post_init__(self) -> None:
        if any(later < earlier for earlier, later in itertools.pairwise(self.times_s)):
            raise ValueError("times don't fall")

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.times_s) - 1

    def shown_s(self, first: int, last: int) -> float:
        """For how long the frames `first` to `last`, both included, are shown."""
        return self.times_s[last + 1] - self.times_s[first]


@dataclass(frozen=True, slots=True)
class TrackExposure:
    """One object over time. `first_exposed` is the first frame that it is not covered in, None where there is none."""

    track: str
    category: Category
    frames: int
    covered_frames: int
    seconds: float
    changes: int
    longest_exposure_frames: int
    longest_exposure_s: float
    first_exposed: int | None

    @property
    def coverage(self) -> float:
        """The share of the object's frames that are covered."""
        return self.covered_frames / self.frames


@dataclass(frozen=True, slots=True)
class Exposure:
    """All objects of one category; a share over nothing is None."""

    category: Category
    tracks: tuple[TrackExposure, ...]

    @property
    def object_frames(self) -> int:
        """Object-frames that count."""
        return sum(track.frames for track in self.tracks)

    @property
    def coverage(self) -> float | None:
        """The share of object-frames that are covered."""
        covered = sum(track.covered_frames for track in self.tracks)
        return covered / self.object_frames if self.object_frames else None

    @property
    def track_coverage(self) -> float | None:
        """The mean over objects of the share of their frames that are covered: each object counts the same."""
        return sum(track.coverage for track in self.tracks) / len(self.tracks) if self.tracks else None

    @property
    def tracks_ever_uncovered(self) -> int:
        """Objects with at least one frame that is not covered."""
        return sum(track.covered_frames < track.frames for track in self.tracks)

    @property
    def objects_never_covered(self) -> int:
        """Objects without a covered frame."""
        return sum(track.covered_frames == 0 for track in self.tracks)

    @property
    def longest_exposure_frames(self) -> int:
        """The longest exposure of any object, in frames."""
        return max((track.longest_exposure_frames for track in self.tracks), default=0)

    @property
    def longest_exposure_s(self) -> float:
        """The longest exposure of any object, in seconds."""
        return max((track.longest_exposure_s for track in self.tracks), default=0.0)

    @property
    def flicker_per_s(self) -> float | None:
        """Changes of all objects over the time of all objects."""
        seconds = math.fsum(track.seconds for track in self.tracks)
        return sum(track.changes for track in self.tracks) / seconds if seconds else None


Sightings = Sequence[Sequence[Sighting]]
"""For each frame what is annotated in it."""


def measure(film: Film, sightings: Sightings, masks: Sequence[Sequence[Mask]]) -> Mapping[Category, Exposure]:
    """The figures of every category that is annotated at all, objects in the order of their first frame.

    Raises `ValueError` where the numbers of frames differ, or one track is there twice in a frame.
    """
    _check(film, sightings, masks)
    walks: dict[tuple[Category, str], _Walk] = {}
    for index, (present, drawn) in enumerate(zip(sightings, masks, strict=True)):
        for sighting in present:
            walk = walks.setdefault((sighting.category, sighting.track), _Walk(sighting.track, sighting.category))
            box = clip(sighting.box, film.width_px, film.height_px)
            counts = box is not None and not sighting.ignored
            walk.step(index, film, is_covered(box, drawn) if counts and box is not None else None)
    categories = sorted({category for category, _ in walks})
    return {
        category: Exposure(
            category,
            tuple(walk.result() for (kind, _), walk in walks.items() if kind is category and walk.frames),
        )
        for category in categories
    }


def is_covered(box: Box, masks: Iterable[Mask]) -> bool:
    """Whether the masks, as drawn, replace enough of a box."""
    near = [mask for mask in masks if overlap(drawn_box(mask), box) > 0]
    return bool(near) and covered_share(box, near) >= COVERED_SHARE


def over_blur(film: Film, sightings: Sightings, masks: Sequence[Sequence[Mask]]) -> float:
    """The share of the picture that is masked outside every object, averaged over frames."""
    _check(film, sightings, masks)
    outside = 0
    for present, drawn in zip(sightings, masks, strict=True):
        if not drawn:
            continue
        masked = np.zeros((film.height_px, film.width_px), np.bool_)
        for mask in drawn:
            masked |= covers(mask, film.width_px, film.height_px)
        for sighting in present:
            box = clip(sighting.box, film.width_px, film.height_px)
            if box is not None:
                masked[math.floor(box.top) : math.ceil(box.bottom), math.floor(box.left) : math.ceil(box.right)] = False
        outside += int(masked.sum())
    return outside / (film.width_px * film.height_px * film.frames) if film.frames else 0.0


@dataclass
class _Walk:
    """One object, frame after frame."""

    track: str
    category: Category
    frames: int = 0
    covered_frames: int = 0
    seconds: float = 0.0
    changes: int = 0
    _last: int = -1
    _was_covered: bool | None = None
    _run: tuple[int, float] = (0, 0.0)
    _longest: tuple[int, float] = (0, 0.0)
    _first_exposed: int | None = None

    def step(self, index: int, film: Film, covered: bool | None) -> None:  # noqa: FBT001  None: it does not count
        """The next frame that the object is annotated in."""
        if index != self._last + 1:
            self._run, self._was_covered = (0, 0.0), None
        self._last = index
        if covered is None:
            return
        shown = film.shown_s(index, index)
        self.frames += 1
        self.seconds += shown
        self.covered_frames += covered
        self.changes += self._was_covered is not None and self._was_covered != covered
        self._was_covered = covered
        if covered:
            self._run = (0, 0.0)
            return
        if self._first_exposed is None:
            self._first_exposed = index
        self._run = (self._run[0] + 1, self._run[1] + shown)
        self._longest = max(self._longest[0], self._run[0]), max(self._longest[1], self._run[1])

    def result(self) -> TrackExposure:
        """The figures so far."""
        return TrackExposure(
            self.track, self.category, self.frames, self.covered_frames, self.seconds, self.changes, *self._longest,
            self._first_exposed,
        )  # fmt: skip


def identity_changes(sightings: Sightings, tracked: Sequence[Sequence[tuple[int, Category, Box]]]) -> int:
    """How often an object is followed by another track than before; `tracked` holds each frame's tracks.

    An object that nothing follows for a while and then the same track again is no change.
    """
    followed: dict[tuple[Category, str], int] = {}
    changes = 0
    for present, tracks in zip(sightings, tracked, strict=True):
        for sighting, track in _matched([item for item in present if not item.ignored], tracks, followed):
            known = (sighting.category, sighting.track)
            changes += followed.get(known, track) != track
            followed[known] = track
    return changes


def _matched(
    present: Sequence[Sighting],
    tracks: Sequence[tuple[int, Category, Box]],
    followed: Mapping[tuple[Category, str], int],
) -> list[tuple[Sighting, int]]:
    """Pairs of an object and a track, each at most once."""
    if not present or not tracks:
        return []
    table = intersection_over_union(_rows(item.box for item in present), _rows(box for _, _, box in tracks))
    same = np.array([[item.category is category for _, category, _ in tracks] for item in present])
    gains = np.where(same & (table >= MATCHED_IOU), table, 0.0)
    for row, item in enumerate(present):
        for column, (track, _, _) in enumerate(tracks):
            if gains[row, column] and followed.get((item.category, item.track)) == track:
                gains[row, column] += len(present)  # more than all others together could win
    rows, columns = linear_sum_assignment(-gains)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(present[row], tracks[column][0]) for row, column in pairs if gains[row, column] > 0]


def _rows(boxes: Iterable[Box]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], np.float64)


def _check(film: Film, sightings: Sightings, masks: Sequence[Sequence[Mask]]) -> None:
    if not film.frames == len(sightings) == len(masks):
        raise ValueError("there is one entry for each frame")
    for present in sightings:
        if len({(item.category, item.track) for item in present}) != len(present):
            raise ValueError("a track is in a frame once")
