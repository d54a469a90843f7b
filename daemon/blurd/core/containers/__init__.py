"""Containers: what a file is, whether it is whole, and what a written file carries beside its picture. Pure.

Own bounded parsers, one module a family, over a small random-access reader. Nothing is decoded.

Invariants
* Whatever the bytes are, these functions return: no exception but the reader's own, no loop without a limit, no more
  read than the budget of `reader.py`.
* `completeness` says `INCOMPLETE` only where more bytes could mend the file; a file that contradicts itself is
  `UNDETERMINED`, for waiting would not help it: the decoder gives the verdict.
* `leftovers` is empty only for a file that was parsed to its last byte and holds nothing but what is on the
  allow-list of its format.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from types import MappingProxyType

from blurd.core.containers import bmp, boxes, jpeg, matroska, movie, png, riff, streams, tiff
from blurd.core.containers.reader import BytesReader, ParseError, Reader, ShortError, View
from blurd.core.containers.signatures import IMAGES, Format, identify

__all__ = ["IMAGES", "BytesReader", "Completeness", "Format", "Reader", "completeness", "identify", "leftovers"]

_MAX_LEFTOVERS = 64


class Completeness(StrEnum):
    """What the structure of a file says about its end."""

    WHOLE = "whole"
    INCOMPLETE = "incomplete"
    UNDETERMINED = "undetermined"


def completeness(reader: Reader) -> Completeness:
    """Whether the file holds all that its structure announces; data behind its end does not matter."""
    if reader.size == 0:
        return Completeness.INCOMPLETE
    view = View(reader)
    code = identify(reader, view)
    check = _WHOLE.get(code) if code is not None else None
    if check is None:
        return Completeness.UNDETERMINED
    try:
        return Completeness.WHOLE if check(view) else Completeness.UNDETERMINED
    except ShortError:
        return Completeness.INCOMPLETE
    except ParseError:
        return Completeness.UNDETERMINED


def leftovers(reader: Reader) -> tuple[str, ...]:
    """Codes of everything in a written file that is not on the allow-list of its format; empty where it is clean."""
    code = identify(reader)
    walk = _LEFTOVERS.get(code) if code is not None else None
    if walk is None:
        return ("format_not_written",)
    found: dict[str, None] = {}
    try:
        for leftover in walk(View(reader)):
            found[leftover] = None
            if len(found) >= _MAX_LEFTOVERS:
                break
    except ParseError:
        found["structure"] = None
    return tuple(found)


def _whole_jpeg(view: View) -> bool:
    return sum(1 for _ in jpeg.outline(view)) > 0


def _whole_png(view: View) -> bool:
    return sum(1 for _ in png.outline(view)) > 0


def _whole_webp(view: View) -> bool:
    return bool(riff.webp_outline(view)[0])


def _whole_avi(view: View) -> bool:
    return riff.avi_end(view) > 0


def _whole_gif(view: View) -> bool | None:
    return True if view.exactly(view.size - 1, 1) == b";" else None


_WHOLE: MappingProxyType[Format, Callable[[View], bool | None]] = MappingProxyType(
    {
        Format.JPEG: _whole_jpeg,
        Format.PNG: _whole_png,
        Format.WEBP: _whole_webp,
        Format.TIFF: tiff.whole,
        Format.BMP: bmp.whole,
        Format.HEIF: boxes.whole_picture,
        Format.AVIF: boxes.whole_picture,
        Format.GIF: _whole_gif,
        Format.MP4: boxes.whole_movie,
        Format.AVI: _whole_avi,
        Format.MATROSKA: streams.whole_matroska,
        Format.ASF: streams.whole_asf,
        Format.OGG: streams.whole_ogg,
        Format.FLV: streams.whole_flv,
    }
)

_LEFTOVERS: MappingProxyType[Format, Callable[[View], Iterator[str]]] = MappingProxyType(
    {
        Format.JPEG: jpeg.leftovers,
        Format.PNG: png.leftovers,
        Format.WEBP: riff.webp_leftovers,
        Format.TIFF: tiff.leftovers,
        Format.BMP: bmp.leftovers,
        Format.MP4: movie.leftovers,
        Format.MATROSKA: matroska.leftovers,
    }
)
