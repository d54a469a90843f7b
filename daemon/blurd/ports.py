"""The ports: what the stages ask of the outside, as Protocols. The adapters answer; tests may answer too.

Pixels: `RgbPicture` is (height, width, 3) uint8 RGB, upright. Everything else about a frame is the adapter's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from blurd.core.receipts import LedgerEnd
from blurd.errors import Reason
from blurd.records import (
    Box,
    Category,
    Claim,
    Detection,
    FileStamp,
    FolderCondition,
    FolderName,
    FoundFile,
    Job,
    JobId,
    JobState,
    Mask,
    MediaFacts,
    Overview,
    ProcessCondition,
    Progress,
    RgbPicture,
    RunningJob,
    StagedCopy,
    WorkerIdentity,
)


class Thresholds(Protocol):
    """What can be found, and from which score it counts."""

    @property
    def categories(self) -> frozenset[Category]:
        """What is found."""

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, 0..1, where the folder's settings name no other."""


class Detector(Thresholds, Protocol):
    """Finds faces or plates in one picture. Built once per worker, used for every frame, by several threads at once."""

    @property
    def model_hash(self) -> str:
        """SHA-256 over the models, manifest entry and parameters in use; stands in every receipt."""

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        """All hits at or above the floor threshold, merged over scales and tiles, boxes clipped to the picture.

        Only `part` (whole pixels of the picture) is looked at where one is given, as finely as the whole would be.

        Raises `EquipmentError(DETECTOR_FAILED)` when inference fails.
        """

    def rest(self) -> None:
        """Give back memory that detection alone needs; called while none is under way. The next takes it anew."""


