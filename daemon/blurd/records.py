"""The values that pass between the floors. Frozen, checked when made, free of behaviour that needs a clock or a file.

Coordinates are pixels of the upright picture: x to the right, y down, origin at the top left corner of the top left
pixel; a box covers [left, right) x [top, bottom). Times are seconds, durations end in `_s`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, Self

import numpy as np
from numpy.typing import NDArray

from blurd.categories import Category as Category
from blurd.errors import Reason

JobId = NewType("JobId", int)

RgbPicture = NDArray[np.uint8]
"""A picture for the detectors: (height, width, 3), RGB, 8 bits, upright."""

Point = tuple[float, float]
"""x and y."""
_FOLDER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")


class FolderName(str):
    """The operator's short name of a folder pair: a lower-case letter, then up to 31 of a-z, 0-9, `-`, `_`.

    It is a setting, not a file name, and may be logged.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _FOLDER_NAME.match(text):
            raise ValueError("a folder's name is a lower-case letter, then up to 31 of a-z, 0-9, - and _")
        return super().__new__(cls, text)


class MaskStyle(StrEnum):
    """How the pixels under a mask are replaced."""

    BLUR = "blur"
    PIXELATE = "pixelate"
    SOLID = "solid"


class MaskShape(StrEnum):
    """The outline of a mask. An ellipse contains its box, it is not contained by it; a polygon has its own points."""

    ELLIPSE = "ellipse"
    RECTANGLE = "rectangle"
    POLYGON = "polygon"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; never empty, never infinite."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        edges = (self.left, self.top, self.right, self.bottom)
        if not all(math.isfinite(edge) for edge in edges):
            raise ValueError("a box has finite edges")
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError("a box has a positive area")

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Detection:
    """One hit of a detector in one frame; `score` lies in 0..1.

    `outline` says how the thing lies in its box (`core/outlines.py`); empty where only the box is known.
    """

    category: Category
    box: Box
    score: float
    outline: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError("a score lies between 0 and 1")


@dataclass(frozen=True, slots=True)
class Mask:
    """What to cover in one frame: `box` is already grown; `shape` is drawn around it, `style` says how.

    A polygon, and nothing else, has `points`, its corners in order; `box` is their bounding box then.
    """

    box: Box
    shape: MaskShape
    style: MaskStyle
    points: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        if (self.shape is MaskShape.POLYGON) != bool(self.points):
            raise ValueError("a polygon, and nothing else, has points")
        if self.points and self.box != bounding_box(self.points):
            raise ValueError("a polygon's box is the bounding box of its points")

    @classmethod
    def polygon(cls, points: tuple[Point, ...], style: MaskStyle) -> Self:
        """A polygon through these corners."""
        return cls(bounding_box(points), MaskShape.POLYGON, style, points)


def bounding_box(points: Sequence[Point]) -> Box:
    """The smallest box around some points that do not lie on a line along an axis."""
    xs, ys = zip(*points, strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, slots=True)
class FrameObservation:
    """What the analysis saw in one frame, at its time in the stream.

    `cut` says that the scene changed between the frame before and this one. `analysed` is False for a frame that lies
    between analysed ones and shows nothing that they don't; a hit that it lacks is no miss.
    """

    index: int
    time_s: float
    detections: tuple[Detection, ...]
    cut: bool = False
    analysed: bool = True


@dataclass(frozen=True, slots=True)
class Timeline:
    """For every frame the masks to apply: the one value that passes from the first pass to the second."""

    frames: Sequence[tuple[Mask, ...]]

    @property
    def mask_count(self) -> int:
        """Masks over all frames."""
        return sum(len(masks) for masks in self.frames)


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file's identity as settling and publication compare it.

    Across a remount only size and mtime are meaningful (inode and ctime may change with the mount): `same_content`
    compares those; `==` compares all.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def same_content(self, other: "FileStamp") -> bool:
        """True where size and mtime agree: identity across remounts."""
        return self.size == other.size and self.mtime_ns == other.mtime_ns


def same_regions(first: FileStamp | None, second: FileStamp | None) -> bool:
    """True where two stamps of a file's regions mean the same content; None is no regions."""
    if first is None or second is None:
        return first is second
    return first.same_content(second)


