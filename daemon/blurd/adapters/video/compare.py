"""Whether a decoded frame of a copy is the frame that was to be written, as far as its encoding allows.

Invariants
* Size, depth and subsampling agree, else the copy is wrong.
* Every block of 16 x 16 pixels has, in each plane, nearly the mean that it should have: a mask that is not there, a
  frame in another's place or a picture that moved changes many blocks by far more. What encoders change in a block's
  mean is bounded by the coarsest quantiser that they may use, plus a margin for dark and noisy pictures.
"""

from typing import Final

import av
import numpy as np

from blurd.adapters.video.pixels import Plane, block_means, laid_out, planes_of

_BLOCK_PX: Final = 16
_MOST_SHIFT: Final = 24.0
"""How far the mean of any block may be off, of 255."""
_USUAL_SHIFT: Final = 4.0
"""How far all means together may be off: the root of their mean square."""


def agree(expected: av.VideoFrame, found: av.VideoFrame) -> bool:
    """True where `found` is `expected` within what the encoding may change."""
    if (expected.width, expected.height) != (found.width, found.height):
        return False
    if _planes(expected) != _planes(found):  # the encoder does not take every layout
        expected = laid_out(expected, found.format.name)
    wanted, given = (tuple(block_means(frame, _BLOCK_PX)) for frame in (expected, found))
    for one, other in zip(wanted, given, strict=True):
        shift = np.abs(one - other)
        if float(shift.max()) > _MOST_SHIFT or float(np.sqrt(np.square(shift).mean())) > _USUAL_SHIFT:
            return False
    return True


def _planes(frame: av.VideoFrame) -> tuple[Plane, ...]:
    return planes_of(frame.format.name, frame.width, frame.height)
