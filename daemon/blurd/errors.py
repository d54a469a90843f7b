"""Errors: what went wrong, whose fault it is, and what happens next.

Every error that can end or delay a job carries a `Reason` (a code from a closed list) and, through it, a
`Disposition`. Nothing else of an error reaches the log: no text from a library, no file name.

Invariants
* A reason has exactly one disposition, written in `REASONS`.
* `Disposition.REJECT` is only for reasons that lie in the file itself; trouble with a disk, a mount, a model or a
  device never rejects a good file.
* A fault of our own is `Reason.INTERNAL_ERROR`, apart from every fault of the input.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Disposition(StrEnum):
    """What happens to a job after an error."""

    RETRY = "retry"
    """Try again later, at most the allowed number of attempts."""
    REJECT = "reject"
    """The input can't be treated; final until somebody asks for a retry."""
    PAUSE = "pause"
    """The folder can't be served now; wait, no attempt is spent."""
    VANISH = "vanish"
    """The source is gone or was replaced; the job ends, a new version gets its own job."""
    STOP = "stop"
    """The process can't do its work at all; no job is touched."""


class Reason(StrEnum):
    """Why a job, a folder or a process did not go on. A closed list; the codes are stable."""

    EMPTY_FILE = "empty_file"
    INCOMPLETE = "incomplete"
    UNKNOWN_FORMAT = "unknown_format"
    NOT_MEDIA = "not_media"
    UNSUPPORTED_FORMAT = "unsupported_format"
    ANIMATED = "animated"
    DAMAGED = "damaged"
    NO_VIDEO = "no_video"
    SEVERAL_VIDEOS = "several_videos"
    SIZE_CHANGES = "size_changes"
    REGIONS_INVALID = "regions_invalid"
    REGIONS_MISSING = "regions_missing"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_LARGE = "too_large"
    NOT_REGULAR = "not_regular"
    SYMBOLIC_LINK = "symbolic_link"
    HARD_LINKED = "hard_linked"
    NAME_TOO_LONG = "name_too_long"
    NO_PERMISSION = "no_permission"
    READ_ERROR = "read_error"
    SOURCE_VANISHED = "source_vanished"
    SOURCE_CHANGED = "source_changed"
    INBOUND_MISSING = "inbound_missing"
    INBOUND_STRANGE = "inbound_strange"
    INBOUND_READ_ONLY = "inbound_read_only"
    OUTBOUND_MISSING = "outbound_missing"
    OUTBOUND_STRANGE = "outbound_strange"
    NOT_ANSWERING = "not_answering"
    OUTBOUND_FULL = "outbound_full"
    OUTBOUND_SHORT = "outbound_short"
    OUTBOUND_READ_ONLY = "outbound_read_only"
    OUTBOUND_NO_LINKS = "outbound_no_links"
    ARCHIVE_UNUSABLE = "archive_unusable"
    GROUP_UNUSABLE = "group_unusable"
    WRITE_ERROR = "write_error"
    STAGED_LOST = "staged_lost"
    MODEL_MISSING = "model_missing"
    MODEL_HASH = "model_hash"
    MODEL_INVALID = "model_invalid"
    DEVICE_UNAVAILABLE = "device_unavailable"
    DETECTOR_FAILED = "detector_failed"
    ENCODER_FAILED = "encoder_failed"
    OUTPUT_DIFFERS = "output_differs"
    METADATA_LEFT = "metadata_left"
    FACE_OR_PLATE_LEFT = "face_or_plate_left"
    WORKER_DIED = "worker_died"
    NO_PROGRESS = "no_progress"
    OUT_OF_MEMORY = "out_of_memory"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    ANNOTATIONS_INVALID = "annotations_invalid"
    SETTINGS_INVALID = "settings_invalid"
    STATE_LOCKED = "state_locked"
    STATE_UNUSABLE = "state_unusable"
    STATE_FULL = "state_full"
    QUEUE_DAMAGED = "queue_damaged"
    SCHEMA_NEWER = "schema_newer"
    NO_SUCH_JOB = "no_such_job"
    JOB_NOT_SUITABLE = "job_not_suitable"
    NAME_ERASED = "name_erased"
    COPY_DIFFERS = "copy_differs"
    UNITS_UNUSABLE = "units_unusable"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class ReasonText:
    """A reason's disposition, what it means, and what the operator or the person at the share can do."""

    disposition: Disposition
    meaning: str
    remedy: str


