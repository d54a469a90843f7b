"""The planes of a video frame: which layouts are worked in, how others get there, and drawing masks into them.

Invariants
* A frame in a working layout is masked in its own planes; nothing goes to RGB and back.
* A frame in another layout is first laid out anew by the rule of `working_layout`: same subsampling and depth where a
  working layout has them, else the next finer one, so that no detail is lost (but transparency, and bits beyond 10).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from blurd.core.masking import Step, draw
from blurd.records import Mask

BLOCK_PX: Final = 4
"""Side of the blocks of which `colour_blocks` gives the means, in stored pixels."""

_EIGHT_BITS: Final = 8
_COLOURLESS: Final = ("gray", "mono", "ya", "y400")
_WORKING: Final = frozenset(
    {
        "gray", "gray10le", "nv12",
        "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p",
        "yuv420p10le", "yuv422p10le", "yuv444p10le",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane: the index in the frame, samples (rows, columns, channels), what a sample covers, `solid` for it."""

    index: int
    rows: int
    columns: int
    channels: int
    step: Step
    solid: int


@cache
def working_layout(name: str, *, odd: bool) -> str:
    """The layout that frames of the layout `name` are worked in; `odd` where width or height is.

    H.264 and H.265 can't crop a picture with halved colour planes to an odd size; such a picture gets full ones.
    """
    layout = name if name in _WORKING else _nearest(av.VideoFormat(name))
    if not odd or layout.startswith("gray"):
        return layout
    return "yuv444p10le" if layout.endswith("10le") else "yuvj444p" if layout.startswith("yuvj") else "yuv444p"


def _nearest(layout: Any) -> str:
    tail = "10le" if any(component.bits > _EIGHT_BITS for component in layout.components) else ""
    if layout.is_rgb or layout.has_palette:
        return f"yuv444p{tail}"
    if layout.name.startswith(_COLOURLESS):
        return f"gray{tail}"
    halved_across, halved_down = layout.chroma_width(16) < 16, layout.chroma_height(16) < 16  # noqa: PLR2004
    spread = "yuvj" if layout.name.startswith("yuvj") else "yuv"
    ratio = {(True, True): "420", (True, False): "422"}.get((halved_across, halved_down), "444")
    return f"{spread}{ratio}p{tail}"


def laid_out(frame: av.VideoFrame, layout: str) -> av.VideoFrame:
    """The frame in this layout; itself where it is already.

    The samples keep their range of values: what is tagged as full or limited stays so.
    """
    if frame.format.name == layout:
        return frame
    kept = {} if frame.format.is_rgb or frame.format.has_palette else {"src_color_range": 2, "dst_color_range": 2}
    changed = frame.reformat(format=layout, **kept)
    changed.pts, changed.time_base, changed.duration = frame.pts, frame.time_base, frame.duration
    return changed


@cache
def planes_of(name: str, width: int, height: int) -> tuple[Plane, ...]:
    """The planes of a working layout."""
    deep = name.endswith("10le")
    middle = 512 if deep else 128
    if name.startswith("gray"):
        return (Plane(0, height, width, 1, Step(), middle),)
    layout = av.VideoFormat(name, width, height)
    columns, rows = layout.chroma_width(width), layout.chroma_height(height)
    step = Step(1 if columns == width else 2, 1 if rows == height else 2)
    luma = Plane(0, height, width, 1, Step(), middle)
    if name == "nv12":
        return luma, Plane(1, rows, columns, 2, step, middle)
    return luma, *(Plane(index, rows, columns, 1, step, middle) for index in (1, 2))


def samples_of(frame: av.VideoFrame, plane: Plane) -> NDArray[Any]:
    """The samples of a plane as (rows, columns, channels), without a copy: writing there changes the frame."""
    data = frame.planes[plane.index]
    kind = np.dtype("<u2") if frame.format.name.endswith("10le") else np.dtype(np.uint8)
    line = data.line_size // kind.itemsize
    values: NDArray[Any] = np.frombuffer(memoryview(data), kind)
    lines = values[: line * plane.rows].reshape(plane.rows, line)
    return lines[:, : plane.columns * plane.channels].reshape(plane.rows, plane.columns, plane.channels)


def draw_masks(frame: av.VideoFrame, masks: Sequence[Mask]) -> None:
    """Draw masks, given in stored pixels, into the frame, which must be writable and in a working layout."""
    for plane in planes_of(frame.format.name, frame.width, frame.height):
        draw(samples_of(frame, plane), masks, step=plane.step, solid_value=plane.solid)


def blank(frame: av.VideoFrame) -> None:
    """Make the whole frame, which must be writable and in a working layout, grey."""
    for plane in planes_of(frame.format.name, frame.width, frame.height):
        samples_of(frame, plane)[:] = plane.solid


def colour_blocks(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Mean brightness and colour, 0..255, of blocks of `BLOCK_PX` a side: (rows, columns, 1 or 3)."""
    size = (max(1, frame.width // BLOCK_PX), max(1, frame.height // BLOCK_PX))
    found: list[NDArray[Any]] = []
    for plane in planes_of(frame.format.name, frame.width, frame.height):
        samples = samples_of(frame, plane)
        means: NDArray[Any] = cv2.resize(samples, size, interpolation=cv2.INTER_AREA)
        found.append(means.reshape(size[1], size[0], -1) >> (2 if samples.dtype.itemsize > 1 else 0))
    return np.concatenate(found, axis=2).astype(np.uint8)


def block_means(frame: av.VideoFrame, side_px: int) -> Iterator[NDArray[np.float32]]:
    """For each plane the means of square blocks of `side_px` of the picture, as 8-bit values, (rows, columns[, 2])."""
    for plane in planes_of(frame.format.name, frame.width, frame.height):
        samples = samples_of(frame, plane)
        size = tuple(
            max(1, -(-count * step // side_px))
            for count, step in ((plane.columns, plane.step.x), (plane.rows, plane.step.y))
        )
        means = cv2.resize(samples.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        yield np.asarray(means / (4.0 if samples.dtype.itemsize > 1 else 1.0), np.float32)
