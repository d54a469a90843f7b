"""One decoded frame of a video.

Invariants
* Masks are drawn into a frame of its own: the decoder's frames are references of later ones, so they are made writable
  (copied where the decoder still holds them) before a sample changes.
* A frame without masks is passed on as it is, uncopied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from blurd.adapters.video.compare import FrameProof, proof_of
from blurd.adapters.video.pixels import colour_blocks, draw_masks
from blurd.core.upright import Upright
from blurd.records import Mask, RgbPicture


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """A frame in a working layout, with its place, its time in ticks of the stream and how it lies.

    `blank` frames stand for such as could not be decoded: grey all over, they show nobody.
    """

    picture: av.VideoFrame
    lie: Upright
    index: int
    ticks: int
    tick_s: float
    blank: bool = False

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return self.ticks * self.tick_s

    def rgb(self) -> RgbPicture:
        """The upright picture with square pixels."""
        pixels: NDArray[Any] = self.picture.to_ndarray(format="rgb24")
        size = self.lie.scaled_px
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return self.lie.stand_up(np.asarray(pixels, np.uint8))

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.lie.size_px

    def blocks(self) -> NDArray[np.uint8]:
        """Means of small blocks of the upright picture, brightness and colour: cheap, to tell what changed."""
        return self.lie.stand_up(colour_blocks(self.picture))

    def masked(self, masks: Sequence[Mask]) -> Self:
        """The frame with masks drawn in; this frame is spent then."""
        if masks:
            self.picture.make_writable()
            draw_masks(self.picture, [self.lie.lay_back(mask) for mask in masks])
        return self

    def proof(self) -> FrameProof:
        """The means of its blocks, some kilobytes."""
        return proof_of(self.picture)