_RETRY, _REJECT, _PAUSE, _VANISH, _STOP = (
    Disposition.RETRY,
    Disposition.REJECT,
    Disposition.PAUSE,
    Disposition.VANISH,
    Disposition.STOP,
)

REASONS: MappingProxyType[Reason, ReasonText] = MappingProxyType(
    {
        Reason.EMPTY_FILE: ReasonText(_REJECT, "The file has no content.", "Copy it again from its source."),
        Reason.INCOMPLETE: ReasonText(
            _REJECT, "The file ends before its content does.", "Copy it again; it is looked at anew when it changes."
        ),
        Reason.UNKNOWN_FORMAT: ReasonText(
            _REJECT,
            "The content is no image or video that blurd knows, whatever the name says.",
            "Export it as JPEG, PNG, WebP, TIFF, BMP or HEIC, or as an MP4 video, and drop that in.",
        ),
        Reason.NOT_MEDIA: ReasonText(
            _REJECT,
            "Neither the content nor the name is that of an image or a video.",
            "Nothing to do: such files stay where they are and are never copied.",
        ),
        Reason.UNSUPPORTED_FORMAT: ReasonText(
            _REJECT,
            "The format is known, but this variant of it can't be treated.",
            "Export it as JPEG, PNG or TIFF with 8 or 16 bits per channel, a video as MP4, and drop that in.",
        ),
        Reason.ANIMATED: ReasonText(
            _REJECT, "The image is an animation.", "Export it as a video or as single pictures and drop those in."
        ),
        Reason.DAMAGED: ReasonText(
            _REJECT, "The content can't be decoded without errors.", "Copy it again, or repair it, and drop that in."
        ),
        Reason.NO_VIDEO: ReasonText(_REJECT, "The file holds no moving pictures.", "Drop the video itself in."),
        Reason.SEVERAL_VIDEOS: ReasonText(
            _REJECT,
            "The file holds several videos side by side, and a copy of one would leave the others out.",
            "Export each camera as a file of its own and drop those in.",
        ),
        Reason.SIZE_CHANGES: ReasonText(
            _REJECT, "The picture's size changes in the middle of the video.", "Split it where it does, or convert it."
        ),
        Reason.REGIONS_INVALID: ReasonText(
            _REJECT,
            "The file's own regions (NAME.regions.json) can't be used.",
            "Correct or remove that file; the medium is then taken anew.",
        ),
        Reason.REGIONS_MISSING: ReasonText(
            _RETRY,
            "The folder requires regions for every file, and these have none yet.",
            'Drop NAME.regions.json beside each, or set regions = "optional".',
        ),
        Reason.TOO_MANY_PIXELS: ReasonText(
            _REJECT,
            "The picture is larger than the limit on pixels.",
            "Raise limits.max_megapixels (videos: max_frame_megapixels) if such pictures are expected, then retry.",
        ),
        Reason.TOO_MANY_PAGES: ReasonText(
            _REJECT,
            "The file has more pages than the limit.",
            "Raise limits.max_pages if such files are expected, or split it, then retry.",
        ),
        Reason.TOO_LARGE: ReasonText(
            _REJECT,
            "The file is larger than the limit.",
            "Raise limits.max_image_mebibytes (videos: max_frames) if such files are expected, then retry.",
        ),
        Reason.NOT_REGULAR: ReasonText(
            _REJECT, "It is a device, a pipe or a socket, not a file.", "Put a plain file in its place."
        ),
        Reason.SYMBOLIC_LINK: ReasonText(
            _REJECT, "It is a symbolic link; blurd follows none.", "Put the file itself in its place."
        ),
        Reason.HARD_LINKED: ReasonText(
            _REJECT,
            "The file has further hard links, perhaps outside the folder.",
            "Copy the file in instead of linking it, or set hard_links = true for the folder.",
        ),
        Reason.NAME_TOO_LONG: ReasonText(
            _REJECT, "The name leaves no room for the copy's suffix.", "Give the file a shorter name."
        ),
        Reason.NO_PERMISSION: ReasonText(
            _RETRY, "blurd may not read the file.", "Give the user blurd read permission on the file and its folder."
        ),
        Reason.READ_ERROR: ReasonText(_RETRY, "The file could not be read.", "Check the disk or the mount."),
        Reason.SOURCE_VANISHED: ReasonText(_VANISH, "The file was removed before it was finished.", "Nothing to do."),
        Reason.SOURCE_CHANGED: ReasonText(
            _VANISH, "The file was replaced before it was finished.", "Nothing to do: the new version has its own job."
        ),
        Reason.INBOUND_MISSING: ReasonText(
            _PAUSE, "The inbound folder is not there.", "Mount or create it; the folder resumes by itself."
        ),
        Reason.INBOUND_STRANGE: ReasonText(
            _PAUSE,
            "Another folder lies in the inbound folder's place, such as the bare mount point of a share.",
            "Mount the right one; the folder resumes by itself. Is this one right (a new disk)? Then run:"
            " blurd accept-folder NAME inbound",
        ),
        Reason.INBOUND_READ_ONLY: ReasonText(
            _PAUSE,
            "Originals can't be taken out of the inbound folder.",
            "Make it writable for the user blurd.",
        ),
        Reason.ARCHIVE_UNUSABLE: ReasonText(
            _PAUSE, "The archive is missing, full, strange or read-only.", "Mend it; originals stay until then."
        ),
        Reason.OUTBOUND_STRANGE: ReasonText(
            _PAUSE,
            "Another folder lies in the outbound folder's place, such as the bare mount point of a share.",
            "Mount the right one; the folder resumes by itself. Is this one right (a new disk)? Then run:"
            " blurd accept-folder NAME outbound",
        ),
        Reason.NOT_ANSWERING: ReasonText(
            _PAUSE,
            "The file system of the inbound or the outbound folder does not answer.",
            "Check the server, the network or the disk behind it; the folder resumes by itself.",
        ),
        Reason.OUTBOUND_MISSING: ReasonText(
            _PAUSE, "The outbound folder is not there.", "Mount or create it; the folder resumes by itself."
        ),
        Reason.OUTBOUND_FULL: ReasonText(
            _PAUSE, "The outbound folder has no room.", "Make room; the folder resumes by itself."
        ),
        Reason.OUTBOUND_SHORT: ReasonText(
            _PAUSE,
            "The outbound folder has no room for the largest of the waiting files; smaller ones go on.",
            "Make room; the folder resumes by itself.",
        ),
        Reason.OUTBOUND_READ_ONLY: ReasonText(
            _PAUSE,
            "The outbound folder can't be written.",
            "Make it writable for the user blurd; where it is, and new in the settings, run: blurd setup-units",
        ),
        Reason.OUTBOUND_NO_LINKS: ReasonText(
            _STOP,
            "The outbound file system can neither link nor rename without overwriting.",
            "Put the outbound folder on another file system.",
        ),
        Reason.GROUP_UNUSABLE: ReasonText(
            _PAUSE,
            "The group in output_group does not exist, or blurd is not in it.",
            "Create it and run: blurd setup-units; or correct output_group. Then restart blurd.",
        ),
        Reason.WRITE_ERROR: ReasonText(
            _PAUSE, "The copy could not be written.", "Check the outbound disk or mount; the folder resumes by itself."
        ),
        Reason.STAGED_LOST: ReasonText(_RETRY, "The finished copy vanished before publication.", "It is made again."),
        Reason.MODEL_MISSING: ReasonText(
            _STOP,
            "A detection model is missing.",
            "Run the set-up again, or reinstall the package; your own: blurd models list.",
        ),
        Reason.MODEL_HASH: ReasonText(
            _STOP,
            "A detection model is not the one that its manifest names.",
            "Run the set-up again; your own: blurd models check.",
        ),
        Reason.MODEL_INVALID: ReasonText(
            _STOP, "A detection model can't be loaded.", "Run the set-up again; your own: blurd models check."
        ),
        Reason.DEVICE_UNAVAILABLE: ReasonText(
            _STOP, "The device named in the settings is not there.", 'Set detection.device = "AUTO" or "CPU".'
        ),
        Reason.DETECTOR_FAILED: ReasonText(_RETRY, "The detector failed.", "Look at the worker's log."),
        Reason.ENCODER_FAILED: ReasonText(
            _RETRY, "The copy could not be encoded.", "Keep the file and report the fault."
        ),
        Reason.OUTPUT_DIFFERS: ReasonText(
            _RETRY, "The copy is not what was planned.", "Keep the file and report the fault."
        ),
        Reason.METADATA_LEFT: ReasonText(
            _RETRY, "The copy still carries data beside the picture.", "Keep the file and report the fault."
        ),
        Reason.FACE_OR_PLATE_LEFT: ReasonText(
            _RETRY, "The copy still shows something that must be masked.", "Keep the file and report the fault."
        ),
        Reason.WORKER_DIED: ReasonText(_RETRY, "The worker died over this file.", "It is tried again by itself."),
        Reason.NO_PROGRESS: ReasonText(_RETRY, "The worker made no progress on this file.", "It is tried again."),
        Reason.OUT_OF_MEMORY: ReasonText(
            _RETRY, "The memory did not suffice for this file.", "Give the worker more memory, then retry."
        ),
        Reason.ATTEMPTS_EXHAUSTED: ReasonText(
            _REJECT, "Every allowed attempt failed.", "Look at the earlier reason, then retry."
        ),
        Reason.ANNOTATIONS_INVALID: ReasonText(
            _STOP, "The annotations can't be used.", "Give a file in COCO's JSON format with its image folder."
        ),
        Reason.SETTINGS_INVALID: ReasonText(_STOP, "The settings are not valid.", "Run: blurd check-config"),
        Reason.STATE_LOCKED: ReasonText(
            _STOP, "Another blurd uses this state directory.", "Stop it first, or set another state directory."
        ),
        Reason.STATE_UNUSABLE: ReasonText(
            _STOP, "The state directory or the queue in it can't be used.", "Check the disk and its permissions."
        ),
        Reason.STATE_FULL: ReasonText(
            _PAUSE, "The disk of the state directory has no room.", "Make room; blurd resumes by itself."
        ),
        Reason.QUEUE_DAMAGED: ReasonText(
            _PAUSE,
            "The queue's database is damaged.",
            "blurd watch sets it aside and rebuilds it by itself; check the disk.",
        ),
        Reason.NO_SUCH_JOB: ReasonText(_STOP, "There is no such job.", "See: blurd reconcile --names"),
        Reason.JOB_NOT_SUITABLE: ReasonText(_STOP, "The job's state does not allow that.", "See: blurd status"),
        Reason.NAME_ERASED: ReasonText(
            _STOP,
            "The job ended so long ago that the name of its file is erased (state.names_days).",
            "Is the file still in inbound? Then forget the job, and it is taken anew: blurd forget JOB",
        ),
        Reason.COPY_DIFFERS: ReasonText(
            _STOP, "The copy is not there as it was published.", "Was it removed or changed? See: blurd reconcile"
        ),
        Reason.SCHEMA_NEWER: ReasonText(
            _STOP, "The queue was written by a newer version of blurd.", "Install that version again, or a newer one."
        ),
        Reason.UNITS_UNUSABLE: ReasonText(
            _STOP, "The units can't be brought in step with the settings.", "See also: man blurd"
        ),
        Reason.INTERNAL_ERROR: ReasonText(_RETRY, "A fault in blurd itself.", "Keep the file and report the fault."),
    }
)


class BlurdError(Exception):
    """An error with a reason code.

    `detail` is for the operator's terminal alone (what to write instead, which setting); it is never logged and must
    not quote file content.
    """

    def __init__(self, reason: Reason, operation: str, detail: str = "") -> None:
        super().__init__(reason, operation, detail)
        self.reason = reason
        self.operation = operation
        self.detail = detail

    @property
    def disposition(self) -> Disposition:
        """What happens to the job, the folder or the process."""
        return REASONS[self.reason].disposition

    def __str__(self) -> str:
        text = REASONS[self.reason]
        between = "\n" if "\n" in self.detail else " "
        return between.join(part for part in (text.meaning, self.detail, text.remedy) if part)


class InputError(BlurdError):
    """Their fault: the file can't be treated."""


class EquipmentError(BlurdError):
    """Neither's fault: a disk, a mount, a device, a model or a setting is not as it must be."""


class IllegalMoveError(Exception):
    """Our fault: a state change that the lifecycle table does not allow."""
