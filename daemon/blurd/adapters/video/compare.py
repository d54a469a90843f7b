"""Whether a decoded frame of a copy is the frame that was to be written, as far as its encoding allows.

Invariants
* Size and layout agree, else the copy is wrong. Where an encoder does not take a layout (grey, say), what it made is
  laid out as the source before it is compared.
* Every block of 16 x 16 pixels has, in each plane, nearly the mean that it should have: a mask that is not there, a
  frame in another's place or a picture that moved changes many blocks by far more than encoding does.
"""

from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from blurd.adapters.video.pixels import Plane, block_means, laid_out, planes_of

_BLOCK_PX: Final = 16
_MOST_SHIFT: Final = 24.0
"""How far the mean of any block may be off, of 255."""
_USUAL_SHIFT: Final = 4.0
"""How far all means together may be off: the root of their mean square."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameProof:
    """The layout and planes of a frame, and the means of their blocks as 8-bit values."""

    layout: str
    planes: tuple[Plane, ...]
    means: tuple[NDArray[np.float16], ...]


def proof_of(frame: av.VideoFrame) -> FrameProof:
    """The proof of a frame in a working layout."""
    layout = frame.format.name
    planes = planes_of(layout, frame.width, frame.height)
    return FrameProof(layout, planes, tuple(means.astype(np.float16) for means in block_means(frame, _BLOCK_PX)))


def agree(proof: FrameProof, found: av.VideoFrame) -> bool:
    """True where `found` is the frame that gave the proof within what the encoding may change."""
    given = proof_of(found)
    if given.planes != proof.planes:
        given = proof_of(laid_out(found, proof.layout))
    if given.planes != proof.planes:
        return False
    for one, other in zip(proof.means, given.means, strict=True):
        shift = np.abs(one.astype(np.float32) - other)
        if float(shift.max()) > _MOST_SHIFT or float(np.sqrt(np.square(shift).mean())) > _USUAL_SHIFT:
            return False
    return True