class JobState(StrEnum):
    """The states of a job; the moves between them stand in `core/lifecycle.py`."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    STAGED = "staged"
    PUBLISHED = "published"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    VANISHED = "vanished"
    WITHDRAWN = "withdrawn"
    IGNORED = "ignored"


class ViewFault(StrEnum):
    """What is wrong with a process's view of a folder, where something was mounted or made after it began."""

    INBOUND_WRITABLE = "inbound_writable"
    OUTBOUND_WRITABLE = "outbound_writable"
    STAGING_ELSEWHERE = "staging_elsewhere"
    """The staging folder that the worker may write is not the one in outbound, or there is none."""
    OUTBOUND_CLOSED = "outbound_closed"


class MediaKind(StrEnum):
    """An image is a video of one frame (or one frame a page)."""

    IMAGE = "image"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What can be said of a source or an output without looking at its pixels.

    `format` is a short stable code (`jpeg`, `png`, ...), `suffix` the file name suffix that the copy gets, with dot.
    """

    kind: MediaKind
    format: str
    suffix: str
    width_px: int
    height_px: int
    frames: int
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verification of a staged file said: how often it was rendered, how many masks were added."""

    renders: int
    masks_added: int


@dataclass(frozen=True, slots=True)
class StagedCopy:
    """A verified output in the staging folder, ready to be linked into place.

    `name` is the staged file's own name (never derived from the source's); `target` the path below outbound that the
    copy is meant for, before any suffix that avoids a collision. `source_id` is the SHA-256 of the source's content
    followed by its path: who has the file can tell, who has not can't guess its name. `made_with` is the policy's part.
    """

    name: str
    target: str
    size: int
    sha256: str
    source_sha256: str
    facts: MediaFacts
    verdict: Verdict
    model_hash: str
    settings_hash: str
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    regions_sha256: str | None = None
    source_id: str | None = None
    made_with: Mapping[str, str | float | Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One version of one inbound file on its way. `path` is relative to inbound, with surrogate escapes.

    `regions` is the stamp of the file's own regions; they are a part of the version. None where it has none.
    """

    id: JobId
    folder: FolderName
    path: str
    stamp: FileStamp
    state: JobState
    attempts: int
    returns: int
    reason: Reason | None
    not_before_s: float
    staged: StagedCopy | None = None
    published: str | None = None
    regions: FileStamp | None = None


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A process, beyond the reuse of its number and beyond a reboot."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job, the worker that claimed it, and when its next sign of progress is due on the boot's clock.

    `due_s` is 0 where none is asked for. `paused` says that the job's folder can't be served now.
    """

    job: Job
    worker: WorkerIdentity
    due_s: float = 0.0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A settled inbound file with its regions' stamp, or one that is refused with a reason before any work.

    A refusal with NOT_MEDIA is none: such a file is nobody's fault, it is counted and left alone.
    """

    path: str
    stamp: FileStamp
    refusal: Reason | None = None
    regions: FileStamp | None = None

    @property
    def state(self) -> JobState:
        """The state in which its job begins."""
        if self.refusal is None:
            return JobState.QUEUED
        return JobState.IGNORED if self.refusal is Reason.NOT_MEDIA else JobState.REJECTED


@dataclass(frozen=True, slots=True)
class FolderCondition:
    """What the watcher knows of a folder and the queue does not: files still settling, whether it is paused.

    `awaiting_regions` counts the files that wait for regions which the folder requires, `unreadable` the folders below
    inbound that can't be read.
    """

    folder: FolderName
    settling: int
    paused: Reason | None
    rescan_only: bool
    awaiting_regions: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class ProcessCondition:
    """A running process, for the status."""

    part: str
    worker: WorkerIdentity
    device: str | None = None
    degraded: bool = False
    models: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on a file of so many frames is: `share` is 0..1; speed and time left are estimates from it."""

    share: float
    frames_per_s: float = 0.0
    left_s: float = 0.0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A claimed job and how far it is."""

    job: JobId
    folder: FolderName
    progress: Progress


@dataclass(frozen=True, slots=True)
class Rebuild:
    """That the queue was begun anew: when, under which number the damaged file is kept, and how many receipts told."""

    at: str
    kept: int
    receipts: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the whole appliance, as the status shows it."""

    counts: Mapping[FolderName, Mapping[JobState, int]]
    reasons: Mapping[FolderName, Mapping[Reason, int]]
    folders: tuple[FolderCondition, ...]
    processes: tuple[ProcessCondition, ...]
    running: tuple[RunningJob, ...]
    rebuilds: tuple[Rebuild, ...] = ()