class Frame(Protocol):
    """One decoded frame of a source, upright or not, in whatever pixel layout the decoder gives."""

    @property
    def index(self) -> int:
        """Position in decoding order of presentation, from 0."""

    @property
    def time_s(self) -> float:
        """Presentation time in seconds; pages of an image all have 0."""

    def rgb(self) -> RgbPicture:
        """The upright picture that the detectors see."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""

    def blocks(self) -> NDArray[np.uint8]:
        """Means, (rows, columns, channels), of small blocks of the upright picture; cheap, to see what changed."""

    def masked(self, masks: Sequence[Mask]) -> Self:
        """The frame with the masks drawn in; itself where there are none. This frame may be spent: use the result."""

    def proof(self) -> Any:
        """Something small that tells whether a frame of the copy is this one; for `MediaSource.compare`."""


FrameT = TypeVar("FrameT", bound=Frame)


class MediaSource(Protocol[FrameT]):
    """An opened input whose frames are `FrameT`.

    `frames()` may be called once per pass and gives the same frames every time.
    """

    @property
    def facts(self) -> MediaFacts:
        """Format, size and number of frames."""

    @property
    def output_facts(self) -> MediaFacts:
        """What the copy of this source will be: the format and suffix it is written with."""

    def frames(self) -> Iterator[FrameT]:
        """Every frame in order. Raises `InputError(DAMAGED)` instead of leaving one out."""

    def write(self, frames: Iterator[FrameT], target: BinaryIO) -> None:
        """Encode frames of this source to `target` with quality, depth and colour of the source, and nothing else.

        Raises `EquipmentError` with an outbound reason when the target can't be written.
        """

    def same_time(self, time_s: float, found: FrameT) -> bool:
        """True where `found`, decoded from the copy, is shown at this time, as far as the clocks of both tell."""

    def compare(self, proof: Any, found: FrameT) -> bool:
        """True where `found`, decoded from the copy, is the frame that gave the proof, within what encoding changes."""


class MediaCodec(Protocol):
    """Opens sources and proves outputs."""

    def open(self, file: BinaryIO) -> MediaSource[Any]:
        """Read the header, check the limits and return the source; typed by content.

        Raises `InputError` with the reason: unknown or unsupported format, damaged, too many pixels, ...
        """

    def leftovers(self, file: BinaryIO) -> tuple[str, ...]:
        """Codes of everything in an output that is not on the allow-list of its format; empty where it is clean."""


class JobStore(Protocol):
    """The queue. Every change is one durable transaction, checked against the lifecycle table.

    Paths are relative to the folder's inbound, with surrogate escapes. A method that changes a claimed job takes the
    worker and does nothing, returning False, where the job is no longer that worker's.
    """

    def enqueue(self, folder: FolderName, found: Sequence[FoundFile]) -> tuple[tuple[JobId, FoundFile], ...]:
        """Queue (or refuse) each file that is new; an unfinished job for an older version is superseded.

        Returns the jobs made, with the file each is for.
        """

    def is_known(self, folder: FolderName, path: str, stamp: FileStamp, regions: FileStamp | None = None) -> bool:
        """True where this very version, of the file and of its own regions, has a job, finished or not."""

    def claim(
        self,
        worker: WorkerIdentity,
        folders: Sequence[FolderName],
        now_s: float,
        limit_s: float | None = None,
        largest: Mapping[FolderName, int] = ...,
    ) -> Job | None:
        """Take the oldest job that is due from these folders, counting the attempt.

        With a limit, progress is due when `patience_s` is over. `largest` is the size in bytes of the largest source
        that a folder has room for; no limit where it names none.
        """

    def largest_queued(self, folder: FolderName) -> int:
        """The size in bytes of the largest source that is queued; 0 where none is."""

    def held_back(self, folder: FolderName) -> Reason | None:
        """Why a queued job of the folder was given back by a worker, where one was."""

    def beat(self, job: JobId, worker: WorkerIdentity, progress: Progress, due_s: float = 0.0) -> bool:
        """Note progress, and when the next is due; False where the job was taken away."""

    def stage(self, job: JobId, worker: WorkerIdentity, staged: StagedCopy) -> bool:
        """Claimed -> staged."""

    def finish(
        self,
        job: JobId,
        worker: WorkerIdentity,
        state: JobState,
        reason: Reason | None,
        not_before_s: float = 0.0,
        source_sha256: str | None = None,
    ) -> bool:
        """Claimed -> deferred, rejected, failed, vanished or superseded. The hash is for the receipt, where known."""

    def give_back(self, job: JobId, worker: WorkerIdentity, reason: Reason | None, *, counts: bool = True) -> bool:
        """Claimed -> queued; the attempt does not count. The return does, unless it is a folder that had to pause."""

    def claims(self) -> tuple[Claim, ...]:
        """Every claimed job with its worker."""

    def staged_jobs(self, folder: FolderName, limit: int) -> tuple[Job, ...]:
        """Staged jobs, oldest first."""

    def published_before(self, job: Job, source_id: str, regions_sha256: str | None) -> StagedCopy | None:
        """What a receipt from before the queue was begun anew says of this very file's copy; None where none does."""

    def versions_before(self, job: Job, source_id: str) -> tuple[tuple[JobId, StagedCopy], ...]:
        """All that receipts from before say of this file's copies, under whatever regions, with their jobs' numbers."""

    def remember(self, job: Job, earlier: JobId, copy: StagedCopy, published: str) -> None:
        """Give the copy that an earlier version of the job's file has in outbound its job back."""

    def recognise(self, job: JobId, worker: WorkerIdentity, copy: StagedCopy, published: str | None) -> bool:
        """Claimed -> published, for a copy from before; `published` is its name, None where it was taken away."""

    def intend(self, job: JobId, published: str) -> None:
        """Write down the name below outbound that a staged job is about to be linked to."""

    def times_of(self, job: JobId) -> dict[str, str]:
        """When a job was queued, and when its last attempt began and ended, as far as that is known."""

    def publish(self, job: JobId, ledger: LedgerEnd | None = None) -> None:
        """Staged -> published; keeps where the ledger ends."""

    def sidecar(self, job: JobId) -> str | None:
        """The hash of the receipt beside this job's copy; None where none was put there."""

    def copies_replaced_by(self, job: Job) -> tuple[Job, ...]:
        """Earlier jobs for the same content whose copies are, or may be, visible in outbound and make way for this one.

        Those under other regions; all of them where this job makes a copy again.
        """

    def is_name_taken_over(self, job: Job) -> bool:
        """True where a later job's copy has the name that this job's copy had: this one's is gone already."""

    def is_name_owned(self, job: Job, name: str) -> bool:
        """True where another job's copy has, or had, this name below outbound."""

    def withdraw(self, job: JobId) -> None:
        """Published -> withdrawn; one that was superseded between link and receipt only forgets its copy."""

    def release(self, job: JobId, state: JobState, reason: Reason | None) -> None:
        """A job that no worker holds -> queued, superseded or vanished."""

    def open_attempts(self, folder: FolderName) -> frozenset[tuple[JobId, int]]:
        """Job and attempt of all that is claimed or staged in a folder: those whose staged files must stay."""

    def note_folder(self, condition: FolderCondition) -> None:
        """Keep what the status shows of a folder."""

    def note_process(self, condition: ProcessCondition) -> None:
        """Keep what the status shows of a process."""

    def workload(self) -> tuple[int, tuple[RunningJob, ...]]:
        """How many jobs wait for a worker, now or later, and those that run."""

    def overview(self) -> Overview:
        """Everything that the status shows."""
