"""What a Matroska or WebM file that blurd wrote holds beside pictures and sound. Pure.

Source: RFC 8794 (EBML), RFC 9559 (Matroska).

Invariants
* An element that is not named here is a leftover; so are tags other than a stream's duration, a title, a date, names of
  tracks and languages, and padding that is not zero.
* The blocks' content is not read: what streams there are is for the reader of the streams to say.
"""

from collections.abc import Iterator
from typing import Final

from blurd.core.containers.reader import READ_BUDGET_BYTES, MalformedError, ShortError, View

_CALLS_PER_MEBIBYTE: Final = 50_000
_MOST_DEPTH: Final = 8
_VOID: Final = 0xEC
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_SIMPLE_TAG: Final = 0x67C8
_TAG_NAME: Final = 0x45A3
_WRITERS: Final = frozenset({0x4D80, 0x5741})
_LANGUAGES: Final = frozenset({0x22B59C, 0x22B59D})
_PARENTS: Final[dict[int, frozenset[int]]] = {
    0: frozenset({0x1A45DFA3, _SEGMENT, _VOID}),
    0x1A45DFA3: frozenset({0x4286, 0x42F7, 0x42F2, 0x42F3, 0x4282, 0x4287, 0x4285}),
    _SEGMENT: frozenset({0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1254C367, 0x1C53BB6B, _CLUSTER, _VOID}),
    0x114D9B74: frozenset({0x4DBB, 0xBF}),  # seek head
    0x4DBB: frozenset({0x53AB, 0x53AC}),
    0x1549A966: frozenset({0x2AD7B1, 0x4489, 0x4D80, 0x5741, 0x73A4, 0xBF, _VOID}),  # information
    0x1654AE6B: frozenset({0xAE, 0xBF}),  # tracks
    0xAE: frozenset(
        {0xD7, 0x73C5, 0x9C, 0x22B59C, 0x22B59D, 0x86, 0x83, 0x56AA, 0x56BB, 0x23E383, 0x63A2, 0xE0, 0xE1, 0x55EE}
        | {0x88, 0xB9, 0x55AA, 0x6DE7, 0x6DF8, _VOID}
    ),
    0xE0: frozenset(
        {0x9A, 0x9D, 0xB0, 0xBA, 0x54AA, 0x54BB, 0x54CC, 0x54DD, 0x54B0, 0x54BA, 0x54B2, 0x55B0, 0x7670, 0x53C0}
        | {0x2EB524, _VOID}
    ),
    0x55B0: frozenset(
        {0x55B1, 0x55B2, 0x55B3, 0x55B4, 0x55B5, 0x55B6, 0x55B7, 0x55B8, 0x55B9, 0x55BA, 0x55BB, 0x55BC, 0x55BD, 0x55D0}
    ),
    0x7670: frozenset({0x7671, 0x7672, 0x7673, 0x7674, 0x7675}),  # projection: how the pictures lie
    0xE1: frozenset({0xB5, 0x78B5, 0x9F, 0x6264, 0x52F1}),  # sound
    0x1254C367: frozenset({0x7373, 0xBF, _VOID}),  # tags
    0x7373: frozenset({0x63C0, _SIMPLE_TAG}),
    0x63C0: frozenset({0x63C5, 0x68CA}),
    _SIMPLE_TAG: frozenset({_TAG_NAME, 0x447A, 0x4484, 0x4487}),
    0x1C53BB6B: frozenset({0xBB, 0xBF}),  # cues
    0xBB: frozenset({0xB3, 0xB7}),
    0xB7: frozenset({0xF7, 0xF1, 0xF0, 0xB2, 0x5378}),
    _CLUSTER: frozenset({0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xBF}),
    0xA0: frozenset({0xA1, 0x9B, 0xFB, 0x75A2}),
}
"""For each element that holds elements (0 is the file), the identifiers of what may stand in it."""


def leftovers(view: View) -> Iterator[str]:
    """Codes of everything that is not on the allow-list."""
    calls = _CALLS_PER_MEBIBYTE * (1 + (view.size >> 20))
    yield from _inside(View(view.reader, READ_BUDGET_BYTES + view.size, calls), 0, 0, view.size, 0)


def _inside(view: View, parent: int, start: int, end: int, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        raise MalformedError
    offset = start
    while offset < end:
        identifier, begin, stop = _element(view, offset)
        if stop > end:
            raise ShortError
        if identifier not in _PARENTS[parent]:
            yield f"element_{identifier:x}"
        elif identifier in _PARENTS:
            yield from _inside(view, identifier, begin, stop, depth + 1)
        elif _speaks(view, identifier, begin, stop):
            yield f"element_{identifier:x}_content"
        offset = stop


def _element(view: View, offset: int) -> tuple[int, int, int]:
    """An element's identifier, and where its content begins and ends."""
    head = view.some(offset, 12)
    width = 9 - head[0].bit_length() if head else 9
    if width > 4 or len(head) <= width:  # noqa: PLR2004
        raise MalformedError
    identifier = int.from_bytes(head[:width], "big")
    size_width = 9 - head[width].bit_length()
    if size_width > 8 or len(head) < width + size_width:  # noqa: PLR2004
        raise MalformedError
    size = int.from_bytes(head[width : width + size_width], "big") & ((1 << 7 * size_width) - 1)
    if size == (1 << 7 * size_width) - 1:
        raise MalformedError  # of unknown length: the writer knows all lengths
    begin = offset + width + size_width
    return identifier, begin, begin + size


def _speaks(view: View, identifier: int, begin: int, end: int) -> bool:
    """True where an element that is allowed says something that it may not."""
    if identifier in _WRITERS:
        return not view.exactly(begin, end - begin).strip(b"\0").startswith(b"Lavf")
    if identifier in _LANGUAGES:
        return view.exactly(begin, end - begin).strip(b"\0") not in {b"und", b""}
    if identifier == _TAG_NAME:
        return view.exactly(begin, end - begin).strip(b"\0") != b"DURATION"
    return identifier == _VOID and any(view.exactly(begin, end - begin))
