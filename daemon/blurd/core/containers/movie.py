"""What an MP4, QuickTime or 3GP file that blurd wrote holds beside pictures and sound. Pure.

Source: ISO/IEC 14496-12 (boxes), 14496-14 and -15 (sample entries), QuickTime File Format (`wave`, `gmhd`).

Invariants
* A box that is not named here is a leftover; so is one whose text is not ours, a creation time, a language, padding
  that is not zero, and a second `mdat`.
* The samples themselves are not read: what streams there are is for the reader of the streams to say.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from blurd.core.containers.boxes import Box, boxes
from blurd.core.containers.reader import MalformedError, View

_TRACK_TABLES: Final = frozenset(
    {b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stz2", b"stco", b"co64", b"sgpd", b"sbgp", b"sdtp", b"cslg"}
)
_INSIDE: Final = MappingProxyType(
    {
        b"": frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide"}),
        b"moov": frozenset({b"mvhd", b"trak", b"udta"}),
        b"trak": frozenset({b"tkhd", b"edts", b"mdia", b"tapt"}),
        b"edts": frozenset({b"elst"}),
        b"mdia": frozenset({b"mdhd", b"hdlr", b"minf"}),
        b"minf": frozenset({b"vmhd", b"smhd", b"hdlr", b"dinf", b"stbl"}),
        b"dinf": frozenset({b"dref"}),
        b"stbl": frozenset({b"stsd"}) | _TRACK_TABLES,
        b"udta": frozenset({b"meta"}),
    }
)
"""For each box that holds boxes ("" is the file), what may stand in it."""
_PICTURE_ENTRIES: Final = frozenset({b"avc1", b"hvc1", b"hev1", b"vp09", b"av01"})
_SOUND_ENTRIES: Final = frozenset(
    {b"mp4a", b"Opus", b"fLaC", b"alac", b"ac-3", b"ec-3", b".mp3", b"samr", b"sawb", b"sowt", b"twos", b"in24"}
    | {b"lpcm", b"ipcm", b"fpcm"}
)
_PICTURE_PARTS: Final = frozenset(
    {b"avcC", b"hvcC", b"vpcC", b"av1C", b"colr", b"pasp", b"btrt", b"fiel", b"clap", b"gama", b"clli", b"mdcv"}
)
_PICTURE_HEAD: Final = 78
_OUR_NAMES: Final = frozenset({b"", b"VideoHandler", b"SoundHandler", b"DataHandler"})
_NO_LANGUAGE: Final = frozenset({0x55C4, 0x7FFF})
"""`und`, packed, and QuickTime's "unspecified"."""
_TIMES: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})


def leftovers(view: View) -> Iterator[str]:
    """Codes of everything that is not on the allow-list."""
    names = [box.name for box in boxes(view, 0, view.size)]
    if names.count(b"mdat") != 1 or names.count(b"moov") != 1:
        yield "structure"
    yield from _inside(view, b"", 0, view.size)


def _inside(view: View, parent: bytes, start: int, end: int) -> Iterator[str]:
    for box in boxes(view, start, end):
        if box.name not in _INSIDE[parent]:
            yield _code(box)
        elif box.name == b"stsd":
            yield from _entries(view, box)
        elif box.name == b"meta":
            yield from _no_tags(view, box)
        elif box.name in _INSIDE:
            yield from _inside(view, box.name, box.start, box.end)
        else:
            yield from _content(view, box)


def _content(view: View, box: Box) -> Iterator[str]:
    if box.name in {b"free", b"wide"} and any(view.exactly(box.start, box.end - box.start)):
        yield _code(box)
    elif box.name == b"hdlr":
        name = view.exactly(box.start + 24, box.end - box.start - 24).strip(b"\0")
        if name not in _OUR_NAMES and name[1:] not in _OUR_NAMES:  # QuickTime puts the length before the name
            yield _code(box)
    elif box.name in _TIMES:
        version = view.exactly(box.start, 1)[0]
        if any(view.exactly(box.start + 4, 16 if version else 8)):
            yield f"{_code(box)}_time"
        if box.name == b"mdhd":
            (language,) = view.unpack(">H", box.start + (32 if version else 20))
            if language not in _NO_LANGUAGE:
                yield "language"


def _entries(view: View, table: Box) -> Iterator[str]:
    for entry in boxes(view, table.start + 8, table.end):
        if entry.name in _PICTURE_ENTRIES:
            for part in boxes(view, entry.start + _PICTURE_HEAD, entry.end):
                if part.name not in _PICTURE_PARTS:
                    yield _code(part)
        elif entry.name not in _SOUND_ENTRIES:
            yield _code(entry)


def _no_tags(view: View, box: Box) -> Iterator[str]:
    """The empty list of tags that the writer always makes."""
    for part in boxes(view, box.start + 4, box.end):
        if part.name == b"ilst" and part.end == part.start:
            continue
        if part.name != b"hdlr":
            yield _code(part)
        elif view.exactly(part.start + 8, 4) != b"mdir":
            raise MalformedError


def _code(box: Box) -> str:
    """A box's type as a code: letters and digits alone, so that nothing of a file reaches a log."""
    text = box.name.decode("latin-1")
    return "box_" + "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)
