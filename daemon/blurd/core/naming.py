"""Names: which inbound names are temporary, what a copy is called, and how collisions are avoided. Pure text work.

Invariants
* A copy's path mirrors the source's path below inbound; only the suffix may change (a HEIC becomes a JPEG).
* Collisions are settled by counting: `photo.jpg`, `photo-2.jpg`, `photo-3.jpg`; the order of publication decides.
* No name is longer than the file system's 255 bytes, counted in UTF-8.
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

MAX_NAME_BYTES = 255
MAX_COLLISIONS = 100_000
STAGING_FOLDER = ".blurd"
INBOUND_MARKER = ".blurd-folder"
"""The file by which an inbound folder is recognised; never a file to treat, whatever `temporary_names` says."""
OUTBOUND_MARKER = f"{STAGING_FOLDER}/folder"
"""The same for outbound."""
REGIONS_SUFFIX = ".regions.json"
"""What a file's name gets for the name of its regions, which lie beside it: `a.mp4.regions.json`."""
NOTE_SUFFIX = ".rejected.txt"
"""What a file's name gets for the name of the note that says why it got no copy."""
RECEIPT_SUFFIX = ".receipt.json"
"""What a copy's name gets for the name of the receipt beside it: `a.mp4.receipt.json`."""
ORIGINALS_FOLDER = ".blurd-originals"
"""The folder below inbound in which retention works, and archives; what lies in it is never taken."""

TEMPORARY_NAMES: tuple[str, ...] = (
    ".*",
    "*.part",
    "*.filepart",
    "*.crdownload",
    "*.tmp",
    "~$*",
    "*.partial",
    ".in.*.",
    ".syncthing.*.tmp",
    "~syncthing~*",
    ".nfs*",
    ".smbdelete*",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    ".DS_Store",
    "@eaDir",
    "NVR_STANDBY_*",
)
"""Default patterns of names (of files and folders) that are not taken: temporary, hidden, or other systems' litter."""

_IMAGE_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .jif .png .apng .webp .tif .tiff .bmp .dib .heic .heif .hif .avif .gif .jp2 .j2k .jpx .jxl"
    " .psd .ico .dng .nef .cr2 .cr3 .crw .arw .raf .orf .rw2 .pef .srw"
)
_VIDEO_SUFFIXES = (
    ".mp4 .m4v .mov .qt .3gp .3g2 .mkv .mk3d .webm .avi .divx .wmv .asf .flv .f4v .ogv .ogg .ogm .mxf .ts .mts .m2ts"
    " .m2t .tp .trp .mpg .mpeg .mpe .mpv .m1v .m2v .m2p .ps .vob .vro .mjpg .mjpeg .y4m .rm .rmvb .h264 .h265 .h26x"
    " .264 .265 .avc .hevc"
)
_RECORDER_SUFFIXES = ".dav .dvr .nvr .ifv .g64 .g64x .g64a .sef .ave .mmv .vse .pvr .irf .xba .lvf .exo"
MEDIA_SUFFIXES = frozenset(f"{_IMAGE_SUFFIXES} {_VIDEO_SUFFIXES} {_RECORDER_SUFFIXES}".split())
"""Suffixes that promise an image or a video. A file with one of them is never ignored, whatever its content."""

_NOTE_NAME = re.compile(r"\.rejected(-[0-9]+)?\.txt\Z")
_STAGED_NAME = re.compile(r"job-([0-9]+)-([0-9]+)\.staged")

_EQUIVALENT_SUFFIXES: tuple[frozenset[str], ...] = (
    frozenset({".jpg", ".jpeg", ".jpe", ".jfif"}),
    frozenset({".tif", ".tiff"}),
    frozenset({".bmp", ".dib"}),
    frozenset({".mpg", ".mpeg"}),
)


def is_temporary(name: str, patterns: Sequence[str]) -> bool:
    """True where a file's or folder's own name fits one of the patterns; case does not matter."""
    return _any_of(tuple(patterns)).match(name.lower()) is not None


@lru_cache(maxsize=16)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns: every name of a scan is held against it."""
    return re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in patterns) or r"(?!)")


def sidecar_path(copy: str) -> str:
    """Where the receipt beside a copy lies."""
    return copy + RECEIPT_SUFFIX


def regions_path(path: str) -> str:
    """Where a file's own regions lie."""
    return path + REGIONS_SUFFIX


def is_regions(path: str) -> bool:
    """True where the name is that of regions, which are never treated as a medium."""
    return path.endswith(REGIONS_SUFFIX)


def medium_of(path: str) -> str:
    """The file whose regions lie at `path`; the path itself where it is no name of regions."""
    return path.removesuffix(REGIONS_SUFFIX)


def note_path(path: str) -> str:
    """Where the note about a file lies below outbound; the name is cut where it would be too long."""
    head, slash, name = path.rpartition("/")
    while not fits(name + NOTE_SUFFIX):
        name = name[:-1]
    return head + slash + name + NOTE_SUFFIX


def is_note(path: str) -> bool:
    """True where the name is that of a note, perhaps numbered. Such a file may still be a medium by its content."""
    return _NOTE_NAME.search(path) is not None


def promises_medium(path: str) -> bool:
    """True where the name's suffix is that of an image or a video."""
    return split_suffix(path.rpartition("/")[2])[1].lower() in MEDIA_SUFFIXES


def byte_length(name: str) -> int:
    """Length of a name as the file system counts it; undecodable bytes travel as surrogates and count one each."""
    return len(name.encode("utf-8", "surrogateescape"))


def split_suffix(name: str) -> tuple[str, str]:
    """A name's stem and its suffix with the dot; the suffix is empty where there is none."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem:
        return name, ""
    return stem, dot + suffix


def copy_path(source_path: str, written_suffix: str) -> str:
    """The path below outbound for a source's copy, written in the format that usually has `written_suffix`.

    The source's own suffix stays where it means the same format (`.JPG`, `.jpeg`). Else it is replaced, and the
    source's goes into the stem (`a.heic` becomes `a.heic.jpg`), so that `a.heic` and `a.jpg` don't meet.
    """
    head, slash, name = source_path.rpartition("/")
    _, suffix = split_suffix(name)
    if not _same_meaning(suffix.lower(), written_suffix):
        name += written_suffix
    return head + slash + name


def candidates(path: str) -> Iterator[str]:
    """The path itself, then numbered variants of it, up to `MAX_COLLISIONS`."""
    yield path
    head, slash, name = path.rpartition("/")
    stem, suffix = split_suffix(name)
    for number in range(2, MAX_COLLISIONS):
        yield f"{head}{slash}{stem}-{number}{suffix}"


def fits(path: str) -> bool:
    """True where the last part of the path, with room for a collision's number, is short enough."""
    name = path.rpartition("/")[2]
    return byte_length(name) + len(f"-{MAX_COLLISIONS}") <= MAX_NAME_BYTES


def staged_name(job: int, attempt: int) -> str:
    """The staged file's own name: the job's number and attempt, nothing of the source."""
    return f"job-{job}-{attempt}.staged"


def withdrawn_name(job: int) -> str:
    """The name in the staging folder under which a published copy is taken away."""
    return f"job-{job}.withdrawn"


def parse_staged_name(name: str) -> tuple[int, int] | None:
    """The job and the attempt that a staged file belongs to; None for a name that is not ours."""
    found = _STAGED_NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def printable(path: str) -> str:
    """A file name that can't steer the terminal."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _same_meaning(suffix: str, written: str) -> bool:
    return suffix == written or any(suffix in group and written in group for group in _EQUIVALENT_SUFFIXES)
